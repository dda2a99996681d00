//! The checks over UDP. Does I/O, through [`Peer`] alone.

use std::collections::HashMap;

use super::Check;
use super::difference::{Difference, bytes};
use super::expected::{self, Case};
use super::peer::Peer;
use crate::plan::LONGEST_DATAGRAM;

/// Sizes at which something begins: powers of two, vector widths, and what fits into one Ethernet frame.
const SMALL_SIZES: [usize; 24] =
    [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 512, 1024, 1472];
const LARGE_SIZES: [usize; 14] = [
    1473,
    2047,
    2048,
    2049,
    4096,
    4097,
    8192,
    8193,
    9000,
    16_384,
    32_768,
    65_000,
    LONGEST_DATAGRAM - 1,
    LONGEST_DATAGRAM,
];

/// Datagrams sent before the first answer is read. They fit into the smallest usual receive buffer.
const BURST: usize = 64;

/// The checks, the mildest first: a server that breaks on one of them is not asked the later ones.
pub(super) fn checks(case: Case) -> Vec<Check> {
    let mut checks = vec![
        Check::new("udp-ascii", "a to z are raised, the rest of ASCII passes", |peer| {
            peer.ask(&(0..128).collect::<Vec<u8>>())
        }),
        Check::new("udp-empty", "an empty datagram gets an empty answer", |peer| peer.ask(b"")),
        Check::new("udp-small", "1 to 1,472 bytes are answered whole", |peer| sizes(peer, &SMALL_SIZES)),
        Check::new("udp-large", "1,473 to 65,507 bytes are answered whole", |peer| sizes(peer, &LARGE_SIZES)),
        Check::new("udp-once", "one datagram gets one answer, from the address asked", once),
        Check::new("udp-burst", "a burst of equal datagrams and a shorter one is neither merged nor split", burst),
        Check::new("udp-clients", "two clients get their own answers", clients),
        Check::new("udp-letters", "letters outside ASCII are treated as the contract says", |peer| {
            peer.ask(expected::LETTERS.as_bytes())
        }),
    ];
    if case == Case::Unicode {
        checks.extend([
            Check::new("udp-alphabets", "whole alphabets are raised", alphabets),
            Check::new("udp-growth", "an answer may be three times its question and fill a datagram", growth),
            Check::new("udp-overgrown", "an answer that no datagram holds is not sent, and the next one is", overgrown),
        ]);
    }
    checks.extend([
        Check::new("udp-not-utf8", "bytes that are not UTF-8 pass unchanged", |peer| {
            expected::NOT_UTF8.iter().try_for_each(|request| peer.ask(request))
        }),
        Check::new("udp-bytes", "every byte value is right at every distance from the start", byte_values),
    ]);
    checks
}

fn sizes(peer: &Peer, sizes: &[usize]) -> Result<(), Difference> {
    sizes.iter().try_for_each(|&size| peer.ask(&expected::text(size)))
}

fn once(peer: &Peer) -> Result<(), Difference> {
    let socket = peer.socket()?;
    for attempt in 0..16 {
        let request = format!("number {attempt}");
        peer.send(&socket, request.as_bytes())?;
        let answer = peer.receive(&socket)?.ok_or_else(|| Difference::new("an answer", "none in time"))?;
        Difference::between(&peer.case.upper(request.as_bytes()), &answer, "the answer to the last datagram")?;
    }
    peer.expect_silence(&socket)
}

/// Equal sizes in a row are what a server that joins and splits datagrams in batches joins.
fn burst(peer: &Peer) -> Result<(), Difference> {
    let socket = peer.socket()?;
    let mut owed: HashMap<Vec<u8>, usize> = HashMap::new();
    for number in 0..BURST {
        let length = if number + 1 == BURST { 37 } else { 100 };
        let mut request = format!("{number:02} ").into_bytes();
        request.extend(expected::text(length - request.len()));
        peer.send(&socket, &request)?;
        *owed.entry(peer.case.upper(&request)).or_default() += 1;
    }
    for answered in 0..BURST {
        let Some(answer) = peer.receive(&socket)? else {
            return Err(Difference::new(format!("{BURST} answers to {BURST} datagrams"), answered.to_string()));
        };
        match owed.get_mut(&answer) {
            Some(left @ 1..) => *left -= 1,
            Some(_) => return Err(Difference::new("each answer once", "the same one twice")),
            None => {
                let of = format!("an answer to one of {BURST} datagrams");
                return Err(Difference::new(of, format!("{} that answer none", bytes(answer.len()))));
            }
        }
    }
    peer.expect_silence(&socket)
}

fn clients(peer: &Peer) -> Result<(), Difference> {
    let sockets = [peer.socket()?, peer.socket()?];
    let request = |number: usize| expected::text(10 + number);
    for (number, socket) in sockets.iter().enumerate() {
        peer.send(socket, &request(number))?;
    }
    for (number, socket) in sockets.iter().enumerate() {
        let answer = peer.receive(socket)?.ok_or_else(|| Difference::new("an answer to each client", "none to one"))?;
        Difference::between(&peer.case.upper(&request(number)), &answer, "the answer to one of two clients")?;
    }
    Ok(())
}

fn alphabets(peer: &Peer) -> Result<(), Difference> {
    let letters: Vec<char> = expected::alphabets().chars().collect();
    letters.chunks(100).try_for_each(|some| peer.ask(some.iter().collect::<String>().as_bytes()))
}

/// U+0390 is two bytes and becomes six: no letter grows more.
const GROWING: &str = "ΐ";
const MOST_GROWING: usize = LONGEST_DATAGRAM / 6;

fn growth(peer: &Peer) -> Result<(), Difference> {
    [1, 400, MOST_GROWING].iter().try_for_each(|&times| peer.ask(GROWING.repeat(times).as_bytes()))
}

fn overgrown(peer: &Peer) -> Result<(), Difference> {
    let socket = peer.socket()?;
    peer.send(&socket, GROWING.repeat(MOST_GROWING + 1).as_bytes())?;
    peer.expect_silence(&socket)?;
    peer.ask(b"still there")
}

fn byte_values(peer: &Peer) -> Result<(), Difference> {
    let values: Vec<u8> = (0..=u8::MAX).collect();
    // As far as the widest vector register reaches.
    for distance in 0..64 {
        let mut request = vec![b'.'; distance];
        request.extend_from_slice(&values);
        peer.ask(&request)?;
    }
    Ok(())
}
