//! Where the time of one datagram goes: `cargo run --release --example one_datagram`.

mod common;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use shout::trace::{self, Trace};

fn main() {
    let experiment = common::ask(
        "A client sends 64 bytes and waits for them in upper case; nobody else is there.\n\
         How much of the round trip is the server's receive, its send, its own code, and everything else: the way there\n\
         and back through the kernel, and two wake-ups?",
    );
    let file = std::env::temp_dir().join(format!("shout-one-datagram-{}.json", std::process::id()));
    let (mut server, ended) = (common::server(&["--no-tcp"]), AtomicBool::new(false));
    let (address, datagrams) = (server.address(), experiment.times(4000));
    let mut trips = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            trace::install(Trace::for_loops(&file, 1).unwrap().remove(0));
            while !ended.load(Ordering::Relaxed) {
                server.turn(Some(Duration::from_millis(10))).unwrap();
            }
            trace::write();
        });
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut buffer = [0; 64];
        for _ in 0..datagrams {
            trips.push(common::micros(|| {
                client.send(&[b'a'; 64]).unwrap();
                common::retried(|| client.recv(&mut buffer)).unwrap();
            }));
        }
        ended.store(true, Ordering::Relaxed);
    });
    let trace: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    std::fs::remove_file(&file).unwrap();
    let entries = trace["traceEvents"].as_array().unwrap();
    let medians = |name: &str, is_one: fn(&Value) -> bool| {
        let chosen = entries.iter().filter(|entry| entry["name"] == name && is_one(entry));
        common::median(&mut chosen.map(|entry| entry["dur"].as_f64().unwrap()).collect::<Vec<_>>())
    };
    let receive = medians("receive", |entry| entry["args"]["datagrams"] == 1);
    let send = medians("send", |entry| entry["args"]["datagrams"] == 1);
    // A turn that received nothing would be no part of a round trip.
    let turn = medians("turn", |entry| entry["dur"].as_f64().unwrap() > 1.0);
    let trip = common::median(&mut trips);
    let rest = (turn - receive - send).max(0.0);
    let bars = [
        ("before the turn and after it", (trip - turn).max(0.0)),
        ("receive", receive),
        ("raise and send", send),
        ("the rest of the turn", rest),
    ];
    experiment.show("the round trip of one datagram, µs", &bars.map(|(name, time)| (name.to_string(), time)));
    println!("median of the round trip: {trip:.1} µs, of which the server's turn is {turn:.1} µs");
    common::explain(
        "Outside the turn are the client's own send and the two wake-ups, which take the longer the deeper the processors\n\
         sleep. The server's send carries the datagram through the whole stack into the client's queue, for over loopback\n\
         nobody else does. Raising 64 letters takes some ten nanoseconds, which cannot be seen in \"raise and send\".",
    );
}
