//! shout is an upper-case echo service over UDP and TCP: one thread, one event loop, and as little else as possible.
//!
//! It is meant to be read. This page is the map; the code behind it is about seven thousand lines, comments among them
//! and tests not, and the part that matters most fits on a screen: [`server::Server::turn`] waits, notes what the kernel
//! said, and turns the [`service`].
//!
//! # A turn of the loop
//!
#![doc = include_str!("book/turn.svg")]
//!
//! The kernel is asked for *edges*: it reports that a socket has become readable, once, and then keeps silent until
//! something new arrives. Three habits follow, and most of the code is one of them:
//!
//! - **Events set flags, turns do I/O, and only the outcome of I/O clears a flag.** A report that is out of date by the
//!   time of its turn costs one failed attempt, never a wrong action.
//! - **Every piece of work has a budget**, so that nobody starves, **and what a budget cuts off is remembered by us.**
//!   No edge follows a partial drain. That is what the ready queue is for.
//! - **Not reading is the only backpressure.** While a peer has not taken its last answer, nothing is read from it; so
//!   there is never more than one answer to keep, and the peer's own kernel slows it down.
//!
//! # In which order to read
//!
//! | read | to learn |
//! |---|---|
//! | [`uppercase`] | the service itself, and how a stream is raised that may be cut inside a character |
//! | [`connection`] | one TCP stream as a state machine over `Read + Write`: short reads, tails, the end of file and its trap |
//! | [`connections`] | slots, the ready queue, who must go when room or memory is short |
//! | [`datagrams`], [`batch`] | one UDP turn; runs; what a failed send means. Many datagrams per system call |
//! | [`listener`] | the table of accept errors, and why accepting must pause by the clock |
//! | [`service`] | what a turn does with the rooms above, and in which order; how the service stops |
//! | [`server`] | **the loop** around it: wait, note, turn |
//! | [`idle`], [`ratelimit`], [`counters`], [`histograms`], [`signals`], [`sockets`], [`config`], [`report`], [`trace`] | the leaves, each on its own |
//! | [`admin`] | what the loop counts, over HTTP, in the same loop |
//! | [`systemd`], [`sandbox`] | sockets from a service manager and news for it; what is given up before the first turn |
//! | [`arguments`], [`units`], [`target`] | command lines, as all three programs read them |
//!
//! Imports point one way: `server` knows everything, `service` and `connections` know mio's `Token`, and nothing else below
//! `server` has heard of `Poll`. Streams come in as `Read + Write`, datagrams through [`batch::DatagramIo`], what else the
//! kernel is asked through [`service::Kernel`], time as an argument. So the whole turn also runs against the simulated
//! kernel in `tests/sim`, where thousands of seeds a second try orders of events that a real network produces once a year.
//!
//! The same as a short book, with pictures and the reasons: [`book`]. It goes from [what readiness is](book::readiness) to
//! [what `io_uring` would change](book::completion).
//!
//! To see it at work, `shout-server --trace FILE` draws what the loop does ([`trace`]), and [`experiments`] are questions to
//! answer before a command does.
//!
//! # What a bad peer can cost
//!
//! | what | bound |
//! |---|---|
//! | memory of the process, for peers that do not read | `--max-unsent` and one answer more; 43 MB in all with 32 MiB and a thousand such peers |
//! | memory of the kernel to send, each connection | [`sockets::NOTSENT_MAX`] and one buffer of 64 KiB, with the kernel's book-keeping; 356 KiB at most among a thousand. What is on its way to a peer that grants a window and does not acknowledge comes on top, up to the send buffer |
//! | memory of the kernel to receive, each connection | `--tcp-recv-buffer`, twice; without it `net.ipv4.tcp_rmem`, which a peer that was quick before it stopped reading can exhaust |
//! | time for which nothing is taken, or nothing answered | `--stall-timeout`, with the coarseness of the kernel's timers |
//! | places and descriptors | the longest-idle give theirs up; those who are owed something keep them until `--stall-timeout` |
//! | replies to a forged source | one a datagram and no longer than it; `--udp-rate-limit` a second |
//!
//! The figures are those of `cargo test --test bad_peers -- --nocapture`.
//!
//! A flood of SYNs is left to the kernel. A connection that is only half open has not reached the server yet; once as many
//! wait as `--backlog` allows, the kernel keeps no more of them and answers with cookies (`net.ipv4.tcp_syncookies`, which
//! is on unless somebody has turned it off).
//!
//! All that is promised, each promise with the test that shows it and the most that was tried, stands in [`promises`].
//!
//! # Where the time of a message goes
//!
//! Nearly all of it goes into the kernel. Shares of the server's processor time, 64-byte messages over loopback:
//!
//! | | UDP, 1 in flight | UDP, 64 in flight from one peer | TCP, 64 connections, 1 in flight each |
//! |---|---|---|---|
//! | sending (`sendmsg`, `sendto`) | 43 % | 50 % | 75 % |
//! | receiving (`recvmsg`, `recvmmsg`, `recvfrom`) | 9 % | 17 % | 11 % |
//! | waiting and waking up (`epoll_wait`) | 31 % | 22 % | 4 % |
//! | our own code | under 1 % | 1 % | 2 % |
//!
//! (The rest is the entry to and exit from system calls. `perf record -g -p PID` on a release build beside
//! `shout-load udp://localhost -p 1`, `… -p 64` and `shout-load tcp://localhost -c 64 -p 1`; `perf report --children`.)
//!
//! So there are two ways to be faster: fewer journeys through the network stack, which is what runs and merged messages
//! are ([`batch`]: a train of 64 datagrams is sent once, not 64 times), and fewer system calls, which is what the
//! short-read rule ([`connection`]) and full batches are: `strace -c -p PID` counts one `recvfrom` and one `sendto` for
//! each TCP message, and an `epoll_wait` for every sixty of them. Making our own code faster would show nowhere, and so
//! it is written to be read.
//!
//! # Where to look for what
//!
//! | question | place |
//! |---|---|
//! | what happens to a datagram between its arrival and its reply? | [`datagrams::Datagrams::turn`] |
//! | what if the peer closes at the same moment as it sends? | [`connection::Connection::drive`], the short-read rule |
//! | what if a peer never reads? | [`connection`], the tail; [`connections::Limits::unsent_max`]; [`sockets::NOTSENT_MAX`] for the kernel's share |
//! | what if a peer sends urgent data? | [`connection::Connection::note`], the hint |
//! | what if a peer vanishes without a word? | [`sockets`], `notice_silence` |
//! | what if somebody forges the source of datagrams? | [`datagrams::Rules`], [`ratelimit`] |
//! | what if descriptors run out? | [`listener::after_accept_error`], [`connections::Connections::make_room`] |
//! | what if two such servers are pointed at each other? | [`datagrams::Rules::refused_port`] |
//! | how does it stop without losing anything? | [`service::Service::stop`] |
//! | how is it replaced by the next one without anybody noticing? | [`systemd::passed_sockets`], [`sockets::Sockets::passed`] |
//! | what can somebody do who has taken it over? | [`sandbox`] |
//! | which errors are fatal? | none that a peer can cause; each table classifies by the action: [`datagrams::after_send_error`] |

pub mod admin;
pub mod arguments;
pub mod batch;
pub mod book;
pub mod config;
pub mod connection;
pub mod connections;
pub mod counters;
pub mod datagrams;
pub mod experiments;
pub mod histograms;
pub mod idle;
pub mod listener;
mod program;
pub mod promises;
pub mod ratelimit;
pub mod report;
pub mod sandbox;
pub mod server;
pub mod service;
pub mod signals;
pub mod sockets;
pub mod systemd;
pub mod target;
pub mod trace;
pub mod units;
pub mod uppercase;

pub use program::run;
