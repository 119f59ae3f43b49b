//! The classification extension: the best values of a row, as text.
//!
//! Each element is `value:index`, and `value:index:label` where there is a label for it. Values are
//! written as C's `std::to_string` does: six decimals for floats, plain digits for integers.

use std::cmp::Ordering;
use std::io::Write;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::domain::failure::{Code, Failure};
use crate::domain::tensor::buffer::{LENGTH, Tensor, TensorError};
use crate::domain::tensor::dtype::DataType;
use crate::domain::tensor::shape::{Shape, ShapeError};

/// What is asked of a tensor.
#[derive(Clone, Copy, Debug)]
pub struct Classes<'a> {
    /// How many of each row, at most.
    pub most: NonZeroUsize,
    /// Whether the first dimension counts rows; otherwise the whole tensor is one row.
    pub batched: bool,
    /// Names of the positions in a row; those beyond have none.
    pub labels: &'a [Arc<str>],
}

/// Why a tensor has no classes.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClassifyError {
    /// Values that are not ordered here.
    #[error(
        "classification of {found} is not offered, expected INT8 to INT64, UINT8 to UINT64, FP32 \
         or FP64"
    )]
    DataType {
        /// The tensor's type.
        found: DataType,
    },
    /// More values than are worth sorting for one answer.
    #[error("classification of {found} elements, expected at most {MOST_ELEMENTS}")]
    Elements {
        /// How many the tensor has.
        found: usize,
    },
    /// The answer has no shape.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The answer is larger than a tensor can be.
    #[error(transparent)]
    Answer(#[from] TensorError),
}

impl Failure for ClassifyError {
    fn code(&self) -> Code {
        match self {
            Self::DataType { .. } | Self::Elements { .. } => Code::Parameter,
            Self::Shape(_) | Self::Answer(_) => Code::Output,
        }
    }
}

/// Whether values of that type can be classified.
pub const fn is_offered(dtype: DataType) -> bool {
    match dtype {
        DataType::Uint8
        | DataType::Uint16
        | DataType::Uint32
        | DataType::Uint64
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Fp32
        | DataType::Fp64 => true,
        DataType::Bool | DataType::Fp16 | DataType::Bf16 | DataType::Bytes => false,
    }
}

/// The best values of each row, largest first: a BYTES tensor of shape `[rows,] min(most, n)`.
///
/// Equal values stand in the order of their indices, and NaN stands last. O(n + k log k) a row.
///
/// # Errors
///
/// [`ClassifyError`].
pub fn classify(tensor: &Tensor, classes: Classes<'_>) -> Result<Tensor, ClassifyError> {
    let found = tensor.shape().elements();
    if found > MOST_ELEMENTS {
        return Err(ClassifyError::Elements { found });
    }
    match tensor.dtype() {
        DataType::Uint8 => ranked(tensor, classes, u8::from_le_bytes, digits),
        DataType::Uint16 => ranked(tensor, classes, u16::from_le_bytes, digits),
        DataType::Uint32 => ranked(tensor, classes, u32::from_le_bytes, digits),
        DataType::Uint64 => ranked(tensor, classes, u64::from_le_bytes, digits),
        DataType::Int8 => ranked(tensor, classes, i8::from_le_bytes, digits),
        DataType::Int16 => ranked(tensor, classes, i16::from_le_bytes, digits),
        DataType::Int32 => ranked(tensor, classes, i32::from_le_bytes, digits),
        DataType::Int64 => ranked(tensor, classes, i64::from_le_bytes, digits),
        DataType::Fp32 => ranked(tensor, classes, f32::from_le_bytes, |value, out| {
            decimals(value.into(), out);
        }),
        DataType::Fp64 => ranked(tensor, classes, f64::from_le_bytes, decimals),
        found @ (DataType::Bool | DataType::Fp16 | DataType::Bf16 | DataType::Bytes) => {
            Err(ClassifyError::DataType { found })
        }
    }
}

fn ranked<T: Copy + PartialOrd, const N: usize>(
    tensor: &Tensor,
    classes: Classes<'_>,
    read: impl Fn([u8; N]) -> T,
    write: impl Fn(T, &mut Vec<u8>),
) -> Result<Tensor, ClassifyError> {
    let batch = if classes.batched { tensor.shape().first().copied() } else { None };
    let inner = Shape::new(tensor.shape().get(usize::from(batch.is_some())..).unwrap_or_default())?;
    let width = inner.elements();
    let wanted = classes.most.get().min(width);
    let (values, _) = tensor.data().as_chunks::<N>();
    let mut data = Vec::new();
    let mut ranking: Vec<(T, usize)> = Vec::with_capacity(width);
    for row in values.chunks(width.max(1)) {
        ranking.clear();
        ranking.extend(row.iter().enumerate().map(|(index, &value)| (read(value), index)));
        for &(value, index) in best(&mut ranking, wanted) {
            element(&mut data, |out| {
                write(value, out);
                out.push(b':');
                digits(index, out);
                if let Some(label) = classes.labels.get(index) {
                    out.push(b':');
                    out.extend_from_slice(label.as_bytes());
                }
            });
        }
    }
    let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
    let dims: Vec<i64> = batch.into_iter().chain([wanted]).collect();
    Ok(Tensor::new(DataType::Bytes, Shape::new(&dims)?, data.into())?)
}

// The first `wanted` in order; only those are sorted.
fn best<T: Copy + PartialOrd>(ranking: &mut [(T, usize)], wanted: usize) -> &[(T, usize)] {
    if wanted < ranking.len() {
        ranking.select_nth_unstable_by(wanted, before);
    }
    let best = ranking.get_mut(..wanted).unwrap_or_default();
    best.sort_unstable_by(before);
    best
}

fn before<T: Copy + PartialOrd>(left: &(T, usize), right: &(T, usize)) -> Ordering {
    // What has no order with itself is NaN.
    let is_nan = |value: T| value.partial_cmp(&value).is_none();
    let by_value = right.0.partial_cmp(&left.0);
    by_value
        .unwrap_or_else(|| is_nan(left.0).cmp(&is_nan(right.0)))
        .then_with(|| left.1.cmp(&right.1))
}

fn element(data: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = data.len();
    data.extend_from_slice(&[0; LENGTH]);
    write(data);
    // A value and a label: far below 4 GiB.
    let length = u32::try_from(data.len() - start - LENGTH).unwrap_or(u32::MAX);
    if let Some(place) = data.get_mut(start..start + LENGTH) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

fn digits(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn decimals(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        out.extend_from_slice(b"nan");
        return;
    }
    // Writing into memory cannot fail.
    write!(out, "{value:.6}").ok();
}

/// As in Triton; a row that long is no list of classes.
const MOST_ELEMENTS: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::{Classes, ClassifyError, classify, is_offered};
    use crate::domain::tensor::buffer::Tensor;
    use crate::domain::tensor::dtype::DataType;
    use crate::domain::tensor::shape::Shape;
    use proptest::prelude::*;
    use std::num::NonZeroUsize;
    use std::sync::Arc;

    fn floats(dims: &[i64], values: &[f32]) -> Tensor {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor::new(DataType::Fp32, Shape::new(dims).unwrap(), data.into()).unwrap()
    }

    fn texts(
        tensor: &Tensor,
        most: usize,
        batched: bool,
        labels: &[&str],
    ) -> (String, Vec<String>) {
        let labels: Vec<Arc<str>> = labels.iter().map(|&label| label.into()).collect();
        let most = NonZeroUsize::new(most).unwrap();
        let found = classify(tensor, Classes { most, batched, labels: &labels }).unwrap();
        let texts = found.elements().map(|text| String::from_utf8(text.to_vec()).unwrap());
        (found.shape().to_string(), texts.collect())
    }

    #[test]
    fn each_row_of_a_batch_has_its_best_first_and_ties_by_index() {
        let tensor = floats(&[2, 3], &[0.25, 0.5, 0.25, 1.0, -0.0, 0.0]);
        let (shape, found) = texts(&tensor, 2, true, &["a", "b"]);
        assert_eq!(shape, "[2,2]");
        assert_eq!(found, ["0.500000:1:b", "0.250000:0:a", "1.000000:0:a", "-0.000000:1:b"]);
        // More than there are, and no label for the last.
        let (shape, found) = texts(&tensor, 9, true, &["a", "b"]);
        assert_eq!((shape.as_str(), &found[2]), ("[2,3]", &"0.250000:2".to_owned()));
    }

    #[test]
    fn a_model_without_a_batch_has_one_row_of_all_values() {
        let tensor = floats(&[2, 2], &[1.0, 4.0, 3.0, 2.0]);
        assert_eq!(
            texts(&tensor, 3, false, &[]),
            ("[3]".to_owned(), vec!["4.000000:1".into(), "3.000000:2".into(), "2.000000:3".into()])
        );
        assert_eq!(texts(&floats(&[], &[7.0]), 5, false, &[]).1, ["7.000000:0"]);
        assert_eq!(texts(&floats(&[2], &[7.0, 8.0]), 5, true, &[]).0, "[2,1]");
    }

    #[test]
    fn what_is_no_number_stands_last_and_nothing_has_no_classes() {
        let tensor = floats(&[4], &[f32::NAN, 1.0, f32::NEG_INFINITY, f32::INFINITY]);
        let (_, found) = texts(&tensor, 4, false, &[]);
        assert_eq!(found, ["inf:3", "1.000000:1", "-inf:2", "nan:0"]);
        assert_eq!(texts(&floats(&[0, 3], &[]), 2, true, &[]), ("[0,2]".into(), vec![]));
        assert_eq!(texts(&floats(&[3, 0], &[]), 2, true, &[]), ("[3,0]".into(), vec![]));
        assert_eq!(texts(&floats(&[0], &[]), 2, false, &[]), ("[0]".into(), vec![]));
    }

    #[test]
    fn integers_are_written_as_they_are() {
        let data: Vec<u8> =
            [3_i64, i64::MIN, i64::MAX].iter().flat_map(|v| v.to_le_bytes()).collect();
        let shape = Shape::new(&[1, 3]).unwrap();
        let tensor = Tensor::new(DataType::Int64, shape, data.into()).unwrap();
        let (_, found) = texts(&tensor, 3, true, &[]);
        assert_eq!(found, ["9223372036854775807:2", "3:0", "-9223372036854775808:1"]);
    }

    #[test]
    fn types_without_an_order_and_rows_without_end_are_refused() {
        let classes = Classes { most: NonZeroUsize::MIN, batched: true, labels: &[] };
        for dtype in DataType::ALL {
            let data = vec![0; dtype.size().unwrap_or(4)];
            let tensor = Tensor::new(dtype, Shape::new(&[1]).unwrap(), data.into()).unwrap();
            assert_eq!(classify(&tensor, classes).is_ok(), is_offered(dtype), "{dtype}");
        }
        let shape = Shape::new(&[1_000_001]).unwrap();
        let tensor = Tensor::new(DataType::Int8, shape, vec![0; 1_000_001].into()).unwrap();
        let found = 1_000_001;
        assert_eq!(classify(&tensor, classes).unwrap_err(), ClassifyError::Elements { found });
    }

    proptest! {
        #[test]
        fn the_best_are_those_that_a_whole_sort_would_put_first(
            values in prop::collection::vec(prop::num::f32::ANY, 1..40),
            most in 1_usize..50,
        ) {
            let tensor = floats(&[i64::try_from(values.len()).unwrap()], &values);
            let (_, found) = texts(&tensor, most, false, &[]);
            let mut order: Vec<usize> = (0..values.len()).collect();
            // A stable sort keeps equal values in the order of their indices.
            order.sort_by(|&left, &right| {
                let (left, right) = (values[left], values[right]);
                let nan = left.is_nan().cmp(&right.is_nan());
                nan.then(right.partial_cmp(&left).unwrap_or(std::cmp::Ordering::Equal))
            });
            order.truncate(most);
            let indices: Vec<usize> =
                found.iter().map(|text| text.rsplit(':').next().unwrap().parse().unwrap()).collect();
            prop_assert_eq!(indices, order);
        }

        #[test]
        fn every_row_is_classified_as_if_it_were_alone(
            rows in prop::collection::vec(prop::collection::vec(any::<f32>(), 3), 1..6),
        ) {
            let together = floats(&[i64::try_from(rows.len()).unwrap(), 3], &rows.concat());
            let (_, together) = texts(&together, 2, true, &["x", "y", "z"]);
            let alone: Vec<String> = rows
                .iter()
                .flat_map(|row| texts(&floats(&[3], row), 2, false, &["x", "y", "z"]).1)
                .collect();
            prop_assert_eq!(together, alone);
        }
    }
}
