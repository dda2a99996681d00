//! The page of metrics: everything that is counted, as text. Pure: no I/O.
//!
//! `OpenMetrics` 1.0 (draft-richih-opsawg-openmetrics-00), and the format of Prometheus before it, version 0.0.4, for
//! tools that read no other. They differ in where a counter's `_total` stands, in what has a type of its own, and in the
//! line that ends the page.

use std::fmt::{Display, Write as _};

use super::State;
use crate::histograms::{Shown, Unit};
use crate::sockets::Buffer;

/// Which format a page has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// Prometheus's text format, 0.0.4.
    Text,
}

impl Format {
    /// What the page calls itself.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// What the page shows that never changes.
#[derive(Debug, Clone)]
pub struct Facts {
    /// How many loops there are.
    pub loops: usize,
    /// The most connections of all loops together.
    pub connections_max: usize,
    /// The most memory in bytes held for what peers are owed and do not take.
    pub unsent_max: usize,
    /// What the kernel granted to each socket.
    pub buffers: Vec<Buffer>,
}

/// What kind of metric a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
}

/// The whole page.
pub fn page(facts: &Facts, state: &State, format: Format) -> String {
    let mut page = Writer { text: String::with_capacity(32 << 10), format };
    let reading = &state.reading;
    page.build();
    page.gauge("loops", None, "Loops, each in a thread of its own.", facts.loops);
    page.gauge("draining", None, "1 once the server is stopping, before that 0.", u8::from(state.is_draining));
    page.gauge("connections", None, "Connections that are open.", reading.connections);
    page.gauge("connections_limit", None, "The most connections that may be open.", facts.connections_max);
    page.gauge("unsent_bytes", Some("bytes"), "Bytes that peers are owed and have not taken.", reading.unsent);
    let help = "The most bytes of memory held for what peers are owed and have not taken.";
    page.gauge("unsent_limit_bytes", Some("bytes"), help, facts.unsent_max);
    let help = "What the kernel granted to each socket, in bytes of payload.";
    page.family("buffer_bytes", Kind::Gauge, Some("bytes"), help);
    for Buffer { protocol, direction, granted, .. } in &facts.buffers {
        let labels = format!("{{protocol=\"{protocol}\",direction=\"{direction}\"}}");
        page.sample("buffer_bytes", "", &labels, granted);
    }
    for (name, help, value) in reading.counters.each() {
        page.family(name, Kind::Counter, name.ends_with("_bytes").then_some("bytes"), help);
        page.sample(name, "_total", "", value);
    }
    for histogram in reading.counters.histograms.each() {
        page.histogram(&histogram);
    }
    if format == Format::OpenMetrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

struct Writer {
    text: String,
    format: Format,
}

impl Writer {
    /// The lines before a family's samples. Help is not escaped: a test sees to it that none needs to be.
    fn family(&mut self, name: &str, kind: Kind, unit: Option<&str>, help: &str) {
        let (suffix, kind) = match (kind, self.format) {
            (Kind::Counter, Format::OpenMetrics) => ("", "counter"),
            (Kind::Counter, Format::Text) => ("_total", "counter"),
            (Kind::Gauge, _) => ("", "gauge"),
            (Kind::Histogram, _) => ("", "histogram"),
            (Kind::Info, Format::OpenMetrics) => ("", "info"),
            (Kind::Info, Format::Text) => ("_info", "gauge"),
        };
        self.line(format_args!("# TYPE shout_{name}{suffix} {kind}"));
        if let (Some(unit), Format::OpenMetrics) = (unit, self.format) {
            self.line(format_args!("# UNIT shout_{name} {unit}"));
        }
        self.line(format_args!("# HELP shout_{name}{suffix} {help}"));
    }

    fn sample(&mut self, name: &str, suffix: &str, labels: &str, value: impl Display) {
        self.line(format_args!("shout_{name}{suffix}{labels} {value}"));
    }

    fn gauge(&mut self, name: &str, unit: Option<&str>, help: &str, value: impl Display) {
        self.family(name, Kind::Gauge, unit, help);
        self.sample(name, "", "", value);
    }

    /// Which program this is.
    fn build(&mut self) {
        let (version, os, arch) = (env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
        self.family("build", Kind::Info, None, "The version of shout-server, and what it was built for.");
        let labels = format!("{{version=\"{version}\",os=\"{os}\",arch=\"{arch}\"}}");
        self.sample("build", "_info", &labels, 1);
    }

    fn histogram(&mut self, shown: &Shown<'_>) {
        let Shown { name, help, values, exponents: (first, last), .. } = *shown;
        let (unit, scale) = match shown.unit {
            Unit::Nanoseconds => (Some("seconds"), 1e9),
            Unit::Bytes => (Some("bytes"), 1.0),
            Unit::Number => (None, 1.0),
        };
        self.family(name, Kind::Histogram, unit, help);
        for exponent in first..=last {
            // Debug shows a whole float with its `.0`, which is the canonical form of a bound.
            let bound = (1_u64 << exponent) as f64 / scale;
            self.sample(name, "_bucket", &format!("{{le=\"{bound:?}\"}}"), values.at_most(exponent));
        }
        self.sample(name, "_bucket", "{le=\"+Inf\"}", values.count());
        self.sample(name, "_sum", "", values.sum() as f64 / scale);
        self.sample(name, "_count", "", values.count());
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{line}");
    }
}
