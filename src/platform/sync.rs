//! Where threads meet while versions come and go: a flag, a bell, a lock.
//!
//! In a build these are the standard library's and `parking_lot`'s, and nothing more. Compiled for
//! this crate's own unit tests they are shuttle's, which runs threads in any order that chance
//! finds: `control/races.rs` holds the code above to its promises in thousands of them. Such a
//! test must run in a model; all others go against a build, in `tests/it`.

use std::io;
use std::time::Duration;

#[cfg(not(test))]
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(test))]
use std::sync::mpsc;
#[cfg(not(test))]
use std::thread;

#[cfg(test)]
use shuttle::sync::atomic::{AtomicBool, Ordering};
#[cfg(test)]
use shuttle::sync::mpsc;
#[cfg(test)]
use shuttle::thread;

/// Something that is not so at first, and then is for good.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

/// Wakes whoever listens. Rings of a bell that already rang are lost, which is all right.
#[derive(Clone, Debug)]
pub struct Bell(mpsc::SyncSender<()>);

/// What hears a bell.
#[derive(Debug)]
pub struct Ear(mpsc::Receiver<()>);

/// Puts things into a box that never fills.
pub type Sender<T> = mpsc::Sender<T>;

/// Takes things out of the box.
pub type Receiver<T> = mpsc::Receiver<T>;

/// A thread to wait for.
pub type JoinHandle = thread::JoinHandle<()>;

/// A lock that is fair enough and cannot be poisoned.
#[cfg(not(test))]
pub type Mutex<T> = parking_lot::Mutex<T>;

/// A lock whose takers a model puts in order.
#[cfg(test)]
#[derive(Debug, Default)]
pub struct Mutex<T>(shuttle::sync::Mutex<T>);

impl Flag {
    /// Whether it is so.
    pub fn is_raised(&self) -> bool {
        let raised = self.0.load(Ordering::Acquire);
        point();
        raised
    }

    /// From now on it is so.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Bell {
    /// A bell and what hears it.
    pub fn hang() -> (Self, Ear) {
        let (ring, rung) = mpsc::sync_channel(1);
        (Self(ring), Ear(rung))
    }

    /// Rings; never blocks.
    pub fn ring(&self) {
        // Full means that it rings already, disconnected that the process ends.
        self.0.try_send(()).ok();
        point();
    }
}

impl Ear {
    /// Waits until the bell rings or rang since the last time, at most that long.
    pub fn listen(&self, at_most: Duration) {
        #[cfg(test)]
        if time::passes(at_most) {
            self.0.try_recv().ok();
            return;
        }
        self.0.recv_timeout(at_most).ok();
    }
}

#[cfg(test)]
impl<T> Mutex<T> {
    /// As `parking_lot`'s.
    pub fn lock(&self) -> shuttle::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }
}

/// A box that never fills.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    mpsc::channel()
}

/// Starts a thread of that name.
///
/// # Errors
///
/// The system's, if it gives no thread.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle> {
    thread::Builder::new().name(name.to_owned()).spawn(body)
}

/// Two steps meet here, between which another thread may come: nothing at all in a build.
#[cfg(not(test))]
#[inline]
pub const fn point() {}

/// Two steps meet here, between which another thread may come.
#[cfg(test)]
pub fn point() {
    thread::yield_now();
}

/// Time in a model. While it passes, waits of less than a second end at any moment; longer ones
/// never do, as if nobody had so much patience.
#[cfg(test)]
pub mod time {
    use std::cell::Cell;
    use std::time::Duration;

    thread_local! {
        // A model runs all its threads on one of the system's.
        static STANDS_STILL: Cell<bool> = const { Cell::new(false) };
    }

    /// Runs models in which no wait ends by itself.
    pub fn stand_still(models: impl FnOnce()) {
        STANDS_STILL.set(true);
        models();
        STANDS_STILL.set(false);
    }

    pub(super) fn passes(wait: Duration) -> bool {
        let passes = wait < Duration::from_secs(1) && !STANDS_STILL.get();
        if passes {
            super::point();
        }
        passes
    }
}
