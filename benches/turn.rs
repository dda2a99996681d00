//! What one turn of the loop costs in our own code: `cargo bench --bench turn`.
//!
//! The sockets are memory. Over real ones a datagram costs microseconds in the kernel and the noise of a shared
//! machine on top, under which a doubling of our own nanoseconds would not show; what the whole costs is for
//! `shout-load` to measure.
//!
//! Compare the rows with 0 and with 19,000 idle connections: the idle ones cost no work. What is left is the memory
//! that the active ones are spread over, which the caches must hold.

mod memory;

use std::path::Path;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use memory::{Crowd, SHORT, TcpDrive, UdpTurn};
use shout::trace::{self, Trace};

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    datagrams(&mut criterion);
    drive(&mut criterion);
    connections(&mut criterion);
    trace(&mut criterion);
    criterion.final_summary();
}

/// Turns over so many waiting datagrams, of one peer, which leave in runs, and of as many peers.
fn datagrams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("udp turn");
    for waiting in [1, 16, 64] {
        group.throughput(Throughput::Elements(waiting as u64));
        for (name, peers) in [("one peer", 1), ("a peer each", waiting)] {
            let mut turn = UdpTurn::new(waiting, 1, peers);
            group.bench_function(BenchmarkId::new(name, waiting), |bencher| {
                bencher.iter(|| {
                    turn.arrive();
                    turn.run();
                });
            });
        }
    }
    group.finish();
}

/// Drives of one connection.
fn drive(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tcp drive");
    for length in [SHORT, 256 << 10] {
        let mut drive = TcpDrive::new(length);
        group.throughput(Throughput::BytesDecimal(length as u64));
        group.bench_function(BenchmarkId::from_parameter(length), |bencher| {
            bencher.iter(|| {
                drive.arrive();
                drive.run()
            });
        });
    }
    group.finish();
}

/// Turns over so many ready connections among so many idle ones.
fn connections(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("connections turn");
    for active in [1, 64, 1000] {
        group.throughput(Throughput::Elements(active as u64));
        for idle in [0, 19_000] {
            let mut crowd = Crowd::new(active, idle);
            group.bench_function(BenchmarkId::new(format!("{active} ready among idle"), idle), |bencher| {
                bencher.iter(|| {
                    crowd.arrive();
                    crowd.run()
                });
            });
        }
    }
    group.finish();
    let mut crowd = Crowd::new(1, 0);
    criterion.bench_function("a connection comes and goes", |bencher| bencher.iter(|| crowd.come_and_go()));
}

/// A drive when nothing is taken down, and when it is. Last, because a trace cannot be taken from its thread again.
fn trace(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("64 drives, trace");
    group.throughput(Throughput::Elements(64));
    let mut crowd = Crowd::new(64, 0);
    for is_on in [false, true] {
        if is_on {
            let traces = Trace::for_loops(Path::new("/dev/null"), 1).expect("there is always a /dev/null");
            traces.into_iter().for_each(trace::install);
        }
        group.bench_function(if is_on { "on" } else { "off" }, |bencher| {
            bencher.iter(|| {
                crowd.arrive();
                crowd.run()
            });
        });
    }
    group.finish();
}
