//! Many datagrams a system call: `recvmmsg`, `sendmmsg`, and the kernel's merging (`UDP_GRO`) and segmentation
//! (`UDP_SEGMENT`). The only module of this crate with `unsafe` in it.
//!
//! Merging and segmentation are what pays: a train of 64 datagrams crosses the network stack once instead of 64
//! times. More messages a call alone gain a few per cent, and lose more than that when there is only one message; so
//! what is alone takes the plain calls. See udp(7), recvmmsg(2), sendmmsg(2), ip(7), ipv6(7), cmsg(3).
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use libc::{c_int, c_uint, cmsghdr, in_pktinfo, in6_pktinfo, iovec, mmsghdr, msghdr, sockaddr_in, sockaddr_in6};
use mio::net::UdpSocket;

use super::{Batch, DatagramIo, MESSAGES_MAX, Message, Replies, SLOT_LEN, control};

/// The most datagrams that the kernel cuts one send into (`UDP_MAX_SEGMENTS`, 128 since Linux 6.9 and 64 before).
const SEGMENTS_MAX: usize = 64;

/// The most pieces of memory that one call sends: room for one reply of single datagrams at the least.
const PARTS_MAX: usize = 256;

/// Room for what comes beside a message: segment size, destination, drops. Asserted below.
const CONTROL_LEN: usize = 128;

const _: () = assert!(PARTS_MAX >= SEGMENTS_MAX, "every reply must fit into one call");
const _: () = assert!(
    control_space::<c_int>() + control_space::<in6_pktinfo>() + control_space::<in_pktinfo>() + control_space::<u32>()
        <= CONTROL_LEN,
    "a message whose control messages do not fit counts as truncated and is not answered"
);

/// What one control message with this payload takes, padding included.
const fn control_space<T>() -> usize {
    // SAFETY: a pure computation, which libc marks unsafe only because it is C's.
    unsafe { libc::CMSG_SPACE(size_of::<T>() as c_uint) as usize }
}

/// A control buffer, aligned as the headers in it must be.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

/// A UDP socket in batches.
pub struct Linux {
    socket: UdpSocket,
    /// The arrays that the calls work on. They hold pointers only during a call: each sets those it uses afresh.
    headers: Box<[mmsghdr]>,
    parts: Box<[iovec]>,
    /// IPv4 addresses fit into these as well.
    names: Box<[sockaddr_in6]>,
    controls: Box<[Control]>,
    segments_max: usize,
    drops: u64,
    /// The kernel's own drop counter as last seen; it wraps. It counts from the making of the socket, which may have been
    /// somebody else's before.
    drops_seen: u32,
}

// SAFETY: the pointers in the arrays are never followed outside the call that has set them.
unsafe impl Send for Linux {}

impl fmt::Debug for Linux {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Linux").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Linux {
    /// Takes over a bound socket. Where it is bound to every address, the destination of each datagram is asked for, so
    /// that its reply can leave from there. What the kernel cannot do is done without.
    pub fn new(socket: UdpSocket) -> io::Result<Linux> {
        Linux::with_room(socket, MESSAGES_MAX, PARTS_MAX)
    }

    /// The same for at most so many messages and so many pieces of memory a call, each at least 1. One of each takes a
    /// few hundred bytes where the most takes 20 KiB, which counts for a program with thousands of sockets. A received
    /// message takes one piece, and no reply may have more than `parts`.
    pub fn with_room(socket: UdpSocket, messages: usize, parts: usize) -> io::Result<Linux> {
        let fd = socket.as_raw_fd();
        let address = socket.local_addr()?;
        let _ = set(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
        let _ = set(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
        if address.ip().to_canonical().is_unspecified() {
            match address {
                SocketAddr::V4(_) => set(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?,
                SocketAddr::V6(_) => {
                    set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
                    // It says of an IPv4 datagram, as the other does not, whether it was sent to a directed broadcast.
                    let _ = set(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1);
                }
            }
        }
        // Zero leaves segmentation to each message; a kernel that refuses it has none.
        let segments_max = if set(fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok() { SEGMENTS_MAX } else { 1 };
        Ok(Linux {
            socket,
            headers: zeroed(messages),
            parts: zeroed(parts),
            names: zeroed(messages),
            controls: vec![Control([0; CONTROL_LEN]); messages].into(),
            segments_max,
            drops: 0,
            drops_seen: drops_so_far(fd),
        })
    }

    /// The socket, for registration.
    pub fn socket_mut(&mut self) -> &mut UdpSocket {
        &mut self.socket
    }

    /// What came beside the first message of the last receive, as cmsg(3) lays it out: for those who have asked the
    /// socket for more than is read here. Valid until the next call.
    pub fn control(&self) -> &[u8] {
        &self.controls[0].0[..self.headers[0].msg_hdr.msg_controllen.min(CONTROL_LEN)]
    }

    /// Sends the first header, which has so many parts. A datagram with nothing beside it takes the plainest call: the
    /// kernel then has no header to copy and to check, which with one datagram in flight is 3 % of the server's time.
    fn send_one(&self, fd: RawFd, parts: usize) -> io::Result<usize> {
        let (header, part) = (&self.headers[0].msg_hdr, &self.parts[0]);
        // SAFETY: the caller has just pointed header and part at memory of the stated lengths; sending only reads it, so
        // that the bytes behind a shared reference stay what they are.
        check(unsafe {
            if parts == 1 && header.msg_control.is_null() {
                let (name, length) = (header.msg_name.cast(), header.msg_namelen);
                libc::sendto(fd, part.iov_base, part.iov_len, libc::MSG_NOSIGNAL, name, length)
            } else {
                libc::sendmsg(fd, header, libc::MSG_NOSIGNAL)
            }
        })
    }

    /// Reads one received message out of the arrays.
    fn message(&mut self, index: usize, length: usize) -> io::Result<Message> {
        let header = &self.headers[index].msg_hdr;
        let peer = address_from(&self.names[index])?;
        // A socket that was passed in may have been asked for more control messages than there is room for. The one with
        // the segment size may then be among the lost, and the last that is there may be cut inside its payload.
        let truncated = header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
        let mut message = Message { peer, local: None, to_group: false, length, segment: 0, truncated };
        if truncated {
            return Ok(message);
        }
        let filled = header.msg_controllen.min(CONTROL_LEN);
        let control = control::read(&self.controls[index].0[..filled]);
        // What is no longer than one piece was not merged.
        message.segment = if control.segment < length { control.segment } else { 0 };
        (message.local, message.to_group) = (control.local, control.to_group);
        if let Some(drops) = control.drops {
            // What waited in the socket before we asked for the count brings an older one along.
            if let Ok(more) = u64::try_from(drops.wrapping_sub(self.drops_seen).cast_signed()) {
                self.drops += more;
                self.drops_seen = drops;
            }
        }
        Ok(message)
    }
}

impl DatagramIo for Linux {
    fn messages_max(&self) -> usize {
        self.headers.len()
    }

    fn segments_max(&self) -> usize {
        self.segments_max
    }

    fn receive(&mut self, batch: &mut Batch, width: usize) -> io::Result<()> {
        debug_assert!((1..=self.headers.len()).contains(&width));
        for (index, slot) in batch.slots_mut().take(width).enumerate() {
            self.parts[index] = iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: SLOT_LEN };
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = (&raw mut self.names[index]).cast();
            header.msg_namelen = size_of::<sockaddr_in6>() as u32;
            header.msg_iov = &raw mut self.parts[index];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut self.controls[index]).cast();
            header.msg_controllen = CONTROL_LEN;
            header.msg_flags = 0;
        }
        let fd = self.socket.as_raw_fd();
        // SAFETY: the first `width` headers have just been pointed at memory of the stated lengths, which nothing
        // else refers to until the call returns: the slots through `batch`, the rest through `self`.
        let received = if width == 1 {
            let length = check(unsafe { libc::recvmsg(fd, &raw mut self.headers[0].msg_hdr, 0) })?;
            self.headers[0].msg_len = length as c_uint;
            1
        } else {
            // SAFETY: as above.
            let headers = self.headers.as_mut_ptr();
            check(unsafe { libc::recvmmsg(fd, headers, width as c_uint, 0, ptr::null_mut()) } as isize)?
        };
        for index in 0..received {
            let message = self.message(index, self.headers[index].msg_len as usize)?;
            batch.messages.push(message);
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8], replies: &Replies, from: usize) -> io::Result<usize> {
        let (mut count, mut parts) = (0, 0);
        for reply in replies.list[from..].iter().take(self.headers.len()) {
            if parts + reply.parts.len() > self.parts.len() {
                break;
            }
            let first = parts;
            for part in &replies.parts[reply.parts.clone()] {
                let base = bytes[part.clone()].as_ptr().cast_mut().cast();
                self.parts[parts] = iovec { iov_base: base, iov_len: part.len() };
                parts += 1;
            }
            let header = &mut self.headers[count].msg_hdr;
            header.msg_name = (&raw mut self.names[count]).cast();
            header.msg_namelen = address_into(&mut self.names[count], reply.peer);
            header.msg_iov = self.parts[first..parts].as_mut_ptr();
            header.msg_iovlen = parts - first;
            header.msg_flags = 0;
            write_control(header, &mut self.controls[count], reply.segment, reply.local);
            count += 1;
        }
        let fd = self.socket.as_raw_fd();
        if count == 1 {
            self.send_one(fd, parts)?;
            Ok(1)
        } else {
            let headers = self.headers.as_mut_ptr();
            // SAFETY: the first `count` headers have just been pointed at memory of the stated lengths; sending only
            // reads it, so that the bytes behind a shared reference stay what they are.
            check(unsafe { libc::sendmmsg(fd, headers, count as c_uint, libc::MSG_NOSIGNAL) } as isize)
        }
    }

    fn kernel_drops(&self) -> u64 {
        self.drops
    }
}

/// What a call returned, or the error behind its -1.
fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// How many bytes written to a stream its peer has not confirmed, the end of file being one of them: `SIOCOUTQ`, tcp(7).
/// Nothing of a batch; it is here because no safe crate asks, and `unsafe` is nowhere else. None where the kernel refuses.
pub fn undelivered(stream: &impl AsRawFd) -> u64 {
    let mut bytes: c_int = 0;
    // SAFETY: this request writes one `int`, to where the pointer says, which lives until the call returns.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { u64::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// How many datagrams a socket has dropped since it was made: the same count as beside each datagram. It wraps. Zero where
/// the kernel does not say, before Linux 4.12. See socket(7), `SO_MEMINFO`.
fn drops_so_far(fd: RawFd) -> u32 {
    const DROPS: usize = libc::SK_MEMINFO_DROPS as usize;
    let mut counts = [0_u32; DROPS + 1];
    let mut length = size_of_val(&counts) as libc::socklen_t;
    // SAFETY: the kernel writes no more than `length` bytes to the first pointer and one length to the second; both, and
    // what they point at, live until the call returns, and any bytes are a value of these integers.
    let result =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, (&raw mut counts).cast(), &raw mut length) };
    if result == 0 { counts[DROPS] } else { 0 }
}

/// Sets a socket option that is an `int`.
fn set(fd: RawFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `value`, which lives until the call returns.
    let result = unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), length) };
    check(result as isize).map(|_| ())
}

/// An array of C structs as the calls expect them before they are filled.
fn zeroed<T>(length: usize) -> Box<[T]> {
    // SAFETY: used for `mmsghdr`, `iovec` and `sockaddr_in6` only, all plain integers and pointers, for which
    // zero bytes are a value.
    (0..length).map(|_| unsafe { MaybeUninit::zeroed().assume_init() }).collect()
}

/// Points `header` at a control buffer that asks for segmentation and for a source address, as far as there is any.
fn write_control(header: &mut msghdr, control: &mut Control, segment: usize, local: Option<IpAddr>) {
    header.msg_control = (&raw mut *control).cast();
    header.msg_controllen = 0;
    if segment > 0 {
        append_control(header, libc::SOL_UDP, libc::UDP_SEGMENT, segment as u16);
    }
    match local {
        None => {}
        Some(IpAddr::V4(address)) => {
            let s_addr = u32::from(address).to_be();
            let info = in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            append_control(header, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some(IpAddr::V6(address)) => {
            let info = in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: address.octets() }, ipi6_ifindex: 0 };
            append_control(header, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
    }
    if header.msg_controllen == 0 {
        header.msg_control = ptr::null_mut();
    }
}

/// Adds one control message behind those that `header` already has in its buffer of [`CONTROL_LEN`].
fn append_control<T>(header: &mut msghdr, level: c_int, kind: c_int, value: T) {
    let start = header.msg_controllen;
    assert!(start + control_space::<T>() <= CONTROL_LEN, "the control buffer is too small");
    // SAFETY: the assertion keeps header and payload within the buffer, and `start` is a multiple of the alignment,
    // because `control_space` is.
    unsafe {
        let control: *mut cmsghdr = header.msg_control.cast::<u8>().add(start).cast();
        (*control).cmsg_level = level;
        (*control).cmsg_type = kind;
        (*control).cmsg_len = libc::CMSG_LEN(size_of::<T>() as c_uint) as usize;
        ptr::write_unaligned(libc::CMSG_DATA(control).cast(), value);
    }
    header.msg_controllen = start + control_space::<T>();
}

/// A socket address out of the kernel's form.
fn address_from(name: &sockaddr_in6) -> io::Result<SocketAddr> {
    match c_int::from(name.sin6_family) {
        libc::AF_INET => {
            // SAFETY: `sockaddr_in` is smaller and not more strictly aligned, and the family says that it is one.
            let name = unsafe { *(&raw const *name).cast::<sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Ok(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            Ok(SocketAddrV6::new(ip, port, name.sin6_flowinfo, name.sin6_scope_id).into())
        }
        family => Err(io::Error::other(format!("a datagram from address family {family}"))),
    }
}

/// A socket address in the kernel's form. Says how long it is.
fn address_into(name: &mut sockaddr_in6, address: SocketAddr) -> libc::socklen_t {
    match address {
        SocketAddr::V4(address) => {
            let v4 = sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: the destination is longer and at least as strictly aligned.
            unsafe { (&raw mut *name).cast::<sockaddr_in>().write(v4) };
            size_of::<sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(address) => {
            *name = sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            };
            size_of::<sockaddr_in6>() as libc::socklen_t
        }
    }
}

const _: () = assert!(size_of::<sockaddr_in>() <= size_of::<sockaddr_in6>());
const _: () = assert!(mem::align_of::<sockaddr_in>() <= mem::align_of::<sockaddr_in6>());
const _: () = assert!(mem::align_of::<cmsghdr>() <= mem::align_of::<Control>());

#[cfg(test)]
mod tests;
