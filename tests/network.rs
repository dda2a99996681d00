//! A bad network: packets that are lost, doubled, delayed and overtaken, a short path MTU, a thin link. Streams stay
//! exact over it, and datagrams are counted exactly.
//!
//! Each test makes network namespaces and removes them again. That takes root, `ip`, and for the bad wire Python and
//! `/dev/net/tun`; without them it says so and passes.
#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

mod common;
mod namespace;
use common::{Lines, PATIENCE, assert_same, pattern, retried, tcp_client};
use namespace::{Namespace, PORT};

/// Where the server listens, at the far end of the wire.
const SERVER: &str = "10.77.0.2:12000";

/// How long nothing must arrive before everything is taken to have arrived: many times the longest delay of a wire.
const SILENCE: Duration = Duration::from_millis(400);

/// What the wire did with the datagrams of one direction.
#[derive(Debug)]
struct Tally {
    given: u64,
    lost: u64,
    doubled: u64,
}

impl Tally {
    fn delivered(&self) -> u64 {
        self.given - self.lost + self.doubled
    }
}

/// A wire between two namespaces that treats packets badly.
struct Wire {
    child: Child,
    lines: Lines,
}

impl Wire {
    /// `None`, and a line that says why, where there can be none. `how`: shares of packets that are lost and doubled,
    /// the delay of each and what chance adds to it, in milliseconds, and a seed.
    fn between(here: &Namespace, there: &Namespace, how: [&str; 5]) -> Option<Wire> {
        if Command::new("python3").arg("--version").output().is_err() {
            println!("skipped: there is no python3");
            return None;
        }
        if !std::path::Path::new("/dev/net/tun").exists() {
            println!("skipped: there is no /dev/net/tun");
            return None;
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/network/wire.py");
        let mut command = Command::new("python3");
        command.arg(script).args([here.name(), there.name()]).args(how);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = Lines::of(child.stdout.take().unwrap());
        assert_eq!(lines.next("the wire"), "ready");
        Some(Wire { child, lines })
    }

    /// Delivers what is under way and takes the wire down. What it did from here to there, and back.
    fn end(mut self) -> [Tally; 2] {
        drop(self.child.stdin.take());
        let tally = || {
            let line = self.lines.next("a tally of the wire");
            let numbers: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
            Tally { given: numbers[0], lost: numbers[1], doubled: numbers[2] }
        };
        [tally(), tally()]
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A socket here that speaks to the server there.
fn client(here: &Namespace) -> UdpSocket {
    let socket = here.inside(|| UdpSocket::bind("10.77.0.1:0").unwrap());
    socket.connect(SERVER).unwrap();
    // All that a test sends comes back at once, and none of it may be lost here.
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 16 << 20).unwrap();
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    socket
}

/// Everything that arrives until nothing does, counted by its bytes.
fn collect(socket: &UdpSocket, into: &mut HashMap<Vec<u8>, u64>) -> u64 {
    let mut buffer = vec![0; 65_536];
    let mut count = 0;
    loop {
        match retried(|| socket.recv(&mut buffer)) {
            Ok(length) => {
                *into.entry(buffer[..length].to_vec()).or_default() += 1;
                count += 1;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return count,
            Err(error) => panic!("cannot receive: {error}"),
        }
    }
}

/// Sends a text, half-closes, and reads up to the end.
fn stream_through(here: &Namespace, text: &[u8]) -> Vec<u8> {
    let address: SocketAddr = SERVER.parse().unwrap();
    let mut stream: TcpStream = here.inside(|| tcp_client(address));
    let mut writer = stream.try_clone().unwrap();
    let mut answer = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(text).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        stream.read_to_end(&mut answer).unwrap();
    });
    answer
}

#[test]
fn a_wire_that_loses_doubles_and_reorders_costs_no_byte_of_a_stream_and_no_count_of_a_datagram() {
    let (Some(here), Some(there)) = (Namespace::new(), Namespace::new()) else { return };
    let Some(wire) = Wire::between(&here, &there, ["0.03", "0.03", "2", "4", "7"]) else { return };
    let server = there.start(SERVER, &[]);

    let text = pattern(400_000);
    std::thread::scope(|scope| {
        let streams = [(); 3].map(|()| scope.spawn(|| stream_through(&here, &text)));
        for stream in streams {
            assert_same(&stream.join().unwrap(), &text.to_ascii_uppercase());
        }
    });

    let socket = client(&here);
    let mut answers = HashMap::new();
    let mut received = 0;
    for number in 0..2_000 {
        // Each its own text and length, short enough to travel whole.
        let text = format!("datagram {number} {}", "x".repeat(number % 1_100));
        socket.send(text.as_bytes()).unwrap();
        if number % 50 == 49 {
            received += collect_now(&socket, &mut answers);
        }
    }
    received += collect(&socket, &mut answers);
    let [to_server, to_client] = wire.end();
    println!("to the server {to_server:?}; to the client {to_client:?}");
    let ended = server.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(to_server.given, 2_000);
    assert!(to_server.lost > 0 && to_server.doubled > 0 && to_client.lost > 0, "the wire was bad");
    assert_eq!(ended.counter("udp_received"), to_server.delivered(), "every datagram that arrived is counted");
    assert_eq!(ended.counter("udp_replied"), to_server.delivered(), "and answered once");
    assert_eq!(to_client.given, to_server.delivered(), "and each answer left");
    assert_eq!(received, to_client.delivered(), "and is seen");
    for (answer, count) in answers {
        let answer = String::from_utf8(answer).unwrap();
        let number: usize = answer.strip_prefix("DATAGRAM ").unwrap().split(' ').next().unwrap().parse().unwrap();
        assert_eq!(answer, format!("DATAGRAM {number} {}", "X".repeat(number % 1_100)));
        assert!(count <= 4, "doubled on both ways at most");
    }
}

/// What has arrived by now.
fn collect_now(socket: &UdpSocket, into: &mut HashMap<Vec<u8>, u64>) -> u64 {
    socket.set_nonblocking(true).unwrap();
    let count = collect(socket, into);
    socket.set_nonblocking(false).unwrap();
    count
}

#[test]
fn a_path_of_1280_bytes_carries_the_longest_datagram_and_trains_that_cannot_leave_as_one() {
    let Some((here, there)) = Namespace::pair() else { return };
    for namespace in [&here, &there] {
        // The least that IPv6 allows: RFC 8200, section 5.
        namespace.ip("link set wire mtu 1280");
    }
    let server = there.start(&format!("0.0.0.0:{PORT}"), &[]);
    let socket = client(&here);
    let mut answers = HashMap::new();
    let (mut sent, mut received) = (0, 0);
    for length in [0, 1, 1_251, 1_252, 1_253, 2_000, 20_000, 65_507] {
        let text = vec![b'a' + (length % 26) as u8; length];
        socket.send(&text).unwrap();
        sent += 1;
        received += collect_until(&socket, &mut answers, sent - received);
        assert_eq!(answers.remove(&text.to_ascii_uppercase()), Some(1), "{length} bytes");
    }
    // Alike and from one peer, so that the answers would be one run; but each of them must be cut on this path.
    for round in 0..20 {
        for number in 0..16 {
            let mut text = vec![b'x'; 1_400];
            text[..8].copy_from_slice(format!("{round:04}{number:04}").as_bytes());
            socket.send(&text).unwrap();
            sent += 1;
        }
        received += collect_until(&socket, &mut answers, sent - received);
    }
    assert_eq!(received, sent);
    assert_eq!(answers.len(), 320);
    assert!(answers.iter().all(|(answer, count)| answer.len() == 1_400 && *count == 1));
    assert_same(&stream_through(&here, &pattern(3_000_000)), &pattern(3_000_000).to_ascii_uppercase());
    let ended = server.terminate();
    assert_eq!((ended.counter("udp_received"), ended.counter("udp_replied")), (sent, sent), "{ended:?}");
}

/// Receives so many, or fails.
fn collect_until(socket: &UdpSocket, into: &mut HashMap<Vec<u8>, u64>, wanted: u64) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    let mut count = 0;
    while count < wanted {
        assert!(Instant::now() < deadline, "{count} of {wanted} datagrams came");
        count += collect_now(socket, into);
    }
    count
}

#[test]
fn a_thin_link_holds_answers_up_and_loses_none() {
    let Some((here, there)) = Namespace::pair() else { return };
    let limit = "qdisc replace dev wire root tbf rate 20mbit burst 8k limit 4m";
    match there.command("tc").args(limit.split(' ')).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => return println!("skipped: no tbf here: {}", String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => return println!("skipped: there is no `tc`: {error}"),
    }
    // What the link has not taken counts against the send buffer, so a small one fills up.
    let server = there.start(&format!("0.0.0.0:{PORT}"), &["--udp-send-buffer", "16KiB"]);
    let socket = client(&here);
    let mut answers = HashMap::new();
    for number in 0..1_000_u64 {
        socket.send(format!("{number:04} {}", "x".repeat(495)).as_bytes()).unwrap();
    }
    let received = collect_until(&socket, &mut answers, 1_000);
    assert_eq!((received, answers.len()), (1_000, 1_000));
    assert_same(&stream_through(&here, &pattern(500_000)), &pattern(500_000).to_ascii_uppercase());
    let ended = server.terminate();
    assert!(ended.counter("udp_send_blocked") > 0, "the send buffer was never full: {ended:?}");
    assert_eq!(ended.counter("udp_replied"), 1_000, "{ended:?}");
}
