//! The ring against a model that forgets nothing.

use super::*;
use proptest::prelude::*;

const TIMEOUT: Nanos = 100;

#[derive(Debug, Clone)]
enum Step {
    Send,
    Answer(prop::sample::Index),
    Pass(Nanos),
    Expire,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Send),
        4 => any::<prop::sample::Index>().prop_map(Step::Answer),
        2 => (0..TIMEOUT).prop_map(Step::Pass),
        1 => Just(Step::Expire),
    ];
    prop::collection::vec(step, 0..400)
}

/// The same accounts kept without a ring, without cursors and without hurry.
#[derive(Default)]
struct Model {
    issued: Vec<Nanos>,
    answered: Vec<bool>,
    lost: Vec<bool>,
}

impl Model {
    fn answer(&mut self, sequence: usize, now: Nanos) -> &'static str {
        let Some(&issued) = self.issued.get(sequence) else { return "unknown" };
        if std::mem::replace(&mut self.answered[sequence], true) {
            return "duplicate";
        }
        if now - issued > TIMEOUT {
            self.lost[sequence] = true;
            return "late";
        }
        "on time"
    }

    fn expire(&mut self, now: Nanos) {
        for (sequence, &issued) in self.issued.iter().enumerate() {
            self.lost[sequence] |= !self.answered[sequence] && now - issued > TIMEOUT;
        }
    }

    /// Every loss there is, those at the very end included.
    fn bursts(&self) -> Bursts {
        let mut bursts = Bursts::default();
        self.lost.iter().for_each(|lost| bursts.push(*lost));
        bursts
    }
}

proptest! {
    #[test]
    fn the_ring_keeps_the_same_accounts_as_a_model_that_forgets_nothing(steps in steps()) {
        let mut ledger = DatagramLedger::new(TIMEOUT, 1024);
        let mut model = Model::default();
        let (mut now, mut lost, mut replied) = (0, 0, 0);
        for step in steps {
            match step {
                Step::Send => {
                    prop_assert!(ledger.has_room());
                    prop_assert_eq!(ledger.compose(now), model.issued.len() as u64);
                    prop_assert_eq!(ledger.issue(now), Flight { intended: now, issued: now });
                    model.issued.push(now);
                    model.answered.push(false);
                    model.lost.push(false);
                }
                Step::Answer(which) => {
                    // One more than there are, to meet a message that was never sent.
                    let sequence = which.index(model.issued.len() + 1);
                    let arrival = match ledger.answer(sequence as u64, now) {
                        Arrival::OnTime(flight) => {
                            prop_assert_eq!(flight.issued, model.issued[sequence]);
                            replied += 1;
                            "on time"
                        }
                        Arrival::Late { lost_now } => {
                            lost += usize::from(lost_now);
                            "late"
                        }
                        Arrival::Duplicate => "duplicate",
                        Arrival::Unknown => "unknown",
                        Arrival::Stale => "stale",
                    };
                    prop_assert_eq!(arrival, model.answer(sequence, now));
                }
                Step::Pass(time) => now += time,
                Step::Expire => {
                    lost += ledger.expire(now).count;
                    model.expire(now);
                    prop_assert_eq!(lost, model.lost.iter().filter(|lost| **lost).count());
                }
            }
            prop_assert_eq!(model.issued.len(), replied + lost + ledger.in_flight());
            prop_assert_eq!(ledger.bursts(), model.bursts());
        }
    }

    #[test]
    fn a_short_ring_refuses_rather_than_forgets_what_is_in_flight(steps in steps()) {
        let mut ledger = DatagramLedger::new(TIMEOUT, 16);
        let (mut now, mut sent, mut settled) = (0, 0, 0);
        for step in steps {
            match step {
                Step::Send if ledger.has_room() => {
                    ledger.compose(now);
                    ledger.issue(now);
                    sent += 1;
                }
                Step::Send => {}
                Step::Answer(which) => match ledger.answer(which.index(sent + 1) as u64, now) {
                    Arrival::OnTime(_) | Arrival::Late { lost_now: true } => settled += 1,
                    Arrival::Late { lost_now: false } | Arrival::Duplicate | Arrival::Unknown | Arrival::Stale => {}
                },
                Step::Pass(time) => now += time,
                Step::Expire => settled += ledger.expire(now).count,
            }
            prop_assert!(ledger.in_flight() <= 16);
            prop_assert_eq!(sent, settled + ledger.in_flight());
        }
    }
}

#[test]
fn a_ring_that_grows_keeps_everything() {
    let first = DatagramLedger::FIRST_SLOTS as u64;
    let mut ledger = DatagramLedger::new(TIMEOUT, 4 * DatagramLedger::FIRST_SLOTS);
    let send = |ledger: &mut DatagramLedger, time| {
        let has_room = ledger.has_room();
        if has_room {
            ledger.compose(time);
            ledger.issue(time);
        }
        has_room
    };
    assert!(send(&mut ledger, 0) && send(&mut ledger, 1) && send(&mut ledger, 2));
    for time in [0, 2] {
        assert_eq!(ledger.answer(time, 2), Arrival::OnTime(Flight { intended: time, issued: time }));
    }
    for time in 3..2 * first {
        assert!(send(&mut ledger, time), "at {time}");
    }
    assert_eq!(ledger.answer(0, 3), Arrival::Late { lost_now: false }, "out of the ring");
    assert_eq!(ledger.answer(2, 3), Arrival::Duplicate, "remembered through one move");
    for time in 2 * first..=4 * first {
        assert!(send(&mut ledger, time), "at {time}");
    }
    assert!(!send(&mut ledger, 0), "message 1 is still in flight, and its slot would be the next");
    assert_eq!(ledger.answer(2, 3), Arrival::Duplicate, "remembered through both moves");
    for time in 3..=4 * first {
        assert_eq!(ledger.answer(time, time + 1), Arrival::OnTime(Flight { intended: time, issued: time }));
    }
    assert_eq!(ledger.in_flight(), 1);
}

#[test]
fn reordering_is_measured_from_the_newest_answer() {
    let mut ledger = DatagramLedger::new(TIMEOUT, 16);
    let extents = [0, 1, 4, 2, 3, 5].map(|sequence| ledger.reordering(sequence));
    assert_eq!(extents, [0, 0, 0, 2, 1, 0]);
}

#[test]
fn a_new_stage_takes_back_what_was_not_issued_and_forgets_the_rest() {
    let mut ledger = DatagramLedger::new(TIMEOUT, 16);
    ledger.compose(0);
    ledger.issue(0);
    ledger.compose(0);
    ledger.begin_stage();
    assert_eq!(ledger.outstanding(), 0);
    assert_eq!(ledger.answer(0, 1), Arrival::Stale);
    assert_eq!(ledger.compose(2), 1, "the number that was not used");
}
