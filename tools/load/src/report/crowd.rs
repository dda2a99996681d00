//! What became of connections as such: in the document, and as lines of the screen. Pure: no I/O.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::document::{Document, Latency};
use super::screen::{count, micros, per_second, percentile};
use crate::companions::{Companions, HalfClosers, Idle, SlowReaders, Tally};
use crate::generator::Churned;
use crate::observer::Memory;

/// Connections that were replaced while the load ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Churn {
    /// Messages that each connection carried.
    pub messages: u64,
    /// Connections that we closed because they had carried that many, with no answer outstanding.
    pub closed: u64,
    /// Connections opened in their place.
    pub opened: u64,
    /// How many attempts were told that nobody listens.
    pub refused: u64,
    /// How many attempts failed in another way, or had no answer in time.
    pub failed: u64,
    /// From the start of each of those connections to its being open.
    pub connect: Latency,
}

impl Churn {
    /// What was done to connections that carry so many messages each.
    pub fn new(messages: u64, churned: &Churned) -> Self {
        let Churned { closed, opened, refused, failed, ref connect } = *churned;
        Churn { messages, closed, opened, refused, failed, connect: Latency::of(connect) }
    }
}

/// How the connections beside the measured ones were opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Beside {
    /// How many there were.
    pub opened: u64,
    /// How long that took all of them together, in nanoseconds.
    pub opening_ns: u64,
    /// From the start of each of them to its being open.
    pub connect: Latency,
}

impl Beside {
    /// Of these.
    pub fn of(companions: &Companions) -> Self {
        let (opened, dialled) = companions.opening();
        Beside { opened: opened as u64, opening_ns: dialled.took, connect: Latency::of(&dialled.times) }
    }
}

/// The lines of the screen, where there is anything to say.
pub(super) fn lines(text: &mut String, run: &Document) -> std::fmt::Result {
    if let Some(churn) = &run.churn {
        writeln!(
            text,
            "  churn    closed {} after {} each, opened {} ({}/s), refused {}, failed {}   connect (us) p50 {}  p99 {}  \
             max {}",
            count(churn.closed),
            count(churn.messages),
            count(churn.opened),
            count(per_second(churn.opened, run.rated_ns())),
            count(churn.refused),
            count(churn.failed),
            percentile(&churn.connect, "50"),
            percentile(&churn.connect, "99"),
            micros(churn.connect.max)
        )?;
    }
    if let Some(Beside { opened, opening_ns, connect }) = &run.beside {
        writeln!(
            text,
            "  beside   (us) p50 {}  p99 {}  max {}   opened {} more, {}/s",
            percentile(connect, "50"),
            percentile(connect, "99"),
            micros(connect.max),
            count(*opened),
            count(per_second(*opened, *opening_ns))
        )?;
    }
    companions(text, &run.companions.unwrap_or_default())?;
    run.server_memory.iter().try_for_each(|memory| writeln!(text, "  memory   of the server {}", footprint(memory)))
}

/// What a connection costs the server, as far as that is known: a few of them drown in whole pages.
pub(super) fn footprint(memory: &Memory) -> String {
    let Memory { before_bytes, after_bytes, connections, each_bytes, off_bytes } = *memory;
    let kibi = |bytes: u64| count(bytes >> 10);
    let each = if off_bytes > each_bytes.abs() / 2.0 {
        "what each of them takes cannot be told, be it that they are few or that the server had memory to spare"
            .to_owned()
    } else {
        format!("{each_bytes:.0} bytes each, ±{}", off_bytes.ceil())
    };
    format!(
        "{} KiB with {} connections, {} KiB before: {each}",
        kibi(after_bytes),
        count(connections),
        kibi(before_bytes)
    )
}

fn companions(text: &mut String, tally: &Tally) -> std::fmt::Result {
    if let Some(Idle { opened, closed, reset, stray_bytes }) = tally.idle {
        let [opened, closed, reset] = [opened, closed, reset].map(count);
        write!(text, "  idle     {opened} connections: the server closed {closed}, reset {reset}")?;
        let stray =
            if stray_bytes > 0 { format!(", sent {} bytes UNASKED", count(stray_bytes)) } else { String::new() };
        writeln!(text, "{stray}")?;
    }
    if let Some(SlowReaders { opened, ended, wrong, bytes_tx, bytes_rx }) = tally.slow_readers {
        let [opened, ended, wrong, sent, read] = [opened, ended, wrong, bytes_tx, bytes_rx].map(count);
        writeln!(
            text,
            "  slow     {opened} slow readers: sent {sent} bytes, read {read} and verified them   ended by the server \
             {ended}   wrong {wrong}"
        )?;
    }
    if let Some(half) = tally.half_closers {
        let HalfClosers { completed, cut_short, wrong, reset, timed_out, failed, bytes_rx: _ } = half;
        let [completed, cut_short, wrong] = [completed, cut_short, wrong].map(count);
        let [reset, timed_out, failed] = [reset, timed_out, failed].map(count);
        writeln!(
            text,
            "  half     {completed} half-closed connections got all they were owed and the end   cut short {cut_short}   \
             wrong {wrong}   reset {reset}   timed out {timed_out}   not opened {failed}"
        )?;
    }
    Ok(())
}
