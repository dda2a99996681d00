//! The table of promises names tests that exist, and commands that run them.

use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file at or below a path.
fn sources(path: &Path) -> Vec<PathBuf> {
    match fs::read_dir(path) {
        Ok(entries) => entries.flat_map(|entry| sources(&entry.unwrap().path())).collect(),
        Err(_) if path.is_file() && path.extension().is_some_and(|end| end == "rs") => vec![path.to_owned()],
        Err(_) => Vec::new(),
    }
}

/// Whether a file has a test of this name: a function behind `#[test]` and whatever else stands there.
fn has_test(file: &Path, name: &str) -> bool {
    let text = fs::read_to_string(file).unwrap();
    let Some((before, _)) = text.split_once(&format!("fn {name}(")) else { return false };
    let attributes = before.trim_end().lines().rev().map(str::trim_start);
    attributes.take_while(|line| line.starts_with("#[") || line.starts_with("//")).any(|line| line == "#[test]")
}

/// Where the tests are that a command runs: the files, and the name.
fn tests_of(command: &str) -> (Vec<PathBuf>, &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let words: Vec<&str> = command.split(' ').skip_while(|word| word.contains('=')).collect();
    let (package, rest) = match words[..] {
        ["cargo", "test", "-p", "shout-client", ref rest @ ..] => (root.join("tools/client"), rest),
        ["cargo", "test", "-p", "generate", ref rest @ ..] => (root.join("tools/deploy/generate"), rest),
        ["cargo", "test", ref rest @ ..] => (root.to_owned(), rest),
        _ => panic!("{command:?} is no test"),
    };
    match *rest {
        ["--lib", name] => (sources(&package.join("src")), name),
        // A file of this name, and the directory beside it or in its place.
        ["--test", file, name] | ["--test", file, name, "--", "--ignored"] => {
            let files = [package.join(format!("tests/{file}.rs")), package.join(format!("tests/{file}"))];
            (files.iter().flat_map(|path| sources(path)).collect(), name)
        }
        _ => panic!("{command:?} does not name one test"),
    }
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/promises.md")).unwrap();
    let heads = ["| promise | shown by | the most tried |", "|---|---|---|"];
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|') && !heads.contains(line)).collect();
    assert!(rows.len() > 70, "{} rows were found", rows.len());
    for row in rows {
        let [_, shown_by, _, _] = row.split(" |").collect::<Vec<_>>()[..] else { panic!("not three columns: {row}") };
        let commands: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(!commands.is_empty(), "nothing shows it: {row}");
        for command in commands {
            if command == "tools/soak 60" {
                assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/soak").exists());
                continue;
            }
            let (files, name) = tests_of(command);
            assert_eq!(files.iter().filter(|file| has_test(file, name)).count(), 1, "tests that {command:?} runs");
        }
    }
}
