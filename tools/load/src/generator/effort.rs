//! What a generator's thread took of its processor while it sent. Does I/O: reads `/proc` twice a stage.

use crate::clock::Nanos;
use crate::observer::{self, Usage};
use crate::verdict;

/// What a generator's thread did in a stage from its start to the end of sending. The drain is left out: a generator that
/// only waits for what is lost has all the time in the world, and a long wait would hide how busy it was before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Effort {
    /// How long that was.
    pub time: Nanos,
    /// What the kernel counted for the thread, where it tells.
    pub usage: Option<Usage>,
    /// Processor time that it spent on nothing but waiting for a time.
    pub spun: Nanos,
}

impl Effort {
    /// The share of the time that the thread was on a processor and did not only wait.
    pub fn busy(&self) -> Option<f64> {
        self.usage.map(|usage| self.share(usage.cpu.saturating_sub(self.spun)))
    }

    /// The share of the time that it was ready to run and had no processor.
    pub fn waited(&self) -> Option<f64> {
        self.usage.map(|usage| self.share(usage.waited))
    }

    /// Times a second that the processor was taken from it.
    pub fn switches(&self) -> Option<f64> {
        Some(verdict::rate(self.usage?.switches?.involuntary, self.time))
    }

    fn share(&self, time: Nanos) -> f64 {
        time as f64 / self.time.max(1) as f64
    }
}

/// Counters of the calling thread at the start of a stage.
pub(super) struct Meter {
    began: Nanos,
    usage: Option<Usage>,
    spun: Nanos,
}

impl Meter {
    /// A stage begins, and so much has been spun in all stages before.
    pub(super) fn start(began: Nanos, spun: Nanos) -> Self {
        Meter { began, usage: observer::thread(), spun }
    }

    /// What has come on top of it by now.
    pub(super) fn read(&self, now: Nanos, spun: Nanos) -> Effort {
        let usage = observer::thread().zip(self.usage).map(|(now, before)| now.since(before));
        Effort { time: now.saturating_sub(self.began), usage, spun: spun - self.spun }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observer::Switches;

    #[test]
    fn shares_are_of_the_time_of_sending_and_what_was_spun_is_headroom() {
        let switches = Some(Switches { voluntary: 0, involuntary: 3 });
        let usage = Usage { cpu: 950, waited: 40, switches, resident: 0 };
        let effort = Effort { time: 1000, usage: Some(usage), spun: 50 };
        assert_eq!((effort.busy(), effort.waited(), effort.switches()), (Some(0.9), Some(0.04), Some(3e6)));
        assert_eq!(Effort { usage: None, ..effort }.busy(), None);
    }
}
