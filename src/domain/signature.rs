//! What a version accepts and answers, and the check of a request.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::domain::failure::{Code, Failure, excerpt};
use crate::domain::tensor::buffer::Tensor;
use crate::domain::tensor::classify::{self, Classes, ClassifyError};
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
    /// Of an output: names of the positions in a row, for its classification.
    pub labels: Option<Arc<[Arc<str>]>>,
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

/// What a version accepts and what it answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signature {
    /// Inputs, in the model's order.
    pub inputs: Vec<TensorSpec>,
    /// Outputs, in the model's order.
    pub outputs: Vec<TensorSpec>,
}

/// An input as the caller named it.
#[derive(Clone, Debug)]
pub struct NamedTensor {
    /// The input's name.
    pub name: String,
    /// Its values.
    pub tensor: Tensor,
}

/// An output that the caller asks for.
#[derive(Clone, Debug)]
pub struct Requested {
    /// The output's name.
    pub name: String,
    /// How many of its best values are wanted, as text, in place of all values.
    pub classes: Option<NonZeroUsize>,
}

/// Tensors in the order of the signature's inputs or outputs.
pub type Tensors = SmallVec<[Tensor; 4]>;

/// Positions in a signature's outputs, in the order of the answer.
pub type Selection = SmallVec<[usize; 8]>;

/// Why a request does not fit a signature.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SignatureError {
    /// An input is missing, unknown, or there twice.
    #[error("expected {expected} inputs but got {found}: expected [{wanted}], got [{got}]")]
    Inputs {
        /// How many the model has.
        expected: usize,
        /// How many came.
        found: usize,
        /// Their names.
        wanted: String,
        /// The names that came.
        got: String,
    },
    /// Another element type.
    #[error("input '{input}' has data type {found}, but the model expects {expected}")]
    DataType {
        /// Which input.
        input: Arc<str>,
        /// What the model has.
        expected: DataType,
        /// What came.
        found: DataType,
    },
    /// Another shape.
    #[error("input '{input}' has shape {found}, but the model expects {expected}")]
    Shape {
        /// Which input.
        input: Arc<str>,
        /// What the model has; -1 is any size.
        expected: Dimensions,
        /// What came.
        found: Shape,
    },
    /// Two inputs disagree about a dimension that they share.
    #[error(
        "input '{input}' has {found} for dimension '{symbol}', but another input has {expected}"
    )]
    Disagree {
        /// The later one.
        input: Arc<str>,
        /// The shared dimension's name.
        symbol: Arc<str>,
        /// What came first.
        expected: i64,
        /// What came here.
        found: i64,
    },
    /// More rows than its owner allows.
    #[error("inference request batch-size must be <= {most}, but the request has {found} rows")]
    Rows {
        /// What came.
        found: u64,
        /// What is allowed.
        most: u64,
    },
    /// An output that the model does not have.
    #[error("output '{output}' is not an output of the model, expected one of [{known}]")]
    UnknownOutput {
        /// What was asked for.
        output: String,
        /// What there is.
        known: String,
    },
    /// An output whose values have no classes.
    #[error("output '{output}': {source}")]
    Classes {
        /// Which one.
        output: String,
        /// Why.
        source: ClassifyError,
    },
    /// An output that was asked for twice.
    #[error("output '{output}' is asked for twice")]
    RepeatedOutput {
        /// Which one.
        output: String,
    },
}

impl Failure for SignatureError {
    fn code(&self) -> Code {
        match self {
            Self::Inputs { .. }
            | Self::DataType { .. }
            | Self::Shape { .. }
            | Self::Disagree { .. }
            | Self::Rows { .. } => Code::Input,
            Self::UnknownOutput { .. } | Self::RepeatedOutput { .. } => Code::Output,
            Self::Classes { source, .. } => source.code(),
        }
    }
}

impl Requested {
    /// All values of an output.
    pub fn all_of(name: &str) -> Self {
        Self { name: name.to_owned(), classes: None }
    }
}

impl TensorSpec {
    /// What a model file says of a tensor, and nobody more.
    pub fn new(name: impl Into<Arc<str>>, dtype: DataType, dims: Vec<Dim>) -> Self {
        let name = name.into();
        Self { name, dtype, dims, labels: None, features: None, outside: None }
    }

    /// The dimensions that callers see.
    pub fn outer(&self) -> &[Dim] {
        self.outside.as_ref().map_or(&self.dims, |outside| &outside.dims)
    }

    /// The shape that callers see, as the protocol writes it: -1 for any size.
    pub fn shape(&self) -> Vec<i64> {
        self.outer().iter().map(Dim::wire).collect()
    }

    // The same values in the shape that the model has.
    fn inward(&self, tensor: &Tensor) -> Option<Tensor> {
        let outside = self.outside.as_ref()?;
        let inside = outside.inside.as_ref()?;
        reshaped(tensor, outside.dims.iter().map(Dim::wire), inside.iter().copied())
    }

    // And in the one that callers see.
    fn outward(&self, tensor: &Tensor) -> Option<Tensor> {
        let outside = self.outside.as_ref()?;
        let inside = outside.inside.as_ref()?;
        reshaped(tensor, inside.iter().copied(), outside.dims.iter().map(Dim::wire))
    }

    fn admits(&self, tensor: &Tensor) -> Result<(), SignatureError> {
        let input = || Arc::clone(&self.name);
        if tensor.dtype() != self.dtype {
            let (expected, found) = (self.dtype, tensor.dtype());
            return Err(SignatureError::DataType { input: input(), expected, found });
        }
        let dims = self.outer();
        let fits = tensor.shape().len() == dims.len()
            && dims.iter().zip(tensor.shape().iter()).all(|(dim, &size)| dim.admits(size));
        if fits {
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

impl Signature {
    /// Puts named tensors into the model's order, after checking names, types and shapes.
    ///
    /// # Errors
    ///
    /// [`SignatureError`], all but those about outputs.
    pub fn arrange(&self, given: &[NamedTensor]) -> Result<Tensors, SignatureError> {
        if given.len() != self.inputs.len() {
            return Err(self.wrong_inputs(given));
        }
        let mut arranged = Tensors::new();
        for spec in &self.inputs {
            // As many given as wanted, and each wanted one found: so none is unknown or repeated.
            let found = given.iter().find(|tensor| *tensor.name == *spec.name);
            let tensor = &found.ok_or_else(|| self.wrong_inputs(given))?.tensor;
            spec.admits(tensor)?;
            arranged.push(spec.inward(tensor).unwrap_or_else(|| tensor.clone()));
        }
        self.agree(&arranged)?;
        Ok(arranged)
    }

    /// Finds the outputs asked for; all of them where none is named.
    ///
    /// # Errors
    ///
    /// [`SignatureError::UnknownOutput`], [`SignatureError::RepeatedOutput`]; before the model runs,
    /// [`SignatureError::Classes`] for an output whose type has none.
    pub fn select(&self, requested: &[Requested]) -> Result<Selection, SignatureError> {
        if requested.is_empty() {
            return Ok((0..self.outputs.len()).collect());
        }
        let mut selection = Selection::new();
        for Requested { name, classes } in requested {
            let mut specs = self.outputs.iter().enumerate();
            let found = specs.find(|(_, spec)| *spec.name == **name);
            let (position, spec) = found.ok_or_else(|| SignatureError::UnknownOutput {
                output: excerpt(name),
                known: names(self.outputs.iter().map(|spec| &*spec.name)),
            })?;
            if classes.is_some() && !classify::is_offered(spec.dtype) {
                let source = ClassifyError::DataType { found: spec.dtype };
                return Err(SignatureError::Classes { output: name.clone(), source });
            }
            if selection.contains(&position) {
                return Err(SignatureError::RepeatedOutput { output: name.clone() });
            }
            selection.push(position);
        }
        Ok(selection)
    }

    /// Puts classes in the place of the outputs for which they were asked.
    ///
    /// `outputs` are those of [`Signature::select`] for the same request.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Classes`].
    pub fn classify(
        &self,
        requested: &[Requested],
        outputs: &mut Tensors,
    ) -> Result<(), SignatureError> {
        for (Requested { name, classes }, tensor) in requested.iter().zip(outputs) {
            let Some(most) = *classes else { continue };
            let spec = self.outputs.iter().find(|spec| *spec.name == **name);
            let labels = spec.and_then(|spec| spec.labels.as_deref()).unwrap_or_default();
            let classes = Classes { most, batched: self.is_batched(), labels };
            *tensor = classify::classify(tensor, classes)
                .map_err(|source| SignatureError::Classes { output: name.clone(), source })?;
        }
        Ok(())
    }

    /// Gives selected outputs the shapes that callers see.
    pub fn present(&self, selection: &Selection, outputs: &mut Tensors) {
        for (&position, tensor) in selection.iter().zip(outputs) {
            let spec = self.outputs.get(position);
            if let Some(outer) = spec.and_then(|spec| spec.outward(tensor)) {
                *tensor = outer;
            }
        }
    }

    /// Whether callers see every input and output with a first dimension of any size: rows of a batch.
    pub fn is_batched(&self) -> bool {
        let mut specs = self.inputs.iter().chain(&self.outputs);
        specs.all(|spec| matches!(spec.outer().first(), Some(Dim::Any(_))))
    }

    /// Rows of checked inputs; 1 for a model without a batch dimension.
    pub fn rows(&self, inputs: &Tensors) -> u64 {
        let first = inputs.first().and_then(|tensor| tensor.shape().first());
        first.filter(|_| self.is_batched()).map_or(1, |&rows| rows.unsigned_abs())
    }

    /// Checks that inputs agree in their rows, and have no more than that.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Disagree`], [`SignatureError::Rows`].
    pub fn check_rows(&self, inputs: &Tensors, most: u64) -> Result<(), SignatureError> {
        let size = |tensor: &Tensor| tensor.shape().first().copied().unwrap_or(1);
        let expected = inputs.first().map_or(1, size);
        for (spec, tensor) in self.inputs.iter().zip(inputs) {
            let found = size(tensor);
            if found != expected {
                let (input, symbol) = (Arc::clone(&spec.name), Arc::from("batch"));
                return Err(SignatureError::Disagree { input, symbol, expected, found });
            }
        }
        let found = expected.unsigned_abs();
        if found > most { Err(SignatureError::Rows { found, most }) } else { Ok(()) }
    }

    fn agree(&self, tensors: &Tensors) -> Result<(), SignatureError> {
        let mut sizes: SmallVec<[(&Arc<str>, i64); 4]> = SmallVec::new();
        for (spec, tensor) in self.inputs.iter().zip(tensors) {
            for (dim, &found) in spec.dims.iter().zip(tensor.shape().iter()) {
                let Dim::Any(Some(symbol)) = dim else { continue };
                match sizes.iter().find(|(known, _)| *known == symbol) {
                    Some(&(_, expected)) if expected != found => {
                        let (input, symbol) = (Arc::clone(&spec.name), Arc::clone(symbol));
                        return Err(SignatureError::Disagree { input, symbol, expected, found });
                    }
                    Some(_) => {}
                    None => sizes.push((symbol, found)),
                }
            }
        }
        Ok(())
    }

    fn wrong_inputs(&self, given: &[NamedTensor]) -> SignatureError {
        SignatureError::Inputs {
            expected: self.inputs.len(),
            found: given.len(),
            wanted: names(self.inputs.iter().map(|spec| &*spec.name)),
            got: names(given.iter().map(|tensor| &*tensor.name)),
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

// A request may name thousands of inputs; the message about them stays readable.
fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = names.collect();
    let shown: Vec<String> =
        all.iter().take(16).map(|name| format!("'{}'", excerpt(name))).collect();
    let rest = if all.len() > shown.len() { ", ..." } else { "" };
    format!("{}{rest}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::{Dim, NamedTensor, Outside, Requested, Signature, TensorSpec, Tensors};
    use crate::domain::tensor::buffer::Tensor;
    use crate::domain::tensor::dtype::DataType;
    use crate::domain::tensor::shape::Shape;
    use std::num::NonZeroUsize;

    fn spec(name: &str, dims: Vec<Dim>) -> TensorSpec {
        TensorSpec::new(name, DataType::Fp32, dims)
    }

    fn rows(symbol: &str, width: i64) -> Vec<Dim> {
        vec![Dim::Any(Some(symbol.into())), Dim::Fixed(width)]
    }

    fn signature() -> Signature {
        Signature {
            inputs: vec![spec("left", rows("batch", 2)), spec("right", rows("batch", 1))],
            outputs: vec![spec("sum", rows("batch", 1)), spec("product", rows("batch", 1))],
        }
    }

    fn given(name: &str, dims: [i64; 2]) -> NamedTensor {
        let shape = Shape::new(&dims).unwrap();
        let data = vec![0; shape.elements() * 4].into();
        let tensor = Tensor::new(DataType::Fp32, shape, data).unwrap();
        NamedTensor { name: name.into(), tensor }
    }

    fn refusal(given: &[NamedTensor]) -> String {
        signature().arrange(given).unwrap_err().to_string()
    }

    #[test]
    fn inputs_come_out_in_the_order_of_the_model() {
        let tensors =
            signature().arrange(&[given("right", [3, 1]), given("left", [3, 2])]).unwrap();
        assert_eq!(&tensors[0].shape()[..], [3, 2]);
        assert_eq!(&tensors[1].shape()[..], [3, 1]);
    }

    #[test]
    fn missing_unknown_and_repeated_inputs_are_named() {
        let text = refusal(&[given("left", [3, 2])]);
        assert_eq!(text, "expected 2 inputs but got 1: expected ['left', 'right'], got ['left']");
        assert!(
            refusal(&[given("left", [3, 2]), given("left", [3, 2])]).contains("'left', 'left'")
        );
        assert!(
            refusal(&[given("left", [3, 2]), given("x", [3, 2])]).contains("got ['left', 'x']")
        );
    }

    #[test]
    fn a_wrong_shape_says_what_was_found_and_expected() {
        let text = refusal(&[given("left", [3, 5]), given("right", [3, 1])]);
        assert_eq!(text, "input 'left' has shape [3,5], but the model expects [-1,2]");
    }

    #[test]
    fn callers_may_see_another_shape_of_the_same_values() {
        let mut signature = signature();
        let any = || Dim::Any(None);
        signature.inputs = vec![spec("x", vec![any()])];
        signature.outputs = vec![spec("y", vec![any()])];
        for spec in signature.inputs.iter_mut().chain(&mut signature.outputs) {
            let dims = vec![any(), Dim::Fixed(1)];
            spec.outside = Some(Outside { dims, inside: Some(vec![-1]) });
        }
        let mut tensors = signature.arrange(&[given("x", [3, 1])]).unwrap();
        assert_eq!(&tensors[0].shape()[..], [3]);
        signature.present(&[0_usize].into_iter().collect(), &mut tensors);
        assert_eq!(&tensors[0].shape()[..], [3, 1]);
        let wrong = signature.arrange(&[given("x", [1, 3])]).unwrap_err().to_string();
        assert_eq!(wrong, "input 'x' has shape [1,3], but the model expects [-1,1]");
    }

    #[test]
    fn rows_are_counted_and_must_agree() {
        let inputs = |left, right| -> Tensors {
            [given("left", [left, 2]), given("right", [right, 1])]
                .map(|named| named.tensor)
                .into_iter()
                .collect()
        };
        signature().check_rows(&inputs(4, 4), 4).unwrap();
        let text =
            |left, right| signature().check_rows(&inputs(left, right), 4).unwrap_err().to_string();
        assert_eq!(
            text(5, 5),
            "inference request batch-size must be <= 4, but the request has 5 rows"
        );
        assert!(text(2, 3).contains("input 'right' has 3 for dimension 'batch'"));
    }

    #[test]
    fn inputs_that_share_a_dimension_must_agree() {
        let text = refusal(&[given("left", [3, 2]), given("right", [4, 1])]);
        assert_eq!(text, "input 'right' has 4 for dimension 'batch', but another input has 3");
    }

    #[test]
    fn classes_stand_for_the_output_that_asked_for_them_with_its_labels() {
        let mut signature = signature();
        signature.outputs[1].labels = Some(["no".into(), "yes".into()].into());
        signature.outputs[0].dtype = DataType::Bool;
        let asking = |name: &str| Requested { name: name.into(), classes: Some(NonZeroUsize::MIN) };
        let requested = [Requested::all_of("sum"), asking("product")];
        assert_eq!(signature.select(&requested).unwrap()[..], [0, 1]);
        let shape = || Shape::new(&[1, 2]).unwrap();
        let flags = Tensor::new(DataType::Bool, shape(), vec![1, 0].into()).unwrap();
        let values: Vec<u8> =
            [0.25_f32, 0.75].iter().flat_map(|value| value.to_le_bytes()).collect();
        let values = Tensor::new(DataType::Fp32, shape(), values.into()).unwrap();
        let mut outputs = Tensors::from_iter([flags.clone(), values]);
        signature.classify(&requested, &mut outputs).unwrap();
        assert_eq!(outputs[0], flags);
        assert_eq!(outputs[1].elements().collect::<Vec<_>>(), [b"0.750000:1:yes"]);
        // Refused before the model runs.
        let text = signature.select(&[asking("sum")]).unwrap_err().to_string();
        assert!(text.starts_with("output 'sum': classification of BOOL is not offered"), "{text}");
    }

    #[test]
    fn outputs_are_selected_in_the_order_asked_and_only_once() {
        let ask = |names: &[&str]| -> Vec<Requested> {
            names.iter().map(|&name| Requested::all_of(name)).collect()
        };
        let signature = signature();
        assert_eq!(signature.select(&[]).unwrap().as_slice(), [0, 1]);
        assert_eq!(signature.select(&ask(&["product", "sum"])).unwrap().as_slice(), [1, 0]);
        assert!(signature.select(&ask(&["sum", "sum"])).unwrap_err().to_string().contains("twice"));
        let unknown = signature.select(&ask(&["mean"])).unwrap_err().to_string();
        assert!(unknown.contains("expected one of ['sum', 'product']"), "{unknown}");
    }
}
