//! The `.hgrm` file: a percentile distribution as text, which `HdrHistogram`'s plotter and its kin read. Pure: no I/O.

use std::fmt::Write;

use hdrhistogram::Histogram;

/// Steps for each halving of the distance to 100 %: the default of `HdrHistogram`'s own tools.
const STEPS_PER_HALVING: u32 = 5;

/// Values are written in microseconds; three decimals are exact.
const NANOS_PER_UNIT: f64 = 1000.0;

/// The distribution of a histogram of nanoseconds, in microseconds.
pub fn text(histogram: &Histogram<u64>) -> String {
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut total = 0;
    for step in histogram.iter_quantiles(STEPS_PER_HALVING) {
        total += step.count_since_last_iteration();
        let value = step.value_iterated_to().min(histogram.max()) as f64 / NANOS_PER_UNIT;
        let quantile = step.quantile_iterated_to();
        // Writing to a String cannot fail.
        let _ = write!(text, "{value:12.3} {quantile:2.12} {total:10}");
        let _ = if quantile < 1.0 { writeln!(text, " {:14.2}", 1.0 / (1.0 - quantile)) } else { writeln!(text) };
    }
    let (mean, deviation) = (histogram.mean() / NANOS_PER_UNIT, histogram.stdev() / NANOS_PER_UNIT);
    let max = histogram.max() as f64 / NANOS_PER_UNIT;
    let sub_buckets = 2048; // of three significant digits: the next power of two above 2 · 10³
    let buckets = (histogram.high() / sub_buckets).ilog2() + 2;
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len());
    let _ = writeln!(text, "#[Buckets = {buckets:12}, SubBuckets     = {sub_buckets:12}]");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader as the plotters have it: four columns (the last one missing at 100 %), comments behind `#`.
    fn parse(text: &str) -> Vec<(f64, f64, u64)> {
        let mut lines = text.lines();
        let header: Vec<_> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!(header, ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
        lines
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
            .map(|line| {
                let fields: Vec<f64> = line.split_whitespace().map(|field| field.parse().unwrap()).collect();
                assert_eq!(fields.len(), if fields[1] < 1.0 { 4 } else { 3 }, "{line:?}");
                (fields[0], fields[1], fields[2] as u64)
            })
            .collect()
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_distribution() {
        let mut histogram = crate::recorder::histogram();
        for value in 1..=10_000_u64 {
            histogram.saturating_record(value * 1_000);
        }
        let rows = parse(&text(&histogram));
        assert!(rows.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1 && a.2 <= b.2));
        let &(value, quantile, count) = rows.last().unwrap();
        assert_eq!((quantile, count), (1.0, 10_000));
        assert_eq!((value * 1_000.0).round() as u64, histogram.max());
        for (value, quantile, count) in rows {
            // Of 1 to 10,000 µs, evenly spread, the value is the count and the quantile times ten thousand.
            assert!((value / count as f64 - 1.0).abs() < 0.002, "{value} µs after {count} values");
            assert!(count as f64 / 10_000.0 >= quantile - 1e-9, "{count} values at quantile {quantile}");
        }
    }

    #[test]
    fn an_empty_histogram_is_a_header_and_a_footer() {
        let text = text(&crate::recorder::histogram());
        assert!(parse(&text).iter().all(|row| row.2 == 0));
        assert!(text.contains("Total count    =            0]"));
    }
}
