//! What connections cost a server of this machine in memory of its own. Does I/O: reads `/proc` while they are opened.
//!
//! Three readings are made: before the first connection, at about half of them, and when the server has taken the last.
//! Between them the server gets no message, so that its memory grows by connections alone, and by what it does for the
//! first time. Counted are its anonymous pages (`smaps_rollup`), which is what it has allocated and touched: the counters
//! of `status` lag behind by up to 64 pages a processor, and pages of its program are not for connections. What the
//! kernel has for each socket is not in it.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How long a server may take to accept what its kernel has accepted already, and how often it is looked at meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(5);

/// Fewer connections fit into the pages that a server has touched already, and nothing could be said of each. Nor is it
/// waited for then until the server has accepted them, which would hide a slow accept from the first answers.
pub const FEWEST: usize = 64;

/// The bytes that a reading may be off by: memory comes in pages.
const PAGE: f64 = 4096.0;

/// The memory of the server's process, and what it grew by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Memory {
    /// Anonymous memory before the first connection, in bytes.
    pub before_bytes: u64,
    /// The same with all of them open, and nothing sent yet, in bytes.
    pub after_bytes: u64,
    /// How many files the process had open more by then: the connections that it holds.
    pub connections: u64,
    /// The bytes that it took for each of them.
    pub each_bytes: f64,
    /// How many bytes that may be off by, either way: by whole pages, and by half of what the first half of the connections
    /// took more or less than the second, each.
    pub off_bytes: f64,
}

/// A look at a process.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Reading {
    bytes: u64,
    files: u64,
}

/// Readings of one process.
#[derive(Debug)]
pub struct Footprint {
    process: Option<u32>,
    first: Option<Reading>,
    middle: Option<Reading>,
}

impl Footprint {
    /// Makes the first reading of `process`, if there is one on this machine.
    pub fn start(process: Option<u32>) -> Self {
        Footprint { process, first: process.and_then(read), middle: None }
    }

    /// So many connections are open of so many in all. Takes some hundred microseconds, once.
    pub fn look(&mut self, open: usize, of: usize) {
        if self.middle.is_none() && 2 * open >= of {
            self.middle = self.process.and_then(read);
        }
    }

    /// Makes the last reading when the server has taken so many connections, or will no longer. `None` if nothing can be
    /// learnt about it.
    pub fn end(self, connections: usize) -> Option<Memory> {
        let (process, first) = (self.process?, self.first?);
        let began = Instant::now();
        let last = loop {
            let reading = read(process)?;
            if reading.files >= first.files + connections as u64 || began.elapsed() >= PATIENCE {
                break reading;
            }
            std::thread::sleep(LOOK);
        };
        memory(first, self.middle, last)
    }
}

fn memory(first: Reading, middle: Option<Reading>, last: Reading) -> Option<Memory> {
    let each = |from: Reading, to: Reading| {
        let connections = to.files.checked_sub(from.files).filter(|&more| more > 0)?;
        Some((to.bytes as f64 - from.bytes as f64) / connections as f64)
    };
    let connections = last.files.checked_sub(first.files)?;
    let halves = middle.and_then(|middle| Some((each(first, middle)?, each(middle, last)?)));
    // Without two halves nothing is known of what was for the first time: it may have been all of it.
    let apart = halves.map_or(each(first, last)?.abs(), |(one, other)| (one - other).abs() / 2.0);
    Some(Memory {
        before_bytes: first.bytes,
        after_bytes: last.bytes,
        connections,
        each_bytes: each(first, last)?,
        off_bytes: apart + PAGE / connections as f64,
    })
}

#[cfg(target_os = "linux")]
fn read(process: u32) -> Option<Reading> {
    let process = procfs::process::Process::new(process.cast_signed()).ok()?;
    let maps = process.smaps_rollup().ok()?.memory_map_rollup;
    let bytes = maps.iter().filter_map(|map| map.extension.map.get("Anonymous")).sum();
    Some(Reading { bytes, files: process.fd_count().ok()? as u64 })
}

#[cfg(not(target_os = "linux"))]
fn read(_process: u32) -> Option<Reading> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(kibi: u64, files: u64) -> Reading {
        Reading { bytes: kibi << 10, files }
    }

    #[test]
    fn what_is_taken_for_the_first_time_makes_the_figure_unsure() {
        let even = memory(at(100, 10), Some(at(200, 110)), at(300, 210)).unwrap();
        assert_eq!((even.connections, even.each_bytes, even.off_bytes), (200, 1024.0, 4096.0 / 200.0));
        let uneven = memory(at(100, 10), Some(at(250, 110)), at(300, 210)).unwrap();
        assert_eq!((uneven.each_bytes, uneven.off_bytes), (1024.0, 512.0 + 4096.0 / 200.0));
        let unknown = memory(at(100, 10), None, at(300, 210)).unwrap();
        assert!(unknown.off_bytes > unknown.each_bytes);
        assert_eq!(memory(at(100, 10), None, at(300, 10)), None, "it holds none of them");
        assert_eq!(memory(at(100, 10), None, at(300, 9)), None);
        assert!(memory(at(300, 10), None, at(100, 20)).unwrap().each_bytes < 0.0, "it gave memory back meanwhile");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_seen_to_take_memory_and_files() {
        let mut footprint = Footprint::start(Some(std::process::id()));
        let mut held = Vec::new();
        for open in 1..=200_u8 {
            held.push((std::fs::File::open("/dev/null").unwrap(), vec![open; 256 << 10]));
            footprint.look(usize::from(open), 200);
        }
        let memory = footprint.end(200).unwrap();
        // Other tests of this process open and close files meanwhile, and take and give back some megabytes of memory.
        assert!((100..400).contains(&memory.connections), "{memory:?}");
        assert!(memory.each_bytes > 100_000.0 && memory.off_bytes > 0.0, "{memory:?}");
        drop(held);
    }
}
