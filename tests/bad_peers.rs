//! Peers that do not read, or vanish, or come in thousands: what they cost is bounded, and nobody else notices.
#![cfg(target_os = "linux")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use shout::connections::CHUNK_LEN;
use shout::sockets::NOTSENT_MAX;
use socket2::{Domain, SockRef, Socket, Type};

mod common;
mod peers;
use common::{
    End, PATIENCE, Program, exchange, pattern, ping, rest_of, server, tcp, tcp_client, turn_until, turn_until_quiet,
    udp_client, write_some,
};
use peers::{Victim, may_open, press, small};

/// What the server keeps for itself beside `--max-unsent`: code, slots, batches, what the allocator holds back.
const RESIDENT_MAX: u64 = 24 << 20;

/// The most memory that the kernel holds to send on one connection of the server, in bytes, as `ss` shows it.
fn kernel_send_memory(program: &Program) -> Option<u64> {
    let port = format!(":{}", program.address.port());
    let output = Command::new("ss").args(["-tmnH", "state", "established", "sport", "=", &port]).output();
    let Ok(output) = output else {
        println!("skipped: there is no `ss` to ask for the kernel's memory");
        return None;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let of =
        |line: &str| line.split_once("skmem:(")?.1.split(',').find_map(|field| field.strip_prefix('w')?.parse().ok());
    text.lines().filter_map(of).max()
}

#[test]
fn who_is_closed_before_all_was_sent_is_told_by_a_reset() {
    // Long enough that a busy machine fills the buffers before the kernel itself, which has the same limit, gives up.
    let mut server = server(&["--stall-timeout", "4s", "--tcp-send-buffer", "64KiB"]);
    let mut client = small(server.address(), 16 << 10, 1 << 20);
    client.set_nonblocking(true).unwrap();
    let piece = pattern(16 << 10);
    let mut sent = 0;
    // As long as the server owes nothing it has read everything; so nothing will be unread when it closes.
    while server.connections().1 == 0 {
        let length = write_some(&mut client, &piece);
        sent += length;
        turn_until(&mut server, "the piece", |server| server.counters().tcp_received_bytes == sent as u64);
        turn_until_quiet(&mut server);
    }
    turn_until(&mut server, "the end of patience", |server| server.connections().0 == 0);
    let (answer, end) = rest_of(&mut server, &mut client);
    assert!(answer.len() < sent);
    assert_eq!(end, End::Reset, "an orderly end would say that this was all");
}

#[test]
fn who_leaves_in_the_kernel_what_it_is_owed_is_closed_too() {
    let mut program = Program::start(&["--stall-timeout", "2s"]);
    let (mut victim, mut idle) = (Victim::of(&program), tcp_client(program.address));
    victim.ask_both();
    ping(&mut idle, b"idle from here on");
    let before = descriptors(&program);
    let (mut stalled, start) = (small(program.address, 4_096, 1 << 20), Instant::now());
    // More than the peer's receive buffer holds, less than what the kernel takes from the server: it sees no backlog.
    stalled.write_all(&pattern(60_000)).unwrap();
    wait_for_descriptors(&program, &mut victim, before + 1);
    wait_for_descriptors(&program, &mut victim, before);
    assert!(start.elapsed() >= Duration::from_secs(2), "it was closed too early, after {:?}", start.elapsed());
    assert_eq!((program.counter("tcp_blocked"), program.counter("tcp_broken")), (0, 1));
    // Whoever was merely idle has answered the kernel's probes and is still there.
    assert_eq!(ping(&mut idle, b"still here"), b"STILL HERE");
}

#[test]
fn a_thousand_peers_that_never_read_cost_bounded_memory_and_nobody_else_a_reply() {
    const PEERS: usize = 1_000;
    if !may_open(PEERS as u64 + 100) {
        return;
    }
    let unsent_max = 32 << 20;
    let mut program = Program::start(&["--max-unsent", "32MiB"]);
    let (mut victim, text) = (Victim::of(&program), pattern(CHUNK_LEN));
    victim.ask_both();
    let before = descriptors(&program);
    let mut peers: Vec<TcpStream> = (0..PEERS).map(|_| small(program.address, 4_096, 64 << 10)).collect();
    for peer in &peers {
        peer.set_nonblocking(true).unwrap();
    }
    let (mut resident_most, mut kernel_most) = (0, 0);
    for _round in 0..8 {
        for some in peers.chunks_mut(50) {
            for peer in some {
                press(peer, &text);
            }
            victim.ask_both();
        }
        resident_most = resident_most.max(program.resident());
        kernel_most = kernel_most.max(kernel_send_memory(&program).unwrap_or(0));
    }
    let closed = program.counter("tcp_closed_unsent");
    println!(
        "{PEERS} peers: {resident_most} bytes resident, at most {kernel_most} a peer in the kernel, {closed} closed"
    );
    assert!(program.counter("tcp_blocked") as usize > PEERS / 2 && closed > 0, "the peers were not stalled");
    assert!(resident_most < unsent_max + RESIDENT_MAX, "{resident_most}");
    // The kernel counts its own book-keeping, and lets one buffer of up to 64 KiB go beyond the mark.
    assert!(kernel_most < 2 * u64::from(NOTSENT_MAX), "{kernel_most}");
    drop(peers);
    wait_for_descriptors(&program, &mut victim, before);
    assert_eq!(program.terminate().code, Some(0));
}

/// How many descriptors a process has open.
fn descriptors(program: &Program) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", program.pid().as_raw_nonzero())).unwrap().count()
}

/// Asks until the server has as many descriptors open as before.
fn wait_for_descriptors(program: &Program, victim: &mut Victim, wanted: usize) {
    let deadline = Instant::now() + PATIENCE;
    while descriptors(program) != wanted {
        assert!(Instant::now() < deadline, "{} descriptors where {wanted} were", descriptors(program));
        victim.ask_both();
    }
}

#[test]
fn five_thousand_peers_that_read_a_byte_a_second_are_served_and_so_is_everybody_else() {
    const PEERS: usize = 5_000;
    const SECONDS: usize = 3;
    if !may_open(PEERS as u64 + 100) {
        return;
    }
    let unsent_max = 64 << 20;
    let program = Program::start(&["--tcp-send-buffer", "16KiB", "--tcp-recv-buffer", "16KiB"]);
    let (mut victim, text) = (Victim::of(&program), pattern(64 << 10));
    victim.ask_both();
    let before = descriptors(&program);
    let mut peers: Vec<TcpStream> = Vec::with_capacity(PEERS);
    for _ in 0..PEERS {
        let mut peer = small(program.address, 4_096, 16 << 10);
        peer.set_nonblocking(true).unwrap();
        press(&mut peer, &text);
        peers.push(peer);
    }
    let (mut resident_most, mut kernel_most, mut read, mut asked) = (0, 0, 0, 0);
    for _ in 0..SECONDS {
        asked += victim.ask_for(Duration::from_secs(1), Victim::ask_both).len();
        resident_most = resident_most.max(program.resident());
        kernel_most = kernel_most.max(kernel_send_memory(&program).unwrap_or(0));
        for peer in &mut peers {
            read += peer.read(&mut [0]).unwrap_or(0);
            press(peer, &text);
        }
    }
    println!(
        "{PEERS} peers: {read} bytes read, {resident_most} bytes resident, at most {kernel_most} a peer in the kernel, \
         {asked} round trips of another peer"
    );
    assert!(read > PEERS, "the peers got nothing");
    assert!(resident_most < unsent_max + RESIDENT_MAX, "{resident_most}");
    // The kernel doubles what is asked for, for its book-keeping, and lets one buffer go beyond the mark.
    assert!(kernel_most < 4 * (16 << 10), "{kernel_most}");
    drop(peers);
    wait_for_descriptors(&program, &mut victim, before);
    assert_eq!(program.terminate().code, Some(0));
}

#[test]
fn ten_thousand_resets_leave_nothing_behind() {
    const CONNECTIONS: usize = 10_000;
    let mut program = Program::start(&[]);
    let mut victim = Victim::of(&program);
    victim.ask_both();
    let before = descriptors(&program);
    let much = pattern(20_000);
    for index in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(program.address).unwrap();
        // Some die with a question open, some with an answer unread, some without a word.
        match index % 3 {
            0 => stream.write_all(b"never mind").unwrap(),
            1 => stream.write_all(&much).unwrap(),
            _ => {}
        }
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    wait_for_descriptors(&program, &mut victim, before);
    let (accepted, skipped) = (program.counter("tcp_accepted"), program.counter("tcp_accept_skipped"));
    println!(
        "{CONNECTIONS} connections: {accepted} accepted, {skipped} dead by then, the others reset in the kernel's queue"
    );
    assert!(accepted + skipped > CONNECTIONS as u64 / 2 && accepted + skipped <= CONNECTIONS as u64 + 1);
    assert_eq!(program.terminate().code, Some(0));
}

#[test]
fn a_burst_beyond_the_backlog_is_served_in_the_end() {
    const CLIENTS: usize = 50;
    const BACKLOG: usize = 4;
    let program = Program::start(&["--backlog", &BACKLOG.to_string()]);
    program.signal(Signal::STOP);
    let clients: Vec<Socket> = (0..CLIENTS)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&program.address.into());
            socket
        })
        .collect();
    // The kernel takes one more than it was asked for, and turns away whoever comes then.
    assert_eq!(queued(program.address), BACKLOG + 1, "the backlog was never full, which proves nothing");
    program.signal(Signal::CONT);
    for socket in clients {
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client: TcpStream = socket.into();
        // The kernel asks again after 1, 3 and 7 seconds; whoever is not connected yet waits for that in the write.
        while let Err(error) = client.write_all(b"me too") {
            assert!(
                matches!(error.kind(), ErrorKind::NotConnected | ErrorKind::WouldBlock | ErrorKind::BrokenPipe),
                "{error}"
            );
            wait_writable(&client);
        }
        let mut answer = [0; 6];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ME TOO");
    }
    assert_eq!(program.terminate().code, Some(0));
}

/// How many connections wait in the queue of a listener, as proc(5) shows it: its address in hexadecimal, its state, and
/// in the place of the bytes to be read the connections to be accepted.
fn queued(listener: SocketAddr) -> usize {
    const LISTENING: &str = "0A";
    let SocketAddr::V4(listener) = listener else { panic!("IPv4 only") };
    let place = format!("{:08X}:{:04X}", u32::from_ne_bytes(listener.ip().octets()), listener.port());
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut fields = sockets.lines().map(|line| line.split_whitespace().skip(1));
    let queues = fields.find_map(|mut fields| {
        let (local, _peer, state) = (fields.next()?, fields.next()?, fields.next()?);
        (local == place && state == LISTENING).then(|| fields.next())?
    });
    usize::from_str_radix(queues.and_then(|queues| queues.split_once(':')).unwrap().1, 16).unwrap()
}

/// Waits until a connection attempt has come to its end.
fn wait_writable(client: &TcpStream) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let patience = Timespec::try_from(PATIENCE).unwrap();
    let wait = || poll(&mut [PollFd::new(client, PollFlags::OUT)], Some(&patience));
    let ready = rustix::io::retry_on_intr(wait).unwrap();
    assert_eq!(ready, 1, "it was never connected");
}

#[test]
fn a_source_gets_as_many_replies_as_it_may_have_and_the_others_get_theirs() {
    let mut server = server(&["--udp-rate-limit", "5"]);
    let (address, victim) = (server.address(), Ipv4Addr::new(127, 0, 0, 9));
    // As if somebody forged its address, from whatever port.
    let forged: Vec<UdpSocket> = (0..10).map(|_| UdpSocket::bind((victim, 0)).unwrap()).collect();
    let start = Instant::now();
    for round in 0..20_u8 {
        for socket in &forged {
            socket.send_to(&[b'a', round], address).unwrap();
        }
    }
    turn_until(&mut server, "the flood", |server| server.counters().udp_received == 200);
    let other = udp_client(address);
    other.set_nonblocking(true).unwrap();
    assert_eq!(common::ask(&mut server, &other, b"mine"), b"MINE");
    let counters = server.counters();
    let most = 5 + 5 * (start.elapsed().as_secs() + 1);
    assert!((5..=most).contains(&(counters.udp_replied - 1)), "{counters:?}");
    assert_eq!(counters.udp_dropped_rate + counters.udp_replied, 201);
    // Time fills the bucket again.
    let later = &forged[0];
    later.set_nonblocking(true).unwrap();
    let before = server.counters().udp_replied;
    turn_until(&mut server, "a reply after a pause", |server| {
        later.send_to(b"again", address).unwrap();
        server.counters().udp_replied > before
    });
    let mut stream = tcp(&server);
    assert_eq!(exchange(&mut server, &mut stream, b"tcp", 3), b"TCP", "streams are not limited");
}
