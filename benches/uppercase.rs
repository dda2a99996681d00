//! How fast the upper-casing is, in bytes a second: `cargo bench --bench uppercase`. Pure: no I/O.
//!
//! Compare the rows of one size. ASCII input must cost the same in both cases to within the noise; that is the promise
//! of `--case unicode`. Text in which longer characters stand takes the slow way, one character at a time.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use shout::uppercase::{self, Case};

/// From one byte to beyond the second-level cache, by way of a short message, an Ethernet frame and a long read.
const SIZES: [usize; 5] = [1, 64, 1400, 64 << 10, 1 << 20];

/// Each row: its name, the case asked for, and what the input repeats.
const ROWS: [(&str, Case, &[u8]); 4] = [
    ("ascii, ascii input", Case::Ascii, b"The quick brown fox jumps over the lazy dog. "),
    ("unicode, ascii input", Case::Unicode, b"The quick brown fox jumps over the lazy dog. "),
    ("unicode, mixed input", Case::Unicode, "Zwölf Boxkämpfer jagen Viktor über den großen Deich. ".as_bytes()),
    ("unicode, invalid bytes", Case::Unicode, b"caf\xe9 cr\xe8me \xff\xc3( na\xefve "),
];

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for (name, case, sentence) in ROWS {
        let mut group = criterion.benchmark_group(name);
        for size in SIZES {
            // Raised by the first pass and lower case no more; no instruction depends on that.
            let mut text: Vec<u8> = sentence.iter().copied().cycle().take(size).collect();
            let mut grown = Vec::new();
            group.throughput(Throughput::BytesDecimal(size as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter(|| {
                    if !uppercase::in_place(case, black_box(&mut text)) {
                        uppercase::full(&text, &mut grown);
                    }
                    black_box(&grown);
                });
            });
        }
        group.finish();
    }
    criterion.final_summary();
}
