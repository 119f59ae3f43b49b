//! Prepares a version: reads, verifies, loads and warms it.
//!
//! Nothing that serves is touched: a version that cannot be prepared changes nothing.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::compat::Compat;
use crate::domain::failure::{Code, Failure};
use crate::domain::inference::Origin;
use crate::domain::model::{Digest, ModelName, VersionKey};
use crate::domain::signature::{Requested, Tensors};
use crate::domain::tensor::compare;
use crate::platform::clock::Clock;
use crate::platform::sync::Bell;
use crate::platform::telemetry::page::Metrics;
use crate::serving::batching::queue::{Bounds, Placement, Queue};
use crate::serving::batching::scheduler::Ring;
use crate::serving::registry::fit::{self, FitError};
use crate::serving::registry::footprint::{self, Footprints};
use crate::serving::registry::sharing::{self, Subject};
use crate::serving::registry::state::Step;
use crate::serving::registry::version::Version;
use crate::serving::registry::warmup::{self, SampleError, Shapes, Warm};
use crate::serving::repository::declared::{self, Declared, DeclaredError, Home};
use crate::serving::repository::digest;
use crate::serving::repository::golden::{self, Case, GoldenError};
use crate::serving::repository::layout::{Files, Repository, RepositoryError};
use crate::serving::repository::manifest::Manifest;
use crate::serving::repository::sighting;
use crate::serving::runtime::device::{DeviceError, Devices};
use crate::serving::runtime::engine::{Engine, Job, RunError};
use crate::serving::runtime::onnx::graph;
use crate::serving::runtime::onnx::library::Library;
use crate::serving::runtime::onnx::session::{self, Memory, Opening, SessionError};
use crate::serving::runtime::onnx::trial::{Trial, TrialError};
use crate::serving::runtime::tuning::Tuning;

/// How versions are run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Serving {
    /// Runs up to this long, in microseconds, happen on the I/O thread.
    pub light_run_us: u64,
    /// Whether requests that come at once share runs on the I/O thread, where that changes no answer.
    pub share_runs: bool,
    /// Requests that may wait for an inference thread, for each version.
    pub queue_capacity: usize,
    /// Whether each model is first opened in a process of its own, which may crash instead.
    pub trial_load: bool,
    /// Seconds that such a process may take.
    pub trial_timeout_s: u64,
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            // A longer run would delay every other connection of its core by more than a thread hop
            // costs (60-120 us of processor time, decision 0002).
            light_run_us: 500,
            // Half the processor time of a request and less, under load (decision 0016).
            share_runs: true,
            // At 10 ms a run on two threads, the last one waits 1.3 s; more would only time out.
            queue_capacity: 256,
            // A load takes twice as long, and a model's memory twice meanwhile.
            trial_load: false,
            // What a load may take by default.
            trial_timeout_s: 600,
        }
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
    /// Whose shapes and defaults are taken over.
    pub compat: Compat,
    /// Inference threads for heavy versions.
    pub ring: Ring,
    /// Where counters are kept.
    pub metrics: Metrics,
    /// Wakes the reaper.
    pub bell: Bell,
    /// Measures what a load takes.
    pub footprints: Arc<Footprints>,
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
    Declared(Box<DeclaredError>),
    /// What its owner says of the model is not so.
    #[error(transparent)]
    Fit(Box<FitError>),
    /// What is said of its devices does not go together.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A sample that it is to be warmed with cannot be run.
    #[error("warm-up sample '{sample}': {reason}")]
    Sample {
        /// Which one.
        sample: String,
        /// Why.
        reason: String,
    },
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

    fn sample((sample, error): (String, SampleError)) -> Self {
        Self::Sample { sample, reason: error.to_string() }
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
            | Self::Declared(_)
            | Self::Fit(_)
            | Self::Device(_)
            | Self::Sample { .. }
            | Self::Touched
            | Self::Superseded => Step::Fail { reason },
        }
    }
}

impl From<DeclaredError> for PrepareError {
    fn from(error: DeclaredError) -> Self {
        Self::Declared(Box::new(error))
    }
}

impl From<FitError> for PrepareError {
    fn from(error: FitError) -> Self {
        Self::Fit(Box::new(error))
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
            | Self::Declared(_)
            | Self::Fit(_)
            | Self::Device(_)
            | Self::Sample { .. } => Code::Load,
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
        let files = self.repository.locate(key).map_err(|missing| {
            // A declaration that cannot be read names no file, and says better what is wrong.
            let declared = self.declared(&key.model).err();
            declared.map_or_else(|| missing.into(), PrepareError::from)
        })?;
        let print = || sighting::fingerprint(&self.repository, &key.model, key.number);
        let before = print();
        let (prepared, load) = self.footprints.around(|| self.prepare_files(key, &files, progress));
        // What came of a mix of two states of the files is neither, and why it failed says nothing.
        let prepared = if print() == before { prepared } else { Err(PrepareError::Touched) };
        let outcome = match prepared.as_ref().map_err(PrepareError::step) {
            Ok(_) => "ok",
            Err(Step::Reject { .. }) => "rejected",
            Err(_) => "failed",
        };
        self.metrics.record_load(key.model.as_str(), outcome);
        let files_bytes = before.map(|print| print.bytes);
        let taken = load.zip(files_bytes).map(|(load, files)| footprint::taken(load, files));
        prepared.map(|version| Arc::new(version.that_took(taken)))
    }

    fn prepare_files(
        &self,
        key: &VersionKey,
        files: &Files,
        mut progress: impl FnMut(Step) -> ControlFlow<()>,
    ) -> Result<Version, PrepareError> {
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
        let declared = self.declared(&key.model)?;
        let manifest = &declared.manifest;
        let devices = self.devices.for_model(&manifest.devices())?;
        let cache = self.cache(&devices, &digest);
        let opening = Opening {
            path: &files.model,
            memory: Self::guess(files, &devices),
            concurrency: manifest.instances.count.unwrap_or(self.concurrency),
            devices: &devices,
            cache: cache.as_deref(),
            tuning: Tuning { threads: manifest.threads, session: manifest.session },
        };
        let engine = session::open(&self.library, &opening)?;
        let terms = fit::fit(engine.signature(), &declared, self.compat)?;
        reach(Step::Warm)?;
        let cases = golden::read(&files.folder)?;
        let folder = self.repository.folder(&key.model);
        let home = folder.as_deref().map(|folder| Home { folder, root: self.repository.root() });
        let shapes = Shapes { file: engine.signature(), callers: &terms.signature };
        let inputs = warmup::inputs(shapes, &manifest.warmup, &cases, home);
        let inputs = inputs.map_err(PrepareError::sample)?;
        let (engine, placement) = self.warm(engine, opening, &inputs)?;
        check(&*engine, &cases)?;
        let shares = placement == Placement::InPlace
            && manifest.batching.share_runs.unwrap_or(self.serving.share_runs)
            && !graph::quantises_by_run(&fs::read(&files.model)?);
        let shared_rows = if shares { self.shared_rows(&*engine, manifest, &inputs) } else { 1 };
        let (ring, clock) = (self.ring.clone(), Arc::clone(&self.clock));
        let bounds = Bounds { shared_rows, ..self.bounds(manifest) };
        let queue = Queue::new(engine, placement, bounds, ring, clock);
        let metrics = self.metrics.version(key.model.as_str(), &key.number.to_string());
        let facts = queue.engine().facts();
        for note in &facts.notes {
            tracing::warn!(version = %key, note, "a version was loaded with a note");
        }
        let placed = facts.placed.iter();
        metrics.set_nodes(placed.map(|placed| (placed.provider.clone(), placed.nodes)).collect());
        let origin = Origin::new(key.model.clone(), key.number, digest);
        Ok(Version::new(origin, terms, queue, metrics, self.bell.clone()))
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
        let config = self.declared(&version.key().model)?.sha256;
        Ok(config == version.terms().config && self.digest(&files)? == version.origin().digest)
    }

    fn digest(&self, files: &Files) -> std::io::Result<Digest> {
        digest::of_folder(&files.folder, self.repository.root())
    }

    /// What a model's owner declares now.
    ///
    /// # Errors
    ///
    /// [`DeclaredError`]; nothing that is said is ignored.
    pub fn declared(&self, model: &ModelName) -> Result<Declared, DeclaredError> {
        let Some(folder) = self.repository.folder(model) else { return Ok(Declared::default()) };
        let home = Home { folder: &folder, root: self.repository.root() };
        // A folder mounted alone is served under a name that its own files need not know.
        declared::read(home, Some(model).filter(|_| !self.repository.is_single()))
    }

    fn bounds(&self, manifest: &Manifest) -> Bounds {
        Bounds {
            capacity: manifest.queue.capacity.unwrap_or(self.serving.queue_capacity),
            wait: manifest.queue.timeout_us.map(Duration::from_micros),
            shared_rows: 1,
        }
    }

    fn shared_rows(&self, engine: &dyn Engine, manifest: &Manifest, inputs: &[Warm]) -> u64 {
        let samples: Vec<&Tensors> = inputs.iter().map(|warm| &warm.inputs).collect();
        let subject = Subject {
            engine,
            samples: &samples,
            clock: &*self.clock,
            longest: Duration::from_micros(self.serving.light_run_us * LONGEST_SHARED),
        };
        let most = sharing::rows_to_share(&subject);
        manifest.batching.max_rows.map_or(most, |said| said.min(most))
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
        inputs: &[Warm],
    ) -> Result<(Arc<dyn Engine>, Placement), PrepareError> {
        let engine: Arc<dyn Engine> = Arc::new(engine);
        let mut light = opening.devices.providers.is_cpu_alone();
        for warm in inputs {
            match (self.measure(&*engine, warm), &warm.name) {
                (Ok(took), _) => {
                    light &= took <= Duration::from_micros(self.serving.light_run_us);
                }
                (Err(error), Some(sample)) => {
                    let (sample, reason) = (sample.clone(), error.to_string());
                    return Err(PrepareError::Sample { sample, reason });
                }
                (Err(error), None) => {
                    // Zeros are no valid input for every model (an index, a division): not a reason
                    // to refuse it, but nothing is known about its runs, so they leave the I/O thread.
                    tracing::warn!(%error, model = %opening.path.display(), "warm-up run failed");
                    light = false;
                }
            }
        }
        // How long a loop runs is for its inputs to say, and the next ones may say more.
        light = light && !graph::has_control_flow(&fs::read(opening.path)?);
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
        for warm in inputs {
            drop(self.measure(&engine, warm));
        }
        Ok((Arc::new(engine), placement))
    }

    fn measure(&self, engine: &dyn Engine, warm: &Warm) -> Result<Duration, RunError> {
        let outputs: Vec<usize> = (0..engine.signature().outputs.len()).collect();
        let mut best = Duration::MAX;
        for _ in 0..warm.runs {
            let started = self.clock.now();
            drop(run_once(engine, &warm.inputs, &outputs)?);
            best = best.min(self.clock.now().saturating_duration_since(started));
        }
        Ok(best)
    }
}

// Every case whose outputs are what they should be; the first other one is the reason.
fn check(engine: &dyn Engine, cases: &[Case]) -> Result<(), PrepareError> {
    for case in cases {
        let wrong = |found| PrepareError::Wrong { case: case.name.clone(), found };
        // Cases lie beside the file and have its shapes, whatever callers are to see.
        let signature = engine.signature();
        let wanted: Vec<Requested> =
            case.outputs.iter().map(|output| Requested::all_of(&output.name)).collect();
        let inputs = signature.arrange(&case.inputs).map_err(|error| wrong(error.to_string()))?;
        let outputs = signature.select(&wanted).map_err(|error| wrong(error.to_string()))?;
        let found = run_once(engine, &inputs, &outputs);
        let found = found.map_err(|error| wrong(error.to_string()))?;
        for (found, expected) in found.iter().zip(&case.outputs) {
            let text = match found {
                Some(found) => compare::difference(found, &expected.tensor, case.tolerance),
                None => Some("has no value".to_owned()),
            };
            if let Some(text) = text {
                return Err(wrong(format!("output '{}' {text}", expected.name)));
            }
        }
    }
    Ok(())
}

fn run_once(engine: &dyn Engine, inputs: &Tensors, outputs: &[usize]) -> Result<Tensors, RunError> {
    engine.run(Job { inputs, outputs, switch: None }).wait()
}

/// How much longer than a light run a shared one may be.
const LONGEST_SHARED: u64 = 2;

/// Files up to this size are first opened as light ones.
const LIGHT_FILE_BYTES: u64 = 1 << 20;
