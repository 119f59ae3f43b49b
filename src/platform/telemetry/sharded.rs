//! Counters that any number of threads write without sharing a cache line.
//!
//! Each core writes to its own shard, so that a request touches no memory that another core
//! writes; the shards are added up when somebody reads. No lock, no allocation, a nanosecond or two.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// `N` counters.
#[derive(Debug)]
pub struct Sharded<const N: usize> {
    shards: [Shard<N>; SHARDS],
}

// Two cache lines at least, so that neighbours do not share one.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

impl<const N: usize> Sharded<N> {
    /// Adds to a counter; a number that is none is left alone.
    pub fn add(&self, counter: usize, value: u64) {
        if let Some(counter) = self.mine(counter) {
            counter.fetch_add(value, Ordering::Relaxed);
        }
    }

    /// Raises a counter to a value, if it is lower.
    pub fn raise(&self, counter: usize, value: u64) {
        if let Some(counter) = self.mine(counter) {
            counter.fetch_max(value, Ordering::Relaxed);
        }
    }

    /// What was added to a counter, by all threads.
    pub fn sum(&self, counter: usize) -> u64 {
        self.all(counter).fold(0, u64::wrapping_add)
    }

    /// The highest value that a counter was raised to, by all threads.
    pub fn max(&self, counter: usize) -> u64 {
        self.all(counter).max().unwrap_or_default()
    }

    fn mine(&self, counter: usize) -> Option<&AtomicU64> {
        self.shards.get(shard_of_this_thread())?.0.get(counter)
    }

    fn all(&self, counter: usize) -> impl Iterator<Item = u64> {
        let counters = self.shards.iter().filter_map(move |shard| shard.0.get(counter));
        counters.map(|counter| counter.load(Ordering::Relaxed))
    }
}

impl<const N: usize> Default for Sharded<N> {
    fn default() -> Self {
        let shard = || Shard(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { shards: std::array::from_fn(|_| shard()) }
    }
}

// Threads are numbered as they first count; per-core runtimes have shards of their own as long as
// there are no more cores than shards.
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

/// Shards of every counter: a version's counters stay under 28 KiB.
const SHARDS: usize = 8;
