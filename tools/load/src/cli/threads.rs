//! The flags about threads and processors. Pure, but for the number of processors.

use clap::Args;

use super::values::positive_count;
use crate::host::{self, Cpu};

/// Threads that a run may have: far more than a machine of today has processors for.
const MOST_THREADS: u64 = 1024;

/// How many generators there are, and where they run.
#[derive(Debug, Clone, Args)]
pub struct ThreadOptions {
    /// Generators that make the load together, each on a thread of its own with its share of the connections and of the
    /// rate. Fewer than there are processors are bound to one each. As many take a local server's processor from it: that
    /// makes more load, and latencies that mean little
    // On two processors, a server on one of them, medians of six runs of each in turns, in millions a second:
    // `udp://… -c 2 -p 512 -d 3s` 4.67 with `-t 1` and 5.59 with `-t 2`; `tcp://… -c 16 -p 64 -d 2s` 4.89 and 5.10. All
    // but one of those with two threads were invalid: each waited for a processor for a good part of the time.
    #[arg(short, long, value_parser = threads, default_value = "1", value_name = "N")]
    pub threads: usize,

    /// Bind the generators to these processors in turn
    #[arg(long, value_parser = processor, value_delimiter = ',', value_name = "CPU,...")]
    pub pin: Vec<Cpu>,
}

impl ThreadOptions {
    /// The processors to bind the generators to, of those that there are; none: to none.
    pub fn pins(&self, processors: &[Cpu]) -> Vec<Cpu> {
        if !self.pin.is_empty() {
            return self.pin.clone();
        }
        // One is left for everybody else, of whom the server may be one.
        let has_enough = self.threads > 1 && self.threads < processors.len();
        let last = processors.iter().rev().take(self.threads).copied();
        if has_enough { last.collect() } else { Vec::new() }
    }
}

fn threads(text: &str) -> Result<usize, String> {
    match positive_count(text)? {
        number if number <= MOST_THREADS => Ok(number as usize),
        _ => Err(format!("at most {MOST_THREADS} threads")),
    }
}

fn processor(text: &str) -> Result<Cpu, String> {
    let cpu: Cpu = text.parse().map_err(|_| "processors are numbers such as 0,1".to_owned())?;
    let processors = host::processors();
    if processors.contains(&cpu) { Ok(cpu) } else { Err(format!("this process may use the processors {processors:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_bound_where_a_processor_is_left_over() {
        let pins =
            |threads, pin: &[Cpu], processors: &[Cpu]| ThreadOptions { threads, pin: pin.to_vec() }.pins(processors);
        assert_eq!(pins(1, &[], &[0, 1, 2]), [] as [Cpu; 0]);
        assert_eq!(pins(2, &[], &[0, 1]), [] as [Cpu; 0]);
        assert_eq!(pins(2, &[], &[0, 1, 5]), [5, 1]);
        assert_eq!(pins(4, &[0], &[0, 1]), [0]);
    }
}
