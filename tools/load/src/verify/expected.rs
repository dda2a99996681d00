//! What a server that keeps the contract answers. Pure: no I/O.
//!
//! Written here and not borrowed from the server: code that is checked must not grade itself.

use std::fmt;

use crate::payload;

/// Which contract the server claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Case {
    /// `a` to `z` become `A` to `Z`; every other byte passes.
    Ascii,
    /// Full Unicode upper-casing of UTF-8; bytes that are not UTF-8 pass.
    Unicode,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Case::Ascii => "ascii",
            Case::Unicode => "unicode",
        })
    }
}

impl Case {
    /// The answer to `text` as a whole.
    pub fn upper(self, text: &[u8]) -> Vec<u8> {
        match self {
            Case::Ascii => text.iter().copied().map(payload::upper).collect(),
            Case::Unicode => {
                let mut answer = Vec::with_capacity(text.len());
                for chunk in text.utf8_chunks() {
                    let raised: String = chunk.valid().chars().flat_map(char::to_uppercase).collect();
                    answer.extend_from_slice(raised.as_bytes());
                    answer.extend_from_slice(chunk.invalid());
                }
                answer
            }
        }
    }

    /// What must come for the beginning of a stream before its next byte is sent: all of it, but for the beginning of a
    /// character that only the next bytes can complete.
    pub fn upper_at_once(self, beginning: &[u8]) -> Vec<u8> {
        let complete = match self {
            Case::Ascii => beginning.len(),
            Case::Unicode => match str::from_utf8(beginning) {
                // No length means that the text ends within a character.
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                Err(_) | Ok(_) => beginning.len(),
            },
        };
        self.upper(&beginning[..complete])
    }
}

/// Letters whose upper case has another length, or whose other bytes look like ASCII letters with a bit more.
pub const LETTERS: &str = "äöü éàñ straße ÿ ŉ ǆ ﬁ ﬃ ΐ ΰ ς ı ſ ա և я ა ẖ ᾳ 𐐨 𞤢 日本語 🦀";

/// Lower-case letters of six alphabets whose upper case has not changed since Unicode 8 (2015), and all their
/// neighbours: a server may have other tables than ours, which must not fail it.
pub fn alphabets() -> String {
    const RANGES: [(u32, u32); 7] = [
        (0x80, 0x17F),      // Latin-1 and Latin Extended-A
        (0x370, 0x4FF),     // Greek and Cyrillic
        (0x531, 0x587),     // Armenian
        (0x1E00, 0x1EFF),   // Latin Extended Additional
        (0x1F00, 0x1FFF),   // Greek Extended
        (0xFB00, 0xFB17),   // ligatures
        (0x10400, 0x1044F), // Deseret, four bytes each
    ];
    RANGES.iter().flat_map(|&(first, last)| first..=last).filter_map(char::from_u32).collect()
}

/// Bytes that are not UTF-8, among letters that are: lone continuations, overlong forms, surrogates, beyond the last
/// character, beginnings without an end.
pub const NOT_UTF8: [&[u8]; 9] = [
    b"a\x80b",
    b"a\xC0\xAFb",
    b"a\xED\xA0\x80b",
    b"a\xF4\x90\x80\x80b",
    b"a\xFF\xFEb",
    b"a\xC3(b",
    b"a\xE2\x82(b",
    b"a\xF0\x90\x8D(b",
    b"straf\xC3\x9F\xC3e",
];

/// Text of exactly `length` bytes that says at each place where it is: no two stretches of it are alike.
pub fn text(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 16);
    while bytes.len() < length {
        let place = bytes.len();
        bytes.extend_from_slice(format!("byte {place} of text, ").as_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_leaves_all_else_alone() {
        assert_eq!(Case::Ascii.upper("straße ÿ".as_bytes()), "STRAßE ÿ".as_bytes());
        assert_eq!(Case::Ascii.upper(b"a\xE1\xFF"), b"A\xE1\xFF");
    }

    #[test]
    fn unicode_grows_and_leaves_what_is_not_utf8() {
        assert_eq!(Case::Unicode.upper("straße ŉ ﬁ ı".as_bytes()), "STRASSE ʼN FI I".as_bytes());
        assert_eq!(Case::Unicode.upper(b"a\xC3(b\xF0\x90"), b"A\xC3(B\xF0\x90");
    }

    #[test]
    fn a_cut_character_waits_for_its_rest_and_an_impossible_one_does_not() {
        assert_eq!(Case::Unicode.upper_at_once("a€".as_bytes().split_at(3).0), b"A");
        assert_eq!(Case::Unicode.upper_at_once(b"a\xFF"), b"A\xFF");
        assert_eq!(Case::Ascii.upper_at_once(b"a\xE2\x82"), b"A\xE2\x82");
    }

    #[test]
    fn the_samples_are_what_they_are_called() {
        assert!(NOT_UTF8.iter().all(|bytes| str::from_utf8(bytes).is_err()));
        assert_eq!((text(0).len(), text(65_507).len()), (0, 65_507));
        assert!(Case::Unicode.upper(alphabets().as_bytes()).len() > alphabets().len() / 2);
    }
}
