//! Signals as events of the loop: a handler writes to a pipe, and the loop reads it when it comes round.

use std::io;

use mio::event::Source;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook_mio::v1_0::Signals as Pipe;

/// What the sender of a signal wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// SIGTERM and SIGINT: finish what is owed and end; the second time, end at once. Carries the signal's number.
    Stop(i32),
    /// SIGUSR1: print the counters.
    Report,
    /// SIGUSR2: write the trace.
    Trace,
}

/// The signals that this process listens to.
pub struct Signals {
    pipe: Pipe,
}

impl Signals {
    /// Listens from now on.
    pub fn new() -> io::Result<Signals> {
        Ok(Signals { pipe: Pipe::new([SIGINT, SIGTERM, SIGUSR1, SIGUSR2])? })
    }

    /// The pipe, for registration.
    pub fn source_mut(&mut self) -> &mut impl Source {
        &mut self.pipe
    }

    /// What was wished for since the last call. Signals of one kind that came close together count as one: signal(7).
    pub fn wishes(&mut self) -> impl Iterator<Item = Wish> {
        self.pipe.pending().map(|signal| match signal {
            SIGUSR1 => Wish::Report,
            SIGUSR2 => Wish::Trace,
            signal => Wish::Stop(signal),
        })
    }
}
