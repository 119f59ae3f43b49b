//! The board: every version we know of, and its state.
//!
//! The board is the truth that snapshots are made from. It is touched by changes only, under one
//! lock that is never held while something loads; requests never see it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::control::policy::Policy;
use crate::domain::model::{ModelName, VersionKey, VersionNumber};
use crate::platform::sync::Mutex;
use crate::serving::registry::snapshot::{Entry, Published, Snapshot};
use crate::serving::registry::state::{State, Step};
use crate::serving::registry::version::Version;
use crate::serving::repository::sighting::Fingerprint;

/// What the store keeps of a model: all that a restart needs to serve what was served.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ModelDocument {
    /// Which versions should serve, if an operator said so; else it is for the model's owner to say.
    pub policy: Option<Policy>,
    /// Unloaded as a whole, until somebody loads it.
    pub held: bool,
    /// Versions unloaded one by one, until somebody loads them.
    pub held_versions: BTreeSet<u64>,
    /// Versions that serve; the highest one answers requests that name none.
    pub serving: BTreeSet<u64>,
    /// What answered before the last promote or rollback.
    pub previous: Option<u64>,
}

/// All models and versions.
#[derive(Debug)]
pub struct Board {
    held: Mutex<Held>,
    published: Arc<Published>,
    strict: bool,
    released: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Held {
    generation: u64,
    started: bool,
    stopping: bool,
    models: BTreeMap<ModelName, Model>,
}

#[derive(Debug, Default)]
struct Model {
    document: ModelDocument,
    generation: u64,
    busy: Option<&'static str>,
    slots: BTreeMap<VersionNumber, Slot>,
}

#[derive(Debug)]
struct Slot {
    state: State,
    loaded: Option<Arc<Version>>,
    /// The files that it was last loaded of, or that could not be loaded.
    print: Option<Fingerprint>,
    on_disk: bool,
    /// Copies that serve no more and are not free yet: the number may be loaded again meanwhile.
    leaving: usize,
}

/// A version that a change has loaded.
#[derive(Debug)]
pub struct Loaded {
    /// The version.
    pub version: Arc<Version>,
    /// The files that it was loaded of.
    pub print: Option<Fingerprint>,
}

/// The right to change one model, until it is dropped. Nobody else changes it meanwhile.
#[derive(Debug)]
pub struct Hold<'a> {
    board: &'a Board,
    model: ModelName,
    /// The model's document when the hold was taken.
    pub document: ModelDocument,
    /// The document's generation.
    pub generation: u64,
}

/// Somebody else changes the model.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("model '{model}' is being changed: {doing} is under way, expected no other change")]
pub struct Busy {
    /// The model.
    pub model: ModelName,
    /// What the other change does.
    pub doing: &'static str,
}

impl Board {
    /// An empty board that publishes there; a strict one is ready only while no model is degraded.
    pub fn new(published: Arc<Published>, strict: bool) -> Self {
        Self { held: Mutex::default(), published, strict, released: Arc::default() }
    }

    /// Ends when the next change of any model does.
    pub fn released(&self) -> OwnedNotified {
        Arc::clone(&self.released).notified_owned()
    }

    /// What it publishes.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// Takes the right to change a model, which need not be known yet.
    ///
    /// # Errors
    ///
    /// [`Busy`], at once: a caller can look again, we do not queue changes.
    pub fn hold(&self, model: &ModelName, doing: &'static str) -> Result<Hold<'_>, Busy> {
        let mut held = self.held.lock();
        let entry = held.models.entry(model.clone()).or_default();
        if let Some(doing) = entry.busy {
            return Err(Busy { model: model.clone(), doing });
        }
        entry.busy = Some(doing);
        let (document, generation) = (entry.document.clone(), entry.generation);
        Ok(Hold { board: self, model: model.clone(), document, generation })
    }

    /// Says that the start-up scan is over: every model that was to be loaded serves or has failed.
    pub fn start(&self) {
        let mut held = self.held.lock();
        held.started = true;
        self.publish(&mut held);
    }

    /// Says that the server stops: from now on it is not ready.
    pub fn stop(&self) {
        let mut held = self.held.lock();
        held.stopping = true;
        self.publish(&mut held);
    }

    /// Notes that the memory of a version that drained is free.
    pub fn freed(&self, key: &VersionKey) {
        let mut held = self.held.lock();
        let Some(model) = held.models.get_mut(&key.model) else { return };
        let Some(slot) = model.slots.get_mut(&key.number) else { return };
        slot.leaving = slot.leaving.saturating_sub(1);
        // It may be loaded again already; then it was its old copy that went.
        if slot.state == State::Draining && slot.leaving == 0 {
            slot.step(Step::Free);
            self.publish(&mut held);
        }
    }

    fn publish(&self, held: &mut Held) {
        held.generation += 1;
        let entries = held.models.iter().map(|(name, model)| model.entry(name));
        // A model that nothing is known of is not there: a mistyped name leaves no trace.
        let entries = entries.filter(|entry| !entry.listed.is_empty() || entry.generation > 0);
        let mut snapshot = Snapshot::new(held.generation, entries);
        let degraded = self.strict && snapshot.is_degraded();
        snapshot.started = held.started;
        snapshot.stopping = held.stopping;
        snapshot.ready = held.started && !held.stopping && !degraded;
        self.published.publish(snapshot);
    }
}

impl Hold<'_> {
    /// The model held.
    pub fn model(&self) -> &ModelName {
        &self.model
    }

    /// The version of that number, if it is loaded and ready.
    pub fn ready(&self, number: VersionNumber) -> Option<Arc<Version>> {
        let held = self.board.held.lock();
        let slot = held.models.get(&self.model)?.slots.get(&number)?;
        slot.loaded.clone().filter(|_| slot.state.is_ready())
    }

    /// The state of a version, if we know of it.
    pub fn state(&self, number: VersionNumber) -> Option<State> {
        let held = self.board.held.lock();
        Some(held.models.get(&self.model)?.slots.get(&number)?.state.clone())
    }

    /// The files that a version was last loaded of, or that could not be loaded.
    pub fn print(&self, number: VersionNumber) -> Option<Fingerprint> {
        let held = self.board.held.lock();
        held.models.get(&self.model)?.slots.get(&number)?.print
    }

    /// Notes the files that a version is of, or that could not be loaded.
    pub fn set_print(&self, number: VersionNumber, print: Option<Fingerprint>) {
        let mut held = self.board.held.lock();
        let slot = held.models.get_mut(&self.model).and_then(|model| model.slots.get_mut(&number));
        if let Some(slot) = slot {
            slot.print = print;
        }
    }

    /// Lists the versions that lie on disk, so that callers see them; those that are gone from disk
    /// and memory are listed no more.
    pub fn seen(&self, numbers: &BTreeSet<VersionNumber>) {
        self.change(|model| {
            for &number in numbers {
                model.slots.entry(number).or_insert_with(Slot::found);
            }
            model.slots.retain(|number, slot| {
                slot.on_disk = numbers.contains(number);
                slot.on_disk || slot.loaded.is_some() || slot.leaving > 0
            });
        });
    }

    /// Notes a step of a version on its way to standby.
    ///
    /// A version that answers while its files are loaded anew keeps its state.
    pub fn step(&self, number: VersionNumber, step: Step) {
        self.change(|model| {
            let slot = model.slots.entry(number).or_insert_with(Slot::found);
            if !slot.state.is_ready() {
                slot.ask_again();
                slot.step(step);
            }
        });
    }

    /// Makes the outcome of a change what is served, and returns the versions that no longer are.
    ///
    /// `loaded` become ready; `document` says which of the ready ones serve. A ready version stays
    /// in standby unless it was serving and no longer is, was replaced, or is held.
    pub fn commit(
        &mut self,
        document: ModelDocument,
        generation: u64,
        loaded: Vec<Loaded>,
    ) -> Vec<Arc<Version>> {
        let mut gone = Vec::new();
        self.change(|model| {
            gone = model.apply(document.clone(), loaded);
            model.generation = generation;
        });
        self.document = document;
        self.generation = generation;
        gone
    }

    fn change(&self, change: impl FnOnce(&mut Model)) {
        let mut held = self.board.held.lock();
        if let Some(model) = held.models.get_mut(&self.model) {
            change(model);
            self.board.publish(&mut held);
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut held = self.board.held.lock();
        let Some(model) = held.models.get_mut(&self.model) else { return };
        model.busy = None;
        self.board.released.notify_waiters();
        if model.slots.is_empty() && model.generation == 0 {
            held.models.remove(&self.model);
        }
    }
}

impl Model {
    fn apply(&mut self, document: ModelDocument, loaded: Vec<Loaded>) -> Vec<Arc<Version>> {
        let mut gone = Vec::new();
        for Loaded { version, print } in loaded {
            let slot = self.slots.entry(version.number()).or_insert_with(Slot::found);
            if !slot.state.is_ready() {
                slot.step(Step::Ready);
            }
            slot.print = print;
            gone.extend(slot.leave());
            slot.loaded = Some(version);
        }
        for (number, slot) in &mut self.slots {
            let serves = document.serving.contains(&number.get());
            let held = document.held || document.held_versions.contains(&number.get());
            match (&slot.state, serves) {
                (State::Standby, true) => slot.step(Step::Promote),
                (State::Serving, false) => slot.step(Step::Drain),
                (State::Standby, false) if held => slot.step(Step::Drain),
                _ => {}
            }
            if let Some(version) = &slot.loaded {
                version.metrics().set_serving(slot.state == State::Serving);
            }
            if !slot.state.is_ready() {
                gone.extend(slot.leave());
            }
        }
        self.document = document;
        gone
    }

    fn entry(&self, name: &ModelName) -> Entry {
        let ready: Vec<Arc<Version>> = self
            .slots
            .values()
            .filter(|slot| slot.state.is_ready())
            .filter_map(|slot| slot.loaded.clone())
            .collect();
        let serving = self.slots.values().rev().find(|slot| slot.state == State::Serving);
        Entry {
            name: name.clone(),
            default: serving.and_then(|slot| slot.loaded.clone()),
            ready,
            listed: self.slots.iter().map(|(&number, slot)| (number, slot.state.clone())).collect(),
            generation: self.generation,
            degraded: self.degraded(),
        }
    }

    // What an operator should look at although, or because, callers may not have noticed yet.
    fn degraded(&self) -> Option<String> {
        if self.document.held || self.slots.is_empty() {
            return None;
        }
        let serving = self.slots.iter().rev().find(|(_, slot)| slot.state == State::Serving);
        match serving {
            Some((number, slot)) if !slot.on_disk => {
                Some(format!("version {number} serves from memory: its files are gone"))
            }
            Some(_) => None,
            None => {
                let mut refused = self.slots.iter().rev();
                let refused = refused.find(|(_, slot)| !slot.state.reason().is_empty());
                refused.map(|(number, slot)| format!("version {number} is {}", slot.state))
            }
        }
    }
}

impl Slot {
    fn found() -> Self {
        Self { state: State::Found, loaded: None, print: None, on_disk: true, leaving: 0 }
    }

    // What is in memory, for the reaper.
    fn leave(&mut self) -> Option<Arc<Version>> {
        let gone = self.loaded.take()?;
        self.leaving += 1;
        Some(gone)
    }

    fn ask_again(&mut self) {
        if matches!(self.state, State::Retired | State::Rejected { .. } | State::Failed { .. }) {
            self.step(Step::Ask);
        }
        // A new life of the number; the copy that drains is with the reaper already.
        if self.state == State::Draining {
            self.state = State::Found;
        }
    }

    // A step that the state machine refuses is our own mistake: it is logged, and changes nothing.
    fn step(&mut self, step: Step) {
        match self.state.clone().next(step) {
            Ok(next) => self.state = next,
            Err(error) => tracing::error!(%error, "a version's state was not changed"),
        }
    }
}
