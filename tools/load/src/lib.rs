//! shout-load: floods an upper-case echo service, verifies every reply, and reports latency histograms.
//!
//! Nobody should believe a server's speed without a tool that can be wrong about it in public. So this one verifies
//! every byte of every answer, counts everything that can happen to a message apart, measures from the time at which a
//! message *should* have left, and says how far it was behind itself.
//!
//! ```text
//!  pure                                           touches the kernel
//!
//!  cli ──▶ plan ─────────────────────────────▶ run ──▶ own_server, host
//!            │                                  │
//!            ▼                                  ▼
//!  engine ◀─────────────────────────────── generator ──▶ sockets (outbox), pace
//!    ├── schedule   when to send; late, what if not then      │
//!    ├── payload    what to send, what must come back         ▼
//!    ├── ledger     what is under way                       clock
//!    ├── recorder   what happened; by_size; evidence, for the verdict on it
//!    └── intervals  and when
//!
//!  report ── document (JSON), intervals, screen, page, hgrm, hlog          saved ──▶ report
//!
//!  whether to believe it: floor, observer (what the machine did) ──▶ verdict (statistics, loss) ──▶ gates
//!  repeats ── whole runs, several of them: what does one run not know of itself?
//!  until ── has a run measured closely enough to stop?
//!  interference ── what one transport takes beside the other, and alone
//!  companions ── idle connections, slow readers and half-closers beside those that are measured
//!  curves ── how much can a server take, and how slow does it get on the way?
//!  team ── several generators, each on a thread, that make one load    merge ── the same of several programs or machines
//!  lab ── a server that misbehaves as told: does a tool notice?      verify ── does a server keep the contract?
//!  trace ── what the loop of shout-server did, as a page
//! ```
//!
//! Reading order: [`payload`], [`ledger`] and [`schedule`] are the ideas; [`engine`] puts them together without a clock
//! or a socket; [`generator`] is the loop around it; [`run`] is one run from start to end.

pub mod breakdown;
pub mod by_size;
pub mod cli;
pub mod clock;
pub mod companions;
pub mod curves;
pub mod engine;
pub mod evidence;
pub mod facts;
pub mod floor;
pub mod gates;
pub mod generator;
pub mod host;
pub mod interference;
pub mod intervals;
pub mod lab;
pub mod late;
pub mod ledger;
pub mod loss;
pub mod merge;
pub mod observer;
pub mod outbox;
pub mod own_server;
pub mod pace;
pub mod payload;
pub mod plan;
pub mod program;
pub mod progress;
pub mod recorder;
pub mod repeats;
pub mod report;
pub mod run;
pub mod saved;
pub mod schedule;
pub mod sockets;
pub mod stamps;
pub mod statistics;
pub mod team;
pub mod trace;
pub mod until;
pub mod verdict;
pub mod verify;

pub use program::main;
