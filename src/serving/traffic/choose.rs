//! Chooses the version that answers a request.

use std::sync::Arc;

use crate::domain::failure::{Code, Failure};
use crate::domain::model::{ModelName, VersionChoice};
use crate::serving::registry::snapshot::{Entry, Snapshot};
use crate::serving::registry::version::Version;

/// Why no version answers.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ChooseError {
    /// No model of that name.
    #[error("request for unknown model: '{name}' is not found")]
    UnknownModel {
        /// The name asked for.
        name: ModelName,
    },
    /// The model has no such version.
    #[error("'{name}' version {version} is not found")]
    UnknownVersion {
        /// The model.
        name: ModelName,
        /// What was asked for.
        version: VersionChoice,
    },
    /// The version is known, but does not answer.
    #[error("'{name}' version {version} is not at ready state: it is {state}")]
    VersionNotReady {
        /// The model.
        name: ModelName,
        /// What was asked for.
        version: VersionChoice,
        /// What it is doing.
        state: &'static str,
    },
    /// No version of the model serves.
    #[error("'{name}' has no version that serves: {states}")]
    ModelNotReady {
        /// The model.
        name: ModelName,
        /// What its versions are doing.
        states: String,
    },
}

impl Failure for ChooseError {
    fn code(&self) -> Code {
        match self {
            Self::UnknownModel { .. } => Code::Model,
            Self::UnknownVersion { .. } => Code::Version,
            Self::VersionNotReady { .. } | Self::ModelNotReady { .. } => Code::NotReady,
        }
    }
}

/// The version that answers a request for `name`; pure, and without allocation unless it fails.
///
/// # Errors
///
/// [`ChooseError`].
pub fn choose<'a>(
    snapshot: &'a Snapshot,
    name: &ModelName,
    wanted: Option<&VersionChoice>,
) -> Result<&'a Arc<Version>, ChooseError> {
    let entry = snapshot
        .entry(name.as_str())
        .ok_or_else(|| ChooseError::UnknownModel { name: name.clone() })?;
    match wanted {
        None => entry.default.as_ref().ok_or_else(|| not_ready(entry)),
        Some(version) => named(entry, version),
    }
}

fn named<'a>(entry: &'a Entry, wanted: &VersionChoice) -> Result<&'a Arc<Version>, ChooseError> {
    let unknown =
        || ChooseError::UnknownVersion { name: entry.name.clone(), version: wanted.clone() };
    let number = match wanted {
        VersionChoice::Number(number) => *number,
        VersionChoice::Alias(_) => return Err(unknown()),
    };
    if let Some(version) = entry.version(number) {
        return Ok(version);
    }
    let state = entry.state(number).ok_or_else(unknown)?;
    Err(ChooseError::VersionNotReady {
        name: entry.name.clone(),
        version: wanted.clone(),
        state: state.name(),
    })
}

fn not_ready(entry: &Entry) -> ChooseError {
    let states: Vec<String> = entry
        .listed
        .iter()
        .map(|(number, state)| format!("version {number} is {}", state.name()))
        .collect();
    let states =
        if states.is_empty() { "it has no versions".to_owned() } else { states.join(", ") };
    ChooseError::ModelNotReady { name: entry.name.clone(), states }
}
