//! Connections that are replaced: how many messages each carries, and what the replacing costs whom.

use shout_load::recorder::Recorder;

use super::*;
use crate::simulator::REOPENING;

/// Answers each message after a millisecond.
fn prompt(now: Nanos, message: &[u8]) -> Vec<(Nanos, Vec<u8>)> {
    vec![(now + MILLISECOND, message.to_ascii_uppercase())]
}

fn churned(lanes: usize, lifetime: u64, demand: Demand) -> Recorder {
    let mut engine = engine(Transport::Tcp, lanes, 64);
    engine.churn(lifetime);
    simulate(&mut engine, Transport::Tcp, &three_seconds(demand), 0, &mut prompt);
    recorder(&engine).clone()
}

#[test]
fn a_closed_loop_waits_for_the_new_connection_and_its_messages_do_not() {
    let recorder = churned(1, 10, Demand::Closed { window: 1 });
    let cycle = 10 * MILLISECOND + REOPENING;
    let counts = recorder.counts;
    assert_eq!(counts.sent, (3 * SECOND).div_ceil(cycle) * 10);
    assert_eq!((counts.replied, counts.lost), (counts.sent, 0));
    assert!(milliseconds(&recorder.response, 100.0) < 1.01, "the message was not due before");
}

#[test]
fn an_open_loop_goes_on_and_what_it_could_not_send_is_late() {
    let rate = |rate| open(Profile::constant(rate), Process::Const);
    // A message takes a connection for three milliseconds in all: one connection is enough for 333 a second.
    let slow = churned(1, 1, rate(100.0));
    assert_eq!((slow.counts.sent, slow.counts.replied, slow.counts.shed), (300, 300, 0));
    assert!(milliseconds(&slow.response, 100.0) < 1.01);
    let fast = churned(1, 1, rate(1000.0));
    assert!(fast.counts.sent.abs_diff(1000) <= 1, "{:?}", fast.counts);
    assert_eq!((fast.counts.scheduled, fast.counts.replied), (3000, fast.counts.sent));
    assert!(milliseconds(&fast.response, 100.0) > 1900.0, "waiting for a connection is waiting");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn nothing_is_lost_and_every_connection_carries_its_number(lanes in 1usize..5, lifetime in 1u64..20, window in 1usize..9) {
        // The simulator checks that nothing is under way on what is closed.
        let recorder = churned(lanes, lifetime, Demand::Closed { window });
        prop_assert_eq!((recorder.counts.lost, recorder.counts.in_flight_at_end), (0, 0));
        prop_assert_eq!(recorder.counts.replied, recorder.counts.sent);
        // As many round trips as the window needs for a life, and one opening.
        let cycle = lifetime.div_ceil(window as u64) * MILLISECOND + REOPENING;
        let expected = lanes as u64 * lifetime * (3 * SECOND) / cycle;
        prop_assert!(recorder.counts.sent.abs_diff(expected) <= 2 * lanes as u64 * lifetime, "{} of {expected}", recorder.counts.sent);
    }
}

#[test]
fn the_first_connections_end_at_different_times() {
    let mut engine = engine(Transport::Tcp, 4, 64);
    engine.churn(100);
    let mut of_lane = [0; 4];
    let mut first_gap = [0; 4];
    let mut last = [0; 4];
    let mut server = |now, message: &[u8]| {
        let lane = usize::from_str_radix(std::str::from_utf8(&message[..4]).unwrap(), 16).unwrap();
        if now - last[lane] >= REOPENING && last[lane] > 0 && first_gap[lane] == 0 {
            first_gap[lane] = of_lane[lane];
        }
        of_lane[lane] += 1;
        last[lane] = now;
        prompt(now, message)
    };
    simulate(&mut engine, Transport::Tcp, &three_seconds(Demand::Closed { window: 1 }), 0, &mut server);
    assert_eq!(first_gap, [25, 50, 75, 100]);
}
