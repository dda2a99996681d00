//! What a message costs with more connections, larger messages, more sources: five curves, each to be predicted first.
//!
//! ```text
//! cargo bench -p peers --bench curves -- --out src/book/growth
//! ```
//!
//! draws them anew, in about four minutes; `--curves idle` draws one. The cost is the server's processor time for one
//! right reply, which a slow client changes less than the rate. Beside this server stands naive mio, the same service as
//! most would write it first (`benches/peers/src/bin/naive-mio.rs`). The figures here are medians of three rounds on a
//! virtual machine with two processors, one for the server and one for the load; the bars of the drawings say how far the
//! rounds lay apart.
//!
//! # Idle connections
//!
//! **Predict:** 64 connections talk. What does each message cost more when 19,000 others are open and silent?
//!
//! <div>
#![doc = include_str!("growth/idle.svg")]
//! </div>
//!
//! **Measured:** 8 %, the median of the ratios within a round; and it is the first ten silent ones that seem to cost it:
//! between 10 and 19,000 nothing grows. Naive mio shows the same 9 %, so what there is belongs to the kernel or to the
//! first point of a round. The code of the loop takes 33,300 instructions for a turn of 64 ready connections, alone or
//! among 19,064 (`.ci/instructions` counts them and holds them to it): no list is walked that has the idle ones in it,
//! they lie in a queue in the order in which they fell silent, and only its front is looked at (`src/idle.rs`).
//!
//! # Active connections
//!
//! **Predict:** each connection has one message in flight. Does a message become cheaper or dearer as there are more of
//! them?
//!
//! <div>
#![doc = include_str!("growth/connections.svg")]
//! </div>
//!
//! **Measured:** cheaper, then dearer. One connection pays 33 µs, for a sleep and a wake-up each time; four share them,
//! and from 16 on a turn finds others ready whenever it has served one: 6.4 µs. From a thousand on it rises again, to
//! 11.3 µs with 10,000: what the kernel keeps of each connection no longer fits into the nearest caches. Naive mio pays
//! the same.
//!
//! # The size of a datagram
//!
//! **Predict:** from which size on does the length of a datagram matter?
//!
//! <div>
#![doc = include_str!("growth/udp-size.svg")]
//! </div>
//!
//! **Measured:** from 4 KiB on. Up to 1 KiB the journey through the network stack is all there is, 4.5 to 5.1 µs; 65,507
//! bytes, a thousand times as much, cost 16.9 µs. Naive mio lost 58 of the largest; this server none, for its receive
//! buffer is larger (`src/sockets.rs`).
//!
//! # The size of a message on a stream
//!
//! **Predict:** the same question for a stream, from 1 byte to 1 MiB.
//!
//! <div>
#![doc = include_str!("growth/tcp-size.svg")]
//! </div>
//!
//! **Measured:** a message costs 6.3 to 7.3 µs up to 4 KiB, and 24.5 µs with 64 KiB. A quarter of a megabyte costs half
//! of what it costs naive mio, 114 against 213 µs: it is read at once into one buffer of 256 KiB that all connections
//! share (`src/connection.rs:Scratch`), and answered at once.
//!
//! # Sources of datagrams
//!
//! **Predict:** 1,024 datagrams are in flight, from one peer or from many. Which is cheaper?
//!
//! <div>
#![doc = include_str!("growth/sources.svg")]
//! </div>
//!
//! **Measured:** one peer by far. The kernel merges what comes from one peer on the way in and cuts what goes to one peer
//! on the way out, and the server keeps such a train together (`src/batch.rs`): 0.12 to 0.14 µs a datagram, about 1/35 of
//! what naive mio pays, up to 16 peers with 64 in flight each. With 1,024 peers of one datagram each there are no trains,
//! and both pay the whole journey for each: 5.7 and 6.0 µs. Naive mio lost 12,669 datagrams on this curve, for its buffer
//! overflows where a thousand arrive together; this server lost none.
