//! One session that many threads run at once gives what it gives to one, bit for bit.

use std::path::Path;
use std::thread;

use bytes::Bytes;
use tidegate::domain::signature::Tensors;
use tidegate::domain::tensor::buffer::Tensor;
use tidegate::domain::tensor::dtype::DataType;
use tidegate::domain::tensor::shape::Shape;
use tidegate::serving::runtime::device::Devices;
use tidegate::serving::runtime::engine::{Engine, Job, Run, RunError, Switch};
use tidegate::serving::runtime::onnx::library::Library;
use tidegate::serving::runtime::onnx::session::{self, Memory, Opening};
use tidegate::serving::runtime::onnx::shared_session::SharedSession;
use tidegate::serving::runtime::tuning::Tuning;

use crate::harness::apart::apart;
use crate::harness::repository::odd_path;
use crate::harness::server::library;
use crate::harness::tools::project;

#[test]
fn concurrent_runs_equal_serial_ones_bit_for_bit() {
    apart("shared_session::concurrent_runs_equal_serial_ones_bit_for_bit", || {
        for memory in [Memory::Light, Memory::Heavy] {
            let iris = open(&project().join("models/iris/2/model.onnx"), memory);
            let digits = open(&project().join("models/digits/1/model.onnx"), memory);
            let asked: Vec<(&SharedSession, Tensors, Tensors)> = (0..24)
                .map(|index| {
                    let count = [1, 3, 17][index % 3];
                    let (engine, inputs) = if index % 2 == 0 {
                        (&iris, rows(count, &[4], index))
                    } else {
                        (&digits, rows(count, &[1, 8, 8], index))
                    };
                    let serial = run(engine, &inputs).unwrap();
                    (engine, inputs, serial)
                })
                .collect();
            thread::scope(|scope| {
                for caller in 0..8 {
                    let asked = &asked;
                    scope.spawn(move || {
                        for turn in 0..400 {
                            let (engine, inputs, serial) =
                                &asked[(caller * 5 + turn) % asked.len()];
                            assert_eq!(run(engine, inputs).unwrap(), *serial);
                        }
                    });
                }
            });
            assert_eq!((iris.outstanding(), digits.outstanding()), (0, 0));
        }
    });
}

#[test]
fn large_outputs_hold_the_session_and_outlive_the_engine() {
    apart("shared_session::large_outputs_hold_the_session_and_outlive_the_engine", || {
        let model = project().join("models/iris/2/model.onnx");
        let engine = open(&model, Memory::Light);
        let inputs = rows(2_000, &[4], 1);
        let mut outputs = run(&engine, &inputs).unwrap();
        // 16,000 bytes of labels and 24,000 of probabilities, neither of them copied.
        assert_eq!(engine.outstanding(), 2);
        let seen: Vec<Vec<u8>> =
            outputs.iter().flatten().map(|output| output.data().to_vec()).collect();
        let part = outputs[1].as_ref().unwrap().data().slice(8..16);
        drop(outputs.remove(0));
        assert_eq!(engine.outstanding(), 1);
        drop(engine);
        // Whatever was freed is written over by another session's runs.
        let other = open(&model, Memory::Light);
        drop(run(&other, &rows(2_000, &[4], 2)).unwrap());
        assert_eq!(outputs[0].as_ref().unwrap().data().as_ref(), seen[1]);
        drop(outputs);
        assert_eq!(part.as_ref(), &seen[1][8..16]);

        let small = run(&other, &rows(1, &[4], 3)).unwrap();
        assert_eq!(other.outstanding(), 0);
        assert_eq!(small[1].as_ref().unwrap().shape().to_string(), "[1,3]");
    });
}

#[test]
fn misaligned_inputs_give_the_same_bits() {
    apart("shared_session::misaligned_inputs_give_the_same_bits", || {
        let engine = open(&project().join("models/iris/2/model.onnx"), Memory::Light);
        let aligned = rows(17, &[4], 5);
        let expected = run(&engine, &aligned).unwrap();
        for offset in 1..4 {
            let mut bytes = vec![0; offset];
            bytes.extend(aligned[0].as_ref().unwrap().data());
            let data = Bytes::from(bytes).slice(offset..);
            assert_ne!(data.as_ptr().align_offset(4), 0);
            let shape = aligned[0].as_ref().unwrap().shape().clone();
            let inputs = Tensors::from_iter([Tensor::new(DataType::Fp32, shape, data).ok()]);
            assert_eq!(run(&engine, &inputs).unwrap(), expected);
        }
    });
}

#[test]
fn strings_keep_every_byte() {
    apart("shared_session::strings_keep_every_byte", || {
        let engine = open(&odd_path("text"), Memory::Light);
        let elements = ["a\0b", "", "\0", "Dürfen 值 🜁", "end"];
        let mut data = Vec::new();
        for element in elements {
            data.extend(u32::try_from(element.len()).unwrap().to_le_bytes());
            data.extend(element.as_bytes());
        }
        let shape = Shape::new(&[5]).unwrap();
        let text = Tensor::new(DataType::Bytes, shape, data.into()).unwrap();
        let outputs = run(&engine, &Tensors::from_iter([Some(text.clone())])).unwrap();
        assert_eq!(outputs[0], Some(text));
    });
}

#[test]
fn a_switch_stops_its_own_run_and_no_other() {
    apart("shared_session::a_switch_stops_its_own_run_and_no_other", || {
        let engine = open(&odd_path("loop"), Memory::Heavy);
        let (switch, other) = (engine.switch().unwrap(), engine.switch().unwrap());
        thread::scope(|scope| {
            let endless = scope.spawn(|| run_with(&engine, &rounds(1 << 40), Some(&*switch)));
            // A run beside it ends by itself, although the first never would.
            let counted = run_with(&engine, &rounds(7), Some(&*other)).unwrap();
            assert_eq!(counted[0].as_ref().unwrap().data().as_ref(), 20_007_i64.to_le_bytes());
            switch.stop();
            assert_eq!(endless.join().unwrap(), Err(RunError::Stopped));
        });
        assert_eq!(run_with(&engine, &rounds(0), Some(&*switch)), Err(RunError::Stopped));
        assert!(run_with(&engine, &rounds(0), Some(&*other)).is_ok());
    });
}

fn open(model: &Path, memory: Memory) -> SharedSession {
    let library = Library::open(&[library()]).expect("`make setup` fetched it");
    let (devices, tuning) = (Devices::default(), Tuning::default());
    let opening =
        Opening { path: model, memory, concurrency: 8, devices: &devices, cache: None, tuning };
    session::open(&library, &opening).expect("a whole model")
}

fn run(engine: &SharedSession, inputs: &Tensors) -> Result<Tensors, RunError> {
    run_with(engine, inputs, None)
}

fn run_with(
    engine: &SharedSession,
    inputs: &Tensors,
    switch: Option<&dyn Switch>,
) -> Result<Tensors, RunError> {
    let outputs: Vec<usize> = (0..engine.signature().outputs.len()).collect();
    match engine.run(Job { inputs, outputs: &outputs, switch }) {
        Run::Done(result) => result,
        Run::Later(_) => panic!("a session runs on the calling thread"),
    }
}

/// Rows of measurements that differ with the seed; `row` is the shape of one.
fn rows(count: usize, row: &[i64], seed: usize) -> Tensors {
    let dims: Vec<i64> = i64::try_from(count).into_iter().chain(row.iter().copied()).collect();
    let shape = Shape::new(&dims).expect("a shape");
    let data: Vec<u8> = (0..shape.elements())
        .map(|index| u8::try_from((index * 37 + seed * 11) % 160).expect("a small number"))
        .flat_map(|tenths| (f32::from(tenths) / 10.0).to_le_bytes())
        .collect();
    [Some(Tensor::new(DataType::Fp32, shape, data.into()).expect("as many bytes"))]
        .into_iter()
        .collect()
}

fn rounds(count: i64) -> Tensors {
    let data = Bytes::copy_from_slice(&count.to_le_bytes());
    let shape = Shape::new(&[1]).expect("a shape");
    [Some(Tensor::new(DataType::Int64, shape, data).expect("as many bytes"))].into_iter().collect()
}
