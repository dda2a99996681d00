//! The program and its parts against real sockets on the loopback interface.

mod belief;
mod faults;
mod program;
mod servers;
mod showing;
