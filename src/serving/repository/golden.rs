//! Golden cases: requests that came with a version, and what it must answer.
//!
//! `golden.json` in the version's folder is an array of `{name, inputs, outputs, rtol?, atol?}`,
//! with tensors as the protocol writes them.

use std::fs;
use std::io;
use std::path::Path;

use crate::domain::json::{JsonError, Scanner};
use crate::domain::signature::NamedTensor;
use crate::domain::tensor::compare::Tolerance;
use crate::domain::tensor::object::{Object, ObjectError};

/// One request with its answer.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// What people call it.
    pub name: String,
    /// The request.
    pub inputs: Vec<NamedTensor>,
    /// The outputs that are checked; a version may have more.
    pub outputs: Vec<NamedTensor>,
    /// How far apart floating-point values may be.
    pub tolerance: Tolerance,
}

/// Why a file holds no golden cases.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// It cannot be read.
    #[error("golden.json cannot be read: {0}")]
    Read(io::Error),
    /// It holds something else.
    #[error("golden.json, case {case}: {source}")]
    Case {
        /// Which case, from 0.
        case: usize,
        /// What is wrong with it.
        source: ObjectError,
    },
}

/// Reads the cases of a version's folder; none if it has no such file.
///
/// # Errors
///
/// [`GoldenError`].
pub fn read(folder: &Path) -> Result<Vec<Case>, GoldenError> {
    let text = match fs::read(folder.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(GoldenError::Read(error)),
    };
    parse(&text)
}

fn parse(text: &[u8]) -> Result<Vec<Case>, GoldenError> {
    let mut cases = Vec::new();
    let mut scanner = Scanner::new(text);
    let read = scanner.array(|scanner| -> Result<(), ObjectError> {
        cases.push(case(scanner)?);
        Ok(())
    });
    let whole = read.and_then(|()| Ok(scanner.end()?));
    match whole {
        Ok(()) => Ok(cases),
        Err(source) => Err(GoldenError::Case { case: cases.len(), source }),
    }
}

fn case(scanner: &mut Scanner<'_>) -> Result<Case, ObjectError> {
    let mut case = Case::default();
    scanner.object(|key, scanner| -> Result<(), ObjectError> {
        match key {
            "name" => case.name = scanner.string()?.into_owned(),
            "inputs" => case.inputs = tensors(scanner)?,
            "outputs" => case.outputs = tensors(scanner)?,
            "rtol" => case.tolerance.rtol = tolerance(key, scanner)?,
            "atol" => case.tolerance.atol = tolerance(key, scanner)?,
            _ => drop(scanner.skip()?),
        }
        Ok(())
    })?;
    Ok(case)
}

fn tensors(scanner: &mut Scanner<'_>) -> Result<Vec<NamedTensor>, ObjectError> {
    let mut tensors = Vec::new();
    scanner.array(|scanner| -> Result<(), ObjectError> {
        let mut object = Object::default();
        scanner.object(|key, scanner| -> Result<(), ObjectError> {
            if !object.member(key, scanner)? {
                scanner.skip()?;
            }
            Ok(())
        })?;
        tensors.push(object.finish(|_| Ok::<_, ObjectError>(None))?);
        Ok(())
    })?;
    Ok(tensors)
}

fn tolerance(key: &str, scanner: &mut Scanner<'_>) -> Result<f64, ObjectError> {
    let text = scanner.number().map_err(|error: JsonError| ObjectError::from(error))?;
    let value: Option<f64> =
        text.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0);
    value.ok_or_else(|| ObjectError::member(key, text, "a number of 0 or more"))
}

const FILE: &str = "golden.json";

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn cases_are_read_in_any_order_of_members() {
        let text =
            br#"[{"outputs": [{"data": [2], "shape": [1], "datatype": "INT64", "name": "y"}],
            "inputs": [], "rtol": 0.1, "note": "x", "name": "one"}]"#;
        let cases = parse(text).unwrap();
        assert_eq!(cases[0].name, "one");
        assert_eq!(cases[0].outputs[0].name, "y");
        assert!((cases[0].tolerance.rtol - 0.1).abs() < 1e-12);
    }

    #[test]
    fn a_broken_case_is_named() {
        let text = br#"[{"name": "a"}, {"inputs": [{"name": "x", "shape": [1], "data": [1]}]}]"#;
        let error = parse(text).unwrap_err().to_string();
        assert_eq!(error, "golden.json, case 1: datatype of tensor 'x' is missing, expected there");
    }
}
