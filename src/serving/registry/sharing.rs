//! Whether requests may share a version's runs, and up to how many rows.
//!
//! Sharing must change no answer and must pay. Both are tried on the version itself when it is
//! warmed: rows of chance of very different sizes are run one by one and all at once, and the answers
//! compared; then runs of 1, 2, 4, ... rows are timed.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use crate::domain::signature::{Signature, Tensors};
use crate::domain::spec::{Dim, TensorSpec};
use crate::domain::tensor::buffer::Tensor;
use crate::domain::tensor::compare::{self, Tolerance};
use crate::domain::tensor::dtype::DataType;
use crate::domain::tensor::half::{BF16, FP16};
use crate::domain::tensor::rows::{self, Split};
use crate::domain::tensor::shape::Shape;
use crate::platform::clock::Clock;
use crate::serving::runtime::engine::{Engine, Job};

/// What is to be judged.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The version, warm.
    pub engine: &'a dyn Engine,
    /// Inputs that its owner brings or that it was warmed with, for models to which chance is no input.
    pub samples: &'a [&'a Tensors],
    /// Times runs.
    pub clock: &'a dyn Clock,
    /// How long a shared run may take.
    pub longest: Duration,
}

/// Whether rows get the same answers alone and together.
enum Tried {
    Same,
    Others,
    /// The model does not take these inputs.
    Refused,
}

/// How many rows of several requests may share a run; 1 where none should.
pub fn rows_to_share(subject: &Subject<'_>) -> u64 {
    let signature = subject.engine.signature();
    if !subject.engine.limits().can_batch || !has_rows(signature) {
        return 1;
    }
    let chance = chance(signature);
    let inputs = match chance.as_ref().map_or(Tried::Refused, |inputs| subject.try_together(inputs))
    {
        Tried::Same => chance,
        Tried::Others => None,
        // Chance may be no valid input: an index, a text of a known form.
        Tried::Refused => {
            let mut samples = subject.samples.iter().filter_map(|sample| tiled(sample, ROWS));
            samples.find(|inputs| matches!(subject.try_together(inputs), Tried::Same))
        }
    };
    inputs.map_or(1, |inputs| subject.most_that_pay(&inputs))
}

impl Subject<'_> {
    fn try_together(&self, inputs: &Tensors) -> Tried {
        let Some(together) = self.run(inputs) else { return Tried::Refused };
        let mut parts: Vec<Split<'_>> = together.iter().flatten().map(Split::new).collect();
        let mut single: Vec<Split<'_>> = inputs.iter().flatten().map(Split::new).collect();
        let count = inputs.iter().flatten().next().and_then(rows::count).unwrap_or_default();
        for _ in 0..count {
            let row: Option<Tensors> = single.iter_mut().map(|input| Some(input.next(1))).collect();
            let Some(alone) = row.and_then(|row| self.run(&row)) else { return Tried::Refused };
            for (part, alone) in parts.iter_mut().zip(alone.iter().flatten()) {
                let same = part.next(1).is_some_and(|row| {
                    compare::difference(&row, alone, Tolerance::default()).is_none()
                });
                if !same {
                    return Tried::Others;
                }
            }
        }
        if parts.iter().all(Split::is_over) { Tried::Same } else { Tried::Others }
    }

    // The most rows whose run is short enough, and clearly shorter than runs of one row each.
    fn most_that_pay(&self, inputs: &Tensors) -> u64 {
        let one = tiled(inputs, 1).and_then(|inputs| self.time(&inputs));
        let Some(one) = one else { return 1 };
        let mut most = 1;
        for doubled in 1..=DOUBLINGS {
            let rows = 1 << doubled;
            let took = tiled(inputs, rows).and_then(|inputs| self.time(&inputs));
            let pays = |took: &Duration| *took <= self.longest && *took * 4 <= one * rows * 3;
            if !took.is_some_and(|took| pays(&took)) {
                break;
            }
            most = rows.into();
        }
        most
    }

    fn time(&self, inputs: &Tensors) -> Option<Duration> {
        let once = || {
            let started = self.clock.now();
            self.run(inputs)?;
            Some(self.clock.now().saturating_duration_since(started))
        };
        (0..TIMES).map(|_| once()).min().flatten()
    }

    fn run(&self, inputs: &Tensors) -> Option<Tensors> {
        let outputs: Vec<usize> = (0..self.engine.signature().outputs.len()).collect();
        self.engine.run(Job { inputs, outputs: &outputs, switch: None }).wait().ok()
    }
}

// Inputs and outputs that must be there, each with a first dimension of any size.
fn has_rows(signature: &Signature) -> bool {
    let counts_rows = |spec: &TensorSpec| matches!(spec.dims.first(), Some(Dim::Any(_)));
    signature.required().all(counts_rows)
        && signature.required().next().is_some()
        && signature.outputs.iter().all(|spec| !spec.optional && counts_rows(spec))
}

// So many rows, which are those of the inputs again and again.
fn tiled(inputs: &Tensors, count: u32) -> Option<Tensors> {
    let tile = |input: &Option<Tensor>| match input {
        None => Some(None),
        Some(input) => {
            let had = usize::try_from(rows::count(input)?).ok().filter(|&rows| rows > 0)?;
            let times = (count as usize).div_ceil(had);
            let whole = rows::join(std::iter::repeat_n(input, times))?;
            Some(Some(Split::new(&whole).next(count.into())?))
        }
    };
    inputs.iter().map(tile).collect()
}

// Rows whose values lie six powers of ten apart, so that what one row does to another shows.
fn chance(signature: &Signature) -> Option<Tensors> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut tensor = |spec: &TensorSpec| {
        let inner = spec.dims.get(1..)?.iter().map(|dim| match dim {
            Dim::Fixed(size) => *size,
            Dim::Any(_) => 1,
        });
        let dims: Vec<i64> = std::iter::once(ROWS.into()).chain(inner).collect();
        let shape = Shape::new(&dims).ok()?;
        let each = shape.elements() / ROWS as usize;
        let mut data = BytesMut::new();
        for row in 0..ROWS as usize {
            let scale = 10_f32.powi(i32::try_from(row % 7).unwrap_or_default() - 3);
            (0..each).for_each(|_| put(spec.dtype, scale, &mut random, &mut data));
        }
        Tensor::new(spec.dtype, shape, Bytes::from(data)).ok()
    };
    let specs = signature.required();
    specs.map(|spec| Some(Some(tensor(spec)?))).collect()
}

fn put(dtype: DataType, scale: f32, random: &mut fastrand::Rng, data: &mut BytesMut) {
    let real = (random.f32() - 0.5) * scale;
    match dtype {
        DataType::Fp32 => data.put_f32_le(real),
        DataType::Fp64 => data.put_f64_le(real.into()),
        DataType::Fp16 => data.put_u16_le(FP16.read(&real.to_string()).unwrap_or_default()),
        DataType::Bf16 => data.put_u16_le(BF16.read(&real.to_string()).unwrap_or_default()),
        DataType::Bytes => {
            data.put_u32_le(LETTERS);
            (0..LETTERS).for_each(|_| data.put_u8(random.u8(b'a'..=b'z')));
        }
        // Small: most integers are counts, or places in a table.
        DataType::Bool
        | DataType::Uint8
        | DataType::Uint16
        | DataType::Uint32
        | DataType::Uint64
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64 => {
            data.put_u8(random.u8(0..2));
            data.put_bytes(0, dtype.size().unwrap_or(1) - 1);
        }
    }
}

/// Rows that are tried together: more than a register of the processor holds, and not a power of two.
const ROWS: u32 = 21;

/// The most rows are two to this power.
const DOUBLINGS: u32 = 8;

/// Runs of which the shortest counts.
const TIMES: u32 = 3;

/// Letters of a word of chance.
const LETTERS: u32 = 8;

const SEED: u64 = 1;
