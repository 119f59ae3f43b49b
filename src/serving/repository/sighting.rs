//! What a model's folder holds at one moment, without reading the files.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::hash::{BuildHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use foldhash::fast::FixedState;

use crate::domain::model::{ModelName, VersionNumber};
use crate::serving::repository::layout::Repository;

/// The files of one version, and its model's settings, as the file system tells of them: equal as
/// long as nobody touched them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fingerprint {
    names_and_sizes: u64,
    /// All files together.
    pub bytes: u64,
    /// When the last of them was touched. Not the time of modification, which a copy may carry over.
    pub touched: SystemTime,
}

/// Versions of one model that lie there.
pub type Sighting = BTreeMap<VersionNumber, Fingerprint>;

/// Looks at a model's folder; empty if there is none.
///
/// Costs a `stat` for each file.
pub fn look(repository: &Repository, model: &ModelName) -> Sighting {
    let versions = repository.versions(model).into_iter();
    versions.filter_map(|number| Some((number, fingerprint(repository, model, number)?))).collect()
}

/// The fingerprint of one version; none if its folder cannot be read whole.
pub fn fingerprint(
    repository: &Repository,
    model: &ModelName,
    number: VersionNumber,
) -> Option<Fingerprint> {
    let mut print = Print::default();
    let folder = repository.version_folder(model, number)?;
    print.folder(&folder, DEPTH)?;
    for settings in repository.settings(model) {
        // Most models have none.
        if let Ok(metadata) = settings.metadata() {
            print.file(&settings, &metadata);
        }
    }
    Some(print.finish())
}

struct Print {
    hasher: <FixedState as BuildHasher>::Hasher,
    bytes: u64,
    touched: SystemTime,
}

impl Default for Print {
    fn default() -> Self {
        let hasher = FixedState::default().build_hasher();
        Self { hasher, bytes: 0, touched: SystemTime::UNIX_EPOCH }
    }
}

impl Print {
    fn folder(&mut self, folder: &Path, depth: usize) -> Option<()> {
        // A link to a folder above would never end.
        let below = depth.checked_sub(1)?;
        self.touch(&folder.metadata().ok()?);
        let entries: Result<Vec<_>, _> = fs::read_dir(folder).ok()?.collect();
        let mut paths: Vec<_> = entries.ok()?.into_iter().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let metadata = path.metadata().ok()?;
            if metadata.is_dir() {
                self.folder(&path, below)?;
            } else {
                self.file(&path, &metadata);
            }
        }
        Some(())
    }

    fn file(&mut self, path: &Path, metadata: &Metadata) {
        let written = (metadata.mtime(), metadata.mtime_nsec());
        (path, metadata.len(), metadata.ino(), written).hash(&mut self.hasher);
        self.bytes = self.bytes.saturating_add(metadata.len());
        self.touch(metadata);
    }

    fn touch(&mut self, metadata: &Metadata) {
        let seconds = Duration::from_secs(metadata.ctime().unsigned_abs());
        let nanos = Duration::from_nanos(metadata.ctime_nsec().unsigned_abs());
        self.touched = self.touched.max(SystemTime::UNIX_EPOCH + seconds + nanos);
    }

    fn finish(self) -> Fingerprint {
        let Self { hasher, bytes, touched } = self;
        Fingerprint { names_and_sizes: hasher.finish(), bytes, touched }
    }
}

/// Folders within folders that a version may have.
const DEPTH: usize = 8;
