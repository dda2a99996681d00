//! What being watched costs: the server under full load, scraped ten times a second and not. Does I/O: runs servers,
//! scrapes, prints a table.
//!
//! The three contestants are one program: without an admin endpoint, with one that nobody asks, and with one that is
//! scraped. They take turns within each round, and the first takes part twice, which shows the noise.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::Parser;

use crate::contestant::{Contestant, Field, Programs};
use crate::ending;
use crate::measurement::{Attempt, Faults, Figures, Length, Load, Place, Stop, column, turns};
use crate::running::PORT;
use crate::statistics::Spread;
use crate::table::{Style, Table, cell, extremes, figure, grouped};

const NAME: &str = "admin";

/// Ten times a second.
const SCRAPE_INTERVAL: Duration = Duration::from_millis(100);

/// An endpoint that has not answered for this long does not.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(1);

const DEFAULT_ROUNDS: usize = 9;
const DEFAULT_SECONDS: Duration = Duration::from_millis(800);
const TRIAL_ROUNDS: usize = 1;
const TRIAL_SECONDS: Duration = Duration::from_millis(300);

const LOADS: [(&str, Load); 2] = [("udp-64", Load::udp(1, 64, 64)), ("tcp-64", Load::tcp(64, 1, 64))];

/// Measures what scraping the admin endpoint ten times a second costs a server under full load.
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
    let options: Options = match shout::arguments::parse(arguments) {
        Ok(options) => options,
        Err(code) => return code,
    };
    ending::code(NAME, run(&options, programs, out))
}

fn run(options: &Options, programs: &Programs, out: &mut dyn Write) -> Result<(), Stop> {
    let failure = |what: &str, error: std::io::Error| Stop::Failure(format!("{what}: {error}"));
    let place = Place::take().map_err(|error| failure("cannot watch for signals", error))?;
    let (rounds, seconds) =
        if options.field.is_trial() { (TRIAL_ROUNDS, TRIAL_SECONDS) } else { (DEFAULT_ROUNDS, DEFAULT_SECONDS) };
    let rounds = options.field.rounds.unwrap_or(rounds);
    let length = Length::of(options.field.seconds.unwrap_or(seconds));
    let scraper = Scraper::start().map_err(|error| failure("no port for the admin endpoint", error))?;
    let contestants = contestants(programs, scraper.address).map_err(|error| failure("no free port", error))?;
    writeln!(out, "{}; {}\n", length.describe(rounds), place.describe())?;
    let mut faults = Faults::default();
    for (label, load) in LOADS {
        let mut results = vec![Vec::new(); contestants.len()];
        for round in 0..rounds {
            for index in turns(contestants.len(), round) {
                let attempt = Attempt { contestant: &contestants[index], load: &load, length, round, label };
                let document = faults.judge(&attempt, place.measure(&attempt))?;
                results[index].push(document.as_ref().map(Figures::from));
            }
        }
        write!(out, "{label}: shout-load {}\n{}\n", load.flags().join(" "), table(&contestants, &results))?;
        out.flush()?;
    }
    let pages = scraper.end();
    writeln!(out, "{} pages were scraped. × without: divided by the first line in the same round.", grouped(pages))?;
    if pages == 0 {
        return Err(Stop::Failure("nothing could be scraped".into()));
    }
    faults.verdict()
}

/// The same program without an endpoint, with one that nobody asks, with the one that is scraped, and without again.
fn contestants(programs: &Programs, scraped: SocketAddr) -> std::io::Result<Vec<Contestant>> {
    let (_, program) = programs[0];
    let with = |name: &str, address: SocketAddr| {
        Contestant::of_command(name, format!("'{program}' 127.0.0.1:{PORT} --admin {address}"))
    };
    let without = Contestant::of_command("without", format!("'{program}' 127.0.0.1:{PORT}"));
    let again = without.again();
    Ok(vec![without, with("asleep", free_address()?), with("scraped", scraped), again])
}

/// An address that nobody holds at this moment. A server that is started later must be told one.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn table(contestants: &[Contestant], results: &[Vec<Option<Figures>>]) -> String {
    let mut table = Table::new(["", "replies/s", "× without", "spread", "CPU µs", "× without", "spread"]);
    for (contestant, rounds) in contestants.iter().zip(results) {
        let spread = |pick: fn(&Figures) -> Option<f64>| Spread::of(column(rounds, pick).into_iter().flatten());
        let ratios = |pick| Spread::of_ratios(&column(rounds, pick), &column(&results[0], pick));
        let (rate, cpu) = (|figures: &Figures| Some(figures.rate), |figures: &Figures| figures.server_cpu);
        // A hundredth is what is asked about, so a thousandth is shown.
        let exact = |ratio: f64| format!("{ratio:.3}");
        table.push(vec![
            contestant.name.clone(),
            cell(spread(rate), |rate| grouped(rate.median.round() as u64)),
            cell(ratios(rate), |ratio| exact(ratio.median)),
            cell(ratios(rate), |ratio| extremes(ratio, exact)),
            cell(spread(cpu), |cpu| figure(cpu.median)),
            cell(ratios(cpu), |ratio| exact(ratio.median)),
            cell(ratios(cpu), |ratio| extremes(ratio, exact)),
        ]);
    }
    table.render(Style::Plain)
}

/// A thread that scrapes one address ten times a second, whenever a server is there.
struct Scraper {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    pages: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Scraper {
    fn start() -> std::io::Result<Scraper> {
        let address = free_address()?;
        let (is_over, pages) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (over, count) = (Arc::clone(&is_over), Arc::clone(&pages));
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                if scrape(address).is_ok_and(|page| page.ends_with("# EOF\n")) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                thread::sleep(SCRAPE_INTERVAL);
            }
        });
        Ok(Scraper { address, is_over, pages, thread })
    }

    /// Stops; says how many pages it got.
    fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        self.pages.load(Ordering::Relaxed)
    }
}

fn scrape(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, SCRAPE_TIMEOUT)?;
    stream.set_read_timeout(Some(SCRAPE_TIMEOUT))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    Ok(page)
}
