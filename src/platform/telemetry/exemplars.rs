//! The last kept trace that fell into each bucket of a histogram.

use parking_lot::Mutex;

use crate::domain::trace::TraceId;

/// One request of a kept trace, as a bucket's example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// Its trace.
    pub trace_id: TraceId,
    /// How long it took.
    pub seconds: f64,
    /// When it ended, in seconds since the Unix epoch.
    pub at_seconds: f64,
}

/// At most one example for each of `N` buckets.
#[derive(Debug)]
pub struct Exemplars<const N: usize>(Mutex<[Option<Exemplar>; N]>);

impl<const N: usize> Exemplars<N> {
    /// Puts an example in the place of the one before. Only requests of kept traces come here, and
    /// none waits: where two meet, one of them is example enough.
    pub fn put(&self, bucket: usize, exemplar: Exemplar) {
        if let Some(mut all) = self.0.try_lock()
            && let Some(place) = all.get_mut(bucket)
        {
            *place = Some(exemplar);
        }
    }

    /// The examples, in the order of the buckets.
    pub fn read(&self) -> [Option<Exemplar>; N] {
        *self.0.lock()
    }
}

impl<const N: usize> Default for Exemplars<N> {
    fn default() -> Self {
        Self(Mutex::new([None; N]))
    }
}
