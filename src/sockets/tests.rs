//! What the kernel is asked of sockets, and what it grants.

use super::*;
use clap::Parser;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

#[track_caller]
fn assert_has_what_bounds_its_peer(stream: &mio::net::TcpStream, timeout: u64, first_probe: u64, probe_interval: u64) {
    let accepted = SockRef::from(stream);
    assert!(accepted.tcp_nodelay().unwrap() && accepted.out_of_band_inline().unwrap());
    assert_eq!(accepted.tcp_notsent_lowat().unwrap(), NOTSENT_MAX);
    assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(Duration::from_millis(timeout)));
    assert!(accepted.keepalive().unwrap());
    assert_eq!(accepted.tcp_keepalive_time().unwrap(), Duration::from_secs(first_probe));
    assert_eq!(accepted.tcp_keepalive_interval().unwrap(), Duration::from_secs(probe_interval));
}

#[test]
fn accepted_sockets_inherit_what_bounds_their_peers() {
    for (limit, timeout, first_probe, interval) in
        [("60s", 60_000, 30, 6), ("4s", 4_000, 2, 1), ("0", 1, 1, 1), ("365m", 21_900_000, 10_950, 2_190)]
    {
        let config = Config::parse_from(["shout-server", "--listen", "127.0.0.1:0", "--stall-timeout", limit]);
        let listener = listener(&config, config.listen).unwrap();
        let _peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        assert_has_what_bounds_its_peer(&stream, timeout, first_probe, interval);
    }
}

#[test]
fn who_waited_in_a_passed_listener_is_given_what_those_inherit_who_come_later() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    let _early = std::net::TcpStream::connect(place).unwrap();
    let flags = ["--stall-timeout", "4s", "--tcp-recv-buffer", "8KiB", "--tcp-send-buffer", "8KiB"];
    let config = Config::parse_from(["shout-server"].into_iter().chain(flags));
    let sockets = adopt(&config, Passed { tcp: Some(listener), udp: None }).unwrap();
    let _late = std::net::TcpStream::connect(place).unwrap();
    let (early, _) = sockets.tcp.as_ref().unwrap().accept().unwrap();
    let (late, _) = sockets.tcp.as_ref().unwrap().accept().unwrap();
    assert!(!SockRef::from(&early).keepalive().unwrap(), "it is older than the options of its listener");
    sockets.passed.unwrap().set(&SockRef::from(&early)).unwrap();
    for stream in [early, late] {
        assert_has_what_bounds_its_peer(&stream, 4_000, 2, 1);
        let buffers = SockRef::from(&stream);
        assert_eq!((buffers.recv_buffer_size().unwrap(), buffers.send_buffer_size().unwrap()), (16_384, 16_384));
    }
}

#[test]
fn a_limit_beyond_what_the_kernel_counts_is_no_error() {
    let config = Config::parse_from(["shout-server", "--listen", "127.0.0.1:0", "--stall-timeout", "8760h"]);
    listener(&config, config.listen).unwrap();
}

/// Has the kernel refuse one call of this thread, for this reason.
fn forbid(call: i64, errno: i32) {
    let (others, this) = (SeccompAction::Allow, SeccompAction::Errno(errno as u32));
    let rules = [(call, Vec::new())].into();
    let filter = SeccompFilter::new(rules, others, this, std::env::consts::ARCH.try_into().unwrap()).unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

/// Whoever confines the server from outside passes it its sockets, and may let it make and connect no others.
#[test]
fn an_address_is_not_taken_for_a_broadcast_because_the_question_is_not_allowed() {
    let refusal = |address: &str| refuse_group(address.parse().unwrap()).map_err(|error| error.to_string()).err();
    assert_eq!(refusal("127.0.0.1:12000"), None);
    for address in ["127.255.255.255:12000", "[::ffff:127.255.255.255]:12000"] {
        assert!(refusal(address).is_some_and(|why| why.contains("broadcast")), "{address}");
    }
    for call in [libc::SYS_socket, libc::SYS_connect] {
        for errno in [libc::EPERM, libc::EACCES] {
            // What a thread gives up it takes along to its end.
            let asked = std::thread::spawn(move || {
                forbid(call, errno);
                refusal("127.0.0.1:12000")
            });
            assert_eq!(asked.join().unwrap(), None, "system call {call} fails with error {errno}");
        }
    }
}
