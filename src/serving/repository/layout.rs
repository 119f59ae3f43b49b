//! The folder of models: `<root>/<model>/<version>/model.onnx`.
//!
//! Nothing is remembered here: every call looks at the disk. No path that leaves the root is ever
//! followed, also not through a symbolic link.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::model::{ModelName, VersionKey, VersionNumber};
use crate::serving::repository::declared::{self, Home};
use crate::serving::repository::manifest::MODEL;

/// A folder of models, or the folder of one model given itself.
#[derive(Clone, Debug)]
pub struct Repository {
    root: PathBuf,
    /// Set where the root is one model's own folder, as KServe and others mount it.
    single: Option<ModelName>,
}

/// Why a repository cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The folder is not there, or not readable.
    #[error("model repository {path} cannot be read")]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A version's model file is not there.
    #[error("version {key} has no file {file}")]
    NoModel {
        /// The version.
        key: VersionKey,
        /// The file that was expected, below the root.
        file: PathBuf,
    },
    /// A symbolic link points out of the repository.
    #[error("{path} leads out of the model repository")]
    Outside {
        /// The path inside.
        path: PathBuf,
    },
}

/// Where a version's files are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Files {
    /// The version's folder.
    pub folder: PathBuf,
    /// The model in it.
    pub model: PathBuf,
}

impl Repository {
    /// Takes a folder of models; a folder that itself holds one model is served as `model_name`,
    /// or under the folder's own name.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Unreadable`].
    pub fn open(root: &Path, model_name: Option<ModelName>) -> Result<Self, RepositoryError> {
        let unreadable = |source| RepositoryError::Unreadable { path: root.to_path_buf(), source };
        let root = root.canonicalize().map_err(unreadable)?;
        fs::read_dir(&root).map_err(unreadable)?;
        let own_name = || {
            let name = root.file_name().and_then(|name| name.to_str());
            name.and_then(|name| ModelName::parse(name).ok())
        };
        let home = Home { folder: &root, root: &root };
        let is_model = is_bare(home) || !numbered(home).is_empty();
        let single = if is_model { model_name.or_else(own_name) } else { None };
        Ok(Self { root, single })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The one model that the folder is, if it is no folder of models.
    pub fn single(&self) -> Option<&ModelName> {
        self.single.as_ref()
    }

    /// Models that have a folder, sorted by name; folders that can be no model are logged and left.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Unreadable`].
    pub fn models(&self) -> Result<Vec<ModelName>, RepositoryError> {
        if let Some(single) = &self.single {
            return Ok(vec![single.clone()]);
        }
        let unreadable = |source| RepositoryError::Unreadable { path: self.root.clone(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if !entry.path().is_dir() {
                continue;
            }
            match ModelName::parse(&entry.file_name().to_string_lossy()) {
                Ok(name) => names.push(name),
                Err(error) => tracing::info!(folder = %entry.path().display(), %error, "ignored"),
            }
        }
        names.sort();
        Ok(names)
    }

    /// Versions of a model that have a folder with a model in it, lowest first; none for an
    /// unknown model.
    pub fn versions(&self, model: &ModelName) -> Vec<VersionNumber> {
        let Some(folder) = self.folder(model) else { return Vec::new() };
        let home = Home { folder: &folder, root: &self.root };
        if self.single.is_some() && is_bare(home) {
            return VersionNumber::new(1).into_iter().collect();
        }
        numbered(home)
    }

    /// Where the version's files are.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::NoModel`], [`RepositoryError::Outside`].
    pub fn locate(&self, key: &VersionKey) -> Result<Files, RepositoryError> {
        let folder = self.folder(&key.model).unwrap_or_else(|| self.root.clone());
        let name = self.file_name(&folder);
        let folder = self.version_folder(&key.model, key.number);
        let folder = folder.unwrap_or_else(|| self.root.join(key.number.to_string()));
        let model = model_in(&folder, &name);
        let inside = |path: &Path| path.strip_prefix(&self.root).unwrap_or(path).to_path_buf();
        let Ok(real) = model.canonicalize() else {
            return Err(RepositoryError::NoModel { key: key.clone(), file: inside(&model) });
        };
        if !real.starts_with(&self.root) {
            return Err(RepositoryError::Outside { path: inside(&model) });
        }
        Ok(Files { folder, model })
    }

    /// The model's own folder, whether it is there or not; none for another model than a single one.
    pub fn folder(&self, model: &ModelName) -> Option<PathBuf> {
        match &self.single {
            Some(single) if single == model => Some(self.root.clone()),
            Some(_) => None,
            None => Some(self.root.join(model.as_str())),
        }
    }

    /// A version's folder, whether it is there or not; none for another model than a single one.
    pub fn version_folder(&self, model: &ModelName, number: VersionNumber) -> Option<PathBuf> {
        let folder = self.folder(model)?;
        let bare = self.single.is_some() && is_bare(Home { folder: &folder, root: &self.root });
        Some(if bare { folder } else { folder.join(number.to_string()) })
    }

    /// Where a model's own settings may lie.
    pub fn settings(&self, model: &ModelName) -> Vec<PathBuf> {
        let folder = self.folder(model).into_iter();
        folder.flat_map(|folder| declared::FILES.map(|name| folder.join(name))).collect()
    }

    fn file_name(&self, folder: &Path) -> String {
        declared::file_name(Home { folder, root: &self.root }).unwrap_or_else(|| MODEL.to_owned())
    }

    /// Whether the root is one model's own folder, so that its name may be another one's word.
    pub fn is_single(&self) -> bool {
        self.single.is_some()
    }
}

fn is_bare(home: Home<'_>) -> bool {
    declared::file_name(home).is_some_and(|name| model_in(home.folder, &name).is_file())
}

// A folder of the model's name may hold the model and its external data, as Triton allows.
fn model_in(folder: &Path, name: &str) -> PathBuf {
    let model = folder.join(name);
    if model.is_dir() { model.join(name) } else { model }
}

fn numbered(home: Home<'_>) -> Vec<VersionNumber> {
    let entries = fs::read_dir(home.folder).into_iter().flatten().flatten();
    // Where nobody can tell the file's name, each folder counts, and its load says what is wrong.
    let name = declared::file_name(home);
    let has_model = |folder: &Path| match &name {
        Some(name) => model_in(folder, name).is_file(),
        None => folder.is_dir(),
    };
    let mut numbers: Vec<VersionNumber> = entries
        .filter(|entry| has_model(&entry.path()))
        .filter_map(|entry| VersionNumber::parse(&entry.file_name().to_string_lossy()))
        .collect();
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests {
    use super::{Repository, RepositoryError};
    use crate::domain::model::{ModelName, VersionKey, VersionNumber};
    use std::fs;
    use std::path::Path;

    fn put(root: &Path, file: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"model").unwrap();
    }

    fn name(text: &str) -> ModelName {
        ModelName::parse(text).unwrap()
    }

    fn key(model: &str, number: u64) -> VersionKey {
        VersionKey { model: name(model), number: VersionNumber::new(number).unwrap() }
    }

    #[test]
    fn only_numbered_folders_with_a_model_are_versions() {
        let root = tempfile::tempdir().unwrap();
        for file in ["b/2/model.onnx", "b/10/model.onnx", "b/01/model.onnx", "b/3/other.onnx"] {
            put(root.path(), file);
        }
        put(root.path(), "a/1/model.onnx");
        put(root.path(), ".git/1/model.onnx");
        put(root.path(), "README.md");
        let repository = Repository::open(root.path(), None).unwrap();
        assert_eq!(repository.models().unwrap(), [name("a"), name("b")]);
        let versions: Vec<u64> = repository.versions(&name("b")).iter().map(|v| v.get()).collect();
        assert_eq!(versions, [2, 10]);
        let missing = repository.locate(&key("b", 3)).unwrap_err().to_string();
        assert_eq!(missing, "version b/3 has no file b/3/model.onnx");
    }

    #[test]
    fn a_model_folder_given_itself_is_served_under_the_name_given() {
        for file in ["model.onnx", "1/model.onnx"] {
            let root = tempfile::tempdir().unwrap();
            put(root.path(), file);
            let repository = Repository::open(root.path(), Some(name("credit"))).unwrap();
            assert_eq!(repository.models().unwrap(), [name("credit")]);
            assert_eq!(repository.versions(&name("credit")).len(), 1);
            assert!(repository.locate(&key("credit", 1)).unwrap().model.ends_with(file));
            assert!(repository.versions(&name("other")).is_empty());
        }
    }

    #[test]
    fn a_link_that_leaves_the_repository_is_refused() {
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        put(elsewhere.path(), "1/model.onnx");
        std::os::unix::fs::symlink(elsewhere.path(), root.path().join("sly")).unwrap();
        let repository = Repository::open(root.path(), None).unwrap();
        let refused = repository.locate(&key("sly", 1)).unwrap_err();
        assert!(matches!(refused, RepositoryError::Outside { .. }), "{refused}");
    }
}
