//! A signal ends a benchmark before its work is done. Alone in its file: the signal goes to the whole process.

use std::io::{self, Write};
use std::process::ExitCode;

use rustix::process::{Signal, getpid, kill_process};

/// Sends SIGTERM to this process as soon as something is written to it.
#[derive(Default)]
struct Terminator {
    written: String,
}

impl Write for Terminator {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written.is_empty() {
            kill_process(getpid(), Signal::TERM)?;
        }
        self.written += &String::from_utf8_lossy(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn sigterm_ends_it_with_143_and_without_a_table() {
    // Minutes of work, were it not for the signal, which comes with the first line.
    let arguments = ["race", "--bench", "--rounds", "100"].map(Into::into);
    let mut out = Terminator::default();
    assert_eq!(peers::race::main(&peers::programs!(), arguments, &mut out), ExitCode::from(143));
    assert!(out.written.contains("100 rounds") && !out.written.contains("replies/s"), "{}", out.written);
}
