//! Durations, counts and sizes as people type them on a command line. Pure: no I/O.
//!
//! All three programs read their flags through these functions, so `10ms`, `1.5m` and `256KiB` mean the
//! same everywhere. Each function suits clap's `value_parser`; its error names what would have been right.

use std::time::Duration;

/// Suffixes of durations, in nanoseconds. A bare number is seconds.
const DURATIONS: &[(&str, f64)] =
    &[("", 1e9), ("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// Suffixes of counts and rates: powers of a thousand.
const COUNTS: &[(&str, f64)] = &[("", 1.0), ("k", 1e3), ("m", 1e6), ("g", 1e9)];

/// Suffixes of sizes in bytes: `k` is 1,000 and `KiB` is 1,024, as SI and IEC 80000-13 have them.
const SIZES: &[(&str, f64)] = &[
    ("", 1.0),
    ("b", 1.0),
    ("k", 1e3),
    ("kb", 1e3),
    ("m", 1e6),
    ("mb", 1e6),
    ("g", 1e9),
    ("gb", 1e9),
    ("kib", 1024.0),
    ("mib", 1_048_576.0),
    ("gib", 1_073_741_824.0),
];

/// Reads a duration such as `250us`, `10ms`, `1.5s`, `2m` or `1h`; a bare number is seconds.
///
/// At most a year, so that adding it to a clock reading cannot overflow.
pub fn duration(text: &str) -> Result<Duration, String> {
    const YEAR_NS: f64 = 365.0 * 24.0 * 3600e9;
    scaled(text, DURATIONS)
        .filter(|&nanoseconds| nanoseconds <= YEAR_NS)
        .map(|nanoseconds| Duration::from_nanos(nanoseconds.round() as u64))
        .ok_or_else(|| {
            "a duration looks like 250us, 10ms, 1.5s or 2m, a bare number is seconds, and it is at most a year".into()
        })
}

/// Reads a count such as `500`, `10k` or `1.5m` (1,500,000).
pub fn count(text: &str) -> Result<u64, String> {
    whole(text, COUNTS).ok_or_else(|| "a count looks like 500, 10k or 1.5m".into())
}

/// Reads a size in bytes such as `64`, `1k` (1,000) or `256KiB` (262,144).
pub fn size(text: &str) -> Result<usize, String> {
    whole(text, SIZES)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| "a size looks like 64, 1k (1,000) or 256KiB (262,144)".into())
}

/// A scaled number that must come out whole and small enough for `f64` to hold exactly.
fn whole(text: &str, suffixes: &[(&str, f64)]) -> Option<u64> {
    // 2^53, which is also what 2^53 + 1 is rounded to.
    const INEXACT: f64 = 9_007_199_254_740_992.0;
    scaled(text, suffixes).filter(|value| value.fract() == 0.0 && *value < INEXACT).map(|value| value as u64)
}

/// The number at the front of `text`, times the factor of the suffix behind it.
fn scaled(text: &str, suffixes: &[(&str, f64)]) -> Option<f64> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let number: f64 = number.parse().ok()?;
    let (_, factor) = suffixes.iter().find(|(name, _)| name.eq_ignore_ascii_case(suffix))?;
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_a_unit_or_are_seconds() {
        assert_eq!(duration("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(duration("10ms"), Ok(Duration::from_millis(10)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("3"), Ok(Duration::from_secs(3)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
    }

    #[test]
    fn counts_and_sizes_scale_and_stay_whole() {
        assert_eq!(count("10k"), Ok(10_000));
        assert_eq!(count("1.5m"), Ok(1_500_000));
        assert_eq!(size("1k"), Ok(1_000));
        assert_eq!(size("256KiB"), Ok(262_144));
        assert_eq!(size("8MiB"), Ok(8 << 20));
        assert!(size("0.5").is_err(), "half a byte is no size");
    }

    #[test]
    fn what_is_not_a_number_is_refused_with_a_hint() {
        for text in ["", "ms", "-1s", "1 s", "1parsec", "1..5s", "NaN", "inf", "9e9s", "400000h"] {
            let hint = duration(text).unwrap_err();
            assert!(hint.contains("10ms") && hint.contains("a bare number is seconds"), "{text:?}: {hint}");
        }
        for text in ["", "k", "-5", "1.0005k", "0x10", "9007199254740993", "99999999999999999999"] {
            assert!(count(text).is_err(), "{text:?} was taken");
        }
    }
}
