//! The benchmarks as a user runs them, only shorter: real servers, real sockets on ports of the kernel's choice.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use peers::{admin, curves, programs, race, trace};
use shout_load::report::document::Document;

type Program = fn(&peers::contestant::Programs, Vec<std::ffi::OsString>, &mut dyn Write) -> ExitCode;

const RACE: Program = |programs, arguments, out| race::main(programs, arguments, out);
const ADMIN: Program = |programs, arguments, out| admin::main(programs, arguments, out);
const TRACE: Program = |programs, arguments, out| trace::main(programs, arguments, out);
const CURVES: Program = |programs, arguments, out| curves::main(programs, arguments, out);

/// What a program prints with these words behind its name, and how it ends.
fn run(program: Program, words: &[&str]) -> (String, ExitCode) {
    let mut out = Vec::new();
    let arguments = ["program", "--bench"].iter().chain(words).map(Into::into).collect();
    let code = program(&programs!(), arguments, &mut out);
    (String::from_utf8(out).unwrap(), code)
}

/// Long enough for a process to get its turn on a machine that is busy.
const SHORT: &str = "300ms";

/// A path of this test run's own.
fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()))
}

/// The cells of the line that begins with `name`.
fn cells<'a>(output: &'a str, name: &str) -> Vec<&'a str> {
    let line = output.lines().find(|line| line.starts_with(&format!("{name}  ")));
    let line = line.unwrap_or_else(|| panic!("no line of {name} in:\n{output}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

fn python_is_missing() -> bool {
    let is_missing = Command::new("python3").arg("--version").output().is_err();
    if is_missing {
        println!("skipped: there is no python3");
    }
    is_missing
}

/// A server in Python that answers each datagram with what `answer` makes of it, as a value of `--add`.
fn datagram_server(name: &str, answer: &str) -> String {
    let lines = [
        "import socket, sys",
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "s.bind((\"127.0.0.1\", int(sys.argv[1])))",
        "while True:",
        "    text, client = s.recvfrom(65536)",
        &format!("    s.sendto({answer}, client)"),
    ];
    format!("{name}=python3 -c '{}' {{port}}", lines.join("\n"))
}

#[test]
fn two_contestants_race_and_every_figure_is_there() {
    let (json, page) = (scratch("race.json"), scratch("race.html"));
    let mut words = vec!["--contestants", "shout,naive-mio", "--scenarios", "udp-64,tcp-64"];
    words.extend(["--rounds", "2", "--seconds", SHORT, "--json", json.to_str().unwrap()]);
    words.extend(["-o", page.to_str().unwrap()]);
    let (output, code) = run(RACE, &words);
    assert_eq!(code, ExitCode::SUCCESS, "{output}");
    for contestant in ["shout", "naive-mio", "shout again"] {
        let row = cells(&output, contestant);
        let number = |cell: &str| cell.replace([',', '%', ' '], "").parse::<f64>().unwrap_or(-1.0);
        let [_, rate, rate_ratio, rate_range, cpu, cpu_ratio, cpu_range, _, p99, p99_ratio, p99_range, _, wrong] =
            row[..]
        else {
            panic!("{row:?}")
        };
        assert!(number(rate) > 0.0 && number(p99) > 0.0 && wrong == "0", "{row:?}");
        assert!(!cfg!(target_os = "linux") || number(cpu) > 0.0, "{row:?}");
        for (median, range) in [(rate_ratio, rate_range), (cpu_ratio, cpu_range), (p99_ratio, p99_range)] {
            if contestant == "naive-mio" {
                assert_eq!((median, range), ("1.00", "1.00..1.00"), "it is what all are compared with");
            } else if cfg!(target_os = "linux") || median != "–" {
                let (least, most) = range.split_once("..").expect("the least and the most");
                let (least, median, most) = (number(least), number(median), number(most));
                assert!(0.0 <= least && least <= median && median <= most, "{row:?}");
            }
        }
    }
    assert_eq!(output.matches("Noise: in one round, two runs of shout differed by").count(), 2, "{output}");
    let (_, summary) = output.split_once("\nshout, × naive-mio").expect("all loads in one table");
    let titles: Vec<_> = summary.lines().skip(1).take(2).map(|row| row.split("  ").next().unwrap()).collect();
    for title in titles {
        let [_, rate, cpu, p99, noise] = cells(&output, title)[..] else { panic!("{title} in:\n{output}") };
        for ratio in [rate, p99] {
            assert!(ratio.parse::<f64>().is_ok_and(|ratio| ratio > 0.0), "{ratio} of {title}");
        }
        assert!(!cfg!(target_os = "linux") || cpu.parse::<f64>().is_ok_and(|ratio| ratio > 0.0), "{cpu} of {title}");
        assert_eq!(noise.matches('%').count() + noise.matches('–').count(), 3, "rate, CPU and p99 of {title}: {noise}");
    }

    let lines = fs::read_to_string(&json).unwrap();
    let documents: Vec<Document> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| serde_json::from_value(line["document"].clone()).unwrap())
        .collect();
    assert_eq!(documents.len(), 2 * 2 * 3, "scenarios, rounds, contestants");
    assert!(documents.iter().all(|document| document.counts.replied > 0));
    let server_of = |document: &Document| document.server.as_ref().map(|server| server.pid);
    let mut servers: Vec<_> = documents.iter().map(server_of).collect();
    servers.dedup();
    assert_eq!(servers.len(), documents.len(), "each measurement has a server started for it");
    fs::remove_file(json).unwrap();

    let html = fs::read_to_string(&page).unwrap();
    let inside: serde_json::Value = serde_json::from_str(shout_load::report::page::run_inside(&html).unwrap()).unwrap();
    assert_eq!(inside["schema"], "shout-race/1");
    let contestants = |load: usize| inside["loads"][load]["contestants"].as_array().unwrap();
    for load in [0, 1] {
        let names: Vec<_> = contestants(load).iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["shout", "naive-mio", "shout again"]);
        assert!(contestants(load).iter().all(|one| one["times_the_rate"]["median"].as_f64().unwrap() > 0.0));
        assert!(html.contains(inside["loads"][load]["title"].as_str().unwrap()));
    }
    // A rate of each under both loads, and the time that it cost where the system tells.
    let columns = if cfg!(target_os = "linux") { 2 } else { 1 };
    assert_eq!(html.matches("class=\"mark").count(), columns * 2 * 3);
    fs::remove_file(page).unwrap();
}

/// What can be read in a picture that `tools/screenshot` has made, and its width in pixels; asserts that it has a palette.
fn read(picture: &Path) -> (Vec<String>, u32) {
    let bytes = fs::read(picture).unwrap();
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n") && bytes[12..16] == *b"IHDR", "{}", picture.display());
    assert_eq!(bytes[24..26], [8, 3], "depth and kind of its colours");
    let said = Command::new("tools/screenshot").arg("--text").arg(picture).current_dir(ROOT).output().unwrap().stdout;
    let lines = String::from_utf8(said).unwrap().lines().map(ToOwned::to_owned).collect();
    (lines, u32::from_be_bytes(bytes[16..20].try_into().unwrap()))
}

/// The root of the workspace.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[test]
fn the_picture_of_the_readme_is_what_its_command_makes() {
    if python_is_missing() {
        return;
    }
    let page = scratch("picture.html");
    let mut words = vec!["--scenarios", "udp-64,tcp-64", "--rounds", "1", "--seconds", "100ms"];
    words.extend(["-o", page.to_str().unwrap()]);
    let (output, code) = run(RACE, &words);
    assert_eq!(code, ExitCode::SUCCESS, "{output}");
    let taken = Command::new("tools/screenshot").arg(&page).current_dir(ROOT).output().unwrap();
    fs::remove_file(page).unwrap();
    if String::from_utf8_lossy(&taken.stderr).contains("there is no Chromium") {
        return println!("skipped: there is no Chromium");
    }
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    let picture = scratch("race.png");
    fs::write(&picture, taken.stdout).unwrap();
    let (now, width) = read(&picture);
    fs::remove_file(picture).unwrap();
    let (committed, width_of_that) = read(&Path::new(ROOT).join("src/pictures/race.png"));
    assert_eq!(width, width_of_that);
    // Figures and the scale differ from race to race; names, loads and headings do not.
    let place = now.iter().position(|line| line.starts_with("Who is faster")).expect("the figure is in the picture");
    let labels = now[place..].iter().filter(|line| !line.starts_with('×'));
    for label in labels.clone() {
        assert!(committed.contains(label), "{label:?} is not in the picture of the README: {committed:?}");
    }
    for name in ["shout", "naive-mio", "tokio", "blocking", "shout again"] {
        let times = labels.clone().filter(|label| *label == name).count();
        assert!(times == 2 || times == 4, "{name} has a row under both loads in each column, and not {times}");
    }
}

#[test]
fn tables_for_a_readme_are_markdown() {
    let words = |names: &'static str| {
        ["--contestants", names, "--scenarios", "tcp-1", "--rounds", "1", "--seconds", SHORT, "--markdown"]
    };
    let rows = |output: &str| output.lines().filter(|line| line.starts_with('|') && line.ends_with('|')).count();
    let (output, code) = run(RACE, &words("naive-mio"));
    assert_eq!(code, ExitCode::SUCCESS, "{output}");
    assert_eq!(rows(&output), 4, "heading, rule, the contestant twice:\n{output}");
    let (output, code) = run(RACE, &words("shout,naive-mio"));
    assert_eq!(code, ExitCode::SUCCESS, "{output}");
    assert_eq!(rows(&output), 5 + 3, "and the table of all loads: heading, rule, the load:\n{output}");
    let heading = output.lines().find(|line| line.starts_with("| shout, × naive-mio")).expect(&output);
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let has_it = include_str!("../../../README.md").lines().any(|line| cells(line) == cells(heading));
    assert!(has_it, "the README has this table:\n{heading}");
}

#[test]
fn a_server_of_somebody_else_can_take_part() {
    if python_is_missing() {
        return;
    }
    let added = datagram_server("textbook", "text.upper()");
    let words = ["--contestants", "naive-mio", "--add", &added, "--scenarios", "udp-1", "--rounds", "1"];
    let (output, code) = run(RACE, &[&words[..], &["--seconds", SHORT]].concat());
    assert_eq!(code, ExitCode::SUCCESS, "{output}");
    assert_eq!(cells(&output, "textbook").last(), Some(&"0"), "{output}");
}

#[test]
fn a_wrong_reply_fails_the_race() {
    if python_is_missing() {
        return;
    }
    for (fault, answer) in [("lower", "text.lower()"), ("short", "text.upper()[:-1]")] {
        let added = datagram_server(fault, answer);
        let words = ["--contestants", "naive-mio", "--add", &added, "--scenarios", "udp-1", "--rounds", "1"];
        let (output, code) = run(RACE, &[&words[..], &["--seconds", SHORT]].concat());
        assert_eq!(code, ExitCode::FAILURE, "{output}");
        assert_ne!(cells(&output, fault).last(), Some(&"0"), "{output}");
        assert_eq!(cells(&output, "naive-mio").last(), Some(&"0"), "the others keep their results: {output}");
    }
}

#[test]
fn a_server_that_does_not_start_fails_the_race_and_spoils_nothing() {
    let words = ["--contestants", "naive-mio", "--add", "none=false {port}", "--scenarios", "tcp-1", "--rounds", "1"];
    let (output, code) = run(RACE, &[&words[..], &["--seconds", SHORT]].concat());
    assert_eq!(code, ExitCode::FAILURE, "{output}");
    assert_eq!(cells(&output, "none")[1], "–", "{output}");
    assert_eq!(cells(&output, "naive-mio").last(), Some(&"0"), "{output}");
}

#[test]
fn curves_are_measured_and_drawn() {
    let directory = scratch("curves");
    let (output, code) =
        run(CURVES, &["--test", "--curves", "idle,udp-size", "--out", directory.to_str().unwrap(), "--seconds", SHORT]);
    assert_eq!(code, ExitCode::SUCCESS, "{output}");
    for name in ["idle", "udp-size"] {
        let drawing = fs::read_to_string(directory.join(format!("{name}.svg"))).unwrap();
        let document = roxmltree::Document::parse(&drawing).expect("well-formed XML");
        let dots = document.descendants().filter(|node| node.has_tag_name("circle")).count();
        // A trial has two points for each of two contestants; where no CPU time is told there is nothing to draw.
        assert_eq!(dots, if cfg!(target_os = "linux") { 4 } else { 0 }, "{drawing}");
    }
    assert_eq!(output.matches("growth from ").count(), 2, "{output}");
    fs::remove_dir_all(directory).unwrap();
}

/// A server in Python that adds to `file` how many connections it has, whenever there are more than ever before.
fn counting_server(name: &str, file: &Path) -> String {
    const LINES: &str = "\
import asyncio, sys
now = most = 0
async def serve(reader, writer):
    global now, most
    now += 1
    if now > most:
        most = now
        with open(sys.argv[2], \"a\") as file:
            print(most, file=file)
    try:
        while text := await reader.read(65536):
            writer.write(text.upper())
    finally:
        now -= 1
async def main():
    server = await asyncio.start_server(serve, \"127.0.0.1\", int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(main())";
    format!("{name}=python3 -c '{LINES}' {{port}} '{}' 2>&1", file.display())
}

#[test]
fn idle_connections_are_there_while_the_others_talk() {
    if python_is_missing() {
        return;
    }
    let (directory, counts) = (scratch("idle"), scratch("counts"));
    let added = counting_server("counting", &counts);
    let words = ["--test", "--curves", "idle", "--contestants", "naive-mio", "--add", &added, "--out"];
    let (output, code) = run(CURVES, &[&words[..], &[directory.to_str().unwrap()]].concat());
    assert_eq!(code, ExitCode::SUCCESS, "{output}");
    let most = fs::read_to_string(&counts).unwrap().lines().map(|line| line.parse().unwrap()).max();
    // A trial goes from no idle connection to ten, with 64 others; one more was made to see whether the server is there.
    assert!(matches!(most, Some(74 | 75)), "{most:?}");
    fs::remove_file(counts).unwrap();
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn bad_arguments_end_with_code_2_and_no_output() {
    for words in [
        &["--rounds", "none"][..],
        &["--contestants", "nginx"],
        &["--add", "shout=./server {port}"],
        &["--add", "server"],
        &["--no-such-flag"],
    ] {
        for program in [RACE, CURVES] {
            assert_eq!(run(program, words), (String::new(), ExitCode::from(2)), "{words:?}");
        }
    }
    assert_eq!(run(RACE, &["-o", "race.pdf"]), (String::new(), ExitCode::from(2)));
    assert_eq!(run(RACE, &["--scenarios", "udp-65"]), (String::new(), ExitCode::from(2)));
    assert_eq!(run(CURVES, &["--curves", "steep"]), (String::new(), ExitCode::from(2)));
}

/// A reader who has gone away.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_ends_it_quietly_and_at_once() {
    let out = scratch("nobody");
    for (program, words) in [(RACE, &["--bench"][..]), (CURVES, &["--bench", "--out", out.to_str().unwrap()])] {
        let arguments = ["program"].iter().chain(words).map(Into::into).collect();
        assert_eq!(program(&programs!(), arguments, &mut Closed), ExitCode::SUCCESS);
    }
    fs::remove_dir(out).unwrap();
}

#[test]
fn what_a_page_costs_is_measured_alone_and_under_load() {
    let (output, code) = run(ADMIN, &["--rounds", "1", "--seconds", SHORT]);
    assert_eq!(code, ExitCode::SUCCESS, "{output}");
    for name in ["without", "asleep", "scraped", "without again"] {
        assert!(output.lines().any(|line| line.starts_with(&format!("{name}  "))), "no line of {name} in:\n{output}");
    }
    let row = |name: &str| output.lines().find(|line| line.starts_with(name) && line.ends_with(" %"));
    let idle = row("nothing else").unwrap_or_else(|| panic!("no line of the idle server in:\n{output}"));
    let microseconds: f64 =
        idle.trim_start_matches("nothing else  all it can").split_whitespace().next().unwrap().parse().unwrap();
    assert!(microseconds > 1.0, "a page costs more than a microsecond: {idle}");
    for load in ["udp-64", "tcp-64"] {
        let row = row(load).unwrap_or_else(|| panic!("no line of {load} in:\n{output}"));
        let pages: f64 = row.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(pages > 0.0, "{row}");
    }
}

#[test]
fn being_traced_is_measured_beside_being_left_alone() {
    let (output, code) = run(TRACE, &["--rounds", "1", "--seconds", SHORT]);
    assert_eq!(code, ExitCode::SUCCESS, "{output}");
    for name in ["without", "traced", "without again"] {
        assert!(output.lines().any(|line| line.starts_with(&format!("{name}  "))), "no line of {name} in:\n{output}");
    }
}
