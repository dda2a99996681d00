//! Prints answers: as they are into a pipe or a file, made visible on a terminal. Writes to stdout.
//!
//! An answer comes from the network, and a terminal obeys what it is sent: an escape sequence can rename the window,
//! move the cursor over what was printed before, or type back a command. A character that changes the order of the text
//! (Unicode's bidirectional controls, CVE-2021-42574) shows a line that is not the line. So on a terminal all of these
//! are printed as escapes, and so are bytes that are not UTF-8. A backslash stays itself: this is for eyes, and a pipe
//! has the exact bytes.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;

use crate::stop::Stop;

/// Stdout, without the line buffer that std would put before it: one call here is one system call.
pub(crate) struct Output {
    file: File,
    /// On a terminal only.
    escape: Option<Escape>,
}

impl Output {
    pub(crate) fn stdout() -> io::Result<Self> {
        let stdout = io::stdout();
        let file = File::from(stdout.as_fd().try_clone_to_owned()?);
        Ok(Output { file, escape: stdout.is_terminal().then(Escape::default) })
    }

    /// Prints a piece of a stream; a character cut at its end waits for the next piece.
    pub(crate) fn piece(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let written = match &mut self.escape {
            Some(escape) => self.file.write_all(escape.piece(bytes).as_bytes()),
            None => self.file.write_all(bytes),
        };
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Stop::OutputClosed,
            _ => Stop::Failed(format!("cannot write to stdout: {error}")),
        })
    }

    /// Says that the stream is over: what waited was no character.
    pub(crate) fn end(&mut self) -> Result<(), Stop> {
        let rest = self.escape.as_mut().map(Escape::end).unwrap_or_default();
        // What `rest` holds is escaped already, and ASCII is never escaped twice.
        self.piece(rest.as_bytes())
    }

    /// Prints a whole answer and ends the line.
    pub(crate) fn line(&mut self, mut answer: Vec<u8>) -> Result<(), Stop> {
        answer.push(b'\n');
        self.piece(&answer)
    }
}

/// Turns a stream of bytes into text that a terminal only shows.
#[derive(Default)]
struct Escape {
    /// The first one to three bytes of a character whose other bytes have not come yet.
    cut: Vec<u8>,
}

impl Escape {
    fn piece(&mut self, bytes: &[u8]) -> String {
        self.cut.extend_from_slice(bytes);
        let rest = self.cut.split_off(without_cut_character(&self.cut));
        escaped(&std::mem::replace(&mut self.cut, rest))
    }

    fn end(&mut self) -> String {
        escaped(&std::mem::take(&mut self.cut))
    }
}

/// How many bytes there are before a character that is cut at the end.
fn without_cut_character(bytes: &[u8]) -> usize {
    const LONGEST_CUT: usize = 3; // a character has at most four bytes
    let tails = bytes.len().saturating_sub(LONGEST_CUT)..bytes.len();
    let cut = tails.into_iter().find(|&start| {
        str::from_utf8(&bytes[start..]).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    });
    cut.unwrap_or(bytes.len())
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_obeyed(character) {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("a String takes everything");
        }
    }
    text
}

/// Whether a terminal would act on the character instead of showing it; the ends of lines and tabs may stay.
fn is_obeyed(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        // Unicode's property Bidi_Control (PropList.txt), and the separators that some terminals take for line ends.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => character.is_control(), // C0, DEL and C1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(escaped(b"A\x1b[2JB\x07\x7f\r\0"), r"A\u{1b}[2JB\u{7}\u{7f}\r\u{0}");
        assert_eq!(escaped("\u{9b}31m\u{85}".as_bytes()), r"\u{9b}31m\u{85}");
        assert_eq!(escaped("\u{202e}\u{2066}\u{200f}\u{2028}".as_bytes()), r"\u{202e}\u{2066}\u{200f}\u{2028}");
    }

    #[test]
    fn text_stays_itself() {
        for text in ["", "HELLO, WORLD", "A\tB\nC", r"C:\NEW", "STRAßE ЩЁ 漢字 👩‍🚀"] {
            assert_eq!(escaped(text.as_bytes()), text);
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_shown() {
        assert_eq!(escaped(b"A\xff\xe2\x82B\x9b"), r"A\xff\xe2\x82B\x9b");
    }

    #[test]
    fn a_stream_reads_the_same_wherever_it_is_cut() {
        let bytes = "aß\u{202e}漢👩\u{9b}\n".bytes().chain(*b"\xff\xf0\x9f\x91z\xe2\x82").collect::<Vec<_>>();
        let whole = escaped(&bytes);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut escape = Escape::default();
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                let text: String = pieces.iter().map(|piece| escape.piece(piece)).collect();
                assert_eq!(text + &escape.end(), whole, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_whole_character_does_not_wait() {
        assert_eq!(Escape::default().piece("漢".as_bytes()), "漢");
    }
}
