//! Which datagram is the answer to a line. Pure: no I/O.
//!
//! UDP may lose, repeat and delay, and the service has no message numbers: an answer carries nothing but the line in
//! upper case. So the text itself is the key. That is enough, because the service is a function of the line: two
//! requests with the same text have the same answer, and it does no harm when the late answer to an earlier, equal line
//! (or to an earlier attempt of this one) is taken for this line's. Everything else is late or foreign.

/// Whether `answer` is `line` in upper case, by either of the service's two rules for case.
///
/// The client does not know whether its server upper-cases ASCII only or all of Unicode, nor with which year's tables.
/// So an answer counts if both texts become equal once they are upper-cased in full, and if the answer has no a–z left
/// (`a`–`z` become `A`–`Z` under every rule; a server that merely echoes is not ours). Bytes that are not UTF-8 must
/// come back as they were.
pub(crate) fn answers(line: &[u8], answer: &[u8]) -> bool {
    !answer.iter().any(u8::is_ascii_lowercase) && uppercase(line) == uppercase(answer)
}

/// Full Unicode upper case; bytes that are not valid UTF-8 pass unchanged.
fn uppercase(bytes: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        result.extend_from_slice(chunk.valid().to_uppercase().as_bytes());
        result.extend_from_slice(chunk.invalid());
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(line: &str, answer: &str) -> bool {
        answers(line.as_bytes(), answer.as_bytes())
    }

    #[test]
    fn both_rules_for_case_are_answers() {
        assert!(taken("", ""));
        assert!(taken("hello", "HELLO"));
        assert!(taken("straße", "STRAßE"), "ASCII only");
        assert!(taken("straße", "STRASSE"), "all of Unicode");
        assert!(taken("ŉ", "ŉ") && taken("ŉ", "ʼN"));
    }

    #[test]
    fn late_and_foreign_text_is_no_answer() {
        assert!(!taken("second", "FIRST"), "an earlier line's");
        assert!(!taken("hello", "hello"), "an echo without upper case");
        assert!(!taken("hello", "HELLo"));
        assert!(!taken("hello", "HELLO "));
        assert!(!taken("hello", "HELL"), "cut by a small buffer");
        assert!(!taken("hello", "") && !taken("", "X"));
    }

    #[test]
    fn bytes_that_are_not_text_come_back_as_they_were() {
        assert!(answers(b"a\xff\xe2\x82b", b"A\xff\xe2\x82B"));
        assert!(!answers(b"a\xff", b"A\xfe"));
        assert!(!answers(b"a\xff", "A\u{fffd}".as_bytes()));
    }

    #[test]
    fn every_character_answers_itself_under_either_rule() {
        for character in '\0'..=char::MAX {
            let line = character.to_string();
            assert!(taken(&line, &line.to_ascii_uppercase()), "{character:?} by ASCII");
            assert!(taken(&line, &line.to_uppercase()), "{character:?} by Unicode");
        }
    }
}
