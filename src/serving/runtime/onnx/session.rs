//! Builds a session from a model file, and reads its signature.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use crate::domain::signature::Signature;
use crate::serving::runtime::device::{Devices, Provider, Providers};
use crate::serving::runtime::engine::{Facts, Limits, Placed, RunError};
use crate::serving::runtime::onnx::library::Library;
use crate::serving::runtime::onnx::locale;
use crate::serving::runtime::onnx::providers::{self, Unregistered};
use crate::serving::runtime::onnx::rewrite::{self, Rewritten};
use crate::serving::runtime::onnx::shared_session::SharedSession;
use crate::serving::runtime::onnx::signature::{self, Read, ReadError};
use crate::serving::runtime::tuning::{Graph, Tuning};

/// How a session allocates while it runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Memory {
    /// For runs of microseconds: no arena, whose lock two threads would fight for.
    Light,
    /// For runs of milliseconds: arena and memory pattern, so that intermediates are reused.
    Heavy,
}

/// How a model file is to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// The file.
    pub path: &'a Path,
    /// How its session allocates.
    pub memory: Memory,
    /// Runs at once.
    pub concurrency: usize,
    /// What runs it.
    pub devices: &'a Devices,
    /// Folder of its own for what providers build of it; made if need be.
    pub cache: Option<&'a Path>,
    /// How its owner wants it to run.
    pub tuning: Tuning,
}

/// Why a model file became no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// ONNX Runtime refused the file.
    #[error("ONNX Runtime refused the model: {reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
    /// A provider that was asked for is not there, or not as it was asked for.
    #[error(
        "provider '{provider}' cannot be had: {reason}; this ONNX Runtime offers {offered}: {remedy}, \
         or leave '{provider}' out of `providers`"
    )]
    Provider {
        /// Which one.
        provider: Provider,
        /// ONNX Runtime's words.
        reason: String,
        /// What the loaded library was built with.
        offered: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The providers took the model and failed at it; the processor opens it.
    #[error(
        "{providers} cannot open the model, which opens on 'cpu' alone: {reason}; look at the \
         device, its memory, and the options of the provider"
    )]
    Devices {
        /// What was asked for.
        providers: Providers,
        /// ONNX Runtime's words.
        reason: String,
    },
    /// Nodes were left over, and nobody said that the processor may have them.
    #[error(
        "{providers} cannot run every node of the model: add 'cpu' to `providers` to let the \
         processor run what is left"
    )]
    LeftOver {
        /// What was asked for.
        providers: Providers,
    },
    /// The folder for what providers build cannot be made.
    #[error("the folder {path} for what providers build cannot be made: {reason}")]
    Cache {
        /// Which one.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// Its inputs or outputs are not ours to serve.
    #[error(transparent)]
    Signature(#[from] ReadError),
}

/// What a model file says of itself.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Inputs and outputs.
    pub signature: Signature,
    /// What was left out or changed so that the file serves, one sentence each.
    pub notes: Vec<String>,
    /// Version of the standard operators.
    pub opset: Option<u32>,
    /// What wrote the file.
    pub producer: Option<String>,
}

/// Reads what a model file says of itself.
///
/// Takes as long as opening it: call it on a thread that may block.
///
/// # Errors
///
/// [`SessionError`], with ONNX Runtime's reason.
pub fn inspect(library: &Library, path: &Path) -> Result<Inspection, SessionError> {
    let Built { session, read } = build_on_cpu(library, path)?;
    let producer = session.metadata().ok().and_then(|metadata| metadata.producer());
    let opset = session.opset_for_domain("");
    Ok(Inspection { signature: read.signature, notes: read.notes, opset, producer })
}

/// Opens a model file as a session that several threads may run at once.
///
/// Takes milliseconds to seconds of one processor: call it on a thread that may block.
///
/// # Errors
///
/// [`SessionError`], with ONNX Runtime's reason.
pub fn open(library: &Library, opening: &Opening<'_>) -> Result<SharedSession, SessionError> {
    let Built { session, read: Read { signature, mut notes } } = build(library, opening)?;
    let providers = opening.devices.providers.clone();
    let placed = providers::placed(&session, providers.as_slice()).map_err(SessionError::from)?;
    let concurrency = opening.concurrency;
    let limits = Limits { concurrency, can_batch: true, elsewhere: false };
    notes.extend(idle(&placed));
    let facts = Facts { providers, placed, notes };
    let shared = SharedSession::new(&session, Arc::new(signature), limits, facts);
    shared.map_err(SessionError::from)
}

struct Built {
    session: Session,
    read: Read,
}

fn build(library: &Library, opening: &Opening<'_>) -> Result<Built, SessionError> {
    let (session, zipmaps, mut notes) = match rewritten(opening.path) {
        Some(Rewritten { model, zipmaps, notes }) => {
            (session(library, opening, Some(&model))?, zipmaps, notes)
        }
        None => (session(library, opening, None)?, Vec::new(), Vec::new()),
    };
    let mut read = signature::read(&session, &zipmaps)?;
    notes.append(&mut read.notes);
    Ok(Built { session, read: Read { notes, ..read } })
}

fn rewritten(path: &Path) -> Option<Rewritten> {
    // What cannot be read is for ONNX Runtime to complain of, as what is too large for protobuf.
    path.metadata().ok().filter(|metadata| metadata.len() < MOST_PROTOBUF_BYTES)?;
    rewrite::rewrite(&fs::read(path).ok()?, &locale::exists)
}

impl From<ort::Error> for SessionError {
    fn from(error: ort::Error) -> Self {
        Self::Refused { reason: error.to_string().trim().to_owned() }
    }
}

impl From<RunError> for SessionError {
    fn from(error: RunError) -> Self {
        Self::Refused { reason: error.to_string().trim().to_owned() }
    }
}

// A provider that was registered and got nothing to do is no error, but nobody should miss it.
fn idle(placed: &[Placed]) -> impl Iterator<Item = String> {
    let idle = placed.iter().filter(|one| one.nodes == 0 && one.provider != Provider::Cpu.name());
    idle.map(|one| format!("provider '{}' runs no node of this model", one.provider))
}

fn build_on_cpu(library: &Library, path: &Path) -> Result<Built, SessionError> {
    let devices = Devices::default();
    let opening = Opening {
        path,
        memory: Memory::Light,
        concurrency: 1,
        devices: &devices,
        cache: None,
        tuning: Tuning::default(),
    };
    build(library, &opening)
}

// From the file, or from bytes that stand for it.
fn session(
    library: &Library,
    opening: &Opening<'_>,
    model: Option<&[u8]>,
) -> Result<Session, SessionError> {
    let devices = opening.devices;
    if let Some(path) = opening.cache {
        fs::create_dir_all(path).map_err(|error| SessionError::Cache {
            path: path.to_path_buf(),
            reason: error.to_string(),
        })?;
    }
    let light = opening.memory == Memory::Light;
    let arena = opening.tuning.session.arena.unwrap_or(!light);
    let options = options(library, light, (&devices.providers, opening.tuning));
    let mut builder = options.map_err(SessionError::from)?;
    providers::register(&mut builder, devices, arena, opening.cache).map_err(unregistered)?;
    commit(builder, opening.path, model).map_err(|error| {
        if devices.providers.is_cpu_alone() {
            return error.into();
        }
        // Whose fault it is no text of ONNX Runtime tells for sure; trying without the devices does.
        if let Err(error) = build_on_cpu(library, opening.path) {
            return error;
        }
        let providers = devices.providers.clone();
        if error.message().contains(LEFT_OVER) {
            return SessionError::LeftOver { providers };
        }
        SessionError::Devices { providers, reason: providers::shortened(error.message()) }
    })
}

fn commit(mut builder: SessionBuilder, path: &Path, model: Option<&[u8]>) -> ort::Result<Session> {
    let Some(model) = model else { return builder.commit_from_file(path) };
    // Absolute, because a bare file name has no folder to name.
    if let Ok(path) = std::path::absolute(path) {
        let folder = path.parent().unwrap_or(&path).to_string_lossy();
        builder = builder.with_config_entry(EXTERNAL_DATA, folder)?;
    }
    builder.commit_from_memory(model)
}

fn options(
    library: &Library,
    light: bool,
    (providers, tuning): (&Providers, Tuning),
) -> ort::Result<SessionBuilder> {
    let Tuning { threads, session } = tuning;
    let builder = Session::builder(library.environment())?
        .with_optimization_level(level(session.graph.unwrap_or_default()))?
        .with_intra_threads(threads.intra.unwrap_or(1).into())?
        .with_inter_threads(threads.inter.unwrap_or(1).into())?
        .with_parallel_execution(session.parallel.unwrap_or(false))?
        // Spinning threads halve the throughput of a shared machine.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_memory_pattern(session.memory_pattern.unwrap_or(!light))?
        .with_config_entry(providers::RECORD, "1")?;
    let builder =
        if providers.has_cpu() { builder } else { builder.with_disable_cpu_fallback()? };
    Ok(builder)
}

fn level(graph: Graph) -> GraphOptimizationLevel {
    match graph {
        Graph::Off => GraphOptimizationLevel::Disable,
        Graph::Basic => GraphOptimizationLevel::Level1,
        Graph::Extended => GraphOptimizationLevel::Level2,
        Graph::All => GraphOptimizationLevel::All,
    }
}

fn unregistered(Unregistered { provider, reason }: Unregistered) -> SessionError {
    let offered = providers::offered();
    let remedy = if offered.iter().any(|name| name == provider.name()) {
        "look at the device, its driver, and whether the system's loader finds what the library asks \
         for"
    } else {
        "name a library that offers it by `runtime.library` or ORT_DYLIB_PATH"
    };
    SessionError::Provider { provider, reason, offered: offered.join(", "), remedy }
}

/// How ONNX Runtime says that nodes went to the processor although they must not
/// (`inference_session.cc`, at `session.disable_cpu_ep_fallback`).
const LEFT_OVER: &str = "fallback to CPU EP has been explicitly disabled";

/// Where ONNX Runtime finds external data of a model that it gets as bytes.
const EXTERNAL_DATA: &str = "session.model_external_initializers_file_folder_path";

/// No protobuf message is longer; what ONNX Runtime then reads is no `ModelProto`.
const MOST_PROTOBUF_BYTES: u64 = 1 << 31;
