//! What a service manager passes in and wants to be told: sockets, readiness, signs of life. Does I/O.
//!
//! The protocols are systemd's and spoken by others too: `sd_listen_fds(3)`, `sd_notify(3)`, `sd_watchdog_enabled(3)`. All
//! of it is found in the environment; without a manager there is nothing to do and nothing is done.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use rustix::net::SendFlags;

/// Sockets that were bound before this process started and may live on when it has ended.
#[derive(Debug, Default)]
pub struct Passed {
    /// The listening TCP socket.
    pub tcp: Option<TcpListener>,
    /// The UDP socket.
    pub udp: Option<UdpSocket>,
}

/// Takes the sockets that `LISTEN_FDS` announces to this process; `None` where it announces none.
///
/// There is one of each kind at most, so that their kinds tell them apart. Their names (`LISTEN_FDNAMES`) are not looked
/// at: whoever writes a unit may choose any, and a wrong one would stop a server whose sockets are right. Fails where a descriptor is anything else. Only the first call finds any.
pub fn passed_sockets() -> io::Result<Option<Passed>> {
    let mut descriptors = ListenFd::from_env();
    let mut passed = Passed::default();
    for index in 0..descriptors.len() {
        // Descriptors are passed from 3 on, behind the standard streams.
        let refuse = |why| Err(io::Error::other(format!("the passed descriptor {} {why}", index + 3)));
        if let Ok(Some(socket)) = descriptors.take_tcp_listener(index) {
            if !is_listening(&socket)? {
                return refuse("is a TCP socket that does not listen");
            }
            if passed.tcp.replace(socket).is_some() {
                return refuse("is a second TCP socket");
            }
        } else if let Ok(Some(socket)) = descriptors.take_udp_socket(index) {
            if passed.udp.replace(socket).is_some() {
                return refuse("is a second UDP socket");
            }
        } else {
            return refuse("is neither a TCP nor a UDP socket");
        }
    }
    Ok((descriptors.len() > 0).then_some(passed))
}

/// Whether connections can be accepted from it. One that is itself a connection would fail for ever.
#[cfg(not(target_vendor = "apple"))]
fn is_listening(socket: &TcpListener) -> io::Result<bool> {
    Ok(rustix::net::sockopt::socket_acceptconn(socket)?)
}

/// Apple's systems do not say.
#[cfg(target_vendor = "apple")]
#[expect(clippy::unnecessary_wraps)]
fn is_listening(_: &TcpListener) -> io::Result<bool> {
    Ok(true)
}

/// Tells the service manager of one loop, where a manager wants to know. The default has none.
#[derive(Debug, Default)]
pub struct Notifier {
    manager: Option<Arc<Manager>>,
    /// The number of its loop.
    index: usize,
    watchdog: Option<Watchdog>,
}

/// The way to the manager, which all loops share.
#[derive(Debug)]
struct Manager {
    /// Connected once, at the start: a sandbox lets nobody open another.
    socket: UnixDatagram,
    /// What each loop has shown since the last sign of life.
    shown: Mutex<Vec<Shown>>,
}

/// What a loop has shown of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Nothing,
    Life,
    /// It has ended in good order, and nothing more is to be expected of it.
    End,
}

/// When a loop must next show that it turns.
#[derive(Debug, Clone, Copy)]
struct Watchdog {
    interval: Duration,
    due: Instant,
}

impl Notifier {
    /// A notifier for each of so many loops, as the environment asks for.
    pub fn for_loops(loops: usize, now: Instant) -> Vec<Notifier> {
        let Some(socket) = env::var_os("NOTIFY_SOCKET").and_then(|path| match connect(&path) {
            Ok(socket) => Some(socket),
            Err(error) => {
                log::warn!("the service manager at {} cannot be told anything: {error}", path.display());
                None
            }
        }) else {
            return (0..loops).map(|_| Notifier::default()).collect();
        };
        let variable = |name| env::var(name).ok();
        let interval = sign_interval(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id());
        Notifier::through(socket, loops, interval.map(|interval| Watchdog { interval, due: now + interval }))
    }

    fn through(socket: UnixDatagram, loops: usize, watchdog: Option<Watchdog>) -> Vec<Notifier> {
        let manager = Arc::new(Manager { socket, shown: Mutex::new(vec![Shown::Nothing; loops]) });
        let notifier = |index| Notifier { manager: Some(Arc::clone(&manager)), index, watchdog };
        (0..loops).map(notifier).collect()
    }

    /// Everything is listened to. The one message that is waited for until the manager takes it.
    pub fn ready(&self, status: &str) {
        if let Some(manager) = &self.manager {
            manager.tell(&format!("READY=1\nSTATUS={status}"), SendFlags::empty());
        }
    }

    /// The end has begun. Told once, whatever the number of loops.
    pub fn stopping(&self) {
        if let (Some(manager), 0) = (&self.manager, self.index) {
            manager.tell("STOPPING=1\nSTATUS=finishing what is owed", SendFlags::DONTWAIT);
        }
    }

    /// When the next sign of life is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.watchdog.map(|watchdog| watchdog.due)
    }

    /// Shows that this loop turns, if that is due. The manager is told when all loops have shown it.
    pub fn tick(&mut self, now: Instant) {
        let Some(watchdog) = self.watchdog.as_mut().filter(|watchdog| watchdog.due <= now) else { return };
        watchdog.due = now + watchdog.interval;
        self.show(Shown::Life);
    }

    /// This loop has ended. The others are alive without it.
    pub fn ended(&mut self) {
        if self.watchdog.is_some() {
            self.show(Shown::End);
        }
    }

    fn show(&self, shown: Shown) {
        let Some(manager) = &self.manager else { return };
        if manager.all_alive(self.index, shown) {
            manager.tell("WATCHDOG=1", SendFlags::DONTWAIT);
        }
    }
}

impl Manager {
    /// Sends a message. One that is not taken is let go of: the service matters more than its reputation.
    ///
    /// Whether to wait is said each time, for a busy manager must not hold up the loop. The socket itself cannot be told
    /// once it is known: by then a sandbox may forbid the system call.
    fn tell(&self, message: &str, flags: SendFlags) {
        if let Err(error) = rustix::net::send(&self.socket, message.as_bytes(), flags) {
            log::warn!("the service manager was not told: {error}");
        }
    }

    /// Notes what one loop has shown. Whether all that have not ended have shown life, since this was last true.
    fn all_alive(&self, index: usize, now: Shown) -> bool {
        let Ok(mut shown) = self.shown.lock() else { return false };
        shown[index] = now;
        let all = shown.contains(&Shown::Life) && !shown.contains(&Shown::Nothing);
        if all {
            shown.iter_mut().filter(|shown| **shown == Shown::Life).for_each(|shown| *shown = Shown::Nothing);
        }
        all
    }
}

/// A socket that sends to the manager. A name that begins with `@` stands in Linux's abstract namespace: unix(7).
fn connect(path: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt as _;
        use std::os::unix::ffi::OsStrExt as _;
        use std::os::unix::net::SocketAddr;
        if let Some(name) = path.as_bytes().strip_prefix(b"@") {
            socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
            return Ok(socket);
        }
    }
    socket.connect(path)?;
    Ok(socket)
}

/// How often to show signs of life: twice as often as the manager demands, if it demands them of this process.
fn sign_interval(microseconds: Option<String>, of: Option<String>, process: u32) -> Option<Duration> {
    let demanded: u64 = microseconds?.parse().ok().filter(|&demanded| demanded > 0)?;
    let is_ours = of.is_none_or(|of| of.parse() == Ok(process));
    is_ours.then(|| Duration::from_micros(demanded.div_ceil(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_life_are_due_twice_in_the_interval_and_only_if_they_are_asked_of_us() {
        let interval = |microseconds: &str, of: Option<&str>| {
            sign_interval(Some(microseconds.to_owned()), of.map(str::to_owned), 7)
        };
        assert_eq!(interval("3000000", None), Some(Duration::from_millis(1500)));
        assert_eq!(interval("3000000", Some("7")), Some(Duration::from_millis(1500)));
        assert_eq!(interval("3000000", Some("8")), None, "another process is watched");
        assert_eq!(interval("0", None), None);
        assert_eq!(interval("soon", None), None);
        assert_eq!(sign_interval(None, None, 7), None);
    }

    /// Notifiers for so many loops that are watched, and the manager's end.
    fn watched(loops: usize, now: Instant) -> (Vec<Notifier>, UnixDatagram) {
        let (socket, end) = UnixDatagram::pair().unwrap();
        end.set_nonblocking(true).unwrap();
        let interval = Duration::from_secs(1);
        let watchdog = Watchdog { interval, due: now + interval };
        (Notifier::through(socket, loops, Some(watchdog)), end)
    }

    fn told(end: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 256];
        let length = end.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    #[test]
    fn a_loop_that_hangs_silences_the_others() {
        let start = Instant::now();
        let (mut notifiers, end) = watched(2, start);
        let mut now = start;
        for _ in 0..3 {
            now += Duration::from_secs(1);
            notifiers[0].tick(now);
        }
        assert_eq!(told(&end), None, "one of two loops turns");
        notifiers[1].tick(now);
        assert_eq!(told(&end).as_deref(), Some("WATCHDOG=1"));
        notifiers[1].tick(now);
        assert_eq!(told(&end), None, "not due");
        assert_eq!(notifiers[0].deadline(), Some(now + Duration::from_secs(1)));
    }

    #[test]
    fn a_loop_that_has_ended_does_not() {
        let start = Instant::now();
        let (mut notifiers, end) = watched(3, start);
        notifiers[0].tick(start + Duration::from_secs(1));
        notifiers[1].ended();
        assert_eq!(told(&end), None, "the third is still missing");
        notifiers[2].ended();
        assert_eq!(told(&end).as_deref(), Some("WATCHDOG=1"), "nobody else is waited for");
        notifiers[0].tick(start + Duration::from_secs(2));
        assert_eq!(told(&end).as_deref(), Some("WATCHDOG=1"));
        notifiers[0].ended();
        assert_eq!(told(&end), None, "nobody is alive");
    }

    #[test]
    fn without_a_manager_nothing_is_due() {
        let mut notifier = Notifier::default();
        notifier.ready("serving");
        notifier.tick(Instant::now());
        notifier.stopping();
        assert_eq!(notifier.deadline(), None);
    }

    #[test]
    fn a_manager_that_takes_nothing_does_not_hold_up_the_loop() {
        let start = Instant::now();
        let (mut notifiers, end) = watched(1, start);
        notifiers[0].ready("serving");
        assert_eq!(told(&end).as_deref(), Some("READY=1\nSTATUS=serving"));
        // Far more than any queue of datagrams holds.
        for second in 1..100_000 {
            notifiers[0].tick(start + Duration::from_secs(second));
        }
        assert_eq!(told(&end).as_deref(), Some("WATCHDOG=1"));
    }
}
