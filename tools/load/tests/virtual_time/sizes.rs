//! Messages of different sizes: bytes counted exactly, answers matched by their own lengths, trains of equal ones.

use super::*;

fn spreads() -> impl Strategy<Value = Sizes> {
    prop_oneof![
        (24usize..2000).prop_map(Sizes::Fixed),
        (24usize..1000, 0usize..1000).prop_map(|(from, more)| Sizes::Uniform { from, to: from + more }),
        Just("mix:64=70,512=25,1400=5".parse().unwrap()),
        Just("mix:24=1,25=1,26=1".parse().unwrap()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn bytes_are_counted_as_the_server_counts_them_and_sizes_add_up_to_the_whole(
        sizes in spreads(), seed: u64, window in 1usize..20, is_stream: bool
    ) {
        let transport = if is_stream { Transport::Tcp } else { Transport::Udp };
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut bytes = 0;
        let mut busy_until = 0;
        let mut server = |now: Nanos, message: &[u8]| {
            bytes += message.len() as u64;
            // In order, as a stream must be.
            busy_until = now.max(busy_until) + 1 + random.next_u64() % MILLISECOND;
            vec![(busy_until, message.to_ascii_uppercase())]
        };
        let mut engine = engine(transport, 3, Content::Template(sizes.clone()));
        simulate(&mut engine, transport, &so_many(Demand::Closed { window }, 400, seed), 0, &mut server);
        let Recorder { counts, by_size, response, .. } = recorder(&engine);
        prop_assert_eq!((counts.replied, counts.wrong_answers(), counts.stray), (400, 0, 0));
        prop_assert_eq!((counts.bytes_sent, counts.bytes_received), (bytes, bytes));
        let classes = by_size.classes();
        if let Sizes::Fixed(_) = sizes {
            prop_assert!(classes.is_empty());
        } else if sizes.shortest() < sizes.longest() {
            let mut sum = shout_load::recorder::histogram();
            for class in classes {
                sum.add(&class.response).unwrap();
            }
            prop_assert!(&sum == response, "the parts add up to the whole");
            prop_assert_eq!(classes.iter().map(|class| class.sent).sum::<u64>(), 400);
            let most: u64 = classes.iter().map(|class| class.sent * class.to as u64).sum();
            let least: u64 = classes.iter().map(|class| class.sent * class.from as u64).sum();
            prop_assert!((least..=most).contains(&bytes));
        }
    }

    #[test]
    fn what_is_composed_for_one_call_is_one_train(sizes in spreads(), seed: u64, messages in 1usize..64) {
        let room = Room { messages, bytes: 65_000, is_train: true };
        let mut engine = engine(Transport::Udp, 1, Content::Template(sizes));
        engine.begin(&so_many(Demand::Closed { window: 300 }, 200, seed), 0);
        let mut outbox = Outbox::default();
        let mut sent = 0;
        while let Some(lane) = engine.next_sender(0) {
            engine.compose(lane, 0, room, &mut outbox);
            let train = outbox.next(0, room);
            prop_assert_eq!((train.messages, train.bytes), (outbox.messages(), outbox.bytes().len()));
            prop_assert!(train.messages <= messages && train.bytes <= 65_000);
            sent += train.messages;
            engine.sent(lane, train.messages, 0);
            outbox.clear();
        }
        prop_assert_eq!(sent, 200);
    }

    #[test]
    fn a_wrong_answer_to_one_of_several_sizes_is_still_known_for_what_it_is(seed: u64, cut in 16usize..24, window in 1usize..9) {
        // Every second answer is cut right behind its header, every third has a wrong bit in its body.
        let mut number = 0;
        let mut server = |now: Nanos, message: &[u8]| {
            number += 1;
            let mut answer = message.to_ascii_uppercase();
            if number % 2 == 0 {
                answer.truncate(cut);
            } else if number % 3 == 0 {
                answer[23] ^= 1;
            }
            vec![(now + MICROSECOND, answer)]
        };
        let sizes = "mix:64=1,512=1,1400=1".parse().unwrap();
        let mut engine = engine(Transport::Udp, 1, Content::Template(sizes));
        simulate(&mut engine, Transport::Udp, &so_many(Demand::Closed { window }, 600, seed), 0, &mut server);
        let counts = recorder(&engine).counts;
        prop_assert_eq!((counts.truncated, counts.corrupt, counts.replied, counts.lost), (300, 100, 200, 0));
    }
}

#[test]
fn sizes_without_room_for_a_number_go_one_by_one_over_udp_and_in_any_depth_over_tcp() {
    for (transport, expected) in [(Transport::Udp, 1), (Transport::Tcp, 8)] {
        let mut engine = engine(transport, 1, Content::Template("mix:3=1,10=1,200=1".parse().unwrap()));
        let (mut deepest, mut last) = (0, 0);
        let mut answers: Vec<Nanos> = Vec::new();
        let mut server = |now: Nanos, message: &[u8]| {
            answers.retain(|&time| time > now);
            last = now.max(last) + MILLISECOND;
            answers.push(last);
            deepest = deepest.max(answers.len());
            vec![(last, message.to_ascii_uppercase())]
        };
        simulate(&mut engine, transport, &so_many(Demand::Closed { window: 8 }, 100, 1), 0, &mut server);
        assert_eq!(recorder(&engine).counts.replied, 100);
        assert_eq!(deepest, expected, "{transport:?}");
    }
}

#[test]
fn an_answer_that_names_nobody_is_truncated_only_if_it_is_shorter_than_any() {
    let mut number = 0;
    let mut server = |now: Nanos, message: &[u8]| {
        number += 1;
        let mut answer = message.to_ascii_uppercase();
        match number % 10 {
            // No digit, in a message that is not the longest.
            3 => answer[0] = b'x',
            7 => answer.truncate(10),
            _ => {}
        }
        vec![(now + MILLISECOND, answer)]
    };
    let mut engine = engine(Transport::Udp, 1, Content::Template("mix:64=1,512=1,1400=1".parse().unwrap()));
    simulate(&mut engine, Transport::Udp, &so_many(Demand::Closed { window: 8 }, 200, 1), 0, &mut server);
    let counts = recorder(&engine).counts;
    assert_eq!((counts.corrupt, counts.truncated), (20, 20));
    // Whose answers they were shows when nothing else comes.
    assert_eq!((counts.replied, counts.wrong + counts.lost), (160, 40));
}
