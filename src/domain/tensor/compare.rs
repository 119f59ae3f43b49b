//! Whether two tensors are equal, exactly or within a tolerance.

use crate::domain::failure::excerpt;
use crate::domain::tensor::buffer::Tensor;
use crate::domain::tensor::dtype::DataType;
use crate::domain::tensor::half::{BF16, FP16};

/// How far apart floating-point values may be: `|found - expected| <= atol + rtol * |expected|`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Relative to the expected value.
    pub rtol: f64,
    /// Absolute.
    pub atol: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        // What sharing a run with other rows may change; more is another model.
        Self { rtol: 1e-5, atol: 1e-6 }
    }
}

/// The first difference between two tensors, in words; none if they are equal.
///
/// Integers, booleans and strings must be equal; NaN equals NaN. O(elements).
pub fn difference(found: &Tensor, expected: &Tensor, tolerance: Tolerance) -> Option<String> {
    if found.dtype() != expected.dtype() {
        return Some(format!("is {}, expected {}", found.dtype(), expected.dtype()));
    }
    if found.shape() != expected.shape() {
        return Some(format!("has shape {}, expected {}", found.shape(), expected.shape()));
    }
    match found.dtype() {
        DataType::Fp32 => {
            floats(found, expected, tolerance, |bytes| f32::from_le_bytes(bytes).into())
        }
        DataType::Fp16 => {
            floats(found, expected, tolerance, |bytes| FP16.widen(u16::from_le_bytes(bytes)).into())
        }
        DataType::Bf16 => {
            floats(found, expected, tolerance, |bytes| BF16.widen(u16::from_le_bytes(bytes)).into())
        }
        DataType::Fp64 => floats(found, expected, tolerance, f64::from_le_bytes),
        DataType::Bytes => {
            let mut pairs = found.elements().zip(expected.elements());
            pairs.position(|(found, expected)| found != expected).map(|index| {
                let text = |tensor: &Tensor| {
                    let element = tensor.elements().nth(index).unwrap_or_default();
                    excerpt(&String::from_utf8_lossy(element))
                };
                format!("element {index} is {:?}, expected {:?}", text(found), text(expected))
            })
        }
        DataType::Bool
        | DataType::Uint8
        | DataType::Uint16
        | DataType::Uint32
        | DataType::Uint64
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64 => exact(found, expected),
    }
}

fn floats<const N: usize>(
    found: &Tensor,
    expected: &Tensor,
    tolerance: Tolerance,
    value: impl Fn([u8; N]) -> f64,
) -> Option<String> {
    let ((found, _), (expected, _)) =
        (found.data().as_chunks::<N>(), expected.data().as_chunks::<N>());
    let pairs =
        found.iter().zip(expected).map(|(&found, &expected)| (value(found), value(expected)));
    pairs.enumerate().find_map(|(index, (found, expected))| {
        let equal = found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
        let near = (found - expected).abs() <= tolerance.atol + tolerance.rtol * expected.abs();
        (!equal && !near).then(|| format!("element {index} is {found}, expected {expected}"))
    })
}

fn exact(found: &Tensor, expected: &Tensor) -> Option<String> {
    let size = found.dtype().size().unwrap_or(1);
    let mut pairs = found.data().chunks(size).zip(expected.data().chunks(size));
    let index = pairs.position(|(found, expected)| found != expected)?;
    Some(format!("element {index} differs, expected equal {} values", found.dtype()))
}

#[cfg(test)]
mod tests {
    use super::{Tolerance, difference};
    use crate::domain::tensor::buffer::Tensor;
    use crate::domain::tensor::dtype::DataType;
    use crate::domain::tensor::shape::Shape;

    fn floats(values: &[f32]) -> Tensor {
        let shape = Shape::new(&[i64::try_from(values.len()).unwrap()]).unwrap();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor::new(DataType::Fp32, shape, bytes.into()).unwrap()
    }

    #[test]
    fn floats_of_two_bytes_have_the_tolerance_too() {
        for (dtype, one, next) in
            [(DataType::Fp16, 0x3C00, 0x3C01), (DataType::Bf16, 0x3F80, 0x3F81)]
        {
            let tensor = |bits: u16| {
                let data = bits.to_le_bytes().to_vec().into();
                Tensor::new(dtype, Shape::new(&[1]).unwrap(), data).unwrap()
            };
            let (one, next) = (tensor(one), tensor(next));
            assert!(difference(&next, &one, Tolerance::default()).is_some());
            assert_eq!(difference(&next, &one, Tolerance { rtol: 1e-2, atol: 0.0 }), None);
        }
    }

    #[test]
    fn values_within_the_tolerance_are_equal_and_the_first_beyond_it_is_named() {
        let expected = floats(&[1.0, f32::NAN, 1000.0]);
        let near = floats(&[1.000_001, f32::NAN, 1000.009]);
        assert_eq!(difference(&near, &expected, Tolerance::default()), None);
        let far = floats(&[1.0, f32::NAN, 1000.5]);
        let text = difference(&far, &expected, Tolerance::default()).unwrap();
        assert_eq!(text, "element 2 is 1000.5, expected 1000");
        assert!(difference(&floats(&[1.0]), &expected, Tolerance::default()).is_some());
        let finite = floats(&[1.0, 0.0, 1000.0]);
        assert!(difference(&finite, &expected, Tolerance::default()).is_some());
    }
}
