//! A tensor: type, shape and bytes that are known to agree.
//!
//! Bytes are little-endian and row-major, as on the wire, and shared: cloning a tensor copies
//! nothing. A tensor cannot be made from bytes that do not fit its shape, so nobody downstream
//! checks sizes again.

use std::sync::Arc;

use bytes::Bytes;

use crate::domain::tensor::dtype::DataType;
use crate::domain::tensor::shape::Shape;

/// Typed values of one shape over shared bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    dtype: DataType,
    shape: Shape,
    data: Bytes,
    /// For BYTES: where each element's text begins; the element's length stands in the 4 bytes before.
    starts: Option<Arc<[u32]>>,
}

/// Why bytes are not the tensor they claim to be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TensorError {
    /// Fixed-size values of another total size.
    #[error("{dtype} of shape {shape} takes {expected} bytes, found {found}")]
    Size {
        /// The declared type.
        dtype: DataType,
        /// The declared shape.
        shape: Shape,
        /// Bytes that type and shape ask for.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
    /// BYTES with another number of elements.
    #[error("BYTES of shape {shape} has {expected} elements, found {found}")]
    Count {
        /// The declared shape.
        shape: Shape,
        /// Elements that the shape asks for.
        expected: usize,
        /// Elements that came.
        found: usize,
    },
    /// A BYTES element announced more bytes than there are.
    #[error("BYTES element {index} announces {announced} bytes, but {left} are left")]
    Element {
        /// Which element, from 0.
        index: usize,
        /// The length written before it.
        announced: usize,
        /// Bytes left after that length.
        left: usize,
    },
    /// A BOOL that is neither 0 nor 1.
    #[error("BOOL element {index} is {found}, expected 0 or 1")]
    Bool {
        /// Which element, from 0.
        index: usize,
        /// The byte found.
        found: u8,
    },
    /// More bytes than the offsets of one tensor can address.
    #[error("BYTES tensor of {found} bytes, expected at most 4294967295")]
    TooLarge {
        /// Bytes that came.
        found: usize,
    },
}

impl Tensor {
    /// Makes a tensor of bytes in wire form, after checking that they are one.
    ///
    /// O(1) for numbers, O(elements) for BOOL and BYTES; copies nothing.
    ///
    /// # Errors
    ///
    /// [`TensorError`], saying what was found and what was expected.
    pub fn new(dtype: DataType, shape: Shape, data: Bytes) -> Result<Self, TensorError> {
        let starts = if dtype.size().is_none() {
            Some(element_starts(&shape, &data)?)
        } else {
            let expected = shape.bytes(dtype).unwrap_or(usize::MAX);
            if data.len() != expected {
                let found = data.len();
                return Err(TensorError::Size { dtype, shape, expected, found });
            }
            None
        };
        if dtype == DataType::Bool {
            // ONNX Runtime reads a bool as C++ does: any other byte is undefined behaviour there.
            if let Some(index) = data.iter().position(|&byte| byte > 1) {
                let found = data.get(index).copied().unwrap_or_default();
                return Err(TensorError::Bool { index, found });
            }
        }
        Ok(Self { dtype, shape, data, starts })
    }

    /// The element type.
    pub fn dtype(&self) -> DataType {
        self.dtype
    }

    /// The dimensions.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The values in wire form.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The same values in another shape of as many elements; none if it has more or fewer.
    pub fn reshaped(&self, shape: Shape) -> Option<Self> {
        let same = shape.elements() == self.shape.elements();
        same.then(|| Self { shape, ..self.clone() })
    }

    /// The elements of a BYTES tensor, in order; nothing for other types.
    pub fn elements(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.starts.as_deref().unwrap_or_default().iter().map(|&start| self.element_at(start))
    }

    /// One element of a BYTES tensor; empty if there is none at the index.
    pub fn element(&self, index: usize) -> &[u8] {
        let start = self.starts.as_deref().and_then(|starts| starts.get(index));
        start.map(|&start| self.element_at(start)).unwrap_or_default()
    }

    /// The bytes of one number of `N` bytes; zeros if there is none at the index.
    pub fn value<const N: usize>(&self, index: usize) -> [u8; N] {
        let (values, _) = self.data.as_chunks::<N>();
        values.get(index).copied().unwrap_or([0; N])
    }

    fn element_at(&self, start: u32) -> &[u8] {
        let start = start as usize;
        let length = read_length(&self.data, start - LENGTH).unwrap_or_default();
        self.data.get(start..start + length).unwrap_or_default()
    }
}

fn element_starts(shape: &Shape, data: &[u8]) -> Result<Arc<[u32]>, TensorError> {
    if u32::try_from(data.len()).is_err() {
        return Err(TensorError::TooLarge { found: data.len() });
    }
    let expected = shape.elements();
    // Each element takes at least its length prefix, so the table is never larger than the data.
    let mut starts = Vec::with_capacity(expected.min(data.len() / LENGTH));
    let mut at = 0;
    while at < data.len() {
        let index = starts.len();
        let Some(announced) = read_length(data, at) else {
            let left = data.len() - at;
            return Err(TensorError::Element { index, announced: LENGTH, left });
        };
        let start = at + LENGTH;
        let left = data.len() - start;
        if announced > left {
            return Err(TensorError::Element { index, announced, left });
        }
        starts.push(u32::try_from(start).unwrap_or(u32::MAX));
        at = start + announced;
    }
    if starts.len() == expected {
        return Ok(starts.into());
    }
    Err(TensorError::Count { shape: shape.clone(), expected, found: starts.len() })
}

fn read_length(data: &[u8], at: usize) -> Option<usize> {
    let bytes = data.get(at..at + LENGTH)?.try_into().ok()?;
    Some(u32::from_le_bytes(bytes) as usize)
}

/// Bytes of the length that precedes every BYTES element.
pub const LENGTH: usize = 4;

#[cfg(test)]
mod tests {
    use super::{Tensor, TensorError};
    use crate::domain::tensor::dtype::DataType;
    use crate::domain::tensor::shape::Shape;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn wire(elements: &[Vec<u8>]) -> Bytes {
        let mut data = Vec::new();
        for element in elements {
            data.extend(u32::try_from(element.len()).unwrap().to_le_bytes());
            data.extend(element);
        }
        data.into()
    }

    #[test]
    fn bytes_that_do_not_fit_the_shape_are_refused() {
        let shape = Shape::new(&[1, 4]).unwrap();
        let error = Tensor::new(DataType::Fp32, shape, Bytes::from_static(&[0; 12])).unwrap_err();
        assert_eq!(error.to_string(), "FP32 of shape [1,4] takes 16 bytes, found 12");
    }

    #[test]
    fn a_bool_is_zero_or_one() {
        let shape = Shape::new(&[2]).unwrap();
        let error = Tensor::new(DataType::Bool, shape, Bytes::from_static(&[1, 7])).unwrap_err();
        assert_eq!(error, TensorError::Bool { index: 1, found: 7 });
    }

    #[test]
    fn an_element_that_announces_more_than_there_is_is_refused() {
        let shape = Shape::new(&[1]).unwrap();
        let data = Bytes::from_static(&[255, 255, 255, 255, b'a']);
        let error = Tensor::new(DataType::Bytes, shape, data).unwrap_err();
        assert_eq!(error, TensorError::Element { index: 0, announced: 4_294_967_295, left: 1 });
    }

    proptest! {
        #[test]
        fn elements_come_back_as_they_went_in(
            elements in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..9),
        ) {
            let shape = Shape::new(&[i64::try_from(elements.len()).unwrap()]).unwrap();
            let tensor = Tensor::new(DataType::Bytes, shape, wire(&elements)).unwrap();
            let back: Vec<Vec<u8>> = tensor.elements().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(back, elements);
        }

        #[test]
        fn no_bytes_make_it_panic(data in prop::collection::vec(any::<u8>(), 0..64), count in 0i64..9) {
            let shape = Shape::new(&[count]).unwrap();
            if let Ok(tensor) = Tensor::new(DataType::Bytes, shape, data.into()) {
                prop_assert_eq!(i64::try_from(tensor.elements().count()).unwrap(), count);
            }
        }
    }
}
