//! Connections that come and go while the load runs, and those that stand beside it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::servers::{RealServer, measure, run};

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
