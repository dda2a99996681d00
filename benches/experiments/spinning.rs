//! Sleeping against spinning: `cargo run --release --example spinning`.

mod common;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

fn main() {
    let experiment = common::ask(
        "A loop that never sleeps (--spin) asks the kernel for events without end, and so nobody has to wake it.\n\
         One datagram at a time: by how much is the round trip shorter, and what does it cost in processor time?\n\
         And if there is no processor to spare?",
    );
    let time = experiment.time(Duration::from_millis(1500));
    let (mut trips, mut costs) = (Vec::new(), Vec::new());
    for (name, flags) in [("sleeping", &[][..]), ("spinning", &["--spin"])] {
        let (mut times, cost) = run(flags, time);
        trips.push((format!("{name}, p50"), common::median(&mut times)));
        trips.push((format!("{name}, p99"), common::quantile(&mut times, 0.99)));
        costs.push((name, cost));
    }
    experiment.show("a round trip of one datagram, µs", &trips);
    for (name, cost) in costs {
        println!("{name}: the loop's processor was busy {cost:.0} % of the time");
    }
    common::explain(
        "\nWhat is saved is the wake-up. It needs a processor that nobody else wants: `taskset -c 0 cargo run --release\n\
         --example spinning` gives both ends one, and shows what becomes of it there.",
    );
}

/// Round trips with a server of these flags, in microseconds, and its share of a processor in per cent.
fn run(flags: &[&str], time: Duration) -> (Vec<f64>, f64) {
    let mut server = common::server(flags);
    let (address, ended) = (server.address(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let start = Instant::now();
            while !ended.load(Ordering::Relaxed) {
                server.turn(Some(Duration::from_millis(10))).unwrap();
            }
            let spent = clock_gettime(ClockId::ThreadCPUTime);
            100.0 * (spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9) / start.elapsed().as_secs_f64()
        });
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let (start, mut times, mut buffer) = (Instant::now(), Vec::new(), [0; 64]);
        while start.elapsed() < time {
            times.push(common::micros(|| {
                client.send(&[b'a'; 64]).unwrap();
                common::retried(|| client.recv(&mut buffer)).unwrap();
            }));
        }
        ended.store(true, Ordering::Relaxed);
        (times, thread.join().unwrap())
    })
}
