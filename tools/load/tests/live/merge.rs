//! Several programs that load one server, and their runs merged into one.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use shout_load::report::document::Document;

use crate::schema::{assert_fits, validator};
use crate::servers::{RealServer, command, run};
use crate::showing::in_chromium;

/// A directory that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> Document {
        shout_load::saved::read(&self.0.join(name)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A moment so many milliseconds from now, as `--at` takes it.
fn in_milliseconds(milliseconds: u64) -> (String, u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_millis(milliseconds);
    let moment = jiff::Timestamp::from_nanosecond(now.as_nanos().cast_signed()).unwrap();
    (moment.to_string(), now.as_nanos() as u64)
}

fn sum<'a>(each: impl Iterator<Item = &'a Document>) -> Histogram<u64> {
    each.fold(shout_load::recorder::histogram(), |mut sum, run| {
        sum.add(run.latency.response.histogram().unwrap()).unwrap();
        sum
    })
}

/// Two programs at once, one with threads, whose runs are at `a.json` and `b.html`.
fn two_runs(folder: &Folder, url: &str) -> [Document; 2] {
    let (moment, _) = in_milliseconds(2000);
    let load = ["-d", "600ms", "-i", "50ms", "-w", "50ms", "-q", "-s", "mix:64=1,300=1", "--at", &moment];
    let programs = [("a.json", &["-R", "2k"][..]), ("b.html", &["-R", "1k", "-c", "2", "-t", "2"])];
    let programs = programs.map(|(name, share)| {
        let mut program = command(&[&[url][..], &load, share, &["-o", &folder.path(name)]].concat());
        program.stdout(Stdio::null()).spawn().unwrap()
    });
    for mut program in programs {
        assert!(program.wait().unwrap().success());
    }
    [folder.read("a.json"), folder.read("b.html")]
}

#[test]
fn two_programs_on_one_server_are_one_load() {
    let (folder, server) = (Folder::new("merge"), RealServer::start());
    for scheme in ["udp", "echo"] {
        let parts = two_runs(&folder, &format!("{scheme}://{}", server.address));
        let [a, b, json, html] = ["a.json", "b.html", "all.json", "all.html"].map(|name| folder.path(name));
        let output = run(&["merge", &a, &b, "-o", &json, "-o", &html, "--slo", "errors=0"]);
        let all = folder.read("all.json");
        let screen = String::from_utf8(output.stdout).unwrap();
        assert!(screen.contains("merged from 2 runs") && screen.contains("+0.0"), "{screen}");
        assert!(screen.contains("a.json  ") && screen.contains("b.html  "), "{screen}");
        assert_eq!(output.status.code(), Some(all.exit.into()), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(all, folder.read("all.html"));
        assert_fits(&validator(), &serde_json::to_value(&all).unwrap());
        assert_eq!(run(&["report", &html]).stdout, screen.into_bytes());

        let total = |of: fn(&Document) -> u64| parts.iter().map(of).sum::<u64>();
        assert_eq!(all.counts.sent, total(|run| run.counts.sent));
        assert_eq!((all.counts.replied, all.counts.lost), (total(|run| run.counts.replied), 0));
        assert_eq!(all.latency.response.histogram().unwrap(), sum(parts.iter()));
        assert_eq!((all.config.rate, all.config.threads, all.config.udp_sockets), (Some(3000.0), Some(3), 3));
        for interval in ["sent", "replied"] {
            let of = |run: &Document| -> u64 {
                let each =
                    run.intervals.iter().map(|one| serde_json::to_value(one).unwrap()[interval].as_u64().unwrap());
                each.sum()
            };
            assert_eq!(of(&all), parts.iter().map(of).sum::<u64>());
        }
        assert_eq!(all.per_size.iter().map(|size| size.replied).sum::<u64>(), all.counts.replied);
        if let Some(server) = &all.server {
            let most = parts.iter().map(|run| run.server.as_ref().unwrap().cpu_ns).max().unwrap();
            assert_eq!((server.cpu_ns, server.cpu_ns_per_message < most / parts[0].counts.sent), (most, true));
        }
        // It is a run like any other: it can be a baseline, compared and merged again.
        let again = run(&["merge", &a, &b, "--baseline", &html, "--json"]);
        let again: Document = serde_json::from_slice(&again.stdout).unwrap();
        assert!(again.gates.len() == 3, "{:?}", again.gates);
        let compared = run(&["compare", &json, &html]);
        assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stderr));
        let twice = run(&["merge", &json, &b]);
        let stderr = String::from_utf8(twice.stderr).unwrap();
        assert_eq!((twice.status.code(), stderr.lines().count()), (Some(2), 1), "{stderr}");
        assert!(stderr.contains("same run"), "{stderr}");
    }
}

#[test]
fn the_page_of_a_merged_run_names_its_parts_in_a_browser() {
    let (folder, server) = (Folder::new("merge-page"), RealServer::start());
    two_runs(&folder, &format!("udp://{}", server.address));
    let [a, b, html] = ["a.json", "b.html", "all.html"].map(|name| folder.path(name));
    run(&["merge", &a, &b, "-o", &html]);
    let script = "
        const rows = [...document.querySelectorAll('.merged tbody tr')];
        const seen = document.body.dataset;
        seen.names = rows.map((row) => row.cells[0].textContent.match(/[ab][.](json|html)/)[0]).sort().join();
        seen.bars = rows.every((row) => row.querySelector('.span').getBoundingClientRect().width > 20);
        seen.intervals = document.querySelectorAll('.heat path').length > 0;
        seen.whose = [...document.querySelectorAll('.worst tbody td')].some((cell) => / of .*[ab][.](json|html)/.test(cell.textContent));";
    let Some(dom) = in_chromium(html.as_ref(), "merge-page", script) else { return };
    let body = dom.split("<body").nth(1).unwrap().split('>').next().unwrap();
    for seen in ["names=\"a.json,b.html\"", "bars=\"true\"", "intervals=\"true\"", "whose=\"true\""] {
        assert!(body.contains(seen), "{seen} is not in {body}");
    }
}

#[test]
fn runs_of_different_loads_are_refused_with_the_setting_and_both_values() {
    let (folder, server) = (Folder::new("merge-refused"), RealServer::start());
    let make = |name: &str, scheme: &str, flags: &[&str]| {
        let url = format!("{scheme}://{}", server.address);
        let made = run(&[&[url.as_str(), "-n", "60", "-w", "0", "-q", "-o", &folder.path(name)], flags].concat());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    make("a.json", "udp", &["-R", "5k"]);
    let others: [(&str, &str, &[&str], [&str; 2]); 6] = [
        ("size.json", "udp", &["-R", "5k", "-s", "128"], ["its size is 128", "is 64"]),
        ("tcp.json", "tcp", &["-R", "5k"], ["its protocol is tcp", "is udp"]),
        ("even.json", "udp", &["-R", "5k", "--arrivals", "const"], ["its arrival process is const", "is poisson"]),
        ("closed.json", "udp", &[], ["its loop is closed", "is open"]),
        ("depth.json", "udp", &["-R", "5k", "-p", "3"], ["its pipeline depth is 3", "is none"]),
        ("late.json", "udp", &["-R", "5k", "--late", "cap:9"], ["its late policy is cap:9", "is queue"]),
    ];
    for (name, scheme, flags, named) in others {
        make(name, scheme, flags);
        let output = run(&["merge", &folder.path("a.json"), &folder.path(name)]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len(), stderr.lines().count()), (Some(2), 0, 1), "{stderr}");
        assert!(stderr.contains(name) && named.iter().all(|part| stderr.contains(part)), "{stderr}");
    }
    // What cannot be read, one alone, and a moment that makes no sense.
    std::fs::write(folder.path("no.json"), "{}").unwrap();
    for (arguments, code, named) in [
        (vec!["merge".to_owned(), folder.path("a.json"), folder.path("no.json")], 1, "not a run"),
        (vec!["merge".to_owned(), folder.path("a.json")], 2, "<RUN>"),
        (vec!["udp://localhost".to_owned(), "--at".to_owned(), "noon".to_owned()], 2, "'noon'"),
        (vec!["udp://localhost".to_owned(), "--at".to_owned(), "1999-12-31T23:59:59Z".to_owned()], 2, "has passed"),
    ] {
        let output = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(code), 1), "{stderr}");
        assert!(stderr.contains(named), "{stderr}");
    }
}

#[test]
fn a_measurement_begins_no_sooner_than_it_was_told() {
    let (folder, server) = (Folder::new("merge-at"), RealServer::start());
    let (moment, nanos) = in_milliseconds(2000);
    let url = format!("udp://{}", server.address);
    let file = folder.path("run.json");
    let made = run(&[&url, "-n", "50", "-w", "100ms", "--at", &moment, "-q", "-o", &file]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let start = folder.read("run.json").time.start_unix_ns;
    // How much later a crowded machine makes it is not asked.
    assert!(start >= nanos, "{} ns too early", nanos - start);
}

/// The lines of `tools/deploy/README.md` between the fence that begins like this and the next.
fn recipe(begins: &str) -> String {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/README.md")).unwrap();
    let block = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    block
        .into_iter()
        .find(|block| block.starts_with(begins))
        .unwrap_or_else(|| panic!("no recipe begins with {begins}"))
}

/// Runs a recipe as it stands, but for the target and the length, in a directory of its own.
fn follow(name: &str, recipe: &str) {
    let (folder, server) = (Folder::new(name), RealServer::start());
    let target = format!("udp://{}", server.address);
    let script = recipe.replace("udp://server.example", &target).replace("-d 30s", "-d 400ms -w 50ms -i 50ms");
    assert!(script.contains(&target) && script.contains("400ms"), "{script}");
    let programs = std::path::Path::new(env!("CARGO_BIN_EXE_shout-load")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let followed =
        Command::new("bash").args(["-ec", &script]).current_dir(&folder.0).env("PATH", path).output().unwrap();
    assert!(followed.status.success(), "{script}: {}", String::from_utf8_lossy(&followed.stderr));
    let all = folder.read("all.html");
    let merged = all.merged.unwrap();
    assert_eq!((merged.parts.len(), all.config.rate), (4, Some(40_000.0)));
    assert_eq!(all.counts.replied, merged.parts.iter().map(|part| part.counts.replied).sum::<u64>());
}

#[test]
fn the_recipe_for_a_shell_works() {
    follow("merge-shell", &recipe("at=$(date -Iseconds -d '+5 sec')\nfor "));
}

#[test]
fn the_recipe_for_gnu_parallel_works() {
    let version = Command::new("parallel").arg("--version").output();
    if !version.is_ok_and(|run| String::from_utf8_lossy(&run.stdout).starts_with("GNU parallel")) {
        eprintln!("skipped: there is no GNU parallel");
        return;
    }
    follow("merge-parallel", &recipe("at=$(date -Iseconds -d '+5 sec')\nseq "));
}

#[test]
fn the_command_of_the_kubernetes_job_prints_a_run_that_merges() {
    let (folder, server) = (Folder::new("merge-job"), RealServer::start());
    let job = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/kubernetes/load.yaml")).unwrap();
    let args = job.lines().find_map(|line| line.trim().strip_prefix("args: ")).unwrap();
    let words: Vec<String> = serde_json::from_str(args).unwrap();
    let (moment, _) = in_milliseconds(2500);
    let url = format!("udp://{}", server.address);
    let replaced = words.iter().map(|word| match word.as_str() {
        "MOMENT" => moment.as_str(),
        "30s" => "300ms",
        "udp://$(SHOUT_SERVICE_HOST)" => url.as_str(),
        other => other,
    });
    let arguments: Vec<&str> = replaced.collect();
    assert_eq!(arguments.iter().zip(&words).filter(|(now, before)| **now != before.as_str()).count(), 3, "{words:?}");
    // What a pod says on either stream is its log, and the log is the file.
    let pods = ["run-0.json", "run-1.json"].map(|name| {
        let log = std::fs::File::create(folder.path(name)).unwrap();
        let [stdout, stderr] = [log.try_clone().unwrap(), log].map(Stdio::from);
        command(&[&arguments[..], &["-w", "50ms"]].concat()).stdout(stdout).stderr(stderr).spawn().unwrap()
    });
    for mut pod in pods {
        assert!(pod.wait().unwrap().success());
    }
    let output = run(&["merge", &folder.path("run-0.json"), &folder.path("run-1.json"), "--json"]);
    let all: Document = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(all.config.rate, Some(20_000.0));
}
