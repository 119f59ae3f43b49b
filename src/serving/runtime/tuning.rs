//! How ONNX Runtime is to run a graph, where a model's owner says so.

use serde::{Deserialize, Serialize};

/// Threads of a session of its own.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Threads {
    /// Threads within one operator; 1 if not said, 0 leaves it to ONNX Runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intra: Option<u16>,
    /// Threads for operators side by side, with `session.parallel`; 1 if not said, 0 as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inter: Option<u16>,
}

/// Options of a session.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionOptions {
    /// How far the graph is rewritten; all the way if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graph: Option<Graph>,
    /// Whether operators that do not need each other run side by side; they do not if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel: Option<bool>,
    /// Whether memory comes from an arena; if not said, for heavy versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arena: Option<bool>,
    /// Whether memory is planned from one run for the next; if not said, for heavy versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_pattern: Option<bool>,
}

/// How far a graph is rewritten before it runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Graph {
    /// Not at all.
    Off,
    /// What never changes a result: folded constants, nodes that do nothing.
    Basic,
    /// Operators joined into one, too.
    Extended,
    /// Layouts of memory, too.
    #[default]
    All,
}

/// All of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tuning {
    /// Threads.
    pub threads: Threads,
    /// Options.
    pub session: SessionOptions,
}
