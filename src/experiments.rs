//! Experiments for readers: each is a command, a prediction to make first, and a measured answer. Documentation alone.
//!
//! Make the prediction before you read on: what one has guessed wrong one keeps. Every command prints its question, then
//! measures for a few seconds, then prints its answer; `--svg FILE` draws it. The figures here are those of one virtual
//! machine with two processors and Linux 6.18, on which other things ran at other times; yours will differ, and the
//! ratios less than the rest. The sources are in `benches/experiments`, about a hundred lines each.
//!
//! To watch the loop itself while you try things, have it draw what it does:
//!
//! ```text
//! cargo run --release -- --trace run.json               # load it, then end it with Ctrl-C
//! cargo run --release -p shout-load -- trace run.json   # run.html: edges, drives, the queue
//! ```
//!
//! Perfetto's viewer opens `run.json` too. [`trace`](crate::trace) says what is taken down, and the last section what that
//! costs.
//!
//! # What a lost edge looks like
//!
//! ```text
//! cargo run --release --example lost_edge
//! ```
//!
//! **Predict:** the kernel reports each change once. Five servers each forget one thing: that the end of a stream may come
//! with its data; that what a budget cuts off is announced to nobody; that one edge may stand for several connections;
//! or for several datagrams; and that a peer may not read. How much of its work does each do before it waits for ever?
//!
#![doc = include_str!("pictures/lost_edge.svg")]
//!
//! **Measured:** each does the first piece and then sleeps, with the rest in the kernel's queue. The fifth does not sleep:
//! it held 64 MiB for one peer when it was stopped, where the right one held 16 KiB. Nothing crashes, and no error is
//! returned. The same designs run against the simulated kernel, which finds each of them by itself within two thousand
//! seeds: `cargo test --test sim caught -- --nocapture`.
//!
//! # Level against edge
//!
//! ```text
//! cargo run --release --example level_or_edge
//! ```
//!
//! **Predict:** by how much is an echo faster with edges? And when four pieces arrive at once and one is read for each
//! report, how many are read?
//!
#![doc = include_str!("pictures/level_or_edge.svg")]
//!
//! **Measured:** by nothing, 9.87 against 9.95 µs: they are the same system calls. With levels all four pieces are read, for
//! the kernel remembers; with edges one. So edges are not a way to be fast but a way to say who remembers.
//!
//! # The price of a trailing `EAGAIN`
//!
//! ```text
//! cargo run --release --example trailing_eagain
//! ```
//!
//! **Predict:** a read that returns less than it was offered has emptied the queue. By how many per cent does it lengthen an
//! echo of 64 bytes to read once more, only to be told so?
//!
#![doc = include_str!("pictures/trailing_eagain.svg")]
//!
//! **Measured:** by 3.7 %, the median of the ratios within fifteen rounds. That is what the short-read rule saves
//! ([`connection`](crate::connection)), and why its trap, the first design above, is worth knowing.
//!
//! # What the budget does to fairness
//!
//! ```text
//! cargo run --release --example budget_fairness
//! ```
//!
//! **Predict:** three connections flood a loop, a fourth sends 64 bytes and waits for them. A drive may read 4 KiB, 64 KiB,
//! 1 MiB or any number of bytes. What does the fourth wait, and what do the three get?
//!
#![doc = include_str!("pictures/budget_fairness.svg")]
//!
//! | budget of a drive | half of the answers within | the three together |
//! |---|---:|---:|
//! | 4 KiB | 56 µs | 626 MB/s |
//! | 64 KiB | 123 µs | 1,202 MB/s |
//! | 1 MiB, as the server has it | 1,470 µs | 2,162 MB/s |
//! | none | 4,882 µs | 2,487 MB/s |
//!
//! **Measured:** a budget is bought with throughput. Without one it is not the median that goes first but the end: one
//! answer in a hundred took 0.29 s, because a drive lasts as long as its peer keeps up.
//!
//! # Segmentation, on and off
//!
//! ```text
//! cargo run --release --example gso
//! ```
//!
//! **Predict:** 64 datagrams go to one peer in 64 system calls; in one call with 64 messages; in one call with one message
//! that the kernel cuts into 64, and joins again for the receiver. What does one datagram cost?
//!
#![doc = include_str!("pictures/gso.svg")]
//!
//! **Measured:** 3.53, 2.79 and 0.11 µs. System calls are the smaller part; the journey through the network stack is the
//! larger, and a train makes it once. Hence the runs of [`datagrams`](crate::datagrams).
//!
//! # Sleeping against spinning
//!
//! ```text
//! cargo run --release --example spinning
//! ```
//!
//! **Predict:** how much shorter is a round trip when the loop never sleeps, and what does that cost?
//!
#![doc = include_str!("pictures/spinning.svg")]
//!
//! **Measured:** 19.6 µs instead of 53.0, for a whole processor instead of 38 % of one. `taskset -c 0` in front of it leaves
//! the two ends one processor to share, and shows what spinning does then.
//!
//! # What coordinated omission hides
//!
//! ```text
//! cargo run --release -p shout-load -- lab --demo
//! ```
//!
//! **Predict:** a server answers at once, but in every second it stops for 100 ms. One load generator waits for each answer
//! before it asks again; another asks a thousand times a second, by the clock. What is the p99 of each?
//!
#![doc = include_str!("pictures/coordinated_omission.svg")]
//!
//! **Measured:** 0.05 ms and 90.8 ms, of the same server in the same three stalls. The first sends nothing while it waits,
//! so that it sees one slow answer a stall, among 144,763 quick ones.
//!
//! # Where the time of one datagram goes
//!
//! ```text
//! cargo run --release --example one_datagram
//! ```
//!
//! **Predict:** of the round trip of one datagram, how much is the server's receive, its send, its own code, and the rest?
//! The example reads it out of a trace.
//!
#![doc = include_str!("pictures/one_datagram.svg")]
//!
//! **Measured:** of 63.6 µs the server's turn is 14.8, and of these 12.4 are the send, which over loopback carries the
//! datagram through the whole stack and wakes the client. Receiving takes 2.2 µs. All that is ours beside the two calls took
//! 0.2 µs, clock readings of the trace included.
//!
//! # What a trace costs
//!
//! ```text
//! cargo bench -p peers --bench trace
//! ```
//!
//! **Predict:** each drive is taken down in 40 bytes, with one reading of the clock. By how many per cent does that lengthen
//! what a message costs the server?
//!
//! | 64 B messages, 64 in flight | processor time, × without a trace | the same server again, × without |
//! |---|---:|---:|
//! | UDP, one source | 1.012 | 1.047 |
//! | TCP, 64 connections | 1.021 | 1.006 |
//!
//! **Measured:** by 1 and 2 %, the medians of the ratios within fifteen rounds (`-- --rounds 15`), which is no more than two
//! runs of one server differ by. `cargo bench --bench turn -- trace` sees the record itself, over sockets of memory: 64
//! drives took 1.68 µs without a trace and 3.67 µs with one, 31 ns each. Without `--trace` a drive takes 10 instructions
//! more than a build that knows no trace, of about 510.
