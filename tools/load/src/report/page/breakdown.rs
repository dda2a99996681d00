//! What response times are made of, as bars. Pure: no I/O.

use std::fmt::Write;

use super::plot::{latency, legend};
use super::sheet::note;
use crate::report::breakdown::Band;
use crate::report::document::Document;
use crate::report::screen::count;

/// The parts in the order of time: class, name, and what it is.
type Part = (&'static str, &'static str, fn(&Band) -> u64);

const PARTS: [Part; 4] = [
    ("lag", "lag", |band| band.lag_ns),
    ("kernel", "own kernel", |band| band.own_kernel_ns),
    ("network", "network and server", |band| band.network_server_ns),
    ("wake", "own wake-up", |band| band.wake_up_ns),
];

/// A bar for each percentile of each transport; nothing without timestamps.
pub(super) fn figure(run: &Document) -> String {
    let mut bars = String::new();
    let mut samples = 0;
    for (name, transport) in &run.per_transport {
        let Some(breakdown) = &transport.breakdown else { continue };
        samples += breakdown.samples;
        for band in &breakdown.bands {
            // Writing to a String cannot fail.
            let _ = write!(
                bars,
                "<h3>{name} p{}: {}</h3><div class=\"stack\">{}</div>",
                band.percentile,
                latency(band.response_ns),
                stack(band)
            );
        }
    }
    if bars.is_empty() {
        return bars;
    }
    let names = PARTS.map(|(class, name, _)| (class, name));
    let explanation = format!(
        "Each bar is the whole of a response time around that percentile, divided by the kernel's timestamps on {} \
         messages: waiting to be sent, our side of the network stack, everything beyond it, and waking up to read the \
         answer. Only the third part is the server's and its network's.",
        count(samples)
    );
    format!("<figure class=\"breakdown\">{}{bars}</figure>{}", legend(&names), note(&explanation))
}

/// The parts of a bar, in proportion. What is too narrow for its words shows them in no place but its title.
fn stack(band: &Band) -> String {
    const ROOM_FOR_WORDS: f64 = 12.0; // percent
    let whole = band.response_ns.max(1) as f64;
    let part = |(class, name, nanos): &Part| {
        let nanos = nanos(band);
        let share = 100.0 * nanos as f64 / whole;
        let words = if share >= ROOM_FOR_WORDS { latency(nanos) } else { String::new() };
        format!(
            "<span class=\"{class}\" style=\"width:{share:.2}%\" title=\"{name} {} ({share:.0}%)\">{words}</span>",
            latency(nanos)
        )
    };
    PARTS.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_bar_fill_it() {
        let band = Band {
            percentile: "50".into(),
            response_ns: 40_000,
            lag_ns: 1_000,
            own_kernel_ns: 2_000,
            network_server_ns: 27_000,
            wake_up_ns: 10_000,
        };
        let text = stack(&band);
        let widths = text.split("width:").skip(1).map(|rest| rest.split('%').next().unwrap().parse::<f64>().unwrap());
        assert!((widths.sum::<f64>() - 100.0).abs() < 0.1, "{text}");
        assert!(text.contains(">27 µs<") && !text.contains(">1 µs<"), "{text}");
    }
}
