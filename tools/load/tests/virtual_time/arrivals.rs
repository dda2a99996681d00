//! When messages leave: the statistics of every process, at the socket and not only in the schedule.

use super::*;

const MESSAGES: u64 = 4000;

/// When each message of an open loop reached its socket. The generator is never behind.
fn sent_at(process: Process, rate: f64, seed: u64) -> Vec<Nanos> {
    let mut engine = engine(Transport::Udp, 1, 64);
    let mut sent_at = Vec::new();
    let mut server = |now: Nanos, message: &[u8]| {
        sent_at.push(now);
        vec![(now + 1, message.to_ascii_uppercase())]
    };
    let stage = so_many(open(Profile::constant(rate), process), MESSAGES, seed);
    simulate(&mut engine, Transport::Udp, &stage, 0, &mut server);
    assert_eq!(recorder(&engine).lag.max(), 0, "{process}");
    sent_at
}

/// Gaps in means of their process, in ascending order.
fn gaps(times: &[Nanos], rate: f64) -> Vec<f64> {
    let mut gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e9 * rate).collect();
    gaps.sort_by(f64::total_cmp);
    gaps
}

/// Whether a sorted sample can come from this law: Kolmogorov's distance exceeds 3.5 / √n in one of 20 thousand million.
fn follows(sample: &[f64], law: fn(f64) -> f64) -> bool {
    let count = sample.len() as f64;
    let distance = sample.iter().enumerate().map(|(rank, &value)| {
        let law = law(value);
        (law - rank as f64 / count).abs().max((law - (rank + 1) as f64 / count).abs())
    });
    distance.fold(0.0, f64::max) < 3.5 / count.sqrt()
}

fn exponential(gap: f64) -> f64 {
    1.0 - (-gap).exp()
}

fn even(gap: f64) -> f64 {
    (gap / 2.0).clamp(0.0, 1.0)
}

#[test]
fn the_test_of_a_law_tells_laws_apart() {
    let poisson = gaps(&sent_at(Process::Poisson, 1000.0, 1), 1000.0);
    let uniform = gaps(&sent_at(Process::Uniform, 1000.0, 1), 1000.0);
    assert!(follows(&poisson, exponential) && !follows(&poisson, even));
    assert!(follows(&uniform, even) && !follows(&uniform, exponential));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_gaps_follow_their_law(seed: u64, rate in 100.0f64..1e5) {
        prop_assert!(follows(&gaps(&sent_at(Process::Poisson, rate, seed), rate), exponential));
        prop_assert!(follows(&gaps(&sent_at(Process::Uniform, rate, seed), rate), even));
    }

    #[test]
    fn random_gaps_owe_nothing_to_the_gap_before(seed: u64, rate in 100.0f64..1e5) {
        for process in [Process::Poisson, Process::Uniform] {
            let times = sent_at(process, rate, seed);
            let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e9 * rate - 1.0).collect();
            let products: f64 = gaps.windows(2).map(|pair| pair[0] * pair[1]).sum();
            let squares: f64 = gaps.iter().map(|gap| gap * gap).sum();
            // The correlation of independent gaps has a standard deviation of 1 / √n; seven of them.
            prop_assert!((products / squares).abs() < 7.0 / (MESSAGES as f64).sqrt(), "{}", process);
        }
    }

    #[test]
    fn equal_gaps_and_bursts_are_sent_to_the_nanosecond(rate in 100.0f64..1e5, length in 1u64..40) {
        let nth = |number: u64| number as f64 * 1e9 / rate;
        for (number, &time) in (0..).zip(&sent_at(Process::Const, rate, 1)) {
            prop_assert!((time as f64 - nth(number)).abs() <= 1.0);
        }
        for (number, &time) in (0..).zip(&sent_at(Process::Burst(length), rate, 1)) {
            prop_assert!((time as f64 - nth(number / length * length)).abs() <= 1.0);
        }
    }

    #[test]
    fn on_and_off_is_exponential_in_the_one_and_silent_in_the_other(seed: u64, on in 1u64..50, off in 0u64..50) {
        let rate = 10_000.0;
        let (on, off) = (on * MILLISECOND, off * MILLISECOND);
        let times = sent_at(Process::OnOff { on, off }, rate, seed);
        prop_assert!(times.iter().all(|time| time % (on + off) <= on));
        // Without the silences it is an exponential process, faster by as much as there is silence.
        let awake: Vec<Nanos> = times.iter().map(|time| time / (on + off) * on + time % (on + off)).collect();
        prop_assert!(follows(&gaps(&awake, rate * (on + off) as f64 / on as f64), exponential));
    }

    #[test]
    fn two_transports_share_a_schedule_without_a_seam(rate in 100.0f64..1e5) {
        let groups = [Transport::Udp, Transport::Udp].map(|transport| LaneGroup { transport, lanes: 1, timeout: SECOND });
        let mut engine = Engine::new(Payload::new(64, 42), &groups);
        let mut sent_at = Vec::new();
        let mut server = |now: Nanos, message: &[u8]| {
            sent_at.push(now);
            vec![(now + 1, message.to_ascii_uppercase())]
        };
        let stage = so_many(open(Profile::constant(rate), Process::Const), MESSAGES, 1);
        simulate(&mut engine, Transport::Udp, &stage, 0, &mut server);
        for (number, &time) in sent_at.iter().enumerate() {
            prop_assert!((time as f64 - number as f64 * 1e9 / rate).abs() <= 1.0);
        }
    }
}
