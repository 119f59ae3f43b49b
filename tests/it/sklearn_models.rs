//! Models exported from Python's tabular libraries answer as the libraries do.
//!
//! Nothing is configured: the models are what skl2onnx and onnxmltools write by themselves, in a
//! folder, and the server is told the folder.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tidegate::domain::model::Digest;

use crate::harness::server::Server;
use crate::harness::tools::{project, run_client};

#[test]
fn models_of_scikit_learn_and_lightgbm_answer_as_the_libraries_do() {
    let exported = exported();
    let server = Server::on(&exported.join("models"));
    let addresses = server.addresses();
    let (http, grpc) = (addresses.http.to_string(), addresses.grpc.to_string());
    let before = server.log();
    run_client("sklearn_parity.py", &[&http, &grpc, text(&exported)]);
    let after = server.log();
    assert_eq!(after.strip_prefix(&before), Some(""), "requests are answered without a word");
}

// The models, made anew if what makes them has changed.
fn exported() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sklearn_models");
    let of = MADE_FROM.map(|file| fs::read(project().join(file)).expect("a file of ours"));
    let wanted = Digest::new(Sha256::digest(of.concat()).into()).to_string();
    let stamp = folder.join("made-from");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return folder;
    }
    fs::remove_dir_all(&folder).ok();
    run_client("make_sklearn_models.py", &[text(&folder)]);
    fs::write(stamp, wanted).expect("a writable folder");
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// The script with what it imports of ours, and the versions of the libraries.
const MADE_FROM: [&str; 3] = [
    "tests/clients/make_sklearn_models.py",
    "tests/clients/reference.py",
    "tests/requirements.txt",
];
