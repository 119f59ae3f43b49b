//! The binary tensor extension: a length of two bytes, then the body that it cuts.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tidegate::api::oip::binary::{JSON_LENGTH, Parts};
use tidegate::api::oip::infer_json::{self, InferBody};
use tidegate::api::oip::raw;
use tidegate::domain::signature::{NamedTensor, Signature};
use tidegate::domain::spec::{Dim, TensorSpec};
use tidegate::domain::tensor::dtype::DataType;

/// Any length and body are refused, or tensors whose bytes are those of the body, each once.
pub fn body(data: &[u8]) -> String {
    let (length, data) = data.split_at(data.len().min(2));
    let length = length.iter().fold(0_u16, |all, &byte| all << 8 | u16::from(byte));
    let data = Bytes::copy_from_slice(data);
    let parts = match Parts::cut(&header(&length.to_string()), data.clone()) {
        Ok(parts) => parts,
        Err(error) => {
            assert!(usize::from(length) > data.len(), "{error}");
            return error.to_string();
        }
    };
    if parts.is_raw() {
        return raw_body(&parts.into_raw());
    }
    match infer_json::read(parts) {
        Ok(read) => {
            let tail = data.slice(usize::from(length)..);
            borrowed_once(&read, &tail);
            comes_back(&read.inputs);
            let types: Vec<&str> = read.inputs.iter().map(|i| i.tensor.dtype().name()).collect();
            format!("{types:?} {}", read.form.all_binary)
        }
        Err(error) => error.to_string(),
    }
}

fn raw_body(data: &Bytes) -> String {
    let mut seen = String::new();
    for dtype in [DataType::Fp32, DataType::Bool, DataType::Bytes] {
        let dims = vec![Dim::Any(None), Dim::Any(None), Dim::Fixed(3)];
        let spec = |name: &str| TensorSpec::new(name, dtype, dims.clone());
        let signature = Signature { inputs: vec![spec("x")], outputs: vec![spec("y")] };
        match raw::read(&signature, data.clone()) {
            Ok(input) => write!(seen, "{}", input.tensor.shape()),
            Err(error) => write!(seen, "{error}"),
        }
        .expect("text into memory");
    }
    seen
}

// Tensors that came as bytes are slices of the body, one after the other, and use it up.
fn borrowed_once(read: &InferBody, tail: &Bytes) {
    let start = tail.as_ptr() as usize;
    let range = start..start + tail.len();
    let mut used = 0;
    for input in &read.inputs {
        let bytes = input.tensor.data();
        if !bytes.is_empty() && range.contains(&(bytes.as_ptr() as usize)) {
            assert_eq!(bytes.as_ptr() as usize, start + used, "a tensor out of its place");
            used += bytes.len();
        }
    }
    assert_eq!(used, tail.len(), "bytes of nobody");
}

// The same inputs, all of them as bytes, are the same tensors.
fn comes_back(inputs: &[NamedTensor]) {
    let mut json = String::from("{\"inputs\":[");
    let mut tail = Vec::new();
    for (place, NamedTensor { name, tensor }) in inputs.iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        let name = serde_json::to_string(name).expect("a text");
        let (dtype, size) = (tensor.dtype(), tensor.data().len());
        // Not as it is shown, which is cut.
        let shape = serde_json::to_string(&tensor.shape()[..]).expect("numbers");
        write!(
            json,
            "{comma}{{\"parameters\":{{\"binary_data_size\":{size}}},\"shape\":{shape},\
             \"datatype\":\"{dtype}\",\"name\":{name}}}"
        )
        .expect("text into memory");
        tail.extend_from_slice(tensor.data());
    }
    json.push_str("]}");
    let headers = header(&json.len().to_string());
    let whole = [json.as_bytes(), &tail].concat();
    let parts = Parts::cut(&headers, whole.into()).expect("a right length");
    let back = infer_json::read(parts).expect("our own body").inputs;
    assert_eq!(back.len(), inputs.len());
    for (back, input) in back.iter().zip(inputs) {
        assert!(back.name == input.name && back.tensor == input.tensor, "{input:?}: {back:?}");
    }
}

fn header(length: &str) -> HeaderMap {
    let value = HeaderValue::from_str(length).expect("digits");
    HeaderMap::from_iter([(JSON_LENGTH, value)])
}
