//! Finds operators that say how a model may be run.
//!
//! A Loop runs as often as an input says: one run of zeros tells nothing about the next. A dynamic
//! quantisation takes its steps from all values of a run, so that rows change one another's answers.
//! Only the few fields needed are read (onnx.proto, `ModelProto`); protobuf skips the rest.

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
    has(model, |kind| matches!(kind, b"Loop" | b"Scan" | b"If"))
}

/// Whether the graph, or a function of it, quantises by what values a run has.
///
/// False for bytes that are no model, and for such operators in branches, whose models are known by
/// [`has_control_flow`].
pub fn quantises_by_run(model: &[u8]) -> bool {
    has(model, |kind| kind.starts_with(b"DynamicQuantize"))
}

fn has(model: &[u8], is_such: impl Fn(&[u8]) -> bool) -> bool {
    let Ok(Model { graph, functions }) = Model::decode(model) else { return false };
    let nodes = graph.into_iter().flat_map(|graph| graph.nodes);
    let mut nodes = nodes.chain(functions.into_iter().flat_map(|function| function.nodes));
    nodes.any(|node| is_such(&node.op_type))
}

#[cfg(test)]
mod tests {
    use super::{Function, Graph, Model, Node, has_control_flow, quantises_by_run};
    use prost::Message;

    fn node(op_type: &'static str) -> Node {
        Node { op_type: op_type.into() }
    }

    #[test]
    fn a_dynamic_quantisation_is_found() {
        let model = |kind| {
            let graph = Graph { nodes: vec![node("Add"), node(kind)] };
            Model { graph: Some(graph), functions: vec![] }.encode_to_vec()
        };
        assert!(quantises_by_run(&model("DynamicQuantizeLinear")));
        assert!(quantises_by_run(&model("DynamicQuantizeMatMul")));
        assert!(!quantises_by_run(&model("QuantizeLinear")));
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
