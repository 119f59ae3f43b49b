//! All of a server but its wires, on one thread: real files, real sessions, a clock that is turned.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use tidegate::control::action::{Action, Change, ChangeError, Receipt};
use tidegate::control::change::{Changes, Road};
use tidegate::control::versions::Board;
use tidegate::domain::caller::Caller;
use tidegate::domain::compat::Compat;
use tidegate::domain::model::{ModelName, VersionNumber};
use tidegate::domain::tensor::buffer::Tensor;
use tidegate::domain::tensor::dtype::DataType;
use tidegate::domain::tensor::shape::Shape;
use tidegate::platform::clock::{Clock, Manual};
use tidegate::platform::quiet::{Crew, QuietThreads};
use tidegate::platform::store::memory::Memory;
use tidegate::platform::telemetry::page::Metrics;
use tidegate::serving::batching::scheduler::InferenceThreads;
use tidegate::serving::batching::work::Work;
use tidegate::serving::registry::footprint::Footprints;
use tidegate::serving::registry::lease::Lease;
use tidegate::serving::registry::prepare::{Loader, Serving};
use tidegate::serving::registry::reaper::Reaper;
use tidegate::serving::registry::snapshot::Published;
use tidegate::serving::repository::layout::Repository;
use tidegate::serving::repository::settle::{Found, Moment, Settling};
use tidegate::serving::repository::sighting::{self, Sighting};
use tidegate::serving::runtime::device::Devices;
use tidegate::serving::runtime::onnx::library::Library;
use tidegate::serving::traffic::choose::{ChooseError, choose};
use tokio::runtime::Runtime;

use crate::harness::{iris, server};

/// How long files rest before they count as complete.
pub const SETTLE: Duration = Duration::from_secs(1);

/// The parts, joined as `app/wiring.rs` joins them.
pub struct House {
    pub changes: Changes,
    pub published: Arc<Published>,
    pub crew: Crew,
    /// Runs what the house does in the background, while something is waited for.
    pub runtime: Runtime,
    pub model: ModelName,
    freed: Receiver<()>,
    clock: Manual,
    settling: Settling,
    repository: Repository,
    _threads: InferenceThreads,
}

impl House {
    /// On that folder, which holds versions of one model; started, with nothing loaded yet.
    pub fn on(folder: &std::path::Path, model: &str) -> Self {
        let repository = Repository::open(folder, None).expect("a folder");
        let clock = Manual::new();
        let (tell, freed) = crossbeam_channel::unbounded();
        let published = Arc::new(Published::default());
        let board = Arc::new(Board::new(Arc::clone(&published), false));
        let noted = Arc::clone(&board);
        let footprints = Arc::<Footprints>::default();
        let reaper = Reaper::start(Arc::clone(&footprints), move |gone| {
            noted.freed(&gone.key);
            tell.send(()).ok();
        });
        let reaper = reaper.expect("a thread");
        let threads = InferenceThreads::start(1).expect("a thread");
        let crew = QuietThreads::start(1).expect("a thread");
        let loader = Loader {
            repository: repository.clone(),
            library: Library::open(&[server::library()]).expect("ONNX Runtime"),
            serving: Serving::default(),
            concurrency: 1,
            devices: Devices::default(),
            engine_cache: None,
            compat: Compat::default(),
            ring: threads.ring(),
            metrics: Metrics::new(String::new()),
            bell: reaper.bell().clone(),
            footprints,
            clock: Arc::new(clock.clone()),
        };
        board.start();
        let (store, quiet) = (Arc::<Memory>::default(), crew.threads());
        let road = Road { board, loader, quiet, reaper, store, clock: Arc::new(clock.clone()) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Self {
            changes: Changes::new(road, runtime.handle().clone()),
            published,
            crew,
            runtime,
            model: ModelName::parse(model).expect("a name"),
            freed,
            clock,
            settling: Settling::new(SETTLE),
            repository,
            _threads: threads,
        }
    }

    /// Makes a change, and returns when it is in force or refused.
    pub fn make(&self, action: Action, expected: Option<u64>) -> Result<Receipt, ChangeError> {
        let change = Change {
            caller: Caller::local(),
            model: self.model.clone(),
            action,
            reason: None,
            expected_generation: expected,
        };
        self.runtime.block_on(self.changes.make(change))
    }

    /// What the watch says after that time; `whole` came by one rename.
    pub fn watch(&mut self, time: Duration, whole: Option<VersionNumber>) -> Option<Found> {
        self.clock.advance(time);
        let at = Moment { now: self.clock.now(), wall: self.clock.wall() };
        let whole: BTreeSet<_> = whole.into_iter().collect();
        self.settling.look(&self.model, &self.sighting(), &whole, at)
    }

    /// What lies there now.
    pub fn sighting(&self) -> Sighting {
        sighting::look(&self.repository, &self.model)
    }

    /// The version that answers a request which begins now.
    pub fn lease(&self) -> Result<Lease, ChooseError> {
        choose(&self.published.load(), &self.model, None).map(Lease::new)
    }

    /// Which of the two `iris` a version is, by what it answers to the probe.
    pub fn ask(&self, lease: &Lease) -> Result<u64, String> {
        let shape = Shape::new(&[1, 4]).expect("a shape");
        let input = Tensor::new(DataType::Fp32, shape, iris::raw().into()).expect("as many bytes");
        let inputs = [Some(input)].into_iter().collect();
        let outputs = lease.signature().select(&[]).expect("all outputs");
        let work = Work { inputs, outputs, rows: 1, deadline: None };
        let ran = self.runtime.block_on(lease.queue().run(work));
        let outputs = ran.result.map_err(|error| error.to_string())?;
        let values = outputs.get(1).and_then(Option::as_ref).ok_or("no second output")?;
        let (words, _) = values.data().as_chunks::<4>();
        let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        iris::version_that_says(&values).ok_or_else(|| format!("{values:?}"))
    }

    /// Waits until the reaper has freed another version.
    pub fn wait_for_the_reaper(&self) {
        self.freed.recv_timeout(PATIENCE).expect("the reaper frees what nobody holds");
    }
}

impl fmt::Debug for House {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("House").field("changes", &self.changes).finish_non_exhaustive()
    }
}

/// Only ever waited for in full where something is broken.
const PATIENCE: Duration = Duration::from_secs(30);
