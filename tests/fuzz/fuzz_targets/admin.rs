//! Requests to the admin endpoint: never a panic, and the answer is whole and depends on the request alone, not on where
//! it was cut. The first bytes of the input say where.
#![no_main]

use std::io::{self, Read, Write};
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use shout::admin::client::{Client, Next};
use shout::admin::http::{self, HEAD_MAX};
use shout::admin::metrics::Facts;
use shout::admin::{self, State};
use shout::connections::CloseWrite;
use shout::report::Reading;

/// How many bytes of the input are lengths of pieces, used in turn.
const CUTS: usize = 4;

fuzz_target!(|input: &[u8]| {
    let Some((cuts, request)) = input.split_first_chunk::<CUTS>() else { return };
    let facts = Facts { loops: 1, connections_max: 2, unsent_max: 3, buffers: Vec::new() };
    let state = || State { reading: Reading::default(), is_draining: request.len() % 2 == 0 };
    let wanted = http::read(request).map(|request| admin::answer(request, &facts, &state));
    if let Some(answer) = &wanted {
        check(answer);
    } else {
        assert!(request.len() < HEAD_MAX, "a head has a longest length");
    }

    let mut peer = Peer { rest: request, cuts: cuts.iter().cycle(), answer: Vec::new() };
    let mut client = Client::new(Instant::now());
    loop {
        client.note(true, true);
        match client.drive(&mut peer, &mut |request| admin::answer(request, &facts, &state)) {
            Next::Again | Next::Wait => {}
            Next::Close => break,
        }
    }
    assert_eq!(peer.answer, wanted.unwrap_or_default());
});

/// An answer is whole: its head says how long its body is, and only the answer to `HEAD` has none.
fn check(answer: &[u8]) {
    let text = str::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 "));
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    assert!(body.is_empty() || body.len() == length.parse::<usize>().unwrap());
}

/// Sends the request in pieces, and then its end.
struct Peer<'a> {
    rest: &'a [u8],
    cuts: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    answer: Vec<u8>,
}

impl Peer<'_> {
    fn next_cut(&mut self) -> usize {
        usize::from(*self.cuts.next().unwrap()).max(1)
    }
}

impl Read for Peer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.next_cut().min(buffer.len());
        self.rest.read(&mut buffer[..length])
    }
}

impl Write for Peer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.next_cut().min(bytes.len());
        self.answer.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl CloseWrite for Peer<'_> {
    fn close_write(&self) -> io::Result<()> {
        Ok(())
    }
}
