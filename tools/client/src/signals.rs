//! SIGINT and SIGTERM end the program with 130 and 143, from any blocking call, and leave the terminal as it was.
//!
//! Left to the kernel, a signal would end the process just as fast. But at the prompt the terminal is in raw mode, and
//! the shell would get it back without echo.

use std::io;
use std::thread;

use rustix::process::getpgrp;
use rustix::termios::{OptionalActions, tcgetattr, tcgetpgrp, tcsetattr};
pub(crate) use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

/// The exit code for work that a signal cut short, as shells count it: 128 and the signal's number.
pub(crate) fn exit_code(signal: i32) -> u8 {
    128 + signal as u8
}

/// Starts the thread that waits for a signal and ends the program.
///
/// Call it before the prompt is shown: the terminal's mode as it is now is what will be put back.
pub(crate) fn end_the_program() -> io::Result<()> {
    // Fails where stdin is no terminal, and then there is nothing to put back.
    let mode = tcgetattr(io::stdin()).ok();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // In the background the terminal is somebody else's, and to touch it would stop this process (SIGTTOU).
            let is_ours = tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp());
            if let Some(mode) = mode.filter(|_| is_ours) {
                let _ = tcsetattr(io::stdin(), OptionalActions::Now, &mode);
            }
            std::process::exit(exit_code(signal).into());
        }
    })?;
    Ok(())
}
