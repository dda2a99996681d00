//! Signals as events of the loop: a handler writes to a pipe, and the loop reads it when it comes round. Does I/O on that
//! pipe.

use std::io;

use mio::event::Source;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook_mio::v1_0::Signals as Pipe;

/// What the sender of a signal wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// SIGTERM and SIGINT: finish what is owed and end; the second time, end at once. Carries the signal's number.
    Stop(i32),
    /// SIGHUP: finish what is owed and end. A terminal that is closed says so by way of its shell and then by itself,
    /// so that the second time is no second wish.
    HangUp,
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
        let hangup = (!ignores_hangup()).then_some(SIGHUP);
        Ok(Signals { pipe: Pipe::new([SIGINT, SIGTERM, SIGUSR1, SIGUSR2].into_iter().chain(hangup))? })
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
            SIGHUP => Wish::HangUp,
            signal => Wish::Stop(signal),
        })
    }
}

/// Whether whoever started this process has it live on when its terminal is closed, as nohup(1) does: a handler would
/// undo that. Linux shows it: `proc_pid_status(5)`. Where it is not shown, the signal does what it has always done.
fn ignores_hangup() -> bool {
    const HANGUP: u64 = 1 << (SIGHUP - 1);
    let shown = std::fs::read_to_string("/proc/self/status").ok();
    let ignored = shown.as_ref().and_then(|status| status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")));
    ignored.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_none_or(|mask| mask & HANGUP != 0)
}
