//! What one transport takes beside the other, measured at a real server.

use crate::servers::{RealServer, measure, run};
use shout_load::interference::{BLOCKS, Figure};

#[test]
fn each_transport_is_measured_alone_and_beside_the_other_on_the_same_connections() {
    let server = RealServer::start();
    let target = format!("echo://{}", server.address);
    let files = ["json", "html"].map(|kind| {
        std::env::temp_dir()
            .join(format!("shout-load-interference-{}.{kind}", std::process::id()))
            .display()
            .to_string()
    });
    let load = [&target, "-R", "4k", "-d", "400ms", "-w", "50ms", "-c", "2", "-t", "2", "--interference"];
    let (result, code) = measure(&[&load[..], &["-o", &files[0], "-o", &files[1]]].concat());
    let found = result.interference.unwrap();
    assert_eq!((found.blocks, found.part_ns, code), (BLOCKS, 50_000_000, 0));
    assert_eq!((result.connections.opened, result.connections.closed, result.counts.lost), (2, 0, 0));
    let named: Vec<(&str, Figure)> =
        found.effects.iter().map(|effect| (effect.transport.as_str(), effect.figure)).collect();
    let expected = ["udp", "tcp"].into_iter().flat_map(|name| Figure::OPEN.map(|figure| (name, figure)));
    assert!(named.into_iter().eq(expected));
    for effect in &found.effects {
        // On a busy machine there may be a part in which nothing was sent, and then nothing can be said.
        let Some(ratio) = effect.ratio else { continue };
        assert!(ratio.low <= ratio.by && ratio.by <= ratio.high, "{effect:?}");
        assert!(effect.alone > 1000.0 && effect.together > 1000.0, "a microsecond at least: {effect:?}");
    }
    let screen = String::from_utf8(run(&["report", &files[0]]).stdout).unwrap();
    let page = std::fs::read_to_string(&files[1]).unwrap();
    for file in &files {
        std::fs::remove_file(file).unwrap();
    }
    let table = screen.split_once("interference   10 blocks of 6 x 0.05s").unwrap().1;
    let rows = ["UDP", "TCP"].map(|name| {
        let beside = table.lines().filter(|line| line.trim_start().starts_with(&format!("{name} beside "))).count();
        let figures = Figure::OPEN.map(|figure| format!(" {name} {}  ", figure.name()));
        (beside, figures.map(|start| table.lines().filter(|line| line.contains(&start)).count()))
    });
    assert_eq!(rows, [(1, [1; 4]); 2], "a row for each figure of each transport, and what came of them: {screen}");
    assert!(page.contains("<h2>One transport beside the other</h2>") && page.contains("TCP service p99"));
}

#[test]
fn interference_takes_two_transports_and_a_rate_that_stays() {
    for (arguments, named) in [
        (&["udp://localhost"][..], "not 'udp://localhost"),
        (&[], "not a server of our own"),
        (&["echo://localhost", "--ramp", "1k:2k"], "--ramp"),
        (&["echo://localhost", "--plan", "1s@1k"], "--plan"),
    ] {
        let output = run(&[arguments, &["--interference"]].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{stderr}");
        assert!(stderr.contains("'--interference'") && stderr.contains(named), "{stderr}");
    }
}
