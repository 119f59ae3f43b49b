//! Fits what a model's owner says to what its file says.
//!
//! The file is the truth: what the owner says of it is checked, and never put in its place.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::compat::Compat;
use crate::domain::signature::Signature;
use crate::domain::spec::{Dim, Outside, TensorSpec};
use crate::domain::tensor::shape::Dimensions;
use crate::serving::registry::version::Terms;
use crate::serving::repository::declared::Declared;
use crate::serving::repository::manifest::DeclaredTensor;

/// Why owner and file do not agree.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FitError {
    /// A name that the file does not have.
    #[error("{place} '{name}' is said something of, but the model's are [{known}]")]
    Unknown {
        /// `input`, `output` or `dimension`.
        place: &'static str,
        /// The name.
        name: String,
        /// What there is.
        known: String,
    },
    /// Another type.
    #[error("{place} '{name}' is said to be {said}, but the model's file has {found}")]
    DataType {
        /// `input` or `output`.
        place: &'static str,
        /// Its name.
        name: String,
        /// What the owner says.
        said: String,
        /// What the file says.
        found: &'static str,
    },
    /// Another shape.
    #[error(
        "{place} '{name}' is said to have shape {said}, but the model's file has {found}{hint}"
    )]
    Shape {
        /// `input` or `output`.
        place: &'static str,
        /// Its name.
        name: String,
        /// What the owner says.
        said: Dimensions,
        /// What the file says.
        found: Dimensions,
        /// What to say instead; may be empty.
        hint: &'static str,
    },
    /// An input that every request needs.
    #[error("input '{name}' is said to be optional, but the model cannot run without it")]
    Optional {
        /// Its name.
        name: String,
    },
    /// A bound of rows for a model that has none.
    #[error(
        "max_rows (max_batch_size) is {most}, but the model does not support batching: not every \
         input and output begins with a dimension of any size; leave it out"
    )]
    NoRows {
        /// The bound.
        most: u64,
    },
    /// Names that are not as many as the values they name.
    #[error("{what} of '{name}' are {found}, but a row of it has {expected} values")]
    Count {
        /// `labels` or `features`.
        what: &'static str,
        /// The input or output.
        name: String,
        /// How many names there are.
        found: usize,
        /// How many are needed.
        expected: i64,
    },
}

/// What requests must be, as file and owner say together.
///
/// # Errors
///
/// [`FitError`].
pub fn fit(file: &Signature, declared: &Declared, compat: Compat) -> Result<Terms, FitError> {
    let manifest = &declared.manifest;
    let (mut signature, batched) = (file.clone(), file.is_batched());
    let silent = manifest.inputs.is_empty() && manifest.outputs.is_empty();
    let max_rows = match manifest.batching.max_rows {
        Some(most) if !batched => return Err(FitError::NoRows { most }),
        None if compat == Compat::Triton && batched && silent => Some(TRITONS_ROWS),
        said => said,
    };
    check_symbols(file, declared)?;
    for (place, specs, said) in [
        ("input", &mut signature.inputs, &manifest.inputs),
        ("output", &mut signature.outputs, &manifest.outputs),
    ] {
        for (name, said) in said {
            let spec = find(specs, place, name)?;
            outside(place, spec, said)?;
        }
        if compat == Compat::Triton {
            for spec in specs {
                as_triton_shows(spec, batched);
            }
        }
    }
    for (name, labels) in &declared.labels {
        let spec = find(&mut signature.outputs, "output", name)?;
        count("labels", spec, labels.len(), batched)?;
        spec.labels = Some(Arc::clone(labels));
    }
    for (name, features) in &manifest.features {
        let spec = find(&mut signature.inputs, "input", name)?;
        count("features", spec, features.len(), batched)?;
        spec.features = Some(features.iter().map(|name| name.as_str().into()).collect());
    }
    let file = manifest.file_name().into();
    let signature = Arc::new(signature);
    Ok(Terms { signature, max_rows, file, config: declared.sha256 })
}

fn find<'a>(
    specs: &'a mut [TensorSpec],
    place: &'static str,
    name: &str,
) -> Result<&'a mut TensorSpec, FitError> {
    let position = specs.iter().position(|spec| *spec.name == *name);
    let known = || listed(specs.iter().map(|spec| &*spec.name));
    let unknown = || FitError::Unknown { place, name: name.to_owned(), known: known() };
    let error = unknown();
    position.and_then(|position| specs.get_mut(position)).ok_or(error)
}

// A size for a symbol that no input has would never act.
fn check_symbols(file: &Signature, declared: &Declared) -> Result<(), FitError> {
    let dims = file.inputs.iter().flat_map(|spec| &spec.dims);
    let symbols: BTreeSet<&str> = dims
        .filter_map(|dim| match dim {
            Dim::Any(Some(symbol)) => Some(&**symbol),
            Dim::Any(None) | Dim::Fixed(_) => None,
        })
        .collect();
    let said = declared.manifest.warmup.dims.keys();
    match said.into_iter().find(|name| !symbols.contains(name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let (name, known) = (name.clone(), listed(symbols.into_iter()));
            Err(FitError::Unknown { place: "dimension", name, known })
        }
    }
}

fn outside(
    place: &'static str,
    spec: &mut TensorSpec,
    said: &DeclaredTensor,
) -> Result<(), FitError> {
    let name = || spec.name.to_string();
    if said.optional && !spec.optional {
        return Err(FitError::Optional { name: name() });
    }
    if let Some(said) = said.datatype.as_ref().filter(|said| **said != spec.dtype.name()) {
        let (said, found) = (said.clone(), spec.dtype.name());
        return Err(FitError::DataType { place, name: name(), said, found });
    }
    let Some(outer) = &said.shape else { return Ok(()) };
    let inner = said.model_shape.as_ref().unwrap_or(outer);
    // What is open in the file may be said to be of one size; what is fixed there is fixed.
    let fits = inner.len() == spec.dims.len()
        && inner.iter().zip(&spec.dims).all(|(&said, dim)| match dim {
            Dim::Fixed(size) => said == *size,
            Dim::Any(_) => true,
        });
    if !fits {
        let scalar = inner.len() == spec.dims.len() + 1 && inner.last() == Some(&1);
        let hint = if scalar && said.model_shape.is_none() { RESHAPE } else { "" };
        let (said, found) = (Dimensions(inner.clone()), Dimensions(file_shape(spec)));
        return Err(FitError::Shape { place, name: name(), said, found, hint });
    }
    let inside = said.model_shape.clone();
    if inside.is_some() || *outer != file_shape(spec) {
        spec.outside = Some(Outside { dims: outer.iter().map(|&dim| open(dim)).collect(), inside });
    }
    Ok(())
}

// Triton has no tensors without dimensions beside the batch: it shows one of size 1.
fn as_triton_shows(spec: &mut TensorSpec, batched: bool) {
    if spec.outside.is_some() || spec.dims.len() != usize::from(batched) {
        return;
    }
    let inside = Some(file_shape(spec));
    let mut dims = spec.dims.clone();
    dims.push(Dim::Fixed(1));
    spec.outside = Some(Outside { dims, inside });
}

// Names count the values of one row: the last dimension, unless that is the batch itself.
fn count(
    what: &'static str,
    spec: &TensorSpec,
    found: usize,
    batched: bool,
) -> Result<(), FitError> {
    match spec.dims.get(usize::from(batched)..).and_then(<[Dim]>::last) {
        Some(Dim::Fixed(expected)) if usize::try_from(*expected) != Ok(found) => {
            let (name, expected) = (spec.name.to_string(), *expected);
            Err(FitError::Count { what, name, found, expected })
        }
        _ => Ok(()),
    }
}

fn file_shape(spec: &TensorSpec) -> Vec<i64> {
    spec.dims.iter().map(Dim::wire).collect()
}

fn open(dim: i64) -> Dim {
    if dim < 0 { Dim::Any(None) } else { Dim::Fixed(dim) }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}

/// Rows that Triton gives a model of which nothing is said (`default-max-batch-size`).
const TRITONS_ROWS: u64 = 4;

const RESHAPE: &str = "; say so with model_shape, in config.pbtxt with `reshape { shape: [ ] }`";

#[cfg(test)]
mod tests {
    use super::fit;
    use crate::domain::compat::Compat;
    use crate::domain::signature::Signature;
    use crate::domain::spec::{Dim, TensorSpec};
    use crate::domain::tensor::dtype::DataType;
    use crate::serving::repository::declared::Declared;
    use crate::serving::repository::manifest;

    fn spec(name: &str, dims: Vec<Dim>) -> TensorSpec {
        TensorSpec::new(name, DataType::Fp32, dims)
    }

    fn batch() -> Dim {
        Dim::Any(Some("batch".into()))
    }

    fn file() -> Signature {
        Signature {
            inputs: vec![spec("x", vec![batch(), Dim::Fixed(4)]), spec("age", vec![batch()])],
            outputs: vec![spec("y", vec![batch(), Dim::Fixed(3)])],
        }
    }

    fn declared(text: &str) -> Declared {
        Declared { manifest: manifest::parse(text).unwrap(), ..Declared::default() }
    }

    fn refusal(text: &str) -> String {
        fit(&file(), &declared(text), Compat::None).unwrap_err().to_string()
    }

    #[test]
    fn what_the_owner_says_must_be_so_in_the_file() {
        for (text, problem) in [
            (
                "inputs.z.datatype = 'FP32'",
                "input 'z' is said something of, but the model's are ['x', 'age']",
            ),
            (
                "inputs.x.datatype = 'FP64'",
                "input 'x' is said to be FP64, but the model's file has FP32",
            ),
            (
                "inputs.x.shape = [-1, 5]",
                "input 'x' is said to have shape [-1,5], but the model's file has [-1,4]",
            ),
            ("inputs.x.shape = [-1, -1]", "shape [-1,-1], but the model's file has [-1,4]"),
            (
                "inputs.age.shape = [-1, 1]",
                "shape [-1,1], but the model's file has [-1]; say so with model_shape",
            ),
            (
                "inputs.x.optional = true",
                "input 'x' is said to be optional, but the model cannot run",
            ),
            (
                "outputs.x.datatype = 'FP32'",
                "output 'x' is said something of, but the model's are ['y']",
            ),
            ("features.x = ['a']", "features of 'x' are 1, but a row of it has 4 values"),
            (
                "warmup.dims.bach = 2",
                "dimension 'bach' is said something of, but the model's are ['batch']",
            ),
        ] {
            let found = refusal(text);
            assert!(found.contains(problem), "{text}: {found}");
        }
        let mut optional = spec("x", vec![Dim::Fixed(4)]);
        optional.optional = true;
        let optional = Signature { inputs: vec![optional], outputs: vec![] };
        fit(&optional, &declared("inputs.x.optional = true"), Compat::None).unwrap();
        let fixed = Signature { inputs: vec![spec("x", vec![Dim::Fixed(4)])], outputs: vec![] };
        let rows = fit(&fixed, &declared("batching.max_rows = 2"), Compat::None).unwrap_err();
        assert!(rows.to_string().contains("does not support batching"), "{rows}");
    }

    #[test]
    fn callers_see_the_shapes_that_the_owner_gives() {
        let text = "inputs.age = { shape = [-1, 1], model_shape = [-1] }\nfeatures.age = ['years']";
        let terms = fit(&file(), &declared(text), Compat::None).unwrap();
        assert_eq!(terms.signature.inputs[1].shape(), [-1, 1]);
        assert_eq!(terms.signature.inputs[0].shape(), [-1, 4]);
        assert_eq!(terms.signature.inputs[1].features.as_deref(), Some(&["years".into()][..]));
        assert_eq!(terms.max_rows, None);
        // What is open may be narrowed.
        let narrow = fit(&file(), &declared("inputs.age.shape = [2]"), Compat::None).unwrap();
        assert_eq!(narrow.signature.inputs[1].shape(), [2]);
    }

    #[test]
    fn as_triton_four_rows_and_one_value_are_what_nobody_said() {
        let terms = fit(&file(), &Declared::default(), Compat::Triton).unwrap();
        assert_eq!((terms.max_rows, terms.signature.inputs[1].shape()), (Some(4), vec![-1, 1]));
        let scalar =
            Signature { inputs: vec![spec("s", vec![])], outputs: vec![spec("v", vec![batch()])] };
        let terms = fit(&scalar, &Declared::default(), Compat::Triton).unwrap();
        assert_eq!((terms.max_rows, terms.signature.inputs[0].shape()), (None, vec![1]));
        assert_eq!(terms.signature.outputs[0].shape(), [-1]);
        let said = fit(&file(), &declared("batching.max_rows = 9"), Compat::Triton).unwrap();
        assert_eq!(said.max_rows, Some(9));
    }
}
