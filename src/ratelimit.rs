//! How many replies a source of datagrams may cause. Pure: no I/O, and time comes in as an argument.
//!
//! The source of a datagram is easily forged, and then the reply hits somebody who never asked. It is no longer than
//! the request, so nobody gains by it, but a server with much bandwidth is still a good place to hide behind. A limit
//! for each source bounds what one victim can be made to receive (RFC 8085, section 6).
//!
//! Each source owns a token bucket, which holds what the limit allows in one second. There are [`BUCKETS`] of them and
//! never more: a hash of the source picks one, and sources that meet in a bucket share it. So no source ever gets more
//! than the limit, whatever somebody else forges; a table that evicts would hand out a full bucket after each eviction.
//! The price is paid by the innocent: who empties `n` buckets, with `n` forged sources and `n` times the limit in
//! datagrams, denies service to a given other source with a probability of at most `n` in [`BUCKETS`]. It cannot choose
//! whom: the hash is keyed anew in each process.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Instant;

/// How many buckets there are: half a mebibyte of them.
pub const BUCKETS: usize = 1 << 16;

/// The highest limit. Beyond it a nanosecond is too coarse a unit for the time between replies.
pub const RATE_MAX: NonZeroU32 = NonZeroU32::new(1_000_000).unwrap();

/// The buckets of one loop.
#[derive(Debug)]
pub struct RateLimit {
    start: Instant,
    /// Nanoseconds in which a bucket gains one reply.
    interval: u64,
    /// Nanoseconds in which an empty bucket fills.
    filling: u64,
    key: RandomState,
    /// When each bucket will be full, in nanoseconds since the start. That one number is all there is to a bucket
    /// that fills evenly (the "generic cell rate algorithm" of ITU-T I.371).
    full_at: Box<[u64]>,
}

impl RateLimit {
    /// Full buckets; each gains `rate` replies a second.
    pub fn new(rate: NonZeroU32, start: Instant) -> RateLimit {
        // Rounded up, so that it never allows more than was asked for.
        let interval = 1_000_000_000_u64.div_ceil(u64::from(rate.get()));
        let filling = interval * u64::from(rate.get());
        RateLimit { start, interval, filling, key: RandomState::new(), full_at: vec![0; BUCKETS].into() }
    }

    /// Takes up to `wanted` replies out of the source's bucket. Says how many there were.
    pub fn take(&mut self, source: IpAddr, wanted: usize, now: Instant) -> usize {
        let bucket = self.bucket_of(source);
        let now = now.saturating_duration_since(self.start).as_nanos() as u64;
        let full_at = self.full_at[bucket].max(now);
        let available = (now + self.filling).saturating_sub(full_at) / self.interval;
        let taken = available.min(wanted as u64);
        self.full_at[bucket] = full_at + taken * self.interval;
        taken as usize
    }

    /// Whose bucket it is: an IPv4 address, or an IPv6 network of 64 bits, within which a host picks addresses at will.
    fn bucket_of(&self, source: IpAddr) -> usize {
        let owner = match source.to_canonical() {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        self.key.hash_one(owner) as usize % BUCKETS
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn limit(rate: u32, start: Instant) -> RateLimit {
        RateLimit::new(NonZeroU32::new(rate).unwrap(), start)
    }

    proptest! {
        /// No stretch of time gives a source more than the rate times its length and one full bucket.
        #[test]
        fn no_stretch_of_time_gives_more_than_the_rate_and_a_bucket(
            rate in prop_oneof![1u32..20, 1u32..=1_000_000],
            steps in proptest::collection::vec((0u64..300_000_000, 0usize..2_000), 1..60),
        ) {
            let start = Instant::now();
            let (mut limit, mut now, mut taken) = (limit(rate, start), start, Vec::new());
            for (nanoseconds, wanted) in steps {
                now += Duration::from_nanos(nanoseconds);
                taken.push((now, limit.take(SOURCE, wanted, now)));
            }
            for first in 0..taken.len() {
                let mut sum = 0;
                for &(until, count) in &taken[first..] {
                    sum += count as u64;
                    let stretch = (until - taken[first].0).as_nanos();
                    let allowed = (stretch * u128::from(rate)).div_ceil(1_000_000_000) as u64 + u64::from(rate);
                    prop_assert!(sum <= allowed, "{sum} in {stretch} ns");
                }
            }
        }

        /// Who stays below the rate is never refused, and neither is a full bucket after the time that it takes to fill.
        #[test]
        fn who_keeps_to_the_rate_gets_it_all(rate in 1u32..=1_000_000, asked in 1usize..200, burst in any::<bool>()) {
            let start = Instant::now();
            let (mut limit, mut now) = (limit(rate, start), start);
            let interval = 1_000_000_000_u64.div_ceil(u64::from(rate));
            for _ in 0..asked {
                let (wanted, rest) = if burst { (rate as usize, interval * u64::from(rate)) } else { (1, interval) };
                prop_assert_eq!(limit.take(SOURCE, wanted, now), wanted);
                now += Duration::from_nanos(rest);
            }
        }

        /// An address is an owner of its own in IPv4, mapped into IPv6 or not; in IPv6 its first 64 bits are.
        #[test]
        fn owners_are_addresses_or_networks(v4: u32, network: u64, one: u64, other: u64) {
            let limit = limit(1, Instant::now());
            let bucket = |source: IpAddr| limit.bucket_of(source);
            let v4 = std::net::Ipv4Addr::from_bits(v4);
            prop_assert_eq!(bucket(v4.into()), bucket(v4.to_ipv6_mapped().into()));
            let host = |host: u64| IpAddr::from((u128::from(network) << 64 | u128::from(host)).to_be_bytes());
            prop_assume!(network != 0);
            prop_assert_eq!(bucket(host(one)), bucket(host(other)));
        }
    }

    #[test]
    fn an_emptied_bucket_is_nobody_elses_unless_by_chance() {
        let now = Instant::now();
        let mut limit = limit(5, now);
        let sources: Vec<IpAddr> =
            (0..1_000_u32).map(|host| IpAddr::from((0x0a00_0000 + host).to_be_bytes())).collect();
        let whole = sources.iter().filter(|&&source| limit.take(source, 9, now) == 5).count();
        // A thousand in 65,536 buckets: 7.6 meet on average; 60 would be one chance in 10^30.
        assert!(whole > 940, "{whole} of 1,000 sources had a bucket of their own");
        assert_eq!(limit.take(sources[0], 1, now), 0);
    }

    #[test]
    fn which_sources_meet_changes_with_every_process() {
        let (one, other) = (limit(1, Instant::now()), limit(1, Instant::now()));
        let differs = (0..100_u32)
            .any(|host| one.bucket_of(host.to_be_bytes().into()) != other.bucket_of(host.to_be_bytes().into()));
        assert!(differs, "the hash has no key");
    }
}
