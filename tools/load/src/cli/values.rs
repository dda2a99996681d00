//! The values of flags: text into numbers, rates, profiles and files, or a line that says what would be right. Pure, but
//! for the file that `--payload` names and the clock that `--at` is read by.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use shout::units;

use super::{Format, Output};
use crate::payload::Lines;
use crate::plan::{MOST_LANES, nanos};
use crate::schedule::{Process, Profile, Segment};
use crate::sockets::LONGEST_TRAIN;

/// The fastest schedule: ten times what a processor can send, and slow enough for its times to be told apart.
const HIGHEST_RATE: f64 = 100e6;

/// The deepest window. A lane remembers each message in flight.
const DEEPEST_WINDOW: u64 = 65_536;

/// The longest part of an on-off period: more is a plan.
const LONGEST_PERIOD: Duration = Duration::from_secs(3600);

/// The end of an interval takes the generator up to a few hundred microseconds: shorter ones would be felt.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// Reads a rate such as `500`, `50k`, `50k/s` or `200/ms`, in messages a second.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let hint = || format!("a rate looks like 500, 50k, 50k/s or 200/ms, and is at most {}m", HIGHEST_RATE / 1e6);
    let (number, factor) = match text.split_once('/') {
        None => (text, 1.0),
        Some((number, "s")) => (number, 1.0),
        Some((number, "ms")) => (number, 1e3),
        Some(_) => return Err(hint()),
    };
    let rate = units::count(number).map_err(|_| hint())? as f64 * factor;
    if rate > 0.0 && rate <= HIGHEST_RATE { Ok(rate) } else { Err(hint()) }
}

/// Reads a rate that may be nothing.
fn rate_or_none(text: &str) -> Result<f64, String> {
    if text == "0" { Ok(0.0) } else { rate(text) }
}

/// Reads two rates such as `1k:50k`, not both nothing.
pub(crate) fn ramp(text: &str) -> Result<(f64, f64), String> {
    let (from, to) = text.split_once(':').ok_or("a ramp looks like 1k:50k")?;
    let ends = (rate_or_none(from)?, rate_or_none(to)?);
    if ends == (0.0, 0.0) { Err("a ramp from nothing to nothing sends nothing".into()) } else { Ok(ends) }
}

/// Reads a moment that is yet to come, in nanoseconds since 1970.
pub(crate) fn moment(text: &str) -> Result<u64, String> {
    let moment: jiff::Timestamp =
        text.parse().map_err(|_| "a moment looks like 2026-11-22T07:31:02Z or 2026-11-22T08:31:02+01:00".to_owned())?;
    let now = nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let moment = u64::try_from(moment.as_nanosecond()).unwrap_or(0);
    if moment > now { Ok(moment) } else { Err("that has passed: give a moment that is yet to come".into()) }
}

/// Reads two rates such as `1k:50k`, the lower one first.
pub(crate) fn rate_range(text: &str) -> Result<(f64, f64), String> {
    let (from, to) = text.split_once(':').ok_or("two rates look like 1k:50k")?;
    let (from, to) = (rate(from)?, rate(to)?);
    if from < to { Ok((from, to)) } else { Err("the first rate is the lower one".into()) }
}

/// The rates of a sweep: `10k:100k:10k`, from A to B in steps, or `auto`, which is none.
pub(crate) fn rate_steps(text: &str) -> Result<Vec<f64>, String> {
    /// More would take longer than anybody waits, and lie closer than any page shows.
    const MOST: usize = 100;
    if text == "auto" {
        return Ok(Vec::new());
    }
    let hint = "rates look like 10k:100k:10k, from A to B in steps, or auto";
    let parts: Vec<&str> = text.split(':').collect();
    let [from, to, step] = parts[..] else { return Err(hint.into()) };
    let (from, to, step) = (rate(from)?, rate(to)?, rate(step)?);
    if from > to {
        return Err("the first rate is the lower one".into());
    }
    let steps = ((to - from) / step + 1e-9).floor() as usize + 1;
    if steps > MOST {
        return Err(format!("{steps} rates are too many: at most {MOST}"));
    }
    Ok((0..steps).map(|index| from + step * index as f64).collect())
}

/// Reads segments such as `30s@10k` and `30s@10k-80k`, with commas between them.
pub(crate) fn profile(text: &str) -> Result<Profile, String> {
    let segment = |text: &str| {
        let (duration, rates) = text.split_once('@').ok_or("a part of a plan looks like 30s@10k or 30s@10k-80k")?;
        let (from, to) = rates.split_once('-').unwrap_or((rates, rates));
        let duration = nanos(positive_duration(duration)?);
        Ok::<_, String>(Segment { duration, from: rate_or_none(from)?, to: rate_or_none(to)? })
    };
    let segments: Vec<Segment> = text.split(',').map(segment).collect::<Result<_, _>>()?;
    Profile::new(segments).ok_or_else(|| "a plan of nothing sends nothing".into())
}

/// Reads how arrivals are spread.
pub(crate) fn process(text: &str) -> Result<Process, String> {
    let (name, values) = text.split_once(':').map_or((text, None), |(name, values)| (name, Some(values)));
    match (name, values) {
        ("poisson", None) => Ok(Process::Poisson),
        ("const", None) => Ok(Process::Const),
        ("uniform", None) => Ok(Process::Uniform),
        ("burst", Some(length)) => at_most(length, DEEPEST_WINDOW, "messages at once").map(Process::Burst),
        ("onoff", Some(times)) => {
            let (on, off) = times.split_once(',').ok_or("on and off look like onoff:10ms,90ms")?;
            let (on, off) = (positive_duration(on)?, units::duration(off)?);
            if on.max(off) > LONGEST_PERIOD {
                return Err(format!("each part lasts at most {} s", LONGEST_PERIOD.as_secs()));
            }
            Ok(Process::OnOff { on: nanos(on), off: nanos(off) })
        }
        _ => Err("one of poisson, const, uniform, burst:N, onoff:ON,OFF".into()),
    }
}

pub(crate) fn connections(text: &str) -> Result<usize, String> {
    at_most(text, MOST_LANES as u64, "connections").map(|number| number as usize)
}

/// Reads a number of connections on which no messages are counted, and which need no numbers on the wire.
pub(crate) fn companions(text: &str) -> Result<usize, String> {
    const MOST: u64 = 1_000_000;
    match units::count(text)? {
        number if number <= MOST => Ok(number as usize),
        _ => Err(format!("at most {MOST} connections")),
    }
}

/// Reads a network such as 127.0.0.0/8, or a single address.
pub(crate) fn source(text: &str) -> Result<IpNet, String> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "a network looks like 127.0.0.0/8".into())
}

pub(crate) fn window(text: &str) -> Result<usize, String> {
    at_most(text, DEEPEST_WINDOW, "messages in flight").map(|number| number as usize)
}

pub(crate) fn train(text: &str) -> Result<usize, String> {
    if text == "off" {
        return Ok(1);
    }
    at_most(text, LONGEST_TRAIN as u64, "datagrams, or off").map(|number| number as usize)
}

pub(crate) fn stamps(text: &str) -> Result<u64, String> {
    match text.strip_prefix("1/") {
        _ if text == "off" => Ok(0),
        Some(number) => positive_count(number),
        None => Err("1/N for one message in N, or off".into()),
    }
}

fn at_most(text: &str, most: u64, what: &str) -> Result<u64, String> {
    let number = positive_count(text)?;
    if number <= most { Ok(number) } else { Err(format!("at most {most} {what}")) }
}

pub(crate) fn positive_count(text: &str) -> Result<u64, String> {
    match units::count(text)? {
        0 => Err("at least 1".into()),
        number => Ok(number),
    }
}

pub(crate) fn positive_duration(text: &str) -> Result<Duration, String> {
    match units::duration(text)? {
        Duration::ZERO => Err("longer than nothing".into()),
        duration => Ok(duration),
    }
}

pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let interval = units::duration(text)?;
    if interval >= SHORTEST_INTERVAL { Ok(interval) } else { Err("at least 10ms".into()) }
}

pub(crate) fn lines(file: &str) -> Result<Arc<Lines>, String> {
    Lines::read(Path::new(file)).map(Arc::new)
}

pub(crate) fn seed(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|_| "a seed is 1 to 16 hexadecimal digits".into())
}

pub(crate) fn output(text: &str) -> Result<Output, String> {
    let path = PathBuf::from(text);
    let format = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => Format::Json,
        Some("html") => Format::Html,
        Some("hgrm") => Format::Hgrm,
        Some("hlog") => Format::Hlog,
        Some("ndjson") => Format::Ndjson,
        Some("csv") => Format::Csv,
        _ => return Err("the extension says what to write: .json, .html, .hgrm, .hlog, .ndjson or .csv".into()),
    };
    Ok(Output { path, format })
}
