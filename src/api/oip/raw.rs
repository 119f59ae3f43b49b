//! A raw binary request: the whole body is the model's one input.
//!
//! Asked for by `Inference-Header-Content-Length: 0`. There is no JSON, so the shape follows from
//! the model: one row of a batch, and at most one other dimension of any size, which the length of
//! the body decides. A BYTES input takes the body as its one element. All outputs are binary.

use bytes::{BufMut, Bytes, BytesMut};

use crate::domain::failure::{Code, Failure};
use crate::domain::signature::{NamedTensor, Signature};
use crate::domain::spec::{Dim, TensorSpec};
use crate::domain::tensor::buffer::{Tensor, TensorError};
use crate::domain::tensor::shape::{Shape, ShapeError};

/// Why a body is not the model's input.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RawError {
    /// The model has none or several.
    #[error("a raw binary request needs a model with one input, but this one has {found}")]
    Inputs {
        /// How many it has.
        found: usize,
    },
    /// The body does not say which of several dimensions it fills.
    #[error("a raw binary request needs at most one dimension of any size beside the batch")]
    Dimensions,
    /// Not a whole number of rows.
    #[error("the body has {found} bytes, expected a multiple of {row}")]
    Length {
        /// Bytes of the body.
        found: usize,
        /// Bytes of one step of the dimension of any size.
        row: usize,
    },
    /// The model's own shape is none.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The bytes do not make the tensor.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl Failure for RawError {
    fn code(&self) -> Code {
        Code::Input
    }
}

/// Takes a body as the one input of a model.
///
/// # Errors
///
/// [`RawError`].
pub fn read(signature: &Signature, body: Bytes) -> Result<NamedTensor, RawError> {
    let mut required = signature.required();
    let (Some(spec), None) = (required.next(), required.next()) else {
        return Err(RawError::Inputs { found: signature.required().count() });
    };
    let shape = shape(spec, signature.is_batched(), body.len())?;
    let data = match spec.dtype.size() {
        Some(_) => body,
        None => element(&body),
    };
    let tensor = Tensor::new(spec.dtype, shape, data)?;
    Ok(NamedTensor { name: spec.name.to_string(), tensor })
}

fn shape(spec: &TensorSpec, batched: bool, body: usize) -> Result<Shape, RawError> {
    let mut dims = spec.shape();
    if let Some(first) = dims.first_mut().filter(|_| batched) {
        *first = 1;
    }
    let open = spec.outer().iter().enumerate().skip(usize::from(batched));
    let open: Vec<usize> =
        open.filter(|(_, dim)| matches!(dim, Dim::Any(_))).map(|(index, _)| index).collect();
    let &[index] = open.as_slice() else {
        return if open.is_empty() { Ok(Shape::new(&dims)?) } else { Err(RawError::Dimensions) };
    };
    let Some(dim) = dims.get_mut(index) else { return Err(RawError::Dimensions) };
    *dim = 1;
    let row = Shape::new(&dims)?.bytes(spec.dtype).unwrap_or(body).max(1);
    if !body.is_multiple_of(row) {
        return Err(RawError::Length { found: body, row });
    }
    if let Some(dim) = dims.get_mut(index) {
        *dim = i64::try_from(body / row).unwrap_or(i64::MAX);
    }
    Ok(Shape::new(&dims)?)
}

fn element(body: &Bytes) -> Bytes {
    let mut data = BytesMut::with_capacity(body.len() + 4);
    // A body is far below 4 GiB.
    data.put_u32_le(u32::try_from(body.len()).unwrap_or(u32::MAX));
    data.extend_from_slice(body);
    data.freeze()
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::domain::signature::Signature;
    use crate::domain::spec::{Dim, TensorSpec};
    use crate::domain::tensor::dtype::DataType;

    fn one(dtype: DataType, dims: Vec<Dim>) -> Signature {
        let spec = |name: &str, dims| TensorSpec::new(name, dtype, dims);
        let batch = vec![Dim::Any(Some("batch".into()))];
        Signature { inputs: vec![spec("x", dims)], outputs: vec![spec("y", batch)] }
    }

    #[test]
    fn the_length_of_the_body_decides_the_open_dimension() {
        let any = || Dim::Any(None);
        let fixed = one(DataType::Fp32, vec![any(), Dim::Fixed(4)]);
        let shape = |signature: &Signature, bytes: usize| {
            let read = read(signature, vec![0; bytes].into());
            read.map(|input| input.tensor.shape().to_string()).map_err(|error| error.to_string())
        };
        assert_eq!(shape(&fixed, 16).unwrap(), "[1,4]");
        assert!(shape(&fixed, 12).unwrap_err().contains("takes 16 bytes, found 12"));
        let open = one(DataType::Fp32, vec![any(), any(), Dim::Fixed(2)]);
        assert_eq!(shape(&open, 24).unwrap(), "[1,3,2]");
        assert!(shape(&open, 12).unwrap_err().contains("expected a multiple of 8"));
        let two = one(DataType::Fp32, vec![any(), any(), any()]);
        assert!(shape(&two, 8).unwrap_err().contains("at most one dimension"));
        let text = one(DataType::Bytes, vec![any(), Dim::Fixed(1)]);
        let input = read(&text, "wine".into()).unwrap();
        assert_eq!(input.tensor.elements().collect::<Vec<_>>(), [b"wine"]);
    }
}
