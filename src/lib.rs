//! shout: an upper-case echo service over UDP and TCP, one thread, one event loop.

pub mod arguments;
pub mod batch;
pub mod config;
pub mod connection;
pub mod connections;
pub mod counters;
pub mod datagrams;
pub mod idle;
pub mod listener;
mod program;
pub mod report;
pub mod server;
pub mod signals;
pub mod sockets;
pub mod target;
pub mod units;
pub mod uppercase;

pub use program::run;
