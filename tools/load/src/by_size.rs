//! What a stage measured on one transport, by the size of the messages. Pure: no I/O, no clock.
//!
//! A mix is told apart by its sizes, any other spread of lengths by powers of two. Messages that are all of one size are
//! not told apart, and nothing is recorded here.

use hdrhistogram::Histogram;

use crate::clock::Nanos;
use crate::payload::{Content, Sizes};
use crate::recorder;

/// Messages of one size, or of neighbouring sizes.
#[derive(Debug, Clone)]
pub struct Class {
    /// The shortest and the longest, in bytes.
    pub from: usize,
    /// The same as `from` in a mix.
    pub to: usize,
    /// Messages sent.
    pub sent: u64,
    /// Messages answered in time with exactly the right bytes: as many as `response` has values.
    pub replied: u64,
    /// Their response times.
    pub response: Histogram<u64>,
}

/// Every class of a run, in ascending order; none if there would be only one.
#[derive(Debug, Clone, Default)]
pub struct BySize {
    classes: Vec<Class>,
}

impl BySize {
    /// The classes that messages of this content fall into, all empty.
    pub fn of(content: &Content) -> Self {
        let sizes: Vec<(usize, usize)> = match content {
            Content::Template(Sizes::Fixed(_)) => Vec::new(),
            Content::Template(Sizes::Mix(mix)) => mix.sizes().map(|size| (size, size)).collect(),
            Content::Template(Sizes::Uniform { .. }) | Content::Lines(_) => {
                powers_of_two(content.shortest(), content.longest())
            }
        };
        let class = |(from, to)| Class { from, to, sent: 0, replied: 0, response: recorder::histogram() };
        let sizes = sizes.into_iter().filter(|_| content.shortest() < content.longest());
        BySize { classes: sizes.map(class).collect() }
    }

    /// The classes, the shortest messages first.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Forgets everything but the classes.
    pub fn reset(&mut self) {
        for class in &mut self.classes {
            class.sent = 0;
            class.replied = 0;
            class.response.reset();
        }
    }

    /// Notes that a message left.
    pub fn sent(&mut self, bytes: usize) {
        if let Some(class) = self.class(bytes) {
            class.sent += 1;
        }
    }

    /// Notes that a message got the right answer in time.
    pub fn replied(&mut self, bytes: usize, response: Nanos) {
        if let Some(class) = self.class(bytes) {
            class.replied += 1;
            recorder::record(&mut class.response, response);
        }
    }

    /// Adds what another transport or another generator measured with the same content.
    pub fn add(&mut self, other: &BySize) {
        other.classes.iter().for_each(|class| self.add_class(class));
    }

    /// Adds to the class of these sizes; one that is not there yet is made.
    pub fn add_class(&mut self, part: &Class) {
        let place = self.classes.partition_point(|class| class.from < part.from);
        match self.classes.get_mut(place).filter(|class| class.from == part.from) {
            None => self.classes.insert(place, part.clone()),
            Some(sum) => {
                sum.sent += part.sent;
                sum.replied += part.replied;
                sum.response.add(&part.response).expect("all histograms have the same bounds");
            }
        }
    }

    /// At most two dozen to look through.
    fn class(&mut self, bytes: usize) -> Option<&mut Class> {
        self.classes.iter_mut().find(|class| bytes <= class.to)
    }
}

/// The sizes from `shortest` to `longest`, cut before every power of two.
fn powers_of_two(shortest: usize, longest: usize) -> Vec<(usize, usize)> {
    let mut classes = Vec::new();
    let mut from = shortest;
    while from <= longest {
        let to = ((from + 1).next_power_of_two().max(2) - 1).min(longest);
        classes.push((from, to));
        from = to + 1;
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(sizes: &str) -> Vec<(usize, usize)> {
        let by_size = BySize::of(&Content::Template(sizes.parse().unwrap()));
        by_size.classes().iter().map(|class| (class.from, class.to)).collect()
    }

    #[test]
    fn classes_cover_every_size_once() {
        assert_eq!(ends("64"), []);
        assert_eq!(ends("uniform:9-9"), []);
        assert_eq!(ends("mix:512=1,64=3"), [(64, 64), (512, 512)]);
        assert_eq!(ends("uniform:0-4"), [(0, 1), (2, 3), (4, 4)]);
        assert_eq!(ends("uniform:63-1400"), [(63, 63), (64, 127), (128, 255), (256, 511), (512, 1023), (1024, 1400)]);
    }

    #[test]
    fn a_message_is_counted_in_its_own_class() {
        let mut by_size = BySize::of(&Content::Template("uniform:64-1400".parse().unwrap()));
        for bytes in [64, 127, 128, 1400] {
            by_size.sent(bytes);
        }
        by_size.replied(127, 5_000);
        let mut sum = BySize::default();
        sum.add(&by_size);
        sum.add(&by_size);
        let counts: Vec<_> = sum.classes().iter().map(|class| (class.sent, class.replied)).collect();
        assert_eq!(counts, [(4, 2), (2, 0), (0, 0), (0, 0), (2, 0)]);
        assert_eq!(sum.classes()[0].response.len(), 2);
    }
}
