//! The client with the servers of a networking textbook: blocking Python, one buffer, `.upper()`.

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use common::{assert_ended, client, has_python, patient_client};

/// A textbook server on a free port, ended with the test.
struct Textbook {
    process: Child,
    port: u16,
}

impl Textbook {
    fn start(program: &str) -> Self {
        let path = format!("{}/../../tests/textbook/{program}", env!("CARGO_MANIFEST_DIR"));
        let mut process = Command::new("python3").arg(path).arg("0").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.split_whitespace().last().and_then(|word| word.parse().ok());
        Textbook { port: port.unwrap_or_else(|| panic!("{program} said {line:?}")), process }
    }
}

impl Drop for Textbook {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_udp_server_answers() {
    if !has_python() {
        return;
    }
    let server = Textbook::start("udp_server.py");
    let url = format!("udp://127.0.0.1:{}", server.port);
    let output = patient_client(&[&url, "--", "hello", "straße"]).output().unwrap();
    assert_ended(&output, 0, b"HELLO STRASSE\n", "");
    let output = patient_client(&[&url]).write_stdin("one\n\ntwo").output().unwrap();
    assert_ended(&output, 0, b"ONE\n\nTWO", "");
}

/// It reads 2,048 bytes of a datagram and loses the rest, so its answer is none.
#[test]
fn what_the_udp_server_cuts_is_no_answer() {
    if !has_python() {
        return;
    }
    let server = Textbook::start("udp_server.py");
    let url = format!("udp://127.0.0.1:{}", server.port);
    let fits = "x".repeat(2048);
    let output = patient_client(&[&url, "--", &fits]).output().unwrap();
    assert_ended(&output, 0, format!("{}\n", fits.to_uppercase()).as_bytes(), "");
    let arguments = ["--timeout", "2s", "--retries", "0", &url, "--", &"x".repeat(2049)];
    let output = client(&arguments).output().unwrap();
    let line =
        format!("shout-client: no answer from {url}: sent once, waited 2s each time, ignored 1 that did not match\n");
    assert_ended(&output, 1, b"", &line);
}

#[test]
fn the_tcp_server_answers() {
    if !has_python() {
        return;
    }
    let server = Textbook::start("tcp_server.py");
    let url = format!("tcp://127.0.0.1:{}", server.port);
    let output = patient_client(&[&url, "--", "hello", "straße"]).output().unwrap();
    assert_ended(&output, 0, b"HELLO STRASSE\n", "");
    let output = patient_client(&[&url]).write_stdin("one\ntwo\n").output().unwrap();
    assert_ended(&output, 0, b"ONE\nTWO\n", "");
}
