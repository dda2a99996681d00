//! A run as one HTML page, which needs no network and is itself a saved run. Pure: no I/O.
//!
//! Marks are SVG that is stretched to the width there is; words are HTML, placed in percent, so that they keep their
//! size on a phone and on paper. Everything is drawn here: the few lines of script only read out what the pointer is on.

mod plot;
mod spectrum;
mod timeline;

use std::fmt::Write;

use super::document::{Document, Latency, PERCENTILES, Process};
use super::files;
use super::screen::{count, micros, per_second, percent, percentile, plural, seconds};
use crate::verdict::Verdict;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// What stands before and after the run in a page.
const RUN_BEGINS: &str = "<script type=\"application/json\" id=\"run\">";
const RUN_ENDS: &str = "</script>";

/// The page of a run.
pub fn html(run: &Document) -> String {
    let title = escape(&format!("{} · shout-load", run.target.url));
    let parts = [
        banner(run),
        format!("<p class=\"summary\">{}</p>", escape(&summary(run))),
        section("Latency", &(spectrum::figure(run) + &latencies(run))),
        section("Over time", &timeline::figure(run)),
        section("Messages", &messages(run)),
        section("How it was measured", &setting(run)),
    ];
    // A page that is read from a file may load nothing: what is not in it is not asked for.
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style>\n</head>\n<body>\n{}\n\
         {RUN_BEGINS}{}{RUN_ENDS}\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        parts.join("\n"),
        // Inside a script nothing ends it but its end tag, and JSON may write the sign as a number.
        files::json(run).replace('<', "\\u003c"),
    )
}

/// The run inside a page; `None` if there is none.
pub fn run_inside(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once(RUN_BEGINS)?;
    Some(rest.split_once(RUN_ENDS)?.0)
}

/// The verdict on the measurement and its reasons, under what must be known first: wrong bytes, or no reply.
fn banner(run: &Document) -> String {
    let counts = &run.counts;
    let wrong = counts.corrupt + counts.truncated;
    let verdict = run.validity.verdict;
    let (class, word) = if wrong > 0 {
        ("bad", "WRONG BYTES")
    } else if counts.replied == 0 {
        ("bad", "NO REPLY")
    } else {
        let class = match verdict {
            Verdict::Valid => "good",
            Verdict::Suspect => "doubt",
            Verdict::Invalid => "bad",
        };
        (class, verdict.name())
    };
    let mut reasons = Vec::new();
    if wrong > 0 {
        reasons.push(format!("{} replies were corrupted or cut short", count(wrong)));
    }
    if run.time.interrupted {
        reasons.push("stopped before its time".into());
    }
    let failed = run.validity.checks.iter().filter(|check| !check.ok);
    reasons.extend(failed.map(|check| check.why.clone()));
    if reasons.is_empty() {
        reasons.push("every check of the measurement is good, and every byte of every reply verified".into());
    }
    format!(
        "<header class=\"banner {class}\"><strong>{word}</strong><span>{}</span></header>\n<h1>{}</h1>",
        escape(&reasons.join("; ")),
        escape(&run.target.url)
    )
}

fn summary(run: &Document) -> String {
    let counts = &run.counts;
    let response = &run.latency.response;
    let within = |name: &str| response.p.get(name).map_or_else(String::new, |quantile| plot::latency(quantile.v));
    let demand = match run.config.rate {
        Some(rate) => format!("was offered {} messages a second", count(rate as u64)),
        None => "was kept busy by a closed loop".into(),
    };
    let answers = if counts.replied == 0 {
        String::new()
    } else {
        format!(
            " Half of the replies came within {}, 99% within {}; the slowest took {}.",
            within("50"),
            within("99"),
            plot::latency(response.max)
        )
    };
    format!(
        "For {} the server {demand}: {} were sent ({}/s), {} answered rightly ({}), {} lost.{answers}",
        seconds(run.time.measured_ns),
        count(counts.sent),
        count(per_second(counts.sent, run.time.measured_ns)),
        count(counts.replied),
        percent(counts.replied, counts.sent),
        count(counts.lost),
    )
}

fn latencies(run: &Document) -> String {
    let mut text = String::from("<div class=\"scroll\"><table><thead><tr><th>µs</th>");
    for (name, _) in PERCENTILES {
        let _ = write!(text, "<th>p{name}</th>");
    }
    text += "<th>max</th><th>mean</th></tr></thead><tbody>";
    let latency = &run.latency;
    let rows = [("response", &latency.response), ("service", &latency.service), ("lag", &latency.lag)];
    let connect = latency.connect.iter().map(|connect| ("connect", connect));
    for (name, row) in rows.into_iter().chain(connect) {
        let _ = write!(text, "<tr><th>{name}</th>");
        for (percent, _) in PERCENTILES {
            let _ = write!(text, "<td>{}</td>", percentile(row, percent));
        }
        let _ = write!(text, "<td>{}</td><td>{}</td></tr>", value(row, row.max), value(row, row.mean));
    }
    text += "</tbody></table></div><p class=\"note\">";
    text += if run.config.rate.is_some() {
        "Response: from the intended send time to the reply, free of coordinated omission. Service: from the actual \
         send. Lag: from the intended to the actual send."
    } else {
        "A closed loop waits for the server, and so omits the waiting of users who would not."
    };
    text + "</p>"
}

fn value(latency: &Latency, nanos: u64) -> String {
    if latency.n == 0 { "-".into() } else { micros(nanos) }
}

fn messages(run: &Document) -> String {
    let counts = &run.counts;
    let rows = [
        ("scheduled", counts.scheduled),
        ("shed", counts.shed),
        ("sent", counts.sent),
        ("replied", counts.replied),
        ("lost", counts.lost),
        ("late", counts.late),
        ("duplicated", counts.dup),
        ("reordered", counts.reordered),
        ("corrupted", counts.corrupt),
        ("truncated", counts.truncated),
        ("stray", counts.stray),
        ("cut off under way", counts.in_flight_at_end),
        ("send blocked", counts.send_blocked),
    ];
    let cells = rows.iter().map(|(name, number)| format!("<div><dt>{name}</dt><dd>{}</dd></div>", count(*number)));
    format!("<dl class=\"counts\">{}</dl>", cells.collect::<Vec<_>>().concat())
}

fn setting(run: &Document) -> String {
    let Document { config, env, time, .. } = run;
    let load = match (config.rate, &config.arrivals) {
        (Some(rate), Some(arrivals)) => format!("open loop, {arrivals}, {} msg/s", count(rate as u64)),
        _ => "closed loop".into(),
    };
    let window = config.pipeline.map(|window| format!(", {} in flight each", count(window))).unwrap_or_default();
    let lanes = [("udp", config.udp_sockets, "UDP socket"), ("tcp", config.tcp_connections, "TCP connection")];
    let lanes = lanes.iter().filter(|(name, ..)| run.per_transport.contains_key(*name));
    let lanes: Vec<String> = lanes.map(|(_, number, what)| plural(*number, what)).collect();
    let process = |process: &Process| {
        format!(
            "pid {} {}, cpu {}, {} µs a message",
            process.pid,
            process.name,
            percent(process.cpu_ns, process.wall_ns),
            micros(process.cpu_ns_per_message)
        )
    };
    let pinned = env.pinned_to.map(|cpu| format!(", generator on cpu {cpu}")).unwrap_or_default();
    let rows = [
        ("target", format!("{} ({})", run.target.url, run.target.resolved.join(", "))),
        ("load", load + &window),
        ("messages", format!("{} on {}", super::by_size::size(&config.size), lanes.join(" and "))),
        (
            "time",
            format!(
                "warm-up {} (excluded), measured {}, drain {}",
                seconds(time.warmup_ns),
                seconds(time.measured_ns),
                seconds(time.drain_ns)
            ),
        ),
        ("kernel", format!("{}, {} processors{pinned}", env.kernel, env.cores)),
        ("server", run.server.as_ref().map_or_else(|| "not on this machine, or not found".into(), process)),
        ("generator", run.generator.as_ref().map_or_else(|| "-".into(), process)),
        ("program", format!("shout-load {}", run.tool.version)),
        ("seed", run.seed.clone()),
    ];
    let rows = rows.iter().map(|(name, text)| format!("<dt>{name}</dt><dd>{}</dd>", escape(text)));
    let rows = rows.collect::<Vec<_>>().concat();
    format!("<dl class=\"setting\">{rows}</dl><pre>{}</pre>", escape(&run.command.join(" ")))
}

fn section(title: &str, body: &str) -> String {
    format!("<section>\n<h2>{title}</h2>\n{body}\n</section>")
}

/// Text that is no markup.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_line_says_is_no_markup() {
        assert_eq!(escape("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
    }

    #[test]
    fn the_script_is_small() {
        assert!(SCRIPT.len() <= 10 << 10);
    }

    #[test]
    fn a_page_without_a_run_is_told_from_one_with() {
        assert_eq!(run_inside("<p>no run</p>"), None);
        assert_eq!(run_inside(&format!("<p>{RUN_BEGINS}{{}}{RUN_ENDS}")), Some("{}"));
    }
}
