//! The floor under every measurement: what clock, timer and wake-ups cost here and now. Does I/O: a timer, two sockets
//! on the loopback interface, and a thread, for a fraction of a second.
//!
//! An echo thread that does nothing else answers at once; what its round trip takes is what this machine adds to any
//! service that is asked through a socket. A latency near the floor says more about the machine than about the server.

use std::io;
use std::net::UdpSocket;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Nanos};
use crate::host::{self, Cpu};
use crate::pace::{Pace, Pacer};
use crate::report::trust::Spread;
use crate::sockets::retried;

/// Readings of the clock, for its mean cost: some 50 µs.
const READINGS: u32 = 1000;

/// Times to wait for, with a timer alone and as the run does, and how far ahead each is. Together some 30 ms.
const TIMERS: usize = 60;
const TIMER: Nanos = 200_000;

/// Round trips with the echo thread: at 25 µs each, 15 ms.
const ECHOES: usize = 600;

/// No probe goes on for longer than this, however slow the machine: a floor from fewer trials is better than a wait.
const MOST_TIME: Nanos = 100_000_000;

/// An echo thread that is not answered ends itself after this long.
const PATIENCE: Duration = Duration::from_millis(500);

/// Processors that are tried for the echo thread.
const MOST_PROCESSORS: Cpu = 64;

/// What this machine adds to any latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Floor {
    /// One reading of the clock, in nanoseconds.
    pub clock_ns: u64,
    /// How much later than asked a timer in a poll wakes its thread.
    pub timer: Spread,
    /// How much later than intended a generator with nothing else to do starts to send, with the pace of this run. In an open
    /// loop the lag is that, and whatever else kept messages back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub start: Option<Spread>,
    /// From the send on another thread until this one has been woken and has received.
    pub wake: Spread,
    /// A whole round trip: send, wake, send back, wake.
    pub echo: Spread,
}

/// Measures the floor on the calling thread, which is bound to `pinned_to`, for a run with this pace; the echo thread gets
/// another processor.
pub fn measure(pinned_to: Option<Cpu>, pace: Pace) -> io::Result<Floor> {
    let clock = Clock::start();
    for _ in 1..READINGS {
        std::hint::black_box(clock.now());
    }
    let clock_ns = clock.now() / u64::from(READINGS);
    let (wake, echo) = echoes(clock, pinned_to)?;
    Ok(Floor { clock_ns, timer: lateness(clock, Pace::Sleep)?, start: Some(lateness(clock, pace)?), wake, echo })
}

/// How much later than asked a thread goes on that waits for a time.
fn lateness(clock: Clock, pace: Pace) -> io::Result<Spread> {
    let mut poll = Poll::new()?;
    let mut pacer = Pacer::new(poll.registry(), Token(0), clock, pace)?;
    let mut events = Events::with_capacity(1);
    let mut overshoots = Vec::with_capacity(TIMERS);
    let end = clock.now() + MOST_TIME;
    while overshoots.len() < TIMERS && clock.now() < end {
        let wake = clock.now() + TIMER;
        loop {
            let timeout = pacer.timeout(clock.now(), wake, wake)?;
            interruptible(poll.poll(&mut events, timeout))?;
            let now = clock.now();
            if now >= wake {
                overshoots.push(now - wake);
                break;
            }
        }
    }
    Ok(Spread::of(&mut overshoots))
}

fn interruptible(outcome: io::Result<()>) -> io::Result<()> {
    outcome.or_else(|error| if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) })
}

/// The echo thread writes into each answer when it sent it, on the clock of both.
fn echoes(clock: Clock, pinned_to: Option<Cpu>) -> io::Result<(Spread, Spread)> {
    let echo = UdpSocket::bind("127.0.0.1:0")?;
    let ours = std::net::UdpSocket::bind("127.0.0.1:0")?;
    ours.connect(echo.local_addr()?)?;
    echo.connect(ours.local_addr()?)?;
    echo.set_read_timeout(Some(PATIENCE))?;
    ours.set_nonblocking(true)?;
    let thread = std::thread::spawn(move || {
        // A thread inherits the binding of its parent, and would only ever run while that one does not.
        if let Some(taken) = pinned_to {
            let _ = (0..MOST_PROCESSORS).filter(|&cpu| cpu != taken).any(|cpu| host::pin(None, cpu));
        }
        while let Ok(1) = retried(|| echo.recv(&mut [0; 2])) {
            if echo.send(&clock.now().to_ne_bytes()).is_err() {
                break;
            }
        }
    });
    let outcome = ask(mio::net::UdpSocket::from_std(ours), clock);
    // The empty datagram that ends it may be lost with the thread's own timeout behind it, so this ends in any case.
    let _ = thread.join();
    outcome
}

fn ask(mut socket: mio::net::UdpSocket, clock: Clock) -> io::Result<(Spread, Spread)> {
    let mut poll = Poll::new()?;
    poll.registry().register(&mut socket, Token(0), Interest::READABLE)?;
    let mut events = Events::with_capacity(1);
    let (mut wakes, mut echoes) = (Vec::with_capacity(ECHOES), Vec::with_capacity(ECHOES));
    let end = clock.now() + MOST_TIME;
    let mut now = clock.now();
    while echoes.len() < ECHOES && now < end {
        let sent = clock.now();
        socket.send(&[0])?;
        let mut answer = [0; 8];
        loop {
            interruptible(poll.poll(&mut events, Some(PATIENCE)))?;
            match socket.recv(&mut answer) {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && clock.now() < sent + MOST_TIME => {}
                Err(error) => return Err(error),
            }
        }
        now = clock.now();
        wakes.push(now.saturating_sub(Nanos::from_ne_bytes(answer)));
        echoes.push(now - sent);
    }
    socket.send(&[])?;
    Ok((Spread::of(&mut wakes), Spread::of(&mut echoes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_found_and_is_in_order() {
        // On a crowded machine the echo thread may have no processor for as long as it is waited for.
        let floor = (0..100).find_map(|_| measure(None, Pace::Hybrid).ok()).unwrap();
        assert!(floor.clock_ns > 0, "{floor:?}");
        assert!(floor.wake.p50 > 0 && floor.wake.p50 < floor.echo.p50, "one way is a part of both: {floor:?}");
        let start = floor.start.unwrap();
        assert!(start.p50 <= start.p99 && floor.timer.p50 <= floor.timer.p99, "{floor:?}");
        assert!(floor.echo.p50 <= floor.echo.p99, "{floor:?}");
    }

    #[test]
    fn an_echo_that_never_comes_is_not_waited_for_for_ever() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
        ours.connect(silent.local_addr().unwrap()).unwrap();
        ours.set_nonblocking(true).unwrap();
        let error = ask(mio::net::UdpSocket::from_std(ours), Clock::start()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
