//! The units of `tools/deploy` under systemd itself: one of its own, the first process of namespaces that `systemd/boot`
//! makes, which changes nothing outside. The units are as they would be installed, and so is the server.
//!
//! It takes root, `ip`, `unshare`, `nsenter`, systemd, and a kernel with control groups v2 and Landlock. Without them it says
//! so and passes.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

mod common;
mod launcher;
mod namespace;

use common::{ping, ping_udp, tcp_client, udp_client};
use launcher::load::under_load;
use launcher::{PATIENCE, SERVER, can_run, has_sandbox, holding, let_go};
use namespace::{Namespace, PORT};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Where the socket unit has it listen.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), PORT);

const SERVICE: &str = "shout-server.service";

/// How `boot` ends where it cannot make a place for systemd.
const NO_PLACE: i32 = 77;

/// A systemd that has booted, and ends with the test.
struct Systemd {
    boot: Child,
    first: Pid,
    namespace: Namespace,
}

impl Systemd {
    /// `None`, and a line that says why, where that is not possible.
    fn boot() -> Option<Systemd> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can boot a systemd");
            return None;
        }
        if !can_run("nsenter", ["--version"]) || !can_run("/lib/systemd/systemd", ["--version"]) || !has_sandbox() {
            return None;
        }
        let namespace = Namespace::new()?;
        // Names in the abstract namespace belong to a network, so that this one needs no more of its own.
        let address = std::os::unix::net::SocketAddr::from_abstract_name("booted").unwrap();
        let notified = namespace.inside(|| UnixDatagram::bind_addr(&address).unwrap());
        // Nothing is waited for but one of two things, and each is looked for between short waits for the other.
        notified.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        // Also where this process is killed, it ends by itself.
        let mut command = namespace.command("timeout");
        command.args(["--signal=KILL", "300", "sh", "tests/systemd/boot", SERVER, "tools/deploy"]).current_dir(ROOT);
        command.env("NOTIFY_SOCKET", "@booted").stdin(Stdio::null()).stderr(Stdio::piped());
        let mut boot = command.spawn().unwrap();
        let (deadline, mut message) = (Instant::now() + PATIENCE, [0; 256]);
        while !notified.recv(&mut message).is_ok_and(|length| message[..length].starts_with(b"READY=1")) {
            assert!(Instant::now() < deadline, "systemd has not booted");
            if let Some(status) = boot.try_wait().unwrap() {
                let mut why = String::new();
                boot.stderr.take().unwrap().read_to_string(&mut why).unwrap();
                assert_eq!(status.code(), Some(NO_PLACE), "{why}");
                println!("skipped: no place for a systemd: {}", why.trim());
                return None;
            }
        }
        let first = descendants(boot.id()).find(|process| runs(*process, "systemd")).expect("systemd is not there");
        let systemd = Systemd { boot, first: Pid::from_raw(first.cast_signed()).unwrap(), namespace };
        systemd.control("start shout-server.socket");
        Some(systemd)
    }

    /// A command in the namespaces of systemd.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.first.to_string(), "-m", "-p", "-n", "-C", "-u", "-i"]).args(line.split(' '));
        command
    }

    /// What such a command prints.
    #[track_caller]
    fn says(&self, line: &str) -> String {
        let output = self.command(line).output().unwrap();
        assert!(output.status.success(), "{line}: {}{}", String::from_utf8_lossy(&output.stderr), self.journal());
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    #[track_caller]
    fn control(&self, line: &str) {
        self.says(&format!("systemctl {line}"));
    }

    /// A property of the service.
    #[track_caller]
    fn shown(&self, property: &str) -> String {
        self.says(&format!("systemctl show -P {property} {SERVICE}"))
    }

    /// What systemd and the service have said.
    fn journal(&self) -> String {
        let output = self.command("journalctl --no-pager -o cat").output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Asks systemd again and again, until it says what is hoped for.
    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "no {what}: {}", self.journal());
        }
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // With the first process go all of them, and `boot` puts away what they leave.
        let _ = kill_process(self.first, Signal::KILL);
        let _ = self.boot.wait();
    }
}

/// A process and all that it and they have started.
fn descendants(process: u32) -> Box<dyn Iterator<Item = u32>> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let children: Vec<u32> = children.split_whitespace().map(|child| child.parse().unwrap()).collect();
    Box::new(std::iter::once(process).chain(children.into_iter().flat_map(descendants)))
}

fn runs(process: u32, name: &str) -> bool {
    fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|comm| comm.trim_end() == name)
}

#[test]
fn whoever_asks_first_has_the_server_started_and_it_is_confined() {
    let Some(systemd) = Systemd::boot() else { return };
    let ask = || systemd.namespace.inside(|| ping_udp(&udp_client(ADDRESS), ADDRESS, b"datagram"));
    let ask_stream = || systemd.namespace.inside(|| ping(&mut tcp_client(ADDRESS), b"stream"));
    assert_eq!(systemd.shown("ActiveState"), "inactive");
    assert_eq!(ask(), b"DATAGRAM");
    // An answer may come before systemd has read that the server is ready.
    systemd.until("readiness", || systemd.shown("ActiveState") == "active");
    assert_eq!(systemd.shown("StatusText"), format!("serving udp+tcp {ADDRESS}"));
    assert_eq!(ask_stream(), b"STREAM");

    systemd.control(&format!("stop {SERVICE}"));
    assert_eq!((systemd.shown("ActiveState"), systemd.shown("Result")), ("inactive".into(), "success".into()));
    assert_eq!(ask_stream(), b"STREAM");
    assert_eq!(ask(), b"DATAGRAM");

    let process = systemd.shown("MainPID");
    let status = systemd.says(&format!("cat /proc/{process}/status"));
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap().split_whitespace().next().unwrap().to_owned()
    };
    assert_ne!(value("Uid"), "0");
    assert_eq!((value("CapEff"), value("CapBnd")), ("0".repeat(16), "0".repeat(16)));
    assert_eq!((value("NoNewPrivs"), value("Seccomp")), ("1".into(), "2".into()));
    let network = |process: &str| systemd.says(&format!("readlink /proc/{process}/ns/net"));
    assert_ne!(network(&process), network("1"), "it has no network but the sockets");

    systemd.control(&format!("kill -s USR1 {SERVICE}"));
    systemd.until("counters in the journal", || systemd.journal().contains("udp_replied 1"));
    assert!(!systemd.journal().contains("warning: "), "{}", systemd.journal());
}

#[test]
fn a_restart_by_systemd_under_load_loses_nothing() {
    // systemd refuses a sixth start within ten seconds.
    const RESTARTS: usize = 4;
    let Some(systemd) = Systemd::boot() else { return };
    let ended =
        systemd.namespace.inside(|| under_load(ADDRESS, RESTARTS, |_| systemd.control(&format!("restart {SERVICE}"))));
    println!("connections that a restart ended in good order, by client: {ended:?}");
    assert_eq!((systemd.shown("NRestarts"), systemd.shown("Result")), ("0".into(), "success".into()));
}

#[test]
fn systemd_waits_for_what_is_owed() {
    let Some(systemd) = Systemd::boot() else { return };
    let held = systemd.namespace.inside(|| holding(ADDRESS));
    systemd.control(&format!("stop --no-block {SERVICE}"));
    systemd.until("news of the end", || systemd.shown("StatusText") == "finishing what is owed");
    assert_eq!(systemd.shown("ActiveState"), "deactivating");
    let_go(held);
    systemd.until("end", || systemd.shown("ActiveState") == "inactive");
    assert_eq!(systemd.shown("Result"), "success");
}

#[test]
fn a_server_that_hangs_is_replaced_and_what_waits_is_answered() {
    let Some(systemd) = Systemd::boot() else { return };
    // As the unit has it, but quicker.
    let folder = Path::new("/run/units").join(format!("{SERVICE}.d"));
    let place = folder.display();
    let quicker = format!("mkdir {place}; printf '[Service]\\nWatchdogSec=1s\\n' > {place}/quicker.conf");
    let written = systemd.command("sh -c").arg(quicker).status().unwrap();
    assert!(written.success());
    systemd.control("daemon-reload");
    systemd.namespace.inside(|| {
        let client = udp_client(ADDRESS);
        assert_eq!(ping_udp(&client, ADDRESS, b"before"), b"BEFORE");
        systemd.until("readiness", || systemd.shown("ActiveState") == "active");
        systemd.control(&format!("kill -s STOP {SERVICE}"));
        assert_eq!(ping_udp(&client, ADDRESS, b"meanwhile"), b"MEANWHILE");
    });
    assert_eq!(systemd.shown("NRestarts"), "1");
    assert!(systemd.journal().contains("Watchdog timeout"), "{}", systemd.journal());
}
