//! `tidegate infer`: tries a model with as little typing as it allows.

use std::fs;
use std::io::Read;

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::app::cli::answer;
use crate::app::cli::client::{Client, Http};
use crate::app::cli::print;
use crate::domain::tensor::shape::Dimensions;

/// Flags of `tidegate infer`.
#[derive(Clone, Debug, Args)]
pub struct InferFlags {
    /// The model.
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// JSON, `@FILE`, or `-` for standard input: a whole request of the protocol, or values by input
    /// (`{"x": [[1, 2]]}`), or, for a model with one input, its values (`[[1, 2]]`).
    #[arg(long, short, value_name = "JSON")]
    pub input: String,
    /// A version; else the one that serves.
    #[arg(long, value_name = "N")]
    pub version: Option<String>,
    /// Print the server's answer as JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the server is.
    #[command(flatten)]
    pub server: Http,
}

#[derive(Deserialize)]
struct Metadata {
    inputs: Vec<Input>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    datatype: String,
    shape: Vec<i64>,
}

/// Sends one inference and prints the outputs.
///
/// # Errors
///
/// An input that cannot be read, or what the server says.
pub fn infer(flags: &InferFlags) -> anyhow::Result<()> {
    let text = read(&flags.input)?;
    let client = flags.server.client()?;
    let version = flags.version.as_ref().map(|version| format!("/versions/{version}"));
    let path = format!("/v2/models/{}{}", flags.model, version.unwrap_or_default());
    let body = request(&client, &path, text)?;
    let reply = client.post(&format!("{path}/infer"), body)?.done()?;
    if flags.json {
        print::body(&reply.body);
        return Ok(());
    }
    print::out(&answer::text(&reply.body).context("the answer is not one of this server")?);
    Ok(())
}

fn read(input: &str) -> anyhow::Result<String> {
    if input == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
        return Ok(text);
    }
    match input.strip_prefix('@') {
        Some(file) => fs::read_to_string(file).with_context(|| format!("{file} cannot be read")),
        None => Ok(input.to_owned()),
    }
}

// A whole request goes out as it is written; anything shorter is filled in from the metadata.
fn request(client: &Client, path: &str, text: String) -> anyhow::Result<String> {
    let value: Value = serde_json::from_str(&text)
        .context("the input is not JSON (a file is named with @ before it)")?;
    let whole = value.get("inputs").and_then(Value::as_array);
    if whole.is_some_and(|inputs| inputs.iter().all(|input| input.get("datatype").is_some())) {
        return Ok(text);
    }
    let Metadata { inputs } = client.get(path)?.done()?.read()?;
    let inputs = fill_in(&inputs, value)?;
    Ok(json!({"inputs": inputs}).to_string())
}

fn fill_in(inputs: &[Input], value: Value) -> anyhow::Result<Vec<Value>> {
    let mut given = match (value, inputs) {
        (Value::Object(mut given), _) => match given.remove("inputs") {
            Some(Value::Object(inputs)) => inputs,
            Some(other) => {
                given.insert("inputs".to_owned(), other);
                given
            }
            None => given,
        },
        (values, [only]) => Map::from_iter([(only.name.clone(), values)]),
        (_, several) => bail!(
            "the model has {} inputs, expected an object with values for each: {}",
            several.len(),
            names(several)
        ),
    };
    let mut filled = Vec::new();
    for input in inputs {
        let values = given.remove(&input.name);
        let values = values.with_context(|| {
            format!("input '{}' is missing, expected values for {}", input.name, names(inputs))
        })?;
        filled.push(tensor(input, &values)?);
    }
    if let Some(unknown) = given.keys().next() {
        bail!("'{unknown}' is no input of the model, expected {}", names(inputs));
    }
    Ok(filled)
}

// The shape is how the values are nested; brackets around dimensions of 1 may be left out.
fn tensor(Input { name, datatype, shape }: &Input, values: &Value) -> anyhow::Result<Value> {
    let mut found = measure(values).with_context(|| format!("input '{name}'"))?;
    let missing = shape.len().saturating_sub(found.len());
    let (leading, inner) = (shape.iter().take(missing), shape.iter().skip(found.len()));
    if inner.into_iter().all(|&size| size == 1) {
        found.extend(std::iter::repeat_n(1, missing));
    } else if leading.into_iter().all(|&size| size == 1 || size == -1) {
        found.splice(0..0, std::iter::repeat_n(1, missing));
    }
    ensure!(
        found.len() == shape.len(),
        "input '{name}' has values of shape {}, expected {}",
        Dimensions(found),
        Dimensions(shape.clone())
    );
    let data = if values.is_array() { values.clone() } else { json!([values]) };
    Ok(json!({"name": name, "datatype": datatype, "shape": found, "data": data}))
}

fn measure(values: &Value) -> anyhow::Result<Vec<i64>> {
    let Some(values) = values.as_array() else { return Ok(Vec::new()) };
    let mut shape = vec![i64::try_from(values.len()).unwrap_or(i64::MAX)];
    let Some(first) = values.first() else { return Ok(shape) };
    let first = measure(first)?;
    for (index, value) in values.iter().enumerate().skip(1) {
        let (found, expected) = (Dimensions(measure(value)?), Dimensions(first.clone()));
        ensure!(
            found == expected,
            "element {index} has shape {found}, but element 0 has {expected}"
        );
    }
    shape.extend(first);
    Ok(shape)
}

fn names(inputs: &[Input]) -> String {
    let names: Vec<String> = inputs
        .iter()
        .map(|input| {
            format!("'{}' {}{}", input.name, input.datatype, Dimensions(input.shape.clone()))
        })
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::{Input, fill_in};
    use serde_json::{Value, json};

    fn input(name: &str, shape: &[i64]) -> Input {
        Input { name: name.to_owned(), datatype: "FP32".to_owned(), shape: shape.to_vec() }
    }

    fn shape(inputs: &[Input], value: Value) -> Result<Value, String> {
        let filled = fill_in(inputs, value).map_err(|error| format!("{error:#}"))?;
        Ok(filled[0]["shape"].clone())
    }

    #[test]
    fn the_shape_is_how_values_are_nested_and_one_row_needs_no_brackets() {
        let rows = [input("x", &[-1, 4])];
        assert_eq!(shape(&rows, json!([[1, 2, 3, 4], [5, 6, 7, 8]])), Ok(json!([2, 4])));
        assert_eq!(shape(&rows, json!([1, 2, 3, 4])), Ok(json!([1, 4])));
        assert_eq!(shape(&rows, json!({"x": [1, 2, 3, 4]})), Ok(json!([1, 4])));
        assert_eq!(shape(&rows, json!({"inputs": {"x": [[1, 2, 3, 4]]}})), Ok(json!([1, 4])));
        assert_eq!(shape(&[input("x", &[-1])], json!(7)), Ok(json!([1])));
        assert_eq!(shape(&[input("x", &[-1, 1])], json!("a")), Ok(json!([1, 1])));
        assert_eq!(shape(&[input("x", &[-1, 1])], json!(["a", "b"])), Ok(json!([2, 1])));
        assert_eq!(shape(&[input("inputs", &[-1])], json!({"inputs": [7]})), Ok(json!([1])));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let rows = [input("x", &[-1, 2])];
        for (value, expected) in [
            (json!([[1, 2], [3]]), "input 'x': element 1 has shape [1], but element 0 has [2]"),
            (json!([1, [2]]), "input 'x': element 1 has shape [1], but element 0 has []"),
            (json!([[[1]]]), "input 'x' has values of shape [1,1,1], expected [-1,2]"),
            (json!({"y": [1, 2]}), "input 'x' is missing, expected values for 'x' FP32[-1,2]"),
            (json!({"x": [1, 2], "y": 3}), "'y' is no input of the model"),
        ] {
            let error = shape(&rows, value).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        let two = [input("a", &[-1]), input("b", &[-1])];
        assert!(shape(&two, json!([1])).unwrap_err().contains("the model has 2 inputs"));
    }
}
