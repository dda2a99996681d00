//! Connections that come and go while the load runs, and those that stand beside it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shout_load::cli::Command;
use shout_load::generator::Wish;
use shout_load::run::{Context, Progress, Session};

use crate::servers::{RealServer, StreamServer, measure, run};

/// How a connection ended that carried so many bytes, in the eyes of the server.
type Ended = (usize, std::io::Result<()>);

/// A server that serves every connection on a thread and reports the end of each. Its threads end with the process.
fn reporting_server(serve: impl Fn(TcpStream) -> Ended + Clone + Send + 'static) -> (SocketAddr, Receiver<Ended>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, ended): (Sender<Ended>, _) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (serve, sender) = (serve.clone(), sender.clone());
            std::thread::spawn(move || sender.send(serve(stream.unwrap())));
        }
    });
    (address, ended)
}

/// Answers in upper case until the peer has finished, or so many bytes have come.
fn upper_case(mut stream: TcpStream, most: usize) -> Ended {
    let mut buffer = [0; 4096];
    let mut carried = 0;
    while carried < most {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                carried += length;
                if let Err(error) = stream.write_all(&buffer[..length].to_ascii_uppercase()) {
                    return (carried, Err(error));
                }
            }
            Err(error) => return (carried, Err(error)),
        }
    }
    (carried, Ok(()))
}

#[test]
fn connections_are_replaced_in_good_order_and_no_message_is_lost_by_it() {
    for load in [&["-p", "1"][..], &["-p", "4"], &["-R", "2k"]] {
        let (address, ended) = reporting_server(|stream| upper_case(stream, usize::MAX));
        let target = format!("tcp://{address}");
        let (run, code) = measure(&[&[&target, "-n", "500", "-c", "3", "-w", "50ms", "--churn", "7"], load].concat());
        let counts = &run.counts;
        assert_eq!((counts.replied, counts.lost, counts.stray, code), (500, 0, 0, 0), "{load:?}");
        assert_eq!((run.connections.closed, run.connections.reset, run.connections.opened), (0, 0, 3));
        let churn = run.churn.unwrap();
        assert_eq!((churn.messages, churn.refused, churn.failed), (7, 0, 0));
        // But for the last ones, every seven messages have closed a connection.
        assert!((500 / 7 - 3..=500 / 7 + 3).contains(&churn.closed), "{churn:?}");
        assert!(churn.opened <= churn.closed && churn.opened + 3 >= churn.closed, "{churn:?}");
        assert_eq!(churn.connect.n, churn.opened);
        // The server is asked as many as have been closed: the others may not have ended yet.
        let mut whole = 0;
        for (carried, outcome) in ended.iter().take(churn.closed as usize) {
            assert!(outcome.is_ok(), "{outcome:?}");
            assert!(carried <= 7 * 64 && carried % 64 == 0, "{carried} bytes on one connection");
            whole += usize::from(carried == 7 * 64);
        }
        assert!(whole as u64 + 6 >= churn.closed, "{whole} of {} carried seven messages", churn.closed);
    }
}

#[test]
fn a_server_that_ends_each_connection_after_its_answer_suits_a_connection_a_message() {
    let (address, _ended) = reporting_server(|stream| upper_case(stream, 64));
    let (run, code) = measure(&[&format!("tcp://{address}"), "-n", "200", "-c", "2", "-w", "0", "--churn", "1"]);
    assert_eq!((run.counts.replied, run.counts.lost, run.connections.closed, code), (200, 0, 0, 0));
    assert!(run.churn.unwrap().opened >= 197);
}

#[test]
fn a_connection_that_cannot_be_replaced_is_counted_and_the_run_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        // Nobody listens from here on, though the two connections go on.
        let streams = [listener.accept().unwrap().0, listener.accept().unwrap().0];
        drop(listener);
        let serving = streams.map(|stream| std::thread::spawn(|| upper_case(stream, usize::MAX)));
        for thread in serving {
            thread.join().unwrap().1.unwrap();
        }
    });
    // The first connections carry five and ten messages.
    let (run, _) = measure(&[&format!("tcp://{address}"), "-n", "100", "-c", "2", "-w", "0", "--churn", "10"]);
    assert_eq!((run.counts.sent, run.counts.replied, run.counts.lost), (15, 15, 0));
    let churn = run.churn.unwrap();
    assert_eq!((churn.closed, churn.opened, churn.refused, churn.failed, churn.connect.n), (2, 0, 20, 0, 0));
}

#[test]
fn the_screen_tells_of_replaced_connections() {
    let server = RealServer::start();
    let target = format!("tcp://{}", server.address);
    let output = run(&[&target, "-n", "100", "-c", "2", "-w", "0", "--churn", "10"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.trim_start().starts_with("churn")).unwrap();
    for part in ["after 10 each", "refused 0, failed 0", "connect (us) p50"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!String::from_utf8(run(&[&target, "-n", "10", "-w", "0"]).stdout).unwrap().contains("churn"));
}

#[test]
fn idle_connections_stand_beside_and_those_that_the_server_ends_are_counted() {
    // The measured connection is opened first. Its first answer waits until the others have been dealt with.
    let (sender, dealt_with) = channel();
    let dealt_with = Arc::new(Mutex::new(dealt_with));
    let server = StreamServer::start(6, move |number, mut stream| {
        match number {
            0 => {
                (0..5).for_each(|_| dealt_with.lock().unwrap().recv().unwrap());
                crate::servers::upper_case(number, stream);
                return;
            }
            1 | 3 => drop(stream),
            2 => {
                stream.write_all(b"hello").unwrap();
                std::mem::forget(stream);
            }
            _ => std::mem::forget(stream),
        }
        sender.send(()).unwrap();
    });
    let (run, code) = measure(&[&server.url(), "-n", "100", "-c", "1", "-w", "0", "--idle", "5"]);
    assert_eq!((run.counts.replied, run.connections.opened, run.connections.closed, code), (100, 1, 0, 0));
    let companions = run.companions.unwrap();
    let idle = companions.idle.unwrap();
    assert_eq!((idle.opened, idle.closed, idle.reset, idle.stray_bytes), (5, 2, 0, 5));
    assert_eq!((companions.slow_readers, companions.half_closers), (None, None));
}

#[test]
fn idle_connections_stay_for_every_measurement_of_a_session() {
    let server = RealServer::start();
    let target = format!("tcp://{}", server.address);
    let arguments = ["shout-load", &target, "-n", "20", "-c", "1", "-w", "0", "--idle", "3"];
    let Ok(Command::Run(options)) = shout_load::cli::read(arguments.map(Into::into)) else { panic!("not a run") };
    let plan = options.plan(options.target.clone().unwrap(), false, 1).unwrap();
    let mut go_on = |_: &Progress<'_>| Wish::Continue;
    let mut session = Session::open(&plan, &Context::default(), &mut go_on).unwrap();
    for _ in 0..2 {
        let run = session.measure(&plan, &mut go_on).unwrap();
        let idle = run.companions.unwrap().idle.unwrap();
        assert_eq!((run.counts.replied, idle.opened, idle.closed, idle.reset), (20, 3, 0, 0));
    }
}

#[test]
fn slow_readers_and_half_closers_are_served_as_they_should_be_by_the_real_server() {
    let server = RealServer::start();
    let target = format!("tcp://{}", server.address);
    let crowd = ["--idle", "10", "--slow-readers", "3", "--half-closers", "2"];
    let (run, code) = measure(&[&[&target, "-R", "500", "-d", "1s", "-c", "2", "-w", "50ms"], &crowd[..]].concat());
    assert_eq!((run.counts.replied, code), (run.counts.sent, 0));
    let companions = run.companions.unwrap();
    assert_eq!(companions.idle.unwrap().closed, 0);
    let slow = companions.slow_readers.unwrap();
    assert_eq!((slow.opened, slow.ended, slow.wrong), (3, 0, 0));
    assert!(slow.bytes_rx <= slow.bytes_tx && slow.bytes_tx > 0, "{slow:?}");
    let half = companions.half_closers.unwrap();
    assert_eq!((half.cut_short, half.wrong, half.reset, half.failed), (0, 0, 0, 0));
    let screen = String::from_utf8(run_text(&[&target, "-n", "10", "-w", "0"], &crowd)).unwrap();
    for part in ["idle     10 connections: the server closed 0", "slow     3 slow readers", "half     "] {
        assert!(screen.contains(part), "{screen}");
    }
}

fn run_text(arguments: &[&str], more: &[&str]) -> Vec<u8> {
    run(&[arguments, more].concat()).stdout
}

/// A server whose first connection is the measured one, and is answered when `companion` has returned so many times.
fn companions_first(
    times: usize,
    companion: impl Fn(TcpStream) + Clone + Send + Sync + 'static,
) -> (StreamServer, String) {
    let (sender, done) = channel();
    let done = Arc::new(Mutex::new(done));
    let server = StreamServer::start(1000, move |number, stream| {
        if number == 0 {
            (0..times).for_each(|_| done.lock().unwrap().recv().unwrap());
            crate::servers::upper_case(number, stream);
        } else {
            companion(stream);
            let _ = sender.send(());
        }
    });
    let url = server.url();
    (server, url)
}

/// Everything that the peer says until it ends its half.
fn all_of(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn half_closers_know_a_whole_answer_from_one_that_is_cut_short_or_wrong() {
    let load = ["-n", "20", "-c", "1", "-w", "0", "--half-closers", "2", "--timeout", "60s"];
    let whole = |mut stream: TcpStream| {
        let bytes = all_of(&mut stream);
        stream.write_all(&bytes.to_ascii_uppercase()).unwrap();
        // The answer to the next message says that the peer has seen the end.
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    };
    let (_server, url) = companions_first(6, whole);
    let (run, code) = measure(&[&[url.as_str()], &load[..]].concat());
    let half = run.companions.unwrap().half_closers.unwrap();
    // The last two may be on their way when the run ends.
    assert!(half.completed >= 4, "{half:?}");
    assert_eq!((half.cut_short, half.wrong, half.reset, half.timed_out, code), (0, 0, 0, 0, 0));
    assert!(half.bytes_rx >= 300_000 * half.completed);

    let short = |mut stream: TcpStream| {
        let bytes = all_of(&mut stream);
        stream.write_all(&bytes[..bytes.len() - 1].to_ascii_uppercase()).unwrap();
    };
    let (_server, url) = companions_first(6, short);
    let (run, code) = measure(&[&[url.as_str()], &load[..]].concat());
    let half = run.companions.unwrap().half_closers.unwrap();
    assert!(half.cut_short >= 4 && half.completed == 0, "{half:?}");
    assert_eq!((run.counts.replied, code), (20, 5), "wrong answers to companions are wrong answers");

    let wrong = |mut stream: TcpStream| {
        let bytes = all_of(&mut stream);
        let _ = stream.write_all(&bytes);
    };
    let (_server, url) = companions_first(6, wrong);
    let (run, code) = measure(&[&[url.as_str()], &load[..]].concat());
    let half = run.companions.unwrap().half_closers.unwrap();
    assert!(half.wrong >= 4 && half.completed == 0, "{half:?}");
    assert_eq!(code, 5);
}

#[test]
fn a_slow_reader_knows_a_wrong_byte() {
    let as_it_was = |mut stream: TcpStream| {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            // It is given up at the first wrong byte, which ends this.
            if stream.write_all(&buffer[..length]).is_err() {
                return;
            }
        }
    };
    let (_server, url) = companions_first(2, as_it_was);
    let (run, code) = measure(&[&url, "-n", "5", "-c", "1", "-w", "0", "--slow-readers", "2", "--timeout", "60s"]);
    let slow = run.companions.unwrap().slow_readers.unwrap();
    assert_eq!((slow.wrong, slow.bytes_rx, code), (2, 0, 5));
}

#[test]
fn connections_are_opened_no_faster_than_told() {
    let server = RealServer::start();
    let target = format!("tcp://{}", server.address);
    let began = Instant::now();
    let (run, _) = measure(&[&target, "-n", "10", "-c", "11", "-w", "0", "--idle", "5", "--connect-rate", "10"]);
    // Ten connections after the first and four idle ones after the first, a tenth of a second apart.
    assert!(began.elapsed() >= Duration::from_millis(1400));
    assert_eq!((run.connections.opened, run.latency.connect.unwrap().n), (11, 11));
}

#[test]
fn both_transports_are_loaded_over_the_sixth_version_of_the_protocol() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        println!("skipped: this machine has no IPv6");
        return;
    };
    let tcp = listener.local_addr().unwrap();
    let socket = std::net::UdpSocket::bind("[::1]:0").unwrap();
    let udp = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(|| crate::servers::upper_case(0, stream.unwrap()));
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length].to_ascii_uppercase(), peer);
        }
    });
    for target in [format!("udp://{udp}"), format!("tcp://{tcp}")] {
        for more in [&[][..], &["--source", "::1"], &["-p", "16"]] {
            let (run, code) = measure(&[&[target.as_str(), "-n", "200", "-c", "3", "-w", "0"], more].concat());
            assert_eq!((run.counts.replied, run.counts.wrong, code), (200, 0, 0), "{target} {more:?}");
            assert!(run.target.resolved[0].starts_with("[::1]:"), "{:?}", run.target.resolved);
        }
    }
}
