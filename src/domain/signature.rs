//! What a version accepts and answers, and the check of a request.

use std::num::NonZeroUsize;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::domain::failure::excerpt;
use crate::domain::misfit::SignatureError;
use crate::domain::spec::{Dim, TensorSpec};
use crate::domain::tensor::buffer::Tensor;
use crate::domain::tensor::classify::{self, Classes, ClassifyError};

/// What a version accepts and what it answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signature {
    /// Inputs, in the model's order; those with a default come last.
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

/// Tensors in the order of the signature's inputs, or of the outputs asked for; none where an optional
/// one is absent. Absent inputs at the end are left out.
pub type Tensors = SmallVec<[Option<Tensor>; 4]>;

/// Positions in a signature's outputs, in the order of the answer.
pub type Selection = SmallVec<[usize; 8]>;

impl Requested {
    /// All values of an output.
    pub fn all_of(name: &str) -> Self {
        Self { name: name.to_owned(), classes: None }
    }
}

impl Signature {
    /// Puts named tensors into the model's order, after checking names, types and shapes.
    ///
    /// # Errors
    ///
    /// [`SignatureError`], all but those about outputs.
    pub fn arrange(&self, given: &[NamedTensor]) -> Result<Tensors, SignatureError> {
        if given.len() > self.inputs.len() {
            return Err(self.wrong_inputs(given));
        }
        let mut arranged = Tensors::new();
        // Optional inputs that may yet be followed by one that is there: a model can have hundreds.
        let mut absent = 0;
        for spec in &self.inputs {
            let found = given.iter().find(|tensor| *tensor.name == *spec.name);
            match found {
                Some(found) => {
                    arranged.extend((0..absent).map(|_| None));
                    arranged.push(Some(found.tensor.clone()));
                    absent = 0;
                }
                None if spec.optional => absent += 1,
                None => return Err(self.wrong_inputs(given)),
            }
        }
        // As many found as given: so none is unknown or repeated.
        if arranged.iter().flatten().count() != given.len() {
            return Err(self.wrong_inputs(given));
        }
        for (spec, tensor) in self.inputs.iter().zip(&mut arranged) {
            let Some(tensor) = tensor else { continue };
            spec.admits(tensor)?;
            if let Some(inner) = spec.inward(tensor) {
                *tensor = inner;
            }
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
            let (Some(most), Some(tensor)) = (*classes, tensor) else { continue };
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
            let (Some(spec), Some(tensor)) = (self.outputs.get(position), tensor) else { continue };
            if let Some(outer) = spec.outward(tensor) {
                *tensor = outer;
            }
        }
    }

    /// Checks that every output asked for by name has a value.
    ///
    /// # Errors
    ///
    /// [`SignatureError::AbsentOutput`].
    pub fn all_present(&self, asked: &[usize], found: &Tensors) -> Result<(), SignatureError> {
        let mut pairs = asked.iter().zip(found);
        let absent = pairs.find_map(|(&position, tensor)| {
            self.outputs.get(position).filter(|_| tensor.is_none())
        });
        match absent {
            Some(spec) => Err(SignatureError::AbsentOutput { output: Arc::clone(&spec.name) }),
            None => Ok(()),
        }
    }

    /// Inputs that every request must have.
    pub fn required(&self) -> impl Iterator<Item = &TensorSpec> {
        self.inputs.iter().filter(|spec| !spec.optional)
    }

    /// Whether callers see every required input and every output with a first dimension of any size:
    /// rows of a batch.
    pub fn is_batched(&self) -> bool {
        let mut specs = self.required().chain(&self.outputs);
        specs.all(|spec| matches!(spec.outer().first(), Some(Dim::Any(_))))
    }

    /// Rows of checked inputs; 1 for a model without a batch dimension.
    pub fn rows(&self, inputs: &Tensors) -> u64 {
        let first = inputs.first().and_then(|tensor| tensor.as_ref()?.shape().first());
        first.filter(|_| self.is_batched()).map_or(1, |&rows| rows.unsigned_abs())
    }

    /// Checks that required inputs agree in their rows, and have no more than that.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Disagree`], [`SignatureError::Rows`].
    pub fn check_rows(&self, inputs: &Tensors, most: u64) -> Result<(), SignatureError> {
        let mut rows = None;
        for (spec, tensor) in self.given(inputs).filter(|(spec, _)| !spec.optional) {
            let found = tensor.shape().first().copied().unwrap_or(1);
            let expected = *rows.get_or_insert(found);
            if found != expected {
                let (input, symbol) = (Arc::clone(&spec.name), Arc::from("batch"));
                return Err(SignatureError::Disagree { input, symbol, expected, found });
            }
        }
        let found = rows.unwrap_or(1).unsigned_abs();
        if found > most { Err(SignatureError::Rows { found, most }) } else { Ok(()) }
    }

    fn given<'a>(
        &'a self,
        inputs: &'a Tensors,
    ) -> impl Iterator<Item = (&'a TensorSpec, &'a Tensor)> {
        self.inputs.iter().zip(inputs).filter_map(|(spec, tensor)| Some((spec, tensor.as_ref()?)))
    }

    fn agree(&self, tensors: &Tensors) -> Result<(), SignatureError> {
        let mut sizes: SmallVec<[(&Arc<str>, i64); 4]> = SmallVec::new();
        for (spec, tensor) in self.given(tensors) {
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
        let (fewest, most) = (self.required().count(), self.inputs.len());
        SignatureError::Inputs {
            expected: if fewest == most { most.to_string() } else { format!("{fewest} to {most}") },
            found: given.len(),
            wanted: names(self.inputs.iter().map(|spec| &*spec.name)),
            got: names(given.iter().map(|tensor| &*tensor.name)),
        }
    }
}

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
    use super::{NamedTensor, Requested, Signature, Tensors};
    use crate::domain::spec::{Dim, Outside, TensorSpec};
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
        let shapes: Vec<_> =
            tensors.iter().flatten().map(|tensor| tensor.shape().to_vec()).collect();
        assert_eq!(shapes, [[3, 2], [3, 1]]);
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
    fn an_optional_input_may_be_left_out_and_is_checked_where_it_is_not() {
        let mut signature = signature();
        signature.inputs.push(TensorSpec { optional: true, ..spec("bias", rows("batch", 1)) });
        let both = [given("right", [3, 1]), given("left", [3, 2])];
        let there = |tensors: Tensors| tensors.iter().map(Option::is_some).collect::<Vec<_>>();
        assert_eq!(there(signature.arrange(&both).unwrap()), [true, true]);
        signature
            .inputs
            .insert(0, TensorSpec { optional: true, ..spec("first", rows("batch", 1)) });
        assert_eq!(there(signature.arrange(&both).unwrap()), [false, true, true]);
        signature.inputs.remove(0);
        let all = [&both[..], &[given("bias", [3, 1])]].concat();
        assert_eq!(there(signature.arrange(&all).unwrap()), [true, true, true]);
        let wrong = [&both[..], &[given("bias", [4, 1])]].concat();
        assert!(signature.arrange(&wrong).unwrap_err().to_string().contains("'bias' has 4"));
        let unknown = [&both[..], &[given("x", [3, 1])]].concat();
        let text = signature.arrange(&unknown).unwrap_err().to_string();
        assert!(text.starts_with("expected 2 to 3 inputs but got 3"), "{text}");
        assert!(signature.is_batched());
    }

    #[test]
    fn an_input_without_a_declared_shape_takes_any() {
        let any = TensorSpec { any_shape: true, ..spec("x", Vec::new()) };
        let signature = Signature { inputs: vec![any], outputs: Vec::new() };
        assert!(signature.arrange(&[given("x", [3, 2])]).is_ok());
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
        assert_eq!(&tensors[0].as_ref().unwrap().shape()[..], [3]);
        signature.present(&[0_usize].into_iter().collect(), &mut tensors);
        assert_eq!(&tensors[0].as_ref().unwrap().shape()[..], [3, 1]);
        let wrong = signature.arrange(&[given("x", [1, 3])]).unwrap_err().to_string();
        assert_eq!(wrong, "input 'x' has shape [1,3], but the model expects [-1,1]");
    }

    #[test]
    fn rows_are_counted_and_must_agree() {
        let inputs = |left, right| -> Tensors {
            [given("left", [left, 2]), given("right", [right, 1])]
                .map(|named| Some(named.tensor))
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
        let mut outputs = Tensors::from_iter([Some(flags.clone()), Some(values)]);
        signature.classify(&requested, &mut outputs).unwrap();
        assert_eq!(outputs[0], Some(flags));
        assert_eq!(
            outputs[1].as_ref().unwrap().elements().collect::<Vec<_>>(),
            [b"0.750000:1:yes"]
        );
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
