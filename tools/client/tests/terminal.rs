//! The client at a terminal: typed lines, history, keys and signals, and what it never sends to the screen.

mod common;

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use common::{PATIENCE, all, has_python, refusing_tcp, refusing_udp, serve_tcp, serve_udp, shout, text};

/// A directory for one test, which goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("terminal-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn history(&self) -> PathBuf {
        self.0.join("shout/client-history")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const CLIENT: &str = env!("CARGO_BIN_EXE_shout-client");

/// Runs a program at a terminal of its own and returns all that was shown, with exit code and echo at the end.
#[track_caller]
fn at_terminal(state: &Path, program: &[&str], steps: &[&str]) -> String {
    let typist = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/typist.py");
    let output = assert_cmd::Command::new("python3")
        .arg(typist)
        .args(program)
        .env("TERM", "xterm")
        .env("XDG_STATE_HOME", state)
        .write_stdin(steps.join("\n"))
        .timeout(2 * PATIENCE)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn assert_exit(shown: &str, code: i32) {
    assert!(shown.ends_with(&format!("\nexit {code}\necho on\n")), "{shown:?}");
}

#[test]
fn each_line_typed_is_answered() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new("typed");
    let tcp = format!("tcp://127.0.0.1:{}", serve_tcp(shout));
    let (port, _server) = serve_udp(|socket| {
        loop {
            let (text, peer) = common::receive(&socket);
            socket.send_to(&text.to_ascii_uppercase(), peer).unwrap();
        }
    });
    for url in [tcp, format!("udp://127.0.0.1:{port}")] {
        let steps = [
            &format!("expect each line goes to {url}; Ctrl-D ends\\r\\n"),
            "expect > ",
            r"send hello\r",
            r"expect \r\nHELLO\r\n",
            "expect > ",
            r"send helo\x1b[Dl\r", // one to the left, and the letter that was missing
            r"expect \r\nHELLO\r\n",
            "expect > ",
            r"send \r",
            r"expect \r\n\r\n",
            "expect > ",
            r"send \x1b[A\x1b[A\r", // two lines back
            r"expect \r\nHELLO\r\n",
            "expect > ",
            r"send \x04",
        ];
        assert_exit(&at_terminal(&scratch.0, &[CLIENT, "--timeout", "1m", &url], &steps), 0);
    }
}

/// A terminal that was asked to mark pasted text would make one line of them.
#[test]
fn lines_pasted_at_once_are_sent_one_by_one() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new("pasted");
    let url = format!("tcp://127.0.0.1:{}", serve_tcp(shout));
    // More than the editor reads at once (1,024 bytes) and less than a terminal holds for a program (4,095).
    let paste = (0..200).map(|line| format!(r"line {line} of 200\r")).collect::<Vec<_>>().concat();
    let answers: Vec<_> = (0..200).map(|line| format!("expect LINE {line} OF 200")).collect();
    let mut steps = vec!["expect > ".into(), format!("send {paste}")];
    steps.extend(answers);
    steps.extend(["expect > ".into(), r"send \x04".into()]);
    let steps: Vec<_> = steps.iter().map(String::as_str).collect();
    let shown = at_terminal(&scratch.0, &[CLIENT, "--timeout", "1m", &url], &steps);
    assert_exit(&shown, 0);
    assert!(!shown.contains("\x1b[?2004h"), "{shown:?}");
}

#[test]
fn history_lasts_from_run_to_run_and_is_the_owner_s_alone() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new("history");
    let url = format!("tcp://127.0.0.1:{}", serve_tcp(shout));
    let first =
        [r"expect > ", r"send kept\r", "expect KEPT", "expect > ", r"send  secret\r", "expect SECRET", "expect > "];
    // Killed, so that nothing could have been written at the end.
    let shown = at_terminal(&scratch.0, &[CLIENT, &url], &[&first[..], &["signal 9"]].concat());
    assert!(shown.contains("\nexit -9\n"), "{shown:?}");
    let history = std::fs::read_to_string(scratch.history()).unwrap();
    assert!(history.contains("kept") && !history.contains("secret"), "{history:?}");
    let mode = std::fs::metadata(scratch.history()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = ["expect > ", r"send \x1b[A\r", "expect KEPT", "expect > ", r"send \x04"];
    assert_exit(&at_terminal(&scratch.0, &[CLIENT, &url], &second), 0);
}

#[test]
fn history_that_cannot_be_kept_is_said_once() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new("unkept");
    std::fs::write(scratch.0.join("shout"), "a file where the directory should be").unwrap();
    let url = format!("tcp://127.0.0.1:{}", serve_tcp(shout));
    let steps = ["expect > ", r"send a\r", "expect A", "expect > ", r"send b\r", "expect B", "expect > ", r"send \x04"];
    let shown = at_terminal(&scratch.0, &[CLIENT, &url], &steps);
    assert_exit(&shown, 0);
    assert_eq!(shown.matches("the history is not kept").count(), 1, "{shown:?}");
}

#[test]
fn a_line_without_an_answer_costs_only_itself() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new("refused");
    let (_socket, port) = refusing_udp();
    let refused = format!("expect no server at udp://127.0.0.1:{port}");

    let steps = ["expect > ", r"send a\r", &refused, "expect > ", r"send b\r", &refused, "expect > ", r"send \x04"];
    assert_exit(&at_terminal(&scratch.0, &[CLIENT, &format!("udp://127.0.0.1:{port}")], &steps), 0);
}

#[test]
fn without_a_tcp_server_there_is_no_prompt() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new("no-server");
    let (_socket, port) = refusing_tcp();
    let shown = at_terminal(&scratch.0, &[CLIENT, &format!("tcp://127.0.0.1:{port}")], &["expect no server at"]);
    assert_exit(&shown, 1);
    assert!(!shown.contains("> "), "{shown:?}");
}

#[test]
fn keys_and_signals_end_the_prompt_and_leave_the_terminal_as_it_was() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new("signals");
    let url = format!("tcp://127.0.0.1:{}", serve_tcp(shout));
    for (end, code) in [(r"send \x03", 130), ("signal 2", 130), ("signal 15", 143)] {
        let steps = ["expect > ", "send half", "expect half", end];
        assert_exit(&at_terminal(&scratch.0, &[CLIENT, &url], &steps), code);
    }
}

/// A server that sends one piece and then nothing more, and keeps the connection.
fn stalling(piece: &'static [u8]) -> (String, mpsc::Receiver<std::net::TcpStream>) {
    let (connections, open) = mpsc::channel();
    let port = serve_tcp(move |mut connection| {
        connection.write_all(piece).unwrap();
        connections.send(connection).unwrap();
    });
    (format!("tcp://127.0.0.1:{port}"), open)
}

#[test]
fn ctrl_c_ends_the_wait_for_an_answer() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new("waiting");
    let (url, _open) = stalling(b"PART");
    let steps = ["expect PART", r"send \x03"];
    assert_exit(&at_terminal(&scratch.0, &[CLIENT, "--timeout", "1m", &url, "--", "x"], &steps), 130);
}

/// A background process that touches the terminal's mode is stopped, and would never end.
#[test]
fn a_signal_ends_a_client_in_the_background() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new("background");
    let (url, _open) = stalling(b"PART");
    let script = r#"set -m; "$0" "$@" & read -r line; kill $!; wait $!; echo ended with $?"#;
    let program = ["/bin/sh", "-c", script, CLIENT, "--timeout", "1m", &url, "--", "x"];
    assert_exit(&at_terminal(&scratch.0, &program, &["expect PART", r"send \r", "expect ended with 143"]), 0);
}

#[test]
fn answers_are_made_visible_on_a_terminal_only() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new("visible");
    let answer = b"A\x1b]0;TITLE\x07\x9b\xe2\x80\xae\x7f\n";
    let visible = r"A\u{1b}]0;TITLE\u{7}\x9b\u{202e}\u{7f}";
    let port = serve_tcp(move |mut connection| {
        connection.write_all(answer).unwrap();
        all(&connection);
    });
    let url = format!("tcp://127.0.0.1:{port}");
    // An answer is at most three times as long as its line.
    let line = format!(r"send {}\r", "x".repeat(answer.len()));
    // Backslashes are for the typist to undo.
    let expected = format!("expect {}", visible.replace('\\', r"\\"));

    let typed = at_terminal(&scratch.0, &[CLIENT, &url], &["expect > ", &line, &expected, "expect > ", r"send \x04"]);
    assert_exit(&typed, 0);
    let one_shot = at_terminal(&scratch.0, &[CLIENT, &url, "--", "x"], &[&expected]);
    assert_exit(&one_shot, 0);
    for shown in [typed, one_shot] {
        for obeyed in ["\x1b]", "\x07", "\u{202e}", "\x7f"] {
            assert!(!shown.contains(obeyed), "{shown:?} has {obeyed:?}");
        }
    }

    let file = scratch.0.join("out");
    let to_file = format!("stdout {}", file.display());
    let shown = at_terminal(&scratch.0, &[CLIENT, &url], &[&to_file, "expect > ", &line, "expect > ", r"send \x04"]);
    assert_exit(&shown, 0);
    assert_eq!(std::fs::read(file).unwrap().escape_ascii().to_string(), answer.escape_ascii().to_string());
}
