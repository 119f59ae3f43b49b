//! A named tensor as a JSON object, whose members may come in any order.

use smallvec::SmallVec;

use crate::domain::failure::excerpt;
use crate::domain::json::{JsonError, Scanner};
use crate::domain::signature::NamedTensor;
use crate::domain::tensor::buffer::{Tensor, TensorError};
use crate::domain::tensor::dtype::DataType;
use crate::domain::tensor::json::{self, DataError};
use crate::domain::tensor::shape::{Shape, ShapeError};

/// A tensor while its members are read.
#[derive(Debug, Default)]
pub struct Object<'a> {
    name: Option<String>,
    dtype: Option<DataType>,
    shape: Option<Shape>,
    data: Option<Data<'a>>,
}

#[derive(Debug)]
enum Data<'a> {
    /// Read already, because type and shape came first.
    Tensor(Tensor),
    /// To be read once type and shape are known, and where it began.
    Text(&'a [u8], usize),
}

/// Why an object is no tensor.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ObjectError {
    /// Broken JSON.
    #[error("not valid JSON: {0}")]
    Json(#[from] JsonError),
    /// A member that is not what it should be.
    #[error("{member} is {found}, expected {expected}")]
    Member {
        /// Where.
        member: String,
        /// What came.
        found: String,
        /// What should have come.
        expected: &'static str,
    },
    /// Values that do not make the tensor declared.
    #[error("tensor '{name}': {source}")]
    Data {
        /// Which tensor.
        name: String,
        /// Why.
        source: DataError,
    },
    /// A shape that is none.
    #[error("tensor '{name}': {source}")]
    Shape {
        /// Which tensor.
        name: String,
        /// Why.
        source: ShapeError,
    },
}

impl ObjectError {
    /// Says that a member is not what it should be; long texts are cut.
    pub fn member(member: &str, found: &str, expected: &'static str) -> Self {
        Self::Member { member: excerpt(member), found: excerpt(found), expected }
    }
}

impl<'a> Object<'a> {
    /// Reads a member, if it is one of a tensor's; false leaves it to the caller.
    ///
    /// # Errors
    ///
    /// [`ObjectError`].
    pub fn member(&mut self, key: &str, scanner: &mut Scanner<'a>) -> Result<bool, ObjectError> {
        // Of two values nobody knows which one was meant.
        let twice = match key {
            "name" => self.name.is_some(),
            "datatype" => self.dtype.is_some(),
            "shape" => self.shape.is_some(),
            "data" => self.data.is_some(),
            _ => return Ok(false),
        };
        if twice {
            return Err(ObjectError::member(key, "there twice", "once"));
        }
        match key {
            "name" => self.name = Some(scanner.string()?.into_owned()),
            "datatype" => self.dtype = Some(dtype(scanner)?),
            "shape" => self.shape = Some(self.read_shape(scanner)?),
            "data" => self.data = Some(self.read_data(scanner)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The tensor, once all members are read; `elsewhere` gives bytes that came outside the JSON.
    ///
    /// # Errors
    ///
    /// [`ObjectError`] for a member that is missing, or values that do not make the tensor.
    pub fn finish<E: From<ObjectError>>(
        mut self,
        elsewhere: impl FnOnce(&str) -> Result<Option<bytes::Bytes>, E>,
    ) -> Result<NamedTensor, E> {
        let missing = |what: &str| ObjectError::member(what, "missing", "there");
        let name = self.name.take().ok_or_else(|| missing("name of a tensor"))?;
        let dtype = self.dtype.ok_or_else(|| missing(&format!("datatype of tensor '{name}'")))?;
        let shape = self.shape.take();
        let shape = shape.ok_or_else(|| missing(&format!("shape of tensor '{name}'")))?;
        let tensor = match (self.data.take(), elsewhere(&name)?) {
            (None, Some(bytes)) => {
                Tensor::new(dtype, shape, bytes).map_err(|error: TensorError| error.into())
            }
            (Some(Data::Tensor(tensor)), None) => Ok(tensor),
            (Some(Data::Text(text, at)), None) => {
                json::read(&mut Scanner::new_at(text, at), dtype, shape)
            }
            (Some(_), Some(_)) => {
                let (found, expected) = ("given as data and as binary data", "one of them");
                return Err(
                    ObjectError::member(&format!("tensor '{name}'"), found, expected).into()
                );
            }
            (None, None) => return Err(missing(&format!("data of tensor '{name}'")).into()),
        };
        match tensor {
            Ok(tensor) => Ok(NamedTensor { name, tensor }),
            Err(source) => Err(ObjectError::Data { name, source }.into()),
        }
    }

    fn read_data(&self, scanner: &mut Scanner<'a>) -> Result<Data<'a>, ObjectError> {
        if let (Some(dtype), Some(shape)) = (self.dtype, &self.shape) {
            let read = json::read(scanner, dtype, shape.clone());
            return read
                .map(Data::Tensor)
                .map_err(|source| ObjectError::Data { name: self.name(), source });
        }
        scanner.peek()?;
        let at = scanner.offset();
        Ok(Data::Text(scanner.skip()?, at))
    }

    fn read_shape(&self, scanner: &mut Scanner<'_>) -> Result<Shape, ObjectError> {
        let mut dims: SmallVec<[i64; 8]> = SmallVec::new();
        scanner.array(|scanner| -> Result<(), ObjectError> {
            let text = scanner.number()?;
            let dim = text.parse();
            let wrong = |_| ObjectError::member("a dimension of a shape", text, "an integer");
            dims.push(dim.map_err(wrong)?);
            Ok(())
        })?;
        Shape::new(&dims).map_err(|source| ObjectError::Shape { name: self.name(), source })
    }

    fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| "(not yet named)".to_owned())
    }
}

fn dtype(scanner: &mut Scanner<'_>) -> Result<DataType, ObjectError> {
    let name = scanner.string()?;
    let expected = "one of BOOL, UINT8 to UINT64, INT8 to INT64, FP16, BF16, FP32, FP64, BYTES";
    DataType::from_name(&name)
        .ok_or_else(|| ObjectError::member("datatype", &format!("'{}'", excerpt(&name)), expected))
}
