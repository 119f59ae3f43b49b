//! A version in memory: its engine, its queue, its counters.

use std::sync::Arc;

use crate::domain::inference::Origin;
use crate::domain::model::{Digest, VersionKey, VersionNumber};
use crate::domain::signature::Signature;
use crate::platform::sync::{Bell, Flag};
use crate::platform::telemetry::versions::VersionMetrics;
use crate::serving::batching::queue::Queue;
use crate::serving::runtime::engine::Facts;

/// A loaded version. Requests hold it by a lease; the reaper frees it.
#[derive(Debug)]
pub struct Version {
    origin: Arc<Origin>,
    terms: Terms,
    queue: Queue,
    metrics: Arc<VersionMetrics>,
    draining: Flag,
    bell: Bell,
    taken_bytes: Option<u64>,
}

/// What requests must be, as the model's file and its owner say together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Terms {
    /// What it accepts and answers.
    pub signature: Arc<Signature>,
    /// Rows that one request may have, if there is a bound.
    pub max_rows: Option<u64>,
    /// Name of the model's file.
    pub file: Arc<str>,
    /// What the owner's declaration was made of, if there is one.
    pub config: Option<Digest>,
}

impl Version {
    /// Puts a version together from its parts.
    pub fn new(
        origin: Origin,
        terms: Terms,
        queue: Queue,
        metrics: Arc<VersionMetrics>,
        bell: Bell,
    ) -> Self {
        metrics.watch_queue(queue.waiting());
        let (origin, draining) = (Arc::new(origin), Flag::default());
        Self { origin, terms, queue, metrics, draining, bell, taken_bytes: None }
    }

    /// The same, whose load took so much memory, if that is known.
    #[must_use]
    pub fn that_took(self, taken_bytes: Option<u64>) -> Self {
        Self { taken_bytes, ..self }
    }

    /// Memory that its load took, in bytes, if that is known.
    pub fn taken_bytes(&self) -> Option<u64> {
        self.taken_bytes
    }

    /// Which version it is.
    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Its number.
    pub fn number(&self) -> VersionNumber {
        self.origin.version
    }

    /// Its name and number.
    pub fn key(&self) -> VersionKey {
        VersionKey { model: self.origin.model.clone(), number: self.origin.version }
    }

    /// What it accepts and answers.
    pub fn signature(&self) -> &Arc<Signature> {
        &self.terms.signature
    }

    /// All that requests must be.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// What its loading found out.
    pub fn facts(&self) -> &Facts {
        self.queue.engine().facts()
    }

    /// Where its requests wait and run.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Its counters.
    pub fn metrics(&self) -> &Arc<VersionMetrics> {
        &self.metrics
    }

    /// Whether leases should tell the reaper when they end.
    pub fn is_draining(&self) -> bool {
        self.draining.is_raised()
    }

    /// What a lease rings when it ends while the version drains.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// From now on, leases that end wake the reaper.
    pub fn start_draining(&self) {
        self.draining.raise();
    }

    /// Whether the caller is the last owner of everything that belongs to the version.
    pub fn is_unused(this: &Arc<Self>) -> bool {
        Arc::strong_count(this) == 1 && this.queue.is_unused()
    }
}
