//! The page of a trace: made by the program from what the real server took down, and looked at by a browser.

use std::path::PathBuf;

use crate::servers::{RealServer, run};
use crate::showing::{folder, in_chromium};
use rustix::process::{Pid, Signal, kill_process};

/// What a server took down under a little of everything, as a file.
fn trace(name: &str) -> PathBuf {
    let path = folder().join(format!("{name}.json"));
    let server = RealServer::start_with(&["--trace", path.to_str().unwrap()]);
    let target = format!("echo://{}", server.address);
    assert!(run(&[&target, "-n", "200", "-w", "0s", "-c", "3"]).status.success());
    // Much at once, so that the budget of a drive is used up now and then.
    let target = format!("tcp://{}", server.address);
    assert!(run(&[&target, "-n", "200", "-w", "0s", "-c", "2", "-p", "20", "-s", "256KiB"]).status.success());
    kill_process(Pid::from_raw(server.id().cast_signed()).unwrap(), Signal::TERM).unwrap();
    assert_eq!(server.wait(), Some(0));
    path
}

#[test]
fn a_trace_becomes_a_page_that_explains_itself() {
    let json = trace("traced");
    let html = json.with_extension("html");
    let output = run(&["trace", json.to_str().unwrap()]);
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), html.to_str().unwrap());
    // Every row in turn is searched for something, with the pointer, until it has been explained.
    let script = "
        const seen = document.body.dataset;
        const canvas = document.getElementById('rows'), box = canvas.getBoundingClientRect();
        document.getElementById('all').click();
        const said = new Set(), rows = Math.round(box.height / 24);
        const search = () => {
            for (let row = 0; row < rows; row++) for (let x = 130; x < box.width; x += 3) for (const y of [4, 16]) {
                const where = { clientX: box.left + x, clientY: box.top + row * 24 + y, bubbles: true };
                canvas.dispatchEvent(new PointerEvent('pointermove', where));
                const tip = document.getElementById('tip');
                if (!tip.hidden) said.add(row + ': ' + tip.textContent.split(' ').slice(0, 2).join(' '));
            }
        };
        search();
        document.getElementById('in').click();
        search();
        seen.said = [...said].join('|');
        seen.range = document.getElementById('range').textContent;
        document.querySelector('.view').dispatchEvent(new KeyboardEvent('keydown', { key: '0' }));
        seen.whole = document.getElementById('range').textContent !== seen.range;
        const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        const colours = new Set();
        for (let at = 0; at < pixels.length; at += 4) colours.add(pixels[at] << 16 | pixels[at + 1] << 8 | pixels[at + 2]);
        seen.colours = colours.size > 8;
        const sheet = [...document.querySelectorAll('*')].filter((one) => one.getBoundingClientRect().right > innerWidth);
        seen.overflow = sheet.length;";
    let Some(dom) = in_chromium(&html, "trace", script) else { return };
    let body = dom.split("<body").nth(1).unwrap().split('>').next().unwrap();
    // The loop, UDP, the listener and at least the six connections of the first load's two transports.
    for expected in [
        "data-overflow=\"0\"",
        "data-colours=\"true\"",
        "data-whole=\"true\"",
        "0: The loop",
        "0: One turn:",
        "1: ",
        "2: Connection ",
        "3: A drive",
        "5: ",
        "An edge:",
    ] {
        assert!(body.contains(expected), "{expected:?} is not in {body}");
    }
    for never in ["undefined", "NaN"] {
        assert!(!body.contains(never), "{body}");
    }
}

#[test]
fn what_is_not_a_whole_trace_is_refused_in_one_line() {
    let path = folder().join("not-a-trace.json");
    for text in ["", "{\"traceEvents\":[", "{\"traceEvents\":[{}],\"otherData\":{\"program\":\"another\"}}", "[1]"] {
        std::fs::write(&path, text).unwrap();
        let output = run(&["trace", path.to_str().unwrap()]);
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{text}: {line}");
        assert!(line.contains("cannot read") && line.contains("not-a-trace.json"), "{line}");
    }
}
