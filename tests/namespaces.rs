//! What takes a network of one's own: forged sources, broadcasts, links that go down.
//!
//! Each test makes network namespaces and removes them again. That takes root and `ip`; without them it says so and
//! passes.
#![cfg(target_os = "linux")]

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket2::{Domain, Protocol, Socket, Type};

mod common;
mod namespace;
use common::{Lines, PATIENCE, Program, pattern, ping, ping_udp, retried, tcp_client, udp_client};
use namespace::{Namespace, PORT};

fn loopback(host: u8, port: u16) -> SocketAddr {
    (Ipv4Addr::new(127, 0, 0, host), port).into()
}

/// One datagram whose sender is somebody else: the header of RFC 768 behind a header of RFC 791.
fn forge(namespace: &Namespace, from: SocketAddr, to: SocketAddr, text: &[u8]) {
    let (IpAddr::V4(source), IpAddr::V4(target)) = (from.ip(), to.ip()) else { panic!("IPv4 only") };
    let length = 8 + text.len() as u16;
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&(20 + length).to_be_bytes());
    packet.extend_from_slice(&[0, 1, 0, 0, 64, 17, 0, 0]);
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&target.octets());
    for field in [from.port(), to.port(), length, 0] {
        packet.extend_from_slice(&field.to_be_bytes());
    }
    packet.extend_from_slice(text);
    namespace.inside(|| {
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
        raw.send_to(&packet, &to.into()).unwrap();
    });
}

/// A textbook server in Python.
struct Naive {
    child: Child,
    lines: Lines,
    address: SocketAddr,
}

impl Naive {
    /// `None`, and a line that says why, where there is no Python.
    fn start(namespace: &Namespace, address: SocketAddr) -> Option<Naive> {
        if Command::new("python3").arg("--version").output().is_err() {
            println!("skipped: there is no python3");
            return None;
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/namespaces/naive.py");
        let mut command = namespace.command("python3");
        command.args([script, &address.ip().to_string(), &address.port().to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = Lines::of(child.stdout.take().unwrap());
        assert_eq!(lines.next("the textbook server"), "listening");
        Some(Naive { child, lines, address })
    }

    /// Ends it. How many datagrams it had received.
    fn end(self, namespace: &Namespace) -> u64 {
        let socket = namespace.inside(|| udp_client(self.address));
        socket.send_to(b"BYE", self.address).unwrap();
        self.lines.next("the count of the textbook server").parse().unwrap()
    }
}

impl Drop for Naive {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until a counter has reached a value. Each question is a round trip, so that what came before has been seen.
fn wait_for(program: &mut Program, client: &UdpSocket, name: &str, value: u64) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        ping_udp(client, program.address, b"what now?");
        let now = program.counter(name);
        if now >= value {
            return now;
        }
        assert!(Instant::now() < deadline, "{name} is {now}, and {value} was waited for");
    }
}

#[test]
fn a_forged_datagram_between_two_of_us_dies_out() {
    let Some(namespace) = Namespace::new() else { return };
    let (one, other) = (loopback(1, PORT), loopback(2, PORT));
    let mut programs = [one, other].map(|address| namespace.start(&address.to_string(), &[]));
    let client = namespace.inside(|| udp_client(one));
    forge(&namespace, one, other, b"loop");
    forge(&namespace, one, one, b"loop");
    for (program, forged) in programs.iter_mut().zip([1, 1]) {
        wait_for(program, &client, "udp_dropped_source_port", forged);
        for _ in 0..10 {
            ping_udp(&client, program.address, b"and nothing else");
        }
        assert_eq!(program.counter("udp_dropped_source_port"), forged);
        assert_eq!(program.counter("udp_received") - program.counter("udp_replied"), forged);
    }
}

/// The proof that the test above would notice: with the rule switched off it does not die out.
#[test]
fn a_forged_datagram_goes_round_for_ever_where_that_is_allowed() {
    let Some(namespace) = Namespace::new() else { return };
    let (one, other) = (loopback(1, PORT), loopback(2, PORT));
    let mut programs = [one, other].map(|address| namespace.start(&address.to_string(), &["--allow-source-port-own"]));
    let client = namespace.inside(|| udp_client(one));
    forge(&namespace, one, other, b"loop");
    for program in &mut programs {
        wait_for(program, &client, "udp_received", 10_000);
    }
}

#[test]
fn a_forged_datagram_between_us_and_a_textbook_server_dies_out() {
    let Some(namespace) = Namespace::new() else { return };
    let (ours, theirs) = (loopback(1, PORT), loopback(2, PORT));
    let mut program = namespace.start(&ours.to_string(), &[]);
    let Some(naive) = Naive::start(&namespace, theirs) else { return };
    let client = namespace.inside(|| udp_client(ours));
    // Once round: theirs answers what it believes to be from us, and we know that port.
    forge(&namespace, ours, theirs, b"loop");
    wait_for(&mut program, &client, "udp_dropped_source_port", 1);
    forge(&namespace, theirs, ours, b"loop");
    wait_for(&mut program, &client, "udp_dropped_source_port", 2);
    assert_eq!((naive.end(&namespace), program.counter("udp_dropped_source_port")), (1, 2));
}

/// An echo on another port is a client like any other to us; only the rate limit bounds what goes round.
#[test]
fn with_a_textbook_server_on_another_port_the_rate_limit_ends_the_loop() {
    let Some(namespace) = Namespace::new() else { return };
    let (ours, theirs) = (loopback(1, PORT), loopback(2, 7));
    let mut program = namespace.start(&ours.to_string(), &["--udp-rate-limit", "100"]);
    let Some(naive) = Naive::start(&namespace, theirs) else { return };
    forge(&namespace, theirs, ours, b"loop");
    let deadline = Instant::now() + PATIENCE;
    while program.counter("udp_dropped_rate") == 0 {
        assert!(Instant::now() < deadline, "it goes round for ever");
    }
    assert!(naive.end(&namespace) >= 100);
}

#[test]
fn an_ipv6_network_shares_one_limit_and_another_has_its_own() {
    let Some(namespace) = Namespace::new() else { return };
    // Every address of both networks is ours to send from, as it is for whoever owns such a network.
    for network in ["fd00:1::/64", "fd00:2::/64"] {
        namespace.ip(&format!("-6 route add local {network} dev lo"));
    }
    namespace.inside(|| std::fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1").unwrap());
    let mut program = namespace.start("[::1]:12000", &["--udp-rate-limit", "5"]);
    let address = program.address;
    let from = |ip: Ipv6Addr| {
        let socket = namespace.inside(|| UdpSocket::bind((ip, 0)).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    // More sources than a second gives replies to one network, even if this takes a few seconds.
    let start = Instant::now();
    for host in 1..=200_u16 {
        let ip = Ipv6Addr::new(0xfd00, 1, 0, 0, host.rotate_left(5), 0, 0, host);
        from(ip).send_to(b"me?", address).unwrap();
    }
    let other = from("fd00:2::1".parse().unwrap());
    assert_eq!(ping_udp(&other, address, b"mine"), b"MINE");
    let most = 5 + 5 * (start.elapsed().as_secs() + 1);
    let (received, dropped) = (program.counter("udp_received"), program.counter("udp_dropped_rate"));
    assert_eq!(received, 201);
    assert!(
        (201 - 1 - most..=201 - 1 - 5).contains(&dropped),
        "{dropped} of {received} dropped, at most {most} allowed"
    );
}

/// Peers to whom no datagram can leave, each for a reason of its own, in the middle of a batch.
#[test]
fn a_peer_to_whom_nothing_can_be_sent_costs_nobody_else_an_answer() {
    const EACH: u64 = 5;
    for how in ["auto", "portable"] {
        let Some(namespace) = Namespace::new() else { return };
        for kind in ["unreachable", "prohibit", "blackhole"] {
            namespace.ip(&format!("route add {kind} 192.0.2.{}", kind.len()));
        }
        let mut program = namespace.start("127.0.0.1:12000", &["--udp-io", how]);
        let address = program.address;
        let clients = [(); 3].map(|()| namespace.inside(|| udp_client(address)));
        // Stopped, it finds them all in its queue when it goes on. To the first of them there is no route at all.
        program.signal(Signal::STOP);
        let bad = [0, "unreachable".len(), "prohibit".len(), "blackhole".len()];
        for host in bad {
            for client in &clients {
                client.send_to(b"before", address).unwrap();
            }
            for _ in 0..EACH {
                forge(&namespace, (Ipv4Addr::new(192, 0, 2, host as u8), 7).into(), address, b"never mind");
            }
        }
        for client in &clients {
            client.send_to(b"behind", address).unwrap();
        }
        program.signal(Signal::CONT);
        for client in &clients {
            let mut answer = [0; 64];
            for wanted in [b"BEFORE"; 4].into_iter().chain([b"BEHIND"]) {
                let length = retried(|| client.recv(&mut answer)).unwrap();
                assert_eq!(&answer[..length], wanted, "{how}");
            }
        }
        let counted = ["udp_received", "udp_replied", "udp_dropped_send_error"].map(|name| program.counter(name));
        let (good, bad) = (5 * clients.len() as u64, EACH * bad.len() as u64);
        assert_eq!(counted, [good + bad, good, bad], "{how}");
    }
}

#[test]
fn what_is_sent_to_a_group_is_not_answered() {
    let Some((here, there)) = Namespace::pair() else { return };
    there.ip("route add default dev wire");
    // The directed broadcast of the network, the limited one, and the group that every host belongs to: that of IPv4
    // is not handed to IPv6 sockets.
    let v4 = ["10.77.0.255:12000", "255.255.255.255:12000", "224.0.0.1:12000"].map(|group| group.parse().unwrap());
    let scope = there.inside(|| rustix::net::netdevice::name_to_index(udp_client(loopback(1, 0)), "wire").unwrap());
    let v6 = SocketAddr::V6(SocketAddrV6::new("ff02::1".parse().unwrap(), PORT, 0, scope));
    for (listen, client, host, groups) in [
        ("0.0.0.0:12000", "10.77.0.2", "10.77.0.1:12000", &v4[..]),
        ("[::]:12000", "10.77.0.2", "10.77.0.1:12000", &v4[..2]),
        ("[::]:12000", "fd77::2", "[fd77::1]:12000", &[v6]),
    ] {
        let mut program = here.start(listen, &[]);
        let client = there.inside(|| UdpSocket::bind((client.parse::<IpAddr>().unwrap(), 0)).unwrap());
        client.set_broadcast(true).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        for group in groups {
            client.send_to(b"everybody?", group).unwrap();
        }
        // One link, one queue: whatever the groups had been answered would have come before this.
        assert_eq!(ping_udp(&client, host.parse().unwrap(), b"you?"), b"YOU?");
        let case = format!("{listen} {groups:?}");
        assert_eq!(program.counter("udp_dropped_group"), groups.len() as u64, "{case}");
        assert_eq!(
            (program.counter("udp_received"), program.counter("udp_replied")),
            (groups.len() as u64 + 1, 1),
            "{case}"
        );
        assert_eq!(program.counter("udp_dropped_send_error"), 0, "{case}");
    }
}

#[test]
fn peers_that_vanish_without_a_word_are_noticed() {
    let Some((here, there)) = Namespace::pair() else { return };
    let mut program = here.start("0.0.0.0:12000", &["--stall-timeout", "3s"]);
    let far: SocketAddr = "10.77.0.1:12000".parse().unwrap();
    let near = loopback(1, PORT);
    let mut staying = here.inside(|| tcp_client(near));
    let mut idle = there.inside(|| tcp_client(far));
    let mut owed: TcpStream = there.inside(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        socket.connect(&far.into()).unwrap();
        socket.into()
    });
    ping(&mut staying, b"here");
    ping(&mut idle, b"far");
    owed.write_all(&pattern(30_000)).unwrap();
    let client = here.inside(|| udp_client(near));
    there.ip("link set wire down");
    let start = Instant::now();
    program.address = near;
    let broken = wait_for(&mut program, &client, "tcp_broken", 2);
    println!("both gone after {:?}", start.elapsed());
    // The limit, a probe's interval and the coarseness of timers; and patience with a busy machine.
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert_eq!(broken, 2);
    assert_eq!(ping(&mut staying, b"here"), b"HERE");
}
