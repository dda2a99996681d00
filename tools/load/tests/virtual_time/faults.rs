//! The loss machine: drops, duplicates, late and reordered answers, wrong bytes, and cuts in a stream; each is counted
//! for what it is.

use super::*;

/// What becomes of one message on a bad network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fine,
    Dropped,
    Doubled,
    Corrupted,
    Truncated,
    TooLate,
    TooLateTwice,
}

/// A network whose every fault is drawn from a seed, and what must be counted after it.
fn bad_network(seed: u64, sizes: Sizes, demand: Demand) -> (Counts, Counts) {
    const MESSAGES: u64 = 400;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut expected = Counts { scheduled: MESSAGES, sent: MESSAGES, ..Counts::default() };
    let mut server = |now: Nanos, message: &[u8]| {
        let fates = [
            Fate::Fine,
            Fate::Fine,
            Fate::Dropped,
            Fate::Doubled,
            Fate::Corrupted,
            Fate::Truncated,
            Fate::TooLate,
            Fate::TooLateTwice,
        ];
        let fate = fates[random.next_u64() as usize % fates.len()];
        let mut answer = message.to_ascii_uppercase();
        let soon = now + MICROSECOND;
        let too_late = now + 3 * SECOND / 2;
        let times = match fate {
            Fate::Fine | Fate::Corrupted | Fate::Truncated => vec![soon],
            Fate::Dropped => vec![],
            Fate::Doubled => vec![soon, soon + MICROSECOND],
            Fate::TooLate => vec![too_late],
            Fate::TooLateTwice => vec![too_late, too_late + MICROSECOND],
        };
        match fate {
            Fate::Fine | Fate::Dropped | Fate::Doubled | Fate::TooLate | Fate::TooLateTwice => {}
            // Behind the header, so that it is still known which message this was.
            Fate::Corrupted => answer[16 + random.next_u64() as usize % (message.len() - 16)] ^= 0x20,
            Fate::Truncated => answer.truncate(16 + random.next_u64() as usize % (message.len() - 16)),
        }
        expected.replied += u64::from(matches!(fate, Fate::Fine | Fate::Doubled));
        expected.lost += u64::from(matches!(fate, Fate::Dropped | Fate::TooLate | Fate::TooLateTwice));
        expected.wrong += u64::from(matches!(fate, Fate::Corrupted | Fate::Truncated));
        expected.corrupt += u64::from(fate == Fate::Corrupted);
        expected.truncated += u64::from(fate == Fate::Truncated);
        expected.duplicated += u64::from(matches!(fate, Fate::Doubled | Fate::TooLateTwice));
        expected.late += u64::from(matches!(fate, Fate::TooLate | Fate::TooLateTwice));
        times.into_iter().map(|time| (time, answer.clone())).collect()
    };
    let mut engine = engine(Transport::Udp, 2, Content::Template(sizes));
    // Messages that come to be answered after their loss need somebody to wait for: the last ones are always fine.
    let stage = so_many(demand, MESSAGES, seed);
    let end = simulate(&mut engine, Transport::Udp, &stage, 0, &mut server);
    let measured = recorder(&engine).counts;
    assert!(measured.is_balanced(), "{measured:?}");
    assert!(end > 0);
    (measured, expected)
}

/// Microseconds from a message to its answer, one of four beyond what the others take, and three of five of those beyond
/// the timeout.
fn delay() -> impl Strategy<Value = Nanos> {
    prop_oneof![3 => 1u64..5000, 1 => 1u64..2_500_000]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_fault_of_a_network_is_counted_for_what_it_is(
        seed: u64, from in 24usize..200, more in 0usize..200, window in 1usize..20
    ) {
        let sizes = Sizes::Uniform { from, to: from + more };
        let (measured, expected) = bad_network(seed, sizes, Demand::Closed { window });
        prop_assert_eq!(
            (measured.sent, measured.replied, measured.lost, measured.wrong, measured.corrupt, measured.truncated),
            (expected.sent, expected.replied, expected.lost, expected.wrong, expected.corrupt, expected.truncated)
        );
        prop_assert_eq!(measured.stray, 0);
        // Late answers to the last messages come after the end, when nobody listens any more.
        prop_assert!(measured.late <= expected.late && measured.late + 2 * window as u64 >= expected.late);
        prop_assert!(measured.duplicated <= expected.duplicated);
    }

    #[test]
    fn drops_doubles_delays_and_overtaking_are_counted_as_a_list_of_arrivals_has_them(
        seed: u64,
        rate in 50.0f64..5000.0,
        delays in prop::collection::vec(prop::collection::vec(delay(), 0..4), 50..300),
    ) {
        const TIMEOUT: Nanos = SECOND;
        let mut arrivals = Vec::new();
        let mut sent = 0;
        let mut server = |now: Nanos, message: &[u8]| {
            let sequence: usize = sent;
            sent += 1;
            let times = delays[sequence].iter().map(|delay| now + delay * MICROSECOND);
            arrivals.extend(times.clone().map(|time| (time, sequence, time - now <= TIMEOUT)));
            times.map(|time| (time, message.to_ascii_uppercase())).collect()
        };
        let mut engine = engine(Transport::Udp, 1, 64);
        let messages = delays.len() as u64;
        let stage = so_many(open(Profile::constant(rate), Process::Poisson), messages, seed);
        let end = simulate(&mut engine, Transport::Udp, &stage, 0, &mut server);

        // Those at the same time came in the order in which they were sent.
        arrivals.sort_by_key(|&(time, ..)| time);
        let mut key = Counts { scheduled: messages, sent: messages, ..Counts::default() };
        let mut is_lost = vec![true; delays.len()];
        let mut answered = vec![false; delays.len()];
        let mut newest = 0;
        for (_, sequence, is_in_time) in arrivals.into_iter().filter(|&(time, ..)| time <= end) {
            if std::mem::replace(&mut answered[sequence], true) {
                key.duplicated += 1;
                continue;
            }
            is_lost[sequence] = !is_in_time;
            key.late += u64::from(!is_in_time);
            newest = newest.max(sequence);
            key.reordered += u64::from(sequence < newest);
            key.reorder_extent_max = key.reorder_extent_max.max((newest - sequence) as u64);
        }
        key.lost = is_lost.iter().filter(|is_lost| **is_lost).count() as u64;
        key.replied = messages - key.lost;
        let counts = recorder(&engine).counts;
        prop_assert_eq!(Counts { bytes_sent: 0, bytes_received: 0, ..counts }, key);
        let longest = is_lost.split(|is_lost| !is_lost).map(<[bool]>::len).max().unwrap_or(0);
        prop_assert_eq!(engine.bursts().longest(), longest as u64);
    }

    #[test]
    fn every_fault_is_counted_as_the_answer_key_has_it(
        seed: u64, shares in prop::array::uniform6(0.0f64..0.2), rate in prop::option::of(100.0f64..1e5), window in 2usize..20
    ) {
        const MESSAGES: u64 = 500;
        let [drop, duplicate, reorder, truncate, corrupt, wrong_case] = shares;
        let faults = Faults { drop, duplicate, reorder, truncate, corrupt, wrong_case, seed, ..Faults::default() };
        let mut lab = Datagrams::new(&faults);
        let mut server = |now: Nanos, message: &[u8]| {
            let replies = lab.receive(now, message, ());
            // What is sent later arrives later; equal times are kept in order.
            replies.into_iter().map(|reply| (reply.at.max(now) + MICROSECOND, reply.bytes)).collect()
        };
        let mut engine = engine(Transport::Udp, 1, 64);
        let demand = match rate {
            Some(rate) => Demand::Open { profile: Profile::constant(rate), process: Process::Poisson, window: None },
            None => Demand::Closed { window },
        };
        let stage = so_many(demand, MESSAGES, seed);
        simulate(&mut engine, Transport::Udp, &stage, 0, &mut server);
        // An answer that is held when nothing follows would leave by itself; nobody sends it here, so it is lost.
        let never_sent = u64::from(lab.held_until().is_some());
        let (counts, key) = (recorder(&engine).counts, lab.key);
        prop_assert!(counts.is_balanced() && key.received == MESSAGES);
        // What is held while nothing comes within the timeout is lost too, and late when it comes.
        prop_assert_eq!(counts.lost, key.drop + never_sent + counts.late);
        prop_assert_eq!((counts.duplicated, counts.truncated), (key.duplicate, key.truncate));
        prop_assert_eq!(counts.reordered, key.reorder);
        prop_assert_eq!((counts.corrupt, counts.stray), (key.corrupt + key.wrong_case, 0));
        prop_assert_eq!(counts.unchanged, key.wrong_case);
        prop_assert_eq!(counts.wrong, key.truncate + key.corrupt + key.wrong_case);
    }

    #[test]
    fn a_stream_that_comes_back_as_it_was_sent_is_told_from_one_that_is_wrong_otherwise(
        seed: u64, from in 1usize..100, more in 0usize..100, is_partly_right: bool
    ) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut engine = engine(Transport::Tcp, 1, Content::Template(Sizes::Uniform { from, to: from + more }));
        let stage = so_many(Demand::Closed { window: 5 }, 300, seed);
        let (mut busy, mut with_letters, mut with_several) = (0, 0, 0);
        let mut server = |now: Nanos, message: &[u8]| {
            let letters: Vec<usize> =
                (0..message.len()).filter(|place| message[*place].is_ascii_lowercase()).collect();
            with_letters += u64::from(!letters.is_empty());
            with_several += u64::from(letters.len() > 1);
            let mut answer = message.to_vec();
            if is_partly_right && letters.len() > 1 {
                // One letter is right, and it may be any.
                answer[letters[random.next_u64() as usize % letters.len()]].make_ascii_uppercase();
            }
            let mut pieces = Vec::new();
            while !answer.is_empty() {
                let rest = answer.split_off(1 + random.next_u64() as usize % answer.len());
                busy = busy.max(now) + 1 + random.next_u64() % MICROSECOND;
                pieces.push((busy, std::mem::replace(&mut answer, rest)));
            }
            pieces
        };
        simulate(&mut engine, Transport::Tcp, &stage, 0, &mut server);
        let counts = recorder(&engine).counts;
        let unchanged = if is_partly_right { with_letters - with_several } else { with_letters };
        prop_assert_eq!((counts.corrupt, counts.unchanged, counts.sent), (with_letters, unchanged, 300));
    }

    #[test]
    fn a_stream_may_be_cut_anywhere(seed: u64, from in 1usize..100, more in 0usize..100) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut engine = engine(Transport::Tcp, 2, Content::Template(Sizes::Uniform { from, to: from + more }));
        let stage = so_many(Demand::Closed { window: 5 }, 300, seed);
        let mut busy = [0; 2];
        let mut next = 0;
        let mut server = |now: Nanos, message: &[u8]| {
            // The order within a lane must hold; both lanes share one clock here, so it holds for all.
            let mut answer = message.to_ascii_uppercase();
            let mut pieces = Vec::new();
            while !answer.is_empty() {
                let rest = answer.split_off(1 + random.next_u64() as usize % answer.len());
                busy[0] = (busy[0]).max(now) + 1 + random.next_u64() % MICROSECOND;
                pieces.push((busy[0], std::mem::replace(&mut answer, rest)));
                next += 1;
            }
            pieces
        };
        simulate(&mut engine, Transport::Tcp, &stage, 0, &mut server);
        let counts = recorder(&engine).counts;
        prop_assert_eq!((counts.sent, counts.replied, counts.wrong_answers(), counts.stray), (300, 300, 0, 0));
    }
}
