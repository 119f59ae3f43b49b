//! What lies in the folder of the one model, and what was ever there.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use tidegate::domain::model::Digest;
use tidegate::serving::repository::digest;

use crate::harness::repository::{Repository, demo};

/// What a version's files are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Content {
    /// One of the two `iris`.
    Iris(u64),
    /// No model at all.
    Broken,
    /// A model that answers its own golden case wrongly.
    Wrong,
}

/// The folder.
#[derive(Debug)]
pub struct Files {
    repository: Repository,
    there: BTreeMap<u64, (Content, Digest)>,
    known: HashMap<Digest, Content>,
    written: usize,
}

impl Content {
    /// Whether it serves.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Iris(_))
    }
}

impl Files {
    pub fn new() -> Self {
        let repository = Repository::new();
        Self { repository, there: BTreeMap::new(), known: HashMap::new(), written: 0 }
    }

    pub fn root(&self) -> &std::path::Path {
        self.repository.path()
    }

    /// Writes a version in place, whatever lay there.
    pub fn write(&mut self, number: u64, content: Content) {
        let folder = self.repository.folder(MODEL, number);
        self.fill(&folder, content);
        self.note(number, content);
    }

    /// Puts a version there by one rename.
    pub fn drop_in(&mut self, number: u64, content: Content) {
        self.remove(number);
        let beside = self.root().join(".beside");
        self.fill(&beside, content);
        let folder = self.repository.folder(MODEL, number);
        fs::create_dir_all(folder.parent().expect("a folder")).expect("a new folder");
        fs::rename(beside, folder).expect("a rename");
        self.note(number, content);
    }

    pub fn remove(&mut self, number: u64) {
        if self.there.remove(&number).is_some() {
            fs::remove_dir_all(self.repository.folder(MODEL, number)).expect("a folder");
        }
    }

    /// What lies there under a number.
    pub fn at(&self, number: u64) -> Option<(Content, Digest)> {
        self.there.get(&number).copied()
    }

    /// The numbers that lie there, the highest first.
    pub fn numbers(&self) -> Vec<u64> {
        self.there.keys().rev().copied().collect()
    }

    /// What a version of that digest is.
    pub fn of(&self, digest: &Digest) -> Content {
        *self.known.get(digest).expect("nothing is loaded that was never written")
    }

    fn fill(&mut self, folder: &std::path::Path, content: Content) {
        fs::create_dir_all(folder).expect("a folder");
        let model = match content {
            Content::Iris(version) => demo(MODEL, version),
            Content::Wrong => demo(MODEL, 1),
            Content::Broken => b"no model".to_vec(),
        };
        fs::write(folder.join("model.onnx"), model).expect("a file");
        // Of a length of its own, so that no two states of a version look the same.
        self.written += 1;
        fs::write(folder.join("notes"), "x".repeat(self.written)).expect("a file");
        let golden = folder.join("golden.json");
        if content == Content::Wrong {
            fs::write(golden, WRONG).expect("a file");
        } else if golden.exists() {
            fs::remove_file(golden).expect("a file");
        }
    }

    fn note(&mut self, number: u64, content: Content) {
        let folder = self.repository.folder(MODEL, number).canonicalize().expect("a folder");
        let root = self.root().canonicalize().expect("a folder");
        let digest = digest::of_folder(&folder, &root).expect("a digest");
        self.there.insert(number, (content, digest));
        self.known.insert(digest, content);
    }
}

/// The one model.
pub const MODEL: &str = "iris";

const WRONG: &str = r#"[{
    "name": "wrong",
    "inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 4], "data": [5, 3, 4, 2]}],
    "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [1, 3], "data": [2, 2, 2]}]
}]"#;
