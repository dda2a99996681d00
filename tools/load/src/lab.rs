//! `shout-load lab`: an echo server that misbehaves as told, and knows how often it did. Does I/O.
//!
//! A tool that finds faults is believed when it is shown faults whose number is known. This server makes them: it
//! drops, doubles, swaps, delays, spoils and stalls, a stated share of messages each, at places drawn from a seed. At
//! its end it prints the answer key: how many of each it really made, and when it stalled.
//!
//! [`faults`] decides which message meets which fault; [`datagrams`] and [`streams`] turn a request into what is sent
//! for it, without a socket or a clock, so that tests under a virtual clock use the same server; [`server`] is the
//! threads around them; [`demo`] is a lesson that runs on it.

pub mod datagrams;
pub mod demo;
pub mod faults;
pub mod key;
pub mod server;
pub mod streams;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use clap::Args;
use shout::units;
use signal_hook::consts::{SIGINT, SIGTERM};

use self::faults::{Delay, Faults, Stall};
use self::server::Server;
use crate::run::exit;

/// The options of the misbehaving server.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where to listen, on UDP and TCP; port 0 is any free one. The first line of output says which
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS:PORT", value_parser = shout::config::listen_address)]
    pub listen: SocketAddr,

    /// Stop for this long in every so long, such as 100ms/1s: the last 100 ms of each second
    #[arg(long, value_parser = Stall::parse, value_name = "LENGTH/PERIOD")]
    pub stall: Option<Stall>,

    /// Answer this share of datagrams not at all. A share is such as 1% or 0.01: one in every hundred messages, at a
    /// random place among them. No message meets two faults: the first of these flags has it
    #[arg(long, value_parser = faults::share, default_value = "0%", value_name = "SHARE")]
    pub drop: f64,

    /// Answer this share of datagrams twice
    #[arg(long, value_parser = faults::share, default_value = "0%", value_name = "SHARE")]
    pub duplicate: f64,

    /// Send the answers to this share of datagrams after the next answer to the same client
    #[arg(long, value_parser = faults::share, default_value = "0%", value_name = "SHARE")]
    pub reorder: f64,

    /// Send the answers to this share of datagrams to another client as well, once there is one
    #[arg(long, value_parser = faults::share, default_value = "0%", value_name = "SHARE")]
    pub stray: f64,

    /// Cut bytes off the end of the answers to this share of datagrams
    #[arg(long, value_parser = faults::share, default_value = "0%", value_name = "SHARE")]
    pub truncate: f64,

    /// End a connection in the middle of an answer, at this share of the messages on TCP
    #[arg(long, value_parser = faults::share, default_value = "0%", value_name = "SHARE")]
    pub close_mid_reply: f64,

    /// Change one bit in the second half of this share of answers
    #[arg(long, value_parser = faults::share, default_value = "0%", value_name = "SHARE")]
    pub corrupt: f64,

    /// Return this share of messages as they came
    #[arg(long, value_parser = faults::share, default_value = "0%", value_name = "SHARE")]
    pub wrong_case: f64,

    /// Answer this share of messages this much later, such as 20ms/1%; 20ms alone is all of them. On TCP what
    /// follows on the same connection waits too
    #[arg(long, value_parser = Delay::parse, value_name = "TIME/SHARE")]
    pub delay: Option<Delay>,

    /// Let each new connection wait this long, one after the other
    #[arg(long, value_parser = units::duration, default_value = "0", value_name = "TIME")]
    pub slow_accept: Duration,

    /// Bytes that count as one message on a stream
    #[arg(short, long, value_parser = message_size, default_value = "64")]
    pub size: usize,

    /// Repeats the places of all faults: up to 16 hexadecimal digits
    #[arg(long, value_parser = crate::cli::seed, default_value = "1", value_name = "HEX")]
    pub seed: u64,

    /// Show one stall to a closed and to an open loop, side by side: a lesson in coordinated omission
    #[arg(long, exclusive = true)]
    pub demo: bool,
}

impl Options {
    /// What is to go wrong.
    pub fn faults(&self) -> Faults {
        Faults {
            drop: self.drop,
            duplicate: self.duplicate,
            reorder: self.reorder,
            stray: self.stray,
            truncate: self.truncate,
            close_mid_reply: self.close_mid_reply,
            corrupt: self.corrupt,
            wrong_case: self.wrong_case,
            delay: self.delay,
            stall: self.stall,
            slow_accept: self.slow_accept,
            size: self.size,
            seed: self.seed,
        }
    }
}

fn message_size(text: &str) -> Result<usize, String> {
    match units::size(text)? {
        0 => Err("a message on a stream has at least 1 byte".into()),
        size => Ok(size),
    }
}

/// Serves until SIGINT, SIGTERM or, where standard input is a pipe, its end; then prints the answer key.
pub fn main(options: &Options) -> ExitCode {
    let ended = if options.demo { demo::show() } else { serve(options) };
    match ended {
        Ok(()) => ExitCode::from(exit::DONE),
        // Whoever closed the pipe has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(exit::DONE),
        Err(error) => {
            let _ = writeln!(io::stderr(), "shout-load: {error}");
            ExitCode::from(exit::FAILED)
        }
    }
}

fn serve(options: &Options) -> io::Result<()> {
    let (ask_to_end, end) = mpsc::channel();
    watch_signals(ask_to_end.clone())?;
    watch_input(ask_to_end)?;
    let about_listening = |error| io::Error::other(format!("cannot listen on {}: {error}", options.listen));
    let server = Server::start(options.listen, options.faults()).map_err(about_listening)?;
    let mut stdout = io::stdout();
    writeln!(stdout, "shout-lab listening on udp+tcp {}", server.address())?;
    stdout.flush()?;
    // An error would mean that nobody is left who could ask.
    let _ = end.recv();
    let key = serde_json::to_string_pretty(&server.key()).expect("an answer key has string keys and whole numbers");
    writeln!(stdout, "{key}")?;
    stdout.flush()
}

fn watch_signals(ask_to_end: Sender<()>) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in signals.forever() {
            let _ = ask_to_end.send(());
        }
    })?;
    Ok(())
}

/// Only a pipe is watched. A terminal's input would stop a job in the background, and `/dev/null`, which a script's
/// shell gives to such a job, ends at once.
fn watch_input(ask_to_end: Sender<()>) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        use std::os::unix::fs::FileTypeExt;
        let Ok(input) = io::stdin().as_fd().try_clone_to_owned() else { return Ok(()) };
        if std::fs::File::from(input).metadata()?.file_type().is_fifo() {
            std::thread::Builder::new().name("input".into()).spawn(move || {
                let _ = io::copy(&mut io::stdin(), &mut io::sink());
                let _ = ask_to_end.send(());
            })?;
        }
    }
    Ok(())
}
