//! The checks over TCP. Does I/O, through [`Peer`] and [`Connection`] alone.

use std::io::{ErrorKind, Write};
use std::thread;

use super::Check;
use super::difference::Difference;
use super::expected::{self, Case};
use super::peer::{Connection, Peer};

/// Longer than any buffer of a server that reads once.
const LARGE_BODY: usize = 4 << 20;

/// What a client may push without reading before it stops by itself: more than the kernel takes on both sides.
const MOST_UNREAD: usize = 64 << 20;

/// Pieces written without reading an answer; their answers fit into the kernel's buffers.
const PIPELINED: usize = 500;

/// Connections open at the same time.
const CONNECTIONS: usize = 64;

/// Connections tried in a row where a race between data and end may be lost.
const RACES: usize = 100;

/// A character of each length, so that cuts fall everywhere.
const CUT_TEXT: &str = "aßb€c𐐨dﬁz";

/// The checks, the mildest first: a server that breaks on one of them is not asked the later ones.
pub(super) fn checks(case: Case) -> Vec<Check> {
    let mut checks = vec![
        Check::new("tcp-ascii", "a to z are raised, the rest of ASCII passes", |peer| {
            whole(peer, &(0..128).collect::<Vec<u8>>())
        }),
        Check::new("tcp-empty", "an empty connection ends with nothing said", |peer| whole(peer, b"")),
        Check::new("tcp-fin", "data and end that arrive together are both seen", data_with_end),
        Check::new("tcp-again", "a connection answers more than once", again),
        Check::new("tcp-bytes-apart", "each byte is answered before the next is sent", bytes_apart),
        Check::new("tcp-pipeline", "many pieces are answered in order before any answer is read", pipeline),
        Check::new("tcp-large", "4 MiB and a half-close bring 4 MiB and an end", large_body),
        Check::new("tcp-unread", "a client that reads nothing for a while loses nothing", unread),
        Check::new("tcp-many", "64 connections at once get their own answers", many),
        Check::new("tcp-letters", "letters outside ASCII are treated as the contract says", |peer| {
            whole(peer, expected::LETTERS.as_bytes())
        }),
        Check::new("tcp-cuts", "a character may be cut anywhere, and what is complete comes at once", cuts),
    ];
    if case == Case::Unicode {
        checks.extend([
            Check::new("tcp-alphabets", "whole alphabets are raised", |peer| {
                whole(peer, expected::alphabets().repeat(10).as_bytes())
            }),
            Check::new("tcp-carry", "the beginning of a character is returned as it is at the end", carry),
        ]);
    }
    checks.extend([
        Check::new("tcp-not-utf8", "bytes that are not UTF-8 pass unchanged", |peer| {
            expected::NOT_UTF8.iter().try_for_each(|text| whole(peer, text))
        }),
        Check::new("tcp-bytes", "every byte value is right at every distance from the start", byte_values),
    ]);
    checks
}

/// Sends everything, then the end; reads the answer, then the end.
fn whole(peer: &Peer, text: &[u8]) -> Result<(), Difference> {
    let connection = peer.connect()?;
    connection.say(text)?;
    connection.finish()?;
    connection.hear(&peer.case.upper(text))?;
    connection.hear_end()
}

fn data_with_end(peer: &Peer) -> Result<(), Difference> {
    for length in 1..=RACES {
        let connection = peer.connect()?;
        // Held back until the end is known, so that both leave in one segment.
        #[cfg(target_os = "linux")]
        let _ = rustix::net::sockopt::set_tcp_cork(&connection.stream, true);
        let text = expected::text(length);
        connection.say(&text)?;
        connection.finish()?;
        connection.hear(&peer.case.upper(&text))?;
        connection.hear_end()?;
    }
    Ok(())
}

fn again(peer: &Peer) -> Result<(), Difference> {
    let connection = peer.connect()?;
    for question in ["once", "twice", "three times"] {
        exchange(peer, &connection, question.as_bytes())?;
    }
    connection.finish()?;
    connection.hear_end()
}

fn exchange(peer: &Peer, connection: &Connection, text: &[u8]) -> Result<(), Difference> {
    connection.say(text)?;
    connection.hear(&peer.case.upper(text))
}

fn bytes_apart(peer: &Peer) -> Result<(), Difference> {
    let connection = peer.connect()?;
    for byte in expected::text(100) {
        exchange(peer, &connection, &[byte])?;
    }
    connection.finish()?;
    connection.hear_end()
}

fn pipeline(peer: &Peer) -> Result<(), Difference> {
    let connection = peer.connect()?;
    let text = expected::text(PIPELINED * 20);
    for piece in text.chunks(20) {
        connection.say(piece)?;
    }
    connection.hear(&peer.case.upper(&text))?;
    connection.finish()?;
    connection.hear_end()
}

fn large_body(peer: &Peer) -> Result<(), Difference> {
    let connection = peer.connect()?;
    let text = expected::text(LARGE_BODY);
    said_and_heard(&connection, &text, &peer.case.upper(&text))
}

/// Sends and reads at the same time, to the end of both.
fn said_and_heard(connection: &Connection, text: &[u8], answer: &[u8]) -> Result<(), Difference> {
    thread::scope(|scope| {
        let saying = scope.spawn(|| connection.say(text).and_then(|()| connection.finish()));
        let heard = connection.hear(answer).and_then(|()| connection.hear_end());
        if heard.is_err() {
            // The other thread may be waiting for room that the server will never make.
            let _ = connection.stream.shutdown(std::net::Shutdown::Both);
        }
        let said = saying.join().expect("it does not panic");
        // What came says more than that it could not be sent.
        heard.and(said)
    })
}

fn unread(peer: &Peer) -> Result<(), Difference> {
    let connection = peer.connect()?;
    let text = expected::text(1 << 20);
    let broken = |error: std::io::Error| Difference::new("a stream that takes what fits", error.to_string());
    connection.stream.set_nonblocking(true).map_err(broken)?;
    let mut sent = 0;
    // Until neither side has room: from then on the server has to wait for us, and may forget that it does.
    while sent < MOST_UNREAD {
        match (&connection.stream).write(&text[sent % text.len()..]) {
            Ok(length) => sent += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(error)),
        }
    }
    connection.stream.set_nonblocking(false).map_err(broken)?;
    connection.finish()?;
    let answer = peer.case.upper(&text);
    for start in (0..sent).step_by(text.len()) {
        connection.hear(&answer[..answer.len().min(sent - start)])?;
    }
    connection.hear_end()
}

fn many(peer: &Peer) -> Result<(), Difference> {
    let connections = (0..CONNECTIONS).map(|_| peer.connect()).collect::<Result<Vec<_>, _>>()?;
    for round in 0..3 {
        let text = |number: usize| expected::text(5 + 3 * number + round);
        for (number, connection) in connections.iter().enumerate() {
            connection.say(&text(number))?;
        }
        for (number, connection) in connections.iter().enumerate().rev() {
            connection.hear(&peer.case.upper(&text(number)))?;
        }
    }
    for connection in &connections {
        connection.finish()?;
        connection.hear_end()?;
    }
    Ok(())
}

fn cuts(peer: &Peer) -> Result<(), Difference> {
    let text = CUT_TEXT.as_bytes();
    let answer = peer.case.upper(text);
    for cut in 1..text.len() {
        let connection = peer.connect()?;
        let (first, second) = text.split_at(cut);
        connection.say(first)?;
        // Once the answer to the first part has come, the server has read it: the cut is where we made it.
        let at_once = peer.case.upper_at_once(first);
        connection.hear(&at_once)?;
        connection.say(second)?;
        connection.finish()?;
        connection.hear(&answer[at_once.len()..])?;
        connection.hear_end()?;
    }
    Ok(())
}

fn carry(peer: &Peer) -> Result<(), Difference> {
    let character = "𐐨".as_bytes();
    for length in 1..character.len() {
        let text = [b"straf\xC3\x9Fe ", &character[..length]].concat();
        let connection = peer.connect()?;
        connection.say(&text)?;
        connection.hear(&peer.case.upper_at_once(&text))?;
        connection.finish()?;
        connection.hear(&character[..length])?;
        connection.hear_end()?;
    }
    Ok(())
}

fn byte_values(peer: &Peer) -> Result<(), Difference> {
    let values: Vec<u8> = (0..=u8::MAX).collect();
    // As far as the widest vector register reaches.
    (0..64).try_for_each(|distance| whole(peer, &[&[b'.'; 64][..distance], &values].concat()))
}
