//! The server under a simulated kernel: thousands of runs, each of which is drawn from a seed and can be repeated.
//!
//! `SHOUT_SIM_SEED=0x2a cargo test --test sim the_server -- --nocapture` repeats one run and prints every call;
//! `SHOUT_SIM_SEEDS=100000` looks further than the default. The reading order: `kernel` (readiness), `stream`,
//! `closing`, `listening`, `datagrams` and `replies` (the system calls, and what they check), `bounds` (what a turn must
//! keep to), `peer` (the other ends), `turns` (the loop), `oracles` (what must hold), `wrong` (designs that must be
//! caught), `mistakes` (what was wrong once).

#![allow(unreachable_pub)] // Nobody is outside.

mod bounds;
mod calls;
mod closing;
mod datagrams;
mod kernel;
mod knobs;
mod listening;
mod mistakes;
mod oracles;
mod peer;
mod random;
mod replies;
mod stopping;
mod stream;
mod turns;
mod wrong;

use rustix::time::ClockId;
use shout::counters::Counters;

use kernel::Kernel;
use knobs::Knobs;
use mistakes::MISTAKES;
use oracles::{Oracle, Violation};
use stream::Stream;
use turns::Loop;
use wrong::{Design, Hoarding};

/// How many seeds are tried by default: three seconds of processor time in a debug build.
const SEEDS: u64 = 2_000;

/// A sweep that takes longer is one that nobody runs. In processor time, which a busy machine does not stretch.
const SECONDS_MAX: i64 = 8;

fn run(seed: u64, design: Design, verbose: bool) -> Result<Counters, Violation> {
    let kernel = Kernel::new(seed, verbose);
    if design == Design::ReadingWhileUnsent {
        Loop::<Hoarding>::new(kernel, design).run()
    } else {
        Loop::<Stream>::new(kernel, design).run()
    }
}

/// Runs the server; a broken promise or a panic names the seed and its knobs.
fn check(seed: u64, verbose: bool) -> Counters {
    struct Seed(u64);
    impl Drop for Seed {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let knobs = Knobs::draw(self.0);
                eprintln!(
                    "{knobs:#?}\nrepeat with SHOUT_SIM_SEED={:#x} cargo test --test sim the_server -- --nocapture",
                    self.0
                );
            }
        }
    }
    let seed = Seed(seed);
    run(seed.0, Design::Right, verbose).unwrap_or_else(|violation| panic!("seed {:#x}: {violation}", seed.0))
}

/// A number from the environment, decimal or hexadecimal.
fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    Some(number.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

#[test]
fn the_server_keeps_its_promises() {
    if let Some(seed) = variable("SHOUT_SIM_SEED") {
        check(seed, true);
        return;
    }
    let seeds = variable("SHOUT_SIM_SEEDS").unwrap_or(SEEDS);
    let mut sum = Counters::default();
    for seed in 0..seeds {
        sum.add(&check(seed, false));
    }
    if seeds < SEEDS {
        return;
    }
    // A sweep in which something never happens proves nothing about it. The admin endpoint has no part in it.
    let never: Vec<_> =
        sum.each().filter(|(name, _, count)| *count == 0 && *name != "events" && !name.starts_with("admin_")).collect();
    assert!(never.is_empty(), "not once in {seeds} runs: {never:?}");
    if seeds == SEEDS {
        let spent = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
        assert!(spent.tv_sec < SECONDS_MAX, "{seeds} runs took {spent:?} of processor time");
    }
}

#[test]
fn what_was_once_broken_stays_mended() {
    for mistake in &MISTAKES {
        println!("{:#x}: {}", mistake.seed, mistake.what);
        check(mistake.seed, false);
    }
}

/// Some seed must catch a wrong design by this oracle. Others may catch it by what follows from the mistake.
fn caught(design: Design, oracle: Oracle) {
    let violations = (0..SEEDS).filter_map(|seed| Some((seed, run(seed, design, false).err()?)));
    let found = violations.into_iter().find(|(_, violation)| violation.oracle == oracle);
    let (seed, violation) = found.unwrap_or_else(|| panic!("{design:?} got away with {SEEDS} seeds"));
    println!("{design:?} is caught by seed {seed:#x}: {violation}");
}

#[test]
fn a_short_read_without_the_hint_is_caught() {
    caught(Design::ShortReadWithoutHint, Oracle::Liveness);
}

#[test]
fn a_budget_without_a_ready_queue_is_caught() {
    caught(Design::BudgetWithoutReadyQueue, Oracle::Liveness);
}

#[test]
fn reading_while_unsent_is_caught() {
    caught(Design::ReadingWhileUnsent, Oracle::Memory);
}

#[test]
fn accepting_that_trusts_edges_is_caught() {
    caught(Design::AcceptTrustsEdges, Oracle::Liveness);
}

#[test]
fn datagrams_that_trust_edges_are_caught() {
    caught(Design::DatagramsTrustEdges, Oracle::Liveness);
}
