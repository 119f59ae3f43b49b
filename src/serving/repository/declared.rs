//! What an owner declares of a model, in `model.toml` or `config.pbtxt`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::domain::model::{Digest, ModelName};
use crate::serving::repository::manifest::{self, Labels, Manifest, ManifestError};
use crate::serving::repository::triton::config;
use crate::serving::repository::triton::fields::TritonError;

/// All that is declared of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declared {
    /// What is said, whichever file says it.
    pub manifest: Manifest,
    /// Names of classes, by output, read from where they stand.
    pub labels: BTreeMap<String, Arc<[Arc<str>]>>,
    /// Which file says it; none if nothing is said.
    pub file: Option<&'static str>,
    /// What becomes of what it says, one sentence each.
    pub notes: Vec<String>,
    /// SHA-256 of that file's bytes, followed by those of its label files in the order of outputs.
    pub sha256: Option<Digest>,
}

/// Why what is declared cannot be obeyed.
#[derive(Debug, thiserror::Error)]
pub enum DeclaredError {
    /// A file cannot be read.
    #[error("{file} cannot be read: {error}")]
    Read {
        /// Its path in the model's folder.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// Two files say it.
    #[error("there are both model.toml and config.pbtxt, expected one: remove the other")]
    Both,
    /// `model.toml` says something that cannot act.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// `config.pbtxt` does.
    #[error(transparent)]
    Triton(#[from] TritonError),
    /// A path out of the repository.
    #[error("{file} leads out of the model's folder or its repository")]
    Outside {
        /// The path as it was written.
        file: String,
    },
    /// A file of labels without one.
    #[error("{file} has no line, expected a label on each")]
    NoLabels {
        /// Its path in the model's folder.
        file: String,
    },
}

/// A model's folder and the repository that no path of it may leave.
#[derive(Clone, Copy, Debug)]
pub struct Home<'a> {
    /// The model's folder.
    pub folder: &'a Path,
    /// The repository's, without links.
    pub root: &'a Path,
}

/// Reads what is declared of a model; nothing is, where there is no file.
///
/// # Errors
///
/// [`DeclaredError`]; nothing that is said is ignored.
pub fn read(home: Home<'_>, model: Option<&ModelName>) -> Result<Declared, DeclaredError> {
    let (toml, pbtxt) = (home.folder.join(TOML).exists(), home.folder.join(PBTXT).exists());
    let mut declared = Declared::default();
    let text = match (toml, pbtxt) {
        (false, false) => return Ok(declared),
        (true, true) => return Err(DeclaredError::Both),
        (true, false) => {
            let text = home.text(TOML)?;
            declared.manifest = manifest::parse(&text)?;
            declared.file = Some(TOML);
            text
        }
        (false, true) => {
            let text = home.text(PBTXT)?;
            let translation = config::translate(&text, model)?;
            (declared.manifest, declared.notes) = (translation.manifest, translation.notes);
            declared.file = Some(PBTXT);
            text
        }
    };
    let mut hash = Sha256::new_with_prefix(text);
    for (output, labels) in &declared.manifest.labels {
        let names: Vec<Arc<str>> = match labels {
            Labels::Names(names) => names.iter().map(|name| name.as_str().into()).collect(),
            Labels::File(file) => {
                let text = home.text(file)?;
                hash.update(&text);
                let names: Vec<Arc<str>> = text.lines().map(|line| line.trim().into()).collect();
                if names.is_empty() {
                    return Err(DeclaredError::NoLabels { file: file.clone() });
                }
                names
            }
        };
        declared.labels.insert(output.clone(), names.into());
    }
    declared.sha256 = Some(Digest::new(hash.finalize().into()));
    Ok(declared)
}

/// Name of the model's file in each version's folder; none if what is declared cannot be read.
pub fn file_name(home: Home<'_>) -> Option<String> {
    let is_there = |name: &str| home.folder.join(name).exists();
    let manifest = match (is_there(TOML), is_there(PBTXT)) {
        (false, false) => Manifest::default(),
        (true, _) => manifest::parse(&home.text(TOML).ok()?).ok()?,
        (false, true) => config::translate(&home.text(PBTXT).ok()?, None).ok()?.manifest,
    };
    Some(manifest.file_name().to_owned())
}

impl Home<'_> {
    /// The bytes of a file below the model's folder.
    ///
    /// # Errors
    ///
    /// [`DeclaredError::Outside`], [`DeclaredError::Read`].
    pub fn bytes(&self, file: &str) -> Result<Vec<u8>, DeclaredError> {
        let path = self.inside(file)?;
        fs::read(path).map_err(|error| DeclaredError::Read { file: file.to_owned(), error })
    }

    fn text(&self, file: &str) -> Result<String, DeclaredError> {
        let path = self.inside(file)?;
        fs::read_to_string(path)
            .map_err(|error| DeclaredError::Read { file: file.to_owned(), error })
    }

    // No path leaves: not by its own words, and not by a link.
    fn inside(&self, file: &str) -> Result<PathBuf, DeclaredError> {
        let outside = || DeclaredError::Outside { file: file.to_owned() };
        let plain = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
        if !plain {
            return Err(outside());
        }
        let path = self.folder.join(file).canonicalize();
        let path = path.map_err(|error| DeclaredError::Read { file: file.to_owned(), error })?;
        if path.starts_with(self.root) { Ok(path) } else { Err(outside()) }
    }
}

/// File names of what an owner says, beside the version folders.
pub const FILES: [&str; 2] = [TOML, PBTXT];

const TOML: &str = "model.toml";
const PBTXT: &str = "config.pbtxt";
