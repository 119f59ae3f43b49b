//! The JSON of an inference, read by us and by `serde_json`.

#![expect(clippy::indexing_slicing, reason = "a test fails where it indexes wrongly")]

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;
use tidegate::api::oip::binary::Parts;
use tidegate::api::oip::infer_json;
use tidegate::domain::json::Scanner;
use tidegate::domain::signature::NamedTensor;
use tidegate::domain::tensor::dtype::DataType;
use tidegate::domain::tensor::half::{BF16, FP16, Half};
use tidegate::domain::tensor::json;

/// Any bytes are either what `serde_json` reads too, with the same values, or refused.
pub fn body(data: &[u8]) -> String {
    let theirs = serde_json::from_slice::<Value>(data);
    agree_on_grammar(data, theirs.as_ref());
    let parts = Parts::cut(&HeaderMap::new(), Bytes::copy_from_slice(data)).expect("no header");
    match infer_json::read(parts) {
        Ok(body) => {
            for (place, input) in body.inputs.iter().enumerate() {
                // A value takes two bytes of text, and eight of memory at most.
                assert!(input.tensor.data().len() <= data.len() * 4, "{input:?}");
                comes_back(input);
                if let Ok(whole) = &theirs {
                    agree_on_values(&whole["inputs"][place], input);
                }
            }
            let types: Vec<&str> = body.inputs.iter().map(|i| i.tensor.dtype().name()).collect();
            format!("{types:?} {} {:?}", body.requested.len(), body.timeout.is_some())
        }
        Err(error) => error.to_string(),
    }
}

fn agree_on_grammar(data: &[u8], theirs: Result<&Value, &serde_json::Error>) {
    let mut scanner = Scanner::new(data);
    let ours = scanner.skip().map(drop).and_then(|()| scanner.end());
    match (&ours, theirs) {
        (Ok(()), Ok(_)) | (Err(_), Err(_)) => {}
        (Ok(()), Err(error)) => {
            // We read what Python writes, and numbers that no double holds; both on purpose.
            let literal = ["NaN", "Infinity"].iter().any(|word| contains(data, word.as_bytes()));
            let known = literal || error.to_string().contains("number out of range");
            assert!(known, "we read what serde_json does not: {error}");
        }
        (Err(error), Ok(_)) => {
            let known = error.what.contains("deeper than 32");
            assert!(known, "we do not read what serde_json does: {error}");
        }
    }
}

fn contains(data: &[u8], word: &[u8]) -> bool {
    data.windows(word.len()).any(|part| part == word)
}

fn comes_back(input: &NamedTensor) {
    let tensor = &input.tensor;
    let mut text = Vec::new();
    json::write(tensor, &mut text).expect("what came as JSON has a form in JSON");
    let shape = tensor.shape().clone();
    let back = json::read(&mut Scanner::new(&text), tensor.dtype(), shape).expect("our own JSON");
    let text = String::from_utf8_lossy(&text);
    // A NaN is a NaN, whatever its bits.
    assert!(back == *tensor || text.contains("NaN"), "{tensor:?} became {text}");
}

fn agree_on_values(theirs: &Value, input: &NamedTensor) {
    assert_eq!(theirs["name"], input.name, "a name");
    let mut flat = Vec::new();
    flatten(&theirs["data"], &mut flat);
    let (data, dtype) = (input.tensor.data(), input.tensor.dtype());
    if dtype == DataType::Bytes {
        let texts: Vec<&[u8]> =
            flat.iter().map(|text| text.as_str().unwrap_or("?").as_bytes()).collect();
        assert!(input.tensor.elements().eq(texts), "{theirs}");
        return;
    }
    let width = dtype.size().expect("fixed");
    assert_eq!(flat.len(), data.len() / width, "{theirs}");
    for (value, bytes) in flat.into_iter().zip(data.chunks(width)) {
        assert!(same(value, dtype, bytes), "{value} became {bytes:?} as {dtype}");
    }
}

fn flatten<'a>(value: &'a Value, out: &mut Vec<&'a Value>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| flatten(value, out)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            out.push(value);
        }
    }
}

fn same(value: &Value, dtype: DataType, bytes: &[u8]) -> bool {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(wide);
    let spare = 64 - 8 * bytes.len();
    match dtype {
        DataType::Bool => value.as_bool().map(u64::from).or_else(|| value.as_u64()) == Some(bits),
        DataType::Uint8 | DataType::Uint16 | DataType::Uint32 | DataType::Uint64 => {
            value.as_u64() == Some(bits)
        }
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            // `-0` is a float to serde_json.
            let expected = value.as_i64().or_else(|| (value.as_f64() == Some(0.0)).then_some(0));
            expected == Some((bits << spare).cast_signed() >> spare)
        }
        DataType::Fp32 => {
            let bytes = bytes.try_into().expect("four bytes");
            near(value, f64::from(f32::from_le_bytes(bytes)), f64::from(f32::EPSILON))
        }
        DataType::Fp64 => near(value, f64::from_bits(bits), f64::EPSILON),
        DataType::Fp16 => nearest(value, FP16, bytes),
        DataType::Bf16 => nearest(value, BF16, bytes),
        DataType::Bytes => false,
    }
}

// No other half is nearer. A value halfway between two may be either: serde_json rounded it before.
fn nearest(value: &Value, half: Half, bytes: &[u8]) -> bool {
    let bits = u16::from_le_bytes(bytes.try_into().expect("two bytes"));
    let Some(value) = value.as_f64() else { return !half.widen(bits).is_finite() };
    let far = |bits| (f64::from(half.widen(bits)) - value).abs();
    let others = [bits.wrapping_add(1), bits.wrapping_sub(1)].into_iter();
    let mut others = others.filter(|&other| half.widen(other).is_finite());
    half.widen(bits).is_finite() && others.all(|other| far(bits) <= far(other))
}

// serde_json rounds twice, and not always to the nearest.
fn near(value: &Value, ours: f64, epsilon: f64) -> bool {
    match value.as_f64() {
        Some(theirs) => {
            (theirs - ours).abs() <= theirs.abs() * epsilon * 2.0 + f64::from(f32::from_bits(1))
        }
        // The literals as strings.
        None => !ours.is_finite(),
    }
}
