//! What arrives: which message it answers, whether it is right, and what is counted for it. Pure: no I/O, no clock.

use super::Engine;
use super::lanes::{Book, Lane};
use crate::clock::Nanos;
use crate::ledger::{Arrival, DatagramLedger, Grade, Owed};
use crate::payload::{Comparison, Identity, Payload};
use crate::recorder::Recorder;

impl Engine {
    /// A datagram arrived on a UDP lane.
    pub fn datagram(&mut self, index: usize, bytes: &[u8], now: Nanos) {
        let own = self.identity(index, 0).lane;
        let Lane { book, group, sample, .. } = &mut self.lanes[index];
        let Book::Datagrams(ledger) = book else { return };
        let timeout = self.groups[*group].timeout;
        let recorder = &mut self.groups[*group].recorder;
        recorder.counts.bytes_received += bytes.len() as u64;
        recorder.evidence.heard(now);
        let (sequence, comparison) = match identify(&self.payload, ledger, own, bytes) {
            Answer::To { sequence, comparison } => (sequence, comparison),
            Answer::Stray => {
                recorder.counts.stray += 1;
                return;
            }
            Answer::Unreadable(comparison) => {
                count_wrong(recorder, comparison);
                return;
            }
        };
        let arrival = ledger.answer(sequence, now);
        if arrival == Arrival::Stale {
            return;
        }
        let is_intact = comparison == Comparison::Intact;
        if !is_intact {
            count_wrong(recorder, comparison);
        }
        let settled = match arrival {
            Arrival::OnTime(flight) if is_intact => {
                recorder.replied(flight, bytes.len(), now);
                recorder.evidence.replied(flight, Identity { lane: own, sequence }, now);
                sample.answered(sequence, flight);
                true
            }
            Arrival::OnTime(flight) => {
                recorder.counts.wrong += 1;
                recorder.evidence.unanswered(1, now.saturating_sub(flight.issued), now);
                true
            }
            Arrival::Late { lost_now } => {
                // It was in flight for a little longer than the timeout: the next sweep would have ended it.
                recorder.evidence.unanswered(usize::from(lost_now), if lost_now { timeout } else { 0 }, now);
                recorder.counts.lost += u64::from(lost_now);
                recorder.counts.late += u64::from(is_intact);
                lost_now
            }
            Arrival::Duplicate => {
                recorder.counts.duplicated += u64::from(is_intact);
                false
            }
            Arrival::Unknown => {
                recorder.counts.stray += u64::from(is_intact);
                false
            }
            Arrival::Stale => false,
        };
        if matches!(arrival, Arrival::OnTime(_) | Arrival::Late { .. }) && is_intact {
            recorder.reordered_by(ledger.reordering(sequence));
        }
        if settled {
            self.free_place(index, now);
        }
    }

    /// Bytes arrived on a TCP lane.
    pub fn stream(&mut self, index: usize, mut bytes: &[u8], now: Nanos) {
        let own = self.identity(index, 0).lane;
        let group = self.lanes[index].group;
        let recorder = &mut self.groups[group].recorder;
        recorder.counts.bytes_received += bytes.len() as u64;
        recorder.evidence.heard(now);
        while !bytes.is_empty() {
            let Lane { book: Book::Stream(ledger), sample, .. } = &mut self.lanes[index] else { return };
            let recorder = &mut self.groups[group].recorder;
            let Some(owed) = ledger.owed() else {
                recorder.counts.stray += 1;
                return;
            };
            let message = Identity { lane: own, sequence: owed.sequence };
            let length = self.payload.length(message);
            let missing = length - owed.offset;
            let (piece, rest) = bytes.split_at(missing.min(bytes.len()));
            bytes = rest;
            ledger.piece(piece.len(), grade(&self.payload, message, owed, piece));
            if piece.len() < missing {
                return;
            }
            if let Some((flight, grade)) = ledger.complete() {
                if grade == Grade::Right {
                    recorder.replied(flight, length, now);
                    recorder.evidence.replied(flight, message, now);
                    if bytes.is_empty() {
                        sample.answered(message.sequence, flight);
                    } else if sample.answered_among_others(message.sequence) {
                        recorder.breakdown.missed();
                    }
                } else {
                    recorder.counts.corrupt += 1;
                    recorder.counts.unchanged += u64::from(grade == Grade::Unchanged);
                    recorder.counts.wrong += 1;
                    recorder.evidence.unanswered(1, now.saturating_sub(flight.issued), now);
                }
            }
            self.free_place(index, now);
            self.retire_if_due(index);
        }
    }
}

/// How an answer is up to the end of its next piece. One that is right so far is compared once.
fn grade(payload: &Payload, message: Identity, owed: Owed, piece: &[u8]) -> Grade {
    let Owed { offset, grade, .. } = owed;
    let is_as_sent = || payload.is_as_sent(message, offset, piece);
    match grade {
        Grade::Right if payload.matches(message, offset, piece) => Grade::Right,
        Grade::Right if payload.stays_as_sent(message, offset) && is_as_sent() => Grade::Unchanged,
        Grade::Unchanged if is_as_sent() => Grade::Unchanged,
        Grade::Right | Grade::Unchanged | Grade::Wrong => Grade::Wrong,
    }
}

/// Which message a datagram answers, and how well.
enum Answer {
    To {
        sequence: u64,
        comparison: Comparison,
    },
    /// A right answer to somebody else, or to nothing.
    Stray,
    /// Wrong in a way that does not let on which message it answers.
    Unreadable(Comparison),
}

fn identify(payload: &Payload, ledger: &mut DatagramLedger, lane: u16, bytes: &[u8]) -> Answer {
    if !payload.is_numbered() {
        return identify_by_content(payload, ledger, lane, bytes);
    }
    // Shorter than any message: that much can be said. What was longer may have been cut as well, but is wrong besides.
    let unreadable = if bytes.len() < payload.content().shortest() {
        Comparison::Truncated
    } else {
        Comparison::Corrupt { recognisable: false }
    };
    if let Some(named) = payload.read_header(bytes) {
        let comparison = payload.compare(named, bytes);
        match comparison {
            Comparison::Intact if named.lane != lane => return Answer::Stray,
            Comparison::Intact
            | Comparison::Truncated
            | Comparison::Unchanged
            | Comparison::Corrupt { recognisable: true }
                if named.lane == lane =>
            {
                return Answer::To { sequence: named.sequence, comparison };
            }
            Comparison::Intact | Comparison::Truncated | Comparison::Unchanged | Comparison::Corrupt { .. } => {}
        }
    }
    match ledger.only_one() {
        Some(sequence) => Answer::To { sequence, comparison: unreadable },
        None => Answer::Unreadable(unreadable),
    }
}

/// At most one message is in flight. An answer that does not fit it may be a late one to the message before.
fn identify_by_content(payload: &Payload, ledger: &mut DatagramLedger, lane: u16, bytes: &[u8]) -> Answer {
    let current = ledger.only_one();
    let compare = |sequence| payload.compare(Identity { lane, sequence }, bytes);
    let intact = |sequence: &u64| compare(*sequence) == Comparison::Intact;
    if let Some(sequence) = current.filter(intact).or_else(|| ledger.last_before(current).filter(intact)) {
        return Answer::To { sequence, comparison: Comparison::Intact };
    }
    match current {
        Some(sequence) => Answer::To { sequence, comparison: compare(sequence) },
        None => Answer::Unreadable(Comparison::Corrupt { recognisable: false }),
    }
}

fn count_wrong(recorder: &mut Recorder, comparison: Comparison) {
    match comparison {
        Comparison::Intact => {}
        Comparison::Truncated => recorder.counts.truncated += 1,
        Comparison::Unchanged => {
            recorder.counts.corrupt += 1;
            recorder.counts.unchanged += 1;
        }
        Comparison::Corrupt { .. } => recorder.counts.corrupt += 1,
    }
}
