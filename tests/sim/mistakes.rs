//! Mistakes that were once made, and a seed for each that finds it. What was wrong can be made wrong again, in a copy of
//! the server, so that nobody has to believe that a seed still finds what it is named for.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::oracles::Oracle;

/// Something that was wrong.
pub struct Mistake {
    pub what: &'static str,
    /// A run that finds it. Whatever changes the calls that the server makes, or what the simulation draws while it runs,
    /// may make another run of it: see [`the_named_seeds_find_their_mistakes`].
    pub seed: u64,
    /// The promise that is broken then.
    oracle: Oracle,
    edits: &'static [Edit],
}

/// What makes a mistake again, in the terms of today: the first such expression after the only place in a file that
/// reads like `after`, and what takes its place.
struct Edit {
    file: &'static str,
    after: &'static str,
    right: &'static str,
    wrong: &'static str,
}

const CONNECTION: &str = "src/connection.rs";
const CONNECTIONS: &str = "src/connections.rs";
const LEAVING: &str = "src/connections/leaving.rs";
const DATAGRAMS: &str = "src/datagrams.rs";

/// How many seeds are tried for one that finds a mistake, where the named one no longer does.
const SEEDS_MAX: u64 = 300_000;

pub const MISTAKES: [Mistake; 13] = [
    Mistake {
        what: "a connection that had to end kept the carried beginning of a character to itself",
        seed: 0xc,
        oracle: Oracle::Closing,
        edits: &[Edit {
            file: CONNECTION,
            after: "fn drive<",
            right: "self.send_carry(io, counters).unwrap_or(Next::Finished)",
            wrong: "Next::Finished",
        }],
    },
    Mistake {
        what: "a carried character that the socket did not take was owed by a connection that counted as idle",
        seed: 0x465d,
        oracle: Oracle::Stopping,
        edits: &[Edit { file: CONNECTION, after: "fn send_carry<", right: "!carry.is_empty()", wrong: "false" }],
    },
    Mistake {
        what: "a connection asked twice to end read on behind the carried character that it had sent",
        seed: 0x8939,
        oracle: Oracle::Budget,
        edits: &[Edit { file: CONNECTION, after: "fn retire(", right: "self.retiring", wrong: "false" }],
    },
    Mistake {
        what: "a slot's new owner inherited the old one's place in the ready queue, and had two drives in a turn",
        seed: 0x1147,
        oracle: Oracle::Budget,
        edits: &[Edit {
            file: CONNECTIONS,
            after: "fn close(",
            right: "*place = GONE",
            wrong: "*place = index as u32",
        }],
    },
    Mistake {
        what: "the last drive of an idle connection left more held than allowed, and nobody was closed for it",
        seed: 0x4554,
        oracle: Oracle::Memory,
        edits: &[
            Edit { file: CONNECTIONS, after: "fn drive(", right: "self.shed(counters)", wrong: "()" },
            Edit {
                file: CONNECTIONS,
                after: "fn turn(",
                right: "self.drive(index as usize, budget, now, counters)",
                wrong: "{ self.drive(index as usize, budget, now, counters); self.shed(counters) }",
            },
        ],
    },
    Mistake {
        what: "a newcomer cost one connection after the other its end, to whom answers were on the way",
        seed: 0x44,
        oracle: Oracle::Closing,
        edits: &[Edit {
            file: LEAVING,
            after: "fn make_room(",
            right: "self.slots[index].stream.is_quiet()",
            wrong: "true",
        }],
    },
    Mistake {
        what: "an idle connection was ended over what its peer had not taken",
        seed: 0x7,
        oracle: Oracle::Closing,
        edits: &[Edit {
            file: LEAVING,
            after: "fn expire(",
            right: "self.slots[index].stream.undelivered() > 0",
            wrong: "false",
        }],
    },
    Mistake {
        what: "a lingering connection was closed over what its peer had not taken",
        seed: 0x7,
        oracle: Oracle::Closing,
        edits: &[Edit {
            file: LEAVING,
            after: "expired(Queue::Lingering",
            right: "self.slots[index].stream.undelivered() > 0",
            wrong: "false",
        }],
    },
    Mistake {
        what: "a stalled connection that had room by then was closed without a last try",
        seed: 0x1,
        oracle: Oracle::Closing,
        edits: &[Edit {
            file: LEAVING,
            after: "fn expire(",
            right: "self.drive(index, 0, now, counters)",
            wrong: "()",
        }],
    },
    Mistake {
        what: "the last try of a stalled connection read on, out of turn",
        seed: 0xe92,
        oracle: Oracle::Budget,
        edits: &[Edit {
            file: LEAVING,
            after: "fn expire(",
            right: "self.drive(index, 0, now, counters)",
            wrong: "self.drive(index, self.limits.drive_bytes_max, now, counters)",
        }],
    },
    Mistake {
        what: "the last drive of an idle connection read more than its share of a turn",
        seed: 0x67b,
        oracle: Oracle::Budget,
        edits: &[Edit {
            file: LEAVING,
            after: "fn dismiss(",
            right: "self.limits.drive_bytes_max.min(self.limits.shared_bytes_max)",
            wrong: "self.limits.drive_bytes_max",
        }],
    },
    Mistake {
        what: "datagrams of a run that could not be sent were counted as one",
        seed: 0x0,
        oracle: Oracle::Counters,
        edits: &[Edit {
            file: DATAGRAMS,
            after: "fn send(",
            right: "self.replies.list[self.unsent].datagrams() as u64",
            wrong: "1",
        }],
    },
    Mistake {
        what: "merged messages were answered as runs after the device had refused runs for good",
        seed: 0x0,
        oracle: Oracle::Datagrams,
        edits: &[Edit {
            file: DATAGRAMS,
            after: "fn answer(",
            right: "datagrams_in(message.length, message.segment) <= segments_max",
            wrong: "true",
        }],
    },
];

impl Edit {
    /// The file with both in it, of which the mistake of this number is made where the environment says so.
    fn made(&self, text: &str, number: usize) -> String {
        let Edit { file, after, right, wrong } = self;
        let place = text.split_once(after).filter(|(_, rest)| !rest.contains(after));
        let (before, rest) = place.unwrap_or_else(|| panic!("{file} does not say once: {after}"));
        let (between, rest) = rest.split_once(right).unwrap_or_else(|| panic!("{file}, {after}: does not say {right}"));
        format!("{before}{after}{between}(if crate::is_made({number}) {{ {wrong} }} else {{ {right} }}){rest}")
    }
}

/// What the library gets besides.
const IS_MADE: &str = "
pub(crate) fn is_made(number: usize) -> bool {
    static MADE: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *MADE.get_or_init(|| std::env::var(\"SHOUT_MISTAKE\").map_or(usize::MAX, |number| number.parse().unwrap())) == number
}
";

/// A copy of the project in which any of the mistakes can be made.
struct Copy(PathBuf);

impl Copy {
    /// What was compiled for an earlier one is used again.
    fn new() -> Copy {
        let copy = Copy(Path::new(env!("CARGO_TARGET_TMPDIR")).join("mistakes"));
        fs::create_dir_all(&copy.0).unwrap();
        for name in ["Cargo.toml", "Cargo.lock", "src", "tests", "benches", "tools"] {
            let _ = fs::remove_dir_all(copy.0.join(name));
            let status = Command::new("cp").arg("-r").arg(original(name)).arg(&copy.0).status().unwrap();
            assert!(status.success(), "{name} is not copied");
        }
        for (number, mistake) in MISTAKES.iter().enumerate() {
            mistake.edits.iter().for_each(|edit| copy.change(edit.file, |text| edit.made(text, number)));
        }
        copy.change("src/lib.rs", |text| text.to_owned() + IS_MADE);
        copy
    }

    fn change(&self, file: &str, change: impl Fn(&str) -> String) {
        let path = self.0.join(file);
        fs::write(&path, change(&fs::read_to_string(&path).unwrap())).unwrap();
    }

    /// What the simulation says where a mistake is made, with this variable of its environment.
    fn simulate(&self, number: usize, name: &str, value: u64) -> String {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["test", "--frozen", "--test", "sim", "the_server_keeps_its_promises"]).current_dir(&self.0);
        cargo.args((!cfg!(debug_assertions)).then_some("--release")).env("CARGO_PROFILE_RELEASE_LTO", "off");
        cargo.env("CARGO_TARGET_DIR", self.0.join("target")).env("SHOUT_MISTAKE", number.to_string());
        cargo.env_remove("SHOUT_SIM_SEED").env_remove("SHOUT_SIM_SEEDS").env(name, format!("{value:#x}"));
        let output = cargo.output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(said.contains("running 1 test"), "the simulation does not run: {said}");
        said
    }

    /// Adds to `wrong` what is wrong with the seed of a mistake, if anything is.
    fn try_out(&self, number: usize, mistake: &Mistake, wrong: &mut String) {
        let Mistake { what, seed, oracle, .. } = mistake;
        if self.simulate(number, "SHOUT_SIM_SEED", *seed).contains(&format!("seed {seed:#x}: {oracle:?}: ")) {
            return println!("{seed:#x} finds: {what}");
        }
        let said = self.simulate(number, "SHOUT_SIM_SEEDS", SEEDS_MAX);
        let found = said.lines().find(|line| line.starts_with("seed 0x")).unwrap_or("no seed does");
        println!("{seed:#x} does not find: {what}; {found}");
        writeln!(wrong, "{seed:#x} does not find: {what}; {found}").unwrap();
    }
}

fn original(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn every_mistake_can_be_made_again() {
    for (number, mistake) in MISTAKES.iter().enumerate() {
        for edit in mistake.edits {
            edit.made(&fs::read_to_string(original(edit.file)).unwrap(), number);
        }
    }
}

/// Where one does not, a seed that does is looked for and named in the failure: `--release` makes that quick.
#[test]
#[ignore = "it compiles everything anew, which takes minutes"]
fn the_named_seeds_find_their_mistakes() {
    let (copy, mut wrong) = (Copy::new(), String::new());
    for (number, mistake) in MISTAKES.iter().enumerate() {
        copy.try_out(number, mistake, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong}");
}
