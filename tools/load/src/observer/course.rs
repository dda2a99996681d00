//! The server's processor time in the course of a run. Does I/O: reads `/proc` now and then.
//!
//! A reading takes some ten microseconds of the generator's thread and is made as rarely as an interval ends, at the same
//! moment, which costs more than that. Readings are a little off the ends of the intervals; between two of them the time
//! is taken to have been used evenly.

use crate::clock::Nanos;
use crate::host;

/// Readings that are kept, 16 bytes each. Beyond them every second one is dropped, again and again.
const MOST: usize = 1024;

/// Processor time used up to a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reading {
    at: Nanos,
    used: Nanos,
}

/// Readings of one process, or of several together.
#[derive(Debug, Default)]
pub struct Course {
    processes: Vec<u32>,
    readings: Vec<Reading>,
    /// One reading in so many is kept.
    stride: u64,
    offered: u64,
}

impl Course {
    /// Of `processes`, if there are any on this machine. The first reading is made now, which is time 0.
    pub fn start(processes: &[u32]) -> Self {
        let mut course = Course { processes: processes.to_vec(), readings: Vec::new(), stride: 1, offered: 0 };
        course.read(0);
        course
    }

    /// What a saved run says of a process: the start, the length and the time used of consecutive intervals.
    pub fn of_intervals(intervals: impl Iterator<Item = (Nanos, Nanos, Nanos)>) -> Self {
        let mut course = Course { processes: Vec::new(), readings: Vec::new(), stride: 1, offered: 0 };
        let mut total = 0;
        for (start, length, used) in intervals {
            if course.readings.is_empty() {
                course.push(Reading { at: start, used: 0 });
            }
            total += used;
            course.push(Reading { at: start + length, used: total });
        }
        course
    }

    /// Makes a reading at `now`, since the start, if it is to be kept.
    pub fn read(&mut self, now: Nanos) {
        let is_kept = self.offered.is_multiple_of(self.stride);
        self.offered += 1;
        if is_kept {
            self.end(now);
        }
    }

    /// Makes the last reading.
    pub fn end(&mut self, now: Nanos) {
        // Of those that are still there.
        let each = self.processes.iter().filter_map(|pid| host::cpu_time(*pid));
        if let Some(used) = each.reduce(|sum, more| sum + more) {
            self.push(Reading { at: now, used });
        }
    }

    fn push(&mut self, reading: Reading) {
        if self.readings.len() == MOST {
            let mut index = 0;
            self.readings.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.stride *= 2;
        }
        self.readings.push(reading);
    }

    /// Processor time used from one moment to another. `None` if it is not known of every moment between them.
    pub fn between(&self, from: Nanos, to: Nanos) -> Option<Nanos> {
        Some(self.used_by(to)?.saturating_sub(self.used_by(from)?))
    }

    fn used_by(&self, moment: Nanos) -> Option<Nanos> {
        let after = self.readings.partition_point(|reading| reading.at < moment);
        let next = self.readings.get(after)?;
        let Some(before) = after.checked_sub(1).map(|index| self.readings[index]) else {
            return (next.at == moment).then_some(next.used);
        };
        let share = (moment - before.at) as f64 / (next.at - before.at).max(1) as f64;
        Some(before.used + (share * next.used.saturating_sub(before.used) as f64).round() as Nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(readings: &[(Nanos, Nanos)]) -> Course {
        let mut course = Course { stride: 1, ..Course::default() };
        for &(at, used) in readings {
            course.push(Reading { at, used });
        }
        course
    }

    #[test]
    fn time_between_readings_was_used_evenly_and_parts_add_up() {
        let course = course(&[(0, 500), (100, 550), (200, 650)]);
        assert_eq!(course.between(0, 200), Some(150));
        assert_eq!((course.between(0, 50), course.between(50, 150)), (Some(25), Some(75)));
        assert_eq!(course.between(150, 201), None, "beyond the last reading nothing is known");
        assert_eq!(Course::default().between(0, 0), None);
    }

    #[test]
    fn a_long_course_keeps_its_ends_and_few_readings() {
        let mut course = course(&[]);
        for number in 0..10 * MOST as u64 {
            course.push(Reading { at: number, used: 3 * number });
        }
        assert!(course.readings.len() <= MOST);
        let last = course.readings.last().unwrap().at;
        assert_eq!((course.readings[0].at, course.between(0, last)), (0, Some(3 * last)));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_its_processor() {
        let mut course = Course::start(&[std::process::id()]);
        let mut sum = 0_u64;
        // Work until it shows: bounded by patience alone, because a busy machine may give it no processor for long.
        for round in 1..1_000_000_000_u64 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(round));
            if round.is_multiple_of(1_000_000) {
                course.read(round);
                if course.between(0, round).is_some_and(|used| used > 0) {
                    return;
                }
            }
        }
        panic!("no processor time in a thousand million rounds ({sum})");
    }
}
