//! Messages from a file: each line is one. Does I/O: reads the file, once.
//!
//! Lines, and not the whole file or pieces of it, because samples of real messages are kept that way, one a line, and
//! so bring their own lengths in their own order. The line feed is not sent: the wire has no framing that needs it.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::sizes::LONGEST_MESSAGE;

/// The largest file: it and its answers are held in memory, and no message is longer.
const LARGEST: usize = LONGEST_MESSAGE;

/// The lines of a file, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    path: PathBuf,
    text: Vec<u8>,
    /// Where each line starts, and at the end where one more would: behind a line feed that the last line may lack.
    starts: Vec<u32>,
    shortest: usize,
    longest: usize,
}

impl Lines {
    /// Reads a file. The error names what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let read = || -> io::Result<Vec<u8>> {
            let mut text = Vec::new();
            // One more than is allowed: what has no end, such as a device, must not be read to it.
            File::open(path)?.take(LARGEST as u64 + 1).read_to_end(&mut text)?;
            Ok(text)
        };
        let text = read().map_err(|error| format!("cannot read it: {error}"))?;
        Lines::new(path.to_owned(), text)
    }

    fn new(path: PathBuf, text: Vec<u8>) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the file is empty: it has no line to send".into());
        }
        if text.len() > LARGEST {
            return Err(format!("the file is larger than {LARGEST} bytes"));
        }
        let line_feeds = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
        let mut starts: Vec<u32> = std::iter::once(0).chain(line_feeds.map(|at| at as u32 + 1)).collect();
        if text.last() != Some(&b'\n') {
            starts.push(text.len() as u32 + 1);
        }
        let mut lines = Lines { path, text, starts, shortest: 0, longest: 0 };
        let by_length = |index: &usize| lines.range(*index).len();
        lines.shortest = (0..lines.count()).min_by_key(by_length).unwrap_or(0);
        let by_length = |index: &usize| lines.range(*index).len();
        lines.longest = (0..lines.count()).max_by_key(by_length).unwrap_or(0);
        Ok(lines)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// The number, from 1, of a line than which none is shorter, and its bytes.
    pub fn shortest(&self) -> (usize, usize) {
        (self.shortest + 1, self.range(self.shortest).len())
    }

    /// The number, from 1, of a line than which none is longer, and its bytes.
    pub fn longest(&self) -> (usize, usize) {
        (self.longest + 1, self.range(self.longest).len())
    }

    /// The whole file.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Where in the file a line is, counted from 0, without its line feed.
    pub(super) fn range(&self, index: usize) -> Range<usize> {
        self.starts[index] as usize..self.starts[index + 1] as usize - 1
    }
}

/// Text as if it had been read from a file of that name.
#[cfg(test)]
pub(super) fn for_tests(text: &[u8]) -> std::sync::Arc<Lines> {
    std::sync::Arc::new(Lines::new("words.txt".into(), text.to_vec()).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> Vec<Vec<u8>> {
        let lines = for_tests(text);
        (0..lines.count()).map(|index| lines.text()[lines.range(index)].to_vec()).collect()
    }

    #[test]
    fn a_line_ends_with_a_line_feed_or_with_the_file() {
        assert_eq!(all(b"one\ntwo"), [&b"one"[..], b"two"]);
        assert_eq!(all(b"one\ntwo\n"), [&b"one"[..], b"two"]);
        assert_eq!(all(b"\none\r\n\n"), [&b""[..], b"one\r", b""]);
        assert_eq!(all(b"\n"), [b""]);
    }

    #[test]
    fn the_extremes_are_named_by_their_numbers() {
        let lines = for_tests(b"four\nthree\nx\nseven77");
        assert_eq!((lines.shortest(), lines.longest()), ((3, 1), (4, 7)));
    }

    #[test]
    fn a_file_that_cannot_be_sent_says_why() {
        assert!(Lines::new("f".into(), Vec::new()).unwrap_err().contains("empty"));
        assert!(Lines::new("f".into(), vec![b'x'; LARGEST + 1]).unwrap_err().contains("16777216"));
        assert!(Lines::new("f".into(), vec![b'x'; LARGEST]).is_ok());
        assert!(Lines::read(Path::new("/no/such/file")).unwrap_err().starts_with("cannot read it"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_without_an_end_is_not_read_to_it() {
        assert!(Lines::read(Path::new("/dev/zero")).unwrap_err().contains("larger"));
    }
}
