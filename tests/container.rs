//! The Dockerfile of `tools/deploy`, without an engine to build or run it: it is linted, the static programs that it
//! ships are built by the script that it calls, and they run in an empty root with its variables, its user and its
//! commands. What is not run: its own build stage, the copying between its stages, and the engine's timer of the health check.
//!
//! It takes root, `ip` and `chroot`, and an optimised build; hadolint for the lint. Without them it says so and passes.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

mod common;
mod namespace;
use common::Program;
use namespace::Namespace;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The instructions of the Dockerfile's last stage, each with what follows its name.
fn last_stage() -> Vec<(String, String)> {
    let text = fs::read_to_string(Path::new(ROOT).join("tools/deploy/Dockerfile")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let instructions = lines.map(|line| {
        let (name, rest) = line.split_once(' ').unwrap();
        (name.to_owned(), rest.to_owned())
    });
    let instructions: Vec<_> = instructions.collect();
    let start = instructions.iter().rposition(|(name, _)| name == "FROM").unwrap();
    instructions[start..].to_vec()
}

/// What the one instruction of this name says.
fn said(stage: &[(String, String)], name: &str) -> String {
    let all: Vec<_> = stage.iter().filter(|(instruction, _)| instruction == name).collect();
    let [(_, said)] = all[..] else { panic!("{name} stands there {} times", all.len()) };
    said.clone()
}

/// The words of a command in its JSON form, which takes no shell.
fn words(command: &str) -> Vec<String> {
    serde_json::from_str(&command[command.find('[').unwrap()..]).unwrap()
}

#[test]
fn the_linter_has_nothing_to_say() {
    if !Command::new("hadolint").arg("--version").output().is_ok_and(|run| run.status.success()) {
        return println!("skipped: there is no hadolint");
    }
    let output = Command::new("hadolint").arg("tools/deploy/Dockerfile").current_dir(ROOT).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_compiler_of_the_build_stage_is_new_enough() {
    let text = fs::read_to_string(Path::new(ROOT).join("tools/deploy/Dockerfile")).unwrap();
    let minor = |version: &str| version.split(['.', '-']).nth(1).unwrap().parse::<u32>().unwrap();
    let image = text.lines().find_map(|line| line.strip_prefix("FROM rust:")).unwrap();
    assert!(minor(image) >= minor(env!("CARGO_PKG_RUST_VERSION")), "{image}");
}

#[test]
fn what_the_image_ships_runs_as_nobody_in_an_empty_root_and_its_health_check_tells_life_from_death() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root can change the root directory");
    }
    let Some(namespace) = Namespace::new() else { return };
    let built = Command::new("tools/deploy/static").current_dir(ROOT).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

    let stage = last_stage();
    assert_eq!(said(&stage, "FROM"), "scratch");
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("container");
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(&root).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    let copied = said(&stage, "COPY");
    for source in copied.split(' ').filter_map(|word| word.strip_prefix("/build/")) {
        let source = Path::new(ROOT).join(source);
        fs::copy(&source, root.join(source.file_name().unwrap())).unwrap();
    }
    assert_eq!(fs::read_dir(&root).unwrap().count(), 2, "{copied}");

    let user = said(&stage, "USER");
    assert!(!user.starts_with('0') && !user.starts_with("root"), "{user}");
    // In the image's root, as its user, with its variables and no others but a path, which engines set.
    let command = |words: &[String]| {
        let mut command = namespace.command("env");
        command
            .args(["-i", "PATH=/usr/sbin:/usr/bin", &said(&stage, "ENV"), "chroot", &format!("--userspec={user}")])
            .arg(&root)
            .args(words);
        command
    };
    let health = || {
        let output = command(&words(&said(&stage, "HEALTHCHECK"))).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(health(), (Some(1), String::new()), "nobody serves yet");
    let server = Program::start_with_as_told(&mut command(&words(&said(&stage, "ENTRYPOINT"))), &[]);
    assert_eq!(health(), (Some(0), "WELL\n".to_owned()));
    for port in said(&stage, "EXPOSE").split(' ') {
        let (port, protocol) = port.split_once('/').unwrap();
        assert_eq!(port.parse(), Ok(server.address.port()));
        let target = format!("{protocol}://127.0.0.1:{port}");
        let answer = command(&["/shout-client", &target, "--", "asked"].map(str::to_owned)).output().unwrap();
        assert_eq!(answer.stdout, b"ASKED\n", "{target}: {answer:?}");
    }
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid().as_raw_nonzero())).unwrap();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    assert_eq!(ids.split_whitespace().collect::<Vec<_>>(), [user.split(':').next().unwrap(); 4]);
    // Stopped, it does not answer and is not well; nothing is waited for but the client's own patience.
    server.signal(Signal::STOP);
    assert_eq!(health().0, Some(1));
    server.signal(Signal::CONT);
    assert_eq!(health().0, Some(0));
    assert_eq!(said(&stage, "STOPSIGNAL"), "SIGTERM");
    assert_eq!(server.terminate().code, Some(0));
    assert_eq!(health().0, Some(1));
    fs::remove_dir_all(&root).unwrap();
}
