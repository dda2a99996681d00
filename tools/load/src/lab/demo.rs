//! `shout-load lab --demo`: one stall, seen by a closed loop and by an open one. Does I/O.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use hdrhistogram::Histogram;

use super::faults::{Faults, Stall};
use super::server::Server;
use crate::cli;
use crate::generator::Wish;
use crate::run::{Context, measure};

/// What the server does wrong.
const STALL: &str = "100ms/1s";

/// How it is asked: once as fast as it answers, once by the clock. A whole number of periods each, so that the share of
/// stalled time is the same wherever the stalls fall.
const CLOSED: [&str; 4] = ["-d", "3s", "-w", "0"];
const OPEN: [&str; 8] = ["-d", "3s", "-w", "0", "-R", "1k", "--arrivals", "const"];

/// What counts as slow here, in nanoseconds.
const SLOW: u64 = 10_000_000;

/// Runs the lesson and prints it. Takes 6 s.
pub fn show() -> io::Result<()> {
    let stall = Stall::parse(STALL).map_err(io::Error::other)?;
    let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(loopback, Faults { stall: Some(stall), ..Faults::default() })?;
    let target = format!("udp://{}", server.address());
    let closed = run(&target, &CLOSED)?;
    let open = run(&target, &OPEN)?;
    let mut stdout = io::stdout();
    stdout.write_all(lesson(&closed, &open).as_bytes())?;
    stdout.flush()
}

/// The response times of one run.
fn run(target: &str, arguments: &[&str]) -> io::Result<Histogram<u64>> {
    let line = ["shout-load", target].into_iter().chain(arguments.iter().copied());
    let cli::Command::Run(options) = cli::read(line.map(Into::into)).map_err(io::Error::other)? else {
        return Err(io::Error::other("a target alone is a run"));
    };
    let target = target.parse().map_err(io::Error::other)?;
    let plan = options.plan(target, false, 1).map_err(io::Error::other)?;
    let document = measure(&plan, &Context::default(), &mut |_| Wish::Continue).map_err(io::Error::other)?;
    Ok(document.latency.response.histogram().expect("it was encoded a moment ago"))
}

/// The lesson about these two sets of response times. Pure.
pub fn lesson(closed: &Histogram<u64>, open: &Histogram<u64>) -> String {
    let mut text = String::from(
        "\
A server answers at once, but in every second it stops for 100 ms. Both runs below last 3 s
and meet the same three stalls. So a tenth of the time, whoever asks has to wait.

                                    closed loop              open loop
                            asks again after each   asks 1,000 times a
                                           answer  second, by the clock
",
    );
    let mut row = |name: &str, value: &dyn Fn(&Histogram<u64>) -> String| {
        let _ = writeln!(text, "  {name:<22}{:>25}{:>23}", value(closed), value(open));
    };
    let milliseconds = |nanoseconds: u64| format!("{:.2} ms", nanoseconds as f64 / 1e6);
    row("questions answered", &|times| times.len().to_string());
    row("p50", &|times| milliseconds(times.value_at_quantile(0.5)));
    row("p99", &|times| milliseconds(times.value_at_quantile(0.99)));
    row("max", &|times| milliseconds(times.max()));
    row("waited 10 ms or more", &|times| {
        let slow = times.count_between(SLOW, u64::MAX);
        format!("{slow} ({:.2}%)", slow as f64 / times.len().max(1) as f64 * 100.0)
    });
    text.push_str(
        "
The closed loop sends nothing while it waits. Of each stall it sees one slow answer, and all the
questions that others would have asked in those 100 ms are missing from its statistics: it and the
server have coordinated to omit them. A p99 from such a run says how the server does while it works.

The open loop sends when its schedule says so, as people do who know nothing of each other. A hundred
questions fall into each stall, and each is timed from the moment at which it was meant to leave; so
one in ten waits, for 50 ms on average. That is what users of this server meet.

Same server, same stalls: it is the question that was wrong. See for yourself:

  shout-load lab --listen 127.0.0.1:12000 --stall 100ms/1s
  shout-load udp://127.0.0.1 -d 3s
  shout-load udp://127.0.0.1 -d 3s -R 1k --arrivals const
",
    );
    text
}
