//! What every experiment does: ask for a prediction, measure, show the answer as text and, if asked, as a picture.
#![allow(dead_code, unused_imports, reason = "each experiment uses a part of it")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser as _;
use shout::config::Config;
use shout::report::Board;
use shout::server::Server;
use shout::sockets;

#[path = "../../tests/common/retried.rs"]
mod retried;
pub(crate) use retried::retried;

/// Measures what its first lines ask about.
#[derive(Debug, clap::Parser)]
struct Options {
    /// Only see whether it works, in a second; the figures mean nothing
    #[arg(long)]
    smoke: bool,

    /// Write the picture to a file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// An experiment that is under way.
pub(crate) struct Experiment {
    options: Options,
}

/// Prints what is to be predicted.
pub(crate) fn ask(question: &str) -> Experiment {
    let options = Options::parse();
    println!("Predict first:\n\n  {}\n\nMeasuring …\n", question.replace('\n', "\n  "));
    Experiment { options }
}

impl Experiment {
    /// So many of something, or few enough to see whether it works.
    pub(crate) fn times(&self, times: usize) -> usize {
        if self.options.smoke { times.div_ceil(50) } else { times }
    }

    /// How long to measure.
    pub(crate) fn time(&self, time: Duration) -> Duration {
        if self.options.smoke { time / 20 } else { time }
    }

    /// Prints the answer as bars, and writes the picture.
    pub(crate) fn show(&self, title: &str, bars: &[(String, f64)]) {
        let widest = bars.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        let most = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
        println!("{title}\n");
        for (label, value) in bars {
            let length = (40.0 * value / most).round() as usize;
            println!("  {label:widest$}  {:40}  {}", "█".repeat(length), figure(*value));
        }
        println!();
        if let Some(path) = &self.options.svg {
            std::fs::write(path, svg(title, bars, most)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

/// Prints what the bars mean.
pub(crate) fn explain(text: &str) {
    println!("{text}");
}

/// Three significant digits.
fn figure(value: f64) -> String {
    match value {
        _ if value >= 100.0 || value == 0.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The same bars as a picture. It takes the colour of the text around it, and so suits any page; it has no empty line,
/// which would end it inside Markdown.
fn svg(title: &str, bars: &[(String, f64)], most: f64) -> String {
    const LABELS: usize = 270;
    const ROW: usize = 24;
    let height = ROW * (bars.len() + 1) + 8;
    let mut svg = format!(
        "<div><svg role=\"img\" aria-label=\"{title}\" viewBox=\"0 0 720 {height}\" width=\"720\" \
         style=\"max-width:100%;font:13px system-ui,sans-serif\" fill=\"currentColor\">\n\
         <text x=\"0\" y=\"16\" font-weight=\"600\">{title}</text>\n"
    );
    for (index, (label, value)) in bars.iter().enumerate() {
        let (y, length) = (ROW * (index + 1), 360.0 * value / most);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{label}</text>\n\
             <rect x=\"{LABELS}\" y=\"{}\" width=\"{:.1}\" height=\"14\" rx=\"2\" fill=\"#2f78c4\"></rect>\n\
             <text x=\"{:.1}\" y=\"{}\">{}</text>",
            LABELS - 8,
            y + 16,
            y + 5,
            length.max(1.0),
            LABELS as f64 + length.max(1.0) + 6.0,
            y + 16,
            figure(*value)
        );
    }
    svg + "</svg></div>\n"
}

/// The value of which so many are smaller: 0.5 is the median. Sorts them.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

/// The median.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

/// How long something takes, in microseconds.
pub(crate) fn micros(act: impl FnOnce()) -> f64 {
    let start = Instant::now();
    act();
    start.elapsed().as_secs_f64() * 1e6
}

/// The server with these flags, on a free port, which does nothing until it is turned.
pub(crate) fn server(flags: &[&str]) -> Server {
    let config = Config::parse_from([&["shout-server", "--listen", "127.0.0.1:0"], flags].concat());
    let reporter = Board::reporters(1, None, Instant::now()).remove(0);
    let sockets = sockets::bind(&config, config.listen).expect("loopback has a free port");
    Server::new(&config, sockets, 1000, reporter).expect("the kernel has room for one more poll")
}
