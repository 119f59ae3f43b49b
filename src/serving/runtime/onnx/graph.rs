//! Finds operators that make a model's run time depend on values.
//!
//! A Loop runs as often as an input says: one run of zeros tells nothing about the next. Only the
//! few fields needed are read (onnx.proto, `ModelProto`); protobuf skips the rest.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "25")]
    functions: Vec<Function>,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    nodes: Vec<Node>,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(message, repeated, tag = "7")]
    nodes: Vec<Node>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(bytes = "bytes", tag = "4")]
    op_type: bytes::Bytes,
}

/// Whether the graph, or a function of it, loops or branches. An operator of that kind in a branch
/// is below one that is in the graph itself, so branches need no look.
///
/// False for bytes that are no model: opening it says why.
pub fn has_control_flow(model: &[u8]) -> bool {
    let Ok(Model { graph, functions }) = Model::decode(model) else { return false };
    let nodes = graph.into_iter().flat_map(|graph| graph.nodes);
    let nodes = nodes.chain(functions.into_iter().flat_map(|function| function.nodes));
    nodes.into_iter().any(|node| matches!(&*node.op_type, b"Loop" | b"Scan" | b"If"))
}

#[cfg(test)]
mod tests {
    use super::{Function, Graph, Model, Node, has_control_flow};
    use prost::Message;

    fn node(op_type: &'static str) -> Node {
        Node { op_type: op_type.into() }
    }

    #[test]
    fn a_loop_is_found_in_the_graph_and_in_a_function() {
        let plain = Model { graph: Some(Graph { nodes: vec![node("Add")] }), functions: vec![] };
        assert!(!has_control_flow(&plain.encode_to_vec()));
        let mut looping = plain.clone();
        looping.graph.as_mut().unwrap().nodes.push(node("Loop"));
        assert!(has_control_flow(&looping.encode_to_vec()));
        let mut called = plain;
        called.functions.push(Function { nodes: vec![node("Scan")] });
        assert!(has_control_flow(&called.encode_to_vec()));
        assert!(!has_control_flow(b"garbage"));
    }
}
