//! What is served: one immutable value behind one pointer.
//!
//! A request loads the pointer once and sees one consistent state of all models; a change builds a
//! new snapshot and stores the pointer. Readers never wait for writers.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::FixedState;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::domain::model::{ModelName, VersionNumber};
use crate::platform::sync;
use crate::serving::registry::state::State;
use crate::serving::registry::version::Version;

/// All models at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows with every published change.
    pub generation: u64,
    /// Whether the start-up scan is over.
    pub started: bool,
    /// Whether the server was told to stop.
    pub stopping: bool,
    /// Whether the server should be sent requests.
    pub ready: bool,
    entries: HashMap<ModelName, Entry, FixedState>,
}

/// One model at one moment.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: ModelName,
    /// What answers requests that name no version.
    pub default: Option<Arc<Version>>,
    /// Versions that answer requests which name them, lowest first.
    pub ready: Vec<Arc<Version>>,
    /// Every version that we know of with its state, lowest first.
    pub listed: Vec<(VersionNumber, State)>,
    /// Grows with every change of this model.
    pub generation: u64,
    /// What is wrong with it, if it has no good version, or lost its files.
    pub degraded: Option<String>,
}

/// The pointer to the snapshot in force.
#[derive(Debug, Default)]
pub struct Published {
    current: ArcSwap<Snapshot>,
    changed: Arc<Notify>,
}

impl Snapshot {
    /// A snapshot of these models, of a server that has not started yet.
    pub fn new(generation: u64, entries: impl IntoIterator<Item = Entry>) -> Self {
        let entries = entries.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
        Self { generation, entries, ..Self::default() }
    }

    /// Whether any model has something wrong.
    pub fn is_degraded(&self) -> bool {
        self.entries.values().any(|entry| entry.degraded.is_some())
    }

    /// The model of that name.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// All models, sorted by name: for listings, not for the request path.
    pub fn entries(&self) -> Vec<&Entry> {
        let mut entries: Vec<&Entry> = self.entries.values().collect();
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        entries
    }
}

impl Entry {
    /// The ready version of that number.
    pub fn version(&self, number: VersionNumber) -> Option<&Arc<Version>> {
        self.ready.iter().find(|version| version.number() == number)
    }

    /// The state of a version that we know of.
    pub fn state(&self, number: VersionNumber) -> Option<&State> {
        self.listed.iter().find(|(listed, _)| *listed == number).map(|(_, state)| state)
    }
}

impl Published {
    /// The snapshot in force; wait-free. Hold the guard for a look-up, not across an await.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The snapshot in force, to keep.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Puts a snapshot in force: every request that begins after this returns sees it.
    pub fn publish(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        sync::point();
        self.current.store(snapshot);
        self.changed.notify_waiters();
    }

    /// Ends when the next snapshot is in force.
    pub fn changed(&self) -> OwnedNotified {
        Arc::clone(&self.changed).notified_owned()
    }
}
