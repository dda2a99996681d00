//! The server with the clients of a networking textbook: blocking Python, one `send`, one receive.
//!
//! The other direction, our client with the textbook's servers, is tested beside the client.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A textbook client waits for its answer for ever; this long means that none comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Our server on a free port, ended with the test.
struct Server {
    process: Child,
    port: String,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shout-server"));
        command.args(["--listen", "127.0.0.1:0"]).args(arguments).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim_end().rsplit_once(':').map(|(_, port)| port.to_owned());
        Server { port: port.unwrap_or_else(|| panic!("the server said {line:?}")), process }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Types a sentence to a textbook client and returns what it prints after its prompt.
#[track_caller]
fn ask(client: &str, server: &Server, sentence: &str) -> String {
    const PROMPT: &str = "A sentence in lower case: ";
    let path = format!("{}/tests/textbook/{client}", env!("CARGO_MANIFEST_DIR"));
    let output = assert_cmd::Command::new("python3")
        .args([&path, &server.port])
        .env("PYTHONIOENCODING", "utf-8")
        .write_stdin(format!("{sentence}\n"))
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
    let server = Server::start(&[]);
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
    let server = Server::start(&["--case", "unicode"]);
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
    let server = Server::start(&[]);
    for (client, length) in [("udp_client.py", 2048), ("tcp_client.py", 1024)] {
        assert_eq!(ask(client, &server, &"x".repeat(length)), "X".repeat(length) + "\n", "{client}");
    }
}
