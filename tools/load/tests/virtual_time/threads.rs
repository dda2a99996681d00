//! A load that is divided among several generators is the same load.

use shout_load::recorder::Recorder;
use shout_load::statistics::kolmogorov_smirnov;
use shout_load::team::Share;

use super::*;

/// The times at which three generators with two lanes each send, sorted, and what they recorded.
fn divided(process: Process, rate: f64, lanes_of: impl Fn(&[u8]) + Copy) -> (Vec<Nanos>, Vec<Recorder>) {
    let mut times = Vec::new();
    let recorders = (0..3).map(|index| {
        let mut engine = engine(Transport::Udp, 2, 64);
        engine.take_part(Share { index, of: 3 }, 2 * index as u16);
        let mut server = |now, message: &[u8]| {
            lanes_of(&message[..4]);
            times.push(now);
            vec![(now + MILLISECOND, message.to_ascii_uppercase())]
        };
        let stage = three_seconds(open(Profile::constant(rate), process));
        simulate(&mut engine, Transport::Udp, &stage, 0, &mut server);
        recorder(&engine).clone()
    });
    let recorders = recorders.collect();
    times.sort_unstable();
    (times, recorders)
}

#[test]
fn constant_arrivals_of_three_generators_are_constant_together() {
    let (times, recorders) = divided(Process::Const, 1000.0, |_| ());
    assert_eq!(times.len(), 3000);
    for pair in times.windows(2) {
        assert!((pair[1] - pair[0]).abs_diff(MILLISECOND) <= 1, "{pair:?}");
    }
    let mut sum = Recorder::default();
    for recorder in &recorders {
        sum.add(recorder);
    }
    assert_eq!((sum.counts.scheduled, sum.counts.sent, sum.counts.replied, sum.counts.stray), (3000, 3000, 3000, 0));
    assert_eq!((sum.response.len(), sum.lag.len()), (3000, 3000));
}

#[test]
fn poisson_arrivals_of_three_generators_are_poisson_together() {
    let (times, _) = divided(Process::Poisson, 2000.0, |_| ());
    assert!(times.len().abs_diff(6000) < 300, "{}", times.len());
    let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64 * 2000.0 / 1e9).collect();
    let distance = kolmogorov_smirnov(&gaps, |gap| if gap > 0.0 { -(-gap).exp_m1() } else { 0.0 }, 0.0);
    assert!(distance < 0.03, "{distance}");
}

#[test]
fn no_two_generators_give_a_lane_the_same_number() {
    let seen = std::cell::RefCell::new(std::collections::BTreeSet::new());
    divided(Process::Const, 1000.0, |lane| {
        seen.borrow_mut().insert(lane.to_vec());
    });
    let expected: Vec<Vec<u8>> = (0..6).map(|lane| format!("{lane:04X}").into_bytes()).collect();
    assert!(seen.into_inner().into_iter().eq(expected));
}
