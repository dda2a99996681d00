//! Several runs summed up, some of them not to be believed.

use super::*;

#[test]
fn runs_that_are_not_to_be_believed_are_counted_and_said_to_be_in_the_sum() {
    let summed_up = |verdicts: [Verdict; 3]| {
        let mut run = Document::for_tests();
        let mut repeats = Repeats::new(&run, 7, 3);
        for verdict in verdicts {
            run.validity.verdict = verdict;
            repeats.push(&run);
        }
        repeats.finish(&crate::recorder::histogram());
        repeats
    };
    let repeats = summed_up([Verdict::Invalid, Verdict::Valid, Verdict::Suspect]);
    assert_eq!(repeats.verdicts, Verdicts { valid: 1, suspect: 1, invalid: 1 });
    let said = "  of 3 runs 1 INVALID and 1 SUSPECT: what is summed up here rests on them too, and no gate is passed on them\n";
    assert!(repeats.text().contains(said), "{}", repeats.text());
    let repeats = summed_up([Verdict::Suspect, Verdict::Valid, Verdict::Suspect]);
    let said = "  of 3 runs 2 SUSPECT: what is summed up here is to be doubted as they are\n";
    assert!(repeats.text().contains(said), "{}", repeats.text());
    assert!(!summed_up([Verdict::Valid; 3]).text().contains("of 3 runs"));
}
