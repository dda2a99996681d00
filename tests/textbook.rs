//! The server with the clients of a networking textbook: blocking Python, one `send`, one receive.
//!
//! The other direction, our client with the textbook's servers, is tested beside the client.

use std::process::Command;

mod common;
use common::{PATIENCE, Program};

/// Types a sentence to a textbook client and returns what it prints after its prompt.
#[track_caller]
fn ask(client: &str, server: &Program, sentence: &str) -> String {
    const PROMPT: &str = "A sentence in lower case: ";
    let path = format!("{}/tests/textbook/{client}", env!("CARGO_MANIFEST_DIR"));
    let output = assert_cmd::Command::new("python3")
        .args([&path, &server.address.port().to_string()])
        .env("PYTHONIOENCODING", "utf-8")
        .write_stdin(format!("{sentence}\n"))
        // It would wait for its answer for ever.
        .timeout(PATIENCE)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{client} printed {printed:?} and said {said}");
    printed.strip_prefix(PROMPT).unwrap_or_else(|| panic!("{client} printed {printed:?}")).to_owned()
}

/// Whether there is a python3 to run; prints why a test is skipped if not.
fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|run| run.status.success());
    if !found {
        eprintln!("skipped: there is no python3");
    }
    found
}

#[test]
fn textbook_clients_are_answered() {
    if !has_python() {
        return;
    }
    let server = Program::start(&[]);
    for client in ["udp_client.py", "tcp_client.py"] {
        assert_eq!(ask(client, &server, "hello, straße 1"), "HELLO, STRAßE 1\n", "{client}");
    }
    assert_eq!(ask("udp_client.py", &server, ""), "\n", "an empty datagram has an empty answer");
}

#[test]
fn textbook_clients_get_all_of_unicode_where_it_is_asked_for() {
    if !has_python() {
        return;
    }
    let server = Program::start(&["--case", "unicode"]);
    for client in ["udp_client.py", "tcp_client.py"] {
        let sentence = "straße ŉ щука";
        assert_eq!(ask(client, &server, sentence), "STRASSE ʼN ЩУКА\n", "{client}");
    }
}

/// As much as the textbook's buffers take: 2,048 bytes of a datagram, 1,024 of a stream.
#[test]
fn textbook_buffers_are_filled() {
    if !has_python() {
        return;
    }
    let server = Program::start(&[]);
    for (client, length) in [("udp_client.py", 2048), ("tcp_client.py", 1024)] {
        assert_eq!(ask(client, &server, &"x".repeat(length)), "X".repeat(length) + "\n", "{client}");
    }
}
