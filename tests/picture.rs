//! The picture of a run in the README, and the script that draws such pictures. It takes Python; without it the test says so
//! and passes.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Draws a text, has another parser read the picture, and gives back what is written in it, a piece a line.
fn drawn(text: &str) -> Option<String> {
    let draw = "tools/picture --until END --title 'a < b' | python3 -c 'import sys, xml.etree.ElementTree as tree\nfor text in tree.parse(sys.stdin).iter(\"{http://www.w3.org/2000/svg}text\"): print(text.text)'";
    let mut shell = Command::new("sh");
    shell.args(["-c", draw]).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::piped()).stdout(Stdio::piped());
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: there is no python3");
        return None;
    }
    let mut child = shell.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    Some(String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap())
}

#[test]
fn a_text_is_drawn_as_it_is_up_to_the_line_that_ends_it() {
    let Some(pieces) = drawn("one & <two>\n   ███▌ bars\n  END\nbehind it\n") else { return };
    assert_eq!(pieces.lines().collect::<Vec<_>>(), ["$ a < b", "one & <two>", "███▌", "bars", "END"]);
}

#[test]
fn the_picture_of_the_readme_is_of_a_run_that_was_valid() {
    let picture = include_str!("../src/pictures/run.svg");
    assert!(picture.contains("$ cargo run --release -p shout-load"), "a command that the README gives");
    for said in ["every byte of every reply verified", ">VALID<", "corrupted 0"] {
        assert!(picture.contains(said), "{said}");
    }
}
