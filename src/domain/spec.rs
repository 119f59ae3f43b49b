//! One input or output of a model, and its shape as callers see it.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::domain::misfit::SignatureError;
use crate::domain::tensor::buffer::Tensor;
use crate::domain::tensor::dtype::DataType;
use crate::domain::tensor::shape::{Dimensions, Shape};

/// One dimension of an input or output, as the model declares it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Dim {
    /// Always this size.
    Fixed(i64),
    /// Any size, but the same wherever the symbol stands; without a symbol, any size at all.
    Any(Option<Arc<str>>),
}

/// One input or output of a model.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TensorSpec {
    /// The name callers use.
    pub name: Arc<str>,
    /// The element type.
    pub dtype: DataType,
    /// The dimensions, outermost first.
    pub dims: Vec<Dim>,
    /// Whether no shape is declared at all: then any fits, and `dims` is empty.
    pub any_shape: bool,
    /// Whether it may be absent: an input with a default, an output that need not have a value.
    pub optional: bool,
    /// Of an output: names of the positions in a row, where model or owner tell them.
    pub labels: Option<Arc<[Arc<str>]>>,
    /// The model's own labels as a JSON array, as answers carry them.
    pub labels_json: Option<Arc<str>>,
    /// Names of the values of a row, where somebody gave them.
    pub features: Option<Arc<[Arc<str>]>>,
    /// What callers see, where that is not what the model has.
    pub outside: Option<Outside>,
}

/// A tensor's shape as callers see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outside {
    /// The dimensions that callers see.
    pub dims: Vec<Dim>,
    /// The same values' shape in the model, if it is another one; -1 takes callers' sizes of
    /// dimensions of any size, in their order.
    pub inside: Option<Vec<i64>>,
}

impl TensorSpec {
    /// One that must be there, of a declared shape, of which nobody says more.
    pub fn new(name: impl Into<Arc<str>>, dtype: DataType, dims: Vec<Dim>) -> Self {
        let (any_shape, optional) = (false, false);
        Self {
            name: name.into(),
            dtype,
            dims,
            any_shape,
            optional,
            labels: None,
            labels_json: None,
            features: None,
            outside: None,
        }
    }

    /// The dimensions that callers see.
    pub fn outer(&self) -> &[Dim] {
        self.outside.as_ref().map_or(&self.dims, |outside| &outside.dims)
    }

    /// The shape that callers see, as the protocol writes it: -1 for any size.
    pub fn shape(&self) -> Vec<i64> {
        self.outer().iter().map(Dim::wire).collect()
    }

    /// The same values in the shape that the model has, if that is another one.
    pub fn inward(&self, tensor: &Tensor) -> Option<Tensor> {
        let outside = self.outside.as_ref()?;
        let inside = outside.inside.as_ref()?;
        reshaped(tensor, outside.dims.iter().map(Dim::wire), inside.iter().copied())
    }

    /// And in the one that callers see.
    pub fn outward(&self, tensor: &Tensor) -> Option<Tensor> {
        let outside = self.outside.as_ref()?;
        let inside = outside.inside.as_ref()?;
        reshaped(tensor, inside.iter().copied(), outside.dims.iter().map(Dim::wire))
    }

    /// Whether these values may be given as this input.
    ///
    /// # Errors
    ///
    /// [`SignatureError::DataType`], [`SignatureError::Shape`].
    pub fn admits(&self, tensor: &Tensor) -> Result<(), SignatureError> {
        let input = || Arc::clone(&self.name);
        if tensor.dtype() != self.dtype {
            let (expected, found) = (self.dtype, tensor.dtype());
            return Err(SignatureError::DataType { input: input(), expected, found });
        }
        let dims = self.outer();
        let fits = tensor.shape().len() == dims.len()
            && dims.iter().zip(tensor.shape().iter()).all(|(dim, &size)| dim.admits(size));
        if fits || self.any_shape {
            return Ok(());
        }
        Err(SignatureError::Shape {
            input: input(),
            expected: Dimensions(self.shape()),
            found: tensor.shape().clone(),
        })
    }
}

impl Dim {
    /// The size as the protocol writes it, -1 for any.
    pub fn wire(&self) -> i64 {
        match self {
            Self::Fixed(size) => *size,
            Self::Any(_) => ANY,
        }
    }

    fn admits(&self, size: i64) -> bool {
        match self {
            Self::Fixed(expected) => size == *expected,
            Self::Any(_) => true,
        }
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.name, self.dtype, Dimensions(self.shape()))
    }
}

// Sizes of dimensions of any size move over in their order; none if the elements would not be as many.
fn reshaped(
    tensor: &Tensor,
    from: impl Iterator<Item = i64>,
    to: impl Iterator<Item = i64>,
) -> Option<Tensor> {
    let mut open = from.zip(tensor.shape().iter()).filter(|(dim, _)| *dim == ANY);
    let to = to.map(|dim| if dim == ANY { open.next().map(|(_, &size)| size) } else { Some(dim) });
    let dims: SmallVec<[i64; 4]> = to.collect::<Option<_>>()?;
    tensor.reshaped(Shape::new(&dims).ok()?)
}

/// Any size, as the protocol writes it.
const ANY: i64 = -1;
