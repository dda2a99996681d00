//! `SO_TIMESTAMPING` on Linux, after the kernel's `Documentation/networking/timestamping.rst`. Does I/O. The only module of
//! this crate with `unsafe` in it: no safe crate sends and receives these control messages without allocating.
//!
//! A socket reports stamps from the moment it is [`enable`]d; a message gets one only where it is [`send`]t with a request
//! of its own, so that all others cost nothing on the way out. The stamp of a departure comes back through the error queue
//! of the socket; that of an arrival comes beside the data.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

use libc::{c_int, c_uint, iovec, msghdr, timespec};
use shout::batch::control;

use super::Wall;
use crate::clock::SECOND;

/// Stamps are made by software and reported, arrivals always; the error queue gives the stamp without the data.
const REPORTS: c_uint =
    libc::SOF_TIMESTAMPING_SOFTWARE | libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_OPT_TSONLY;

/// Asks for the stamp of one departure.
const REQUEST: c_uint = libc::SOF_TIMESTAMPING_TX_SOFTWARE;

/// Room for three stamps (64 bytes) and for the origin of an error (32 or 48), with the rest to spare.
const CONTROL_LEN: usize = 256;

/// Departures that one look into the error queue takes: there is at most one for each message that was sent with a
/// request, and those are rare. The rest is taken at the next look.
const DEPARTURES_MAX: usize = 16;

/// A control buffer, aligned as the headers in it must be.
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

/// Has the kernel report stamps. Fails where it cannot.
pub fn enable(socket: &impl AsRawFd) -> io::Result<()> {
    let (reports, length) = (REPORTS, size_of::<c_uint>() as libc::socklen_t);
    // SAFETY: the pointer and the length describe `reports`, which lives until the call returns and is only read.
    let result = unsafe {
        let value = (&raw const reports).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPING, value, length)
    };
    check(result as isize).map(drop)
}

/// Sends to the peer of a connected socket, and asks for the stamp of the last byte.
pub fn send(socket: &impl AsRawFd, bytes: &[u8]) -> io::Result<usize> {
    let mut control = Control([0; CONTROL_LEN]);
    let mut part = iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let header = header(&mut part, &mut control);
    // SAFETY: `header` points at `part` and `control`, which live until the call returns and are long enough for the one
    // control message that is written; sending only reads `bytes`.
    let sent = unsafe {
        let request = libc::CMSG_FIRSTHDR(&raw const header);
        (*request).cmsg_level = libc::SOL_SOCKET;
        (*request).cmsg_type = libc::SO_TIMESTAMPING;
        (*request).cmsg_len = libc::CMSG_LEN(size_of::<c_uint>() as c_uint) as usize;
        ptr::write_unaligned(libc::CMSG_DATA(request).cast(), REQUEST);
        let space = libc::CMSG_SPACE(size_of::<c_uint>() as c_uint) as usize;
        let header = msghdr { msg_controllen: space, ..header };
        libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
    };
    check(sent)
}

/// Reads from a stream, and says when the last of the bytes arrived, if the buffer had room for all that had come: the kernel
/// joins bytes that came later to those before them, and keeps the later stamp.
pub fn receive(socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<(usize, Option<Wall>)> {
    let mut control = Control([0; CONTROL_LEN]);
    let mut part = iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut header = header(&mut part, &mut control);
    // SAFETY: `header` points at `buffer` and `control`, which live until the call returns and nothing else refers to.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    let filled = header.msg_controllen.min(CONTROL_LEN);
    Ok((check(received)?, arrival(&control.0[..filled])))
}

/// Empties the error queue: when the last message that was sent with a request left. `None` where there is no stamp.
pub fn take_departure(socket: &impl AsRawFd) -> Option<Wall> {
    let mut latest = None;
    for _ in 0..DEPARTURES_MAX {
        let mut control = Control([0; CONTROL_LEN]);
        let mut part = iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let mut header = header(&mut part, &mut control);
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        // SAFETY: `header` points at no data and at `control`, which lives until the call returns.
        if unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) } < 0 {
            break;
        }
        latest = arrival(&control.0[..header.msg_controllen.min(CONTROL_LEN)]).or(latest);
    }
    latest
}

/// The stamp among control messages, of an arrival or a departure.
pub fn arrival(control: &[u8]) -> Option<Wall> {
    let mut messages = control::messages(control);
    let is_stamp =
        |&(level, kind, _): &(c_int, c_int, &[u8])| (level, kind) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING);
    let (.., payload) = messages.find(is_stamp)?;
    let bytes = payload.get(..size_of::<timespec>())?;
    // SAFETY: as many bytes are there, and every value of them is one of this struct of two integers.
    let stamp: timespec = unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) };
    // Zero stands for a stamp that was not made by software.
    let time = stamp.tv_sec.cast_unsigned() * SECOND + stamp.tv_nsec.cast_unsigned();
    (time > 0).then_some(time)
}

/// A header for one piece of data and one control buffer, of no address.
fn header(part: &mut iovec, control: &mut Control) -> msghdr {
    // SAFETY: plain integers and pointers, for which zero bytes are a value.
    let mut header: msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_LEN;
    header
}

/// What a call returned, or the error behind its -1.
fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;

    fn now() -> Wall {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as Wall
    }

    /// Loopback stamps a departure before the sending call returns.
    #[test]
    fn a_datagram_is_stamped_where_it_is_asked_for_and_only_there() {
        let (here, there) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        here.connect(there.local_addr().unwrap()).unwrap();
        enable(&here).unwrap();
        here.send(b"without").unwrap();
        assert_eq!(take_departure(&here), None);
        let before = now();
        assert_eq!(send(&here, b"with").unwrap(), 4);
        let left = take_departure(&here).expect("a stamp");
        assert!((before..=now()).contains(&left), "{before} {left}");
        assert_eq!(take_departure(&here), None, "it has been taken");
        let mut buffer = [0; 8];
        assert_eq!(there.recv(&mut buffer).unwrap(), 7);
        assert_eq!(there.recv(&mut buffer).unwrap(), 4);
        assert_eq!(&buffer[..4], b"with");
    }

    #[test]
    fn a_stream_is_stamped_both_ways() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        enable(&here).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        let mut buffer = [0; 64];
        // The kernel begins to stamp what arrives some time after it was asked to: until then a round has one stamp only.
        let (before, left, arrived) = loop {
            assert!(deadline > std::time::Instant::now(), "nothing is stamped");
            let before = now();
            assert_eq!(send(&here, b"there").unwrap(), 5);
            there.read_exact(&mut buffer[..5]).unwrap();
            there.write_all(b"and back").unwrap();
            let (length, arrived) = loop {
                match receive(&here, &mut buffer) {
                    Ok(received) => break received,
                    Err(error) => assert!(deadline > std::time::Instant::now(), "{error}"),
                }
            };
            assert_eq!(&buffer[..length], b"and back");
            let left = take_departure(&here).expect("a stamp");
            if let Some(arrived) = arrived {
                break (before, left, arrived);
            }
        };
        assert!(before <= left && left <= arrived && arrived <= now(), "{before} {left} {arrived}");
    }
}
