//! `cargo install`: the three commands that the README gives, into a directory of the test's own, and what they leave.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The root of the workspace.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../..");

/// The arguments of the `cargo install` commands that the README gives.
fn commands() -> Vec<Vec<String>> {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let commands = readme.lines().filter_map(|line| line.strip_prefix("cargo install "));
    let words = |command: &str| {
        let command = command.split('#').next().unwrap_or_default();
        command.split_whitespace().map(str::to_owned).collect()
    };
    commands.map(words).collect()
}

/// Unoptimised, so that what the other tests have built is used again.
#[test]
fn the_commands_of_the_readme_install_three_programs_that_run() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("install");
    let _ = fs::remove_dir_all(&root);
    let commands = commands();
    assert_eq!(commands.len(), 3, "{commands:?}");
    for command in &commands {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.arg("install").args(command).args(["--debug", "--no-track", "--root"]).arg(&root).current_dir(ROOT);
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let installed: BTreeSet<_> =
        fs::read_dir(root.join("bin")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(installed, ["shout-client", "shout-load", "shout-server"].map(Into::into).into());
    for program in installed {
        let output = Command::new(root.join("bin").join(&program)).arg("--version").output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said, format!("{} {}\n", program.to_str().unwrap(), env!("CARGO_PKG_VERSION")));
    }
    fs::remove_dir_all(&root).unwrap();
}
