//! The man pages and completions: that each names every flag, that `man` renders them without complaint, and that the
//! shells take them. What takes a shell or `man` says so and passes where there is none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::CommandFactory as _;

/// Everything, made afresh in a directory that goes with the test.
struct Generated(PathBuf);

impl Generated {
    fn new(test: &str) -> Generated {
        let share = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        let _ = fs::remove_dir_all(&share);
        let made = Command::new(env!("CARGO_BIN_EXE_generate")).arg(&share).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        Generated(share)
    }

    fn read(&self, place: &str) -> String {
        let path = self.0.join(place);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Every man page, in order of their names.
    fn pages(&self) -> Vec<PathBuf> {
        let mut pages: Vec<_> =
            fs::read_dir(self.0.join("man/man1")).unwrap().map(|entry| entry.unwrap().path()).collect();
        pages.sort();
        pages
    }
}

impl Drop for Generated {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn programs() -> [clap::Command; 3] {
    [
        shout::config::Config::command(),
        shout_client::command(),
        <shout_load::cli::Cli as clap::CommandFactory>::command(),
    ]
}

/// The long names of the flags that a command shows, `--help` among them.
fn flags(command: &clap::Command) -> Vec<String> {
    let mut command = command.clone();
    command.build();
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    shown.filter_map(|argument| argument.get_long()).map(str::to_owned).collect()
}

fn has(program: &str, flag: &str) -> bool {
    let has = Command::new(program).arg(flag).stdin(Stdio::null()).output().is_ok_and(|run| run.status.success());
    if !has {
        println!("skipped: there is no {program}");
    }
    has
}

#[test]
fn every_flag_of_every_command_stands_in_its_page_and_in_each_shell() {
    let made = Generated::new("every-flag");
    let mut pages = 0;
    for program in programs() {
        let name = program.get_name();
        let shells = [
            made.read(&format!("bash-completion/completions/{name}")),
            made.read(&format!("zsh/site-functions/_{name}")),
            made.read(&format!("fish/vendor_completions.d/{name}.fish")),
        ];
        let subcommands = program.get_subcommands();
        for (command, page) in std::iter::once((&program, name.to_owned()))
            .chain(subcommands.map(|command| (command, format!("{name}-{}", command.get_name()))))
        {
            // troff reads a bare hyphen as one that may end a line.
            let text = made.read(&format!("man/man1/{page}.1")).replace("\\-", "-");
            let flags = flags(command);
            assert!(flags.contains(&"help".to_owned()), "{page} has {flags:?}");
            for flag in flags {
                assert!(text.contains(&format!("--{flag}")), "the page of {page} lacks --{flag}");
                for (shell, script) in ["bash", "zsh", "fish"].iter().zip(&shells) {
                    let form = if *shell == "fish" { format!("-l {flag}") } else { format!("--{flag}") };
                    assert!(script.contains(&form), "{shell} does not complete --{flag} of {page}");
                }
            }
            pages += 1;
        }
    }
    assert_eq!(made.pages().len(), pages, "a page of a command that is gone");
}

#[test]
fn man_renders_every_page_without_complaint() {
    if !has("man", "--version") || !has("groff", "--version") {
        return;
    }
    let made = Generated::new("man");
    for page in made.pages() {
        let mut man = Command::new("man");
        man.args(["--warnings=all", "--local-file"]).arg(&page).env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8");
        let shown = man.stdin(Stdio::null()).output().unwrap();
        let (text, complaints) = (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
        assert!(shown.status.success() && complaints.is_empty(), "{}: {complaints}", page.display());
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SEE ALSO"] {
            assert!(text.lines().any(|line| line == section), "{} has no {section}: {text}", page.display());
        }
    }
    let page = made.read("man/man1/shout-server.1");
    assert!(page.contains("EXAMPLES") && page.contains("SHOUT_IDLE_TIMEOUT"), "{page}");
}

#[test]
fn bash_completes_flags_and_their_values() {
    if !has("bash", "--version") {
        return;
    }
    let made = Generated::new("bash");
    for (program, typed, wanted) in [
        ("shout-server", "--drain", "--drain-timeout"),
        ("shout-server", "--case uni", "unicode"),
        ("shout-client", "--retr", "--retries"),
        ("shout-load", "ver", "verify"),
        ("shout-load", "verify --tim", "--timeout"),
    ] {
        let script = made.0.join(format!("bash-completion/completions/{program}"));
        // What bash does when the tabulator is pressed behind the last word: the function that it was told, with the
        // words so far.
        let press = r#"source "$1" || exit; declared=$(complete -p "$2") || exit; function=${declared#*-F }
            COMP_WORDS=("$2" $3); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}
            "${function%% *}" "$2" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"; echo "${COMPREPLY[@]}""#;
        let pressed = Command::new("bash").args(["-c", press, "bash"]).arg(&script).args([program, typed]).output();
        let pressed = pressed.unwrap();
        let (offered, complaints) =
            (String::from_utf8_lossy(&pressed.stdout), String::from_utf8_lossy(&pressed.stderr));
        assert_eq!((offered.trim(), &*complaints), (wanted, ""), "{program} {typed}");
    }
}

/// Neither shell can be asked for a completion without a terminal; that they can read the scripts is what they tell.
#[test]
fn zsh_and_fish_can_read_theirs() {
    let made = Generated::new("shells");
    for (shell, place) in [("zsh", "zsh/site-functions"), ("fish", "fish/vendor_completions.d")] {
        if !has(shell, "--version") {
            continue;
        }
        for entry in fs::read_dir(made.0.join(place)).unwrap() {
            let script = entry.unwrap().path();
            let read = Command::new(shell).arg("-n").arg(&script).output().unwrap();
            assert!(read.status.success() && read.stderr.is_empty(), "{}: {read:?}", script.display());
        }
    }
}
