//! A device runs models as the processor does: by `make test-gpu` and `make test-openvino` only.
//!
//! Both run the same tests; `TIDEGATE_TEST_PROVIDER` says on what, `ORT_DYLIB_PATH` by which library.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use bytes::Bytes;
use serde_json::Value;
use tempfile::TempDir;
use tidegate::domain::signature::Tensors;
use tidegate::domain::tensor::buffer::Tensor;
use tidegate::domain::tensor::compare::{self, Tolerance};
use tidegate::domain::tensor::dtype::DataType;
use tidegate::domain::tensor::shape::Shape;
use tidegate::serving::runtime::device::{Cuda, Devices, OpenVino, Provider, Providers};
use tidegate::serving::runtime::engine::{Engine, Job};
use tidegate::serving::runtime::onnx::library::Library;
use tidegate::serving::runtime::onnx::session::{self, Memory, Opening, SessionError};
use tidegate::serving::runtime::onnx::shared_session::SharedSession;
use tidegate::serving::runtime::tuning::Tuning;

use crate::harness::apart::apart;
use crate::harness::repository::{Repository, odd_path};
use crate::harness::server;
use crate::harness::tools::project;

#[test]
#[ignore = "needs a device: make test-gpu, make test-openvino"]
fn every_demo_model_serves_from_the_device_and_answers_its_golden_cases() {
    let repository = Repository::new();
    for (model, version) in DEMOS {
        let from = project().join("models").join(model).join(version.to_string());
        let to = repository.folder(model, version);
        fs::create_dir_all(&to).unwrap();
        for file in ["model.onnx", "golden.json"] {
            fs::copy(from.join(file), to.join(file)).unwrap();
        }
    }
    let (provider, library) = (provider(), library());
    let server = repository.serve_configured(&format!(
        "[runtime]\nlibrary = {library:?}\nproviders = [\"{provider}\", \"cpu\"]\n\
         [cuda]\ntf32 = false\n"
    ));
    for (model, version) in DEMOS {
        let said = server.http("GET", &format!("/v2/models/{model}"), "").json();
        let said = &said["properties"];
        assert_eq!(said["providers"], format!("{provider},cpu"), "{model}: {said}");
        let active = said["active"].as_str().unwrap();
        assert!(active.split(',').any(|name| name == provider.name()), "{model}: {said}");
        let none = format!(
            "tidegate_model_nodes{{model=\"{model}\",version=\"{version}\",provider=\"{provider}\"}} 0\n"
        );
        let metrics = server.metrics();
        assert!(metrics.contains(none.trim_end_matches("0\n")), "{metrics}");
        assert!(!metrics.contains(&none), "{metrics}");
        // A run on a device blocks its thread, however short it was at the warm-up.
        let path = format!("/admin/v1/models/{model}/versions/{version}");
        let view: Value = server.admin("GET", &path, "").1;
        assert_eq!(view["placement"], "threads", "{view}");
    }
}

#[test]
#[ignore = "needs a device: make test-gpu, make test-openvino"]
fn concurrent_runs_of_two_instances_equal_the_processors_answers() {
    apart("devices::concurrent_runs_of_two_instances_equal_the_processors_answers", || {
        let digits = project().join("models/digits/1/model.onnx");
        let devices = on_device(true);
        let instances = [open(&digits, &devices).unwrap(), open(&digits, &devices).unwrap()];
        let processor = open(&digits, &Devices::default()).unwrap();
        let nodes = &instances[0].facts().placed;
        assert!(nodes[0].nodes > 0, "{nodes:?}");
        let asked: Vec<(Tensors, Tensors)> = (0..12)
            .map(|seed| {
                let inputs = images([1, 3, 17][seed % 3], seed);
                let expected = run(&processor, &inputs);
                (inputs, expected)
            })
            .collect();
        thread::scope(|scope| {
            for caller in 0..8 {
                let (asked, engine) = (&asked, &instances[caller % 2]);
                scope.spawn(move || {
                    for turn in 0..60 {
                        let (inputs, expected) = &asked[(caller * 5 + turn) % asked.len()];
                        for (found, expected) in
                            run(engine, inputs).iter().flatten().zip(expected.iter().flatten())
                        {
                            assert_eq!(compare::difference(found, expected, TOLERANCE), None);
                        }
                    }
                });
            }
        });
        assert_eq!(instances.map(|engine| engine.outstanding()), [0, 0]);
    });
}

#[test]
#[ignore = "needs a device: make test-gpu, make test-openvino"]
fn a_device_that_does_not_exist_is_refused_by_name() {
    apart("devices::a_device_that_does_not_exist_is_refused_by_name", || {
        let devices = Devices {
            cuda: Cuda { device: 99, ..Cuda::default() },
            openvino: OpenVino { device: "GPU.99".to_owned().try_into().unwrap(), threads: 0 },
            ..on_device(true)
        };
        let error = open(&project().join("models/iris/2/model.onnx"), &devices).unwrap_err();
        assert!(error.to_string().contains(provider().name()), "{error}");
        let is_about_it =
            matches!(error, SessionError::Provider { .. } | SessionError::Devices { .. });
        assert!(is_about_it, "{error}");
    });
}

#[test]
#[ignore = "needs a device: make test-gpu, make test-openvino"]
fn nodes_that_the_device_leaves_over_are_an_error_without_cpu() {
    apart("devices::nodes_that_the_device_leaves_over_are_an_error_without_cpu", || {
        // No device takes texts apart.
        let topics = project().join("models/topics/1/model.onnx");
        let error = open(&topics, &on_device(false)).unwrap_err();
        assert!(matches!(error, SessionError::LeftOver { .. }), "{error}");
        let engine = open(&topics, &on_device(true)).unwrap();
        let cpu = engine.facts().placed.iter().find(|placed| placed.provider == "cpu").unwrap();
        assert!(cpu.nodes > 0, "{:?}", engine.facts());
        // What fits needs no processor.
        open(&project().join("models/iris/2/model.onnx"), &on_device(false)).unwrap();
    });
}

#[test]
#[ignore = "needs a device: make test-gpu, make test-openvino"]
fn a_provider_that_runs_no_node_is_noted() {
    apart("devices::a_provider_that_runs_no_node_is_noted", || {
        let engine = open(&odd_path("text"), &on_device(true)).unwrap();
        let provider = provider();
        assert_eq!(engine.facts().nodes(), format!("{provider}=0,cpu=1"));
        assert_eq!(engine.facts().active(), "cpu");
        let note = format!("provider '{provider}' runs no node of this model");
        assert_eq!(engine.facts().notes, [note]);
    });
}

#[test]
#[ignore = "needs a device: make test-gpu, make test-openvino"]
fn outputs_stay_on_the_device_when_asked() {
    apart("devices::outputs_stay_on_the_device_when_asked", || {
        let memory = if provider() == Provider::Cuda { "Cuda" } else { "Cpu" };
        keep_and_go_on(&loaded(), &on_device(true), memory);
    });
}

#[test]
fn kept_outputs_go_on_into_the_next_run() {
    apart("devices::kept_outputs_go_on_into_the_next_run", || {
        let library = Library::open(&[server::library()]).expect("`make setup` fetched it");
        keep_and_go_on(&library, &Devices::default(), "Cpu");
    });
}

// One run after the other without a way over the processor's memory, and with it.
fn keep_and_go_on(library: &Library, devices: &Devices, memory: &str) {
    let heavy = odd_path("heavy");
    let engine = session::open(library, &opening(&heavy, devices)).expect("a whole model");
    let shape = Shape::new(&[2, 4]).expect("a shape");
    let x = Tensor::new(DataType::Fp32, shape, vec![1; 32].into()).expect("as many bytes");
    let x = Tensors::from_iter([Some(x)]);
    let kept = engine.run_kept(&x, devices).expect("a good run");
    assert_eq!(kept.memory().expect("an output"), memory);
    let found = engine.run_from(&kept, &[0]).expect("a good run");
    let expected = run(&engine, &run(&engine, &x));
    assert_eq!(found.len(), 1);
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        assert_eq!(compare::difference(found, expected, TOLERANCE), None);
    }
    drop(kept);
    assert_eq!(engine.outstanding(), 0);
    assert!(engine.run_kept(&Tensors::new(), devices).is_err());
}

#[test]
#[ignore = "needs a device: make test-gpu, make test-openvino"]
fn a_memory_limit_holds_on_a_gpu() {
    if provider() != Provider::Cuda {
        println!("{} has no memory limit to set", provider());
        return;
    }
    apart("devices::a_memory_limit_holds_on_a_gpu", || {
        let limited = |memory_limit_bytes| Devices {
            cuda: Cuda { memory_limit_bytes, ..Cuda::default() },
            ..on_device(true)
        };
        // Its weights are 4 MiB.
        let error = open(&odd_path("heavy"), &limited(1 << 20)).unwrap_err();
        assert!(matches!(error, SessionError::Devices { .. }), "{error}");
        open(&odd_path("heavy"), &limited(256 << 20)).unwrap();
    });
}

#[test]
#[ignore = "needs a device: make test-gpu, make test-openvino"]
fn what_a_provider_builds_is_kept_where_it_was_told() {
    if provider() == Provider::Cuda {
        println!("cuda builds nothing to keep");
        return;
    }
    apart("devices::what_a_provider_builds_is_kept_where_it_was_told", || {
        let folder = TempDir::new().unwrap();
        let cache = folder.path().join("deep/cache");
        let model = project().join("models/digits/1/model.onnx");
        let devices = on_device(true);
        let opening = Opening { cache: Some(&cache), ..opening(&model, &devices) };
        drop(session::open(&loaded(), &opening).unwrap());
        assert!(fs::read_dir(&cache).unwrap().count() > 0);
        // And is read again.
        drop(session::open(&loaded(), &opening).unwrap());
    });
}

fn provider() -> Provider {
    let name = variable("TIDEGATE_TEST_PROVIDER");
    let known = Provider::ALL.into_iter().find(|provider| provider.name() == name);
    known.unwrap_or_else(|| panic!("there is no provider '{name}'"))
}

fn library() -> PathBuf {
    variable("ORT_DYLIB_PATH").into()
}

fn variable(name: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "a word from the make target to its tests")]
    let value = env::var(name);
    value.unwrap_or_else(|_| panic!("{name} is not set: run `make test-gpu`"))
}

fn loaded() -> Library {
    Library::open(&[library()]).expect("the library of the make target")
}

fn on_device(with_cpu: bool) -> Devices {
    let list = [Some(provider()), with_cpu.then_some(Provider::Cpu)];
    let providers = Providers::new(list.into_iter().flatten().collect()).expect("a good list");
    // Rounded factors would hide what the tolerance is there to find.
    Devices { providers, cuda: Cuda { tf32: false, ..Cuda::default() }, ..Devices::default() }
}

fn opening<'a>(path: &'a Path, devices: &'a Devices) -> Opening<'a> {
    let tuning = Tuning::default();
    Opening { path, memory: Memory::Heavy, concurrency: 8, devices, cache: None, tuning }
}

fn open(path: &Path, devices: &Devices) -> Result<SharedSession, SessionError> {
    session::open(&loaded(), &opening(path, devices))
}

fn run(engine: &SharedSession, inputs: &Tensors) -> Tensors {
    let outputs: Vec<usize> = (0..engine.signature().outputs.len()).collect();
    engine.run(Job { inputs, outputs: &outputs, switch: None }).wait().expect("a good run")
}

fn images(count: i64, seed: usize) -> Tensors {
    let shape = Shape::new(&[count, 1, 8, 8]).expect("a shape");
    let pixels = (0..shape.elements()).map(|index| (index * 37 + seed * 11) % 17);
    let data: Vec<u8> = pixels
        .flat_map(|pixel| f32::from(u8::try_from(pixel).expect("a small number")).to_le_bytes())
        .collect();
    let tensor = Tensor::new(DataType::Fp32, shape, Bytes::from(data)).expect("as many bytes");
    [Some(tensor)].into_iter().collect()
}

/// The demo models that a device can run in part at least, with a version that has golden cases.
const DEMOS: [(&str, u64); 4] = [("iris", 2), ("digits", 1), ("wine", 1), ("topics", 1)];

/// Of values around 1: what another order of additions of 32-bit floats may make.
const TOLERANCE: Tolerance = Tolerance { rtol: 1e-4, atol: 1e-5 };
