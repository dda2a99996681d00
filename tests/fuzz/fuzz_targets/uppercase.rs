//! A stream raised in pieces, against std raising it whole. The first bytes of the input say where to cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shout::uppercase::{Carry, Case, GROWTH_MAX, piece};

/// How many bytes of the input are lengths of pieces, used in turn.
const CUTS: usize = 4;

fuzz_target!(|input: &[u8]| {
    let Some((cuts, text)) = input.split_first_chunk::<CUTS>() else { return };
    assert_eq!(streamed(Case::Ascii, text, cuts), text.to_ascii_uppercase());
    assert_eq!(streamed(Case::Unicode, text, cuts), raised_by_std(text));
});

/// What a stream answers that arrives in pieces of these lengths.
fn streamed(case: Case, text: &[u8], cuts: &[u8; CUTS]) -> Vec<u8> {
    let (mut carry, mut grown, mut answer) = (Carry::default(), Vec::new(), Vec::new());
    let (mut rest, mut cuts) = (text, cuts.iter().cycle());
    while !rest.is_empty() {
        let length = usize::from(*cuts.next().unwrap()).clamp(1, rest.len());
        let (now, later) = rest.split_at(length);
        rest = later;
        let mut with_carry = [carry.as_bytes(), now].concat();
        let longest = GROWTH_MAX * with_carry.len();
        let raised = piece(case, &mut with_carry, &mut carry, &mut grown);
        assert!(raised.len() <= longest);
        answer.extend_from_slice(raised);
    }
    answer.extend_from_slice(carry.as_bytes());
    answer
}

/// Whatever is UTF-8 through `str::to_uppercase`; the rest as it is.
fn raised_by_std(text: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    for chunk in text.utf8_chunks() {
        answer.extend_from_slice(chunk.valid().to_uppercase().as_bytes());
        answer.extend_from_slice(chunk.invalid());
    }
    answer
}
