//! Rows of several tensors as one tensor, and back.
//!
//! The first dimension counts rows. What was joined and is split again is the same values in the
//! same shapes (a property test says so).

use bytes::{Bytes, BytesMut};

use crate::domain::tensor::buffer::{LENGTH, Tensor};
use crate::domain::tensor::shape::Shape;

/// Whether the rows of both can be rows of one tensor.
pub fn fit(left: &Tensor, right: &Tensor) -> bool {
    left.dtype() == right.dtype()
        && !left.shape().is_empty()
        && !right.shape().is_empty()
        && left.shape().get(1..) == right.shape().get(1..)
}

/// How many rows there are; none for a scalar.
pub fn count(tensor: &Tensor) -> Option<i64> {
    tensor.shape().first().copied()
}

/// All rows in one tensor, in the order given; none where they do not fit one another, or there is
/// nothing to join. Copies each value once.
pub fn join<'a>(parts: impl Iterator<Item = &'a Tensor> + Clone) -> Option<Tensor> {
    let first = parts.clone().next()?;
    let (mut rows, mut bytes) = (0_i64, 0);
    for part in parts.clone() {
        if !fit(first, part) {
            return None;
        }
        rows = rows.checked_add(count(part)?)?;
        bytes += part.data().len();
    }
    let mut dims = first.shape().to_vec();
    *dims.first_mut()? = rows;
    let mut data = BytesMut::with_capacity(bytes);
    for part in parts {
        data.extend_from_slice(part.data());
    }
    Tensor::new(first.dtype(), Shape::new(&dims).ok()?, data.freeze()).ok()
}

/// The next rows of a tensor that is split from its first row on.
#[derive(Debug)]
pub struct Split<'a> {
    whole: &'a Tensor,
    row: i64,
    /// Bytes of the rows before.
    at: usize,
}

impl<'a> Split<'a> {
    /// Begins before the first row.
    pub fn new(whole: &'a Tensor) -> Self {
        Self { whole, row: 0, at: 0 }
    }

    /// The next rows, over the same memory; none where there are not so many, or the tensor has none.
    pub fn next(&mut self, rows: i64) -> Option<Tensor> {
        let (dtype, shape) = (self.whole.dtype(), self.whole.shape());
        let (last, all) = (self.row.checked_add(rows)?, count(self.whole)?);
        if last > all {
            return None;
        }
        let mut dims = shape.to_vec();
        *dims.first_mut()? = rows;
        let part = Shape::new(&dims).ok()?;
        let bytes = part.bytes(dtype).unwrap_or_else(|| self.bytes_of_texts(part.elements()));
        let data: Bytes = self.whole.data().slice(self.at..self.at + bytes);
        let tensor = Tensor::new(dtype, part, data).ok()?;
        (self.row, self.at) = (last, self.at + bytes);
        Some(tensor)
    }

    /// Whether every row was taken.
    pub fn is_over(&self) -> bool {
        count(self.whole) == Some(self.row)
    }

    fn bytes_of_texts(&self, elements: usize) -> usize {
        let first = self.whole.shape().get(1..).unwrap_or_default();
        let width: i64 = first.iter().product();
        let before = usize::try_from(self.row.saturating_mul(width)).unwrap_or(usize::MAX);
        let texts =
            (before..before.saturating_add(elements)).map(|index| self.whole.element(index));
        texts.map(|text| LENGTH + text.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{Split, join};
    use crate::domain::tensor::buffer::Tensor;
    use crate::domain::tensor::dtype::DataType;
    use crate::domain::tensor::shape::Shape;
    use proptest::prelude::*;

    fn tensor(dtype: DataType, dims: &[i64], seed: u64) -> Tensor {
        let shape = Shape::new(dims).unwrap();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut data = Vec::new();
        for _ in 0..shape.elements() {
            if let Some(size) = dtype.size() {
                data.extend((0..size).map(|_| random.u8(0..2)));
            } else {
                let length = random.u32(0..5);
                data.extend(length.to_le_bytes());
                data.extend((0..length).map(|_| random.u8(..)));
            }
        }
        Tensor::new(dtype, shape, data.into()).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_joined_is_split_into_the_same(
            rows in prop::collection::vec(0_i64..4, 1..5),
            inner in prop::collection::vec(0_i64..4, 0..3),
            dtype in prop::sample::select(DataType::ALL.to_vec()),
            seed in any::<u64>(),
        ) {
            let parts: Vec<Tensor> = rows
                .iter()
                .enumerate()
                .map(|(index, &rows)| {
                    let dims = [&[rows], &inner[..]].concat();
                    tensor(dtype, &dims, seed.wrapping_add(index as u64))
                })
                .collect();
            let whole = join(parts.iter()).unwrap();
            let mut split = Split::new(&whole);
            for (part, &rows) in parts.iter().zip(&rows) {
                prop_assert_eq!(&split.next(rows).unwrap(), part);
            }
            prop_assert!(split.is_over());
            prop_assert_eq!(split.next(1), None);
        }
    }

    #[test]
    fn rows_of_another_width_or_type_are_not_joined() {
        let of = |dtype, dims: &[i64]| tensor(dtype, dims, 1);
        let whole = of(DataType::Fp32, &[2, 4]);
        let others = [
            of(DataType::Fp32, &[2, 5]),
            of(DataType::Int32, &[2, 4]),
            of(DataType::Fp32, &[2]),
            of(DataType::Fp32, &[]),
        ];
        for other in others {
            assert_eq!(join([&whole, &other].into_iter()), None);
        }
        assert_eq!(join([].into_iter()), None);
        assert_eq!(join([&of(DataType::Fp32, &[])].into_iter()), None);
    }
}
