//! Finds and opens the ONNX Runtime library, once a process.
//!
//! The lazy road of the `ort` crate panics when the library is missing; this one says what to do.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ort::environment::Environment;
use ort::logging::LogLevel;

use crate::serving::runtime::onnx::division;

/// The opened library. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Library {
    environment: Environment,
    opened: Arc<Opened>,
}

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    version: String,
}

/// Why ONNX Runtime is not there.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// No candidate exists.
    #[error(
        "ONNX Runtime is not installed: looked for {looked}; run `make setup` in the project's \
         folder, or set `runtime.library` or ORT_DYLIB_PATH to the path of libonnxruntime.so \
         (version 1.24 or newer)"
    )]
    Missing {
        /// Where we looked.
        looked: Places,
    },
    /// The library is there, but cannot be used.
    #[error(
        "ONNX Runtime at {path} cannot be used: {reason}; version 1.24 or newer is needed, \
         `make setup` in the project's folder installs one"
    )]
    Unusable {
        /// The library.
        path: PathBuf,
        /// The loader's words.
        reason: String,
    },
}

/// Paths, for a message.
#[derive(Debug)]
pub struct Places(Vec<PathBuf>);

impl Library {
    /// Opens the library that was asked for, or else the first that exists.
    ///
    /// `asked` are explicit wishes (configuration, then environment): the first one is taken, and
    /// if it is not usable that is an error, never a reason to look on. Without a wish these are
    /// tried: beside the executable, the project's set-up folder, the system's loader.
    ///
    /// A process opens one library; a later call returns the one that is open.
    ///
    /// # Errors
    ///
    /// [`LibraryError`], which says what to do.
    pub fn open(asked: &[PathBuf]) -> Result<Self, LibraryError> {
        static OPEN: OnceLock<Library> = OnceLock::new();
        if let Some(library) = OPEN.get() {
            return Ok(library.clone());
        }
        let library = match asked.first() {
            Some(path) => open_at(path)?,
            None => open_first(&candidates())?,
        };
        Ok(OPEN.get_or_init(|| library).clone())
    }

    /// The environment that sessions are built in.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Where the library was found.
    pub fn path(&self) -> &Path {
        &self.opened.path
    }

    /// The library's own version (`1.32.0`).
    pub fn version(&self) -> &str {
        &self.opened.version
    }
}

fn candidates() -> Vec<PathBuf> {
    let mut places = Vec::new();
    let beside = std::env::current_exe().ok();
    places.extend(beside.and_then(|exe| Some(exe.parent()?.join(NAME))));
    places.push(PathBuf::from(".tools/onnxruntime").join(SET_UP).join("lib").join(NAME));
    places
}

fn open_first(places: &[PathBuf]) -> Result<Library, LibraryError> {
    if let Some(path) = places.iter().find(|path| path.exists()) {
        return open_at(path);
    }
    // A bare name is looked up by the system's loader.
    open_at(Path::new(NAME)).map_err(|_| {
        let looked = places.iter().cloned().chain([PathBuf::from(format!("the system's {NAME}"))]);
        LibraryError::Missing { looked: Places(looked.collect()) }
    })
}

fn open_at(path: &Path) -> Result<Library, LibraryError> {
    let unusable = |reason: String| LibraryError::Unusable { path: path.to_path_buf(), reason };
    let builder = ort::init_from(path).map_err(|error| unusable(error.to_string()))?;
    let environment = builder
        .with_name("tidegate")
        .with_telemetry(false)
        .with_logger(Arc::new(forward_log))
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    environment.set_log_level(LogLevel::Warning);
    division::survive();
    let opened = Opened { path: path.to_path_buf(), version: version() };
    Ok(Library { environment, opened: Arc::new(opened) })
}

// The C API tells its version only before it is opened, and the build's own text may not name it;
// the file does: libonnxruntime.so.1.32.0, whatever link led there.
fn version() -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let path = maps.lines().find_map(|line| Some(line.split_once(NAME)?.1.trim_matches('.')));
    path.filter(|version| !version.is_empty()).unwrap_or("unknown").to_owned()
}

fn forward_log(level: LogLevel, category: &str, _id: &str, place: &str, message: &str) {
    match level {
        LogLevel::Verbose | LogLevel::Info => {
            tracing::debug!(category, place, message, "onnxruntime");
        }
        // Once a run, where a model's outputs are not of the shape that it declares; which is fine.
        LogLevel::Warning if place.starts_with(OF_RUNS) => {
            tracing::debug!(category, place, message, "onnxruntime");
        }
        LogLevel::Warning => tracing::warn!(category, place, message, "onnxruntime"),
        LogLevel::Error | LogLevel::Fatal => {
            tracing::error!(category, place, message, "onnxruntime");
        }
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, path) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{}", path.display())?;
        }
        Ok(())
    }
}

/// Where ONNX Runtime warns of what it meets while it runs a model.
const OF_RUNS: &str = "execution_frame.cc";

/// File name of the library.
const NAME: &str = "libonnxruntime.so";

/// Version that the project's set-up installs.
const SET_UP: &str = "1.32.0";
