//! The ring in the Trace Event Format, which Perfetto's viewer and `chrome://tracing` open. It writes to its argument.
//!
//! One process is one loop. It has a track for the loop, one for UDP, one for the listener and one for each slot, and a
//! counter for the ready queue. Times are microseconds with three decimals. The format is described in "Trace Event
//! Format", which the Chromium project publishes; the `ph` used here are `X` (something that took time), `i` (a
//! moment), `C` (a counter) and `M` (names). `tests/trace.rs:the_engine_of_perfettos_viewer_takes_all_of_a_full_ring` asks
//! the engine of that viewer whether it has read every record, and hung none below one that it is no part of.

use std::collections::BTreeSet;
use std::io::{self, Write};

use crate::connection::Next;
use crate::idle::Queue;
use crate::trace::{DatagramsEnd, Event, Record, Ring, Source};

/// The tracks. Slots follow from [`SLOTS`] on.
const LOOP: u32 = 1;
const UDP: u32 = 2;
const LISTENER: u32 = 3;
const SLOTS: u32 = 10;

/// Writes the ring of loop number `index` as one JSON object.
pub fn write(out: &mut impl Write, ring: &Ring, index: usize) -> io::Result<()> {
    let pid = index + 1;
    let mut records = 0;
    let mut tracks = BTreeSet::from([LOOP, UDP, LISTENER]);
    for record in ring.iter() {
        tracks.insert(track_of(record.event));
        records += 1;
    }
    write!(
        out,
        "{{\"displayTimeUnit\":\"ns\",\"otherData\":{{\"program\":\"shout-server {}\",\"records\":{records},\
         \"overwritten\":{}}},\n\"traceEvents\":[\n",
        env!("CARGO_PKG_VERSION"),
        ring.overwritten()
    )?;
    write!(out, r#"{{"name":"process_name","ph":"M","pid":{pid},"tid":0,"args":{{"name":"loop {index}"}}}}"#)?;
    for tid in tracks {
        let name = match tid {
            LOOP => "loop".to_owned(),
            UDP => "UDP".to_owned(),
            LISTENER => "listener".to_owned(),
            slot => format!("connection {}", slot - SLOTS),
        };
        write!(out, ",\n{{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":{pid},\"tid\":{tid},")?;
        write!(out, r#""args":{{"name":"{name}"}}}}"#)?;
        write!(out, ",\n{{\"name\":\"thread_sort_index\",\"ph\":\"M\",\"pid\":{pid},\"tid\":{tid},")?;
        write!(out, r#""args":{{"sort_index":{tid}}}}}"#)?;
    }
    for record in ring.iter() {
        entry(out, pid, record)?;
    }
    out.write_all(b"\n]}\n")
}

/// Which track an event is drawn on.
fn track_of(event: Event) -> u32 {
    match event {
        Event::Poll { .. } | Event::Turn { .. } | Event::Written => LOOP,
        Event::Edge { source, .. } => match source {
            Source::Udp => UDP,
            Source::Listener => LISTENER,
            Source::Signals | Source::Admin => LOOP,
            Source::Connection(slot) => SLOTS + slot,
        },
        Event::Receive { .. } | Event::Send { .. } | Event::Datagrams { .. } => UDP,
        Event::Accept { .. } | Event::AcceptPaused => LISTENER,
        Event::Drive { slot, .. } | Event::Expired { slot, .. } | Event::Closed { slot } => SLOTS + slot,
    }
}

/// A time in nanoseconds, as the format has it.
struct Micros(u64);

impl std::fmt::Display for Micros {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// One record, and for a turn the two readings of the ready queue.
fn entry(out: &mut impl Write, pid: usize, record: &Record) -> io::Result<()> {
    let Record { start, lasted, event } = *record;
    // What is noted after a poll came in its last nanosecond. At its end it would lie within the drive that begins there,
    // and a viewer would hang the edge below the drive that follows from it.
    let at = if let Event::Edge { .. } = event { start.saturating_sub(1) } else { start };
    let (ts, tid) = (Micros(at), track_of(event));
    if let Event::Turn { queued, left } = event {
        for (at, length) in [(start, queued), (start + lasted, left)] {
            write!(out, ",\n{{\"name\":\"ready queue\",\"ph\":\"C\",\"ts\":{},\"pid\":{pid},", Micros(at))?;
            write!(out, r#""args":{{"connections":{length}}}}}"#)?;
        }
    }
    write!(out, ",\n{{\"name\":\"{}\",", name_of(event))?;
    match event {
        Event::Edge { .. } | Event::Expired { .. } | Event::Closed { .. } => {
            write!(out, r#""ph":"i","s":"t","ts":{ts},"pid":{pid},"tid":{tid},"args":{{"#)?;
        }
        _ => write!(out, r#""ph":"X","ts":{ts},"dur":{},"pid":{pid},"tid":{tid},"args":{{"#, Micros(lasted))?,
    }
    arguments(out, event)?;
    out.write_all(b"}}")
}

/// What a viewer writes on it, and colours it by: so the end of a drive is part of its name.
fn name_of(event: Event) -> &'static str {
    match event {
        Event::Poll { .. } => "poll",
        Event::Turn { .. } => "turn",
        Event::Edge { .. } => "edge",
        Event::Receive { .. } => "receive",
        Event::Send { .. } => "send",
        Event::Datagrams { end } => match end {
            DatagramsEnd::Empty => "datagrams: empty",
            DatagramsEnd::Bound => "datagrams: bound",
            DatagramsEnd::Blocked => "datagrams: blocked",
        },
        Event::Accept { .. } => "accept",
        Event::AcceptPaused => "accept: paused",
        Event::Drive { next, .. } => match next {
            Next::Wait => "drive: wait",
            Next::Again => "drive: again",
            Next::Finished => "drive: finished",
            Next::Broken => "drive: broken",
        },
        Event::Expired { .. } => "timer",
        Event::Closed { .. } => "closed",
        Event::Written => "trace written",
    }
}

fn arguments(out: &mut impl Write, event: Event) -> io::Result<()> {
    match event {
        Event::Poll { timeout_us: None, events } => write!(out, r#""timeout_us":null,"events":{events}"#),
        Event::Poll { timeout_us: Some(timeout), events } => {
            write!(out, r#""timeout_us":{timeout},"events":{events}"#)
        }
        Event::Turn { queued, left } => write!(out, r#""queued":{queued},"left":{left}"#),
        Event::Edge { readable, writable, hint, .. } => {
            write!(out, r#""readable":{readable},"writable":{writable},"hint":{hint}"#)
        }
        Event::Receive { width, messages, datagrams, bytes } => {
            write!(out, r#""width":{width},"messages":{messages},"datagrams":{datagrams},"bytes":{bytes}"#)
        }
        Event::Send { datagrams, bytes } => write!(out, r#""datagrams":{datagrams},"bytes":{bytes}"#),
        Event::Accept { slot } => write!(out, r#""connection":{slot}"#),
        Event::Drive { read, sent, unsent, .. } => {
            write!(out, r#""read":{read},"sent":{sent},"unsent":{unsent}"#)
        }
        Event::Expired { queue, .. } => {
            let queue = match queue {
                Queue::Idle => "idle",
                Queue::Stalled => "stalled",
                Queue::Lingering => "lingering",
            };
            write!(out, r#""was":"{queue}""#)
        }
        Event::Datagrams { .. } | Event::AcceptPaused | Event::Closed { .. } | Event::Written => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn every_event_becomes_valid_json_with_the_fields_of_the_format() {
        let source = Source::Connection(7);
        let events = [
            Event::Poll { timeout_us: None, events: 3 },
            Event::Poll { timeout_us: Some(0), events: 0 },
            Event::Edge { source, readable: true, writable: false, hint: true },
            Event::Edge { source: Source::Udp, readable: true, writable: true, hint: false },
            Event::Edge { source: Source::Listener, readable: true, writable: false, hint: false },
            Event::Edge { source: Source::Signals, readable: true, writable: false, hint: false },
            Event::Receive { width: 1, messages: 1, datagrams: 4, bytes: 256 },
            Event::Send { datagrams: 4, bytes: 256 },
            Event::Datagrams { end: DatagramsEnd::Bound },
            Event::Accept { slot: 7 },
            Event::AcceptPaused,
            Event::Drive { slot: 7, next: Next::Again, read: 1000, sent: 900, unsent: 100 },
            Event::Expired { slot: 7, queue: Queue::Stalled },
            Event::Closed { slot: 7 },
            Event::Turn { queued: 2, left: 1 },
            Event::Written,
        ];
        let mut ring = Ring::new(events.len());
        for (index, event) in events.into_iter().enumerate() {
            ring.push(Record { start: 1_000_042 * index as u64, lasted: 5, event });
        }
        let mut text = Vec::new();
        write(&mut text, &ring, 0).unwrap();
        let whole: Value = serde_json::from_slice(&text).unwrap();
        let entries = whole["traceEvents"].as_array().unwrap();
        for entry in entries {
            let ph = entry["ph"].as_str().unwrap();
            assert!(entry["name"].is_string() && entry["pid"] == 1 && entry["args"].is_object(), "{entry}");
            assert!(ph == "M" || entry["ts"].is_f64(), "{entry}");
            assert!(ph == "C" || entry["tid"].is_u64(), "{entry}");
            assert_eq!(entry["dur"].is_f64(), ph == "X", "{entry}");
        }
        let drive = entries.iter().find(|entry| entry["name"] == "drive: again").unwrap();
        assert_eq!((&drive["tid"], &drive["args"]["unsent"]), (&17.into(), &100.into()));
        assert_eq!(drive["ts"], 11_000.462, "nanoseconds are kept");
        let named = entries.iter().find(|entry| entry["ph"] == "M" && entry["tid"] == 17).unwrap();
        assert_eq!(named["args"]["name"], "connection 7");
        let queue: Vec<u64> = entries.iter().filter_map(|entry| entry["args"]["connections"].as_u64()).collect();
        assert_eq!(queue, [2, 1], "a turn shows the ready queue before and after");
    }
}
