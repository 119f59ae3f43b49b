//! What is counted of a version's runs, by the size of their batch.

use crate::platform::telemetry::sharded::Sharded;

/// Runs by batch size: one place for each usual size, and one for all others together.
#[derive(Debug, Default)]
pub struct Batches(Sharded<{ (SIZES.len() + 1) * EACH }>);

/// Sums of the runs of one batch size.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BatchTotals {
    /// Runs of the model.
    pub runs: u64,
    /// Time that requests became tensors.
    pub decode_ns: u64,
    /// Time that the model ran.
    pub run_ns: u64,
    /// Time that tensors became answers.
    pub encode_ns: u64,
}

impl Batches {
    /// Counts runs of a batch of so many rows: four additions.
    pub fn add(&self, rows: u64, totals: BatchTotals) {
        let BatchTotals { runs, decode_ns, run_ns, encode_ns } = totals;
        let first = place(rows) * EACH;
        for (counter, value) in (first..).zip([runs, decode_ns, run_ns, encode_ns]) {
            self.0.add(counter, value);
        }
    }

    /// Sums of all runs.
    pub fn all(&self) -> BatchTotals {
        (0..=SIZES.len()).map(|place| self.at(place)).fold(BatchTotals::default(), |sum, other| {
            BatchTotals {
                runs: sum.runs + other.runs,
                decode_ns: sum.decode_ns + other.decode_ns,
                run_ns: sum.run_ns + other.run_ns,
                encode_ns: sum.encode_ns + other.encode_ns,
            }
        })
    }

    /// Sums of each usual size that there was, smallest first.
    pub fn by_size(&self) -> impl Iterator<Item = (u64, BatchTotals)> {
        let sizes = SIZES.into_iter().enumerate().map(|(place, size)| (size, self.at(place)));
        sizes.filter(|(_, totals)| totals.runs > 0)
    }

    fn at(&self, place: usize) -> BatchTotals {
        let sum = |counter| self.0.sum(place * EACH + counter);
        BatchTotals { runs: sum(0), decode_ns: sum(1), run_ns: sum(2), encode_ns: sum(3) }
    }
}

fn place(rows: u64) -> usize {
    SIZES.binary_search(&rows).unwrap_or(SIZES.len())
}

/// Sizes that have a place of their own: what callers send, and what makers of batches make.
const SIZES: [u64; 22] =
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 32, 64, 128, 256, 512, 1024];

/// Counters of each.
const EACH: usize = 4;

#[cfg(test)]
mod tests {
    use super::{BatchTotals, Batches};

    #[test]
    fn usual_sizes_are_told_apart_and_all_are_summed_up() {
        let batches = Batches::default();
        let run = BatchTotals { runs: 1, decode_ns: 2, run_ns: 3, encode_ns: 4 };
        for rows in [0, 1, 16, 16, 17, 1024, u64::MAX] {
            batches.add(rows, run);
        }
        let sizes: Vec<_> = batches.by_size().map(|(size, totals)| (size, totals.runs)).collect();
        assert_eq!(sizes, [(1, 1), (16, 2), (1024, 1)]);
        let all = BatchTotals { runs: 7, decode_ns: 14, run_ns: 21, encode_ns: 28 };
        assert_eq!(batches.all(), all);
    }
}
