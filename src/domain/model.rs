//! Names of models and versions, and the digest of their files.

use std::borrow::Borrow;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use crate::domain::failure::{Code, Failure, excerpt};

/// Name of a model: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`, which is also its folder's name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ModelName(Arc<str>);

/// Number of a version: a positive integer, written without leading zeros.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct VersionNumber(NonZeroU64);

/// Name of an alias: `[a-z][a-z0-9_-]{0,62}`. No alias can be read as a number.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Alias(Arc<str>);

/// Which version a caller asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum VersionChoice {
    /// The one with that number.
    Number(VersionNumber),
    /// The one that the alias points at.
    Alias(Alias),
}

/// A version of a model.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct VersionKey {
    /// The model.
    pub model: ModelName,
    /// The version's number.
    pub number: VersionNumber,
}

/// SHA-256 over a version's files, as `sha256sum` lists them.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Digest([u8; 32]);

/// Why a text is not the name it was given as.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// Not the name of a model.
    #[error(
        "model name {found:?} is not valid: expected 1 to 128 letters, digits, '.', '_' or '-', \
         not beginning with '.' or '-'"
    )]
    Model {
        /// The text, cut to what fits a message.
        found: String,
    },
    /// Neither a version nor an alias.
    #[error(
        "version {found:?} is not valid: expected a positive integer without leading zero, \
         or an alias of lowercase letters, digits, '_' or '-'"
    )]
    Version {
        /// The text, cut to what fits a message.
        found: String,
    },
}

impl Failure for NameError {
    fn code(&self) -> Code {
        Code::Name
    }
}

impl ModelName {
    /// Reads a name.
    ///
    /// # Errors
    ///
    /// [`NameError::Model`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if first && rest && text.len() <= 128 {
            return Ok(Self(text.into()));
        }
        Err(NameError::Model { found: excerpt(text) })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl VersionNumber {
    /// Reads a number; `None` for anything but a positive integer without leading zero.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        text.parse().ok().map(Self)
    }

    /// The number of that value; `None` for 0.
    pub fn new(value: u64) -> Option<Self> {
        NonZeroU64::new(value).map(Self)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl Alias {
    /// Reads an alias; `None` if the text cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
        let rest = bytes.all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte)
        });
        (first && rest && text.len() <= 63).then(|| Self(text.into()))
    }
}

impl VersionChoice {
    /// Reads a version or an alias; an empty text asks for none in particular.
    ///
    /// # Errors
    ///
    /// [`NameError::Version`].
    pub fn parse(text: &str) -> Result<Option<Self>, NameError> {
        if text.is_empty() {
            return Ok(None);
        }
        VersionNumber::parse(text)
            .map(Self::Number)
            .or_else(|| Alias::parse(text).map(Self::Alias))
            .map(Some)
            .ok_or_else(|| NameError::Version { found: excerpt(text) })
    }
}

impl Digest {
    /// Takes the 32 bytes of a SHA-256.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The first 12 hex digits: enough to tell versions apart in an answer.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

impl Borrow<str> for ModelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for VersionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for VersionChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Alias(alias) => f.write_str(&alias.0),
        }
    }
}

impl fmt::Display for VersionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.model, self.number)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::{Alias, ModelName, VersionChoice, VersionNumber};

    #[test]
    fn names_that_would_leave_the_repository_are_refused() {
        for bad in ["", ".", "..", ".hidden", "-x", "a/b", "a\\b", "a b", "ä", &"a".repeat(129)] {
            assert!(ModelName::parse(bad).is_err(), "{bad:?}");
        }
        for good in ["iris", "_x", "credit-risk.v2", &"a".repeat(128)] {
            assert_eq!(ModelName::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_version_is_a_number_or_an_alias_and_never_both() {
        assert_eq!(VersionChoice::parse("").unwrap(), None);
        let seven = VersionNumber::new(7).unwrap();
        assert_eq!(VersionChoice::parse("7").unwrap(), Some(VersionChoice::Number(seven)));
        let stable = Alias::parse("stable").unwrap();
        assert_eq!(VersionChoice::parse("stable").unwrap(), Some(VersionChoice::Alias(stable)));
        for bad in ["0", "01", "-1", "+1", "1.0", "Stable", "18446744073709551616", " 1"] {
            assert!(VersionChoice::parse(bad).is_err(), "{bad:?}");
        }
    }
}
