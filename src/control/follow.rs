//! Makes changes of what the watch finds, one at a time for each model.
//!
//! What is found while a model is being changed waits, and only the newest of it: a version that
//! appears while an older one loads supersedes it. Somebody else's change is waited for. Where many
//! models are found at once, the small ones go first.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::control::action::{Action, Change, ChangeError, Follow};
use crate::control::change::Changes;
use crate::domain::caller::Caller;
use crate::domain::model::ModelName;
use crate::serving::repository::settle::Found;

/// Follows the watch. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Follower {
    changes: Changes,
    models: Arc<Mutex<Models>>,
}

#[derive(Debug, Default)]
struct Models {
    /// Those that are being changed; no more than [`Changes::at_once`].
    now: BTreeMap<ModelName, Following>,
    /// What was found last of each of the others.
    waiting: BTreeMap<ModelName, Arc<Follow>>,
}

#[derive(Debug)]
struct Following {
    now: Arc<Follow>,
    next: Option<Arc<Follow>>,
}

impl Follower {
    /// Follows by making changes.
    pub fn new(changes: Changes) -> Self {
        Self { changes, models: Arc::default() }
    }

    /// Takes what the watch found; returns at once.
    pub fn follow(&self, found: Found) {
        let model = found.model.clone();
        let follow = Arc::new(Follow::new(found));
        let mut models = self.models.lock();
        if let Some(following) = models.now.get_mut(&model) {
            let newest = |follow: &Follow| follow.found.versions.keys().next_back().copied();
            if newest(&follow) > newest(&following.now) {
                following.now.supersede();
            }
            following.next = Some(follow);
            return;
        }
        if models.now.len() >= self.changes.at_once() {
            models.waiting.insert(model, follow);
            return;
        }
        models.begin(model.clone(), &follow);
        drop(models);
        let this = self.clone();
        self.changes.spawn(async move { this.run(model, follow).await });
    }

    async fn run(self, mut model: ModelName, mut follow: Arc<Follow>) {
        loop {
            self.make(&model, &follow).await;
            let Some(next) = self.models.lock().after(model) else { return };
            (model, follow) = next;
        }
    }

    async fn make(&self, model: &ModelName, follow: &Arc<Follow>) {
        loop {
            // Registered before the attempt, so that an end in between is not missed.
            let released = self.changes.released();
            let change = Change {
                caller: Caller::system("watch"),
                model: model.clone(),
                action: Action::Follow(Arc::clone(follow)),
                reason: None,
                expected_generation: None,
            };
            match self.changes.make(change).await {
                Err(ChangeError::Busy(_)) if !follow.is_superseded() => released.await,
                Err(error) if follow.is_superseded() => {
                    tracing::info!(%model, %error, "superseded");
                    return;
                }
                Err(error) => {
                    tracing::error!(%model, %error, "a version could not be loaded");
                    return;
                }
                Ok(_) => return,
            }
        }
    }
}

impl Models {
    fn begin(&mut self, model: ModelName, follow: &Arc<Follow>) {
        self.now.insert(model, Following { now: Arc::clone(follow), next: None });
    }

    // What to do when that model is done: what was found of it meanwhile, or the smallest that waits.
    fn after(&mut self, model: ModelName) -> Option<(ModelName, Arc<Follow>)> {
        let next = self.now.remove(&model).and_then(|done| Some((model, done.next?)));
        let bytes = |follow: &Follow| -> u64 {
            follow.found.versions.values().next_back().map_or(0, |print| print.bytes)
        };
        let next = next.or_else(|| {
            let smallest = self.waiting.iter().min_by_key(|(_, follow)| bytes(follow))?.0.clone();
            self.waiting.remove_entry(&smallest)
        });
        next.inspect(|(model, follow)| self.begin(model.clone(), follow))
    }
}
