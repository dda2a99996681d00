//! What sockets bring along that others have used before.

use super::*;

/// A socket that was passed in may have been asked for more than there is room for.
#[test]
fn a_message_whose_control_messages_do_not_fit_counts_as_truncated() {
    let receiver = UdpSocket::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let (fd, place) = (receiver.as_raw_fd(), receiver.local_addr().unwrap());
    let mut io = Linux::new(receiver).unwrap();
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut batch = Batch::new(1);
    // Each row adds to what the rows above it have asked for.
    let ip = libc::IPPROTO_IP;
    for (options, truncated) in [
        (&[(ip, libc::IP_PKTINFO), (ip, libc::IP_RECVTTL)][..], false),
        (&[(ip, libc::IP_RECVTOS), (ip, libc::IP_RECVORIGDSTADDR)], false),
        (&[(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS)], true),
    ] {
        for &(level, option) in options {
            set(fd, level, option, 1).unwrap();
        }
        sender.send_to(b"text", place).unwrap();
        batch.clear();
        // Loopback delivers before `send_to` returns.
        io.receive(&mut batch, 1).unwrap();
        assert_eq!(batch.messages[0].truncated, truncated, "{options:?}");
    }
}

/// Receives all that waits.
fn empty(io: &mut Linux, batch: &mut Batch) {
    loop {
        batch.clear();
        match io.receive(batch, 1) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => panic!("cannot receive: {error}"),
        }
    }
}

/// A socket that was passed in may have dropped some before.
#[test]
fn what_a_socket_drops_is_counted_from_when_it_was_taken_over() {
    let receiver = UdpSocket::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let (fd, place) = (receiver.as_raw_fd(), receiver.local_addr().unwrap());
    for (option, value) in [(libc::SO_RCVBUF, 4096), (libc::SO_RXQ_OVFL, 1)] {
        set(fd, libc::SOL_SOCKET, option, value).unwrap();
    }
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let flood = || {
        let before = drops_so_far(fd);
        for _ in 0..100 {
            sender.send_to(&[b'x'; 64], place).unwrap();
        }
        assert!(drops_so_far(fd) > before, "all of it found room, which proves nothing");
    };
    flood();
    let mut buffer = [0; 64];
    while receiver.recv(&mut buffer).is_ok() {}
    sender.send_to(b"an older count", place).unwrap();
    flood();
    let (mut io, mut batch, before) = (Linux::new(receiver).unwrap(), Batch::new(1), drops_so_far(fd));
    empty(&mut io, &mut batch);
    assert_eq!(io.kernel_drops(), 0, "{before} were dropped before");
    flood();
    empty(&mut io, &mut batch);
    // The count of drops travels with the next datagram.
    sender.send_to(b"and?", place).unwrap();
    empty(&mut io, &mut batch);
    assert_eq!(io.kernel_drops(), u64::from(drops_so_far(fd) - before));
}
