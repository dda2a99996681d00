//! Values of the command line: never a panic, and what is read means what was written.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use shout::target::Target;
use shout::units::{count, duration, size};

fuzz_target!(|text: &str| {
    if let Ok(target) = text.parse::<Target>() {
        assert_ne!(target.port, 0);
        assert_eq!(target.to_string().parse::<Target>().as_ref(), Ok(&target), "{target} is read as another target");
    }
    if let Ok(time) = duration(text) {
        assert!(time <= Duration::from_secs(365 * 24 * 3600));
        // A bare number is seconds.
        if let Ok(seconds) = text.parse::<u32>() {
            assert_eq!(time, Duration::from_secs(seconds.into()));
        }
    }
    for number in [count(text).ok(), size(text).ok().map(|size| size as u64)].into_iter().flatten() {
        assert!(number < 1 << 53);
        assert_eq!(count(&number.to_string()), Ok(number));
        if let Ok(written) = text.parse::<u64>() {
            assert_eq!(number, written);
        }
    }
});
