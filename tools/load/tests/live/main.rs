//! The program and its parts against real sockets on the loopback interface.

mod belief;
mod crowd;
mod curves;
mod drawn;
mod endings;
mod faults;
mod interference;
mod lab;
mod merge;
mod page;
mod presence;
mod program;
mod repeats;
mod scale;
mod schema;
mod servers;
mod shape;
mod showing;
mod stamps;
mod threads;
mod trace;
mod trains;
mod until;
mod verify;
