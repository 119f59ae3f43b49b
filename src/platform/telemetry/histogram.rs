//! A histogram of durations that any number of threads fill without a lock.

use std::time::Duration;

use crate::platform::telemetry::sharded::Sharded;

/// Durations counted in fixed buckets, from 10 microseconds to 30 seconds.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One counter a bucket, and the last one for the sum in nanoseconds.
    counters: Sharded<{ SUM + 1 }>,
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Sum of all durations, in seconds.
    pub sum: f64,
    /// How many there were.
    pub count: u64,
    /// Upper bound in seconds and count of each bucket, not cumulative; the last is unbounded.
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Counts one duration, and returns its bucket; a few nanoseconds, no lock, no allocation.
    pub fn observe(&self, duration: Duration) -> usize {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        // Rounded up, so that a bucket's bound belongs to it as Prometheus asks (`le`).
        let micros = nanos.div_ceil(1_000);
        let bucket = BOUNDS_US.partition_point(|&bound| bound < micros);
        self.counters.add(bucket, 1);
        self.counters.add(SUM, nanos);
        bucket
    }

    /// Adds up what all threads counted.
    #[expect(clippy::cast_precision_loss, reason = "sums in seconds need no more than 53 bits")]
    pub fn read(&self) -> Reading {
        let bounds = BOUNDS_US.iter().map(|&bound| bound as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> =
            bounds.enumerate().map(|(index, bound)| (bound, self.counters.sum(index))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        Reading { sum: self.counters.sum(SUM) as f64 / 1e9, count, buckets }
    }
}

/// Upper bounds of the buckets in microseconds: three a decade, where requests are.
const BOUNDS_US: [u64; 20] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
    500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// The buckets, and the one without bound.
pub const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Place of the sum, behind the buckets.
const SUM: usize = BUCKETS;

#[cfg(test)]
mod tests {
    use super::Histogram;
    use std::time::Duration;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_no_count_is_lost_between_threads() {
        let histogram = Histogram::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        histogram.observe(Duration::from_micros(10));
                        histogram.observe(Duration::from_nanos(10_001));
                        histogram.observe(Duration::from_mins(1));
                    }
                });
            }
        });
        let reading = histogram.read();
        assert_eq!(reading.count, 12_000);
        assert_eq!(reading.buckets[0], (0.00001, 4_000));
        assert_eq!(reading.buckets[1], (0.000_025, 4_000));
        assert_eq!(reading.buckets.last(), Some(&(f64::INFINITY, 4_000)));
        assert!((reading.sum - 240_000.080_004).abs() < 1e-6, "{}", reading.sum);
    }
}
