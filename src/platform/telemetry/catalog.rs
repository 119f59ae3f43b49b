//! Every metric's name, unit, labels and help, in one place.
//!
//! `docs/metrics.md` is written from this table and compared in a test.

use prometheus_client::metrics::MetricType;

/// A metric as scrapers see it.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name; counters get the suffix `_total` when written.
    pub name: &'static str,
    /// What one unit of the value is.
    pub unit: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricType,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells, as one sentence.
    pub help: &'static str,
}

/// Time from the first byte read to the last byte handed over.
pub const REQUEST_DURATION: Metric = Metric {
    name: "tidegate_request_duration_seconds",
    unit: "seconds",
    kind: MetricType::Histogram,
    labels: &["model", "version"],
    help: "Time of an inference from its first byte read to its last byte handed to the transport",
};

/// Time in each phase of a request.
pub const PHASE_DURATION: Metric = Metric {
    name: "tidegate_phase_duration_seconds",
    unit: "seconds",
    kind: MetricType::Histogram,
    labels: &["model", "version", "phase"],
    help: "Time that an inference spent in one phase: decode, admit, choose, lease, queue, run, encode, observe",
};

/// How inferences ended.
pub const REQUESTS: Metric = Metric {
    name: "tidegate_requests",
    unit: "requests",
    kind: MetricType::Counter,
    labels: &["model", "version", "outcome"],
    help: "Inferences by outcome: ok, or the kind of failure; without model where none was found",
};

/// How loads of versions ended.
pub const LOADS: Metric = Metric {
    name: "tidegate_loads",
    unit: "loads",
    kind: MetricType::Counter,
    labels: &["model", "outcome"],
    help: "Loads of versions by outcome: ok, failed, or rejected by a gate",
};

/// What serves.
pub const SERVING: Metric = Metric {
    name: "tidegate_version_serving",
    unit: "versions",
    kind: MetricType::Gauge,
    labels: &["model", "version"],
    help: "1 for each version that takes requests which name no version",
};

/// What runs where.
pub const NODES: Metric = Metric {
    name: "tidegate_model_nodes",
    unit: "nodes",
    kind: MetricType::Gauge,
    labels: &["model", "version", "provider"],
    help: "Nodes of the graph that an execution provider runs; 0 for one that was asked for and got none",
};

/// Memory of the process.
pub const RESIDENT: Metric = Metric {
    name: "process_resident_memory_bytes",
    unit: "bytes",
    kind: MetricType::Gauge,
    labels: &[],
    help: "Memory of this process that is resident",
};

/// Who we are.
pub const BUILD: Metric = Metric {
    name: "tidegate_build",
    unit: "builds",
    kind: MetricType::Gauge,
    labels: &["version", "onnxruntime"],
    help: "1, labelled with the version of this program and of the ONNX Runtime library it loaded",
};

/// Triton's name.
pub const NV_SUCCESS: Metric = Metric {
    name: "nv_inference_request_success",
    unit: "requests",
    kind: MetricType::Unknown,
    labels: &["model", "version"],
    help: "Inferences answered",
};

/// Triton's name.
pub const NV_FAILURE: Metric = Metric {
    name: "nv_inference_request_failure",
    unit: "requests",
    kind: MetricType::Unknown,
    labels: &["model", "version", "reason"],
    help: "Inferences failed, by reason: REJECTED, CANCELED, BACKEND, OTHER",
};

/// Triton's name.
pub const NV_COUNT: Metric = Metric {
    name: "nv_inference_count",
    unit: "rows",
    kind: MetricType::Unknown,
    labels: &["model", "version"],
    help: "Rows answered",
};

/// Triton's name.
pub const NV_EXEC: Metric = Metric {
    name: "nv_inference_exec_count",
    unit: "runs",
    kind: MetricType::Unknown,
    labels: &["model", "version"],
    help: "Runs of the model",
};

/// Triton's name.
pub const NV_REQUEST_US: Metric = Metric {
    name: "nv_inference_request_duration_us",
    unit: "microseconds",
    kind: MetricType::Unknown,
    labels: &["model", "version"],
    help: "Time of answered inferences",
};

/// Triton's name.
pub const NV_QUEUE_US: Metric = Metric {
    name: "nv_inference_queue_duration_us",
    unit: "microseconds",
    kind: MetricType::Unknown,
    labels: &["model", "version"],
    help: "Time that answered inferences waited for their run",
};

/// Triton's name.
pub const NV_INPUT_US: Metric = Metric {
    name: "nv_inference_compute_input_duration_us",
    unit: "microseconds",
    kind: MetricType::Unknown,
    labels: &["model", "version"],
    help: "Time that answered inferences took to become tensors",
};

/// Triton's name.
pub const NV_INFER_US: Metric = Metric {
    name: "nv_inference_compute_infer_duration_us",
    unit: "microseconds",
    kind: MetricType::Unknown,
    labels: &["model", "version"],
    help: "Time that the model ran for answered inferences",
};

/// Triton's name.
pub const NV_OUTPUT_US: Metric = Metric {
    name: "nv_inference_compute_output_duration_us",
    unit: "microseconds",
    kind: MetricType::Unknown,
    labels: &["model", "version"],
    help: "Time that tensors of answered inferences took to become answers",
};

/// Every metric, in the order of the documentation.
pub const ALL: [Metric; 17] = [
    REQUEST_DURATION,
    PHASE_DURATION,
    REQUESTS,
    LOADS,
    SERVING,
    NODES,
    RESIDENT,
    BUILD,
    NV_SUCCESS,
    NV_FAILURE,
    NV_COUNT,
    NV_EXEC,
    NV_REQUEST_US,
    NV_QUEUE_US,
    NV_INPUT_US,
    NV_INFER_US,
    NV_OUTPUT_US,
];
