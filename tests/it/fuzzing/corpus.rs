//! The committed corpus: what was written by hand, and what once broke a promise.

use std::fs;
use std::path::PathBuf;

use super::bodies;
use crate::harness::tools::project;

#[test]
fn every_body_holds_on_its_corpus() {
    let mut bytes = 0;
    for (name, body) in bodies::ALL {
        let corpus = of(name);
        assert!(corpus.len() >= 5, "{name} has {} files", corpus.len());
        for (path, data) in corpus {
            println!("{}", path.display());
            bytes += data.len();
            body(&data);
        }
    }
    assert!(bytes < 300_000, "{bytes} bytes: a corpus is for what is small");
}

/// The files of a body's corpus, in order.
pub fn of(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = project().join("fuzz/corpus").join(name);
    let files = fs::read_dir(&folder).expect("a folder for each body");
    let mut files: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).expect("a file"))).collect()
}
