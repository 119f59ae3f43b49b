//! What is loaded at the start, and what goes on watching afterwards.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::app::config::{Mode, RepositorySection};
use crate::control::action::{Action, Follow};
use crate::control::change::Changes;
use crate::control::follow::Follower;
use crate::domain::model::ModelName;
use crate::platform::clock::Clock;
use crate::serving::repository::layout::Repository;
use crate::serving::repository::settle::Found;
use crate::serving::repository::watch::{Pace, Watch, Watching};

/// The first look at the folder of models.
#[derive(Debug)]
pub struct Start {
    /// The first changes, small models first.
    pub first: Vec<(ModelName, Action)>,
    watch: Option<Watch>,
}

impl Start {
    /// Looks at the folder. Blocks while something is being copied into it, for a second or two.
    ///
    /// # Errors
    ///
    /// A folder that cannot be read, or a name to load that can be none.
    pub fn look(
        section: &RepositorySection,
        repository: Repository,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        match section.mode {
            Mode::Watch => Ok(Self::watch(section, repository, clock)),
            Mode::Explicit => Self::explicit(&section.load, &repository),
        }
    }

    fn watch(section: &RepositorySection, repository: Repository, clock: Arc<dyn Clock>) -> Self {
        let pace = Pace {
            settle: Duration::from_millis(section.settle_ms),
            poll: Duration::from_secs(section.poll_s),
        };
        let mut watch = Watch::new(repository, pace, clock);
        let mut found = watch.first();
        // The size of what the policy usually takes: the newest version.
        let newest = |found: &Found| found.versions.values().next_back().map(|print| print.bytes);
        found.sort_by_key(newest);
        let follow =
            |found: Found| (found.model.clone(), Action::Follow(Arc::new(Follow::new(found))));
        Self { first: found.into_iter().map(follow).collect(), watch: Some(watch) }
    }

    fn explicit(load: &[String], repository: &Repository) -> anyhow::Result<Self> {
        let names = if load.iter().any(|name| name == EVERY) {
            repository.models()?
        } else {
            let names = load.iter().map(|name| ModelName::parse(name));
            names.collect::<Result<_, _>>().context("in repository.load")?
        };
        let first = names.into_iter().map(|name| (name, Action::Reconcile)).collect();
        Ok(Self { first, watch: None })
    }

    /// Watches from now on, where that is wanted, until the result is dropped.
    ///
    /// # Errors
    ///
    /// The system's, if it gives no thread.
    pub fn go_on(self, changes: &Changes) -> anyhow::Result<Option<Watching>> {
        let Some(watch) = self.watch else { return Ok(None) };
        let follower = Follower::new(changes.clone());
        let watching = watch.start(move |found| follower.follow(found));
        watching.map(Some).context("the thread that watches the models")
    }
}

/// In `repository.load`: every model that is there at the start.
const EVERY: &str = "*";
