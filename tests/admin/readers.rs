//! What others make of the pages: Python's HTTP client, the parser of Prometheus, `promtool`, a dashboard and its alerts.

use std::collections::BTreeMap;
use std::process::Command;

use shout::counters::Counters;

use super::common::{PATIENCE, ping, tcp_client};
use super::{get, samples, send, start};

/// Whether a program is there, or a module of Python; prints why a test is skipped if not.
fn has(program: &str, arguments: &[&str]) -> bool {
    let has = Command::new(program).args(arguments).output().is_ok_and(|run| run.status.success());
    if !has {
        println!("skipped: {program} {} does not run here", arguments.join(" "));
    }
    has
}

/// What a program prints that gets this input; it must succeed.
#[track_caller]
fn fed(program: &str, arguments: &[&str], input: &str) -> String {
    let mut command = assert_cmd::Command::new(program);
    let command = command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).timeout(PATIENCE);
    let output = command.write_stdin(input).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{program} {arguments:?} printed {printed} and said {said}");
    printed.into_owned()
}
/// Python's own HTTP client, which knows nothing of us, reads every page, and keeps to the rules for `HEAD` and 404.
#[test]
fn another_client_reads_the_pages() {
    if !has("python3", &["--version"]) {
        return;
    }
    let (_program, admin) = start(&[]);
    let printed = fed("python3", &["tests/admin/pages.py", &admin.port().to_string()], "");
    assert_eq!(printed, "every page as it should be\n");
}

/// The parser of Prometheus's Python client is strict where the format is.
#[test]
fn a_strict_parser_reads_what_is_shown() {
    if !has("python3", &["-c", "import prometheus_client.openmetrics.parser"]) {
        return;
    }
    let (program, admin) = start(&["--workers", "2"]);
    ping(&mut tcp_client(program.address), b"something to count");
    let (_, page) = get(admin, "/metrics");
    let printed = fed("python3", &["tests/admin/families.py"], &page);
    let families: BTreeMap<&str, &str> = printed.lines().map(|line| line.split_once(' ').unwrap()).collect();
    for (name, ..) in Counters::default().each() {
        let unit = if name.ends_with("_bytes") { "bytes" } else { "-" };
        assert_eq!(families.get(&*format!("shout_{name}")), Some(&&*format!("counter {unit}")));
    }
    assert_eq!(families["shout_turn_seconds"], "histogram seconds");
    assert_eq!(families["shout_build"], "info -");
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    if !has("promtool", &["--version"]) {
        return;
    }
    let (_program, admin) = start(&[]);
    let answer = send(admin, "GET /metrics HTTP/1.0\r\nAccept: text/plain\r\n\r\n");
    let (_, page) = answer.split_once("\r\n\r\n").unwrap();
    // It complains on standard error and by its exit code.
    fed("promtool", &["check", "metrics"], page);
    fed("promtool", &["check", "rules", "tools/deploy/alerts.yml"], "");
    fed("promtool", &["test", "rules", "tools/deploy/alerts.test.yml"], "");
}

/// Every metric that a text names: the words that begin with `shout_`.
fn named(text: &str) -> Vec<&str> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    words.filter(|word| word.starts_with("shout_")).collect()
}

#[test]
fn what_dashboard_and_alerts_name_is_there() {
    let (_program, admin) = start(&[]);
    let there: Vec<String> = samples(admin).into_keys().collect();
    let there: Vec<&str> = there.iter().map(|sample| sample.split('{').next().unwrap()).collect();
    for file in ["grafana.json", "alerts.yml"] {
        let path = format!("{}/tools/deploy/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap();
        let names = named(&text);
        assert!(names.len() > 5, "{path}");
        for name in names {
            assert!(there.contains(&name), "{path} names {name}, which is not shown");
        }
    }
}

/// Its questions are taken out of the dashboard by another reader of JSON, and held to be rules.
#[test]
fn the_questions_of_the_dashboard_can_be_asked() {
    if !has("python3", &["--version"]) || !has("promtool", &["--version"]) {
        return;
    }
    let rules = fed("python3", &["tests/admin/questions.py", "tools/deploy/grafana.json"], "");
    let path = format!("{}/questions.yml", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&path, rules).unwrap();
    fed("promtool", &["check", "rules", &path], "");
}
