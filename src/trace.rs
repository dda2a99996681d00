//! What the loop did, as a ring of fixed memory: `--trace`. Reads the clock when on, and writes its file when asked.
//!
//! Each room says in one call what it has done; the newest [`RECORDS_MAX`] such records are kept, and [`write()`] turns
//! them into a file that timeline viewers open ([`chrome`]). When off, a call is the test of a flag.
//!
//! The ring belongs to the thread, as a loop does. So the rooms below the loop need no argument more for something that is
//! off in all but a few runs, and two loops share nothing here either: each has a ring and a file of its own.
//!
//! The clock is read once for each thing that takes time, and not twice: whatever ends began where the last one ended.
//! That last reading is the *mark*. What takes no time of its own, such as an edge that is noted, happens at the mark.

pub mod chrome;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufWriter, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::connection::{Connection, Next};
use crate::counters::Counters;
use crate::idle::Queue;

/// How many records a ring keeps: 2.6 MB of them. Under full load that is the last eighth of a second, and as much as a
/// viewer in a browser moves smoothly.
pub const RECORDS_MAX: usize = 1 << 16;

/// Something that happened. Counts of bytes and messages end at [`u32::MAX`], which no turn reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The loop asked the kernel for events, and perhaps slept.
    Poll {
        /// The longest it would have slept, in microseconds; `None` is for ever.
        timeout_us: Option<u32>,
        /// How many events it was told.
        events: u32,
    },
    /// A turn, from the return of the poll.
    Turn {
        /// How many connections stood in the ready queue once the events were noted.
        queued: u32,
        /// How many stood there at its end: those whom no event will announce again.
        left: u32,
    },
    /// What the kernel reported.
    Edge {
        /// Of which socket.
        source: Source,
        /// Reading will not block.
        readable: bool,
        /// Writing will not block.
        writable: bool,
        /// The peer's end, or urgent data, is in the queue.
        hint: bool,
    },
    /// One receive of datagrams.
    Receive {
        /// How many messages it was asked for: fewer mean that the queue is empty.
        width: u32,
        /// How many came; none, where the call failed.
        messages: u32,
        /// How many datagrams they were before the kernel merged them.
        datagrams: u32,
        /// How many bytes.
        bytes: u32,
    },
    /// One send of datagrams.
    Send {
        /// How many datagrams left; none, where the call failed.
        datagrams: u32,
        /// How many bytes.
        bytes: u32,
    },
    /// All that a turn did for datagrams.
    Datagrams {
        /// Why it ended.
        end: DatagramsEnd,
    },
    /// A connection was accepted and registered.
    Accept {
        /// Its slot.
        slot: u32,
    },
    /// Accepting failed for want of descriptors or memory, and pauses.
    AcceptPaused,
    /// A bounded run of one connection.
    Drive {
        /// Its slot.
        slot: u32,
        /// Why it ended.
        next: Next,
        /// How many bytes it read.
        read: u32,
        /// How many bytes it wrote.
        sent: u32,
        /// How many bytes the peer is still owed.
        unsent: u32,
    },
    /// A connection's time was over.
    Expired {
        /// Its slot.
        slot: u32,
        /// What it had been for too long.
        queue: Queue,
    },
    /// A connection was closed and its slot freed.
    Closed {
        /// Its slot.
        slot: u32,
    },
    /// This trace was written, during which the loop did nothing else.
    Written,
}

/// A socket of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The UDP socket.
    Udp,
    /// The TCP listener.
    Listener,
    /// The pipe of the signals.
    Signals,
    /// One of the admin endpoint's.
    Admin,
    /// The connection in this slot.
    Connection(u32),
}

/// Why a turn received no more datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatagramsEnd {
    /// The queue is empty.
    Empty,
    /// The bound of a turn was reached; no event will announce the rest.
    Bound,
    /// The send buffer is full, and nothing is received until there is room.
    Blocked,
}

/// An event and when it happened, in nanoseconds since the trace began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// When it began.
    pub start: u64,
    /// How long it took; zero for what only happened.
    pub lasted: u64,
    /// What it was.
    pub event: Event,
}

const _: () = assert!(size_of::<Record>() <= 40, "what RECORDS_MAX says of the memory");

/// The newest records, in fixed memory.
#[derive(Debug)]
pub struct Ring {
    records: Vec<Record>,
    capacity: usize,
    /// How many there have been.
    pushed: u64,
}

impl Ring {
    /// An empty ring. All its memory is allocated here.
    pub fn new(capacity: usize) -> Ring {
        Ring { records: Vec::with_capacity(capacity), capacity, pushed: 0 }
    }

    /// Adds a record, over the oldest one if there is no room left.
    pub fn push(&mut self, record: Record) {
        if self.records.len() < self.capacity {
            self.records.push(record);
        } else {
            self.records[(self.pushed % self.capacity as u64) as usize] = record;
        }
        self.pushed += 1;
    }

    /// The records, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        let oldest = if self.records.is_empty() { 0 } else { (self.pushed % self.records.len() as u64) as usize };
        let oldest = if self.records.len() < self.capacity { 0 } else { oldest };
        self.records[oldest..].iter().chain(&self.records[..oldest])
    }

    /// How many records were written over by newer ones.
    pub fn overwritten(&self) -> u64 {
        self.pushed - self.records.len() as u64
    }
}

/// The trace of one loop: its ring, and the file that it will be written to.
#[derive(Debug)]
pub struct Trace {
    ring: Ring,
    /// What the times count from.
    origin: Instant,
    mark: u64,
    /// When the last poll returned.
    turn_start: u64,
    /// How many bytes connections had read and sent in all at the end of the last drive.
    moved: (u64, u64),
    file: File,
    path: PathBuf,
    /// Which of the loops this is.
    index: usize,
    /// A failure to write has been reported, which is enough.
    has_failed: bool,
}

thread_local! {
    static IS_ON: Cell<bool> = const { Cell::new(false) };
    static TRACE: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

impl Trace {
    /// A trace for each of so many loops, which begins now. The files are opened here, for in a sandbox none can be
    /// later; where there are several, `run.json` becomes `run-0.json`, `run-1.json` and so on.
    ///
    /// Fails where a file cannot be created.
    pub fn for_loops(path: &Path, loops: usize) -> io::Result<Vec<Trace>> {
        let origin = Instant::now();
        let paths = (0..loops).map(|index| if loops == 1 { path.to_owned() } else { numbered(path, index) });
        let create = |(index, path): (usize, PathBuf)| {
            let file = File::create(&path)
                .map_err(|error| io::Error::new(error.kind(), format!("--trace {}: {error}", path.display())))?;
            let (ring, has_failed) = (Ring::new(RECORDS_MAX), false);
            Ok(Trace { ring, origin, mark: 0, turn_start: 0, moved: (0, 0), file, path, index, has_failed })
        };
        paths.enumerate().map(create).collect()
    }

    fn read_clock(&mut self) -> u64 {
        self.mark = self.origin.elapsed().as_nanos() as u64;
        self.mark
    }

    /// Takes down something that ends now.
    fn push_since(&mut self, start: u64, event: Event) {
        let lasted = self.read_clock() - start;
        if let Event::Poll { .. } = event {
            self.turn_start = self.mark;
        }
        self.ring.push(Record { start, lasted, event });
    }

    /// Replaces what the file held.
    fn write(&mut self) -> io::Result<()> {
        self.file.rewind()?;
        let mut out = BufWriter::new(&self.file);
        chrome::write(&mut out, &self.ring, self.index)?;
        out.flush()?;
        drop(out);
        // A device has no length to cut.
        let end = self.file.stream_position()?;
        match self.file.set_len(end) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
    }
}

/// `run.json` becomes `run-1.json`.
fn numbered(path: &Path, index: usize) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{index}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Has this thread take down from here on what its loop does.
pub fn install(trace: Trace) {
    TRACE.set(Some(trace));
    IS_ON.set(true);
    record(|trace| trace.turn_start = trace.read_clock());
}

/// Something that began at the mark and ends now, which is the next mark.
#[inline]
pub fn span(event: impl FnOnce() -> Event) {
    if IS_ON.get() {
        record(|trace| trace.push_since(trace.mark, event()));
    }
}

/// A drive that began at the mark and ends now, which is the next mark.
///
/// What it moved is what the counters have grown by since the last one, for nothing else moves them. So it costs a drive
/// nothing to remember where they stood, unless somebody looks.
#[inline]
pub fn drive(slot: usize, next: Next, connection: &Connection, counters: &Counters) {
    if IS_ON.get() {
        record(|trace| {
            let moved = (counters.tcp_received_bytes + counters.tcp_discarded_bytes, counters.tcp_sent_bytes);
            let before = std::mem::replace(&mut trace.moved, moved);
            let drive = Event::Drive {
                slot: slot as u32,
                next,
                read: moved.0.saturating_sub(before.0) as u32,
                sent: moved.1.saturating_sub(before.1) as u32,
                unsent: connection.unsent() as u32,
            };
            trace.push_since(trace.mark, drive);
        });
    }
}

/// Something that began when the poll returned and ends now, which is the next mark.
#[inline]
pub fn since_poll(event: impl FnOnce() -> Event) {
    if IS_ON.get() {
        record(|trace| trace.push_since(trace.turn_start, event()));
    }
}

/// Something that took no time of its own: it is put at the mark.
#[inline]
pub fn moment(event: impl FnOnce() -> Event) {
    if IS_ON.get() {
        record(|trace| trace.ring.push(Record { start: trace.mark, lasted: 0, event: event() }));
    }
}

/// Out of line, so that a hot path is no longer than the test of the flag.
#[cold]
#[inline(never)]
fn record(act: impl FnOnce(&mut Trace)) {
    TRACE.with_borrow_mut(|trace| trace.as_mut().map(act));
}

/// Writes the trace of this thread to its file, if there is one. Says on standard error that it did, or once why it
/// could not: a full disk is no reason to stop serving.
pub fn write() {
    if !IS_ON.get() {
        return;
    }
    record(|trace| {
        let start = trace.read_clock();
        match trace.write() {
            Ok(()) => log::info!("wrote the trace to {}", trace.path.display()),
            Err(error) if !trace.has_failed => {
                trace.has_failed = true;
                log::warn!("cannot write the trace to {}: {error}", trace.path.display());
            }
            Err(_) => {}
        }
        trace.push_since(start, Event::Written);
    });
}

/// A time for [`Event::Poll`], which ends after an hour and eleven minutes.
pub fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_ring_keeps_the_newest_in_the_same_memory() {
        let mut ring = Ring::new(4);
        let memory = ring.records.capacity();
        for start in 0..11 {
            ring.push(Record { start, lasted: 0, event: Event::Written });
            let wanted: Vec<u64> = (start.saturating_sub(3)..=start).collect();
            assert_eq!(ring.iter().map(|record| record.start).collect::<Vec<_>>(), wanted);
            assert_eq!(ring.overwritten() + wanted.len() as u64, start + 1);
        }
        assert_eq!(ring.records.capacity(), memory);
    }

    #[test]
    fn every_loop_has_a_name_of_its_own() {
        assert_eq!(numbered(Path::new("/tmp/run.json"), 1), Path::new("/tmp/run-1.json"));
        assert_eq!(numbered(Path::new("run"), 0), Path::new("run-0"));
    }

    #[test]
    fn when_off_nothing_is_even_described() {
        span(|| unreachable!());
        since_poll(|| unreachable!());
        moment(|| unreachable!());
        write();
    }
}
