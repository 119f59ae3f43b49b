//! `model_warmup`: requests that a version is warmed with.

use std::collections::BTreeMap;

use crate::serving::repository::manifest::{Sample, SampleData, SampleInput, is_plain};
use crate::serving::repository::pbtxt::Field;
use crate::serving::repository::triton::fields::{
    Read, entry, flag, message, once, text, unknown, value, whole,
};
use crate::serving::repository::triton::tensors;
use crate::serving::repository::triton::translation::Translation;

/// Reads one sample.
///
/// # Errors
///
/// [`crate::serving::repository::triton::fields::TritonError`].
pub fn sample(field: &Field, batched: bool, translation: &mut Translation) -> Read<()> {
    let inner = message(field)?;
    once(inner, &["inputs"])?;
    let unnamed = format!("sample {}", translation.manifest.warmup.samples.len() + 1);
    // Once where nothing is said.
    let count = Some(1);
    let rows = batched.then_some(1);
    let mut sample = Sample { name: unnamed, rows, count, inputs: BTreeMap::default() };
    for part in &inner.fields {
        match &*part.name {
            "name" => text(part)?.clone_into(&mut sample.name),
            "count" => sample.count = Some(whole::<u32>(part)?.max(1)),
            "batch_size" => match whole::<u32>(part)?.max(1) {
                size if batched => sample.rows = Some(size),
                1 => {}
                _ => return Err(value(part, "1: max_batch_size is 0")),
            },
            "inputs" => {
                let (name, input) = sample_input(part)?;
                sample.inputs.insert(name, input);
            }
            _ => return unknown(part, "model_warmup"),
        }
    }
    translation.manifest.warmup.samples.push(sample);
    Ok(())
}

fn sample_input(field: &Field) -> Read<(String, SampleInput)> {
    let (name, found) = entry(field)?;
    let found = found.ok_or_else(|| value(field, "an entry with key and value"))?;
    let inner = message(found)?;
    once(inner, &["dims"])?;
    let (mut datatype, mut shape, mut data) = (None, Vec::new(), None);
    for part in &inner.fields {
        match &*part.name {
            "data_type" => datatype = Some(tensors::data_type(part)?),
            "dims" => shape.push(whole::<i64>(part)?),
            "zero_data" if flag(part)? => data = Some(SampleData::Zeros),
            "random_data" if flag(part)? => data = Some(SampleData::Random),
            "zero_data" | "random_data" => {}
            "input_data_file" => {
                let file = text(part)?;
                if !is_plain(file) {
                    return Err(value(part, "the name of a file in the model's folder `warmup`"));
                }
                data = Some(SampleData::File(format!("warmup/{file}")));
            }
            _ => return unknown(part, "an input of model_warmup"),
        }
    }
    let (Some(datatype), Some(data)) = (datatype, data) else {
        return Err(value(found, "a data_type, and zero_data, random_data or input_data_file"));
    };
    let datatype = datatype.to_owned();
    Ok((name.to_owned(), SampleInput { datatype, shape, data }))
}
