//! The end of a run for people: plain text, about twenty-five lines. Pure: no I/O.

use std::fmt::Write;

use super::document::{Counts, Document, Latency, PERCENTILES};
use super::{closing, distribution};
use crate::clock::{Nanos, SECOND};

/// The screen of one run.
pub fn text(run: &Document) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = header(&mut text, run);
    let _ = super::merged::lines(&mut text, run);
    let _ = traffic(&mut text, run);
    let _ = latencies(&mut text, run);
    let _ = super::breakdown::lines(&mut text, run);
    let _ = super::worst::lines(&mut text, run);
    let _ = super::interference::lines(&mut text, run);
    let _ = super::by_size::table(&mut text, run);
    let _ = distribution::lines(&mut text, &run.latency.response);
    let _ = super::sparkline::over_time(&mut text, run);
    let _ = closing::text(&mut text, run);
    text
}

fn header(text: &mut String, run: &Document) -> std::fmt::Result {
    let config = &run.config;
    let mut parts = Vec::new();
    match (config.rate, &config.arrivals) {
        (Some(rate), Some(arrivals)) => parts.push(format!("open loop · {arrivals} · {} msg/s", count(rate as u64))),
        _ => parts.push("closed loop".into()),
    }
    if let Some(late) = config.late.as_deref().filter(|&late| late != "queue") {
        parts.push(format!("late {late}"));
    }
    if let Some(plan) = &config.plan {
        parts.push(format!("plan {plan}"));
    }
    if let Some(window) = config.pipeline {
        parts.push(format!("{} in flight each", count(window)));
    }
    match &config.payload {
        Some(file) => parts.push(format!("{} of {file}", super::by_size::size(&config.size))),
        None => parts.push(super::by_size::size(&config.size)),
    }
    if run.per_transport.contains_key("udp") {
        parts.push(plural(config.udp_sockets, "UDP socket"));
    }
    if run.per_transport.contains_key("tcp") {
        parts.push(plural(config.tcp_connections, "TCP connection"));
    }
    if let Some(threads) = config.threads {
        parts.push(plural(threads, "thread"));
    }
    if !run.env.threads_pinned_to.is_empty() {
        let cpus: Vec<String> = run.env.threads_pinned_to.iter().map(ToString::to_string).collect();
        parts.push(format!("on cpus {}", cpus.join(", ")));
    }
    if let Some(cpu) = run.env.pinned_to {
        parts.push(format!("on cpu {cpu}"));
    }
    match &run.merged {
        Some(merged) => parts.push(format!("merged from {}", plural(merged.parts.len(), "run"))),
        None => parts.push(format!("seed {}", run.seed)),
    }
    writeln!(text, "shout-load {}  {}  {}", run.tool.version, run.target.url, parts.join(" · "))?;
    let time = &run.time;
    let interrupted = if time.interrupted { " · interrupted" } else { "" };
    writeln!(
        text,
        "warm-up {} (excluded) · measured {} · drain {}{interrupted}   {}",
        seconds(time.warmup_ns),
        seconds(time.measured_ns),
        seconds(time.drain_ns),
        moment(time.start_unix_ns)
    )?;
    if let Some(until) = &run.until {
        writeln!(text, "{}", until.sentence())?;
    }
    writeln!(text)
}

fn traffic(text: &mut String, run: &Document) -> std::fmt::Result {
    let counts = &run.counts;
    let measured = run.rated_ns();
    let sent = format!("sent {} ({}/s", count(counts.sent), count(per_second(counts.sent, measured)));
    let replied = format!("replied {} ({})", count(counts.replied), percent(counts.replied, counts.sent));
    let megabits = per_second(counts.bytes_sent * 8, measured) as f64 / 1e6;
    match run.config.rate {
        Some(rate) => writeln!(
            text,
            "  offered  {}/s   {sent}, {})   {replied}   {megabits:.1} Mbit/s each way",
            count(rate as u64),
            percent(counts.sent, counts.scheduled)
        )?,
        None => writeln!(text, "  offered  as replies come   {sent})   {replied}   {megabits:.1} Mbit/s each way")?,
    }
    if run.per_transport.len() > 1 {
        for (name, part) in &run.per_transport {
            let Counts { sent, replied, lost, .. } = part.counts;
            let each = &part.latency;
            writeln!(
                text,
                "    {name}    sent {} ({}/s)   replied {}   lost {}   response p50 {} us, p99 {} us",
                count(sent),
                count(per_second(sent, measured)),
                count(replied),
                count(lost),
                percentile(&each.response, "50"),
                percentile(&each.response, "99")
            )?;
        }
    }
    writeln!(
        text,
        "  lost     {} ({})   late {}   duplicated {}   reordered {} (max extent {})   stray {}",
        count(counts.lost),
        percent(counts.lost, counts.sent),
        count(counts.late),
        count(counts.duplicated),
        count(counts.reordered),
        count(counts.reorder_extent_max),
        count(counts.stray)
    )?;
    if counts.shed > 0 {
        writeln!(
            text,
            "  shed     {} ({} of the schedule): late, and not sent",
            count(counts.shed),
            percent(counts.shed, counts.scheduled)
        )?;
    }
    let left = counts.never_sent().saturating_sub(counts.shed);
    if left > 0 {
        let share = percent(left, counts.scheduled);
        writeln!(text, "  left     {} ({share} of the schedule): still waiting when the time was up", count(left))?;
    }
    if counts.clamped > 0 {
        writeln!(text, "  clamped  {} times above a minute, kept as a minute", count(counts.clamped))?;
    }
    closing::losses(text, run)?;
    let unchanged = match counts.unchanged {
        0 => String::new(),
        some => format!(" ({} as sent, in lower case)", count(some)),
    };
    let verdict = if counts.corrupt + counts.truncated > 0 {
        "THE SERVER ANSWERS WRONG BYTES"
    } else if counts.replied > 0 {
        "every byte of every reply verified"
    } else {
        "NO REPLY"
    };
    writeln!(
        text,
        "  wrong    corrupted {}{unchanged}   truncated {}   {verdict}",
        count(counts.corrupt),
        count(counts.truncated)
    )?;
    if counts.in_flight_at_end > 0 {
        writeln!(text, "  cut off  {} messages were still under way", count(counts.in_flight_at_end))?;
    }
    connections(text, run)
}

fn connections(text: &mut String, run: &Document) -> std::fmt::Result {
    let connections = &run.connections;
    if let Some(connect) = &run.latency.connect {
        writeln!(
            text,
            "  connect  (us) p50 {}  p99 {}  max {}   opened {}{}, closed by the peer {}, reset {}, timed out {}",
            percentile(connect, "50"),
            percentile(connect, "99"),
            micros(connect.max),
            count(connections.opened),
            connections
                .opening_ns
                .map_or_else(String::new, |time| format!(" ({}/s)", count(per_second(connections.opened, time)))),
            count(connections.closed),
            count(connections.reset),
            count(connections.timeouts)
        )?;
    }
    if connections.refused > 0 {
        writeln!(text, "  refused  {} times: nobody listened", count(connections.refused))?;
    }
    super::crowd::lines(text, run)?;
    writeln!(text)
}

fn latencies(text: &mut String, run: &Document) -> std::fmt::Result {
    write!(text, "  latency (us)")?;
    for (name, _) in PERCENTILES {
        write!(text, " {:>10}", format!("p{name}"))?;
    }
    writeln!(text, " {:>10} {:>10}", "max", "mean")?;
    let latency = &run.latency;
    for (name, row) in [("response *", &latency.response), ("service", &latency.service), ("lag", &latency.lag)] {
        write!(text, "  {name:<12}")?;
        for (name, _) in PERCENTILES {
            write!(text, " {:>10}", percentile(row, name))?;
        }
        let (max, mean) = if row.n == 0 { ("-".into(), "-".into()) } else { (micros(row.max), micros(row.mean)) };
        writeln!(text, " {max:>10} {mean:>10}")?;
    }
    closing::all_in(text, run, &PERCENTILES.map(|(name, _)| name))?;
    let note = if run.config.rate.is_some() {
        "* from the intended send time, free of coordinated omission; service = from the actual send; lag = between them"
    } else {
        "* a closed loop waits for the server, and so omits the waiting of users who would not; ask with -R RATE"
    };
    writeln!(text, "  {note}")?;
    closing::confidence(text, run)?;
    writeln!(text)
}

pub(super) fn percentile(latency: &Latency, name: &str) -> String {
    latency.p.get(name).map_or_else(|| "-".into(), |quantile| micros(quantile.v))
}

/// Microseconds with one decimal: `4,120.0`.
pub(crate) fn micros(nanos: Nanos) -> String {
    let tenths = (nanos + 50) / 100;
    format!("{}.{}", count(tenths / 10), tenths % 10)
}

/// The share of a time that was spent on a processor, to a tenth of a percent.
pub(super) fn busy(used: Nanos, time: Nanos) -> String {
    if time == 0 { "-".into() } else { format!("{:.1}%", 100.0 * used as f64 / time as f64) }
}

/// A moment since 1970, to the second: `2026-11-22 07:31:02 UTC`.
pub(super) fn moment(unix_nanos: u64) -> String {
    let moment = jiff::Timestamp::from_nanosecond(i128::from(unix_nanos));
    moment.map_or_else(|_| String::new(), |moment| moment.strftime("%F %T UTC").to_string())
}

pub(super) fn seconds(nanos: Nanos) -> String {
    format!("{:.2}s", nanos as f64 / SECOND as f64)
}

pub(crate) fn per_second(number: u64, nanos: Nanos) -> u64 {
    if nanos == 0 { 0 } else { (number as f64 * SECOND as f64 / nanos as f64).round() as u64 }
}

/// A share that says 100 % or 0 % only when it is.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".into();
    }
    let share = 100.0 * part as f64 / whole as f64;
    let text = format!("{share:.3}%");
    match text.as_str() {
        "100.000%" if part == whole => "100%".into(),
        "100.000%" if part < whole => "99.999%".into(),
        "0.000%" if part == 0 => "0%".into(),
        "0.000%" => "<0.001%".into(),
        _ => text,
    }
}

/// A count with its thousands apart: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

pub(crate) fn plural(number: usize, what: &str) -> String {
    format!("{} {what}{}", count(number as u64), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_easily_and_do_not_lie() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
        assert_eq!(micros(4_120_049), "4,120.0");
        assert_eq!(percent(999_999, 1_000_000), "100.000%".replace("100.000", "99.999").as_str());
        assert_eq!(percent(9_999_999, 10_000_000), "99.999%");
        assert_eq!(percent(5, 5), "100%");
        assert_eq!(percent(1, 10_000_000), "<0.001%");
        assert_eq!(percent(0, 5), "0%");
        assert_eq!(percent(0, 0), "-");
        assert_eq!(moment(1_795_332_662_000_000_000), "2026-11-22 07:31:02 UTC");
    }

    #[test]
    fn what_came_back_in_lower_case_is_named() {
        let mut run = Document::for_tests();
        (run.counts.corrupt, run.counts.unchanged) = (20, 0);
        assert!(text(&run).contains("  wrong    corrupted 20   truncated 0   THE SERVER"), "{}", text(&run));
        run.counts.unchanged = 12;
        assert!(
            text(&run).contains("  wrong    corrupted 20 (12 as sent, in lower case)   truncated 0"),
            "{}",
            text(&run)
        );
    }
}
