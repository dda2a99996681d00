//! The price of a trailing `EAGAIN`: `cargo run --release --example trailing_eagain`.

mod common;
mod echo;

use echo::{Calls, Echo};
use rustix::event::epoll::EventFlags;

fn main() {
    let experiment = common::ask(
        "The usual advice for edges is to read until the kernel says EAGAIN. A read that returns less than it was\n\
         offered has emptied the queue already, and the next one would only say so.\n\
         By how many per cent does that one read lengthen an echo of 64 bytes?",
    );
    let (messages, rounds) = (experiment.times(5000), 15);
    let mut echo = Echo::new(EventFlags::ET);
    let designs = [("stop at a short read", false), ("read until EAGAIN", true)];
    let mut times = [Vec::new(), Vec::new()];
    let mut ratios = Vec::new();
    let mut reads = [0; 2];
    for _ in 0..rounds {
        for (index, (_, is_told_empty)) in designs.into_iter().enumerate() {
            let mut calls = Calls::default();
            let all = common::micros(|| (0..messages).for_each(|_| echo.message(is_told_empty, &mut calls)));
            times[index].push(all / messages as f64);
            reads[index] = calls.reads;
        }
        ratios.push(times[1][times[1].len() - 1] / times[0][times[0].len() - 1]);
    }
    let bars: Vec<_> =
        designs.iter().zip(&mut times).map(|((name, _), times)| (name.to_string(), common::median(times))).collect();
    experiment.show("an echo of 64 B within one thread, µs", &bars);
    println!("reads for {messages} messages: {} and {}", reads[0], reads[1]);
    println!("median of the ratios within a round: {:+.1} %", 100.0 * (common::median(&mut ratios) - 1.0));
    common::explain(
        "\nThe time is that of both ends and of the kernel between them. The rule has a trap:\n\
         `cargo run --example lost_edge`, design 1.",
    );
}
