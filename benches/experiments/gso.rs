//! Segmentation on and off: `cargo run --release --example gso`.

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use mio::net::UdpSocket;
use shout::batch::{Batch, DatagramIo, MESSAGES_MAX, Replies, Reply, Socket, UdpIo, datagrams_in};

/// The datagrams of a train, and the bytes of each.
const TRAIN: usize = 64;
const LENGTH: usize = 64;

fn main() {
    let experiment = common::ask(
        "64 datagrams of 64 bytes go to one peer over loopback: in 64 system calls, in one system call with 64 messages\n\
         (sendmmsg), or in one with a single message that the kernel cuts into 64 (GSO) and joins again for a\n\
         receiver that asks for it (GRO).\n\
         What does a datagram cost in each, sent and received?",
    );
    let ways = [
        ("64 calls", UdpIo::Portable, false),
        ("one call, 64 messages", UdpIo::Batch, false),
        ("one call, cut and joined", UdpIo::Batch, true),
    ];
    let mut lanes: Vec<Lane> = ways.iter().map(|&(_, io, is_train)| Lane::new(io, is_train)).collect();
    let mut times = vec![Vec::new(); ways.len()];
    for _ in 0..experiment.times(3000) {
        for (lane, times) in lanes.iter_mut().zip(&mut times) {
            times.push(lane.train() / TRAIN as f64);
        }
    }
    let bars: Vec<_> =
        ways.iter().zip(&mut times).map(|((name, ..), times)| (name.to_string(), common::median(times))).collect();
    experiment.show("a datagram sent and received, µs", &bars);
    common::explain(
        "A system call is the smaller part of what a datagram costs: the journey through the network stack is the larger,\n\
         and a train makes it once. So batches alone gain little, and runs of one peer gain much.",
    );
}

/// A sender and a receiver.
struct Lane {
    sender: Socket,
    receiver: Socket,
    replies: Replies,
    batch: Batch,
}

impl Lane {
    fn new(io: UdpIo, is_train: bool) -> Lane {
        let [sender, receiver] = [(); 2].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap());
        let peer: SocketAddr = receiver.local_addr().unwrap();
        let reply = |parts: std::ops::Range<usize>, segment| Reply {
            peer,
            local: None,
            length: parts.len() * LENGTH,
            parts,
            segment,
        };
        let list = if is_train {
            vec![reply(0..TRAIN, LENGTH)]
        } else {
            (0..TRAIN).map(|index| reply(index..index + 1, 0)).collect()
        };
        let parts = (0..TRAIN).map(|index| index * LENGTH..(index + 1) * LENGTH).collect();
        let [sender, receiver] = [sender, receiver].map(|socket| Socket::new(socket, io).unwrap());
        Lane { sender, receiver, replies: Replies { list, parts }, batch: Batch::new(MESSAGES_MAX) }
    }

    /// Sends a train and receives it, in microseconds.
    fn train(&mut self) -> f64 {
        let (bytes, start) = ([b'a'; TRAIN * LENGTH], Instant::now());
        let mut sent = 0;
        while sent < self.replies.list.len() {
            sent += self.sender.send(&bytes, &self.replies, sent).unwrap();
        }
        let mut received = 0;
        while received < TRAIN {
            self.batch.clear();
            let width = self.receiver.messages_max();
            if self.receiver.receive(&mut self.batch, width).is_ok() {
                let messages = self.batch.messages.iter();
                received += messages.map(|message| datagrams_in(message.length, message.segment)).sum::<usize>();
            }
        }
        start.elapsed().as_secs_f64() * 1e6
    }
}
