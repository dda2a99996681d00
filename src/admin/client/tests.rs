//! Connections over scripted streams: what real sockets do rarely, in every order.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// What a stream does when it is read from or written to.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Moves up to so many bytes.
    Moves(usize),
    Blocks,
    Interrupts,
    Breaks,
}

/// A stream that gives `input` and takes what it is given, step by step; without a step it moves all it can.
#[derive(Debug, Default)]
struct Script {
    input: VecDeque<u8>,
    /// The peer's end follows its input.
    ends: bool,
    reads: VecDeque<Step>,
    writes: VecDeque<Step>,
    output: Vec<u8>,
    is_closed: Cell<bool>,
    is_abandoned: Cell<bool>,
}

impl Script {
    fn of(input: &str) -> Script {
        Script { input: input.bytes().collect(), ..Script::default() }
    }
}

fn outcome(step: Option<Step>) -> io::Result<usize> {
    match step {
        None => Ok(usize::MAX),
        Some(Step::Moves(length)) => Ok(length),
        Some(Step::Blocks) => Err(ErrorKind::WouldBlock.into()),
        Some(Step::Interrupts) => Err(ErrorKind::Interrupted.into()),
        Some(Step::Breaks) => Err(ErrorKind::ConnectionReset.into()),
    }
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = outcome(self.reads.pop_front())?.min(buffer.len());
        if self.input.is_empty() && !self.ends {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.input.read(&mut buffer[..length])
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(!self.is_closed.get(), "a write after the end");
        let length = outcome(self.writes.pop_front())?.min(bytes.len());
        self.output.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl CloseWrite for Script {
    fn close_write(&self) -> io::Result<()> {
        assert!(!self.is_closed.replace(true), "closed twice");
        Ok(())
    }

    fn abandon(&self) {
        self.is_abandoned.set(true);
    }
}

fn client() -> Client {
    Client::new(Instant::now() + Duration::from_secs(2))
}

/// One drive in which the kernel has reported both directions. The answers are their own descriptions.
fn drive(client: &mut Client, script: &mut Script) -> Next {
    client.note(true, true);
    client.drive(script, &mut |request| format!("{request:?}").into_bytes())
}

const REQUEST: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
const ANSWER: &[u8] = b"Ok(Request { page: Health, is_head: false })";

#[test]
fn a_request_is_answered_once_and_what_follows_is_discarded() {
    let mut script = Script::of(&REQUEST.repeat(3));
    let mut client = client();
    assert_eq!(drive(&mut client, &mut script), Next::Wait);
    assert_eq!((&script.output[..], script.is_closed.get()), (ANSWER, true));
    script.input.extend(REQUEST.bytes());
    assert_eq!(drive(&mut client, &mut script), Next::Wait);
    assert!(script.input.is_empty());
    script.ends = true;
    assert_eq!(drive(&mut client, &mut script), Next::Close);
    assert_eq!(script.output, ANSWER);
}

#[test]
fn an_end_before_the_request_is_whole_is_not_answered() {
    let mut script = Script { ends: true, ..Script::of("GET /healthz HTTP/1.1\r\n") };
    assert_eq!(drive(&mut client(), &mut script), Next::Close);
    assert!(script.output.is_empty());
}

#[test]
fn a_half_closed_request_is_answered() {
    let mut script = Script { ends: true, ..Script::of(REQUEST) };
    assert_eq!(drive(&mut client(), &mut script), Next::Close);
    assert_eq!((&script.output[..], script.is_closed.get()), (ANSWER, true));
}

#[test]
fn a_flood_costs_a_drive_so_many_reads_and_no_memory() {
    let mut script = Script::of(&"x".repeat(100 * HEAD_MAX));
    let mut client = client();
    assert_eq!(drive(&mut client, &mut script), Next::Again);
    assert_eq!(script.input.len(), (100 - READS_MAX) * HEAD_MAX);
    assert_eq!(script.output, b"Err(HeadTooLarge)");
    assert!(client.request.len() <= HEAD_MAX);
}

#[test]
fn an_answer_waits_for_room_and_loses_nothing() {
    let writes = [Step::Moves(3), Step::Blocks, Step::Interrupts, Step::Moves(1)].into();
    let mut script = Script { writes, ..Script::of(REQUEST) };
    let mut client = client();
    assert_eq!(drive(&mut client, &mut script), Next::Wait);
    assert_eq!(script.output, ANSWER[..3]);
    assert_eq!(client.drive(&mut script, &mut |_| unreachable!("it is answered once")), Next::Wait, "no room reported");
    assert_eq!(drive(&mut client, &mut script), Next::Again);
    assert_eq!(drive(&mut client, &mut script), Next::Wait);
    assert_eq!((&script.output[..], script.is_closed.get()), (ANSWER, true));
}

#[test]
fn a_broken_stream_is_let_go_of() {
    for script in [
        Script { reads: [Step::Breaks].into(), ..Script::of(REQUEST) },
        Script { writes: [Step::Breaks].into(), ..Script::of(REQUEST) },
        Script { writes: [Step::Moves(0)].into(), ..Script::of(REQUEST) },
    ] {
        let mut script = script;
        assert_eq!(drive(&mut client(), &mut script), Next::Close, "{script:?}");
    }
}

#[test]
fn who_is_given_up_is_told_why_or_forgotten() {
    let (mut slow, mut asking) = (Script::of("GET /"), client());
    assert_eq!(drive(&mut asking, &mut slow), Next::Wait);
    asking.give_up(&mut slow);
    assert!(slow.output.starts_with(b"HTTP/1.1 408 ") && !slow.is_abandoned.get());

    let (mut stalled, mut answering) = (Script { writes: [Step::Blocks].into(), ..Script::of(REQUEST) }, client());
    assert_eq!(drive(&mut answering, &mut stalled), Next::Wait);
    answering.give_up(&mut stalled);
    assert!(stalled.output.is_empty() && stalled.is_abandoned.get());
}

fn steps() -> impl Strategy<Value = VecDeque<Step>> {
    let step = prop_oneof![
        4 => (1..200_usize).prop_map(Step::Moves),
        1 => Just(Step::Blocks),
        1 => Just(Step::Interrupts),
    ];
    prop::collection::vec(step, 0..60).prop_map(VecDeque::from)
}

proptest! {
    /// However a request is cut and its answer taken, the answer is the same, whole, and given once.
    #[test]
    fn the_answer_does_not_depend_on_the_order_of_things(
        reads in steps(),
        writes in steps(),
        text in prop_oneof![
            Just(REQUEST.to_owned()),
            Just(REQUEST.repeat(5)),
            Just(format!("GET /metrics HTTP/1.0\r\nX: {}\r\n\r\n", "x".repeat(2 * HEAD_MAX))),
            "[ -~\r\n]{0,80}\r\n\r\n",
        ],
    ) {
        let whole = http::read(text.as_bytes());
        let mut script = Script { reads, writes, ends: true, ..Script::of(&text) };
        let mut client = client();
        // Each drive takes at least one step of the script, or a read's worth of the input.
        let bound = 2 * (60 + text.len());
        let drives = (0..bound).take_while(|_| drive(&mut client, &mut script) != Next::Close).count();
        prop_assert!(drives < bound, "it never ended");
        let wanted = whole.map(|request| format!("{request:?}").into_bytes()).unwrap_or_default();
        prop_assert_eq!(script.output, wanted);
    }
}
