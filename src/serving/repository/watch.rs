//! Watches the folder of models, and says which versions have become complete.
//!
//! The system's file events say where to look; a slow poll looks everywhere, for file systems that
//! send none. What was seen is judged by `settle`; nothing is loaded here.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use notify::event::{EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use crate::domain::model::{ModelName, VersionNumber};
use crate::platform::clock::Clock;
use crate::platform::quiet;
use crate::serving::repository::layout::Repository;
use crate::serving::repository::settle::{Found, Moment, Settling};
use crate::serving::repository::sighting;

/// How a folder is watched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// How long files must rest to count as complete.
    pub settle: Duration,
    /// How often to look everywhere.
    pub poll: Duration,
}

/// A folder that is looked at; not yet by a thread of its own.
#[derive(Debug)]
pub struct Watch {
    repository: Repository,
    pace: Pace,
    clock: Arc<dyn Clock>,
    settling: Settling,
    /// Models to look at, and versions of them that came by one rename.
    dirty: BTreeMap<ModelName, BTreeSet<VersionNumber>>,
    signals: Receiver<Signal>,
    sender: Sender<Signal>,
    // Sends events until it is dropped; none where the system gives none.
    _events: Option<RecommendedWatcher>,
}

/// The thread that watches, until it is dropped.
#[derive(Debug)]
pub struct Watching {
    stop: Sender<Signal>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Signal {
    Event(Event),
    /// Events were lost: look everywhere.
    Lost,
    Stop,
}

impl Watch {
    /// Begins to collect events of a folder.
    pub fn new(repository: Repository, pace: Pace, clock: Arc<dyn Clock>) -> Self {
        let (sender, signals) = crossbeam_channel::unbounded();
        let events = watcher(repository.root(), sender.clone());
        if let Err(error) = &events {
            tracing::warn!(%error, poll = ?pace.poll, "no file events: the folder of models is polled");
        }
        Self {
            repository,
            pace,
            clock,
            settling: Settling::new(pace.settle),
            dirty: BTreeMap::new(),
            signals,
            sender,
            _events: events.ok(),
        }
    }

    /// Looks at everything, and waits for what is being copied right now, but not for ever: files
    /// that go on changing are left to the thread. Blocks for at most twice the settling time.
    pub fn first(&mut self) -> Vec<Found> {
        let begun = self.clock.now();
        let mut found: BTreeMap<ModelName, Found> = BTreeMap::new();
        self.look_everywhere();
        loop {
            self.look(|news| drop(found.insert(news.model.clone(), news)));
            let waited = self.clock.now().saturating_duration_since(begun);
            if self.settling.unsettled().next().is_none() || waited > self.pace.settle * 2 {
                return found.into_values().collect();
            }
            self.listen(self.tick());
        }
    }

    /// Goes on looking on a thread of its own; `told` hears of every change, on that thread.
    ///
    /// # Errors
    ///
    /// The system's, if it gives no thread.
    pub fn start(mut self, told: impl Fn(Found) + Send + 'static) -> io::Result<Watching> {
        let stop = self.sender.clone();
        let thread = thread::Builder::new().name("watch".to_owned());
        let thread = thread.spawn(move || {
            give_way();
            self.run(told);
        })?;
        Ok(Watching { stop, thread: Some(thread) })
    }

    fn run(&mut self, told: impl Fn(Found)) {
        let mut polled = self.clock.now();
        loop {
            let since = self.clock.now().saturating_duration_since(polled);
            let wait = match self.settling.unsettled().next() {
                Some(_) => self.tick(),
                None => self.pace.poll.saturating_sub(since),
            };
            if !self.listen(wait) {
                return;
            }
            if self.clock.now().saturating_duration_since(polled) >= self.pace.poll {
                polled = self.clock.now();
                self.look_everywhere();
            }
            self.look(&told);
        }
    }

    // Short beside the time to settle, long beside a look.
    fn tick(&self) -> Duration {
        (self.pace.settle / 4).clamp(Duration::from_millis(5), Duration::from_millis(250))
    }

    /// Waits for a signal, then a moment more for those that come with it: a copy sends thousands.
    /// False to stop.
    fn listen(&mut self, wait: Duration) -> bool {
        let mut until = self.clock.now() + wait;
        let mut heard = false;
        loop {
            let left = until.saturating_duration_since(self.clock.now());
            match self.signals.recv_timeout(left) {
                Ok(Signal::Event(event)) => self.note(&event),
                Ok(Signal::Lost) => self.look_everywhere(),
                Err(RecvTimeoutError::Timeout) => return true,
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            }
            if !heard {
                heard = true;
                until = self.clock.now() + GATHER;
            }
        }
    }

    fn note(&mut self, event: &Event) {
        // Of two paths the second is where it went.
        let renamed = matches!(
            event.kind,
            EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both))
        );
        let arrived = event.paths.last().filter(|_| renamed);
        for path in &event.paths {
            let Some((model, version)) = self.place(path) else { continue };
            let whole = self.dirty.entry(model).or_default();
            whole.extend(version.filter(|_| arrived == Some(path)));
        }
    }

    /// The model that a path belongs to, and the version if it is a version's own folder.
    fn place(&self, path: &Path) -> Option<(ModelName, Option<VersionNumber>)> {
        let mut below = path.strip_prefix(self.repository.root()).ok()?.components();
        let mut next = || match below.next() {
            Some(Component::Normal(name)) => name.to_str().map(str::to_owned),
            _ => None,
        };
        let model = match self.repository.single() {
            Some(single) => single.clone(),
            None => ModelName::parse(&next()?).ok()?,
        };
        let version = next().and_then(|name| VersionNumber::parse(&name));
        Some((model, version.filter(|_| next().is_none())))
    }

    fn look_everywhere(&mut self) {
        match self.repository.models() {
            Ok(models) => {
                for model in models.iter().chain(self.settling.models()) {
                    self.dirty.entry(model.clone()).or_default();
                }
            }
            // What served goes on: a folder that cannot be read for a while is not an empty one.
            Err(error) => tracing::warn!(%error, "the folder of models cannot be read"),
        }
    }

    fn look(&mut self, mut told: impl FnMut(Found)) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for model in self.settling.unsettled() {
            dirty.entry(model.clone()).or_default();
        }
        for (model, whole) in dirty {
            let seen = sighting::look(&self.repository, &model);
            let at = Moment { now: self.clock.now(), wall: self.clock.wall() };
            if let Some(found) = self.settling.look(&model, &seen, &whole, at) {
                told(found);
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.stop.send(Signal::Stop).ok();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the watching thread panicked");
        }
    }
}

fn watcher(root: &Path, sender: Sender<Signal>) -> notify::Result<RecommendedWatcher> {
    let told = move |event: notify::Result<Event>| {
        let signal = match event {
            // Reading a model is no news; and each look of ours is many of these.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => return,
            Ok(event) if event.need_rescan() => Signal::Lost,
            Ok(event) => Signal::Event(event),
            Err(_) => Signal::Lost,
        };
        // Disconnected means that nobody watches any more.
        sender.send(signal).ok();
    };
    // Its thread has the priority of the one that makes it.
    let made = thread::spawn(|| {
        give_way();
        notify::recommended_watcher(told)
    });
    let made = made.join().unwrap_or_else(|_| Err(notify::Error::generic("its thread panicked")));
    let mut watcher = made?;
    watcher.watch(root, RecursiveMode::Recursive)?;
    Ok(watcher)
}

fn give_way() {
    if let Err(error) = quiet::give_way() {
        tracing::warn!(%error, "watching has the same priority as answering");
    }
}

/// How long to gather events before a look.
const GATHER: Duration = Duration::from_millis(5);
