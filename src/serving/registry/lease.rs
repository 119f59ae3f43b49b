//! Holds one version for one request, to the last byte of its answer.
//!
//! A version cannot be freed while a lease lives, and a lease is never the last owner: the reaper
//! holds every version that drains, so no request thread ever frees a session.

use std::ops::Deref;
use std::sync::Arc;

use crate::platform::sync::Bell;
use crate::serving::registry::version::Version;

/// A hold on a version.
#[derive(Debug)]
pub struct Lease {
    // Dropped in this order: the reaper must find the version released when the bell rings.
    version: Arc<Version>,
    chime: Chime,
}

#[derive(Debug, Default)]
struct Chime(Option<Bell>);

impl Lease {
    /// Takes hold of a version: one atomic increment.
    pub fn new(version: &Arc<Version>) -> Self {
        Self { version: Arc::clone(version), chime: Chime::default() }
    }
}

impl Deref for Lease {
    type Target = Version;

    fn deref(&self) -> &Version {
        &self.version
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.version.is_draining() {
            self.chime.0 = Some(self.version.bell().clone());
        }
    }
}

impl Drop for Chime {
    fn drop(&mut self) {
        if let Some(bell) = &self.0 {
            bell.ring();
        }
    }
}
