//! What happened, in plain numbers. Pure: no I/O.
//!
//! One struct of `u64`s that only ever grow. The loop is one thread, so counting costs one addition; whoever
//! wants to show them reads a copy.

use crate::histograms::Histograms;

/// Declares the counters once: the struct, and the list of names and meanings that every output walks.
macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident,)+) => {
        /// Everything that can happen, counted since the start.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $help])+ pub $name: u64,)+
            /// How large what was counted was at a time.
            pub histograms: Histograms,
        }

        impl Counters {
            /// Each counter: its name, its meaning, its value.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), concat!($($help),+).trim_ascii(), self.$name)),+].into_iter()
            }

            /// Adds another loop's counters to these.
            pub fn add(&mut self, other: &Counters) {
                $(self.$name += other.$name;)+
                self.histograms.add(&other.histograms);
            }
        }
    };
}

counters! {
    /// Turns of the loop.
    turns,
    /// Readiness events that the kernel reported.
    events,
    /// Datagrams received.
    udp_received,
    /// Bytes received in datagrams.
    udp_received_bytes,
    /// Datagrams sent back.
    udp_replied,
    /// Bytes sent back in datagrams.
    udp_replied_bytes,
    /// Datagrams not answered because they came from source port 0, where nobody listens, or from our own port: an echo that would never end.
    udp_dropped_source_port,
    /// Datagrams not answered because they were sent to a broadcast or multicast address.
    udp_dropped_group,
    /// Datagrams not answered because their source had had as many replies as --udp-rate-limit allows.
    udp_dropped_rate,
    /// Datagrams that the kernel dropped because the receive buffer was full, from the start to the last one received.
    udp_dropped_by_kernel,
    /// Datagrams not answered because they, or what the kernel said beside them, did not fit into their slot.
    udp_dropped_truncated,
    /// Datagrams not answered because their upper case is longer than a datagram may be.
    udp_dropped_too_long,
    /// Replies that the kernel refused to send.
    udp_dropped_send_error,
    /// Runs of datagrams that could not leave as one and were sent one by one.
    udp_runs_split,
    /// Times that the send buffer was full and receiving stopped until it drained.
    udp_send_blocked,
    /// Receive calls that failed.
    udp_receive_errors,
    /// Connections accepted.
    tcp_accepted,
    /// Connections that had died before they could be accepted.
    tcp_accept_skipped,
    /// Times that accepting paused for want of descriptors or memory.
    tcp_accept_paused,
    /// Bytes received on connections, to be answered.
    tcp_received_bytes,
    /// Bytes that came after our end of their connection was closed, too late to be answered.
    tcp_discarded_bytes,
    /// Bytes sent on connections.
    tcp_sent_bytes,
    /// Times that a peer took less than it was owed and reading from it stopped.
    tcp_blocked,
    /// Connections that ended as they should: all answered, both sides closed.
    tcp_finished,
    /// Connections that broke: reset, timed out, unreachable.
    tcp_broken,
    /// Connections closed because they were idle for longer than allowed.
    tcp_closed_idle,
    /// Idle connections closed because a new one needed their place.
    tcp_closed_for_room,
    /// Connections closed because their peer had not read for longer than allowed.
    tcp_closed_stalled,
    /// Connections closed because too many unsent bytes had gathered in all.
    tcp_closed_unsent,
    /// Connections cut off by the end of the server while something was still owed or not yet read.
    tcp_cut_off,
    /// Bytes that were owed to connections that were closed or cut off.
    tcp_unsent_lost_bytes,
    /// Requests to the admin endpoint that were answered, whatever the answer.
    admin_answered,
    /// Connections to the admin endpoint that were refused because as many as it takes were open.
    admin_refused,
    /// Connections to the admin endpoint that were cut off because their time was over.
    admin_timed_out,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_covers_every_counter() {
        let mut one = Counters { turns: 1, tcp_unsent_lost_bytes: 5, ..Counters::default() };
        one.histograms.poll_events.record(7);
        let mut sum = one;
        sum.add(&one);
        assert_eq!((sum.histograms.poll_events.count(), sum.histograms.poll_events.sum()), (2, 14));
        assert_eq!((sum.turns, sum.tcp_unsent_lost_bytes), (2, 10));
        assert_eq!(sum.each().map(|(.., value)| value).sum::<u64>(), 12);
    }

    #[test]
    fn every_counter_says_what_it_means() {
        for (name, help, _) in Counters::default().each() {
            assert!(help.ends_with('.'), "{name}: {help:?}");
            assert!(!help.contains(['\\', '"', '\n']), "{name}: OpenMetrics would have it escaped: {help:?}");
        }
    }
}
