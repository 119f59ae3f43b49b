//! The one road that every change of what is served takes.
//!
//! Authorise, then act (prepare beside what serves), then commit (document and journal entry in
//! one transaction), then publish (one pointer). A change that fails before its commit changed
//! nothing that is served. Approvals and gates will stand between authorise and act.

use std::fmt;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::sync::futures::OwnedNotified;
use tokio::task::JoinSet;

use crate::control::action::{Action, Change, ChangeError, Receipt};
use crate::control::plan::{Plan, Planner};
use crate::control::versions::{Board, Hold, ModelDocument};
use crate::domain::caller::Caller;
use crate::domain::model::{ModelName, VersionNumber};
use crate::platform::clock::Clock;
use crate::platform::quiet::QuietThreads;
use crate::platform::store::journal::{Entry, Store, Write};
use crate::serving::registry::prepare::Loader;
use crate::serving::registry::reaper::Reaper;
use crate::serving::registry::snapshot::Snapshot;

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
    /// Where that happens.
    pub quiet: QuietThreads,
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

    /// How many models should be changed at once where many are to be: enough to keep the quiet
    /// threads busy. Each takes a thread that waits, whose first allocations cost more than loading
    /// a small model.
    pub fn at_once(&self) -> usize {
        self.road.quiet.count() * AHEAD
    }

    /// Ends when the next change of any model does.
    pub fn released(&self) -> OwnedNotified {
        self.road.board.released()
    }

    /// Does something on the control runtime.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.control.spawn(work));
    }

    /// Makes the first changes, several models at once in the order given, and then declares the
    /// server started; `done` hears of each model. Models that fail are logged and left, visibly
    /// failed.
    pub async fn start_up(
        &self,
        first: Vec<(ModelName, Action)>,
        done: impl Fn(&ModelName) + Clone + Send + 'static,
    ) {
        let turns = Arc::new(Semaphore::new(self.at_once()));
        let mut loading = JoinSet::new();
        for (model, action) in first {
            let (changes, turns, done) = (self.clone(), Arc::clone(&turns), done.clone());
            let change = Change {
                caller: Caller::system("start"),
                model,
                action,
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
        self.road.board.start();
    }

    /// Says that the server stops: it is not ready any more, but goes on answering.
    pub fn shut_down(&self) {
        self.road.board.stop();
    }
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
        let planner = Planner { loader: &self.loader, quiet: &self.quiet, hold: &hold };
        let plan = planner.plan(&change.action)?;
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

fn receipt(hold: &Hold<'_>) -> Receipt {
    let serving = hold.document.serving.last().copied();
    Receipt { generation: hold.generation, serving: serving.and_then(VersionNumber::new) }
}

/// Models that are changed at once for each quiet thread.
const AHEAD: usize = 2;
