//! Waiting through interruptions. Does no I/O of its own.

use std::io;

/// Repeats a call that was interrupted. A receive, send or poll with a time limit is, without any handler, whenever the
/// process is stopped and continued, and whenever its machine is frozen for a moment (signal(7)).
pub(crate) fn retried<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
