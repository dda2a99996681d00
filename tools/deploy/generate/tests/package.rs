//! The Debian package: what is in it, and that what it installs serves. It takes cargo-deb and dpkg, and an optimised
//! build; where they are missing it says so and passes.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The root of the workspace.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../..");

const PROGRAMS: [&str; 3] = ["shout-client", "shout-load", "shout-server"];

#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn has(program: &str, arguments: &[&str]) -> bool {
    let has = Command::new(program).args(arguments).output().is_ok_and(|run| run.status.success());
    if !has {
        println!("skipped: there is no {program} {}", arguments.join(" "));
    }
    has
}

/// Every file that is to be in the package, with whether it can be run.
fn wanted(share: &Path) -> BTreeSet<(String, bool)> {
    let mut wanted: BTreeSet<(String, bool)> = BTreeSet::new();
    let mut add = |place: &str, can_run| _ = wanted.insert((place.to_owned(), can_run));
    for program in PROGRAMS {
        add(&format!("./usr/bin/{program}"), true);
        add(&format!("./usr/share/bash-completion/completions/{program}"), false);
        add(&format!("./usr/share/zsh/vendor-completions/_{program}"), false);
        add(&format!("./usr/share/fish/vendor_completions.d/{program}.fish"), false);
    }
    for page in fs::read_dir(share.join("man/man1")).unwrap() {
        add(&format!("./usr/share/man/man1/{}.gz", page.unwrap().file_name().display()), false);
    }
    for unit in ["service", "socket"] {
        add(&format!("./usr/lib/systemd/system/shout-server.{unit}"), false);
    }
    for document in
        ["copyright", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "examples/alerts.yml", "examples/grafana.json"]
    {
        add(&format!("./usr/share/doc/shout/{document}"), false);
    }
    wanted
}

#[test]
fn the_package_holds_what_it_should_and_what_it_installs_serves() {
    if !has("cargo", &["deb", "--version"]) || !has("dpkg-deb", &["--version"]) {
        return;
    }
    let built = output(&mut Command::new(Path::new(ROOT).join("tools/deploy/package")));
    let package = PathBuf::from(ROOT).join(built.lines().last().unwrap());

    // A line is rights, owner, size, date, time and place.
    let listing = output(Command::new("dpkg-deb").arg("-c").arg(&package));
    let files = listing.lines().filter(|line| !line.starts_with('d')).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[1], "0/0", "it belongs to somebody: {line}");
        assert!(["-rwxr-xr-x", "-rw-r--r--"].contains(&words[0]), "{line}");
        (words[5].to_owned(), words[0] == "-rwxr-xr-x")
    });
    assert_eq!(files.collect::<BTreeSet<_>>(), wanted(&Path::new(ROOT).join("target/share")));
    let depends = output(Command::new("dpkg-deb").arg("-f").arg(&package).arg("Depends"));
    assert!(depends.contains("libc6") && !depends.contains(','), "it needs more than the C library: {depends}");
    if Path::new("/run/systemd/system").exists() {
        return println!("skipped: systemd runs here, and installing would speak to it");
    }
    installed(&package);
}

/// Installs the package under a directory of the test's own, lets the client ask the server, and removes it again.
fn installed(package: &Path) {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("package");
    let _ = fs::remove_dir_all(&root);
    for directory in ["updates", "info"] {
        fs::create_dir_all(root.join("var/lib/dpkg").join(directory)).unwrap();
    }
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    let dpkg = || {
        let mut dpkg = Command::new("dpkg");
        // Neither root nor a C library are there, and the package's scripts are told where they are by a variable.
        dpkg.arg("--root").arg(&root).arg("--log").arg(root.join("log"));
        dpkg.arg("--force-not-root,script-chrootless,depends");
        dpkg
    };
    output(dpkg().arg("--install").arg(package));
    let program = |name: &str| Command::new(root.join("usr/bin").join(name));
    let mut server =
        Running(program("shout-server").args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split_whitespace().last().unwrap();
    for protocol in ["udp", "tcp"] {
        let answer = output(program("shout-client").args([&format!("{protocol}://{address}"), "--", "installed"]));
        assert_eq!(answer, "INSTALLED\n");
    }
    drop(server);
    output(dpkg().args(["--purge", "shout"]));
    assert!(!root.join("usr").exists(), "something was left behind in {}", root.display());
    fs::remove_dir_all(&root).unwrap();
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
