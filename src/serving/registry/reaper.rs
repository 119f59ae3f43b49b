//! Frees versions that drain, once nobody uses them any more.
//!
//! Freeing a large session takes milliseconds and unmaps memory; no request and no other version
//! waits for it. What is measured before and after says whether memory really came back.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use crate::domain::model::VersionKey;
use crate::platform::memory;
use crate::platform::sync::{self, Bell, Ear, JoinHandle, Receiver, Sender};
use crate::serving::registry::footprint::{self, Footprints, Unreturned};
use crate::serving::registry::version::Version;

/// The reaper, as those see it who hand versions to it.
#[derive(Debug)]
pub struct Reaper {
    retired: Option<Sender<Arc<Version>>>,
    bell: Bell,
    thread: Option<JoinHandle>,
}

/// What came of a version that was freed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Freed {
    /// Which one.
    pub key: VersionKey,
    /// Resident memory of the process before, in bytes.
    pub before_bytes: u64,
    /// Resident memory of the process after, in bytes.
    pub after_bytes: u64,
    /// What did not come back of the memory that its load took; none also where that cannot be said.
    pub unreturned: Option<Unreturned>,
}

impl Reaper {
    /// Starts the thread; `told` hears of each version that was freed, on that thread.
    ///
    /// # Errors
    ///
    /// The system's, if it gives no thread.
    pub fn start(
        footprints: Arc<Footprints>,
        told: impl Fn(Freed) + Send + 'static,
    ) -> io::Result<Self> {
        let (retired, incoming) = sync::channel();
        let (bell, ear) = Bell::hang();
        let free = move |version| told(free(version, &footprints));
        let thread = sync::spawn("reaper", move || reap(&incoming, &ear, free))?;
        Ok(Self { retired: Some(retired), bell, thread: Some(thread) })
    }

    /// What the leases of versions that drain ring.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Takes a version that no snapshot names any more; it is freed after its last lease.
    pub fn retire(&self, version: Arc<Version>) {
        version.start_draining();
        if let Some(retired) = &self.retired {
            // Fails only if the thread is gone; the version is then freed here, at the very end.
            drop(retired.send(version));
        }
        self.bell.ring();
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.retired.take());
        self.bell.ring();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the reaper panicked");
        }
    }
}

fn reap(incoming: &Receiver<Arc<Version>>, ear: &Ear, free: impl Fn(Arc<Version>)) {
    let mut draining: Vec<Arc<Version>> = Vec::new();
    loop {
        let open = loop {
            match incoming.try_recv() {
                Ok(version) => draining.push(version),
                Err(error) => break error != TryRecvError::Disconnected,
            }
        };
        let (unused, used): (Vec<_>, Vec<_>) = draining.into_iter().partition(Version::is_unused);
        draining = used;
        for version in unused {
            free(version);
        }
        if !open && draining.is_empty() {
            return;
        }
        // Not every owner rings (a snapshot being read, a turn in the ring), so look again soon
        // while something drains; otherwise sleep until the bell.
        let again = if draining.is_empty() { IDLE } else { LOOK_AGAIN };
        ear.listen(again);
    }
}

fn free(version: Arc<Version>, footprints: &Footprints) -> Freed {
    let (key, taken) = (version.key(), version.taken_bytes());
    let before_bytes = memory::resident_bytes().unwrap_or_default();
    let ((), change) = footprints.around(|| {
        drop(version);
        memory::trim();
    });
    let after_bytes = memory::resident_bytes().unwrap_or_default();
    let unreturned = taken.zip(change).and_then(|(taken, free)| footprint::unreturned(taken, free));
    Freed { key, before_bytes, after_bytes, unreturned }
}

/// How soon to look again at a version that is still used.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long to sleep when nothing drains; the bell ends it.
const IDLE: Duration = Duration::from_mins(1);
