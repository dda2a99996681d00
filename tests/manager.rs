//! What a service manager is told: readiness, signs of life, the end.
#![cfg(target_os = "linux")]

use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use rustix::process::Signal;

mod common;
mod launcher;

use common::retried;
use launcher::{PATIENCE, Server, command, holding, let_go};

/// A socket that stands in for the service manager, and its name in the abstract namespace.
fn manager(test: &str) -> (UnixDatagram, String) {
    use std::os::linux::net::SocketAddrExt as _;
    let name = format!("shout-{test}-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    (socket, format!("@{name}"))
}

fn told(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let length = retried(|| manager.recv(&mut buffer)).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[test]
fn the_manager_hears_of_readiness_signs_of_life_and_the_end() {
    for arguments in [&[][..], &["--workers", "2"], &["--spin"], &["--sandbox"], &["--sandbox", "--workers", "2"]] {
        let (manager, name) = manager("signs");
        let arguments = [&["--listen", "127.0.0.1:0"], arguments].concat();
        let mut command = command(&arguments);
        let server = Server::start(command.env("NOTIFY_SOCKET", name).env("WATCHDOG_USEC", "50000"));
        let ready = told(&manager);
        let address = ready.strip_prefix("READY=1\nSTATUS=serving udp+tcp ").unwrap().parse().unwrap();
        // One loop of several is held up by it, and shows signs of life when the others have ended.
        let held = holding(address);
        let still_alive = || {
            for _ in 0..4 {
                assert_eq!(told(&manager), "WATCHDOG=1", "{arguments:?}");
            }
        };
        still_alive();
        server.signal(Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        let mut last = told(&manager);
        while last == "WATCHDOG=1" && Instant::now() < deadline {
            last = told(&manager);
        }
        assert_eq!(last, "STOPPING=1\nSTATUS=finishing what is owed", "{arguments:?}");
        still_alive();
        let_go(held);
        let (code, lines) = server.ended();
        assert_eq!(code, Some(0), "{lines:#?}");
        assert!(lines.contains(&format!("shout-server listening on udp+tcp {address}")), "{lines:#?}");
        assert!(!lines.iter().any(|line| line.contains("warning")), "{arguments:?}: {lines:#?}");
    }
}

#[test]
fn a_manager_with_a_path_is_reached_and_one_that_is_gone_is_done_without() {
    let path = std::env::temp_dir().join(format!("shout-notify-{}.sock", std::process::id()));
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let arguments = ["--listen", "127.0.0.1:0"];
    // No watchdog is asked for, so that nothing comes between.
    let server = Server::start(command(&arguments).env("NOTIFY_SOCKET", &path));
    assert!(told(&manager).starts_with("READY=1\n"));
    server.listening();
    server.stop();
    assert!(told(&manager).starts_with("STOPPING=1\n"));

    std::fs::remove_file(&path).unwrap();
    let server = Server::start(command(&arguments).env("NOTIFY_SOCKET", &path));
    server.line_with("warning: the service manager");
    server.listening();
    server.stop();
}
