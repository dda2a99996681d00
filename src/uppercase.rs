//! Upper-casing, the service itself. Pure: no I/O.
//!
//! ASCII is done in place and vectorises, because each byte's fate depends on that byte alone and the
//! store is unconditional: the compiler turns the loop into one compare, mask and subtract per register.
//! It is compiled once for each width of register, and the widest that the processor has is chosen at run time.
//! Unicode pays the same price while its input is ASCII, and only otherwise writes to a second buffer.

use multiversion::multiversion;

/// Which letters are raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Case {
    /// `a` to `z` only; every other byte passes, so the length never changes (Python's `bytes.upper()`).
    Ascii,
    /// Full Unicode mapping of UTF-8 (Python's `str.upper()`); bytes that are not UTF-8 pass unchanged.
    Unicode,
}

/// The most by which UTF-8 grows when it is raised: U+0390 is two bytes and becomes six.
pub const GROWTH_MAX: usize = 3;

/// The longest beginning of a character that a cut can leave: three bytes of a four-byte character.
pub const CARRY_MAX: usize = 3;

/// The beginning of a character whose rest has not arrived yet: up to [`CARRY_MAX`] bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carry {
    bytes: [u8; CARRY_MAX],
    length: u8,
}

impl Carry {
    /// The carried bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Whether nothing is carried.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.bytes[..bytes.len()].copy_from_slice(bytes);
        self.length = bytes.len() as u8;
    }
}

/// Raises as far as that can be done in place, and says whether that was all there is to do.
///
/// If not, [`full`] does the rest: what has been raised here is upper case already and stays as it is.
pub fn in_place(case: Case, text: &mut [u8]) -> bool {
    match case {
        Case::Ascii => {
            ascii(text);
            true
        }
        Case::Unicode => ascii_part(text),
    }
}

/// Raises the next piece of a stream, so that the output never depends on where the stream was cut.
///
/// `text` must begin with what `carry` holds; a character that `text` cuts at its end goes into `carry`,
/// and is not part of the answer. At the end of the stream the caller sends what is still carried as it is.
pub fn piece<'a>(case: Case, text: &'a mut [u8], carry: &mut Carry, grown: &'a mut Vec<u8>) -> &'a [u8] {
    if in_place(case, text) {
        // Carried bytes stand in `text` and are never ASCII, so that none can have been carried.
        debug_assert!(carry.is_empty());
        return text;
    }
    let (whole, cut) = text.split_at(text.len() - cut_character_len(text));
    carry.keep(cut);
    full(whole, grown);
    grown
}

/// Raises the ASCII letters in place.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn ascii(text: &mut [u8]) {
    text.make_ascii_uppercase();
}

/// Raises the ASCII letters in place and says whether there was nothing else.
///
/// The letters are right whatever the answer: no byte of a longer character looks like an ASCII letter.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn ascii_part(text: &mut [u8]) -> bool {
    let mut seen = 0;
    for byte in text {
        seen |= *byte;
        *byte -= u8::from(byte.is_ascii_lowercase()) << 5;
    }
    seen.is_ascii()
}

/// Raises every valid character of `text` into `grown`; bytes that are not UTF-8 are copied, and so is ASCII, which
/// [`in_place`] has raised before.
///
/// One character at a time is enough, because the mapping to upper case has no context (the final sigma is
/// a rule for lower case): Unicode 17.0, section 3.13.
pub fn full(text: &[u8], grown: &mut Vec<u8>) {
    grown.clear();
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid();
        // Each pass takes at least one character.
        while let Some(ascii_len) = rest.bytes().position(|byte| !byte.is_ascii()) {
            grown.extend_from_slice(&rest.as_bytes()[..ascii_len]);
            let mut characters = rest[ascii_len..].chars();
            for raised in characters.next().into_iter().flat_map(char::to_uppercase) {
                grown.extend_from_slice(raised.encode_utf8(&mut [0; 4]).as_bytes());
            }
            rest = characters.as_str();
        }
        grown.extend_from_slice(rest.as_bytes());
        grown.extend_from_slice(chunk.invalid());
    }
}

/// How many bytes at the end of `text` begin a character that could still become whole.
fn cut_character_len(text: &[u8]) -> usize {
    for length in 1..=CARRY_MAX.min(text.len()) {
        let end = &text[text.len() - length..];
        if end[0] & 0b1100_0000 != 0b1000_0000 {
            // This byte starts a character or is one. `error_len` is `None` exactly when more bytes could help.
            let cut = str::from_utf8(end).is_err_and(|error| error.error_len().is_none());
            return if cut { length } else { 0 };
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raised(case: Case, text: &[u8]) -> Vec<u8> {
        let (mut text, mut grown) = (text.to_vec(), Vec::new());
        if in_place(case, &mut text) {
            return text;
        }
        full(&text, &mut grown);
        grown
    }

    /// What a stream answers when it is cut into pieces of these sizes, in turn.
    fn streamed(case: Case, text: &[u8], cuts: &[usize]) -> Vec<u8> {
        let (mut carry, mut grown, mut out) = (Carry::default(), Vec::new(), Vec::new());
        let (mut rest, mut cuts) = (text, cuts.iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at((*cuts.next().unwrap()).clamp(1, rest.len()));
            rest = later;
            let mut buffer = [carry.as_bytes(), now].concat();
            let answer = piece(case, &mut buffer, &mut carry, &mut grown);
            assert!(answer.len() <= GROWTH_MAX * (now.len() + CARRY_MAX));
            out.extend_from_slice(answer);
        }
        out.extend_from_slice(carry.as_bytes());
        out
    }

    /// Bytes that are often, but not always, UTF-8 with characters that grow, shrink, or are cut.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            any::<String>().prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..8),
            proptest::sample::select(vec!["straße", "ŉ", "ΐ", "ﬁ", "ı", "𐐨", "a", "Z"])
                .prop_map(|s| s.as_bytes().to_vec()),
        ];
        proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn ascii_equals_the_standard_library(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(raised(Case::Ascii, &text), text.to_ascii_uppercase());
        }

        #[test]
        fn unicode_equals_the_standard_library_on_whole_strings(text in any::<String>()) {
            prop_assert_eq!(raised(Case::Unicode, text.as_bytes()), text.to_uppercase().into_bytes());
        }

        #[test]
        fn where_a_stream_is_cut_never_shows(text in text(), cuts in proptest::collection::vec(1usize..9, 1..6)) {
            for case in [Case::Ascii, Case::Unicode] {
                prop_assert_eq!(streamed(case, &text, &cuts), raised(case, &text));
            }
        }
    }

    #[test]
    fn the_contract_has_these_examples() {
        for (text, wanted) in [("straße", "STRASSE"), ("ŉ", "ʼN"), ("ﬁ", "FI"), ("grün", "GRÜN"), ("ı", "I")] {
            assert_eq!(raised(Case::Unicode, text.as_bytes()), wanted.as_bytes());
        }
        assert_eq!(raised(Case::Ascii, "straße".as_bytes()), "STRAßE".as_bytes());
        assert_eq!(raised(Case::Unicode, b"a\xff\xc3b\xe2\x82"), b"A\xff\xc3B\xe2\x82");
    }

    #[test]
    fn no_character_grows_by_more_than_the_bound() {
        let grows = |c: char| c.to_uppercase().map(char::len_utf8).sum::<usize>() > GROWTH_MAX * c.len_utf8();
        assert_eq!((char::MIN..=char::MAX).find(|&c| grows(c)), None);
        assert_eq!(raised(Case::Unicode, "\u{390}".as_bytes()).len(), 6);
    }
}
