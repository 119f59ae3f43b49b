//! What time it is, as a value that tests can turn.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

/// Tells the time; shared by everything that measures or waits.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// A point on a clock that never goes back, for durations and deadlines.
    fn now(&self) -> Instant;

    /// The time of day, for records and names.
    fn wall(&self) -> SystemTime;

    /// How long the calling thread had a processor so far. Costs a system call.
    fn worked(&self) -> Duration;
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

/// A clock that stands still until a test turns it.
#[derive(Clone, Debug)]
pub struct Manual {
    start: Instant,
    turned: Arc<Mutex<Duration>>,
}

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everyone else takes")]
    fn now(&self) -> Instant {
        Instant::now()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock that everyone else takes")]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn worked(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(time).unwrap_or_default()
    }
}

impl Manual {
    /// A clock that stands at an arbitrary instant, and at the Unix epoch for the time of day.
    pub fn new() -> Self {
        Self { start: System.now(), turned: Arc::default() }
    }

    /// Turns it on.
    pub fn advance(&self, by: Duration) {
        *self.turned.lock() += by;
    }
}

impl Clock for Manual {
    fn now(&self) -> Instant {
        self.start + *self.turned.lock()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + *self.turned.lock()
    }

    fn worked(&self) -> Duration {
        *self.turned.lock()
    }
}

impl Default for Manual {
    fn default() -> Self {
        Self::new()
    }
}
