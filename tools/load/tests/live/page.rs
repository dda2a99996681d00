//! Pages where there is little room, in the dark, and on paper.

use crate::servers::{RealServer, measure};
use crate::showing::{folder, in_chromium_with, saved};

/// Everything that stands out to the right of its window, but for what can be scrolled in its own frame; and how the
/// page looks.
const LOOK: &str = "
    const seen = {};
    const all = [...document.body.querySelectorAll('*')];
    const out = all.filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('.scroll'));
    seen.out = out.map((one) => one.tagName + '.' + one.className).join();
    seen.inner = innerWidth;
    seen.scrolls = document.documentElement.scrollWidth > innerWidth;
    const words = [...document.querySelectorAll('.plot .x, .plot .y')].map((one) => one.getBoundingClientRect());
    seen.words = words.every((box) => box.width === 0 || (box.left >= 0 && box.right <= innerWidth + 1));
    const light = (color) => color.match(/[0-9.]+/g).slice(0, 3).reduce((sum, part) => sum + +part, 0) / 3;
    const style = getComputedStyle(document.body);
    seen.dark = light(style.backgroundColor) < 60 && light(style.color) > 180;
    parent.postMessage(seen, '*');";

/// A browser's own window is never narrower than 500 pixels, so the page is put into a frame.
const FRAME: &str = "<!doctype html><title>frame</title><script>
    addEventListener('message', (event) => Object.assign(document.body.dataset, event.data));
    </script><body><iframe width=400 height=3000 style='border:0' src='PAGE'></iframe></body>";

/// That a page has room in 400 pixels, in light and in dark, and cuts nothing off. Without a browser nothing is asserted.
pub(crate) fn assert_narrow(html: &std::path::Path, name: &str) {
    for (look, scheme, is_dark) in [("light", "1", false), ("dark", "0", true)] {
        let name = format!("{name}-{look}");
        let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
        let page = folder().join(format!("{name}.html"));
        let text = std::fs::read_to_string(html).unwrap();
        std::fs::write(&page, text.replace("</body>", &format!("<script>{LOOK}</script></body>"))).unwrap();
        let frame = folder().join(format!("{name}-frame.html"));
        std::fs::write(&frame, FRAME.replace("PAGE", page.file_name().unwrap().to_str().unwrap())).unwrap();
        let flags = ["--window-size=1280,2000", "--virtual-time-budget=5000", &scheme];
        let Some(dom) = in_chromium_with(&frame, &name, "", &flags) else { return };
        let body = dom.split("<body").nth(1).unwrap().split('>').next().unwrap();
        let dark = format!("data-dark=\"{is_dark}\"");
        for expected in ["data-out=\"\"", "data-inner=\"400\"", "data-scrolls=\"false\"", "data-words=\"true\"", &dark]
        {
            assert!(body.contains(expected), "{expected} is not in {body}");
        }
    }
}

#[test]
fn a_narrow_page_cuts_nothing_off_in_light_and_dark() {
    let [_, html] = saved("narrow");
    assert_narrow(&html, "narrow");
}

#[test]
fn the_servers_processor_time_stands_in_every_interval_and_adds_up() {
    let server = RealServer::start();
    let target = format!("udp://{}", server.address);
    let (run, _) = measure(&[&target, "-d", "600ms", "-R", "4k", "-w", "0", "-i", "100ms"]);
    if run.server.is_none() {
        eprintln!("skipped: this system does not tell what a process used");
        return;
    }
    let parts: Vec<u64> = run.intervals.iter().map(|interval| interval.server_cpu_ns.unwrap()).collect();
    let whole = run.server.unwrap().cpu_ns;
    let sum: u64 = parts.iter().sum();
    assert!(parts.len() >= 6 && sum > 0, "{parts:?}");
    // The whole was read a moment before and after the parts.
    assert!(sum <= whole && sum > whole / 2, "{sum} of {whole}");
}
