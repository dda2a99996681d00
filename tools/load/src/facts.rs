//! From what was recorded and observed to what the verdict hangs on. Pure: no I/O.

use hdrhistogram::Histogram;

use crate::clock::Nanos;
use crate::engine::Demand;
use crate::evidence::{self, WORST};
use crate::floor::Floor;
use crate::generator::Effort;
use crate::loss::{Attribution, Drops};
use crate::observer::{Course, Observation};
use crate::payload::Identity;
use crate::plan::Plan;
use crate::recorder::{Counts, Endings, Recorder};
use crate::report::trust::{Loss, Outlier};
use crate::schedule::Process;
use crate::statistics::kolmogorov_smirnov;
use crate::team::Team;
use crate::verdict::{Facts, Offered, Presence, little_facts};

/// What a paced send may be off by, in median timer overshoots of this machine: one for waking up late, one for the
/// message before, which was late itself and went out just now.
const OVERSHOOTS: u64 = 2;

/// Without a floor: what waking up costs where it is cheap.
const USUAL_OVERSHOOT: Nanos = 10_000;

/// A measurement, summed up over its transports.
pub struct Measured<'a> {
    /// What was asked for.
    pub plan: &'a Plan,
    /// What came of it, part by part.
    pub team: &'a Team,
    /// The counts of all parts.
    pub counts: &'a Counts,
    /// The endings of all parts.
    pub endings: &'a Endings,
    /// The histograms of all parts.
    pub total: &'a Recorder,
    /// What the kernel counted meanwhile.
    pub seen: &'a Observation,
    /// The server's processor time as it went by, where the server is on this machine.
    pub course: &'a Course,
    /// Sending and draining.
    pub wall: Nanos,
}

impl Measured<'_> {
    /// What the verdict hangs on.
    pub fn facts(&self, floor: Option<&Floor>) -> Facts {
        let Recorder { response, service, lag, .. } = self.total;
        // The thread that is worst off in each respect: one that is late makes all of them late.
        let worst = |of: fn(&Effort) -> Option<f64>| {
            self.team.efforts().filter_map(|effort| of(&effort)).max_by(f64::total_cmp)
        };
        let effective_size = self.effective_size();
        Facts {
            presence: self.presence(),
            offered: self.offered(floor),
            lag_p99: lag.value_at_quantile(0.99),
            service_p50: service.value_at_quantile(0.5),
            own_cpu: worst(Effort::busy),
            server_cpu: self.server_cpu(),
            waited: worst(Effort::waited),
            steal: self.seen.steal,
            switches: worst(Effort::switches),
            slices: self.slices(),
            effective_size,
            p99: response.value_at_quantile(0.99),
            p99_interval: evidence::interval(response, 0.99, effective_size),
            little: self.little(),
            own_tail: self.own_tail(),
        }
    }

    /// Transport by transport, over all generators.
    fn presence(&self) -> Vec<Presence> {
        let mut all: Vec<Presence> = Vec::new();
        for ((transport, recorder), (_, lanes, alive)) in self.team.recorders().zip(self.team.lanes()) {
            let Recorder { counts, endings, evidence, .. } = recorder;
            let one = Presence {
                transport: transport.name(),
                sending: self.team.sending_time(),
                sent: counts.sent,
                answered: counts.replied + counts.wrong,
                refusals: endings.refused,
                lanes: lanes as u64,
                alive: alive as u64,
                signs: evidence.signs(),
            };
            match all.iter_mut().find(|sum| sum.transport == one.transport) {
                Some(sum) => *sum = sum.with(one),
                None => all.push(one),
            }
        }
        all
    }

    /// While messages were sent: in the drain it has nothing to do, however busy it was before.
    fn server_cpu(&self) -> Option<f64> {
        let sending = self.team.sending_time();
        self.course.between(0, sending).map(|cpu| cpu as f64 / sending.max(1) as f64)
    }

    /// The worse of the transports.
    fn own_tail(&self) -> Option<(f64, Nanos)> {
        let bands = self.team.recorders().flat_map(|(_, recorder)| recorder.breakdown.bands());
        let tails = bands.filter(|band| band.percentile == "99");
        tails.map(|band| (band.own_share(), band.network_server())).max_by(|one, other| one.0.total_cmp(&other.0))
    }

    /// What the latencies of all transports together are worth.
    pub fn effective_size(&self) -> f64 {
        evidence::effective_size(self.team.recorders().map(|(_, recorder)| &recorder.evidence))
    }

    /// What became of what was lost.
    pub fn loss(&self) -> Loss {
        let drops = Drops {
            server: self.seen.server_drops,
            client: self.seen.client_drops,
            unsent: self.counts.unsent,
            refused: self.endings.refused,
            late: self.counts.late,
        };
        // What a broken connection took with it is in the connections' own accounts.
        let datagrams = self.team.recorders().filter(|(transport, _)| transport.is_datagrams());
        let missing = datagrams.map(|(_, recorder)| recorder.counts.lost).sum();
        let attribution = Attribution::of(missing, drops);
        let unanswered = self.counts.unanswered();
        let mut loss = Loss::of(attribution, self.team.bursts(), &self.total.response, unanswered);
        let has_streams = self.team.recorders().any(|(transport, _)| !transport.is_datagrams());
        if has_streams {
            (loss.retransmits, loss.listen_overflows) = (self.seen.retransmits, self.seen.listen_overflows);
        }
        loss
    }

    /// The slowest requests of all transports.
    pub fn outliers(&self) -> Vec<Outlier> {
        let each = self.team.recorders().flat_map(|(transport, recorder)| {
            recorder.evidence.worst().into_iter().map(move |slow| {
                let message = Identity { lane: slow.lane, sequence: slow.sequence };
                Outlier::of(&slow, transport.name(), self.team.payload().length(message))
            })
        });
        let mut all: Vec<Outlier> = each.collect();
        all.sort_by_key(|outlier| std::cmp::Reverse(outlier.lat_ns));
        all.truncate(WORST);
        all
    }

    fn offered(&self, floor: Option<&Floor>) -> Option<Offered> {
        let Demand::Open { profile, process, window } = &self.plan.demand else { return None };
        let groups = self.team.recorders().count().max(1) as f64;
        let mean_gap = 1e9 * groups / profile.mean_rate();
        let tolerance = OVERSHOOTS * floor.map_or(USUAL_OVERSHOOT, |floor| floor.timer.p50);
        // Where the timer cannot tell a gap from none, every process looks like every other.
        let is_resolved = (tolerance as f64) < mean_gap;
        let distances = self.team.recorders().filter_map(|(_, recorder)| {
            let gaps = recorder.evidence.gaps();
            // Under a rate that changes there is no one law that the gaps should follow.
            let is_comparable = is_resolved && profile.is_constant() && !gaps.is_empty();
            is_comparable.then(|| distance(gaps, *process, mean_gap, tolerance)).flatten().map(|far| (far, gaps.len()))
        });
        Some(Offered {
            scheduled: self.counts.scheduled,
            sent: self.counts.sent,
            is_held_up: window.is_some() || self.plan.crowd.churn.is_some() || self.counts.send_blocked > 0,
            arrivals: distances.max_by(|a, b| a.0.total_cmp(&b.0)),
        })
    }

    /// Of the transport with the most answers: slices of several cannot be added up.
    fn slices(&self) -> Vec<f64> {
        let busiest = self.team.recorders().max_by_key(|(_, recorder)| recorder.counts.replied);
        busiest.map(|(_, recorder)| recorder.evidence.slices()).unwrap_or_default()
    }

    /// `None` where the times of some messages are not known to the end.
    fn little(&self) -> Option<(f64, f64)> {
        let Endings { reset, closed, timed_out, .. } = self.endings;
        let counts = self.counts;
        if counts.in_flight_at_end + counts.clamped + reset + closed + timed_out > 0 || counts.replied == 0 {
            return None;
        }
        let sum = |of: fn(&evidence::Evidence) -> u128| -> u128 {
            self.team.recorders().map(|(_, recorder)| of(&recorder.evidence)).sum()
        };
        let (area, unanswered) = (sum(evidence::Evidence::area), sum(evidence::Evidence::unanswered_time));
        Some(little_facts(area, counts.replied, mean(&self.total.service), unanswered, self.wall))
    }
}

fn mean(histogram: &Histogram<u64>) -> f64 {
    if histogram.is_empty() { 0.0 } else { histogram.mean() }
}

/// The Kolmogorov–Smirnov distance of actual gaps from those of the process that was asked for. `None` where the gaps
/// depend on each other, so that their distribution alone says little.
fn distance(gaps: &[u64], process: Process, mean_gap: f64, tolerance: Nanos) -> Option<f64> {
    let gaps: Vec<f64> = gaps.iter().map(|&gap| gap as f64 / mean_gap).collect();
    let tolerance = tolerance as f64 / mean_gap;
    let law: fn(f64) -> f64 = match process {
        Process::Poisson => |gap| if gap > 0.0 { -(-gap).exp_m1() } else { 0.0 },
        Process::Const => |gap| if gap < 1.0 { 0.0 } else { 1.0 },
        Process::Uniform => |gap| (gap / 2.0).clamp(0.0, 1.0),
        Process::Burst(_) | Process::OnOff { .. } => return None,
    };
    Some(kolmogorov_smirnov(&gaps, law, tolerance))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Arrivals, Profile};

    fn gaps(process: Process, rate: f64, delay: impl Fn(u64) -> Nanos) -> Vec<u64> {
        let mut arrivals = Arrivals::new(process, Profile::constant(rate), 1.0, 0.0, 7);
        let mut last = 0;
        let mut gap = || {
            let time = arrivals.take();
            let sent = (time + delay(time)).max(last);
            sent - std::mem::replace(&mut last, sent)
        };
        (0..4000).map(|_| gap()).skip(1).collect()
    }

    #[test]
    fn each_process_is_recognised_and_not_taken_for_the_other() {
        let each = [Process::Poisson, Process::Const, Process::Uniform];
        for (process, other) in each.into_iter().flat_map(|process| each.map(|other| (process, other))) {
            let gaps = gaps(process, 10_000.0, |time| 5_000 + time % 7_000);
            let far = distance(&gaps, other, 1e5, 20_000).unwrap();
            assert_eq!(far < 0.1, process == other, "{process:?} compared with {other:?}: {far}");
        }
    }

    #[test]
    fn sends_in_clumps_are_not_what_was_asked_for() {
        // A generator that wakes up every millisecond and sends all that is due.
        let gaps = gaps(Process::Poisson, 10_000.0, |time| 1_000_000 - time % 1_000_000);
        assert!(distance(&gaps, Process::Poisson, 1e5, 20_000).unwrap() > 0.5);
    }
}
