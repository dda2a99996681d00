//! What the machine does to the server: its wall clock is set, its memory is limited.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

mod common;
use common::{PATIENCE, Program, SERVER, ping, ping_udp, raise_descriptors, retried, tcp_client, udp_client};

/// Where Debian's package `faketime` puts the library that a program is started with.
fn faketime() -> Option<PathBuf> {
    let places = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let library = places.map(|place| place.path().join("faketime/libfaketime.so.1")).find(|path| path.exists());
    if library.is_none() {
        println!("skipped: there is no libfaketime");
    }
    library
}

/// A file that goes when the test does.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A server whose wall clock, and only that, is off by what the file says.
fn start_with_clock(library: &Path, offset: &Temporary, flags: &[&str]) -> Program {
    fs::write(&offset.0, "+0d\n").unwrap();
    let mut command = Command::new(SERVER);
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &offset.0);
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Program::start_with(&mut command, flags)
}

#[test]
fn a_step_of_the_wall_clock_changes_nothing() {
    let Some(library) = faketime() else { return };
    let offset = Temporary(std::env::temp_dir().join(format!("shout-clock-{}", std::process::id())));
    let mut server = start_with_clock(&library, &offset, &["--idle-timeout", "1h", "--stats", "1h"]);
    let (mut early, udp) = (tcp_client(server.address), udp_client(server.address));
    for step in ["+10d", "-10d", "+3650d", "+0d"] {
        assert_eq!(ping(&mut early, b"before"), b"BEFORE");
        fs::write(&offset.0, format!("{step}\n")).unwrap();
        // The connection has now been idle for days, or since before it was opened, if anybody looks at that clock.
        assert_eq!(ping_udp(&udp, server.address, step.as_bytes()), step.as_bytes().to_ascii_uppercase());
        assert_eq!(ping(&mut early, b"after"), b"AFTER", "{step}");
        assert_eq!(ping(&mut tcp_client(server.address), b"new"), b"NEW", "{step}");
    }
    assert_eq!(server.counter("tcp_closed_idle"), 0);
    assert_eq!(server.terminate().code, Some(0));
}

#[test]
fn timers_run_while_the_wall_clock_goes_back() {
    let Some(library) = faketime() else { return };
    let offset = Temporary(std::env::temp_dir().join(format!("shout-clock-back-{}", std::process::id())));
    let server = start_with_clock(&library, &offset, &["--idle-timeout", "300ms"]);
    let mut client = tcp_client(server.address);
    assert_eq!(ping(&mut client, b"hello"), b"HELLO");
    fs::write(&offset.0, "-10d\n").unwrap();
    let end = retried(|| client.read(&mut [0; 1]));
    assert!(matches!(end, Ok(0)), "the idle connection was not closed within {PATIENCE:?}: {end:?}");
    assert_eq!(server.terminate().counter("tcp_closed_idle"), 1);
}

/// A control group with a limit on memory, of whichever version this machine has.
struct Group {
    directory: PathBuf,
    peak: &'static str,
    kills: &'static str,
}

impl Group {
    /// `None`, and a line that says why, where there can be none.
    fn with_memory(limit: u64) -> Option<Group> {
        let name = format!("shout-{}", std::process::id());
        let versions = [
            ("/sys/fs/cgroup", "memory.max", "memory.peak", "memory.events"),
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"),
        ];
        for (root, file, peak, kills) in versions {
            let group = Group { directory: Path::new(root).join(&name), peak, kills };
            // The kernel makes the files of a group; elsewhere there is none to open.
            let limited = fs::create_dir(&group.directory)
                .and_then(|()| fs::OpenOptions::new().write(true).open(group.directory.join(file)))
                .and_then(|mut file| file.write_all(limit.to_string().as_bytes()));
            if limited.is_ok() {
                return Some(group);
            }
        }
        println!("skipped: no control group for memory can be made here");
        None
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.directory.join(file)).unwrap_or_default()
    }

    /// How often the kernel has killed somebody in it for want of memory.
    fn killed(&self) -> u64 {
        let text = self.read(self.kills);
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.map_or(0, |value| value.parse().unwrap())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.directory);
    }
}

/// The server with nothing to do, the pages of the program, and 4 MiB of tails take about 10 MiB. What the crowd would be
/// owed without a bound, about 70 KiB each, does not fit.
const MEMORY: u64 = 24 << 20;
const NEVER_READING: usize = 500;

#[test]
fn a_server_with_little_memory_outlives_a_crowd_that_never_reads() {
    let Some(group) = Group::with_memory(MEMORY) else { return };
    raise_descriptors();
    let enter = format!("echo $$ > {}/cgroup.procs", group.directory.display());
    let server = Program::start_after(&enter, &["--max-unsent", "4MiB", "--drain-timeout", "100ms"]);
    let members = group.read("cgroup.procs");
    assert!(members.lines().any(|pid| pid == server.pid().as_raw_nonzero().to_string()), "{members:?}");

    let crowd: Vec<TcpStream> = (0..NEVER_READING)
        .map(|_| {
            let mut peer = tcp_client(server.address);
            peer.set_write_timeout(Some(Duration::from_millis(2))).unwrap();
            // As much as the server takes before it stops reading: beyond that it pushes back.
            let _ = peer.write_all(&vec![b'a'; 4 << 20]);
            peer
        })
        .collect();
    let (mut client, udp) = (tcp_client(server.address), udp_client(server.address));
    assert_eq!(ping(&mut client, b"still here"), b"STILL HERE");
    assert_eq!(ping_udp(&udp, server.address, b"here too"), b"HERE TOO");
    let killed = group.killed();
    let peak: u64 = group.read(group.peak).trim().parse().unwrap_or_default();
    println!("{} MiB used of {} MiB", peak >> 20, MEMORY >> 20);
    let ended = server.terminate();
    assert_eq!((killed, ended.code), (0, Some(0)), "{ended:?}");
    assert!(ended.counter("tcp_closed_unsent") > 0, "the crowd never filled the memory: {ended:?}");
    drop(crowd);
}
