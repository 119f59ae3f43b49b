//! What warms a version: samples of its owner, a golden case, or zeros.

use bytes::{BufMut, Bytes, BytesMut};

use crate::domain::misfit::SignatureError;
use crate::domain::signature::{NamedTensor, Signature, Tensors};
use crate::domain::spec::{Dim, TensorSpec};
use crate::domain::tensor::buffer::{LENGTH, Tensor, TensorError};
use crate::domain::tensor::dtype::DataType;
use crate::domain::tensor::shape::{Shape, ShapeError};
use crate::serving::repository::declared::{DeclaredError, Home};
use crate::serving::repository::golden::Case;
use crate::serving::repository::manifest::{Sample, SampleData, SampleInput, Warmup};

/// Inputs to run before a version serves.
#[derive(Debug)]
pub struct Warm {
    /// What its owner calls it; none if we chose it, and then it may fail.
    pub name: Option<String>,
    /// The inputs.
    pub inputs: Tensors,
    /// How often.
    pub runs: u32,
}

/// A model's inputs, as its file has them and as callers see them.
#[derive(Clone, Copy, Debug)]
pub struct Shapes<'a> {
    /// What the file has: cases and zeros are of these shapes.
    pub file: &'a Signature,
    /// What callers see: samples are requests.
    pub callers: &'a Signature,
}

/// Why a sample cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// Its file cannot be read.
    #[error(transparent)]
    File(#[from] DeclaredError),
    /// Its shape is none.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Its values do not make its shape.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// It does not fit the model.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

/// The owner's samples, and zeros of the sizes that the owner gives; else real values where the
/// version brings some, because zeros may be no valid input for it; else one row of zeros.
///
/// # Errors
///
/// The name of a sample that cannot be run, and why.
pub fn inputs(
    shapes: Shapes<'_>,
    warmup: &Warmup,
    cases: &[Case],
    home: Option<Home<'_>>,
) -> Result<Vec<Warm>, (String, SampleError)> {
    let mut all = Vec::new();
    for sample in &warmup.samples {
        let inputs =
            arrange(sample, shapes.callers, home).map_err(|error| (sample.name.clone(), error))?;
        let runs = sample.count.unwrap_or(RUNS);
        all.push(Warm { name: Some(sample.name.clone()), inputs, runs });
    }
    let real = cases.iter().find_map(|case| shapes.file.arrange(&case.inputs).ok());
    match real.filter(|_| warmup.dims.is_empty()) {
        _ if !all.is_empty() && warmup.dims.is_empty() => {}
        Some(inputs) => all.push(Warm { name: None, inputs, runs: RUNS }),
        None => all.push(Warm { name: None, inputs: zeros(shapes.file, warmup), runs: RUNS }),
    }
    Ok(all)
}

fn arrange(
    sample: &Sample,
    signature: &Signature,
    home: Option<Home<'_>>,
) -> Result<Tensors, SampleError> {
    let mut named = Vec::new();
    for (name, input) in &sample.inputs {
        let tensor = tensor(input, sample.rows, home)?;
        named.push(NamedTensor { name: name.clone(), tensor });
    }
    Ok(signature.arrange(&named)?)
}

fn tensor(
    input: &SampleInput,
    rows: Option<u32>,
    home: Option<Home<'_>>,
) -> Result<Tensor, SampleError> {
    // Checked when the manifest was read.
    let dtype = DataType::from_name(&input.datatype).unwrap_or(DataType::Bytes);
    let row = Shape::new(&input.shape)?;
    let whole: Vec<i64> =
        rows.map(i64::from).into_iter().chain(input.shape.iter().copied()).collect();
    let whole = Shape::new(&whole)?;
    let data = match (&input.data, home) {
        (SampleData::File(file), Some(home)) => Bytes::from(home.bytes(file)?),
        (SampleData::File(_) | SampleData::Zeros, _) => zero_bytes(dtype, &row),
        (SampleData::Random, _) => random(dtype, row.elements()),
    };
    // One row is checked for itself: a file of another length is no row, also if rows of it would fit.
    let one = Tensor::new(dtype, row, data)?;
    let times = rows.unwrap_or(1) as usize;
    Ok(Tensor::new(dtype, whole, Bytes::from(one.data().repeat(times)))?)
}

// Zeros, or empty strings; what is optional is left out.
fn zeros(signature: &Signature, warmup: &Warmup) -> Tensors {
    let zero = |spec: &TensorSpec| {
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
        let data = zero_bytes(spec.dtype, &shape);
        Tensor::new(spec.dtype, shape, data).ok()
    };
    signature.required().map(zero).collect()
}

fn zero_bytes(dtype: DataType, shape: &Shape) -> Bytes {
    let texts = || shape.elements().saturating_mul(LENGTH);
    vec![0; shape.bytes(dtype).unwrap_or_else(texts)].into()
}

// The same each time, so that two loads of one version are measured alike.
fn random(dtype: DataType, elements: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut data = BytesMut::new();
    for _ in 0..elements {
        match dtype {
            DataType::Bool => data.put_u8(random.bool().into()),
            DataType::Fp32 => data.put_f32_le(random.f32()),
            DataType::Fp64 => data.put_f64_le(random.f64()),
            // Halves between 0.5 and 1: the exponent stands, the fraction is chance.
            DataType::Fp16 => data.put_u16_le(0x3800 | random.u16(..0x400)),
            DataType::Bf16 => data.put_u16_le(0x3f00 | random.u16(..0x80)),
            DataType::Bytes => {
                data.put_u32_le(WORD);
                (0..WORD).for_each(|_| data.put_u8(random.u8(b'a'..=b'z')));
            }
            DataType::Uint8
            | DataType::Uint16
            | DataType::Uint32
            | DataType::Uint64
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64 => {
                let bytes = random.u64(..).to_le_bytes();
                data.put_slice(bytes.get(..dtype.size().unwrap_or(8)).unwrap_or_default());
            }
        }
    }
    data.freeze()
}

/// Enough for lazy allocations to be over, few enough for a run of a second.
const RUNS: u32 = 4;

const SEED: u64 = 1;

/// Letters of a chance word.
const WORD: u32 = 8;

#[cfg(test)]
mod tests {
    use super::random;
    use crate::domain::tensor::buffer::Tensor;
    use crate::domain::tensor::dtype::DataType;
    use crate::domain::tensor::shape::Shape;

    #[test]
    fn chance_values_are_valid_of_every_type_and_the_same_each_time() {
        for dtype in DataType::ALL {
            let data = random(dtype, 6);
            assert_eq!(data, random(dtype, 6));
            Tensor::new(dtype, Shape::new(&[2, 3]).unwrap(), data).unwrap();
        }
    }
}
