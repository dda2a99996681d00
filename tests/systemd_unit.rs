//! The units of `tools/deploy`: systemd finds nothing wrong with them, they leave little exposed, and the server does what
//! they say of it.
//!
//! systemd itself need not run for this; `systemd.rs` runs it. What takes one of its tools says so and passes where there is
//! none.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::Parser;
use rustix::process::Signal;
use shout::config::Config;

mod common;
mod launcher;

use common::{ping, ping_udp, retried, tcp_client, udp_client};
use launcher::{PATIENCE, SERVER, Server, can_run, descriptors, has_sandbox, passing_to, sockets};

/// How the unit names the server, which systemd finds where programs are.
const NAMED: &str = "shout-server";

/// The exposure that is allowed, in tenths of what `systemd-analyze security` prints.
const EXPOSURE_MAX: &str = "--threshold=15";

fn unit(kind: &str) -> String {
    fs::read_to_string(format!("{}/tools/deploy/shout-server.{kind}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// All values of a setting, in order.
fn values<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

fn value<'a>(unit: &'a str, name: &str) -> &'a str {
    let [value] = values(unit, name)[..] else { panic!("{name} is not set once") };
    value
}

fn seconds(unit: &str, name: &str) -> Duration {
    Duration::from_secs(value(unit, name).strip_suffix('s').unwrap().parse().unwrap())
}

/// The flags that the unit starts the server with.
fn flags(service: &str) -> Vec<&str> {
    value(service, "ExecStart").strip_prefix(NAMED).unwrap().split_whitespace().collect()
}

/// The units in a directory of their own, with the server where this build has put it.
struct Installed(PathBuf);

impl Installed {
    fn new() -> Installed {
        let directory = std::env::temp_dir().join(format!("shout-units-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        for kind in ["service", "socket"] {
            let here = unit(kind).replace(&format!("ExecStart={NAMED}"), &format!("ExecStart={SERVER}"));
            fs::write(directory.join(format!("shout-server.{kind}")), here).unwrap();
        }
        Installed(directory)
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn systemd_finds_nothing_wrong_and_little_exposed() {
    if !can_run("systemd-analyze", ["--version"]) {
        return;
    }
    let installed = Installed::new();
    let (service, socket) = (installed.0.join("shout-server.service"), installed.0.join("shout-server.socket"));
    let analyze = |arguments: &[&str], units: &[&PathBuf]| {
        let output = Command::new("systemd-analyze").args(arguments).args(units).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (valid, said) = analyze(&["verify", "--man=no"], &[&service, &socket]);
    assert!(valid && said.is_empty(), "{said}");
    let (safe, said) = analyze(&["security", "--offline=yes", "--no-pager", EXPOSURE_MAX], &[&service]);
    println!("{}", said.lines().last().unwrap_or_default());
    assert!(safe, "{said}");
}

#[test]
fn the_units_say_what_the_flags_say() {
    let (service, socket) = (unit("service"), unit("socket"));
    let flags = flags(&service);
    let config = Config::parse_from([&["shout-server"], &flags[..]].concat());
    assert!(config.sandbox, "the sandbox is on unless somebody takes it out");
    // One address for both, and the one that the flags have by default.
    for protocol in ["ListenStream", "ListenDatagram"] {
        assert_eq!(value(&socket, protocol).parse::<SocketAddr>().unwrap(), config.listen);
    }
    assert_eq!(value(&socket, "Backlog").parse::<i32>().unwrap(), config.backlog);
    assert!(seconds(&service, "TimeoutStopSec") > config.drain_timeout);
    assert_eq!(value(&service, "Type"), "notify");
}

/// Starts the server through another program as the unit has it started, asks for its service, and ends it.
fn serve(program: &str, before: &[&str]) {
    let service = unit("service");
    let flags = flags(&service);
    let place = std::env::temp_dir().join(format!("shout-unit-{}-{}.sock", std::process::id(), before.len()));
    let manager = UnixDatagram::bind(&place).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut buffer = [0; 256];
        let length = retried(|| manager.recv(&mut buffer)).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let (tcp, udp) = sockets();
    let address = tcp.local_addr().unwrap();
    let mut command = passing_to(program, descriptors(&tcp, &udp), &[before, &flags].concat());
    // A watchdog as the unit asks for, but quicker.
    let server = Server::start(command.env("NOTIFY_SOCKET", &place).env("WATCHDOG_USEC", "100000"));
    assert_eq!(told(), format!("READY=1\nSTATUS=serving udp+tcp {address}"));
    fs::remove_file(&place).unwrap();
    assert_eq!(ping(&mut tcp_client(address), b"tcp"), b"TCP");
    assert_eq!(ping_udp(&udp_client(address), address, b"udp"), b"UDP");
    assert_eq!(told(), "WATCHDOG=1");
    server.signal(Signal::USR1);
    server.line_with("  udp_replied 1");
    server.stop();
}

#[test]
fn the_server_serves_as_the_unit_starts_it() {
    if has_sandbox() {
        serve(SERVER, &[]);
    }
}

/// System calls of a group, and of the groups in it.
fn calls_of(name: &str) -> BTreeSet<String> {
    if !name.starts_with('@') {
        return BTreeSet::from([name.to_owned()]);
    }
    let output = Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", name]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let members = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    members.flat_map(calls_of).collect()
}

/// What the server calls is held against what the unit allows, whether or not it happens to be called under systemd.
#[test]
fn the_server_makes_no_system_call_that_the_unit_forbids() {
    if !can_run("systemd-analyze", ["syscall-filter", "@default"]) || !can_run("strace", ["true"]) || !has_sandbox() {
        return;
    }
    let service = unit("service");
    let mut allowed = calls_of("@default");
    for filter in values(&service, "SystemCallFilter") {
        match filter.strip_prefix('~') {
            Some(denied) => denied.split(' ').flat_map(calls_of).for_each(|call| _ = allowed.remove(&call)),
            None => allowed.extend(filter.split(' ').flat_map(calls_of)),
        }
    }
    let trace = std::env::temp_dir().join(format!("shout-unit-{}.trace", std::process::id()));
    serve("strace", &["-D", "-f", "-qq", "-o", trace.to_str().unwrap(), SERVER]);
    let text = fs::read_to_string(&trace).unwrap();
    fs::remove_file(&trace).unwrap();
    // A line is the process, then the call and its arguments; or the rest of a call, a signal, an end.
    let name = |line: &str| {
        let call = line.split_once(' ')?.1.trim_start().split_once('(')?.0.to_owned();
        call.chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
            .then_some(call)
    };
    let made: BTreeSet<String> = text.lines().filter_map(name).collect();
    assert!(made.contains("execve") && made.contains("exit_group"), "the trace is not whole: {made:?}");
    let forbidden: Vec<_> = made.difference(&allowed).collect();
    assert!(forbidden.is_empty(), "{forbidden:?} of {made:?}");
}
