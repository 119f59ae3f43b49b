//! What a request pays to find its version and hold it. Budget: under 0.2 us, whatever is loaded.
//!
//! One load of the snapshot's pointer, one look-up by name, one lease taken and dropped, with a
//! fake engine behind it. The second group does the same while another thread publishes new
//! snapshots without pause: readers must not wait for writers.
//!
//! ```text
//! make bench NAME=lease_and_choose
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate::domain::inference::Origin;
use tidegate::domain::model::{Digest, ModelName, VersionChoice, VersionNumber};
use tidegate::domain::signature::Signature;
use tidegate::platform::clock::System;
use tidegate::platform::sync::Bell;
use tidegate::platform::telemetry::page::Metrics;
use tidegate::serving::batching::queue::{Bounds, Placement, Queue};
use tidegate::serving::batching::scheduler::{InferenceThreads, Ring};
use tidegate::serving::registry::lease::Lease;
use tidegate::serving::registry::snapshot::{Entry, Published, Snapshot};
use tidegate::serving::registry::state::State;
use tidegate::serving::registry::version::{Terms, Version};
use tidegate::serving::runtime::engine::{Engine, Facts, Job, Limits, Run, Switch};
use tidegate::serving::traffic::choose::choose;

/// Answers nothing, at once.
#[derive(Debug)]
struct Fake(Arc<Signature>, Facts);

impl Engine for Fake {
    fn signature(&self) -> &Arc<Signature> {
        &self.0
    }

    fn facts(&self) -> &Facts {
        &self.1
    }

    fn limits(&self) -> Limits {
        Limits { concurrency: 1, can_batch: false, elsewhere: false }
    }

    fn switch(&self) -> Option<Arc<dyn Switch>> {
        None
    }

    fn run(&self, _: Job<'_>) -> Run {
        Run::Done(Ok(smallvec::SmallVec::new()))
    }

    fn outstanding(&self) -> usize {
        0
    }
}

fn version(model: &ModelName, number: u64, ring: &Ring) -> Arc<Version> {
    let number = VersionNumber::new(number).expect("a positive number");
    let signature = Arc::new(Signature { inputs: Vec::new(), outputs: Vec::new() });
    let file = "model.onnx".into();
    let terms = Terms { signature: Arc::clone(&signature), max_rows: None, file, config: None };
    let engine = Arc::new(Fake(signature, Facts::default()));
    let bounds = Bounds { capacity: 1, wait: None, shared_rows: 1 };
    let queue = Queue::new(engine, Placement::InPlace, bounds, ring.clone(), Arc::new(System));
    let metrics = Metrics::new(String::new()).version(model.as_str(), "1");
    let origin = Origin::new(model.clone(), number, Digest::new([7; 32]));
    Arc::new(Version::new(origin, terms, queue, metrics, Bell::hang().0))
}

fn name(index: usize) -> ModelName {
    ModelName::parse(&format!("model-{index}")).expect("a valid name")
}

fn entries(models: usize, ring: &Ring) -> Vec<Entry> {
    let entry = |index| {
        let name = name(index);
        let ready: Vec<_> = (1..=2).map(|number| version(&name, number, ring)).collect();
        let listed = ready.iter().map(|version| (version.number(), State::Serving)).collect();
        Entry { name, default: ready.last().cloned(), ready, listed, generation: 1, degraded: None }
    };
    (0..models).map(entry).collect()
}

fn lease_and_choose(criterion: &mut Criterion) {
    let threads = InferenceThreads::start(1).expect("a thread");
    let mut group = criterion.benchmark_group("registry/lease_and_choose");
    group.throughput(Throughput::Elements(1));
    for models in [1, 100, 10_000] {
        let published = Published::default();
        published.publish(Snapshot::new(1, entries(models, &threads.ring())));
        let wanted = name(models / 2);
        let first = VersionChoice::Number(VersionNumber::new(1).expect("a positive number"));
        for (what, version) in [("default", None), ("by number", Some(&first))] {
            group.bench_function(BenchmarkId::new(what, models), |bencher| {
                bencher.iter(|| {
                    let snapshot = published.load();
                    choose(&snapshot, &wanted, version).map(Lease::new)
                });
            });
        }
    }
    group.finish();
    threads.stop();
}

fn while_somebody_publishes(criterion: &mut Criterion) {
    let threads = InferenceThreads::start(1).expect("a thread");
    let (published, over) = (Published::default(), AtomicBool::new(false));
    let entries = entries(100, &threads.ring());
    published.publish(Snapshot::new(1, entries.clone()));
    let wanted = name(50);
    let mut group = criterion.benchmark_group("registry/lease_while_publishing");
    group.throughput(Throughput::Elements(1));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut generation = 1;
            while !over.load(Ordering::Relaxed) {
                generation += 1;
                published.publish(Snapshot::new(generation, entries.clone()));
            }
        });
        group.bench_function("default/100", |bencher| {
            bencher.iter(|| {
                let snapshot = published.load();
                choose(&snapshot, &wanted, None).map(Lease::new)
            });
        });
        over.store(true, Ordering::Relaxed);
    });
    group.finish();
    threads.stop();
}

criterion_group!(benches, lease_and_choose, while_somebody_publishes);
criterion_main!(benches);
