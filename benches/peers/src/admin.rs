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

use crate::beside;
use crate::contestant::{Contestant, Field, Programs};
use crate::ending;
use crate::measurement::Stop;
use crate::table::grouped;

const NAME: &str = "admin";

/// Ten times a second.
const SCRAPE_INTERVAL: Duration = Duration::from_millis(100);

/// An endpoint that has not answered for this long does not.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(1);

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
    let place = beside::place()?;
    let scraper = Scraper::start().map_err(|error| failure("no port for the admin endpoint", error))?;
    let contestants = contestants(programs, scraper.address).map_err(|error| failure("no free port", error))?;
    let faults = beside::compare(&place, &options.field, &contestants, out)?;
    let pages = scraper.end();
    writeln!(out, "{} pages were scraped. {}", grouped(pages), beside::LEGEND)?;
    if pages == 0 {
        return Err(Stop::Failure("nothing could be scraped".into()));
    }
    faults.verdict()
}

/// The same program without an endpoint, with one that nobody asks, with the one that is scraped, and without again.
fn contestants(programs: &Programs, scraped: SocketAddr) -> std::io::Result<Vec<Contestant>> {
    let with = |name, address: SocketAddr| beside::with(programs, name, &format!("--admin {address}"));
    Ok(beside::between(programs, vec![with("asleep", free_address()?), with("scraped", scraped)]))
}

/// An address that nobody holds at this moment. A server that is started later must be told one.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
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
