//! Right answers pass, and every way of being wrong is noticed.

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn message(payload: &Payload, identity: Identity) -> Vec<u8> {
    let mut bytes = Vec::new();
    payload.append(identity, &mut bytes);
    bytes
}

/// An independent server: std's own upper-casing.
fn answer(payload: &Payload, identity: Identity) -> Vec<u8> {
    message(payload, identity).to_ascii_uppercase()
}

fn identities() -> impl Strategy<Value = Identity> {
    (any::<u16>(), 0..=LARGEST_SEQUENCE).prop_map(|(lane, sequence)| Identity { lane, sequence })
}

fn contents() -> impl Strategy<Value = Content> {
    prop_oneof![
        (0usize..3000).prop_map(Content::from),
        (0usize..300, 0usize..300).prop_map(|(from, more)| Content::Template(Sizes::Uniform { from, to: from + more })),
        Just(Content::Template("mix:64=70,512=25,1400=5".parse().unwrap())),
        Just(Content::Template("mix:3=1,100=1".parse().unwrap())),
        prop::collection::vec(any::<u8>(), 1..300).prop_map(|text| Content::Lines(lines::for_tests(&text))),
    ]
}

proptest! {
    #[test]
    fn a_right_answer_is_intact_and_names_its_message(id in identities(), content in contents(), seed: u64) {
        let payload = Payload::new(content, seed);
        let answer = answer(&payload, id);
        prop_assert_eq!(answer.len(), payload.length(id));
        prop_assert!((payload.content.shortest()..=payload.content.longest()).contains(&answer.len()));
        prop_assert_eq!(payload.compare(id, &answer), Comparison::Intact);
        prop_assert_eq!(payload.read_header(&answer), payload.is_numbered().then_some(id));
    }

    #[test]
    fn every_changed_byte_is_noticed(
        id in identities(), content in contents(), seed: u64, at: prop::sample::Index, change in 1u8..
    ) {
        let payload = Payload::new(content, seed);
        let mut answer = answer(&payload, id);
        prop_assume!(!answer.is_empty());
        let at = at.index(answer.len());
        answer[at] ^= change;
        prop_assert_ne!(payload.compare(id, &answer), Comparison::Intact);
        // And it does not pass as the answer to whomever the header names now.
        if let Some(named) = payload.read_header(&answer) {
            prop_assert_ne!(payload.compare(named, &answer), Comparison::Intact);
        }
    }

    #[test]
    fn a_shorter_answer_is_truncated_and_a_longer_one_corrupt(
        id in identities(), content in contents(), cut: prop::sample::Index
    ) {
        let payload = Payload::new(content, 1);
        let mut answer = answer(&payload, id);
        if !answer.is_empty() {
            let cut = &answer[..cut.index(answer.len())];
            prop_assert_eq!(payload.compare(id, cut), Comparison::Truncated);
        }
        answer.push(b'X');
        prop_assert_eq!(payload.compare(id, &answer), Comparison::Corrupt { recognisable: true });
    }

    #[test]
    fn pieces_match_wherever_an_answer_is_cut(id in identities(), content in contents(), cut: prop::sample::Index) {
        let payload = Payload::new(content, 1);
        let answer = answer(&payload, id);
        let cut = cut.index(answer.len() + 1);
        prop_assert!(payload.matches(id, 0, &answer[..cut]));
        prop_assert!(payload.matches(id, cut, &answer[cut..]));
    }

    #[test]
    fn the_windows_of_a_template_differ_from_one_another(seed: u64) {
        let payload = Payload::new(NUMBERED_MINIMUM, seed);
        let windows: HashSet<&[u8]> = payload.expected.windows(NUMBERED_MINIMUM - HEADER).take(PERIOD).collect();
        prop_assert_eq!(windows.len(), PERIOD);
    }
}

#[test]
fn a_period_holds_every_byte_value_and_every_word_intact() {
    let payload = Payload::new(2 * PERIOD, 7);
    let values: HashSet<u8> = payload.source.iter().copied().collect();
    assert_eq!(values.len(), 256);
    for word in WORDS {
        assert!(payload.source.windows(word.len()).any(|window| window == word.as_bytes()), "{word}");
    }
}

#[test]
fn a_server_that_upper_cases_unicode_or_nothing_is_noticed() {
    let payload = Payload::new(600, 7);
    let id = Identity { lane: 3, sequence: 99 };
    let sent = message(&payload, id);
    assert_eq!(payload.compare(id, &sent), Comparison::Unchanged, "an echo without upper-casing");
    let unicode = String::from_utf8_lossy(&sent).to_uppercase();
    assert_ne!(payload.compare(id, unicode.as_bytes()), Comparison::Intact);
}

#[test]
fn lines_are_sent_as_they_are_and_in_order() {
    let payload = Payload::new(Content::Lines(lines::for_tests(b"one\nstra\xC3\x9Fe\n\nfour")), 7);
    let row = |lane| (0..5).map(|sequence| message(&payload, Identity { lane, sequence })).collect::<Vec<_>>();
    assert_eq!(row(0), [&b"one"[..], b"stra\xC3\x9Fe", b"", b"four", b"one"]);
    assert_eq!(row(1)[..2], [&b"stra\xC3\x9Fe"[..], b""]);
    let id = Identity { lane: 0, sequence: 1 };
    assert_eq!(payload.compare(id, b"STRA\xC3\x9FE"), Comparison::Intact);
    assert_ne!(payload.compare(id, b"STRASSE"), Comparison::Intact);
    assert_eq!(payload.content.to_string(), "lines:0-7");
}

#[test]
fn one_size_too_short_for_a_number_leaves_all_without() {
    for (sizes, is_numbered) in [("mix:24=1,64=1", true), ("mix:23=1,64=1", false), ("uniform:0-64", false)] {
        let payload = Payload::new(Content::Template(sizes.parse().unwrap()), 7);
        assert_eq!(payload.is_numbered(), is_numbered, "{sizes}");
    }
}

#[test]
fn a_message_glued_together_from_two_is_noticed() {
    let payload = Payload::new(64, 7);
    let mut glued = answer(&payload, Identity { lane: 0, sequence: 5 });
    glued[HEADER..].copy_from_slice(&answer(&payload, Identity { lane: 0, sequence: 6 })[HEADER..]);
    let named = payload.read_header(&glued).unwrap();
    assert_eq!(payload.compare(named, &glued), Comparison::Corrupt { recognisable: false });
}
