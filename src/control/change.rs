//! The one road that every change of what is served takes.
//!
//! Authorise, then act (prepare beside what serves), then commit (document and journal entry in
//! one transaction), then publish (one pointer). A change that fails before its commit changed
//! nothing that is served. Approvals and gates will stand between authorise and act.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::control::policy::Policy;
use crate::control::versions::{Board, Busy, Hold, ModelDocument};
use crate::domain::caller::Caller;
use crate::domain::failure::{Code, Failure};
use crate::domain::model::{ModelName, VersionKey, VersionNumber};
use crate::platform::clock::Clock;
use crate::platform::store::journal::{Entry, Store, StoreError, Write};
use crate::serving::registry::prepare::{Loader, PrepareError};
use crate::serving::registry::reaper::Reaper;
use crate::serving::registry::snapshot::Snapshot;
use crate::serving::registry::state::State;
use crate::serving::registry::version::Version;

/// What to do with a model.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Bring a version to standby.
    Load(VersionNumber),
    /// Let a version take over; loads it first if need be.
    Promote(VersionNumber),
    /// Take a version out of memory.
    Unload(VersionNumber),
    /// Let the version take over that served before.
    Rollback,
    /// Keep what serves now, whatever comes.
    Pin,
    /// Let the policy choose again.
    Unpin,
    /// Make what serves agree with policy and disk.
    Reconcile,
    /// Take the whole model out of memory until it is loaded again.
    UnloadAll,
}

/// A change that somebody asks for.
#[derive(Clone, Debug)]
pub struct Change {
    /// Who asks.
    pub caller: Caller,
    /// Of which model.
    pub model: ModelName,
    /// What to do.
    pub action: Action,
    /// Why, in the caller's words.
    pub reason: Option<String>,
    /// Generation of the model that the caller has seen; any, if not given.
    pub expected_generation: Option<u64>,
}

/// A change that was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// The model's generation now.
    pub generation: u64,
    /// The version that answers requests which name none.
    pub serving: Option<VersionNumber>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The caller may not.
    #[error("'{principal}' may not change model '{model}': the scope operate:{model} is needed")]
    Denied {
        /// Who asked.
        principal: String,
        /// Of which model.
        model: ModelName,
    },
    /// There is no such model.
    #[error("model '{model}' is not found in the repository")]
    UnknownModel {
        /// The name.
        model: ModelName,
    },
    /// Somebody else changes it.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// It is not as the caller has seen it.
    #[error("model '{model}' is at generation {found}, expected {expected}")]
    Generation {
        /// The model.
        model: ModelName,
        /// What the caller has seen.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// A version's state does not allow it.
    #[error("{subject} is {found}, expected {expected}")]
    State {
        /// What was to be changed.
        subject: String,
        /// What it is.
        found: String,
        /// What the change needs.
        expected: &'static str,
    },
    /// A version could not be prepared.
    #[error("failed to load '{key}': {source}")]
    Prepare {
        /// The version.
        key: VersionKey,
        /// Why.
        source: PrepareError,
    },
    /// The store refused it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The change ended without a word: our own mistake.
    #[error("the change was interrupted")]
    Interrupted,
}

impl Failure for ChangeError {
    fn code(&self) -> Code {
        match self {
            Self::Denied { .. } => Code::Scope,
            Self::UnknownModel { .. } => Code::Model,
            Self::Busy(_) => Code::Busy,
            Self::Generation { .. } | Self::Store(StoreError::Generation { .. }) => {
                Code::Generation
            }
            Self::State { .. } => Code::State,
            Self::Prepare { source, .. } => source.code(),
            Self::Interrupted => Code::Bug,
        }
    }
}

/// The road. Cloning shares it.
#[derive(Clone)]
pub struct Changes {
    road: Arc<Road>,
    control: Handle,
}

/// What the road is made of.
pub struct Road {
    /// The versions and their states.
    pub board: Arc<Board>,
    /// Makes versions of files.
    pub loader: Loader,
    /// Frees what no longer serves.
    pub reaper: Reaper,
    /// State and history.
    pub store: Arc<dyn Store>,
    /// For the journal.
    pub clock: Arc<dyn Clock>,
}

impl Changes {
    /// A road whose work is done on the control runtime, never on the one that asks.
    pub fn new(road: Road, control: Handle) -> Self {
        Self { road: Arc::new(road), control }
    }

    /// What is served now, and everything known of the models.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.road.board.published().snapshot()
    }

    /// Makes a change, and returns when it is in force: every request that begins afterwards sees
    /// it. Dropping the future does not stop a change that has begun.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; then what is served is as it was.
    pub async fn make(&self, change: Change) -> Result<Receipt, ChangeError> {
        let road = Arc::clone(&self.road);
        let work = self.control.spawn_blocking(move || road.make(&change));
        work.await.unwrap_or(Err(ChangeError::Interrupted))
    }

    /// Loads what every model's policy wants, several models at once, and then declares the server
    /// ready; `done` hears of each model. Models that fail are logged and left, visibly failed.
    pub async fn start_up(
        &self,
        models: Vec<ModelName>,
        at_once: usize,
        done: impl Fn(&ModelName) + Clone + Send + 'static,
    ) {
        let turns = Arc::new(tokio::sync::Semaphore::new(at_once.max(1)));
        let mut loading = tokio::task::JoinSet::new();
        for model in models {
            let (changes, turns, done) = (self.clone(), Arc::clone(&turns), done.clone());
            let change = Change {
                caller: Caller::system("start"),
                model,
                action: Action::Reconcile,
                reason: None,
                expected_generation: None,
            };
            let load = async move {
                let Ok(_turn) = turns.acquire().await else { return };
                let model = change.model.clone();
                if let Err(error) = changes.make(change).await {
                    tracing::error!(%model, %error, "a version could not be loaded");
                }
                done(&model);
            };
            loading.spawn_on(load, &self.control);
        }
        while loading.join_next().await.is_some() {}
        self.road.board.set_ready(true);
    }

    /// Says that the server stops: it is not ready any more, but goes on answering.
    pub fn shut_down(&self) {
        self.road.board.set_ready(false);
    }
}

/// What a change does, before it is committed.
struct Plan {
    document: ModelDocument,
    loaded: Vec<Arc<Version>>,
    subject: String,
    /// A version that could not be loaded although another could: reported after the commit.
    failed: Option<ChangeError>,
}

impl Road {
    fn make(&self, change: &Change) -> Result<Receipt, ChangeError> {
        if !change.caller.may_operate() {
            let principal = change.caller.principal().to_owned();
            return Err(ChangeError::Denied { principal, model: change.model.clone() });
        }
        let mut hold = self.board.hold(&change.model, change.action.name())?;
        if let Some(expected) = change.expected_generation.filter(|&at| at != hold.generation) {
            let (model, found) = (change.model.clone(), hold.generation);
            return Err(ChangeError::Generation { model, expected, found });
        }
        let plan = self.act(&hold, change.action)?;
        let Plan { document, loaded, subject, failed } = plan;
        if document != hold.document || !loaded.is_empty() {
            let generation = self.write(change, &hold, &document, &subject)?;
            for gone in hold.commit(document, generation, loaded) {
                self.reaper.retire(gone);
            }
            let action = change.action.name();
            let by = change.caller.principal();
            tracing::info!(action, %subject, by, generation, "changed");
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(receipt(&hold)),
        }
    }

    fn act(&self, hold: &Hold<'_>, action: Action) -> Result<Plan, ChangeError> {
        let mut document = hold.document.clone();
        let mut loaded = Vec::new();
        let mut subject = hold.model().to_string();
        match action {
            Action::Load(number) => {
                loaded.extend(self.ensure_ready(hold, number)?);
                document.held = false;
                document.held_versions.remove(&number.get());
                subject = key(hold, number).to_string();
            }
            Action::Promote(number) => {
                loaded.extend(self.ensure_ready(hold, number)?);
                promote(&mut document, number);
                subject = key(hold, number).to_string();
            }
            Action::Rollback => {
                let previous = document.previous.and_then(VersionNumber::new);
                let number = previous.ok_or_else(|| no_previous(hold))?;
                loaded.extend(self.ensure_ready(hold, number)?);
                promote(&mut document, number);
                subject = key(hold, number).to_string();
            }
            Action::Unload(number) => {
                unload(hold, &mut document, number)?;
                subject = key(hold, number).to_string();
            }
            Action::Pin => pin(hold, &mut document)?,
            Action::Unpin => {
                self.known(hold)?;
                document.policy = Policy::default();
            }
            Action::UnloadAll => {
                self.known(hold)?;
                document.held = true;
                document.serving.clear();
            }
            Action::Reconcile => return self.reconcile(hold, document, subject),
        }
        Ok(Plan { document, loaded, subject, failed: None })
    }

    fn reconcile(
        &self,
        hold: &Hold<'_>,
        mut document: ModelDocument,
        subject: String,
    ) -> Result<Plan, ChangeError> {
        document.held = false;
        let on_disk = self.known(hold)?;
        let available = on_disk
            .iter()
            .map(|number| number.get())
            .filter(|at| !document.held_versions.contains(at));
        let (candidates, wanted) = document.policy.candidates(available.collect());
        let (mut serving, mut loaded, mut failed) = (BTreeSet::new(), Vec::new(), None);
        for number in candidates.into_iter().filter_map(VersionNumber::new) {
            if serving.len() == wanted {
                break;
            }
            match self.ensure_current(hold, number) {
                Ok(version) => {
                    loaded.extend(version);
                    serving.insert(number.get());
                }
                Err(error) => {
                    // What serves goes on serving, also this very number from memory; a lower one
                    // stands in only if nothing does.
                    serving.extend(document.serving.range(..=number.get()).next_back());
                    failed.get_or_insert(error);
                }
            }
        }
        // Files that are gone do not take the last version out of memory: that takes an unload.
        if !serving.is_empty() {
            serve(&mut document, serving);
        }
        match failed {
            Some(error) if document == hold.document && loaded.is_empty() => Err(error),
            failed => Ok(Plan { document, loaded, subject, failed }),
        }
    }

    /// Versions on disk; an error for a model that is neither there nor in memory.
    fn known(&self, hold: &Hold<'_>) -> Result<Vec<VersionNumber>, ChangeError> {
        let on_disk = self.loader.repository.versions(hold.model());
        if on_disk.is_empty() && hold.generation == 0 {
            return Err(ChangeError::UnknownModel { model: hold.model().clone() });
        }
        hold.found(&on_disk);
        Ok(on_disk)
    }

    /// The version, newly prepared, unless it is ready already.
    fn ensure_ready(
        &self,
        hold: &Hold<'_>,
        number: VersionNumber,
    ) -> Result<Option<Arc<Version>>, ChangeError> {
        self.known(hold)?;
        match hold.ready(number) {
            Some(_) => Ok(None),
            None => self.prepare(hold, number).map(Some),
        }
    }

    /// The version, newly prepared, unless it is ready and its files are what they were.
    fn ensure_current(
        &self,
        hold: &Hold<'_>,
        number: VersionNumber,
    ) -> Result<Option<Arc<Version>>, ChangeError> {
        let failed = |source| ChangeError::Prepare { key: key(hold, number), source };
        if let Some(ready) = hold.ready(number) {
            let files = self.loader.repository.locate(&ready.key());
            let files = files.map_err(|error| failed(error.into()))?;
            let digest = self.loader.digest(&files).map_err(|error| failed(error.into()))?;
            if digest == ready.origin().digest {
                return Ok(None);
            }
        }
        self.prepare(hold, number).map(Some)
    }

    fn prepare(&self, hold: &Hold<'_>, number: VersionNumber) -> Result<Arc<Version>, ChangeError> {
        let key = key(hold, number);
        let known = hold.state(number).is_some();
        let prepared = self.loader.prepare(&key, |step| hold.step(number, step));
        prepared.map_err(|source| {
            // A number that nobody ever saw leaves no trace.
            if known {
                hold.step(number, source.step());
            }
            ChangeError::Prepare { key, source }
        })
    }

    fn write(
        &self,
        change: &Change,
        hold: &Hold<'_>,
        document: &ModelDocument,
        subject: &str,
    ) -> Result<u64, ChangeError> {
        let content = serde_json::to_value(document).map_err(|_| ChangeError::Interrupted)?;
        let name = format!("model/{}", change.model);
        let entry = Entry {
            at: self.clock.wall(),
            actor: change.caller.principal().to_owned(),
            action: change.action.name().to_owned(),
            subject: subject.to_owned(),
            reason: change.reason.clone(),
        };
        let write = Write { name, expected: hold.generation, content };
        Ok(self.store.commit(write, entry)?.generation)
    }
}

impl Action {
    /// The name in journal, log and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Load(_) => "load",
            Self::Promote(_) => "promote",
            Self::Unload(_) => "unload",
            Self::Rollback => "rollback",
            Self::Pin => "pin",
            Self::Unpin => "unpin",
            Self::Reconcile => "reconcile",
            Self::UnloadAll => "unload-all",
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("board", &self.road.board).finish_non_exhaustive()
    }
}

impl fmt::Debug for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Road").field("board", &self.board).finish_non_exhaustive()
    }
}

// What answered before is remembered, however the change came about.
fn serve(document: &mut ModelDocument, serving: BTreeSet<u64>) {
    let before = document.serving.last().copied();
    if before != serving.last().copied() {
        document.previous = before.or(document.previous);
    }
    document.serving = serving;
}

fn promote(document: &mut ModelDocument, number: VersionNumber) {
    serve(document, [number.get()].into());
    document.held = false;
    document.held_versions.remove(&number.get());
    document.policy = Policy::Specific(vec![number.get()]);
}

fn unload(
    hold: &Hold<'_>,
    document: &mut ModelDocument,
    number: VersionNumber,
) -> Result<(), ChangeError> {
    let found = hold.state(number);
    if found != Some(State::Standby) {
        return Err(ChangeError::State {
            subject: format!("version {}", key(hold, number)),
            found: found.map_or_else(|| "not known".to_owned(), |state| state.to_string()),
            expected: "a version in standby (promote another one before you unload one that serves)",
        });
    }
    document.held_versions.insert(number.get());
    Ok(())
}

fn pin(hold: &Hold<'_>, document: &mut ModelDocument) -> Result<(), ChangeError> {
    if document.serving.is_empty() {
        return Err(ChangeError::State {
            subject: format!("model '{}'", hold.model()),
            found: "without a version that serves".to_owned(),
            expected: "one that serves",
        });
    }
    document.policy = Policy::Specific(document.serving.iter().copied().collect());
    Ok(())
}

fn no_previous(hold: &Hold<'_>) -> ChangeError {
    ChangeError::State {
        subject: format!("model '{}'", hold.model()),
        found: "without a version that served before".to_owned(),
        expected: "one promote at least",
    }
}

fn key(hold: &Hold<'_>, number: VersionNumber) -> VersionKey {
    VersionKey { model: hold.model().clone(), number }
}

fn receipt(hold: &Hold<'_>) -> Receipt {
    let serving = hold.document.serving.last().copied();
    Receipt { generation: hold.generation, serving: serving.and_then(VersionNumber::new) }
}
