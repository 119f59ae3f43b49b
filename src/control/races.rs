//! Versions come and go in every order that chance finds: no promise breaks.
//!
//! Board, snapshot, leases and reaper are the real ones; `platform/sync.rs` gives shuttle the say
//! over which thread goes next. The pointer to the snapshot is `arc-swap`'s own, one step here: what
//! is checked is our use of it. Weaker orderings of memory are not modelled.
//!
//! A failure prints the schedule that led there. To see it again, run the test with the seed in
//! `SHUTTLE_RANDOM_SEED`, or give the schedule to `shuttle::replay` in place of the runners below.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::mpsc::{Receiver, channel};
use shuttle::{Config, Runner, thread};
use smallvec::SmallVec;

use crate::control::versions::{Board, Busy, Hold, Loaded, ModelDocument};
use crate::domain::inference::Origin;
use crate::domain::model::{Digest, ModelName, VersionNumber};
use crate::domain::signature::Signature;
use crate::platform::clock::Manual;
use crate::platform::sync;
use crate::platform::telemetry::page::Metrics;
use crate::serving::batching::queue::{Bounds, Placement, Queue};
use crate::serving::batching::scheduler::InferenceThreads;
use crate::serving::registry::lease::Lease;
use crate::serving::registry::reaper::Reaper;
use crate::serving::registry::snapshot::Published;
use crate::serving::registry::state::{State, Step};
use crate::serving::registry::version::{Terms, Version};
use crate::serving::runtime::engine::{Engine, Facts, Job, Limits, Run, Switch};
use crate::serving::traffic::choose::choose;

#[test]
fn a_version_is_whole_while_it_is_leased_and_then_freed_once_by_the_reaper() {
    in_many_orders(|| {
        let (house, freed) = House::new();
        let first = house.promote("m", 1).unwrap();
        let requests = [(); 2].map(|()| house.spawn(House::ask));
        let second = house.promote("m", 2).unwrap();
        let late = house.spawn(House::ask);
        house.unload("m").unwrap();
        hear(&freed, 2);
        for life in [first, second] {
            assert_eq!(life.freed_by(), ["reaper"]);
        }
        requests.into_iter().chain([late]).for_each(|request| request.join().unwrap());
    });
}

#[test]
fn a_request_that_begins_after_a_change_returned_sees_it() {
    in_many_orders(|| {
        let (house, _freed) = House::new();
        house.promote("m", 1).unwrap();
        let writer = house.spawn(|house| {
            for number in 2..=3 {
                house.promote("m", number).unwrap();
                house.in_force.store(number, Ordering::SeqCst);
            }
        });
        let request = house.spawn(|house| (0..3).for_each(|_| house.ask()));
        writer.join().unwrap();
        request.join().unwrap();
    });
}

#[test]
fn the_last_lease_of_a_draining_version_wakes_the_reaper() {
    let order = || {
        let (house, freed) = House::new();
        let life = house.promote("m", 1).unwrap();
        let leases = [(); 2].map(|()| house.lease().unwrap());
        house.unload("m").unwrap();
        let ends = leases.map(|lease| thread::spawn(move || drop(lease)));
        hear(&freed, 1);
        assert_eq!(life.freed_by(), ["reaper"]);
        for end in ends {
            end.join().unwrap();
        }
    };
    // Nothing but the bell can wake it: a ring too few, and all threads wait for ever.
    sync::time::stand_still(|| in_many_orders(order));
}

#[test]
fn a_lease_that_ends_while_its_version_is_retired_keeps_nobody_waiting_for_ever() {
    in_many_orders(|| {
        let (house, freed) = House::new();
        let life = house.promote("m", 1).unwrap();
        let lease = house.lease().unwrap();
        let end = thread::spawn(move || drop(lease));
        house.unload("m").unwrap();
        hear(&freed, 1);
        assert_eq!(life.freed_by(), ["reaper"]);
        end.join().unwrap();
    });
}

#[test]
fn the_reaper_ends_with_the_last_lease_and_leaves_nothing_to_requests() {
    in_many_orders(|| {
        let (house, _freed) = House::new();
        let life = house.promote("m", 1).unwrap();
        let lease = house.lease().unwrap();
        let end = thread::spawn(move || drop(lease));
        house.unload("m").unwrap();
        // Nobody else has the reaper: this waits for its thread.
        drop(house);
        assert_eq!(life.freed_by(), ["reaper"]);
        end.join().unwrap();
    });
}

#[test]
fn writers_take_turns_and_lose_no_change_of_each_other() {
    in_many_orders(|| {
        let (house, freed) = House::new();
        for model in ["m", "other"] {
            house.promote(model, 1).unwrap();
        }
        let observer = house.spawn(House::watch_generations);
        let rivals = [2, 3].map(|number| house.spawn_told(move |house| house.promote("m", number)));
        let elsewhere = house.spawn_told(|house| house.promote("other", 2));
        let won = rivals.into_iter().filter(|rival| rival.recv().unwrap().is_ok()).count();
        elsewhere.recv().unwrap().expect("nobody else changes the other model");
        assert!(won > 0, "one of two goes on");
        hear(&freed, won + 1);
        let snapshot = house.board.published().snapshot();
        let entry = |model: &str| snapshot.entry(model).unwrap().clone();
        assert_eq!(entry("m").generation, 1 + won as u64);
        assert_eq!(entry("other").default.unwrap().number().get(), 2);
        observer.join().unwrap();
    });
}

#[test]
fn a_number_is_listed_as_retired_only_when_every_copy_of_it_is_free() {
    in_many_orders(|| {
        let (house, freed) = House::new();
        let old = house.promote("m", 1).unwrap();
        let lease = house.lease().unwrap();
        let end = thread::spawn(move || drop(lease));
        // The same number, of other files.
        let new = house.promote("m", 1).unwrap();
        let request = house.spawn(House::ask);
        house.unload("m").unwrap();
        let looks = house.spawn(move |house| {
            let is_free = |life: &Life| !life.freed_by().is_empty();
            for _ in 0..4 {
                sync::point();
                let snapshot = house.board.published().snapshot();
                let state = snapshot.entry("m").unwrap().listed.first().cloned().unwrap().1;
                assert!(state != State::Retired || is_free(&old) && is_free(&new), "too early");
            }
        });
        hear(&freed, 2);
        for one in [end, request, looks] {
            one.join().unwrap();
        }
        let snapshot = house.board.published().snapshot();
        assert_eq!(snapshot.entry("m").unwrap().listed.first().unwrap().1, State::Retired);
    });
}

/// All that versions live in, without what loads them.
#[derive(Clone, Debug)]
struct House {
    board: Arc<Board>,
    reaper: Arc<Reaper>,
    /// The lowest number that may answer a request that begins now.
    in_force: Arc<AtomicU64>,
}

/// What became of an engine.
#[derive(Clone, Debug, Default)]
struct Life(Arc<Mutex<Vec<String>>>);

/// Answers nothing, and notes who frees it.
#[derive(Debug)]
struct Mortal {
    life: Life,
    signature: Arc<Signature>,
    facts: Facts,
}

impl House {
    /// The house, and what hears of each version that was freed.
    fn new() -> (Self, Receiver<()>) {
        let board = Arc::new(Board::new(Arc::new(Published::default()), false));
        let (tell, told) = channel();
        let on_board = Arc::clone(&board);
        let reaper = Reaper::start(Arc::default(), move |freed| {
            on_board.freed(&freed.key);
            tell.send(()).ok();
        });
        let (reaper, in_force) = (Arc::new(reaper.unwrap()), Arc::default());
        (Self { board, reaper, in_force }, told)
    }

    /// As a change does it: loads the version beside what serves, and lets it take over.
    fn promote(&self, model: &str, number: u64) -> Result<Life, Busy> {
        let mut hold = self.board.hold(&name(model), "promote")?;
        let (life, number) = (Life::default(), VersionNumber::new(number).unwrap());
        for step in [Step::Verify, Step::Load, Step::Warm] {
            hold.step(number, step);
        }
        let version = self.version(hold.model(), number, &life);
        let serving = [number.get()].into();
        let document = ModelDocument { serving, ..hold.document.clone() };
        self.commit(&mut hold, document, vec![Loaded { version, print: None }]);
        Ok(life)
    }

    fn unload(&self, model: &str) -> Result<(), Busy> {
        let mut hold = self.board.hold(&name(model), "unload-all")?;
        self.commit(&mut hold, ModelDocument { held: true, ..Default::default() }, Vec::new());
        Ok(())
    }

    fn commit(&self, hold: &mut Hold<'_>, document: ModelDocument, loaded: Vec<Loaded>) {
        let generation = hold.generation + 1;
        for gone in hold.commit(document, generation, loaded) {
            self.reaper.retire(gone);
        }
    }

    fn version(&self, model: &ModelName, number: VersionNumber, life: &Life) -> Arc<Version> {
        static RING: LazyLock<InferenceThreads> =
            LazyLock::new(|| InferenceThreads::start(1).unwrap());
        let signature = Arc::new(Signature { inputs: Vec::new(), outputs: Vec::new() });
        let file = "model.onnx".into();
        let terms = Terms { signature: Arc::clone(&signature), max_rows: None, file, config: None };
        let engine = Mortal { life: life.clone(), signature, facts: Facts::default() };
        let bounds = Bounds { capacity: 1, wait: None, shared_rows: 1 };
        let clock = Arc::new(Manual::new());
        let queue = Queue::new(Arc::new(engine), Placement::InPlace, bounds, RING.ring(), clock);
        let metrics = Metrics::new(String::new()).version(model.as_str(), "1");
        let origin = Origin::new(model.clone(), number, Digest::new([7; 32]));
        Arc::new(Version::new(origin, terms, queue, metrics, self.reaper.bell().clone()))
    }

    /// As a request does it: one look at the snapshot, a choice, a lease.
    fn lease(&self) -> Option<Lease> {
        let snapshot = self.board.published().load();
        sync::point();
        let chosen = choose(&snapshot, &name("m"), None).ok()?;
        sync::point();
        Some(Lease::new(chosen))
    }

    fn ask(&self) {
        let lowest = self.in_force.load(Ordering::SeqCst);
        sync::point();
        // None after the model was unloaded.
        let Some(lease) = self.lease() else { return };
        assert!(lease.number().get() >= lowest, "{} answers after {lowest}", lease.number());
        for _ in 0..2 {
            sync::point();
            assert_eq!(lease.queue().engine().outstanding(), 0, "the engine is there");
        }
    }

    fn watch_generations(&self) {
        let mut last = 0;
        for _ in 0..6 {
            sync::point();
            let now = self.board.published().load().generation;
            assert!(now >= last, "generation {now} after {last}");
            last = now;
        }
    }

    fn spawn(&self, work: impl FnOnce(&Self) + Send + 'static) -> thread::JoinHandle<()> {
        let house = self.clone();
        thread::spawn(move || work(&house))
    }

    fn spawn_told<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Receiver<T> {
        let (tell, told) = channel();
        drop(self.spawn(move |house| tell.send(work(house)).unwrap()));
        told
    }
}

impl Life {
    /// Names of the threads that freed it.
    fn freed_by(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        let by = thread::current().name().unwrap_or("a request").to_owned();
        self.life.0.lock().push(by);
    }
}

impl Engine for Mortal {
    fn signature(&self) -> &Arc<Signature> {
        &self.signature
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn limits(&self) -> Limits {
        Limits { concurrency: 1, can_batch: false, elsewhere: false }
    }

    fn switch(&self) -> Option<Arc<dyn Switch>> {
        None
    }

    fn run(&self, _: Job<'_>) -> Run {
        Run::Done(Ok(SmallVec::new()))
    }

    fn outstanding(&self) -> usize {
        sync::point();
        assert_eq!(self.life.freed_by(), [""; 0]);
        0
    }
}

fn name(model: &str) -> ModelName {
    ModelName::parse(model).unwrap()
}

fn hear(freed: &Receiver<()>, times: usize) {
    for _ in 0..times {
        freed.recv().unwrap();
    }
}

/// Half by chance alone, half with few changes of thread, each at the worst place.
fn in_many_orders(body: impl Fn() + Copy + Send + Sync + 'static) {
    let config = || {
        let mut config = Config::new();
        config.stack_size = STACK_BYTES;
        config.silence_warnings = true;
        config
    };
    Runner::new(RandomScheduler::new(ORDERS), config()).run(body);
    Runner::new(PctScheduler::new(3, ORDERS), config()).run(body);
}

const ORDERS: usize = 2_000;

const STACK_BYTES: usize = 256 << 10;
