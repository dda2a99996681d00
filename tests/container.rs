//! The Dockerfile of `tools/deploy`: it is linted; the static programs that it ships are built by the script that it calls,
//! and they run in an empty root with its variables, its user and its commands. An engine, buildah, also builds it as it
//! stands, but for the image that its first stage begins with, and what it built runs likewise. What is not run: that
//! image, and an engine's timer of the health check.
//!
//! It takes root, `ip` and `chroot`, and an optimised build; hadolint for the lint. Without them it says so and passes.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

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

/// An image: the files, and what is to be done with them.
struct Image {
    root: PathBuf,
    /// `NAME=VALUE`.
    variables: Vec<String>,
    user: String,
    entrypoint: Vec<String>,
    health: Vec<String>,
    /// `PORT/PROTOCOL`.
    exposed: Vec<String>,
    stop_signal: String,
}

/// Runs an image in a network of its own, as its user, with its variables and no others: asks for its service and for its
/// health, and stops it.
fn try_out(image: &Image, namespace: &Namespace) {
    let Image { root, variables, user, entrypoint, health, exposed, stop_signal } = image;
    assert_eq!(fs::read_dir(root).unwrap().count(), 2, "two programs and nothing else");
    assert!(!user.starts_with('0') && !user.starts_with("root"), "{user}");
    let command = |words: &[String]| {
        let mut command = namespace.command("env");
        command.args(["-i", "PATH=/usr/sbin:/usr/bin"]).args(variables);
        command.args(["chroot", &format!("--userspec={user}")]).arg(root).args(words);
        command
    };
    let health = || {
        let output = command(health).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(health(), (Some(1), String::new()), "nobody serves yet");
    let server = Program::start_with_as_told(&mut command(entrypoint), &[]);
    assert_eq!(health(), (Some(0), "WELL\n".to_owned()));
    assert_eq!(exposed.len(), 2, "{exposed:?}");
    for port in exposed {
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
    assert_eq!(stop_signal, "SIGTERM");
    assert_eq!(server.terminate().code, Some(0));
    assert_eq!(health().0, Some(1));
}

/// A network for an image; only root can have one, and change the root directory.
fn network() -> Option<Namespace> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can change the root directory");
        return None;
    }
    Namespace::new()
}

#[test]
fn what_the_image_ships_runs_as_nobody_in_an_empty_root_and_its_health_check_tells_life_from_death() {
    let Some(namespace) = network() else { return };
    let built = Command::new("tools/deploy/static").current_dir(ROOT).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

    let stage = last_stage();
    assert_eq!(said(&stage, "FROM"), "scratch");
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("container");
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(&root).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    for source in said(&stage, "COPY").split(' ').filter_map(|word| word.strip_prefix("/build/")) {
        let source = Path::new(ROOT).join(source);
        fs::copy(&source, root.join(source.file_name().unwrap())).unwrap();
    }
    let image = Image {
        root: root.clone(),
        variables: vec![said(&stage, "ENV")],
        user: said(&stage, "USER"),
        entrypoint: words(&said(&stage, "ENTRYPOINT")),
        health: words(&said(&stage, "HEALTHCHECK")),
        exposed: said(&stage, "EXPOSE").split(' ').map(str::to_owned).collect(),
        stop_signal: said(&stage, "STOPSIGNAL"),
    };
    try_out(&image, &namespace);
    fs::remove_dir_all(&root).unwrap();
}

/// An engine that builds images, with a store of its own, which is removed with it.
struct Engine(PathBuf);

impl Engine {
    /// What it prints when asked to do this; words are parted by spaces.
    #[track_caller]
    fn run(&self, line: &str) -> String {
        let mut command = Command::new("buildah");
        command.args(["--storage-driver", "vfs", "--root"]).arg(self.0.join("root"));
        command.arg("--runroot").arg(self.0.join("run")).args(line.split(' ')).current_dir(ROOT);
        let output = command.env("BUILDAH_ISOLATION", "chroot").output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Puts something in the place of the image that the build stage begins with, which would come from elsewhere: this
    /// machine's own compiler and what it has fetched already. Returns the flags that give them to a build.
    fn stand_in(&self) -> String {
        let text = fs::read_to_string(Path::new(ROOT).join("tools/deploy/Dockerfile")).unwrap();
        let (name, _) = text.lines().find_map(|line| line.strip_prefix("FROM ")?.split_once(" AS build")).unwrap();
        let root = self.0.join("stand-in");
        for folder in ["usr", "root", "proc", "sys", "dev", "tmp", "etc"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for link in ["bin", "lib", "lib64"] {
            std::os::unix::fs::symlink(format!("usr/{link}"), root.join(link)).unwrap();
        }
        let alternatives = Command::new("cp").args(["-a", "/etc/alternatives"]).arg(root.join("etc")).status().unwrap();
        assert!(alternatives.success());
        let compiler = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
        let compiler = String::from_utf8(compiler.stdout).unwrap().trim_end().to_owned();
        let fetched =
            std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{}/.cargo", std::env::var("HOME").unwrap()));
        let container = self.run("from scratch");
        self.run(&format!("copy {container} {} /", root.display()));
        let path = format!("PATH={compiler}/bin:/usr/bin");
        self.run(&format!("config --env {path} --env CARGO_HOME={fetched} --env CARGO_NET_OFFLINE=true {container}"));
        self.run(&format!("commit --rm {container} docker.io/library/{name}"));
        format!("--volume /usr:/usr:ro --volume {compiler}:{compiler}:ro --volume {fetched}:{fetched}")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // What is still mounted there could not be removed.
        for all in [["umount", "--all"], ["rm", "--all"]] {
            let mut command = Command::new("buildah");
            command.args(["--storage-driver", "vfs", "--root"]).arg(self.0.join("root"));
            let _ = command.arg("--runroot").arg(self.0.join("run")).args(all).output();
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
#[ignore = "it compiles everything anew, which takes minutes"]
fn an_engine_builds_the_image_and_what_it_built_runs() {
    if !Command::new("buildah").arg("--version").output().is_ok_and(|run| run.status.success()) {
        return println!("skipped: there is no buildah");
    }
    let Some(namespace) = network() else { return };
    let engine = Engine(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("engine"));
    let _ = fs::remove_dir_all(&engine.0);
    fs::create_dir_all(&engine.0).unwrap();
    let given = engine.stand_in();
    // Health checks are Docker's; the other format has none.
    let flags = format!("--format docker --pull=never --network host {given} -f tools/deploy/Dockerfile");
    engine.run(&format!("build {flags} -t shout:test ."));

    let inspected: Value = serde_json::from_str(&engine.run("inspect --type image localhost/shout:test")).unwrap();
    let config = &inspected["Docker"]["config"];
    let list = |value: &Value| value.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect();
    let (variables, entrypoint, mut health): (Vec<String>, _, Vec<String>) =
        (list(&config["Env"]), list(&config["Entrypoint"]), list(&config["Healthcheck"]["Test"]));
    assert_eq!(health.remove(0), "CMD");
    let container = engine.run("from --pull-never localhost/shout:test");
    let image = Image {
        root: engine.run(&format!("mount {container}")).into(),
        variables: variables.into_iter().filter(|variable| !variable.starts_with("PATH=")).collect(),
        user: config["User"].as_str().unwrap().to_owned(),
        entrypoint,
        health,
        exposed: config["ExposedPorts"].as_object().unwrap().keys().cloned().collect(),
        stop_signal: config["StopSignal"].as_str().unwrap().to_owned(),
    };
    try_out(&image, &namespace);
}
