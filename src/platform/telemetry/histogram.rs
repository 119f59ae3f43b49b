//! A histogram of durations that any number of threads fill without a lock.
//!
//! Each core writes to its own shard, so that a request touches no cache line of another core; the
//! shards are added up when somebody scrapes.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Durations counted in fixed buckets, from 10 microseconds to 30 seconds.
#[derive(Debug, Default)]
pub struct Histogram {
    shards: [Shard; SHARDS],
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

// Two cache lines at least, so that neighbours do not share one.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    nanos: AtomicU64,
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
}

impl Histogram {
    /// Counts one duration; a few nanoseconds, no lock, no allocation.
    pub fn observe(&self, duration: Duration) {
        let Some(shard) = self.shards.get(shard_of_this_thread()) else { return };
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        // Rounded up, so that a bucket's bound belongs to it as Prometheus asks (`le`).
        let micros =
            micros.saturating_add(u64::from(!duration.subsec_nanos().is_multiple_of(1_000)));
        let bucket = BOUNDS_US.partition_point(|&bound| bound < micros);
        if let Some(count) = shard.buckets.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        shard.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Adds up the shards.
    #[expect(clippy::cast_precision_loss, reason = "sums in seconds need no more than 53 bits")]
    pub fn read(&self) -> Reading {
        let nanos: u64 = self.shards.iter().map(|shard| shard.nanos.load(Ordering::Relaxed)).sum();
        let bounds = BOUNDS_US.iter().map(|&bound| bound as f64 / 1e6).chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds
            .enumerate()
            .map(|(index, bound)| {
                let counts = self.shards.iter().filter_map(|shard| shard.buckets.get(index));
                (bound, counts.map(|count| count.load(Ordering::Relaxed)).sum())
            })
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        Reading { sum: nanos as f64 / 1e9, count, buckets }
    }
}

// Threads are numbered as they come; per-core runtimes start first and get shards of their own.
fn shard_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    SHARD.with(|shard| {
        if shard.get() == usize::MAX {
            shard.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        shard.get()
    })
}

/// Shards a histogram: 128 to 256 bytes each, so 8 keep a version's nine under 20 KiB.
const SHARDS: usize = 8;

/// Upper bounds of the buckets in microseconds: three a decade, where requests are.
const BOUNDS_US: [u64; 20] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
    500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

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
        assert_eq!(reading.buckets.last(), Some(&(f64::MAX, 4_000)));
        assert!((reading.sum - 240_000.080_004).abs() < 1e-6, "{}", reading.sum);
    }
}
