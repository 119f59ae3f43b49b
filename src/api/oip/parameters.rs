//! Parameters of a request: some act here, the caller's own are echoed.
//!
//! The caller's own stand in the answer beside ours. Names that the protocol gives a meaning are
//! not echoed, nor are names that begin like ours: nobody but the server writes those.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::api::oip::pb::inference as pb;
use crate::api::oip::pb::inference::infer_parameter::ParameterChoice as Choice;
use crate::domain::failure::{Code, Failure, excerpt};
use crate::domain::json::{JsonError, Next, Scanner};
use crate::domain::tensor::json;

/// Parameters of a request as JSON.
#[derive(Debug, Default)]
pub struct FromJson {
    /// What the caller allows.
    pub timeout: Option<Duration>,
    /// Whether outputs are binary unless they say for themselves.
    pub all_binary: bool,
    /// The caller's own, as members of an object that goes on: `,"a":1,"b":"x"`.
    pub echo: Vec<u8>,
}

/// Parameters of a request as protobuf.
#[derive(Debug, Default)]
pub struct FromProtobuf {
    /// What the caller allows.
    pub timeout: Option<Duration>,
    /// The caller's own.
    pub echo: BTreeMap<String, pb::InferParameter>,
}

/// Why parameters are refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParameterError {
    /// Broken JSON.
    #[error("request body is not valid JSON: {0}")]
    Json(#[from] JsonError),
    /// One that cannot act here.
    #[error("parameter '{name}' is not supported: {reason}")]
    Unsupported {
        /// Which one.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// One that is there twice: nobody knows which one was meant.
    #[error("{name} is there twice, expected once")]
    Twice {
        /// Which one.
        name: String,
    },
    /// Too many.
    #[error("request has more than {MOST} parameters, expected at most {MOST}")]
    Count,
    /// Too long.
    #[error("names and values of parameters have more than {MOST_BYTES} bytes together")]
    Bytes,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    Timeout,
    Priority,
    Sequence,
    BinaryOutput,
    /// Has a meaning elsewhere, or is ours: neither acts nor is echoed.
    Silent,
    /// The caller's own.
    Own,
}

/// Counts what a request sends.
#[derive(Default)]
struct Tally {
    count: usize,
    bytes: usize,
}

impl Failure for ParameterError {
    fn code(&self) -> Code {
        match self {
            Self::Json(_) | Self::Twice { .. } => Code::Malformed,
            Self::Unsupported { .. } | Self::Count | Self::Bytes => Code::Parameter,
        }
    }
}

impl ParameterError {
    /// A parameter that cannot act here, and why.
    pub fn unsupported(name: &str, reason: &'static str) -> Self {
        Self::Unsupported { name: excerpt(name), reason }
    }

    /// A parameter of a tensor in memory that caller and server would share.
    pub fn shared_memory(name: &str) -> Self {
        Self::unsupported(name, "client shared memory is not offered")
    }
}

/// How many classes are asked for (`classification`), if the number can be one.
///
/// # Errors
///
/// [`ParameterError::Unsupported`].
pub fn classes(found: Option<u64>) -> Result<NonZeroUsize, ParameterError> {
    let classes = found.and_then(|found| NonZeroUsize::new(usize::try_from(found).ok()?));
    let reason = "expected a whole number of 1 or more";
    classes.ok_or_else(|| ParameterError::unsupported("classification", reason))
}

impl FromJson {
    /// Reads the object of parameters.
    ///
    /// # Errors
    ///
    /// [`ParameterError`].
    pub fn read(scanner: &mut Scanner<'_>) -> Result<Self, ParameterError> {
        let (mut read, mut tally) = (Self::default(), Tally::default());
        // At most as many as the tally lets pass.
        let mut seen: Vec<String> = Vec::new();
        scanner.object(|name, scanner| {
            let role = tally.name(name)?;
            if seen.iter().any(|seen| seen == name) {
                return Err(ParameterError::Twice { name: excerpt(name) });
            }
            seen.push(name.to_owned());
            if scanner.peek()? == Next::Null {
                scanner.skip()?;
                return Ok(());
            }
            match role {
                Role::Timeout => read.timeout = allowed(whole(name, scanner.skip()?, MICROS)?),
                Role::Priority => drop(whole(name, scanner.skip()?, PRIORITY)?),
                Role::BinaryOutput => read.all_binary = scanner.bool()?,
                // Clients send `false` and 0 by default; only a real sequence is refused.
                Role::Sequence => {
                    if !matches!(scanner.skip()?, b"false" | b"0" | b"\"\"") {
                        return Err(ParameterError::unsupported(name, NO_SEQUENCES));
                    }
                }
                Role::Silent => drop(scanner.skip()?),
                Role::Own => {
                    if matches!(scanner.peek()?, Next::Object | Next::Array) {
                        return Err(ParameterError::unsupported(name, SCALAR));
                    }
                    let value = scanner.skip()?;
                    tally.value(value.len())?;
                    read.echo.push(b',');
                    json::string(name, &mut read.echo);
                    read.echo.push(b':');
                    read.echo.extend_from_slice(value);
                }
            }
            Ok(())
        })?;
        Ok(read)
    }
}

impl FromProtobuf {
    /// Takes the caller's own parameters out of all of them, after reading those that act.
    ///
    /// # Errors
    ///
    /// [`ParameterError`], but for JSON.
    pub fn read(
        mut parameters: BTreeMap<String, pb::InferParameter>,
    ) -> Result<Self, ParameterError> {
        let (mut timeout, mut tally) = (None, Tally::default());
        for (name, parameter) in &parameters {
            let role = tally.name(name)?;
            let unsupported = |reason| Err(ParameterError::unsupported(name, reason));
            match (role, &parameter.parameter_choice) {
                (Role::Timeout, choice) => match whole_of(choice.as_ref()) {
                    Some(us) => timeout = allowed(us),
                    None => return unsupported(MICROS),
                },
                (Role::Priority, choice) if whole_of(choice.as_ref()).is_none() => {
                    return unsupported(PRIORITY);
                }
                (Role::Sequence, choice) if !is_unset(choice.as_ref()) => {
                    return unsupported(NO_SEQUENCES);
                }
                (Role::Own, Some(Choice::StringParam(text))) => tally.value(text.len())?,
                (Role::Own, _) => tally.value(size_of::<u64>())?,
                (Role::Priority | Role::Sequence | Role::BinaryOutput | Role::Silent, _) => {}
            }
        }
        parameters.retain(|name, _| role(name) == Ok(Role::Own));
        Ok(Self { timeout, echo: parameters })
    }
}

impl Tally {
    fn name(&mut self, name: &str) -> Result<Role, ParameterError> {
        self.count += 1;
        if self.count > MOST {
            return Err(ParameterError::Count);
        }
        self.value(name.len())?;
        role(name)
    }

    fn value(&mut self, bytes: usize) -> Result<(), ParameterError> {
        self.bytes += bytes;
        if self.bytes > MOST_BYTES { Err(ParameterError::Bytes) } else { Ok(()) }
    }
}

fn role(name: &str) -> Result<Role, ParameterError> {
    Ok(match name {
        "timeout" => Role::Timeout,
        "priority" => Role::Priority,
        "sequence_id" | "sequence_start" | "sequence_end" => Role::Sequence,
        "binary_data_output" => Role::BinaryOutput,
        // Every request has one answer, and that one is marked as the last.
        "headers" | "triton_enable_empty_final_response" => Role::Silent,
        _ if name.starts_with("tidegate_") => Role::Silent,
        _ if name.starts_with("triton_") => {
            let reason = "names that begin with triton_ are the protocol's own";
            return Err(ParameterError::unsupported(name, reason));
        }
        _ => Role::Own,
    })
}

/// Reads a whole number, 0 or more.
fn whole(name: &str, text: &[u8], reason: &'static str) -> Result<u64, ParameterError> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| ParameterError::unsupported(name, reason))
}

fn whole_of(choice: Option<&Choice>) -> Option<u64> {
    match choice? {
        Choice::Int64Param(value) => u64::try_from(*value).ok(),
        Choice::Uint64Param(value) => Some(*value),
        Choice::BoolParam(_) | Choice::StringParam(_) | Choice::DoubleParam(_) => None,
    }
}

// Clients send `false`, 0 and no text by default; only a real sequence is refused.
fn is_unset(choice: Option<&Choice>) -> bool {
    match choice {
        Some(Choice::BoolParam(set)) => !set,
        Some(Choice::StringParam(id)) => id.is_empty(),
        _ => whole_of(choice) == Some(0),
    }
}

/// How many classes a message asks for.
///
/// # Errors
///
/// [`ParameterError::Unsupported`].
pub fn classes_of(parameter: &pb::InferParameter) -> Result<NonZeroUsize, ParameterError> {
    classes(whole_of(parameter.parameter_choice.as_ref()))
}

// 0 asks for no limit of its own, as Triton reads it.
fn allowed(us: u64) -> Option<Duration> {
    (us > 0).then(|| Duration::from_micros(us))
}

/// Parameters of one request; nobody has more to say beside its tensors.
const MOST: usize = 64;

/// Bytes of their names and values.
const MOST_BYTES: usize = 16 << 10;

const MICROS: &str = "expected microseconds as a whole number";
const PRIORITY: &str = "expected a whole number";
const NO_SEQUENCES: &str = "sequences are not offered";
const SCALAR: &str = "expected a string, a number or a bool";

#[cfg(test)]
mod tests {
    use super::{Choice, FromJson, FromProtobuf, MOST, MOST_BYTES};
    use crate::api::oip::pb::inference::InferParameter;
    use crate::domain::json::Scanner;
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn json(text: &str) -> Result<FromJson, String> {
        FromJson::read(&mut Scanner::new(text.as_bytes())).map_err(|error| error.to_string())
    }

    fn protobuf<const N: usize>(parameters: [(&str, Choice); N]) -> Result<FromProtobuf, String> {
        let parameters = parameters.map(|(name, choice)| {
            (name.to_owned(), InferParameter { parameter_choice: Some(choice) })
        });
        FromProtobuf::read(BTreeMap::from(parameters)).map_err(|error| error.to_string())
    }

    #[test]
    fn only_the_callers_own_parameters_are_echoed() {
        let read = json(
            r#"{"trace":"é\n","timeout":1500,"n":-1.5e3,"priority":3,"on":true,"nothing":null,
                "tidegate_version":"9","sequence_id":0,"binary_data_output":true,"headers":"h",
                "triton_enable_empty_final_response":true}"#,
        )
        .unwrap();
        assert_eq!(String::from_utf8(read.echo).unwrap(), r#","trace":"é\n","n":-1.5e3,"on":true"#);
        assert_eq!((read.timeout, read.all_binary), (Some(Duration::from_micros(1500)), true));
        let read = protobuf([
            ("trace", Choice::StringParam("x".into())),
            ("timeout", Choice::Uint64Param(0)),
            ("tidegate_version", Choice::StringParam("9".into())),
            ("weight", Choice::DoubleParam(0.5)),
            ("priority", Choice::Int64Param(1)),
        ])
        .unwrap();
        assert_eq!(read.echo.keys().collect::<Vec<_>>(), ["trace", "weight"]);
        assert_eq!(read.timeout, None);
    }

    #[test]
    fn what_cannot_act_is_refused_by_name() {
        for (text, says) in [
            (r#"{"triton_x":1}"#, "'triton_x' is not supported: names that begin with triton_"),
            (r#"{"priority":1.5}"#, "'priority' is not supported: expected a whole number"),
            (r#"{"priority":"high"}"#, "'priority'"),
            (r#"{"timeout":-1}"#, "'timeout' is not supported: expected microseconds"),
            (r#"{"sequence_start":true}"#, "sequences are not offered"),
            (r#"{"list":[1]}"#, "'list' is not supported: expected a string, a number or a bool"),
            (r#"{"broken":}"#, "at byte 10"),
        ] {
            let error = json(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        for (name, choice) in [
            ("triton_x", Choice::BoolParam(true)),
            ("priority", Choice::StringParam("high".into())),
            ("timeout", Choice::Int64Param(-1)),
            ("sequence_id", Choice::StringParam("a".into())),
        ] {
            assert!(protobuf([(name, choice)]).unwrap_err().contains(name), "{name}");
        }
    }

    #[test]
    fn there_is_a_bound_on_how_many_and_how_long_they_are() {
        let members = |count: usize| {
            let members: Vec<String> = (0..count).map(|name| format!("\"p{name}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(json(&members(MOST)).is_ok());
        assert!(json(&members(MOST + 1)).unwrap_err().contains("more than 64 parameters"));
        let long = "x".repeat(MOST_BYTES);
        assert!(json(&format!("{{\"a\":\"{long}\"}}")).unwrap_err().contains("16384 bytes"));
        let error = protobuf([("a", Choice::StringParam(long))]).unwrap_err();
        assert!(error.contains("16384 bytes"), "{error}");
    }
}
