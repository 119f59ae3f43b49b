//! Tensor values as JSON: straight from text into wire form, and back.
//!
//! A `data` array may be flat or nested; only the order and number of its values count, as the
//! protocol says. Numbers go from decimal to their own type in one rounding, never through a wider
//! one, and come back as the shortest text that reads as the same number.

use std::borrow::Cow;

use bytes::Bytes;

use crate::domain::failure::excerpt;
use crate::domain::json::{JsonError, Next, Scanner};
use crate::domain::tensor::buffer::{LENGTH, Tensor, TensorError};
use crate::domain::tensor::dtype::DataType;
use crate::domain::tensor::half::{BF16, FP16, Half};
use crate::domain::tensor::shape::Shape;

/// Why JSON is not the tensor it claims to be, or a tensor cannot be JSON.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DataError {
    /// The text is broken.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A value does not fit the type.
    #[error("value {found} at byte {at} is no {dtype}")]
    Value {
        /// The value, cut to what fits a message.
        found: String,
        /// Offset in the text.
        at: usize,
        /// The declared type.
        dtype: DataType,
    },
    /// Another number of values.
    #[error("shape {shape} takes {expected} values, but data has {found}")]
    Count {
        /// The declared shape.
        shape: Shape,
        /// Values that the shape asks for.
        expected: usize,
        /// Values that came.
        found: usize,
    },
    /// An output string that is not text.
    #[error("element {index} is not UTF-8, ask for this output as binary data")]
    NotText {
        /// Which element, from 0.
        index: usize,
    },
    /// The values do not make a tensor.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// Reads the values of a `data` array.
///
/// Allocates once, and never more than the text can hold, whatever the shape claims.
///
/// # Errors
///
/// [`DataError`], with the place of the first value that does not fit.
pub fn read(scanner: &mut Scanner<'_>, dtype: DataType, shape: Shape) -> Result<Tensor, DataError> {
    // A value takes two bytes of text at least, itself and a comma.
    let most = scanner.left() / 2 + 1;
    let mut values = Values::with_room(dtype, shape.elements().min(most));
    if scanner.peek()? != Next::Array {
        return Err(scanner.error("expected an array").into());
    }
    values.read(scanner)?;
    values.finish(shape)
}

/// Writes a tensor's values as a flat array, numbers in their shortest form.
///
/// NaN and the infinities are written as the literals that Python reads.
///
/// # Errors
///
/// [`DataError::NotText`].
pub fn write(tensor: &Tensor, out: &mut Vec<u8>) -> Result<(), DataError> {
    match tensor.dtype() {
        DataType::Bool => numbers(tensor, out, |[value]: [u8; 1], out| {
            out.extend_from_slice(if value == 0 { b"false" } else { b"true" });
        }),
        DataType::Uint8 => numbers(tensor, out, |bytes, out| int(u8::from_le_bytes(bytes), out)),
        DataType::Uint16 => numbers(tensor, out, |bytes, out| int(u16::from_le_bytes(bytes), out)),
        DataType::Uint32 => numbers(tensor, out, |bytes, out| int(u32::from_le_bytes(bytes), out)),
        DataType::Uint64 => numbers(tensor, out, |bytes, out| int(u64::from_le_bytes(bytes), out)),
        DataType::Int8 => numbers(tensor, out, |bytes, out| int(i8::from_le_bytes(bytes), out)),
        DataType::Int16 => numbers(tensor, out, |bytes, out| int(i16::from_le_bytes(bytes), out)),
        DataType::Int32 => numbers(tensor, out, |bytes, out| int(i32::from_le_bytes(bytes), out)),
        DataType::Int64 => numbers(tensor, out, |bytes, out| int(i64::from_le_bytes(bytes), out)),
        DataType::Fp32 => numbers(tensor, out, |bytes, out| real(f32::from_le_bytes(bytes), out)),
        DataType::Fp64 => numbers(tensor, out, |bytes, out| real(f64::from_le_bytes(bytes), out)),
        DataType::Bytes => return strings(tensor, out),
        // As the FP32 of the same value: short, and exact also for who reads it as that.
        DataType::Fp16 => numbers(tensor, out, |bytes, out| half_real(FP16, bytes, out)),
        DataType::Bf16 => numbers(tensor, out, |bytes, out| half_real(BF16, bytes, out)),
    }
    Ok(())
}

/// The values of one tensor while they are read, from one array or from several places.
#[derive(Debug)]
pub struct Values {
    dtype: DataType,
    out: Vec<u8>,
    count: usize,
}

impl Values {
    /// No values yet, and room for so many.
    pub fn with_room(dtype: DataType, elements: usize) -> Self {
        let room = elements * dtype.size().unwrap_or(LENGTH);
        Self { dtype, out: Vec::with_capacity(room), count: 0 }
    }

    /// Reads one value, or an array of them, nested or flat.
    ///
    /// # Errors
    ///
    /// [`DataError`], with the place of the first value that does not fit.
    pub fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DataError> {
        match self.dtype {
            DataType::Bool => self.each(scanner, bool_value),
            DataType::Uint8 => self.each(scanner, integer(u8::to_le_bytes)),
            DataType::Uint16 => self.each(scanner, integer(u16::to_le_bytes)),
            DataType::Uint32 => self.each(scanner, integer(u32::to_le_bytes)),
            DataType::Uint64 => self.each(scanner, integer(u64::to_le_bytes)),
            DataType::Int8 => self.each(scanner, integer(i8::to_le_bytes)),
            DataType::Int16 => self.each(scanner, integer(i16::to_le_bytes)),
            DataType::Int32 => self.each(scanner, integer(i32::to_le_bytes)),
            DataType::Int64 => self.each(scanner, integer(i64::to_le_bytes)),
            DataType::Fp32 => self.each(scanner, float(f32::is_finite, f32::to_le_bytes)),
            DataType::Fp64 => self.each(scanner, float(f64::is_finite, f64::to_le_bytes)),
            DataType::Bytes => self.strings(scanner),
            DataType::Fp16 => self.each(scanner, half(FP16)),
            DataType::Bf16 => self.each(scanner, half(BF16)),
        }
    }

    /// Adds an element of a BYTES tensor.
    ///
    /// # Errors
    ///
    /// [`DataError::Json`], if it has 4 GiB or more.
    pub fn push_bytes(&mut self, bytes: &[u8], scanner: &Scanner<'_>) -> Result<(), DataError> {
        let length = u32::try_from(bytes.len()).map_err(|_| scanner.error("string of 4 GiB"))?;
        self.out.extend_from_slice(&length.to_le_bytes());
        self.out.extend_from_slice(bytes);
        self.count += 1;
        Ok(())
    }

    /// The tensor of that shape.
    ///
    /// # Errors
    ///
    /// [`DataError::Count`], [`DataError::Tensor`].
    pub fn finish(self, shape: Shape) -> Result<Tensor, DataError> {
        let (expected, found) = (shape.elements(), self.count);
        if found != expected {
            return Err(DataError::Count { shape, expected, found });
        }
        Ok(Tensor::new(self.dtype, shape, Bytes::from(self.out))?)
    }

    fn each<const N: usize>(
        &mut self,
        scanner: &mut Scanner<'_>,
        value: impl Fn(&mut Scanner<'_>) -> Result<Option<[u8; N]>, JsonError> + Copy,
    ) -> Result<(), DataError> {
        if scanner.peek()? != Next::Array {
            return self.one(scanner, value);
        }
        scanner.array(|scanner| {
            if scanner.peek()? == Next::Array {
                return self.each(scanner, value);
            }
            self.one(scanner, value)
        })
    }

    #[inline]
    fn one<const N: usize>(
        &mut self,
        scanner: &mut Scanner<'_>,
        value: impl Fn(&mut Scanner<'_>) -> Result<Option<[u8; N]>, JsonError> + Copy,
    ) -> Result<(), DataError> {
        let mut again = scanner.clone();
        let Some(bytes) = value(scanner)? else {
            return Err(misfit(&mut again, self.dtype)?);
        };
        self.out.extend_from_slice(&bytes);
        self.count += 1;
        Ok(())
    }

    fn strings(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DataError> {
        match scanner.peek()? {
            Next::Array => scanner.array(|scanner| self.strings(scanner)),
            Next::String => {
                let text = scanner.string()?;
                self.push_bytes(text.as_bytes(), scanner)
            }
            Next::Object | Next::Number | Next::Bool | Next::Null => {
                Err(misfit(scanner, DataType::Bytes)?)
            }
        }
    }
}

fn misfit(scanner: &mut Scanner<'_>, dtype: DataType) -> Result<DataError, JsonError> {
    let at = scanner.offset();
    let text = String::from_utf8_lossy(scanner.skip()?);
    Ok(DataError::Value { found: excerpt(&text), at, dtype })
}

// The readers give `None` for a value that is there but does not fit the type.

fn bool_value(scanner: &mut Scanner<'_>) -> Result<Option<[u8; 1]>, JsonError> {
    match scanner.peek()? {
        Next::Bool => Ok(Some([u8::from(scanner.bool()?)])),
        Next::Number => Ok(match scanner.number()? {
            "0" => Some([0]),
            "1" => Some([1]),
            _ => None,
        }),
        Next::Object | Next::Array | Next::String | Next::Null => Ok(None),
    }
}

fn integer<T: std::str::FromStr, const N: usize>(
    bytes: impl Fn(T) -> [u8; N] + Copy,
) -> impl Fn(&mut Scanner<'_>) -> Result<Option<[u8; N]>, JsonError> + Copy {
    move |scanner| match scanner.peek()? {
        Next::Number => Ok(scanner.number()?.parse().ok().map(bytes)),
        Next::Object | Next::Array | Next::String | Next::Bool | Next::Null => Ok(None),
    }
}

fn float<T: fast_float2::FastFloat, const N: usize>(
    is_finite: impl Fn(T) -> bool + Copy,
    bytes: impl Fn(T) -> [u8; N] + Copy,
) -> impl Fn(&mut Scanner<'_>) -> Result<Option<[u8; N]>, JsonError> + Copy {
    move |scanner| {
        let Some(text) = float_text(scanner)? else { return Ok(None) };
        // A finite number that the type can only hold as infinity is an error, not an infinity.
        let value = fast_float2::parse::<T, _>(&*text).ok();
        Ok(value.filter(|&value| is_finite(value) || is_literal(&text)).map(bytes))
    }
}

fn half(half: Half) -> impl Fn(&mut Scanner<'_>) -> Result<Option<[u8; 2]>, JsonError> + Copy {
    move |scanner| {
        let text = float_text(scanner)?;
        Ok(text.and_then(|text| half.read(&text)).map(u16::to_le_bytes))
    }
}

// A number as it is written; the three literals may be strings too.
fn float_text<'a>(scanner: &mut Scanner<'a>) -> Result<Option<Cow<'a, str>>, JsonError> {
    match scanner.peek()? {
        Next::Number => Ok(Some(Cow::Borrowed(scanner.number()?))),
        Next::String => Ok(Some(scanner.string()?).filter(|text| is_literal(text))),
        Next::Object | Next::Array | Next::Bool | Next::Null => Ok(None),
    }
}

fn is_literal(text: &str) -> bool {
    matches!(text, "NaN" | "Infinity" | "-Infinity")
}

/// Writes the value at an index, in row-major order; [`write()`] is quicker for all of them.
///
/// # Errors
///
/// [`DataError::NotText`].
pub fn write_value(tensor: &Tensor, index: usize, out: &mut Vec<u8>) -> Result<(), DataError> {
    match tensor.dtype() {
        DataType::Bool => {
            let [value] = tensor.value(index);
            out.extend_from_slice(if value == 0 { b"false" } else { b"true" });
        }
        DataType::Uint8 => int(u8::from_le_bytes(tensor.value(index)), out),
        DataType::Uint16 => int(u16::from_le_bytes(tensor.value(index)), out),
        DataType::Uint32 => int(u32::from_le_bytes(tensor.value(index)), out),
        DataType::Uint64 => int(u64::from_le_bytes(tensor.value(index)), out),
        DataType::Int8 => int(i8::from_le_bytes(tensor.value(index)), out),
        DataType::Int16 => int(i16::from_le_bytes(tensor.value(index)), out),
        DataType::Int32 => int(i32::from_le_bytes(tensor.value(index)), out),
        DataType::Int64 => int(i64::from_le_bytes(tensor.value(index)), out),
        DataType::Fp32 => real(f32::from_le_bytes(tensor.value(index)), out),
        DataType::Fp64 => real(f64::from_le_bytes(tensor.value(index)), out),
        DataType::Bytes => {
            let text = std::str::from_utf8(tensor.element(index));
            string(text.map_err(|_| DataError::NotText { index })?, out);
        }
        DataType::Fp16 => half_real(FP16, tensor.value(index), out),
        DataType::Bf16 => half_real(BF16, tensor.value(index), out),
    }
    Ok(())
}

fn numbers<const N: usize>(
    tensor: &Tensor,
    out: &mut Vec<u8>,
    write: impl Fn([u8; N], &mut Vec<u8>),
) {
    out.push(b'[');
    let (values, _) = tensor.data().as_chunks::<N>();
    for (index, &value) in values.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(value, out);
    }
    out.push(b']');
}

fn strings(tensor: &Tensor, out: &mut Vec<u8>) -> Result<(), DataError> {
    out.push(b'[');
    for (index, element) in tensor.elements().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let text = std::str::from_utf8(element).map_err(|_| DataError::NotText { index })?;
        string(text, out);
    }
    out.push(b']');
    Ok(())
}

/// Writes a string with the escapes that JSON asks for.
pub fn string(text: &str, out: &mut Vec<u8>) {
    // Writing text into memory cannot fail; the result is the signature of the general case.
    serde_json::to_writer(out, text).ok();
}

fn int(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn half_real(half: Half, bytes: [u8; 2], out: &mut Vec<u8>) {
    real(half.widen(u16::from_le_bytes(bytes)), out);
}

fn real(value: impl zmij::Float, out: &mut Vec<u8>) {
    let mut buffer = zmij::Buffer::new();
    out.extend_from_slice(match buffer.format(value) {
        "inf" => b"Infinity",
        "-inf" => b"-Infinity",
        text => text.as_bytes(),
    });
}

#[cfg(test)]
mod tests {
    use super::{read, write};
    use crate::domain::json::Scanner;
    use crate::domain::tensor::buffer::Tensor;
    use crate::domain::tensor::dtype::DataType;
    use crate::domain::tensor::shape::Shape;
    use proptest::prelude::*;

    fn parse(text: &str, dtype: DataType, dims: &[i64]) -> Result<Tensor, String> {
        let shape = Shape::new(dims).unwrap();
        read(&mut Scanner::new(text.as_bytes()), dtype, shape).map_err(|error| error.to_string())
    }

    fn text(tensor: &Tensor) -> String {
        let mut out = Vec::new();
        write(tensor, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn flat_and_nested_data_are_the_same_tensor() {
        let flat = parse("[1, 2.5, 3, -4]", DataType::Fp32, &[2, 2]).unwrap();
        assert_eq!(parse("[[1, 2.5], [3, -4]]", DataType::Fp32, &[2, 2]).unwrap(), flat);
        assert_eq!(text(&flat), "[1.0,2.5,3.0,-4.0]");
    }

    #[test]
    fn a_wrong_count_and_a_wrong_value_say_what_was_found() {
        let count = parse("[1, 2, 3]", DataType::Fp32, &[2, 2]).unwrap_err();
        assert_eq!(count, "shape [2,2] takes 4 values, but data has 3");
        for (data, dtype, expected) in [
            ("[1, 300]", DataType::Uint8, "value 300 at byte 4 is no UINT8"),
            ("[1.5]", DataType::Int32, "value 1.5 at byte 1 is no INT32"),
            ("[\"1\"]", DataType::Fp32, "value \"1\" at byte 1 is no FP32"),
            ("[1e39]", DataType::Fp32, "value 1e39 at byte 1 is no FP32"),
            ("[null]", DataType::Bool, "value null at byte 1 is no BOOL"),
            ("[65520]", DataType::Fp16, "value 65520 at byte 1 is no FP16"),
            ("[true]", DataType::Bf16, "value true at byte 1 is no BF16"),
            ("[{\"a\": 1}]", DataType::Fp64, "value {\"a\": 1} at byte 1 is no FP64"),
        ] {
            assert_eq!(parse(data, dtype, &[1]).unwrap_err(), expected);
        }
    }

    #[test]
    fn infinities_and_nan_go_both_ways_as_literals_and_as_strings() {
        for data in ["[NaN,Infinity,-Infinity]", "[\"NaN\",\"Infinity\",\"-Infinity\"]"] {
            for dtype in [DataType::Fp64, DataType::Fp32, DataType::Fp16, DataType::Bf16] {
                let tensor = parse(data, dtype, &[3]).unwrap();
                assert_eq!(text(&tensor), "[NaN,Infinity,-Infinity]");
            }
        }
    }

    #[test]
    fn floats_of_two_bytes_are_written_as_the_fp32_of_their_value() {
        let tensor = parse("[0.1, -2, 65504]", DataType::Fp16, &[3]).unwrap();
        assert_eq!(tensor.data()[..], [0x66, 0x2E, 0x00, 0xC0, 0xFF, 0x7B]);
        assert_eq!(text(&tensor), "[0.099975586,-2.0,65504.0]");
        let tensor = parse("[0.1, 3e38]", DataType::Bf16, &[2]).unwrap();
        assert_eq!(text(&tensor), "[0.100097656,3.0040553e+38]");
    }

    #[test]
    fn a_shape_that_claims_terabytes_allocates_nothing() {
        let error = parse("[1]", DataType::Fp64, &[1 << 40]).unwrap_err();
        assert!(error.contains("takes 1099511627776 values, but data has 1"), "{error}");
    }

    proptest! {
        #[test]
        fn every_float_comes_back_bit_for_bit(values in prop::collection::vec(any::<f32>(), 0..9)) {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let dims = [i64::try_from(values.len()).unwrap()];
            let shape = Shape::new(&dims).unwrap();
            let tensor = Tensor::new(DataType::Fp32, shape, bytes.into()).unwrap();
            let back = parse(&text(&tensor), DataType::Fp32, &dims).unwrap();
            for (value, back) in values.iter().zip(back.data().chunks(4)) {
                let back = f32::from_le_bytes(back.try_into().unwrap());
                prop_assert!(value.to_bits() == back.to_bits() || value.is_nan() && back.is_nan());
            }
        }

        // What Python's client does: it writes the float32 as a double, and reads one back.
        #[test]
        fn a_client_that_computes_in_doubles_keeps_every_bit(value in any::<f32>()) {
            prop_assume!(value.is_finite());
            let sent = format!("[{}]", serde_json::to_string(&f64::from(value)).unwrap());
            let tensor = parse(&sent, DataType::Fp32, &[1]).unwrap();
            prop_assert_eq!(&tensor.data()[..], value.to_le_bytes());
            let received: Vec<f64> = serde_json::from_str(&text(&tensor)).unwrap();
            #[expect(clippy::cast_possible_truncation, reason = "numpy does this")]
            let narrowed = received[0] as f32;
            prop_assert_eq!(narrowed.to_bits(), value.to_bits());
        }

        #[test]
        fn integers_come_back(values in prop::collection::vec(any::<i64>(), 1..9)) {
            let written = serde_json::to_string(&values).unwrap();
            let dims = [i64::try_from(values.len()).unwrap()];
            prop_assert_eq!(text(&parse(&written, DataType::Int64, &dims).unwrap()), written);
        }

        #[test]
        fn strings_come_back(values in prop::collection::vec(any::<String>(), 1..5)) {
            let written = serde_json::to_string(&values).unwrap();
            let dims = [i64::try_from(values.len()).unwrap()];
            prop_assert_eq!(text(&parse(&written, DataType::Bytes, &dims).unwrap()), written);
        }
    }
}
