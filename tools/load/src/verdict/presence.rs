//! Whether the server was there all the time. Pure: no I/O.

use super::checks::{Limits, check};
use super::{Check, Verdict};
use crate::clock::{Nanos, SECOND};
use crate::evidence::Signs;

/// The share of the time of sending in which nobody listened. A restart is seen however short it was; where a twentieth
/// of the messages met nobody, the figures are not those of a server.
const GONE: Limits = Limits { suspect: 0.0, invalid: 0.05 };

/// The share of the time of sending, up to its end, in which nothing was heard. A stall may well be what was to be
/// measured, and its answers come in the drain; of a server that is silent for the last third nobody can tell whether it
/// would ever have answered again.
const SILENT: Limits = Limits { suspect: 0.1, invalid: 1.0 / 3.0 };

/// Silence is called one where losses like those before it would make it less than once in a thousand runs.
const BY_CHANCE: f64 = 0.001;

/// What is known of a server's being there, on one transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    /// The name of the transport.
    pub transport: &'static str,
    /// For how long messages were sent.
    pub sending: Nanos,
    /// Messages sent.
    pub sent: u64,
    /// Messages answered in time, rightly or not.
    pub answered: u64,
    /// Times that nobody listened.
    pub refusals: u64,
    /// Sockets or connections at the start.
    pub lanes: u64,
    /// Those that can still be used.
    pub alive: u64,
    /// When it was heard, and when it was gone.
    pub signs: Signs,
}

/// The worst of all transports; `None` for none.
pub(super) fn server_there(each: &[Presence]) -> Option<Check> {
    let order = |one: &Check, other: &Check| one.verdict.cmp(&other.verdict).then(one.value.total_cmp(&other.value));
    each.iter().map(Presence::check).max_by(order)
}

impl Presence {
    /// With what another generator knows of the same transport.
    #[must_use]
    pub fn with(self, other: Presence) -> Presence {
        Presence {
            transport: self.transport,
            sending: self.sending.max(other.sending),
            sent: self.sent + other.sent,
            answered: self.answered + other.answered,
            refusals: self.refusals + other.refusals,
            lanes: self.lanes + other.lanes,
            alive: self.alive + other.alive,
            signs: self.signs.with(other.signs),
        }
    }

    fn check(&self) -> Check {
        let found = self.gone().or_else(|| self.all_ended()).or_else(|| self.silent()).or_else(|| self.some_ended());
        let (verdict, share, why) = found.unwrap_or((Verdict::Valid, 0.0, String::new()));
        check("server_there", verdict, share, GONE.suspect, "the server was there all the time", why)
    }

    /// Datagrams were refused.
    fn gone(&self) -> Option<(Verdict, f64, String)> {
        let refused = self.signs.refused?;
        let came_back = self.signs.heard.is_some_and(|heard| heard > refused.last);
        let since = self.signs.heard.filter(|&heard| heard > refused.first).unwrap_or(refused.first);
        let (share, when) = if came_back {
            let when = format!("between {} and {} s", seconds(refused.first), seconds(refused.last));
            (self.share(refused.first, refused.last), when)
        } else {
            (self.share(since, self.sending), format!("from {} s on", seconds(since)))
        };
        let what_to_do = if came_back { "see why it was restarted" } else { "see why it ended" };
        let why = format!(
            "nobody listened at the server's port {when}, and datagrams were refused {} times; {what_to_do}, and measure \
             again",
            self.refusals
        );
        // Not even a moment is nothing.
        Some((GONE.judge(share).max(Verdict::Suspect), share, why))
    }

    /// The server ended every connection while there was more to send.
    fn all_ended(&self) -> Option<(Verdict, f64, String)> {
        let ended = self.signs.ended.filter(|ended| self.alive == 0 && ended.last <= self.sending)?;
        let why = format!(
            "the server ended every {} connection, the last of {} at {} s, and nothing was sent after that; see why it \
             ended, and measure again",
            self.transport,
            self.lanes,
            seconds(ended.last)
        );
        Some((Verdict::Invalid, 1.0, why))
    }

    /// Nothing came any more.
    fn silent(&self) -> Option<(Verdict, f64, String)> {
        let before = self.sent.saturating_sub(self.signs.unheard);
        let loss = (before.saturating_sub(self.answered) + 1) as f64 / (before + 2) as f64;
        let is_chance = loss.powf(self.signs.unheard as f64) >= BY_CHANCE;
        let since = self.signs.heard.unwrap_or(0);
        let share = self.share(since, self.sending);
        let verdict = SILENT.judge(share);
        let why = format!(
            "the server fell silent on {}: {} messages were sent after its last answer at {} s of {}, and none was \
             answered; see what became of it, and measure again",
            self.transport,
            self.signs.unheard,
            seconds(since),
            seconds(self.sending)
        );
        (!is_chance && verdict != Verdict::Valid).then_some((verdict, share, why))
    }

    /// The rest of the run had fewer connections than were asked for.
    fn some_ended(&self) -> Option<(Verdict, f64, String)> {
        let ended = self.signs.ended?;
        let number = self.lanes - self.alive;
        let why = format!(
            "{number} of {} {} connections ended before the run did, the first at {} s: the rest of the load went over \
             the others; see why they ended",
            self.lanes,
            self.transport,
            seconds(ended.first)
        );
        (number > 0).then(|| (Verdict::Suspect, number as f64 / self.lanes as f64, why))
    }

    /// Of the time of sending.
    fn share(&self, from: Nanos, to: Nanos) -> f64 {
        to.min(self.sending).saturating_sub(from) as f64 / self.sending.max(1) as f64
    }
}

fn seconds(time: Nanos) -> String {
    format!("{:.2}", time as f64 / SECOND as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Span;

    const MILLISECOND: Nanos = 1_000_000;

    /// Ten seconds, ten thousand messages, of which one in a hundred was lost.
    fn there() -> Presence {
        Presence {
            transport: "udp",
            sending: 10 * SECOND,
            sent: 10_000,
            answered: 9_900,
            refusals: 0,
            lanes: 4,
            alive: 4,
            signs: Signs { heard: Some(9_990 * MILLISECOND), unheard: 3, ..Signs::default() },
        }
    }

    fn span(first: Nanos, last: Nanos) -> Span {
        Span { first, last }
    }

    #[test]
    fn a_server_that_answers_to_the_end_was_there() {
        let check = there().check();
        assert!(check.ok && check.value.total_cmp(&0.0).is_eq(), "{check:?}");
        // One message a second, the last two lost by the same chance as half of those before.
        let slow = Presence {
            sent: 10,
            answered: 4,
            signs: Signs { heard: Some(7 * SECOND), unheard: 2, ..Signs::default() },
            ..there()
        };
        assert!(slow.check().ok);
    }

    #[test]
    fn what_happened_is_told_with_its_time() {
        let signs = there().signs;
        let gone = |first, last, heard| Presence {
            refusals: 123,
            signs: Signs { refused: Some(span(first, last)), heard: Some(heard), ..signs },
            ..there()
        };
        let silent = |heard, unheard| Presence {
            answered: 9_900 - unheard,
            signs: Signs { heard: Some(heard), unheard, ..signs },
            ..there()
        };
        let ended = |alive, first, last| Presence {
            alive,
            transport: "tcp",
            signs: Signs { ended: Some(span(first, last)), ..signs },
            ..there()
        };
        for (presence, verdict, words) in [
            (
                gone(3 * SECOND, 9 * SECOND, 3 * SECOND),
                Verdict::Invalid,
                "from 3.00 s on, and datagrams were refused 123 times",
            ),
            (gone(2 * SECOND, 9 * SECOND, 5 * SECOND), Verdict::Invalid, "from 5.00 s on"),
            (gone(9_900 * MILLISECOND, 9_990 * MILLISECOND, 9_899 * MILLISECOND), Verdict::Suspect, "from 9.90 s on"),
            (gone(10 * SECOND, 10 * SECOND, 9 * SECOND), Verdict::Suspect, "from 10.00 s on"),
            (gone(3 * SECOND, 3_100 * MILLISECOND, 9 * SECOND), Verdict::Suspect, "between 3.00 and 3.10 s"),
            (gone(3 * SECOND, 7 * SECOND, 9 * SECOND), Verdict::Invalid, "between 3.00 and 7.00 s"),
            (
                silent(6 * SECOND, 4_000),
                Verdict::Invalid,
                "4000 messages were sent after its last answer at 6.00 s of 10.00",
            ),
            (silent(8 * SECOND, 2_000), Verdict::Suspect, "fell silent"),
            (ended(0, SECOND, 2 * SECOND), Verdict::Invalid, "every tcp connection, the last of 4 at 2.00 s"),
            (ended(0, SECOND, 11 * SECOND), Verdict::Suspect, "4 of 4 tcp connections ended"),
            (
                ended(3, SECOND, SECOND),
                Verdict::Suspect,
                "1 of 4 tcp connections ended before the run did, the first at 1.00 s",
            ),
        ] {
            let check = presence.check();
            assert_eq!(check.verdict, verdict, "{check:?}");
            assert!(check.why.contains(words) && check.why.contains("see w"), "{check:?} does not say {words}");
        }
    }

    #[test]
    fn the_worse_transport_decides() {
        let silent = Presence {
            transport: "tcp",
            signs: Signs { heard: Some(SECOND), unheard: 5_000, ..Signs::default() },
            answered: 4_000,
            ..there()
        };
        for each in [[there(), silent], [silent, there()]] {
            assert!(server_there(&each).unwrap().why.contains("on tcp"));
        }
        assert_eq!(server_there(&[]), None);
    }
}
