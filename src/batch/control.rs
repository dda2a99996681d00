//! What the kernel says beside a datagram, read out of its control messages: cmsg(3), ip(7), ipv6(7), udp(7). Pure.

use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libc::{c_int, cmsghdr, in_pktinfo, in6_pktinfo};

/// What control messages said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Control {
    /// The size of the datagrams that the kernel merged. Zero where it merged none.
    pub segment: usize,
    /// How many datagrams the socket has dropped so far, for want of room. It wraps.
    pub drops: Option<u32>,
    /// The address of ours that the datagram was sent to.
    pub local: Option<IpAddr>,
    /// It was sent to a broadcast or multicast address.
    pub to_group: bool,
}

const _: () = assert!(
    size_of::<cmsghdr>() == size_of::<usize>() + 2 * size_of::<c_int>(),
    "a header is read as its length, its level and its type, without padding"
);

/// Reads a control buffer, as far as the kernel has filled it. Messages of other kinds are skipped; one that is cut, or
/// says that it is longer than the buffer, ends the reading.
pub fn read(bytes: &[u8]) -> Control {
    let mut control = Control::default();
    for (level, kind, payload) in messages(bytes) {
        // A payload that is too short says nothing, and takes back nothing.
        let _: Option<()> = match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => segment(payload, &mut control),
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => drops(payload, &mut control),
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => destination(payload, &mut control),
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => destination_v6(payload, &mut control),
            _ => None,
        };
    }
    control
}

/// The control messages in a buffer: level, type and payload of each.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (c_int, c_int, &[u8])> {
    std::iter::from_fn(move || next(&mut bytes))
}

fn segment(payload: &[u8], control: &mut Control) -> Option<()> {
    control.segment = c_int::from_ne_bytes(field(payload, 0)?).max(0) as usize;
    Some(())
}

fn drops(payload: &[u8], control: &mut Control) -> Option<()> {
    control.drops = Some(u32::from_ne_bytes(field(payload, 0)?));
    Some(())
}

fn destination(payload: &[u8], control: &mut Control) -> Option<()> {
    let ours = Ipv4Addr::from(field::<4>(payload, offset_of!(in_pktinfo, ipi_spec_dst))?);
    let asked = Ipv4Addr::from(field::<4>(payload, offset_of!(in_pktinfo, ipi_addr))?);
    if ours.is_unspecified() {
        // The kernel looks for ours when a datagram arrives and somebody wants to know; this one arrived before. The
        // broadcast of a network remains, and no reply can leave from it.
        control.to_group |= is_group(asked.into());
        control.local = Some(asked.into());
    } else {
        // The two differ when the datagram was sent to a broadcast or multicast address.
        control.to_group |= ours != asked;
        control.local = Some(ours.into());
    }
    Some(())
}

fn destination_v6(payload: &[u8], control: &mut Control) -> Option<()> {
    let asked = Ipv6Addr::from(field::<16>(payload, offset_of!(in6_pktinfo, ipi6_addr))?);
    control.local = Some(asked.into());
    control.to_group |= is_group(asked.to_canonical());
    Some(())
}

/// Takes one message off the front of a buffer: its level, its type and its payload.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<(c_int, c_int, &'a [u8])> {
    let length = usize::from_ne_bytes(field(bytes, offset_of!(cmsghdr, cmsg_len))?);
    let level = c_int::from_ne_bytes(field(bytes, offset_of!(cmsghdr, cmsg_level))?);
    let kind = c_int::from_ne_bytes(field(bytes, offset_of!(cmsghdr, cmsg_type))?);
    let payload = bytes.get(size_of::<cmsghdr>()..length)?;
    // The next header is aligned; behind the last message the kernel may leave the padding out.
    *bytes = bytes.get(length.next_multiple_of(align_of::<cmsghdr>())..).unwrap_or_default();
    Some((level, kind, payload))
}

/// So many bytes at an offset, if there are as many.
fn field<const LENGTH: usize>(bytes: &[u8], offset: usize) -> Option<[u8; LENGTH]> {
    bytes.get(offset..)?.first_chunk().copied()
}

/// Whether an address names more than one host. The directed broadcast of a network cannot be told from a host without
/// its netmask, which `IP_PKTINFO` knows.
fn is_group(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: c_int, kind: c_int, payload: &[u8]) -> Vec<u8> {
        let length = size_of::<cmsghdr>() + payload.len();
        let mut bytes = [&length.to_ne_bytes()[..], &level.to_ne_bytes(), &kind.to_ne_bytes(), payload].concat();
        bytes.resize(length.next_multiple_of(align_of::<cmsghdr>()), 0);
        bytes
    }

    #[test]
    fn what_arrived_before_anybody_asked_has_no_address_of_ours() {
        for (asked, to_group) in [([10, 0, 0, 1], false), ([224, 0, 0, 1], true), ([255; 4], true)] {
            let shown = [[0, 0, 0, 1], [0; 4], asked].concat();
            let control = read(&message(libc::IPPROTO_IP, libc::IP_PKTINFO, &shown));
            assert_eq!((control.local, control.to_group), (Some(Ipv4Addr::from(asked).into()), to_group));
        }
    }

    #[test]
    fn a_cut_message_says_nothing_and_takes_back_nothing() {
        let merged = message(libc::SOL_UDP, libc::UDP_GRO, &64_i32.to_ne_bytes());
        let shown = [[0, 0, 0, 1], [10, 0, 0, 1], [10, 0, 0, 255]].concat();
        let whole = message(libc::IPPROTO_IP, libc::IP_PKTINFO, &shown);
        let cut = message(libc::IPPROTO_IP, libc::IP_PKTINFO, &shown[..9]);
        let wanted =
            Control { segment: 64, drops: None, local: Some(Ipv4Addr::new(10, 0, 0, 1).into()), to_group: true };
        assert_eq!(read(&[&merged[..], &whole, &cut].concat()), wanted);
        assert_eq!(read(&whole[..whole.len() - 8]), Control::default());
        assert_eq!(read(&usize::MAX.to_ne_bytes().repeat(4)), Control::default());
    }
}
