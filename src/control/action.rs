//! What can be changed, and why a change is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::control::versions::Busy;
use crate::domain::caller::Caller;
use crate::domain::failure::{Code, Failure};
use crate::domain::model::{ModelName, VersionKey, VersionNumber};
use crate::platform::store::journal::StoreError;
use crate::serving::registry::prepare::PrepareError;
use crate::serving::repository::settle::Found;

/// What to do with a model.
#[derive(Clone, Debug)]
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
    /// The same, for what the watch found complete; a model that was unloaded stays so.
    Follow(Arc<Follow>),
    /// Take the whole model out of memory until it is loaded again.
    UnloadAll,
}

/// What the watch found, to be followed until something newer is found.
#[derive(Debug)]
pub struct Follow {
    /// The complete versions of the model.
    pub found: Found,
    superseded: AtomicBool,
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
    #[error(
        "'{principal}' may not change model '{model}' on a listener that is not on loopback: use the \
         admin port of the server's own machine or container"
    )]
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

impl Action {
    /// The name in journal, log and messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Load(_) => "load",
            Self::Promote(_) => "promote",
            Self::Unload(_) => "unload",
            Self::Rollback => "rollback",
            Self::Pin => "pin",
            Self::Unpin => "unpin",
            Self::Reconcile => "reconcile",
            Self::Follow(_) => "follow",
            Self::UnloadAll => "unload-all",
        }
    }
}

impl Follow {
    /// Follows what was found.
    pub fn new(found: Found) -> Self {
        Self { found, superseded: AtomicBool::new(false) }
    }

    /// Says that something newer was found: loading for this one can stop.
    pub fn supersede(&self) {
        self.superseded.store(true, Ordering::Release);
    }

    /// Whether something newer was found.
    pub fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire)
    }
}
