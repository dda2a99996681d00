//! Control messages out of a buffer of any bytes, against the layout that cmsg(3) prescribes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shout::batch::control;

fuzz_target!(|bytes: &[u8]| {
    let said = control::read(bytes);
    let (mut drops, mut segment) = (None, 0);
    walk(bytes, |level, kind, payload| {
        // One that is too short says nothing.
        let Some(value) = payload.first_chunk().map(|four| i32::from_ne_bytes(*four)) else { return };
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => drops = Some(value as u32),
            (libc::SOL_UDP, libc::UDP_GRO) => segment = value.max(0) as usize,
            _ => {}
        }
    });
    assert_eq!((said.drops, said.segment), (drops, segment));
    assert!(said.local.is_some() || !said.to_group, "a group without an address");
});

/// The C struct and the arithmetic of the C library, under AddressSanitizer.
fn walk(bytes: &[u8], mut each: impl FnMut(i32, i32, &[u8])) {
    let (mut rest, head) = (bytes, size_of::<libc::cmsghdr>());
    while rest.len() >= head {
        // SAFETY: as many bytes are there, and every value of them is one of this struct.
        let header: libc::cmsghdr = unsafe { std::ptr::read_unaligned(rest.as_ptr().cast()) };
        if header.cmsg_len < head || header.cmsg_len > rest.len() {
            return;
        }
        each(header.cmsg_level, header.cmsg_type, &rest[head..header.cmsg_len]);
        // SAFETY: a pure computation, which is marked unsafe only because it is C's.
        let space = unsafe { libc::CMSG_SPACE((header.cmsg_len - head) as u32) } as usize;
        rest = rest.get(space..).unwrap_or_default();
    }
}
