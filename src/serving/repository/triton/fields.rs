//! Fields by the type they must have, and why one cannot be obeyed.

use crate::serving::repository::manifest::ManifestError;
use crate::serving::repository::pbtxt::{Field, Message, Place, SyntaxError, Value};

/// Why a `config.pbtxt` cannot be obeyed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TritonError {
    /// It is no text of protobuf's.
    #[error("config.pbtxt:{0}")]
    Syntax(#[from] SyntaxError),
    /// A field that Triton does not have either.
    #[error("config.pbtxt:{at}: '{field}' is no field of {within}")]
    Unknown {
        /// Where.
        at: Place,
        /// Its name.
        field: String,
        /// In which message.
        within: &'static str,
    },
    /// A field given twice that can be given once.
    #[error("config.pbtxt:{at}: '{field}' is given twice")]
    Twice {
        /// Where the second time.
        at: Place,
        /// Its name.
        field: String,
    },
    /// A value that the field cannot have.
    #[error("config.pbtxt:{at}: '{field}' is {found}, expected {expected}")]
    Value {
        /// Where.
        at: Place,
        /// Which field.
        field: String,
        /// What it says.
        found: String,
        /// What it may say.
        expected: String,
    },
    /// Something that Triton does and we do not.
    #[error("config.pbtxt:{at}: '{field}' is not offered: {instead}")]
    Refused {
        /// Where.
        at: Place,
        /// Which field.
        field: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// A value that cannot act, whatever server.
    #[error("config.pbtxt: {0}")]
    Manifest(ManifestError),
}

/// What a translation of a part may fail with.
pub type Read<T> = Result<T, TritonError>;

/// Refuses fields that are there twice; those named `repeated` may be.
///
/// # Errors
///
/// [`TritonError::Twice`].
pub fn once(message: &Message, repeated: &[&str]) -> Read<()> {
    for (index, field) in message.fields.iter().enumerate() {
        let mut before = message.fields.iter().take(index);
        let single = !repeated.contains(&&*field.name);
        if single && before.any(|earlier| earlier.name == field.name) {
            return Err(TritonError::Twice { at: field.at, field: field.name.clone() });
        }
    }
    Ok(())
}

/// The message in a field.
///
/// # Errors
///
/// [`TritonError::Value`].
pub fn message(field: &Field) -> Read<&Message> {
    if let Value::Message(message) = &field.value {
        Ok(message)
    } else {
        Err(value(field, "a message in braces"))
    }
}

/// The string in a field.
///
/// # Errors
///
/// [`TritonError::Value`].
pub fn text(field: &Field) -> Read<&str> {
    if let Value::Text(text) = &field.value {
        Ok(text)
    } else {
        Err(value(field, "a string in quotes"))
    }
}

/// The word in a field.
///
/// # Errors
///
/// [`TritonError::Value`].
pub fn word(field: &Field) -> Read<&str> {
    if let Value::Word(word) = &field.value {
        Ok(word)
    } else {
        Err(value(field, "a word without quotes"))
    }
}

/// The yes or no in a field.
///
/// # Errors
///
/// [`TritonError::Value`].
pub fn flag(field: &Field) -> Read<bool> {
    let found = match &field.value {
        Value::Word(word) => YES
            .contains(&&**word)
            .then_some(true)
            .or_else(|| NO.contains(&&**word).then_some(false)),
        Value::Integer(number @ 0..=1) => Some(*number == 1),
        Value::Integer(_) | Value::Float(_) | Value::Text(_) | Value::Message(_) => None,
    };
    found.ok_or_else(|| value(field, "true or false"))
}

/// The whole number in a field.
///
/// # Errors
///
/// [`TritonError::Value`], also for a number that the type cannot hold.
pub fn whole<T: TryFrom<i128>>(field: &Field) -> Read<T> {
    let found =
        if let Value::Integer(number) = &field.value { T::try_from(*number).ok() } else { None };
    found.ok_or_else(|| value(field, "a whole number that the field can hold"))
}

/// Refuses a field that Triton does not have either.
///
/// # Errors
///
/// [`TritonError::Unknown`], always.
pub fn unknown<T>(field: &Field, within: &'static str) -> Read<T> {
    Err(TritonError::Unknown { at: field.at, field: field.name.clone(), within })
}

/// Refuses something that Triton does and we do not.
///
/// # Errors
///
/// [`TritonError::Refused`], always.
pub fn refused<T>(field: &Field, instead: &'static str) -> Read<T> {
    Err(TritonError::Refused { at: field.at, field: field.name.clone(), instead })
}

/// Refuses a field unless it says what would be so without it.
///
/// # Errors
///
/// [`TritonError::Refused`].
pub fn only_if(neutral: bool, field: &Field, instead: &'static str) -> Read<()> {
    if neutral { Ok(()) } else { refused(field, instead) }
}

/// A value that the field cannot have.
pub fn value(field: &Field, expected: impl Into<String>) -> TritonError {
    let found = match &field.value {
        Value::Message(_) => "a message".to_owned(),
        Value::Text(text) => format!("{:?}", text.chars().take(SHOWN).collect::<String>()),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Word(word) => word.chars().take(SHOWN).collect(),
    };
    let (at, field, expected) = (field.at, field.name.clone(), expected.into());
    TritonError::Value { at, field, found, expected }
}

/// Key and value of a map's entry.
///
/// # Errors
///
/// [`TritonError`], if it is none.
pub fn entry(field: &Field) -> Read<(&str, Option<&Field>)> {
    let entry = message(field)?;
    once(entry, &[])?;
    let (mut key, mut found) = ("", None);
    for part in &entry.fields {
        match &*part.name {
            "key" => key = text(part)?,
            "value" => found = Some(part),
            _ => return unknown(part, "a map's entry"),
        }
    }
    Ok((key, found))
}

/// Words of protobuf's text format for yes and no.
const YES: [&str; 3] = ["true", "True", "t"];
const NO: [&str; 3] = ["false", "False", "f"];

/// Letters of a wrong value that a message shows.
const SHOWN: usize = 64;
