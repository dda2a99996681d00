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
//!  engine ◀─────────────────────────────── generator ──▶ sockets, pace
//!    ├── schedule   when to send                              │
//!    ├── payload    what to send, what must come back         ▼
//!    ├── ledger     what is under way                       clock
//!    ├── recorder   what happened
//!    └── intervals  and when
//!
//!  report ── document (JSON), intervals, screen, page, hgrm                saved ──▶ report
//! ```
//!
//! Reading order: [`payload`], [`ledger`] and [`schedule`] are the ideas; [`engine`] puts them together without a clock
//! or a socket; [`generator`] is the loop around it; [`run`] is one run from start to end.

pub mod cli;
pub mod clock;
pub mod engine;
pub mod generator;
pub mod host;
pub mod intervals;
pub mod ledger;
pub mod own_server;
pub mod pace;
pub mod payload;
pub mod plan;
pub mod program;
pub mod recorder;
pub mod report;
pub mod run;
pub mod saved;
pub mod schedule;
pub mod sockets;

pub use program::main;
