//! The binary tensor extension: JSON first, then the tensors' bytes.
//!
//! The header `Inference-Header-Content-Length` says how many bytes of the body are JSON. Inputs
//! with the parameter `binary_data_size` follow in their order. Nothing is copied: each tensor is
//! a slice of the body.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::failure::{Code, Failure, excerpt};

/// Header that carries the length of the JSON part.
pub const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// A body, cut into its JSON and its tensors.
#[derive(Debug)]
pub struct Parts {
    /// The JSON part.
    pub json: Bytes,
    rest: Bytes,
    raw: bool,
}

/// Why a body cannot be cut.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BinaryError {
    /// The header is no length within the body.
    #[error(
        "header Inference-Header-Content-Length is {found:?}, expected a number from 0 to {body}, \
         the length of the body"
    )]
    Length {
        /// What came.
        found: String,
        /// Bytes of the body.
        body: usize,
    },
    /// A tensor announced more bytes than are left.
    #[error("input '{input}' announces {announced} bytes of binary data, but {left} are left")]
    TooShort {
        /// Which input.
        input: String,
        /// Its `binary_data_size`.
        announced: u64,
        /// Bytes left in the body.
        left: usize,
    },
    /// Bytes that no input announced.
    #[error("unexpected additional input data: {left} bytes follow the last input")]
    TooLong {
        /// How many.
        left: usize,
    },
}

impl Failure for BinaryError {
    fn code(&self) -> Code {
        Code::Malformed
    }
}

impl Parts {
    /// Cuts a body as its headers say; without the extension's header all of it is JSON.
    ///
    /// # Errors
    ///
    /// [`BinaryError::Length`].
    pub fn cut(headers: &HeaderMap, mut body: Bytes) -> Result<Self, BinaryError> {
        let mut values = headers.get_all(JSON_LENGTH).iter();
        let Some(value) = values.next() else {
            return Ok(Self { json: body, rest: Bytes::new(), raw: false });
        };
        // Of two lengths, a proxy before us may have taken the other one.
        let once = values.next().is_none();
        if let Some(length) = length(value).filter(|&length| once && length <= body.len()) {
            let json = body.split_to(length);
            Ok(Self { json, rest: body, raw: length == 0 })
        } else {
            let found = excerpt(&String::from_utf8_lossy(value.as_bytes()));
            let found = if once { found } else { "there twice".to_owned() };
            Err(BinaryError::Length { found, body: body.len() })
        }
    }

    /// Whether there is no JSON at all: then the whole body is one tensor.
    pub fn is_raw(&self) -> bool {
        self.raw
    }

    /// The whole body of a raw request.
    pub fn into_raw(self) -> Bytes {
        self.rest
    }

    /// The bytes of the next tensor.
    ///
    /// # Errors
    ///
    /// [`BinaryError::TooShort`].
    pub fn take(&mut self, input: &str, announced: u64) -> Result<Bytes, BinaryError> {
        if let Some(size) = usize::try_from(announced).ok().filter(|&size| size <= self.rest.len())
        {
            Ok(self.rest.split_to(size))
        } else {
            let (input, left) = (input.to_owned(), self.rest.len());
            Err(BinaryError::TooShort { input, announced, left })
        }
    }

    /// Checks that every byte was some input's.
    ///
    /// # Errors
    ///
    /// [`BinaryError::TooLong`].
    pub fn end(&self) -> Result<(), BinaryError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(BinaryError::TooLong { left }),
        }
    }
}

fn length(value: &HeaderValue) -> Option<usize> {
    let text = value.to_str().ok()?.trim();
    // `parse` alone would take a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
