//! How long messages are: all the same, or a length drawn for each. Pure: no I/O.
//!
//! A length follows from the seed and from which message it is. So what an answer must be can be made again from the
//! number in its header, in whatever order answers come, and nothing is stored for it.

use std::fmt;
use std::str::FromStr;

use shout::units;

/// The longest message: it, its template and its answer are held in memory.
pub const LONGEST_MESSAGE: usize = 16 << 20;

/// The most sizes in a mix: each has a histogram of 220 KiB on each transport.
const MOST_PARTS: usize = 32;

/// The heaviest weight in a mix: a message in a million is as rare as a run can show.
const HEAVIEST: u64 = 1_000_000;

/// The lengths of messages, in bytes; of their answers as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sizes {
    /// All the same.
    Fixed(usize),
    /// Anything between the two, both included, all equally likely.
    Uniform {
        /// The shortest.
        from: usize,
        /// The longest.
        to: usize,
    },
    /// A few sizes, each as often as its weight says.
    Mix(Mix),
}

/// A few different sizes in ascending order, each with a weight above 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    parts: Vec<(usize, u64)>,
    total: u64,
}

impl Mix {
    /// The sizes, in ascending order.
    pub fn sizes(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().map(|&(size, _)| size)
    }
}

impl Sizes {
    /// The shortest that may be drawn.
    pub fn shortest(&self) -> usize {
        match self {
            Sizes::Fixed(size) => *size,
            Sizes::Uniform { from, .. } => *from,
            Sizes::Mix(mix) => mix.parts[0].0,
        }
    }

    /// The longest that may be drawn.
    pub fn longest(&self) -> usize {
        match self {
            Sizes::Fixed(size) => *size,
            Sizes::Uniform { to, .. } => *to,
            Sizes::Mix(mix) => mix.parts[mix.parts.len() - 1].0,
        }
    }

    /// The size of the message with this number; the same whenever it is asked for.
    pub(super) fn draw(&self, seed: u64, number: u64) -> usize {
        match self {
            Sizes::Fixed(size) => *size,
            Sizes::Uniform { from, to } => from + below((to - from + 1) as u64, seed, number) as usize,
            Sizes::Mix(mix) => {
                let mut place = below(mix.total, seed, number);
                for &(size, weight) in &mix.parts {
                    if place < weight {
                        return size;
                    }
                    place -= weight;
                }
                unreachable!("the weights add up to the total, and the place is below it")
            }
        }
    }
}

/// A number below `bound`. The bias is `bound / 2^64`: nothing, for sizes and weights.
fn below(bound: u64, seed: u64, number: u64) -> u64 {
    ((u128::from(mixed(seed, number)) * u128::from(bound)) >> 64) as u64
}

/// The `number`-th output of `SplitMix64` from this seed (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014): its state is a counter, so any output can be had without those before it.
fn mixed(seed: u64, number: u64) -> u64 {
    let state = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

/// As `--size` takes it.
impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sizes::Fixed(size) => write!(f, "{size}"),
            Sizes::Uniform { from, to } => write!(f, "uniform:{from}-{to}"),
            Sizes::Mix(mix) => {
                f.write_str("mix:")?;
                for (index, (size, weight)) in mix.parts.iter().enumerate() {
                    write!(f, "{}{size}={weight}", if index == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

/// Reads `64`, `uniform:64-1400` or `mix:64=70,512=25,1400=5`.
impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None => size(text).map(Sizes::Fixed),
            Some(("uniform", ends)) => {
                let (from, to) = ends.split_once('-').ok_or("uniform sizes look like uniform:64-1400")?;
                let (from, to) = (size(from)?, size(to)?);
                if from > to {
                    return Err(format!("the shorter size comes first: uniform:{to}-{from}"));
                }
                Ok(Sizes::Uniform { from, to })
            }
            Some(("mix", parts)) => mix(parts).map(Sizes::Mix),
            Some(_) => Err("sizes look like 64, uniform:64-1400 or mix:64=70,512=25,1400=5".into()),
        }
    }
}

fn size(text: &str) -> Result<usize, String> {
    let size = units::size(text)?;
    if size <= LONGEST_MESSAGE { Ok(size) } else { Err(format!("at most {LONGEST_MESSAGE} bytes")) }
}

fn mix(text: &str) -> Result<Mix, String> {
    let part = |part: &str| {
        let (bytes, weight) = part.split_once('=').ok_or("a part of a mix looks like 64=70: a size and its weight")?;
        match units::count(weight)? {
            weight @ 1..=HEAVIEST => Ok((size(bytes)?, weight)),
            _ => Err(format!("the weight of a size is 1 to {HEAVIEST}")),
        }
    };
    let mut parts: Vec<(usize, u64)> = text.split(',').map(part).collect::<Result<_, String>>()?;
    parts.sort_unstable();
    if let Some(pair) = parts.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!("size {} is in the mix twice", pair[0].0));
    }
    if parts.len() > MOST_PARTS {
        return Err(format!("at most {MOST_PARTS} sizes"));
    }
    let total = parts.iter().map(|(_, weight)| weight).sum();
    Ok(Mix { parts, total })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const DRAWS: u64 = 200_000;

    fn sizes(text: &str) -> Sizes {
        text.parse().unwrap()
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for text in ["64", "0", "uniform:24-1400", "uniform:7-7", "mix:64=70,512=25,1400=5"] {
            assert_eq!(sizes(text).to_string(), text);
        }
        assert_eq!(sizes("mix:1KiB=1,64=2k"), sizes("mix:64=2000,1024=1"));
        let mix = sizes("mix:1400=5,64=95");
        assert_eq!((mix.shortest(), mix.longest()), (64, 1400));
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        for (text, named) in [
            ("lognormal:3,4", "uniform:"),
            ("uniform:9", "uniform:64-1400"),
            ("uniform:9-8", "uniform:8-9"),
            ("uniform:1-17MiB", "16777216"),
            ("mix:", "64=70"),
            ("mix:64", "64=70"),
            ("mix:64=0", "weight"),
            ("mix:64=1,64=2", "twice"),
            ("17MiB", "16777216"),
        ] {
            let refusal = Sizes::from_str(text).unwrap_err();
            assert!(refusal.contains(named), "{text}: {refusal}");
        }
    }

    #[test]
    fn a_mix_comes_as_often_as_its_weights_say() {
        let mix = sizes("mix:64=70,512=25,1400=5");
        let mut seen: HashMap<usize, u64> = HashMap::new();
        for number in 0..DRAWS {
            *seen.entry(mix.draw(9, number)).or_default() += 1;
        }
        assert_eq!(seen.len(), 3);
        for (size, share) in [(64, 0.70), (512, 0.25), (1400, 0.05)] {
            let expected = share * DRAWS as f64;
            // Five standard deviations of a binomial distribution.
            let tolerance = 5.0 * (expected * (1.0 - share)).sqrt();
            assert!((seen[&size] as f64 - expected).abs() < tolerance, "{size}: {} of {DRAWS}", seen[&size]);
        }
    }

    #[test]
    fn uniform_sizes_take_every_value_and_no_other_equally_often() {
        let uniform = sizes("uniform:100-149");
        let mut seen = [0_u64; 50];
        for number in 0..DRAWS {
            seen[uniform.draw(9, number) - 100] += 1;
        }
        let expected = DRAWS as f64 / 50.0;
        let tolerance = 5.0 * expected.sqrt();
        assert!(seen.iter().all(|&times| (times as f64 - expected).abs() < tolerance), "{seen:?}");
    }

    #[test]
    fn neighbours_do_not_agree_and_another_seed_is_another_order() {
        let uniform = sizes("uniform:0-9999");
        let row = |seed| (0..1000).map(|number| uniform.draw(seed, number)).collect::<Vec<_>>();
        assert_eq!(row(1), row(1));
        let same = row(1).iter().zip(row(2)).filter(|(one, two)| **one == *two).count();
        assert!(same < 5, "{same} of 1000");
        // The correlation of a size with the next one: 0.16 is five standard deviations for a thousand.
        let row = row(1);
        let mean = row.iter().sum::<usize>() as f64 / 1000.0;
        let off: Vec<f64> = row.iter().map(|&size| size as f64 - mean).collect();
        let product: f64 = off.windows(2).map(|pair| pair[0] * pair[1]).sum();
        let square: f64 = off.iter().map(|off| off * off).sum();
        assert!((product / square).abs() < 0.16, "{}", product / square);
    }
}
