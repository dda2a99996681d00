//! The end of the screen: both processes, the floor, where losses went, and the verdict. Pure: no I/O.

use std::fmt::Write;

use super::document::{Document, Process};
use super::screen::{busy, count, micros, per_second};
use crate::verdict::Verdict;

/// Bytes in a mebibyte.
const MEBI: f64 = 1_048_576.0;

/// A column of the table of latencies: `LOST` stands for a percentile that lies among the messages lost or never sent.
pub(super) fn all_in(text: &mut String, run: &Document, names: &[&str]) -> std::fmt::Result {
    if run.counts.unanswered() == 0 {
        return Ok(()); // the same as the response times
    }
    let column = |name: &&str| match run.loss.all_in.get(*name) {
        Some(Some(value)) => micros(*value),
        Some(None) => "LOST".into(),
        None => "-".into(),
    };
    write!(text, "  {:<12}", "all-in †")?;
    for name in names.iter().chain(&["100"]) {
        write!(text, " {:>10}", column(name))?;
    }
    writeln!(text, "\n  † a message without a right answer, or never sent, took for ever")
}

/// How well the 99th percentile is known.
pub(super) fn confidence(text: &mut String, run: &Document) -> std::fmt::Result {
    let response = &run.latency.response;
    let (Some(p99), Some(size)) = (response.p.get("99"), response.n_eff) else { return Ok(()) };
    let end = |end: Option<u64>| end.map_or_else(|| "?".into(), micros);
    writeln!(
        text,
        "  95% CI of p99 [{} .. {}] us   {} answers are worth {} independent ones",
        end(p99.lo),
        end(p99.hi),
        count(response.n),
        count(size)
    )
}

/// Where lost messages went, if any were lost, and what TCP did about its losses.
pub(super) fn losses(text: &mut String, run: &Document) -> std::fmt::Result {
    let loss = &run.loss;
    let parts = &loss.attribution;
    let causes = [
        (parts.server_rcvbuf, "dropped by the SERVER's full receive buffer (it should raise SO_RCVBUF or be faster)"),
        (parts.client_rcvbuf, "answered, and dropped by OUR full receive buffer (raise net.core.rmem_max)"),
        (parts.refused, "REFUSED: nobody listened at the server's port"),
        (parts.never_sent, "never sent: our network interface was full"),
        (parts.late, "answered too late"),
        (parts.unknown, "without a trace on this machine"),
    ];
    let known: Vec<String> = causes
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, why)| format!("{} {why}", count(*number)))
        .collect();
    if !known.is_empty() {
        let longest = count(loss.longest_burst);
        writeln!(text, "  cause    {}; longest burst {longest}", known.join("; "))?;
    }
    if let (Some(retransmits), Some(overflows)) = (loss.retransmits, loss.listen_overflows) {
        writeln!(
            text,
            "  tcp      on this machine: retransmits +{}   listen overflows +{}",
            count(retransmits),
            count(overflows)
        )?;
    }
    Ok(())
}

/// Both sides, the floor and the verdict.
pub(super) fn text(text: &mut String, run: &Document) -> std::fmt::Result {
    if let Some(server) = &run.server {
        writeln!(text, "  server      {}", process(server))?;
    }
    if let Some(generator) = &run.generator {
        let lag = run.latency.lag.p.get("99").map_or_else(|| "-".into(), |quantile| micros(quantile.v));
        let steal = run.validity.checks.iter().find(|check| check.id == "steal");
        let steal = steal.map_or_else(String::new, |check| format!("   steal {:.1}%", 100.0 * check.value));
        writeln!(text, "  generator   {}   lag p99 {lag} us{steal}", process(generator))?;
    }
    if let Some(floor) = &run.floor {
        let start = floor.start.map_or_else(String::new, |start| format!("start +{}   ", micros(start.p50)));
        writeln!(
            text,
            "  floor       null echo p50 {}, p99 {}   wake-up {}   timer +{}   {start}clock {:.3} us",
            micros(floor.echo.p50),
            micros(floor.echo.p99),
            micros(floor.wake.p50),
            micros(floor.timer.p50),
            floor.clock_ns as f64 / 1000.0
        )?;
    }
    verdict(text, run)?;
    for gate in &run.gates {
        let (outcome, colon) = (if gate.ok { "passed" } else { "FAILED" }, if gate.why.is_empty() { "" } else { ": " });
        writeln!(text, "  gate        {} {outcome}{colon}{}", gate.expr, gate.why)?;
    }
    Ok(())
}

/// One line of what is good, and a line for everything that is not, the worst first.
fn verdict(text: &mut String, run: &Document) -> std::fmt::Result {
    let validity = &run.validity;
    let good: Vec<&str> = validity.checks.iter().filter(|check| check.ok).map(|check| check.why.as_str()).collect();
    let good = good.join(" · ");
    if validity.verdict == Verdict::Valid {
        return writeln!(text, "  {:<11} {good}", validity.verdict.name());
    }
    let mut bad: Vec<_> = validity.checks.iter().filter(|check| !check.ok).collect();
    bad.sort_by_key(|check| std::cmp::Reverse(check.verdict));
    let mut name = validity.verdict.name();
    for check in bad {
        writeln!(text, "  {name:<11} {}", check.why)?;
        name = "";
    }
    if good.is_empty() { Ok(()) } else { writeln!(text, "  {:<11} {good}", "otherwise") }
}

fn process(process: &Process) -> String {
    let spun = process.spun_ns.filter(|&spun| spun > 0);
    let spun = spun.map_or_else(String::new, |spun| format!(" ({} polling)", busy(spun, process.wall_ns)));
    let together = process.together.map_or_else(String::new, |number| format!(" and {} more", number - 1));
    let switches = process.voluntary_switches.zip(process.involuntary_switches);
    let switches = switches.map_or_else(
        || "unknown".into(),
        |(voluntary, involuntary)| {
            let rate = count(per_second(voluntary + involuntary, process.wall_ns));
            format!("{rate}/s, involuntary {}", count(involuntary))
        },
    );
    format!(
        "pid {} {}{together}   cpu {}{spun}   {} us a message   switches {switches}   rss {:.1} MiB",
        process.pid,
        process.name,
        busy(process.cpu_ns, process.wall_ns),
        micros(process.cpu_ns_per_message),
        process.resident_bytes as f64 / MEBI
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::Attribution;
    use crate::report::document::Document;
    use crate::verdict::{Facts, judge};

    #[test]
    fn the_verdict_names_what_is_wrong_before_what_is_right() {
        let mut run = Document::for_tests();
        run.validity = judge(&Facts { lag_p99: 1_900_000, service_p50: 38_000, ..Facts::default() });
        let mut screen = String::new();
        text(&mut screen, &run).unwrap();
        let lines: Vec<&str> = screen.lines().collect();
        assert!(
            lines[0].starts_with("  INVALID     the generator was behind: lag p99 1,900.0 us is 50.0 times"),
            "{screen}"
        );
        assert!(lines[1].starts_with("              worth 0 independent"), "{screen}");
    }

    #[test]
    fn switches_that_the_kernel_has_forgotten_are_not_said_to_be_none() {
        let mut server = Process::for_tests();
        (server.voluntary_switches, server.involuntary_switches) = (Some(2), Some(1));
        assert!(process(&server).contains("switches 3/s, involuntary 1 "), "{}", process(&server));
        (server.voluntary_switches, server.involuntary_switches) = (None, None);
        assert!(process(&server).contains("switches unknown "), "{}", process(&server));
    }

    #[test]
    fn processor_time_is_said_to_a_tenth_and_polling_by_its_name() {
        let mut generator = Process::for_tests();
        (generator.cpu_ns, generator.spun_ns) = (591_190_000, Some(351_740_000));
        assert!(process(&generator).contains("cpu 59.1% (35.2% polling) "), "{}", process(&generator));
    }

    #[test]
    fn losses_are_explained() {
        let mut run = Document::for_tests();
        run.counts.lost = 5;
        run.loss.attribution = Attribution { server_rcvbuf: 3, unknown: 2, ..Attribution::default() };
        run.loss.all_in = [("50".to_owned(), Some(41_200)), ("100".to_owned(), None)].into();
        let mut screen = String::new();
        losses(&mut screen, &run).unwrap();
        all_in(&mut screen, &run, &["50"]).unwrap();
        for part in ["3 dropped by the SERVER's", "2 without a trace", "41.2       LOST"] {
            assert!(screen.contains(part), "{part:?} is not in\n{screen}");
        }
    }
}
