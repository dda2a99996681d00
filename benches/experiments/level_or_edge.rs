//! Level against edge: `cargo run --release --example level_or_edge`.

mod common;
mod echo;

use echo::{Calls, Echo};
use rustix::event::epoll::EventFlags;

fn main() {
    let experiment = common::ask(
        "epoll can report as long as something is there to read (level), or once when something arrives (edge).\n\
         1. By how much is an echo of 64 bytes faster with edges?\n\
         2. Four pieces arrive at once, and the loop reads one for each report. How many does it read?",
    );
    let kinds = [("level", EventFlags::empty()), ("edge", EventFlags::ET)];
    let (messages, rounds) = (experiment.times(5000), 9);
    let mut echoes = kinds.map(|(_, flags)| Echo::new(flags));
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (echo, times) in echoes.iter_mut().zip(&mut times) {
            let mut calls = Calls::default();
            let all = common::micros(|| (0..messages).for_each(|_| echo.message(false, &mut calls)));
            times.push(all / messages as f64);
        }
    }
    let bars: Vec<_> =
        kinds.iter().zip(&mut times).map(|((name, _), times)| (name.to_string(), common::median(times))).collect();
    experiment.show("an echo of 64 B within one thread, µs", &bars);
    for ((name, _), echo) in kinds.iter().zip(&mut echoes) {
        let mut calls = Calls::default();
        let pieces = echo.pieces(&mut calls);
        println!("{name}: {pieces} of 4 pieces read, {} waits, the last of which reported nothing", calls.waits);
    }
    common::explain(
        "\nThe two are the same system calls as long as everything is read at once, and differ in who remembers what was\n\
         left: with levels the kernel, which is asked again each time; with edges the loop. That is what a ready queue is.",
    );
}
