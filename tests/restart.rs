//! One server after the other, with clients that must not notice: sockets that a service manager passes, and two servers
//! on one address.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;
use std::process::Command;

use rustix::process::Signal;

mod common;
mod launcher;

use common::retried;
use launcher::load::under_load;
use launcher::{PATIENCE, Server, can_run, command, descriptors, holding, let_go, passing, sockets};

/// How often the server is replaced under load.
const RESTARTS: usize = 6;

#[test]
fn a_restart_under_load_with_passed_sockets_loses_nothing() {
    let (tcp, udp) = sockets();
    let address = tcp.local_addr().unwrap();
    let start = || {
        let server = Server::start(&mut passing(descriptors(&tcp, &udp), &[]));
        assert_eq!(server.listening(), ("udp+tcp".to_owned(), address));
        server
    };
    let mut server = Some(start());
    let ended = under_load(address, RESTARTS, |restart| {
        // In turns with a gap between the two, when everything waits in the sockets, and with both at once.
        if restart % 2 == 0 {
            server.take().unwrap().stop();
            server = Some(start());
        } else {
            server.replace(start()).unwrap().stop();
        }
    });
    println!("connections that a restart ended in good order, by client: {ended:?}");
    server.unwrap().stop();
}

#[test]
fn what_comes_between_two_servers_waits_for_the_second() {
    let (tcp, udp) = sockets();
    let address = tcp.local_addr().unwrap();
    let first = Server::start(&mut passing(descriptors(&tcp, &udp), &[]));
    first.listening();
    first.stop();

    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut streams = Vec::new();
    for number in 0..50 {
        client.send_to(format!("udp {number}").as_bytes(), address).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("tcp {number}").as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        streams.push(stream);
    }
    let second = Server::start(&mut passing(descriptors(&tcp, &udp), &[]));
    for (number, stream) in streams.iter_mut().enumerate() {
        let mut answer = [0; 64];
        let (length, from) = retried(|| client.recv_from(&mut answer)).unwrap();
        assert_eq!((str::from_utf8(&answer[..length]).unwrap(), from), (format!("UDP {number}").as_str(), address));
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, format!("TCP {number}"));
    }
    second.listening();
    second.stop();
}

#[test]
fn a_server_that_ends_slowly_sleeps_while_its_passed_sockets_fill_for_the_next() {
    const ROUNDS: u64 = 20;
    let (tcp, udp) = sockets();
    let address = tcp.local_addr().unwrap();
    let server = Server::start(&mut passing(descriptors(&tcp, &udp), &[]));
    server.listening();

    let held = holding(address);
    server.signal(Signal::TERM);
    server.line_with("stopping");
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"for the next", address).unwrap();
    let mut queued: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    let turns = || {
        server.signal(Signal::USR1);
        server.line_with("  turns ").parse::<u64>().unwrap()
    };
    let before = turns();
    let after = (0..ROUNDS).map(|_| turns()).max().unwrap();
    assert!(after - before < 5 * ROUNDS, "{} turns for {ROUNDS} signals", after - before);

    let_go(held);
    let (code, lines) = server.ended();
    assert_eq!(code, Some(0), "{lines:#?}");

    client.set_nonblocking(true).unwrap();
    assert_eq!(client.recv(&mut [0; 64]).unwrap_err().kind(), ErrorKind::WouldBlock, "answered by the first");
    client.set_nonblocking(false).unwrap();
    let second = Server::start(&mut passing(descriptors(&tcp, &udp), &[]));
    assert_eq!(retried(|| client.recv(&mut [0; 64])).unwrap(), b"for the next".len());
    for stream in &mut queued {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"x").unwrap();
        let mut answer = [0];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, *b"X");
    }
    second.listening();
    drop(queued);
    second.stop();
}

#[test]
fn one_socket_is_enough() {
    let (tcp, udp) = sockets();
    let address = tcp.local_addr().unwrap();
    let [tcp, udp] = <[_; 2]>::try_from(descriptors(&tcp, &udp)).unwrap();
    for (descriptor, protocol) in [(tcp, "tcp"), (udp, "udp")] {
        let server = Server::start(&mut passing(vec![descriptor], &["--listen", "127.0.0.1:1"]));
        assert_eq!(server.listening(), (protocol.to_owned(), address));
        server.stop();
    }
}

/// A manager names them after its own units. The server tells them by their kinds.
#[test]
fn names_of_passed_sockets_change_nothing() {
    let (tcp, udp) = sockets();
    let address = tcp.local_addr().unwrap();
    for names in ["shout.socket:shout.socket", "udp:tcp", "x:y", "one", "three:too:many", "::", "", "\u{7f}=%s:ü"] {
        let server = Server::start(passing(descriptors(&tcp, &udp), &[]).env("LISTEN_FDNAMES", names));
        assert_eq!(server.listening(), ("udp+tcp".to_owned(), address), "{names:?}");
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send_to(b"datagram", address).unwrap();
        let mut answer = [0; 8];
        retried(|| client.recv(&mut answer)).unwrap();
        assert_eq!(&answer, b"DATAGRAM", "{names:?}");
        server.stop();
    }
}

#[test]
fn sockets_that_are_not_ours_or_not_what_is_served_are_refused() {
    let (tcp, udp) = sockets();
    let (other_tcp, other_udp) = sockets();
    let both = || descriptors(&tcp, &udp);
    let name = std::env::temp_dir().join(format!("shout-restart-{}.sock", std::process::id()));
    let local = UnixListener::bind(&name).unwrap();
    std::fs::remove_file(&name).unwrap();
    let connected = TcpStream::connect(other_tcp.local_addr().unwrap()).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let group = UdpSocket::bind("224.0.0.1:0").unwrap();
    let rows = [
        (vec![group.into()], &[][..], "224.0.0.1 is a broadcast or multicast address"),
        (vec![null.into()], &[], "descriptor 3 is neither"),
        (vec![local.into()], &[], "descriptor 3 is neither"),
        (vec![connected.into()], &[], "does not listen"),
        (vec![both().remove(0), both().remove(0)], &[], "descriptor 4 is a second TCP"),
        (vec![both().remove(1), both().remove(1)], &[], "descriptor 4 is a second UDP"),
        (descriptors(&tcp, &other_udp), &[], "two addresses"),
        (both(), &["--workers", "2"], "--workers"),
        (both(), &["--no-udp"], "--no-udp"),
        (both(), &["--no-tcp"], "--no-tcp"),
    ];
    for (descriptors, arguments, reason) in rows {
        let (code, lines) = Server::start(&mut passing(descriptors, arguments)).ended();
        assert_eq!(code, Some(1), "{reason}: {lines:#?}");
        let last = lines.last().unwrap();
        assert!(last.starts_with("shout-server: error: ") && last.contains(reason), "{reason}: {lines:#?}");
    }
    // Meant for another process, which has perhaps only forgotten to clean up.
    let server = Server::start(passing(both(), &["--listen", "127.0.0.1:0"]).env("PRETENDED_PID", "1"));
    assert_ne!(server.listening().1, tcp.local_addr().unwrap());
    server.stop();
}

#[test]
fn a_second_server_starts_only_where_both_share_the_address() {
    let start = |address: &str, flags: &[&str]| Server::start(&mut command(&[&["--listen", address], flags].concat()));
    for (first, second, allowed) in
        [(false, false, false), (true, false, false), (false, true, false), (true, true, true)]
    {
        let flags = |shared| if shared { &["--reuse-port"][..] } else { &[] };
        let one = start("127.0.0.1:0", flags(first));
        let (_, address) = one.listening();
        let two = start(&address.to_string(), flags(second));
        if allowed {
            assert_eq!(two.listening().1, address);
            two.stop();
        } else {
            let (code, lines) = two.ended();
            assert_eq!(code, Some(1), "{lines:#?}");
            assert!(lines.last().unwrap().contains(&format!("cannot listen on tcp {address}")), "{lines:#?}");
        }
        one.stop();
    }
}

/// The connections of [`a_handover_of_a_shared_address_depends_on_the_kernel`].
const QUEUED: usize = 40;

/// Names the test that runs itself again inside a network namespace.
const INSIDE: &str = "SHOUT_TEST_INSIDE_NAMESPACE";

/// A server that dies without having accepted what the kernel had queued for it: the kernel resets these connections,
/// or hands them to the next server on the address if `net.ipv4.tcp_migrate_req` is 1.
#[test]
fn a_handover_of_a_shared_address_depends_on_the_kernel() {
    let name = "a_handover_of_a_shared_address_depends_on_the_kernel";
    let setting = "/proc/sys/net/ipv4/tcp_migrate_req";
    if std::env::var_os(INSIDE).is_some() {
        for migrate in ["0", "1"] {
            std::fs::write(setting, migrate).unwrap();
            let lost = connections_lost_in_a_handover();
            println!("net.ipv4.tcp_migrate_req={migrate}: {lost} of {QUEUED} queued connections lost");
            assert_eq!(lost == 0, migrate == "1");
        }
        return;
    }
    let up = ["--map-root-user", "--net", "sh", "-c", &format!("ip link set lo up && test -w {setting}")];
    if !can_run("unshare", up) {
        return;
    }
    let inside = r#"ip link set lo up && exec "$0" --exact "$1" --nocapture"#;
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh", "-c", inside]).arg(std::env::current_exe().unwrap()).arg(name);
    let output = command.env(INSIDE, "1").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    for line in String::from_utf8_lossy(&said).lines().filter(|line| line.starts_with("net.ipv4")) {
        println!("{line}");
    }
}

/// How many connections are lost when one of two servers on an address is killed with a queue.
fn connections_lost_in_a_handover() -> usize {
    let first = Server::start(&mut command(&["--listen", "127.0.0.1:0", "--no-udp", "--reuse-port"]));
    let (_, address) = first.listening();
    let second = Server::start(&mut command(&["--listen", &address.to_string(), "--no-udp", "--reuse-port"]));
    second.listening();
    // Stopped, it accepts nothing: the kernel deals connections out to both, and those of the first wait.
    first.signal(Signal::STOP);
    let streams: Vec<TcpStream> = (0..QUEUED)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"still there?").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream
        })
        .collect();
    first.signal(Signal::KILL);
    let (code, _) = first.ended();
    assert_eq!(code, None);
    let answered = streams.into_iter().filter(|mut stream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).is_ok() && answer == "STILL THERE?"
    });
    let lost = QUEUED - answered.count();
    second.stop();
    lost
}
