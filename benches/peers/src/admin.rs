//! What it costs the server to be scraped. Does I/O: runs servers, scrapes, prints tables.
//!
//! Ten scrapes a second are lost in the noise: two runs of one server differ by more. So what is measured is the server's
//! processor time for one page, and what ten of them a second take is worked out from that. It is measured twice: on a server
//! that does nothing else, over so many pages that the clock's grain does not matter; and under full load, at a hundred
//! times the rate, which is told from noise. Under load the server's time for the messages, which it spends without being
//! scraped, is taken off; it is that of the same round.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Parser;
use shout::target::Protocol;
use shout_load::host;
use shout_load::report::document::Document;

use crate::beside::{self, Results};
use crate::contestant::{Contestant, Field, Programs};
use crate::ending;
use crate::measurement::{Attempt, Figures, Place, Stop};
use crate::statistics::Spread;
use crate::table::{Style, Table, cell, extremes};

const NAME: &str = "admin";

/// What a diligent watcher asks for, a second.
const PAGES_WANTED: f64 = 10.0;

/// How often the server is scraped under load: a thousand times a second, as far as the scraper gets a processor.
const SCRAPE_INTERVAL: Duration = Duration::from_millis(1);

/// Pages of each round of the server that does nothing else: a tenth of a second of its time.
const IDLE_PAGES: u32 = 1_000;

/// The same in a trial.
const TRIAL_PAGES: u32 = 50;

/// An endpoint that has not answered for this long does not.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(1);

/// The names of the contestants between those without an endpoint: nobody asks the one, the other is scraped.
const ASLEEP: &str = "asleep";
const SCRAPED: &str = "scraped";

/// Measures what a scrape of the admin endpoint costs a server, on its own and under full load.
#[derive(Debug, Parser)]
#[command(name = NAME, version)]
struct Options {
    #[command(flatten)]
    field: Field,
}

/// Runs the benchmark with these arguments, the program's name first, and prints its tables to `out`.
///
/// Ends as a [race](crate::race::main) does; 1 also where nothing could be scraped.
pub fn main(programs: &Programs, arguments: impl IntoIterator<Item = OsString>, out: &mut dyn Write) -> ExitCode {
    ending::of(NAME, arguments, |options: Options| run(&options.field, programs, out))
}

fn run(field: &Field, programs: &Programs, out: &mut dyn Write) -> Result<(), Stop> {
    let failure = |what: &str, error: std::io::Error| Stop::Failure(format!("{what}: {error}"));
    let place = Place::take()?;
    let address = free_address().map_err(|error| failure("no port for the admin endpoint", error))?;
    let unasked = free_address().map_err(|error| failure("no port for the admin endpoint", error))?;
    let with = |name, address: SocketAddr| beside::with(programs, name, &format!("--admin {address}"));
    let scraped = with(SCRAPED, address);
    let (rounds, _) = beside::extent(field);
    let pages = if field.is_trial() { TRIAL_PAGES } else { IDLE_PAGES };
    let mut idle = Vec::new();
    for _ in 0..rounds {
        idle.push(
            alone(&place, &scraped, address, pages).map_err(|error| failure("cannot scrape an idle server", error))?,
        );
        if let Some(signal) = place.signal() {
            return Err(Stop::Signal(signal));
        }
    }
    let contestants = beside::between(programs, vec![with(ASLEEP, unasked), scraped.clone()]);
    let mut rates = Vec::new();
    let measure = |attempt: &Attempt| {
        if *attempt.contestant != scraped {
            return place.measure(attempt);
        }
        let (document, rate) = scraped_meanwhile(&place, attempt, address);
        rates.push(rate);
        document
    };
    let (results, faults) = beside::compare(&place, field, &contestants, out, measure)?;
    let pages =
        rates.chunks(rounds).zip(&results).map(|(rates, results)| Page::under_load(&contestants, results, rates));
    let idle = Page { label: "nothing else", rate: None, cost: Spread::of(idle.into_iter().flatten()), noise: None };
    let table = table(&std::iter::once(idle).chain(pages).collect::<Vec<_>>());
    writeln!(out, "{table}\n{}", beside::LEGEND)?;
    writeln!(out, "noise: what a page would seem to cost the second of two servers that nobody scrapes.")?;
    if rates.iter().all(|&rate| rate == 0.0) {
        return Err(Stop::Failure("nothing could be scraped".into()));
    }
    faults.verdict()
}

/// An address that nobody holds at this moment. A server that is started later must be told one.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// The processor time of a page in µs, of a server that does nothing else; `None` where the system does not tell.
fn alone(place: &Place, scraped: &Contestant, address: SocketAddr, pages: u32) -> std::io::Result<Option<f64>> {
    let server = place.start(scraped, Protocol::Tcp)?;
    // The first one allocates what the others find there.
    scrape(address)?;
    let before = host::cpu_time(server.pid());
    for _ in 0..pages {
        scrape(address)?;
    }
    let spent = host::cpu_time(server.pid()).zip(before).map(|(after, before)| after - before);
    Ok(spent.map(|nanoseconds| nanoseconds as f64 / 1e3 / f64::from(pages)))
}

/// Makes a measurement while the server is scraped. What was measured, and how many pages a second there were.
fn scraped_meanwhile(place: &Place, attempt: &Attempt, address: SocketAddr) -> (Result<Document, Stop>, f64) {
    let scraper = Scraper::start(address);
    let document = place.measure(attempt);
    (document, scraper.end())
}

/// A thread that scrapes one address, from when a server is there.
struct Scraper {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<f64>,
}

impl Scraper {
    fn start(address: SocketAddr) -> Scraper {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let (mut pages, mut due) = (0_u32, Instant::now());
            // When the first page came and when the last did. The first is not counted, for nobody knows what went before.
            let mut between: Option<(Instant, Instant)> = None;
            while !over.load(Ordering::Relaxed) {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                // What the scraper itself was too late for is left out.
                due = Instant::now().max(due + SCRAPE_INTERVAL);
                if scrape(address).is_ok() {
                    let now = Instant::now();
                    pages += u32::from(between.is_some());
                    between = Some((between.map_or(now, |(first, _)| first), now));
                }
            }
            between
                .filter(|(first, last)| last > first)
                .map_or(0.0, |(first, last)| f64::from(pages) / (last - first).as_secs_f64())
        });
        Scraper { is_over, thread }
    }

    /// Stops; says how many pages a second it got.
    fn end(self) -> f64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or(0.0)
    }
}

/// Fails where what comes back is not a whole page.
fn scrape(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, SCRAPE_TIMEOUT)?;
    stream.set_read_timeout(Some(SCRAPE_TIMEOUT))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    if page.ends_with("# EOF\n") { Ok(()) } else { Err(std::io::Error::other(format!("not a page: {page}"))) }
}

/// What a page cost the server while it did something.
struct Page {
    label: &'static str,
    /// Pages a second.
    rate: Option<Spread>,
    /// Processor time of one, in µs.
    cost: Option<Spread>,
    /// What one would seem to cost a server that is not scraped at all, in µs.
    noise: Option<Spread>,
}

impl Page {
    /// From what was measured of the contestants under one load, at so many pages a second in each round.
    fn under_load(contestants: &[Contestant], results: &Results, rates: &[f64]) -> Page {
        let of = |name: &str| {
            let index = contestants.iter().position(|contestant| contestant.name == name);
            index.map_or(&[][..], |index| &results.figures[index])
        };
        let costs = |figures: &[Option<Figures>], reference: &[Option<Figures>]| {
            let rounds = figures.iter().zip(reference).zip(rates);
            Spread::of(rounds.filter_map(|((figures, reference), &rate)| extra((*figures)?, (*reference)?, rate)))
        };
        let [without, .., again] = &results.figures[..] else { unreachable!("the first takes part twice") };
        Page {
            label: results.label,
            rate: Spread::of(rates.iter().copied()),
            cost: costs(of(SCRAPED), of(ASLEEP)),
            noise: costs(again, without),
        }
    }
}

/// The processor time in µs that a server spent beyond what its messages cost the reference, for each of so many events a
/// second.
fn extra(figures: Figures, reference: Figures, events_per_second: f64) -> Option<f64> {
    let beyond = figures.server_cpu? - reference.server_cpu?;
    Some(beyond * figures.rate / events_per_second)
}

fn table(pages: &[Page]) -> String {
    let heading = ["beside", "pages/s", "CPU µs a page", "spread", "noise", "of a processor, at ten a second"];
    let mut table = Table::new(heading);
    let whole = |value: f64| format!("{value:.0}");
    for Page { label, rate, cost, noise } in pages {
        table.push(vec![
            (*label).to_owned(),
            rate.map_or_else(|| "all it can".into(), |rate| whole(rate.median)),
            cell(*cost, |cost| whole(cost.median)),
            cell(*cost, |cost| extremes(cost, whole)),
            cell(*noise, |noise| extremes(noise, whole)),
            cell(*cost, |cost| format!("{:.3} %", cost.median * PAGES_WANTED / 1e4)),
        ]);
    }
    table.render(Style::Plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_costs_is_what_the_messages_did_not() {
        let figures = |rate, server_cpu| Figures {
            rate,
            server_cpu: Some(server_cpu),
            client_busy: None,
            p99: None,
            lost: 0,
            wrong: 0,
        };
        // Nine tenths of a processor for 450,000 messages, and a tenth for 1,000 pages.
        let cost = extra(figures(450_000.0, 1e6 / 450_000.0), figures(500_000.0, 2.0), 1_000.0).unwrap();
        assert!((cost - 100.0).abs() < 1e-6, "{cost}");
    }
}
