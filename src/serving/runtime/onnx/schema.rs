//! Numbers of fields in onnx.proto, for those who read its wire form.
#![expect(missing_docs, reason = "the names are onnx.proto's, which tells what they mean")]

/// `ModelProto`
pub mod model {
    pub const GRAPH: u64 = 7;
    pub const FUNCTIONS: u64 = 25;
}

/// `FunctionProto`
pub mod function {
    pub const NODE: u64 = 7;
}

/// `GraphProto`
pub mod graph {
    pub const NODE: u64 = 1;
    pub const OUTPUT: u64 = 12;
    pub const VALUE_INFO: u64 = 13;
}

/// `NodeProto`
pub mod node {
    pub const INPUT: u64 = 1;
    pub const OUTPUT: u64 = 2;
    pub const OP_TYPE: u64 = 4;
    pub const ATTRIBUTE: u64 = 5;
    pub const DOMAIN: u64 = 7;
}

/// `AttributeProto`
pub mod attribute {
    pub const NAME: u64 = 1;
    pub const I: u64 = 3;
    pub const S: u64 = 4;
    pub const G: u64 = 6;
    pub const INTS: u64 = 8;
    pub const STRINGS: u64 = 9;
    pub const GRAPHS: u64 = 11;
    pub const TYPE: u64 = 20;
    /// A value of `TYPE`.
    pub const STRING: u64 = 3;
}

/// `ValueInfoProto`
pub mod value_info {
    pub const NAME: u64 = 1;
    pub const TYPE: u64 = 2;
}

/// `TypeProto`, its `Tensor`, and `TensorShapeProto`
pub mod kind {
    pub const TENSOR_TYPE: u64 = 1;
    pub const ELEM_TYPE: u64 = 1;
    /// A value of `ELEM_TYPE`.
    pub const FLOAT: u64 = 1;
    pub const SHAPE: u64 = 2;
    pub const DIM: u64 = 1;
    pub const DIM_VALUE: u64 = 1;
}
