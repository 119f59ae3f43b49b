//! A folder of models of one's own, to be changed under a running server.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::harness::server::Server;
use crate::harness::tools::{project, run_client};

/// A folder of models that goes with the test.
#[derive(Debug)]
pub struct Repository {
    root: TempDir,
}

impl Repository {
    /// An empty folder.
    pub fn new() -> Self {
        Self { root: tempfile::tempdir().expect("a temporary folder") }
    }

    /// The same, with these demo models and all their versions.
    pub fn of(models: &[&str]) -> Self {
        let repository = Self::new();
        for model in models {
            for version in fs::read_dir(project().join("models").join(model)).expect("a model") {
                let number = version.expect("a folder").file_name();
                let number = number.to_string_lossy().parse().expect("a version's number");
                repository.put(model, number, &demo(model, number));
            }
        }
        repository
    }

    /// Puts bytes where the version's model is expected.
    pub fn put(&self, model: &str, version: u64, bytes: &[u8]) -> PathBuf {
        let folder = self.folder(model, version);
        fs::create_dir_all(&folder).expect("a new folder");
        fs::write(folder.join("model.onnx"), bytes).expect("a new file");
        folder
    }

    /// A version's folder, which need not be there.
    pub fn folder(&self, model: &str, version: u64) -> PathBuf {
        self.root.path().join(model).join(version.to_string())
    }

    /// The folder of models.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// A server on it, ready.
    pub fn serve(&self) -> Server {
        Server::on(self.path())
    }

    /// A server that follows what happens in it, and takes files for complete after `settle_ms`.
    pub fn watch(&self, settle_ms: u64) -> Server {
        let settle = settle_ms.to_string();
        Server::told(self.path(), &[], &[("TIDEGATE_REPOSITORY_SETTLE_MS", &settle)])
    }

    /// Puts a version there by one rename, as a careful deployment does.
    pub fn drop_in(&self, model: &str, version: u64, bytes: &[u8]) {
        let beside = self.put(&format!(".{model}"), version, bytes);
        fs::create_dir_all(self.path().join(model)).expect("a new folder");
        fs::rename(beside, self.folder(model, version)).expect("a rename within the folder");
    }

    /// The same, with a configuration file.
    pub fn serve_configured(&self, toml: &str) -> Server {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), toml).expect("a writable file");
        Server::with(self.path(), &["--config", file.path().to_str().expect("a path in UTF-8")])
    }
}

/// The model file of a demo model's version.
pub fn demo(model: &str, version: u64) -> Vec<u8> {
    let folder = project().join("models").join(model).join(version.to_string());
    fs::read(folder.join("model.onnx")).expect("a demo model")
}

/// One of the models of `tests/clients/make_odd_models.py`.
pub fn odd(name: &str) -> Vec<u8> {
    fs::read(odd_path(name)).expect("a model of make_odd_models.py")
}

/// Where that model lies.
pub fn odd_path(name: &str) -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let folder = MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("odd_models");
        run_client("make_odd_models.py", &[folder.to_str().expect("a path in UTF-8")]);
        folder
    });
    folder.join(format!("{name}.onnx"))
}
