//! Inputs and outputs: what they must be, and what callers see of them.

use crate::serving::repository::manifest::{DeclaredTensor, Labels};
use crate::serving::repository::pbtxt::{Field, Message};
use crate::serving::repository::triton::fields::{
    Read, TritonError, flag, message, once, only_if, text, unknown, value, whole, word,
};
use crate::serving::repository::triton::translation::Translation;

/// Reads an input.
///
/// # Errors
///
/// [`crate::serving::repository::triton::fields::TritonError`].
pub fn input(field: &Field, batched: bool, translation: &mut Translation) -> Read<()> {
    let (name, declared, _) = tensor(field, batched)?;
    let at = field.at;
    match translation.manifest.inputs.insert(name.clone(), declared) {
        Some(_) => Err(TritonError::Twice { at, field: name }),
        None => Ok(()),
    }
}

/// Reads an output.
///
/// # Errors
///
/// As [`input`].
pub fn output(field: &Field, batched: bool, translation: &mut Translation) -> Read<()> {
    let (name, declared, labels) = tensor(field, batched)?;
    if let Some(file) = labels {
        translation.manifest.labels.insert(name.clone(), Labels::File(file));
    }
    let at = field.at;
    match translation.manifest.outputs.insert(name.clone(), declared) {
        Some(_) => Err(TritonError::Twice { at, field: name }),
        None => Ok(()),
    }
}

fn tensor(field: &Field, batched: bool) -> Read<(String, DeclaredTensor, Option<String>)> {
    let inner = message(field)?;
    once(inner, &["dims"])?;
    let (mut name, mut labels, mut declared) = (String::new(), None, DeclaredTensor::default());
    let (mut dims, mut reshape) = (Vec::new(), None);
    for part in &inner.fields {
        match &*part.name {
            "name" => text(part)?.clone_into(&mut name),
            "data_type" => declared.datatype = Some(data_type(part)?.to_owned()),
            "dims" => dims.push(whole::<i64>(part)?),
            "reshape" => reshape = Some(shape(message(part)?)?),
            "label_filename" if field.name == "output" => {
                labels = Some(text(part)?.to_owned()).filter(|file| !file.is_empty());
            }
            "optional" if field.name == "input" => declared.optional = flag(part)?,
            "format" if field.name == "input" => {
                let instead = "values are taken as they come; transpose in the model";
                only_if(word(part)? == "FORMAT_NONE", part, instead)?;
            }
            "allow_ragged_batch" if field.name == "input" => {
                only_if(
                    !flag(part)?,
                    part,
                    "requests are not joined; pad, or send them one by one",
                )?;
            }
            "is_shape_tensor" | "is_non_linear_format_io" => {
                only_if(!flag(part)?, part, "it is for TensorRT engines, which are not served")?;
            }
            _ => {
                return unknown(part, if field.name == "input" { "an input" } else { "an output" });
            }
        }
    }
    if name.is_empty() {
        return Err(value(field, "one with a name"));
    }
    let whole = |dims: Vec<i64>| batched.then_some(-1).into_iter().chain(dims).collect();
    declared.model_shape = reshape.map(whole);
    let said = !dims.is_empty() || declared.model_shape.is_some();
    declared.shape = said.then(|| whole(dims));
    Ok((name, declared, labels))
}

fn shape(reshape: &Message) -> Read<Vec<i64>> {
    let size = |part: &Field| match &*part.name {
        "shape" => whole::<i64>(part),
        _ => unknown(part, "reshape"),
    };
    reshape.fields.iter().map(size).collect()
}

/// The protocol's name of a type.
///
/// # Errors
///
/// [`crate::serving::repository::triton::fields::TritonError::Value`].
pub fn data_type(field: &Field) -> Read<&'static str> {
    let found = word(field)?;
    let row = TYPES.iter().find(|(theirs, _)| *theirs == found);
    row.map(|(_, ours)| *ours).ok_or_else(|| value(field, "a type such as TYPE_FP32"))
}

const TYPES: &[(&str, &str)] = &[
    ("TYPE_BOOL", "BOOL"),
    ("TYPE_UINT8", "UINT8"),
    ("TYPE_UINT16", "UINT16"),
    ("TYPE_UINT32", "UINT32"),
    ("TYPE_UINT64", "UINT64"),
    ("TYPE_INT8", "INT8"),
    ("TYPE_INT16", "INT16"),
    ("TYPE_INT32", "INT32"),
    ("TYPE_INT64", "INT64"),
    ("TYPE_FP16", "FP16"),
    ("TYPE_BF16", "BF16"),
    ("TYPE_FP32", "FP32"),
    ("TYPE_FP64", "FP64"),
    ("TYPE_STRING", "BYTES"),
];
