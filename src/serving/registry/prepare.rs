//! Prepares a version: reads, verifies, loads and warms it.
//!
//! Nothing that serves is touched: a version that cannot be prepared changes nothing.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::domain::failure::{Code, Failure};
use crate::domain::inference::Origin;
use crate::domain::model::{Digest, VersionKey};
use crate::domain::signature::{Dim, Requested, Signature, TensorSpec, Tensors};
use crate::domain::tensor::buffer::{LENGTH, Tensor};
use crate::domain::tensor::compare;
use crate::domain::tensor::shape::Shape;
use crate::platform::clock::Clock;
use crate::platform::telemetry::page::Metrics;
use crate::serving::batching::queue::{Placement, Queue};
use crate::serving::batching::scheduler::Ring;
use crate::serving::registry::state::Step;
use crate::serving::registry::version::{Bell, Version};
use crate::serving::repository::digest;
use crate::serving::repository::golden::{self, Case, GoldenError};
use crate::serving::repository::layout::{Files, Repository, RepositoryError};
use crate::serving::repository::manifest::{self, Manifest, ManifestError, Warmup};
use crate::serving::repository::sighting;
use crate::serving::runtime::device::{DeviceError, Devices};
use crate::serving::runtime::engine::{Engine, Job, RunError};
use crate::serving::runtime::onnx::graph;
use crate::serving::runtime::onnx::library::Library;
use crate::serving::runtime::onnx::session::{self, Memory, Opening, SessionError};
use crate::serving::runtime::onnx::trial::{Trial, TrialError};

/// How versions are run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Serving {
    /// Runs up to this long, in microseconds, happen on the I/O thread.
    pub light_run_us: u64,
    /// Requests that may wait for an inference thread, for each version.
    pub queue_capacity: usize,
    /// Whether each model is first opened in a process of its own, which may crash instead.
    pub trial_load: bool,
    /// Seconds that such a process may take.
    pub trial_timeout_s: u64,
}

impl Default for Serving {
    fn default() -> Self {
        // 500 us: a longer run would delay every other connection of its core by more than a
        // thread hop costs (60-120 us of processor time, decision 0002).
        // Off: a load takes twice as long, and a model's memory twice meanwhile. 600 s: what a load
        // may take by default.
        // 256: at 10 ms a run on two threads, the last one waits 1.3 s; more would only time out.
        Self { light_run_us: 500, queue_capacity: 256, trial_load: false, trial_timeout_s: 600 }
    }
}

/// All that is needed to make a version of files.
#[derive(Clone, Debug)]
pub struct Loader {
    /// Where the files are.
    pub repository: Repository,
    /// What runs them.
    pub library: Library,
    /// How they are run.
    pub serving: Serving,
    /// Runs at once, for each version.
    pub concurrency: usize,
    /// What runs them, where a model's owner does not say.
    pub devices: Devices,
    /// Folder for what execution providers build.
    pub engine_cache: Option<PathBuf>,
    /// Inference threads for heavy versions.
    pub ring: Ring,
    /// Where counters are kept.
    pub metrics: Metrics,
    /// Wakes the reaper.
    pub bell: Bell,
    /// For measuring.
    pub clock: Arc<dyn Clock>,
}

/// Why a version could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Its files are not there.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// It could not be opened where it may crash.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// Its files cannot be read.
    #[error("the version's files cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// No session came of it.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// What its owner says of the model cannot be obeyed.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// What is said of its devices does not go together.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Its golden cases cannot be read.
    #[error(transparent)]
    Golden(#[from] GoldenError),
    /// It does not answer a golden case as it should.
    #[error("golden case '{case}': {found}")]
    Wrong {
        /// Which case.
        case: String,
        /// What it answered, and what was expected.
        found: String,
    },
    /// Somebody writes to them.
    #[error("the version's files changed while they were read, expected them at rest")]
    Touched,
    /// Nobody wants it any more.
    #[error("a newer version was found before this one was ready")]
    Superseded,
}

impl PrepareError {
    /// Whether the very same files may do better the next time.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Touched | Self::Superseded)
    }

    /// The step that this failure is in the version's life.
    pub fn step(&self) -> Step {
        let reason = self.to_string();
        match self {
            Self::Golden(_) | Self::Wrong { .. } => Step::Reject { gate: "golden".into(), reason },
            Self::Repository(_)
            | Self::Trial(_)
            | Self::Read(_)
            | Self::Session(_)
            | Self::Manifest(_)
            | Self::Device(_)
            | Self::Touched
            | Self::Superseded => Step::Fail { reason },
        }
    }
}

impl Failure for PrepareError {
    fn code(&self) -> Code {
        match self {
            Self::Repository(RepositoryError::NoModel { .. }) => Code::Version,
            Self::Golden(_) | Self::Wrong { .. } => Code::Golden,
            Self::Touched | Self::Superseded => Code::Busy,
            Self::Repository(_)
            | Self::Trial(_)
            | Self::Read(_)
            | Self::Session(_)
            | Self::Manifest(_)
            | Self::Device(_) => Code::Load,
        }
    }
}

impl Loader {
    /// Makes a version of its files; `progress` hears of each step on the way there, and may break
    /// it off.
    ///
    /// Blocks for milliseconds to seconds: call it on a thread that may.
    ///
    /// # Errors
    ///
    /// [`PrepareError`], with the reason in words that help.
    pub fn prepare(
        &self,
        key: &VersionKey,
        progress: impl FnMut(Step) -> ControlFlow<()>,
    ) -> Result<Arc<Version>, PrepareError> {
        let files = self.repository.locate(key)?;
        let print = || sighting::fingerprint(&self.repository, &key.model, key.number);
        let before = print();
        let prepared = self.prepare_files(key, &files, progress);
        // What came of a mix of two states of the files is neither, and why it failed says nothing.
        let prepared = if print() == before { prepared } else { Err(PrepareError::Touched) };
        let outcome = match prepared.as_ref().map_err(PrepareError::step) {
            Ok(_) => "ok",
            Err(Step::Reject { .. }) => "rejected",
            Err(_) => "failed",
        };
        self.metrics.record_load(key.model.as_str(), outcome);
        prepared
    }

    fn prepare_files(
        &self,
        key: &VersionKey,
        files: &Files,
        mut progress: impl FnMut(Step) -> ControlFlow<()>,
    ) -> Result<Arc<Version>, PrepareError> {
        let mut reach = |step| match progress(step) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(PrepareError::Superseded),
        };
        let digest = self.digest(files)?;
        reach(Step::Verify)?;
        reach(Step::Load)?;
        if self.serving.trial_load {
            self.trial().open(&files.model)?;
        }
        let manifest = self.manifest(key)?;
        let devices = self.devices.for_model(&manifest.devices())?;
        let cache = self.cache(&devices, &digest);
        let opening = self.opening(files, &devices, cache.as_deref());
        let engine = session::open(&self.library, &opening)?;
        reach(Step::Warm)?;
        let cases = golden::read(&files.folder)?;
        let inputs = warm_inputs(engine.signature(), &manifest.warmup, &cases);
        let (engine, placement) = self.warm(engine, opening, &inputs)?;
        check(&*engine, &cases)?;
        let (ring, clock) = (self.ring.clone(), Arc::clone(&self.clock));
        let queue = Queue::new(engine, placement, self.serving.queue_capacity, ring, clock);
        let metrics = self.metrics.version(key.model.as_str(), &key.number.to_string());
        let facts = queue.engine().facts();
        for note in &facts.notes {
            tracing::warn!(version = %key, note, "a version was loaded with a note");
        }
        let placed = facts.placed.iter();
        metrics.set_nodes(placed.map(|placed| (placed.provider.clone(), placed.nodes)).collect());
        let origin = Origin::new(key.model.clone(), key.number, digest);
        Ok(Arc::new(Version::new(origin, queue, metrics, self.bell.clone())))
    }

    /// How models are opened where they may crash.
    pub fn trial(&self) -> Trial {
        Trial::new(&self.library, Duration::from_secs(self.serving.trial_timeout_s))
    }

    /// Whether a version's files are what they were when it was loaded.
    ///
    /// # Errors
    ///
    /// [`PrepareError::Repository`], [`PrepareError::Read`].
    pub fn is_current(&self, version: &Version) -> Result<bool, PrepareError> {
        let files = self.repository.locate(&version.key())?;
        Ok(self.digest(&files)? == version.origin().digest)
    }

    fn digest(&self, files: &Files) -> std::io::Result<Digest> {
        digest::of_folder(&files.folder, self.repository.root())
    }

    fn manifest(&self, key: &VersionKey) -> Result<Manifest, ManifestError> {
        let Some(folder) = self.repository.folder(&key.model) else {
            return Ok(Manifest::default());
        };
        if folder.join("config.pbtxt").exists() {
            tracing::warn!(model = %key.model, "config.pbtxt is not read, say it in model.toml");
        }
        manifest::read(&folder)
    }

    fn opening<'a>(
        &'a self,
        files: &'a Files,
        devices: &'a Devices,
        cache: Option<&'a Path>,
    ) -> Opening<'a> {
        let (path, memory) = (files.model.as_path(), Self::guess(files, devices));
        Opening { path, memory, concurrency: self.concurrency, devices, cache }
    }

    // What is built of one version must never serve another, and TensorRT tells engines apart by
    // the graph's names, not by its weights: hence a folder for each digest.
    fn cache(&self, devices: &Devices, digest: &Digest) -> Option<PathBuf> {
        let root = self.engine_cache.as_ref().filter(|_| !devices.providers.is_cpu_alone())?;
        Some(root.join(digest.to_string()))
    }

    // Whether runs are light is known only after the first ones; small files almost always are.
    // Runs on a device never are (decision 0012), and opening it twice may build engines twice.
    fn guess(files: &Files, devices: &Devices) -> Memory {
        let bytes = files.model.metadata().map_or(0, |metadata| metadata.len());
        let is_light = bytes <= LIGHT_FILE_BYTES && devices.providers.is_cpu_alone();
        if is_light { Memory::Light } else { Memory::Heavy }
    }

    fn warm(
        &self,
        engine: impl Engine,
        opening: Opening<'_>,
        inputs: &Tensors,
    ) -> Result<(Arc<dyn Engine>, Placement), PrepareError> {
        let engine: Arc<dyn Engine> = Arc::new(engine);
        let light = match self.measure(&*engine, inputs) {
            Ok(took) => {
                let short = took <= Duration::from_micros(self.serving.light_run_us)
                    && opening.devices.providers.is_cpu_alone();
                // How long a loop runs is for its inputs to say, and the next ones may say more.
                short && !graph::has_control_flow(&fs::read(opening.path)?)
            }
            Err(error) => {
                // Zeros are no valid input for every model (an index, a division): not a reason to
                // refuse it, but nothing is known about its runs, so they leave the I/O thread.
                tracing::warn!(%error, model = %opening.path.display(), "warm-up run failed");
                false
            }
        };
        let (memory, placement) = if light {
            (Memory::Light, Placement::InPlace)
        } else {
            (Memory::Heavy, Placement::Threads)
        };
        if memory == opening.memory {
            return Ok((engine, placement));
        }
        let engine = session::open(&self.library, &Opening { memory, ..opening })?;
        // The first runs of a session allocate; nobody should wait for them.
        drop(self.measure(&engine, inputs));
        Ok((Arc::new(engine), placement))
    }

    fn measure(&self, engine: &dyn Engine, inputs: &Tensors) -> Result<Duration, RunError> {
        let outputs: Vec<usize> = (0..engine.signature().outputs.len()).collect();
        let mut best = Duration::MAX;
        for _ in 0..WARM_RUNS {
            let started = self.clock.now();
            drop(run_once(engine, inputs, &outputs)?);
            best = best.min(self.clock.now().saturating_duration_since(started));
        }
        Ok(best)
    }
}

// Every case whose outputs are what they should be; the first other one is the reason.
fn check(engine: &dyn Engine, cases: &[Case]) -> Result<(), PrepareError> {
    for case in cases {
        let wrong = |found| PrepareError::Wrong { case: case.name.clone(), found };
        let signature = engine.signature();
        let wanted: Vec<Requested> =
            case.outputs.iter().map(|output| Requested::all_of(&output.name)).collect();
        let inputs = signature.arrange(&case.inputs).map_err(|error| wrong(error.to_string()))?;
        let outputs = signature.select(&wanted).map_err(|error| wrong(error.to_string()))?;
        let found =
            run_once(engine, &inputs, &outputs).map_err(|error| wrong(error.to_string()))?;
        for (found, expected) in found.iter().zip(&case.outputs) {
            if let Some(text) = compare::difference(found, &expected.tensor, case.tolerance) {
                return Err(wrong(format!("output '{}' {text}", expected.name)));
            }
        }
    }
    Ok(())
}

fn run_once(engine: &dyn Engine, inputs: &Tensors, outputs: &[usize]) -> Result<Tensors, RunError> {
    engine.run(Job { inputs, outputs, switch: None }).wait()
}

// The sizes that the owner gave; else real values where the version brings some, because zeros may
// be no valid input for it; else one row.
fn warm_inputs(signature: &Signature, warmup: &Warmup, cases: &[Case]) -> Tensors {
    let real = cases.iter().find_map(|case| signature.arrange(&case.inputs).ok());
    real.filter(|_| warmup.dims.is_empty()).unwrap_or_else(|| zeros(signature, warmup))
}

// Zeros, or empty strings.
fn zeros(signature: &Signature, warmup: &Warmup) -> Tensors {
    signature.inputs.iter().filter_map(|spec| zero(spec, warmup)).collect()
}

fn zero(spec: &TensorSpec, warmup: &Warmup) -> Option<Tensor> {
    let dims: Vec<i64> = spec
        .dims
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(size) => *size,
            Dim::Any(Some(symbol)) => warmup.dims.get(&**symbol).copied().unwrap_or(1),
            Dim::Any(None) => 1,
        })
        .collect();
    let shape = Shape::new(&dims).ok()?;
    let bytes = match shape.bytes(spec.dtype) {
        Some(bytes) => bytes,
        None => shape.elements().checked_mul(LENGTH)?,
    };
    Tensor::new(spec.dtype, shape, Bytes::from(vec![0; bytes])).ok()
}

/// Files up to this size are first opened as light ones.
const LIGHT_FILE_BYTES: u64 = 1 << 20;

/// Enough for lazy allocations to be over, few enough for a run of a second.
const WARM_RUNS: usize = 4;
