//! Where two byte strings part, as a person reads it. Pure: no I/O.

use std::fmt::Write as _;

/// Bytes in a line of a dump.
const LINE: usize = 16;

/// Something that was not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What must have come.
    pub expected: String,
    /// What came.
    pub came: String,
    /// The lines around the first difference, where both sides are bytes.
    pub dump: Option<String>,
}

impl Difference {
    /// A difference that no bytes show.
    pub fn new(expected: impl Into<String>, came: impl Into<String>) -> Self {
        Difference { expected: expected.into(), came: came.into(), dump: None }
    }

    /// `Ok` if they are equal; `of` says what they are, such as "the answer to 3 bytes".
    pub fn between(expected: &[u8], came: &[u8], of: &str) -> Result<(), Self> {
        if expected == came {
            return Ok(());
        }
        let common = expected.iter().zip(came).take_while(|(left, right)| left == right).count();
        Err(Difference {
            expected: format!("{}: {}", of, bytes(expected.len())),
            came: format!("{}, the first difference at byte {common}", bytes(came.len())),
            dump: Some(format!(
                "expected  {}\ncame      {}",
                hex_line(expected, common).trim_end(),
                hex_line(came, common).trim_end()
            )),
        })
    }
}

/// A number of bytes in words.
pub fn bytes(number: usize) -> String {
    if number == 1 { "1 byte".into() } else { format!("{number} bytes") }
}

/// The line of a hexadecimal dump that holds the byte at `place`, with the line before it cut to a few bytes.
fn hex_line(all: &[u8], place: usize) -> String {
    // A few bytes before the difference, so that it is seen where it begins.
    let start = place.saturating_sub(LINE / 4);
    let shown = all.get(start..).unwrap_or_default();
    let shown = &shown[..shown.len().min(LINE)];
    let mut line = format!("{start:08x} ");
    for byte in shown {
        let _ = write!(line, " {byte:02x}");
    }
    let _ = write!(line, "{:1$}  |", "", 3 * (LINE - shown.len()));
    for &byte in shown {
        line.push(if byte.is_ascii_graphic() || byte == b' ' { byte.into() } else { '.' });
    }
    line + if start + shown.len() == all.len() { "| (end)" } else { "|" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_do_not_differ() {
        assert_eq!(Difference::between(b"A", b"A", "it"), Ok(()));
    }

    #[test]
    fn the_dump_shows_the_place_of_the_first_difference() {
        let expected: Vec<u8> = (0..100).map(|number| b'A' + number % 26).collect();
        let mut came = expected.clone();
        came[50] = b'y';
        let difference = Difference::between(&expected, &came, "the answer").unwrap_err();
        assert_eq!(difference.came, "100 bytes, the first difference at byte 50");
        let dump = difference.dump.unwrap();
        assert!(dump.contains("0000002e  55 56 57 58 59"), "{dump}");
        assert!(dump.contains("0000002e  55 56 57 58 79"), "{dump}");
        let short = Difference::between(&expected, &expected[..3], "the answer").unwrap_err();
        assert!(short.dump.unwrap().ends_with("|ABC| (end)"));
    }
}
