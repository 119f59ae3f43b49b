//! What a model file says of its making, read without opening it.

use prost::Message;

/// Who made the file, and for which operators (onnx.proto, `ModelProto`); protobuf skips the rest.
#[derive(Clone, PartialEq, Message)]
pub struct Head {
    /// What wrote it; may be empty.
    #[prost(string, tag = "2")]
    pub producer: String,
    #[prost(message, repeated, tag = "8")]
    opsets: Vec<Opset>,
}

#[derive(Clone, PartialEq, Message)]
struct Opset {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

impl Head {
    /// Reads the head of a model; an empty one of bytes that are none: opening them says why.
    pub fn of(model: &[u8]) -> Self {
        Self::decode(model).unwrap_or_default()
    }

    /// Version of the standard operators.
    pub fn opset(&self) -> Option<i64> {
        let standard = self.opsets.iter().find(|opset| ["", "ai.onnx"].contains(&&*opset.domain));
        standard.map(|opset| opset.version)
    }
}

#[cfg(test)]
mod tests {
    use super::Head;

    #[test]
    fn a_demo_models_head_is_read_and_garbage_has_none() {
        let iris = include_bytes!("../../../../models/iris/2/model.onnx");
        let head = Head::of(iris);
        assert_eq!((head.opset(), &*head.producer), (Some(17), "tidegate scripts/make_models.py"));
        assert_eq!(Head::of(b"garbage").opset(), None);
    }
}
