//! Shapes, and the sizes they stand for, in arithmetic that cannot overflow.

use std::fmt;
use std::ops::Deref;

use smallvec::SmallVec;

use crate::domain::tensor::dtype::DataType;

/// Dimensions of a tensor, outermost first; no dimension is negative.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Shape(SmallVec<[i64; 4]>);

/// Why dimensions are no shape of a tensor.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ShapeError {
    /// A dimension was below zero.
    #[error("shape {shape} has a negative dimension, expected every dimension to be 0 or more")]
    Negative {
        /// The shape as it came.
        shape: Dimensions,
    },
    /// The tensor would not fit into memory.
    #[error("shape {shape} stands for more elements than a tensor can have")]
    TooLarge {
        /// The shape as it came.
        shape: Dimensions,
    },
}

/// Dimensions for people: `[-1,4]`, as the protocol's texts write them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dimensions(pub Vec<i64>);

impl Shape {
    /// Takes dimensions that are known to be sizes of something in memory.
    ///
    /// # Errors
    ///
    /// [`ShapeError::Negative`]; [`ShapeError::TooLarge`] if the elements cannot be counted.
    pub fn new(dims: &[i64]) -> Result<Self, ShapeError> {
        if dims.iter().any(|&dim| dim < 0) {
            return Err(ShapeError::Negative { shape: Dimensions(dims.to_vec()) });
        }
        let shape = Self(SmallVec::from_slice(dims));
        match shape.checked_elements() {
            Some(_) => Ok(shape),
            None => Err(ShapeError::TooLarge { shape: Dimensions(dims.to_vec()) }),
        }
    }

    /// How many elements the shape holds; 1 for a scalar, 0 with an empty dimension.
    pub fn elements(&self) -> usize {
        self.checked_elements().unwrap_or(usize::MAX)
    }

    /// Bytes of a tensor of this shape; `None` for BYTES, or past what can be addressed.
    pub fn bytes(&self, dtype: DataType) -> Option<usize> {
        self.elements().checked_mul(dtype.size()?)
    }

    // An empty dimension makes the whole tensor empty, so it must not hide an overflow of the others.
    fn checked_elements(&self) -> Option<usize> {
        let most = isize::MAX as usize / 8;
        let size = |dim: i64| usize::try_from(dim.max(1)).ok();
        let counted = self.0.iter().try_fold(1_usize, |all, &dim| all.checked_mul(size(dim)?));
        let empty = self.0.contains(&0);
        counted.filter(|&all| all <= most).map(|all| if empty { 0 } else { all })
    }
}

impl Deref for Shape {
    type Target = [i64];

    fn deref(&self) -> &[i64] {
        &self.0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_dims(&self.0, f)
    }
}

impl fmt::Display for Dimensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_dims(&self.0, f)
    }
}

fn write_dims(dims: &[i64], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("[")?;
    for (index, dim) in dims.iter().take(MOST_SHOWN).enumerate() {
        if index > 0 {
            f.write_str(",")?;
        }
        write!(f, "{dim}")?;
    }
    f.write_str(if dims.len() > MOST_SHOWN { ",...]" } else { "]" })
}

/// Dimensions that a message shows: a caller may send millions, and no model has more than this.
const MOST_SHOWN: usize = 16;

#[cfg(test)]
mod tests {
    use super::{Shape, ShapeError};
    use crate::domain::tensor::dtype::DataType;
    use proptest::prelude::*;

    #[test]
    fn a_scalar_has_one_element_and_an_empty_dimension_none() {
        assert_eq!(Shape::new(&[]).unwrap().elements(), 1);
        assert_eq!(Shape::new(&[3, 0, 2]).unwrap().elements(), 0);
        assert_eq!(Shape::new(&[3, 2]).unwrap().bytes(DataType::Fp64), Some(48));
    }

    #[test]
    fn negative_and_uncountable_shapes_are_refused_with_the_shape() {
        let negative = Shape::new(&[2, -1]).unwrap_err();
        assert!(negative.to_string().starts_with("shape [2,-1] has a negative dimension"));
        let large = Shape::new(&[i64::MAX, i64::MAX]).unwrap_err();
        assert!(matches!(large, ShapeError::TooLarge { .. }));
        for hidden in [[0, i64::MAX, 9], [i64::MAX, 9, 0]] {
            assert!(matches!(Shape::new(&hidden), Err(ShapeError::TooLarge { .. })), "{hidden:?}");
        }
    }

    #[test]
    fn a_message_shows_the_first_dimensions_of_very_many() {
        assert_eq!(Shape::new(&[2, 3]).unwrap().to_string(), "[2,3]");
        let many = Shape::new(&[1; 1_000]).unwrap().to_string();
        assert_eq!(many, format!("[{}...]", "1,".repeat(16)));
    }

    proptest! {
        #[test]
        fn no_shape_counts_past_what_fits(dims in prop::collection::vec(any::<i64>(), 0..6)) {
            if let Ok(shape) = Shape::new(&dims) {
                prop_assert!(shape.bytes(DataType::Fp64).is_some());
            }
        }
    }
}
