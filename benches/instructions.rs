//! How many instructions the hot paths take, counted by callgrind: the same on a noisy machine as on a quiet one.
//!
//! `.ci/instructions` runs this and holds every count against `benches/instructions.limits`.
#![allow(missing_docs)] // The macros make public items of their own.

mod memory;

use std::hint::black_box;
use std::time::Instant;

use gungraun::prelude::*;
use memory::{Crowd, SHORT, TcpDrive, UdpTurn};
use shout::idle::{Queue, Quiet, TICK};
use shout::uppercase::{self, Case};

/// A text, raised once already, so that the choice among the compiled versions has been made.
fn text(case: Case, length: usize) -> (Case, Vec<u8>) {
    let mut text = vec![b'x'; length];
    uppercase::in_place(case, &mut text);
    (case, text)
}

#[library_benchmark]
#[bench::ascii_64(text(Case::Ascii, 64))]
#[bench::ascii_1400(text(Case::Ascii, 1400))]
#[bench::ascii_64k(text(Case::Ascii, 64 << 10))]
#[bench::unicode_64(text(Case::Unicode, 64))]
#[bench::unicode_1400(text(Case::Unicode, 1400))]
#[bench::unicode_64k(text(Case::Unicode, 64 << 10))]
fn raise((case, mut text): (Case, Vec<u8>)) -> Vec<u8> {
    black_box(uppercase::in_place(case, &mut text));
    text
}

#[library_benchmark]
#[bench::one_datagram(Box::new(UdpTurn::new(1, 1, 1)))]
#[bench::of_one_peer_64(Box::new(UdpTurn::new(64, 1, 1)))]
#[bench::of_64_peers(Box::new(UdpTurn::new(64, 1, 64)))]
#[bench::trains_of_4_from_32_peers(Box::new(UdpTurn::new(32, 4, 32)))]
fn udp_turn(mut turn: Box<UdpTurn>) -> Box<UdpTurn> {
    turn.run();
    turn
}

#[library_benchmark]
#[bench::short(Box::new(TcpDrive::new(SHORT)))]
#[bench::full_read(Box::new(TcpDrive::new(256 << 10)))]
fn tcp_drive(mut drive: Box<TcpDrive>) -> Box<TcpDrive> {
    black_box(drive.run());
    drive
}

#[library_benchmark]
#[bench::ready_1(Box::new(Crowd::new(1, 0)))]
#[bench::ready_64(Box::new(Crowd::new(64, 0)))]
#[bench::ready_64_of_19064(Box::new(Crowd::new(64, 19_000)))]
fn connections_turn(mut crowd: Box<Crowd>) -> Box<Crowd> {
    black_box(crowd.run());
    crowd
}

/// A crowd in which one connection has come and gone, so that the next takes over its slot.
fn after_one() -> Box<Crowd> {
    let mut crowd = Box::new(Crowd::new(64, 0));
    crowd.come_and_go();
    crowd
}

#[library_benchmark]
#[bench::once(after_one())]
fn come_and_go(mut crowd: Box<Crowd>) -> Box<Crowd> {
    crowd.come_and_go();
    crowd
}

/// Ten idle connections, and a moment so many ticks after they were last touched.
fn touched(ticks: u32) -> (Quiet, Instant) {
    let now = Instant::now();
    let mut quiet = Quiet::new(now);
    for index in 0..10 {
        quiet.touch(index, Queue::Idle, now);
    }
    (quiet, now + TICK * ticks)
}

#[library_benchmark]
#[bench::in_the_same_tick(touched(0))]
#[bench::in_the_next_tick(touched(1))]
fn idle_touch((mut quiet, now): (Quiet, Instant)) -> Quiet {
    quiet.touch(black_box(5), Queue::Idle, now);
    quiet
}

library_benchmark_group!(
    name = hot_paths,
    benchmarks = [raise, udp_turn, tcp_drive, connections_turn, come_and_go, idle_touch]
);

main!(library_benchmark_groups = hot_paths);
