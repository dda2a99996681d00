//! Network namespaces: networks of one's own, which nobody else can see and which can be bad. They take root and `ip`.

#![allow(dead_code, reason = "each test file is a crate of its own and uses its part of this")]

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::common::{Program, SERVER};

/// The port of servers here: nobody else can have it.
pub(crate) const PORT: u16 = 12_000;

/// A network namespace, with its loopback up.
pub(crate) struct Namespace(String);

impl Namespace {
    /// `None`, and a line that says why, where that is not possible.
    pub(crate) fn new() -> Option<Namespace> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("shout-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        match Command::new("ip").args(["netns", "add", &name]).output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                println!("skipped: no network namespace: {}", String::from_utf8_lossy(&output.stderr).trim());
                return None;
            }
            Err(error) => {
                println!("skipped: there is no `ip` to make network namespaces: {error}");
                return None;
            }
        }
        let namespace = Namespace(name);
        namespace.ip("link set lo up");
        Some(namespace)
    }

    /// Two of them, joined by `wire`: `10.77.0.1/24` and `fd77::1/64` here, `10.77.0.2/24` and `fd77::2/64` there.
    pub(crate) fn pair() -> Option<(Namespace, Namespace)> {
        let (here, there) = (Namespace::new()?, Namespace::new()?);
        here.ip(&format!("link add wire type veth peer name wire netns {}", there.0));
        for (namespace, host) in [(&here, 1), (&there, 2)] {
            namespace.ip(&format!("addr add 10.77.0.{host}/24 broadcast + dev wire"));
            namespace.ip(&format!("addr add fd77::{host}/64 dev wire nodad"));
            namespace.ip("link set wire up");
        }
        Some((here, there))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    pub(crate) fn ip(&self, command: &str) {
        let output = Command::new("ip").args(["-n", &self.0]).args(command.split(' ')).output().unwrap();
        assert!(output.status.success(), "ip {command}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A command that runs in the namespace.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]);
        command
    }

    pub(crate) fn start(&self, listen: &str, flags: &[&str]) -> Program {
        Program::start_with(&mut self.command(SERVER), &[&["--listen", listen], flags].concat())
    }

    /// Does something in the namespace. Sockets that are made there stay there, whoever uses them later.
    pub(crate) fn inside<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/var/run/netns/{}", self.0)).unwrap();
        // A thread of its own, because a namespace belongs to a thread.
        let run = move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            action()
        };
        std::thread::scope(|scope| scope.spawn(run).join()).unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}
