//! What one UDP turn does with what it receives, against a scripted socket.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::*;

/// A socket whose queue and whose errors are written down beforehand.
#[derive(Default)]
struct Script {
    segments_max: usize,
    incoming: VecDeque<(Message, Vec<u8>)>,
    /// What every call of `receive` fails with.
    failing: Option<Errno>,
    /// What each call of `send` answers, in turn; `Ok` once it is empty.
    outcomes: VecDeque<Result<usize, Errno>>,
    /// Each reply that has left: to whom, the size of its datagrams, its bytes.
    sent: Vec<(SocketAddr, usize, Vec<u8>)>,
}

impl DatagramIo for Script {
    fn messages_max(&self) -> usize {
        16
    }

    fn segments_max(&self) -> usize {
        self.segments_max
    }

    fn receive(&mut self, batch: &mut Batch, width: usize) -> io::Result<()> {
        if let Some(errno) = self.failing {
            return Err(errno.into());
        }
        if self.incoming.is_empty() {
            return Err(Errno::WOULDBLOCK.into());
        }
        let count = width.min(self.incoming.len());
        for (slot, (_, bytes)) in batch.slots_mut().zip(self.incoming.iter().take(count)) {
            slot[..bytes.len()].copy_from_slice(bytes);
        }
        batch.messages.extend(self.incoming.drain(..count).map(|(message, _)| message));
        Ok(())
    }

    fn send(&mut self, bytes: &[u8], replies: &Replies, from: usize) -> io::Result<usize> {
        let count = self.outcomes.pop_front().unwrap_or(Ok(1))?;
        for reply in &replies.list[from..from + count] {
            let parts = replies.parts[reply.parts.clone()].iter();
            let text = parts.flat_map(|part| &bytes[part.clone()]).copied().collect::<Vec<u8>>();
            assert_eq!(text.len(), reply.length);
            self.sent.push((reply.peer, reply.segment, text));
        }
        Ok(count)
    }

    fn kernel_drops(&self) -> u64 {
        0
    }
}

fn peer(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn message(port: u16, text: &str, segment: usize) -> (Message, Vec<u8>) {
    let length = text.len();
    (Message { peer: peer(port), local: None, to_group: false, length, segment, truncated: false }, text.into())
}

/// What one turn over these messages sends, and what it counts.
fn turn(case: Case, mut script: Script, messages: &[(Message, Vec<u8>)]) -> (Script, Datagrams, Counters) {
    script.incoming = messages.iter().cloned().collect();
    let rules = Rules { case, refused_port: Some(12000), rate_limit: None };
    let mut datagrams = Datagrams::new(rules, &script, Instant::now());
    // As after a burst: the whole queue comes in one batch.
    datagrams.width.note(8, 8, 0);
    let mut counters = Counters::default();
    datagrams.turn(&mut script, Instant::now(), &mut counters);
    (script, datagrams, counters)
}

fn sent(script: &Script) -> Vec<(u16, usize, &str)> {
    script.sent.iter().map(|(peer, segment, text)| (peer.port(), *segment, str::from_utf8(text).unwrap())).collect()
}

const RUNS: Script =
    Script { segments_max: 64, incoming: VecDeque::new(), failing: None, outcomes: VecDeque::new(), sent: Vec::new() };

#[test]
fn equal_datagrams_of_one_peer_leave_as_a_run_whose_last_may_be_shorter() {
    let messages = ["aa", "bb", "c", "dd"].map(|text| message(1, text, 0));
    assert_eq!(sent(&turn(Case::Ascii, RUNS, &messages).0), [(1, 2, "AABBC"), (1, 0, "DD")]);
}

#[test]
fn another_peer_a_longer_one_or_an_empty_one_ends_a_run() {
    let messages = [(1, "aa"), (2, "bb"), (2, "cc"), (2, "ddd"), (2, ""), (2, "e")].map(|(p, t)| message(p, t, 0));
    let wanted = [(1, 0, "AA"), (2, 2, "BBCC"), (2, 0, "DDD"), (2, 0, ""), (2, 0, "E")];
    assert_eq!(sent(&turn(Case::Ascii, RUNS, &messages).0), wanted);
}

#[test]
fn a_merged_message_goes_back_with_its_boundaries_and_takes_more_of_its_kind() {
    let messages = [message(1, "aabb", 2), message(1, "ccd", 2), message(1, "ee", 0)];
    let (script, _, counters) = turn(Case::Ascii, RUNS, &messages);
    assert_eq!(sent(&script), [(1, 2, "AABBCCD"), (1, 0, "EE")]);
    assert_eq!((counters.udp_received, counters.udp_replied), (5, 5));
}

#[test]
fn without_runs_every_datagram_leaves_alone() {
    let messages = ["aa", "bb"].map(|text| message(1, text, 0));
    let script = Script { segments_max: 1, ..Script::default() };
    assert_eq!(sent(&turn(Case::Ascii, script, &messages).0), [(1, 0, "AA"), (1, 0, "BB")]);
}

#[test]
fn a_run_has_at_most_as_many_datagrams_and_bytes_as_the_kernel_takes() {
    let many: Vec<_> = (0..10).map(|_| message(1, "x", 0)).collect();
    let script = Script { segments_max: 4, ..Script::default() };
    assert_eq!(sent(&turn(Case::Ascii, script, &many).0), [(1, 1, "XXXX"), (1, 1, "XXXX"), (1, 1, "XX")]);
    let long = "y".repeat(RUN_BYTES_MAX / 2);
    let three = [&long, &long, &long].map(|text| message(1, text, 0));
    let lengths: Vec<usize> = turn(Case::Ascii, RUNS, &three).0.sent.iter().map(|reply| reply.2.len()).collect();
    assert_eq!(lengths, [RUN_BYTES_MAX, RUN_BYTES_MAX / 2]);
}

#[test]
fn what_must_not_be_answered_is_counted_and_costs_the_others_nothing() {
    let mut cut = message(5, "cut", 0);
    cut.0.truncated = true;
    let mut group = message(6, "all", 0);
    group.0.to_group = true;
    let messages = [message(0, "a", 0), message(12000, "b", 0), cut, group, message(7, "ok", 0)];
    let (script, _, counters) = turn(Case::Ascii, RUNS, &messages);
    assert_eq!(sent(&script), [(7, 0, "OK")]);
    assert_eq!(
        (counters.udp_dropped_source_port, counters.udp_dropped_truncated, counters.udp_dropped_group),
        (2, 1, 1)
    );
}

#[test]
fn a_refused_run_is_sent_one_by_one_and_only_the_bad_one_is_lost() {
    for (errno, always) in [(Errno::INVAL, false), (Errno::MSGSIZE, false), (Errno::IO, true)] {
        let messages = [message(1, "aabbc", 2), message(2, "d", 0)];
        let outcomes = [Err(errno), Ok(1), Err(Errno::PERM)].into();
        let (script, datagrams, counters) = turn(Case::Ascii, Script { outcomes, ..RUNS }, &messages);
        assert_eq!(sent(&script), [(1, 0, "AA"), (1, 0, "C"), (2, 0, "D")], "{errno}");
        assert_eq!((counters.udp_runs_split, counters.udp_dropped_send_error), (1, 1));
        assert_eq!(datagrams.runs_refused, always, "only the device's own word counts for good: {errno}");
    }
}

#[test]
fn a_full_socket_stops_receiving_until_it_is_writable_and_nothing_is_lost() {
    let outcomes = [Ok(1), Err(Errno::WOULDBLOCK)].into();
    let messages = [(1, "a"), (2, "b"), (3, "c")].map(|(port, text)| message(port, text, 0));
    let (mut script, mut datagrams, mut counters) = turn(Case::Ascii, Script { outcomes, ..RUNS }, &messages);
    script.incoming.push_back(message(4, "d", 0));
    datagrams.note(true, false);
    assert!(!datagrams.has_work(), "the loop may sleep until the socket has room");
    datagrams.turn(&mut script, Instant::now(), &mut counters);
    assert_eq!(sent(&script).len(), 1);
    datagrams.note(false, true);
    datagrams.turn(&mut script, Instant::now(), &mut counters);
    assert_eq!(sent(&script), [(1, 0, "A"), (2, 0, "B"), (3, 0, "C"), (4, 0, "D")]);
    assert_eq!(counters.udp_send_blocked, 1);
}

#[test]
fn a_queue_that_is_left_to_the_next_is_not_received_from_and_what_is_owed_still_leaves() {
    let outcomes = [Ok(1), Err(Errno::WOULDBLOCK)].into();
    let messages = [(1, "a"), (2, "b"), (3, "c")].map(|(port, text)| message(port, text, 0));
    let (mut script, mut datagrams, mut counters) = turn(Case::Ascii, Script { outcomes, ..RUNS }, &messages);
    script.incoming.push_back(message(4, "d", 0));
    datagrams.note(true, false);
    datagrams.leave_queue();
    assert!(!datagrams.is_dry(), "two are owed their answers");
    datagrams.note(true, true);
    datagrams.turn(&mut script, Instant::now(), &mut counters);
    assert_eq!(sent(&script), [(1, 0, "A"), (2, 0, "B"), (3, 0, "C")]);
    assert_eq!(script.incoming.len(), 1);
    assert!(datagrams.is_dry());
}

#[test]
fn unicode_answers_of_another_length_leave_alone_or_are_dropped_if_no_datagram_holds_them() {
    let messages = [message(1, "aaßbb", 3), message(1, "cc", 0)];
    assert_eq!(sent(&turn(Case::Unicode, RUNS, &messages[1..]).0), [(1, 0, "CC")]);
    // Cut in the middle of the character, so that its bytes pass unchanged: a datagram stands alone.
    let (script, _, _) = turn(Case::Unicode, RUNS, &messages);
    let texts: Vec<&[u8]> = script.sent.iter().map(|reply| reply.2.as_slice()).collect();
    assert_eq!(texts.concat(), b"AA\xc3\x9fBBCC");
    let (script, _, counters) = turn(Case::Unicode, RUNS, &[message(1, &"ΐ".repeat(20_000), 0), message(1, "ß", 0)]);
    assert_eq!(sent(&script), [(1, 0, "SS")]);
    assert_eq!(counters.udp_dropped_too_long, 1);
}

#[test]
fn a_bound_ends_the_turn_and_leaves_work() {
    let many: Vec<_> = (0..ATTEMPTS_MAX + 100).map(|_| message(1, "x", 0)).collect();
    let (script, datagrams, counters) = turn(Case::Ascii, RUNS, &many);
    assert!(counters.udp_received as usize >= ATTEMPTS_MAX && !script.incoming.is_empty());
    assert!(datagrams.has_work(), "no event follows a partial drain");
}

#[test]
fn long_messages_are_received_two_at_a_time_and_so_for_a_while_behind_them() {
    let long = "x".repeat(DATAGRAM_MAX);
    let many = [message(1, &long, 0), message(1, &long, 0), message(1, &long, 0), message(1, &long, 0)];
    let mut script = Script { segments_max: 64, ..Script::default() };
    let rules = Rules { case: Case::Ascii, refused_port: None, rate_limit: None };
    let mut datagrams = Datagrams::new(rules, &script, Instant::now());
    let mut counters = Counters::default();
    let mut received_in_a_turn = |script: &mut Script, messages: &[(Message, Vec<u8>)]| {
        script.incoming = messages.iter().cloned().collect();
        let before = counters.udp_received;
        datagrams.readable = true;
        datagrams.turn(script, Instant::now(), &mut counters);
        counters.udp_received - before
    };
    assert_eq!(received_in_a_turn(&mut script, &many), 2);
    // Whoever mixes them with short ones gets no wide batch of long ones either.
    let short: Vec<_> = (0..64).map(|_| message(1, "x", 0)).collect();
    assert_eq!(received_in_a_turn(&mut script, &short), 64);
    assert_eq!(received_in_a_turn(&mut script, &many), 2);
}

#[test]
fn an_error_that_stays_makes_a_pause_that_time_ends() {
    let start = Instant::now();
    let mut script = Script { failing: Some(Errno::NOMEM), ..RUNS };
    let rules = Rules { case: Case::Ascii, refused_port: None, rate_limit: None };
    let mut datagrams = Datagrams::new(rules, &script, start);
    let mut counters = Counters::default();
    datagrams.turn(&mut script, start, &mut counters);
    assert!(!datagrams.has_work(), "it would fail again at once");
    script.failing = None;
    script.incoming = [message(1, "x", 0)].into();
    datagrams.note(true, false);
    datagrams.turn(&mut script, start, &mut counters);
    assert_eq!((datagrams.deadline(), script.sent.len()), (Some(start + PAUSE), 0));
    datagrams.turn(&mut script, start + PAUSE, &mut counters);
    assert_eq!((datagrams.deadline(), sent(&script)), (None, vec![(1, 0, "X")]));
}

#[test]
fn a_limited_source_gets_the_first_of_a_merged_message_and_the_rest_is_counted() {
    let start = Instant::now();
    let mut script = RUNS;
    script.incoming = [message(1, "aabbccddee", 2), message(2, "x", 0)].into();
    let rules = Rules { case: Case::Ascii, refused_port: None, rate_limit: NonZeroU32::new(3) };
    let mut datagrams = Datagrams::new(rules, &script, start);
    let mut counters = Counters::default();
    datagrams.turn(&mut script, start, &mut counters);
    assert_eq!(sent(&script), [(1, 2, "AABBCC")], "the other port is the same source");
    assert_eq!((counters.udp_received, counters.udp_replied, counters.udp_dropped_rate), (6, 3, 3));
    script.incoming = [message(2, "aabbc", 2), message(2, "y", 0)].into();
    datagrams.note(true, false);
    datagrams.turn(&mut script, start + Duration::from_millis(350), &mut counters);
    assert_eq!(sent(&script)[1..], [(2, 0, "AA")], "a third of a second later");
    assert_eq!((counters.udp_replied, counters.udp_dropped_rate), (4, 6));
}
