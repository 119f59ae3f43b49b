//! What a change loads before it is committed, and what then serves.
//!
//! Nothing that serves is touched here. Loading happens on the quiet threads, one step at a time,
//! so that a version that something newer has superseded is given up between two steps.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::control::action::{Action, ChangeError, Follow};
use crate::control::policy::Policy;
use crate::control::versions::{Hold, Loaded, ModelDocument};
use crate::domain::model::{VersionKey, VersionNumber};
use crate::platform::quiet::QuietThreads;
use crate::serving::registry::prepare::{Loader, PrepareError};
use crate::serving::registry::state::{State, Step};
use crate::serving::registry::version::Version;
use crate::serving::repository::sighting::{self, Sighting};

/// What a change does, before it is committed.
#[derive(Debug)]
pub struct Plan {
    /// What the store is to keep.
    pub document: ModelDocument,
    /// Versions that were loaded for it.
    pub loaded: Vec<Loaded>,
    /// What it is about, for the journal (`iris/2`).
    pub subject: String,
    /// A version that could not be loaded although another could: reported after the commit.
    pub failed: Option<ChangeError>,
}

/// Plans the changes of one model, while it is held.
#[derive(Debug)]
pub struct Planner<'a> {
    /// Makes versions of files.
    pub loader: &'a Loader,
    /// Where that happens.
    pub quiet: &'a QuietThreads,
    /// The model.
    pub hold: &'a Hold<'a>,
}

enum Progress {
    Step(Step),
    Done(Result<Arc<Version>, PrepareError>),
}

impl Planner<'_> {
    /// Loads what the action needs, and says what is to be committed.
    ///
    /// Blocks for as long as loading takes.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; then nothing is to be committed.
    pub fn plan(&self, action: &Action) -> Result<Plan, ChangeError> {
        let mut document = self.hold.document.clone();
        let mut loaded = Vec::new();
        let mut subject = self.hold.model().to_string();
        match action {
            &Action::Load(number) => {
                loaded.extend(self.ensure_ready(number)?);
                document.held = false;
                document.held_versions.remove(&number.get());
                subject = self.key(number).to_string();
            }
            &Action::Promote(number) => {
                loaded.extend(self.ensure_ready(number)?);
                promote(&mut document, number);
                subject = self.key(number).to_string();
            }
            Action::Rollback => {
                let previous = document.previous.and_then(VersionNumber::new);
                let number = previous.ok_or_else(|| self.no_previous())?;
                loaded.extend(self.ensure_ready(number)?);
                promote(&mut document, number);
                subject = self.key(number).to_string();
            }
            &Action::Unload(number) => {
                self.unload(&mut document, number)?;
                subject = self.key(number).to_string();
            }
            Action::Pin => self.pin(&mut document)?,
            Action::Unpin => return self.unpin(document),
            Action::UnloadAll => {
                self.known()?;
                document.held = true;
                document.serving.clear();
            }
            Action::Reconcile => {
                document.held = false;
                return self.reconcile(document, &self.known()?, None);
            }
            Action::Follow(follow) => return self.follow(document, follow),
        }
        Ok(Plan { document, loaded, subject, failed: None })
    }

    // Unpinned it is, whatever the policy finds: a version that fails is listed with its reason.
    fn unpin(&self, mut document: ModelDocument) -> Result<Plan, ChangeError> {
        let on_disk = self.known()?;
        document.policy = None;
        if document.held {
            return Ok(self.nothing_loaded(document));
        }
        let mut plan = self.reconcile(document, &on_disk, None)?;
        if let Some(error) = plan.failed.take() {
            tracing::error!(model = %self.hold.model(), %error, "a version could not be loaded");
        }
        Ok(plan)
    }

    fn follow(&self, document: ModelDocument, follow: &Arc<Follow>) -> Result<Plan, ChangeError> {
        let on_disk = &follow.found.versions;
        self.hold.seen(&on_disk.keys().copied().collect());
        if document.held {
            return Ok(self.nothing_loaded(document));
        }
        self.reconcile(document, on_disk, Some(follow))
    }

    fn nothing_loaded(&self, document: ModelDocument) -> Plan {
        let subject = self.hold.model().to_string();
        Plan { document, loaded: Vec::new(), subject, failed: None }
    }

    fn reconcile(
        &self,
        mut document: ModelDocument,
        on_disk: &Sighting,
        follow: Option<&Arc<Follow>>,
    ) -> Result<Plan, ChangeError> {
        let available = on_disk
            .keys()
            .map(|number| number.get())
            .filter(|at| !document.held_versions.contains(at));
        let policy = document.policy.clone().unwrap_or_else(|| self.owners_policy());
        let (candidates, wanted) = policy.candidates(available.collect());
        let (mut serving, mut loaded, mut failed) = (BTreeSet::new(), Vec::new(), None);
        for number in candidates.into_iter().filter_map(VersionNumber::new) {
            if serving.len() == wanted {
                break;
            }
            if follow.is_some() && self.has_failed(on_disk, number) {
                continue;
            }
            match self.ensure_current(on_disk, number, follow) {
                Ok(version) => {
                    loaded.extend(version);
                    serving.insert(number.get());
                }
                Err(error) => {
                    if follow.is_some_and(|follow| follow.is_superseded()) {
                        return Err(error);
                    }
                    // What is in memory goes on serving; else a lower one stands in.
                    serving.extend(self.hold.ready(number).map(|_| number.get()));
                    failed.get_or_insert(error);
                }
            }
        }
        // Files that are gone do not take the last version out of memory: that takes an unload.
        if !serving.is_empty() {
            serve(&mut document, serving);
        }
        match failed {
            Some(error) if document == self.hold.document && loaded.is_empty() => Err(error),
            failed => Ok(Plan { loaded, failed, ..self.nothing_loaded(document) }),
        }
    }

    // A declaration that cannot be read is the reason why its versions are not prepared.
    fn owners_policy(&self) -> Policy {
        let declared = self.loader.declared(self.hold.model()).unwrap_or_default();
        declared.manifest.versions.as_ref().map(Policy::from).unwrap_or_default()
    }

    // The same files will not do better: the watch does not try them twice, an operator may.
    fn has_failed(&self, on_disk: &Sighting, number: VersionNumber) -> bool {
        let failed =
            matches!(self.hold.state(number), Some(State::Failed { .. } | State::Rejected { .. }));
        failed && self.hold.print(number).as_ref() == on_disk.get(&number)
    }

    /// Versions on disk; an error for a model that is neither there nor in memory.
    fn known(&self) -> Result<Sighting, ChangeError> {
        let on_disk = sighting::look(&self.loader.repository, self.hold.model());
        if on_disk.is_empty() && self.hold.generation == 0 {
            return Err(ChangeError::UnknownModel { model: self.hold.model().clone() });
        }
        self.hold.seen(&on_disk.keys().copied().collect());
        Ok(on_disk)
    }

    /// The version, newly prepared, unless it is ready already.
    fn ensure_ready(&self, number: VersionNumber) -> Result<Option<Loaded>, ChangeError> {
        let on_disk = self.known()?;
        match self.hold.ready(number) {
            Some(_) => Ok(None),
            None => self.prepare(&on_disk, number, None).map(Some),
        }
    }

    /// The version, newly prepared, unless it is ready and its files are what they were.
    fn ensure_current(
        &self,
        on_disk: &Sighting,
        number: VersionNumber,
        follow: Option<&Arc<Follow>>,
    ) -> Result<Option<Loaded>, ChangeError> {
        if let Some(ready) = self.hold.ready(number) {
            let print = on_disk.get(&number).copied();
            if print.is_some() && print == self.hold.print(number) {
                return Ok(None);
            }
            let failed = |source| ChangeError::Prepare { key: self.key(number), source };
            if self.loader.is_current(&ready).map_err(failed)? {
                self.hold.set_print(number, print);
                return Ok(None);
            }
        }
        self.prepare(on_disk, number, follow).map(Some)
    }

    fn prepare(
        &self,
        on_disk: &Sighting,
        number: VersionNumber,
        follow: Option<&Arc<Follow>>,
    ) -> Result<Loaded, ChangeError> {
        let key = self.key(number);
        let known = self.hold.state(number).is_some();
        let print = on_disk.get(&number).copied();
        let size = print.map_or(u64::MAX, |print| print.bytes);
        match self.prepare_quietly(key.clone(), size, follow.cloned()) {
            Some(Ok(version)) => Ok(Loaded { version, print }),
            Some(Err(source)) => {
                // A number that nobody ever saw leaves no trace.
                if known {
                    self.hold.step(number, source.step());
                    // Given up, not tried: the same files may be tried again.
                    let tried = print.filter(|_| !source.is_passing());
                    self.hold.set_print(number, tried);
                }
                Err(ChangeError::Prepare { key, source })
            }
            None => Err(ChangeError::Interrupted),
        }
    }

    fn prepare_quietly(
        &self,
        key: VersionKey,
        size: u64,
        follow: Option<Arc<Follow>>,
    ) -> Option<Result<Arc<Version>, PrepareError>> {
        let number = key.number;
        let (tell, told) = crossbeam_channel::unbounded();
        let loader = self.loader.clone();
        self.quiet.take(size, move || {
            let prepared = loader.prepare(&key, |step| {
                // Disconnected means that the process ends.
                tell.send(Progress::Step(step)).ok();
                match &follow {
                    Some(follow) if follow.is_superseded() => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                }
            });
            tell.send(Progress::Done(prepared)).ok();
        });
        told.into_iter().find_map(|progress| match progress {
            Progress::Step(step) => {
                self.hold.step(number, step);
                None
            }
            Progress::Done(prepared) => Some(prepared),
        })
    }

    fn unload(
        &self,
        document: &mut ModelDocument,
        number: VersionNumber,
    ) -> Result<(), ChangeError> {
        let found = self.hold.state(number);
        if found != Some(State::Standby) {
            return Err(ChangeError::State {
                subject: format!("version {}", self.key(number)),
                found: found.map_or_else(|| "not known".to_owned(), |state| state.to_string()),
                expected: "a version in standby (promote another one before you unload one that \
                           serves)",
            });
        }
        document.held_versions.insert(number.get());
        Ok(())
    }

    fn pin(&self, document: &mut ModelDocument) -> Result<(), ChangeError> {
        if document.serving.is_empty() {
            return Err(ChangeError::State {
                subject: format!("model '{}'", self.hold.model()),
                found: "without a version that serves".to_owned(),
                expected: "one that serves",
            });
        }
        document.policy = Some(Policy::Specific(document.serving.iter().copied().collect()));
        Ok(())
    }

    fn no_previous(&self) -> ChangeError {
        ChangeError::State {
            subject: format!("model '{}'", self.hold.model()),
            found: "without a version that served before".to_owned(),
            expected: "one promote at least",
        }
    }

    fn key(&self, number: VersionNumber) -> VersionKey {
        VersionKey { model: self.hold.model().clone(), number }
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
    document.policy = Some(Policy::Specific(vec![number.get()]));
}
