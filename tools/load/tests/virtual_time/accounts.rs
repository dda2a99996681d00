//! What a stage counts from its first message to its last answer.

use super::*;

#[test]
fn a_stage_ends_with_its_number_of_messages() {
    let mut engine = engine(Transport::Udp, 3, 64);
    for demand in [
        Demand::Closed { window: 7 },
        Demand::Open { profile: Profile::constant(5000.0), process: Process::Poisson, window: None },
    ] {
        let stage = so_many(demand.clone(), 1001, 1);
        simulate(&mut engine, Transport::Udp, &stage, 5 * SECOND, &mut stalling_server());
        let counts = recorder(&engine).counts;
        assert_eq!((counts.scheduled, counts.sent, counts.replied), (1001, 1001, 1001), "{demand:?}");
    }
}

#[test]
fn what_a_warm_up_left_behind_does_not_touch_the_measurement() {
    let mut engine = engine(Transport::Udp, 1, 64);
    let mut kept = Vec::new();
    let stage = |messages| so_many(Demand::Closed { window: 4 }, messages, 1);
    let end = simulate(&mut engine, Transport::Udp, &stage(4), 0, &mut |_, message| {
        kept.push(message.to_ascii_uppercase());
        Vec::new()
    });
    assert_eq!(recorder(&engine).counts.lost, 4);
    let mut server = |now: Nanos, message: &[u8]| {
        let mut answers = vec![(now + MILLISECOND, message.to_ascii_uppercase())];
        // The answers to the warm-up come now, in the middle of the measurement.
        answers.extend(kept.drain(..).map(|answer| (now + MICROSECOND, answer)));
        answers
    };
    simulate(&mut engine, Transport::Udp, &stage(100), end, &mut server);
    let counts = recorder(&engine).counts;
    let expected = Counts { scheduled: 100, sent: 100, replied: 100, ..Counts::default() };
    assert_eq!(Counts { bytes_sent: 0, bytes_received: 0, ..counts }, expected);
}

#[test]
fn a_second_answer_to_the_very_last_message_is_still_seen() {
    let mut engine = engine(Transport::Udp, 1, 64);
    let stage = so_many(Demand::Closed { window: 1 }, 3, 1);
    let mut server = |now: Nanos, message: &[u8]| {
        [MICROSECOND, 10 * MILLISECOND].map(|delay| (now + delay, message.to_ascii_uppercase())).to_vec()
    };
    simulate(&mut engine, Transport::Udp, &stage, 0, &mut server);
    let counts = recorder(&engine).counts;
    assert_eq!((counts.replied, counts.duplicated), (3, 3));
}

#[test]
fn short_messages_wait_for_one_another_in_an_open_loop_too() {
    let mut engine = engine(Transport::Udp, 1, 8);
    let demand = Demand::Open { profile: Profile::constant(1000.0), process: Process::Const, window: None };
    let stage = so_many(demand, 50, 1);
    // Five are due while one is under way, and none could be told from the others.
    let mut server = |now: Nanos, message: &[u8]| vec![(now + 5 * MILLISECOND, message.to_ascii_uppercase())];
    simulate(&mut engine, Transport::Udp, &stage, 0, &mut server);
    let Recorder { counts, service, response, .. } = recorder(&engine);
    assert_eq!((counts.replied, counts.wrong_answers(), counts.stray), (50, 0, 0));
    assert!(service.max() < 6 * MILLISECOND && response.max() > 190 * MILLISECOND);
}

#[test]
fn sockets_without_room_delay_messages_and_lose_none() {
    let mut engine = engine(Transport::Udp, 1, 64);
    let demand = Demand::Open { profile: Profile::constant(1000.0), process: Process::Const, window: None };
    engine.begin(&so_many(demand, 2, 1), 0);
    let mut outbox = Outbox::default();
    let lane = engine.next_sender(0).unwrap();
    engine.compose(lane, 0, Room::ONE, &mut outbox);
    assert_eq!(outbox.messages(), 1);
    engine.blocked(lane);
    assert_eq!(engine.next_sender(5 * MILLISECOND), None, "the lane is asked again only when it has room");
    engine.sent(lane, 1, 7 * MILLISECOND);
    engine.unblocked(lane);
    assert_eq!(engine.next_sender(7 * MILLISECOND), Some(lane));
    outbox.clear();
    engine.compose(lane, 7 * MILLISECOND, Room::ONE, &mut outbox);
    engine.sent(lane, 1, 7 * MILLISECOND);
    engine.cut_off(8 * MILLISECOND);
    let Recorder { counts, lag, .. } = recorder(&engine);
    assert_eq!((counts.sent, counts.send_blocked, counts.in_flight_at_end), (2, 1, 2));
    assert_eq!(lag.min() / MILLISECOND, 5, "the second was to leave at 1 ms");
    assert!(lag.max() >= 7 * MILLISECOND, "the first at 0");
}
