//! The server as a program: its arguments, what it prints where, its exit codes, and where it listens.
#![cfg(unix)]

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;

mod common;
use common::{PATIENCE, Program, SERVER, has_ipv6, ping, ping_udp, retried, tcp_client, udp_client};

/// Runs the server to its end, which must come by itself.
fn run(arguments: &[&str]) -> Output {
    // A server that starts all the same is killed, and then has no exit code.
    assert_cmd::Command::new(SERVER).args(arguments).timeout(PATIENCE).output().unwrap()
}

#[track_caller]
fn assert_serves(address: SocketAddr) {
    assert_eq!(ping(&mut tcp_client(address), b"tcp"), b"TCP");
    assert_eq!(ping_udp(&udp_client(address), address, b"udp"), b"UDP");
}

#[test]
fn a_wrong_argument_is_refused_with_code_2_and_one_line_that_names_it() {
    for (arguments, named) in [
        (&["--listen", "localhost"][..], &["--listen", "'localhost'"][..]),
        (&["--listen", "127.0.0.1:70000"], &["--listen", "'127.0.0.1:70000'"]),
        (&["--case", "title"], &["--case", "'title'"]),
        (&["--max-connections", "0"], &["--max-connections", "'0'"]),
        (&["--idle-timeout", "5x"], &["--idle-timeout", "'5x'", "a bare number is seconds"]),
        (&["--pin", "one"], &["--pin", "'one'", "numbers such as 0"]),
        (&["--stall-timeout", "-1s"], &["-1"]),
        (&["--max-unsent", "64MB/s"], &["--max-unsent", "'64MB/s'"]),
        (&["--udp-recv-buffer", "8 MiB"], &["--udp-recv-buffer", "'8 MiB'"]),
        (&["--backlog", "3g"], &["--backlog", "'3g'"]),
        (&["--stats", "1ms"], &["--stats", "'1ms'"]),
        (&["--no-udp", "--no-tcp"], &["--no-udp", "--no-tcp"]),
        (&["--drain-timeout"], &["--drain-timeout"]),
        (&["--verbos"], &["--verbos", "--verbose"]),
        (&["12000"], &["'12000'"]),
    ] {
        let output = run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?} said {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert_eq!(said.lines().count(), 1, "{arguments:?} said {said}");
        for name in named {
            assert!(said.contains(name), "{arguments:?} said {said:?}, which does not name {name}");
        }
    }
}

/// The processors that this thread may use, in order.
#[cfg(target_os = "linux")]
fn processors() -> Vec<usize> {
    let there = rustix::thread::sched_getaffinity(None).unwrap();
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|&processor| there.is_set(processor)).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn a_processor_that_is_not_there_is_refused_and_those_that_are_there_are_named() {
    // The first is in the kernel's set of them, though hardly in a machine; the second is in neither.
    for (pin, wrong) in [("0,1023", 1023), ("99999", 99999)] {
        let output = run(&["--pin", pin]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{pin}: {said}");
        assert!(said.contains("--pin") && said.contains(&format!("'{wrong}'")), "{pin}: {said}");
        let (_, named) = said.trim().split_once("may use the processors ").expect(&said);
        let named: Vec<usize> = named.split(',').map(|number| number.parse().expect(&said)).collect();
        assert!(processors().iter().all(|there| named.contains(there)) && !named.contains(&wrong), "{pin}: {said}");
    }
}

/// A load keeps the last processor for itself, and what it starts is kept there too until it says where else it wants to be.
#[cfg(target_os = "linux")]
#[test]
fn who_was_put_on_one_processor_may_be_pinned_to_another() {
    let (first, last) = (processors()[0], *processors().last().unwrap());
    let put_on_the_last = || {
        let mut set = rustix::thread::CpuSet::new();
        set.set(last);
        rustix::thread::sched_setaffinity(None, &set).unwrap();
        Program::start(&["--pin", &first.to_string()])
    };
    let program = std::thread::scope(|scope| scope.spawn(put_on_the_last).join().unwrap());
    assert_serves(program.address);
    assert_eq!(program.terminate().code, Some(0));
}

#[test]
fn the_help_begins_with_examples_and_names_every_default() {
    let output = run(&["--help"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    assert!(text.starts_with("Examples:\n  shout-server "), "{text}");
    assert!(text.contains("[default: 127.0.0.1:12000]"), "an echo on a public address must be asked for");
    assert!(!text.contains('\u{1b}'), "colours are for terminals");
}

#[test]
fn a_reader_who_has_gone_ends_the_help_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(SERVER).arg("--help").stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

#[test]
fn the_first_line_says_where_it_listens() {
    for (flags, protocols) in [(&[][..], "udp+tcp"), (&["--no-tcp"], "udp"), (&["--no-udp"], "tcp")] {
        let program = Program::start(flags);
        let address = program.address;
        assert_eq!(program.first_line, format!("shout-server listening on {protocols} {address}"));
        assert!(address.ip().is_loopback() && address.port() != 0);
    }
}

#[test]
fn a_protocol_that_is_not_wanted_is_not_served() {
    // An address of its own where there are several on loopback, so that no other test can have the same port there.
    let ip = if cfg!(target_os = "linux") { Ipv4Addr::new(127, 0, 7, 1) } else { Ipv4Addr::LOCALHOST };
    let listen = format!("{ip}:0");

    let program = Program::start(&["--no-tcp", "--listen", &listen]);
    assert_eq!(ping_udp(&udp_client(program.address), program.address, b"udp"), b"UDP");
    TcpStream::connect(program.address).unwrap_err();
    assert_eq!(program.terminate().code, Some(0));

    let program = Program::start(&["--no-udp", "--listen", &listen]);
    assert_eq!(ping(&mut tcp_client(program.address), b"tcp"), b"TCP");
    let client = udp_client(program.address);
    client.connect(program.address).unwrap();
    client.send(b"nobody is there").unwrap();
    assert_eq!(retried(|| client.recv(&mut [0])).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(program.terminate().code, Some(0));
}

#[test]
fn a_port_in_use_is_an_error_that_names_protocol_and_address() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for (protocol, flag, address) in
        [("tcp", "--no-udp", listener.local_addr().unwrap()), ("udp", "--no-tcp", socket.local_addr().unwrap())]
    {
        let output = run(&[flag, "--listen", &address.to_string()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(&format!("cannot listen on {protocol} {address}")), "{said}");
    }
}

#[test]
fn an_address_that_many_hosts_share_is_refused_in_one_line_that_says_so() {
    // That of the network which every machine has, and one that is known without asking the kernel.
    for (listen, code) in [("127.255.255.255:0", 1), ("[::ffff:127.255.255.255]:0", 1), ("224.0.0.1:0", 2)] {
        let output = run(&["--listen", listen]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len(), said.lines().count()), (Some(code), 0, 1), "{said}");
        assert!(said.contains(listen) && (said.contains("broadcast") || said.contains("group")), "{said}");
    }
}

#[test]
fn a_public_address_is_warned_of_in_one_line_and_loopback_is_not() {
    let mut places = vec![("0.0.0.0:0", 1), ("127.0.0.1:0", 0)];
    if has_ipv6() {
        places.extend([("[::]:0", 1), ("[::1]:0", 0)]);
    }
    for (listen, wanted) in places {
        // A backlog that every kernel grants.
        let ended = Program::start(&["--listen", listen, "--backlog", "1"]).terminate();
        let warnings: Vec<_> = ended.stderr.iter().filter(|line| line.contains("warning")).collect();
        assert_eq!((ended.code, warnings.len()), (Some(0), wanted), "{listen}: {:#?}", ended.stderr);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_backlog_that_the_kernel_does_not_grant_is_warned_of_in_one_line_and_another_is_not() {
    let granted = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let granted: i32 = granted.trim().parse().unwrap();
    let Some(more) = granted.checked_add(1) else {
        println!("skipped: this kernel grants whatever can be asked for");
        return;
    };
    for (asked, flags, wanted) in [(granted, &[][..], 0), (more, &[], 1), (more, &["--no-tcp"], 0)] {
        let ended = Program::start(&[&["--backlog", &asked.to_string()], flags].concat()).terminate();
        let warnings: Vec<_> = ended.stderr.iter().filter(|line| line.contains("warning")).collect();
        assert_eq!((ended.code, warnings.len()), (Some(0), wanted), "{asked} {flags:?}: {:#?}", ended.stderr);
        let named = [format!("--backlog {asked} "), format!("{granted} ")];
        let are_named = |line: &&String| named.iter().all(|text| line.contains(text));
        assert!(warnings.iter().all(are_named), "{warnings:#?}");
    }
}

#[test]
fn every_loop_of_several_serves_and_ends() {
    let program = Program::start(&["--workers", "3"]);
    // The kernel deals clients out by their ports: with 32 of them every loop has its share in all but 1 of 140,000 runs.
    let mut clients: Vec<_> = (0..32).map(|_| (tcp_client(program.address), udp_client(program.address))).collect();
    for (tcp, udp) in &mut clients {
        assert_eq!(ping(tcp, b"tcp"), b"TCP");
        assert_eq!(ping_udp(udp, program.address, b"udp"), b"UDP");
    }
    drop(clients);
    let ended = program.terminate();
    assert_eq!((ended.code, ended.counter("tcp_finished"), ended.counter("udp_replied")), (Some(0), 32, 32));
}

#[test]
fn a_line_an_interval_says_what_changed() {
    let program = Program::start(&["--stats", "10ms"]);
    let client = udp_client(program.address);
    ping_udp(&client, program.address, b"counted");
    let line = program.stderr.skip_to(" udp_replied ");
    assert!(line.contains("0 connections") && line.ends_with("/s"), "{line}");
    assert!(!line.contains("tcp_"), "nothing happened there: {line}");
}

#[test]
fn a_quiet_server_says_nothing() {
    let program = Program::start(&["--quiet"]);
    assert_serves(program.address);
    let ended = program.terminate();
    assert_eq!((ended.code, ended.stderr), (Some(0), vec![]));
}

#[test]
fn closed_standard_streams_do_not_stop_the_service() {
    let program = Program::start_after("exec 2>&-", &[]);
    assert_serves(program.address);
    program.signal(Signal::USR1);
    assert_serves(program.address);
    assert_eq!(program.terminate().code, Some(0));

    let mut program = Program::start_after("exec >&-", &["--listen", "0.0.0.0:0"]);
    program.address.set_ip(Ipv4Addr::LOCALHOST.into());
    assert_eq!(program.first_line, "");
    assert_serves(program.address);
    assert_eq!(program.terminate().code, Some(0));
}

#[test]
fn a_reader_of_standard_error_who_has_gone_does_not_stop_the_service() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let program = Program::start_with_stderr(writer, &["--stats", "10ms"]);
    program.signal(Signal::USR1);
    assert_serves(program.address);
    assert_eq!(program.terminate().code, Some(0));
}

/// Has a server report a thousand times where nobody reads it.
fn assert_serves_unread(stderr: impl Into<Stdio>) {
    let program = Program::start_with_stderr(stderr, &[]);
    let client = udp_client(program.address);
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // A report has at least 100 bytes, and a pipe holds at most 64 KiB on the systems that we know.
    for _ in 0..1000 {
        program.signal(Signal::USR1);
        assert_eq!(ping_udp(&client, program.address, b"still there?"), b"STILL THERE?");
    }
    assert_serves(program.address);
    assert_eq!(program.terminate().code, Some(0));
}

#[test]
fn a_reader_of_standard_error_who_does_not_read_does_not_stop_the_service() {
    let (_reader, writer) = std::io::pipe().unwrap();
    assert_serves_unread(writer);
}

#[test]
#[cfg(target_os = "linux")]
fn a_terminal_that_scrolls_no_further_does_not_stop_the_service() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&screen).and_then(|()| unlockpt(&screen)).unwrap();
    let name = ptsname(&screen, Vec::new()).unwrap();
    assert_serves_unread(std::fs::OpenOptions::new().write(true).open(name.to_str().unwrap()).unwrap());
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_behind_the_standard_streams_does_not_stop_the_service() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let program = Program::start_with_stderr(full(), &["--stats", "10ms"]);
    program.signal(Signal::USR1);
    assert_serves(program.address);
    assert_eq!(program.terminate().code, Some(0));
}
