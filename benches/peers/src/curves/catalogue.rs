//! Which curves there are: what grows in each, and under what load. Pure: no I/O.

use crate::measurement::Load;
use crate::table::grouped;

/// Messages in flight over all sources of the curve of sources: as many as it has at its end.
const SOURCES_IN_FLIGHT: usize = 1_024;

/// One quantity that grows while everything else stays.
#[derive(Debug, Clone, Copy)]
pub(super) struct Curve {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// What stays.
    pub(super) setting: &'static str,
    /// What grows.
    pub(super) quantity: &'static str,
    pub(super) unit: Unit,
    pub(super) points: &'static [usize],
    pub(super) load: fn(usize) -> Load,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Count,
    Bytes,
}

impl Unit {
    pub(super) fn show(self, value: usize) -> String {
        const KIB: usize = 1 << 10;
        const MIB: usize = 1 << 20;
        match self {
            Unit::Count => grouped(value as u64),
            Unit::Bytes if value >= MIB && value.is_multiple_of(MIB) => format!("{} MiB", value / MIB),
            Unit::Bytes if value >= KIB && value.is_multiple_of(KIB) => format!("{} KiB", value / KIB),
            Unit::Bytes => format!("{} B", grouped(value as u64)),
        }
    }
}

/// All of them, in the order in which they are measured.
pub(super) const CURVES: [Curve; 5] = [
    Curve {
        name: "idle",
        title: "Idle connections",
        setting: "64 B messages on 64 TCP connections, 1 in flight each, while others are open and silent",
        quantity: "idle TCP connections",
        unit: Unit::Count,
        points: &[0, 10, 100, 1_000, 6_000, 19_000],
        load: |idle| Load { idle, ..Load::tcp(64, 1, 64) },
    },
    Curve {
        name: "connections",
        title: "Active connections",
        setting: "64 B messages over TCP, 1 in flight on each connection",
        quantity: "active TCP connections",
        unit: Unit::Count,
        points: &[1, 4, 16, 64, 256, 1_000, 4_000, 10_000],
        load: |connections| Load::tcp(connections, 1, 64),
    },
    Curve {
        name: "udp-size",
        title: "Size of a datagram",
        // One in flight, because datagrams too small for a number can only be told apart by there being one.
        setting: "16 UDP sources, 1 in flight each",
        quantity: "payload of a datagram",
        unit: Unit::Bytes,
        points: &[1, 16, 64, 256, 1 << 10, 4 << 10, 16 << 10, 65_507],
        load: |size| Load::udp(16, 1, size),
    },
    Curve {
        name: "tcp-size",
        title: "Size of a message on a stream",
        setting: "16 TCP connections, 1 in flight each",
        quantity: "size of a message",
        unit: Unit::Bytes,
        points: &[1, 16, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20],
        load: |size| Load::tcp(16, 1, size),
    },
    Curve {
        name: "sources",
        title: "Sources of datagrams",
        setting: "64 B datagrams, 1,024 in flight over all sources",
        quantity: "UDP sources",
        unit: Unit::Count,
        points: &[1, 4, 16, 64, 256, SOURCES_IN_FLIGHT],
        load: |sources| Load::udp(sources, SOURCES_IN_FLIGHT / sources, 64),
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot;

    #[test]
    fn points_ascend_and_every_load_suits_its_transport() {
        for curve in CURVES {
            assert!(curve.points.is_sorted_by(|one, next| one < next), "{}", curve.name);
            assert!(curve.setting.chars().count() <= plot::SUBTITLE, "{}", curve.name);
            for &point in curve.points {
                let Load { protocol, connections, depth, size, idle } = (curve.load)(point);
                assert!(connections > 0 && depth > 0, "{} at {point}", curve.name);
                let is_udp = protocol == shout::target::Protocol::Udp;
                assert!(!is_udp || (idle == 0 && size <= shout_load::plan::LONGEST_DATAGRAM));
                assert!(is_udp || size > 0);
            }
        }
        let sources = CURVES[4];
        assert!(
            sources.points.iter().all(|&point| SOURCES_IN_FLIGHT.is_multiple_of(point)),
            "the same number in flight everywhere"
        );
    }

    #[test]
    fn sizes_are_shown_in_the_unit_in_which_they_are_round() {
        let bytes = [1, 1_000, 1_024, 65_507, 64 << 10, 1 << 20].map(|size| Unit::Bytes.show(size));
        assert_eq!(bytes, ["1 B", "1,000 B", "1 KiB", "65,507 B", "64 KiB", "1 MiB"]);
        assert_eq!(Unit::Count.show(10_000), "10,000");
    }
}
