//! Every metric's name, unit, labels and help, in one place.
//!
//! `docs/metrics.md` is written from this table and compared in a test.

/// A metric as scrapers see it.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name; counters get the suffix `_total` when written.
    pub name: &'static str,
    /// What one unit of the value is.
    pub unit: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricKind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells, as one sentence.
    pub help: &'static str,
}

/// What a metric's values are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricKind {
    /// Only grows, until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
    /// Said by its name alone.
    Unknown,
}

impl MetricKind {
    /// The word of `OpenMetrics`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Unknown => "unknown",
        }
    }
}

/// Time from the first byte read to the last byte handed over.
pub const REQUEST_DURATION: Metric = Metric {
    name: "tidegate_request_duration_seconds",
    unit: "seconds",
    kind: MetricKind::Histogram,
    labels: &["model", "version"],
    help: "Time of an inference from its first byte read to its last byte handed to the transport",
};

/// Time in each phase of a request.
pub const PHASE_DURATION: Metric = Metric {
    name: "tidegate_phase_duration_seconds",
    unit: "seconds",
    kind: MetricKind::Histogram,
    labels: &["model", "version", "phase"],
    help: "Time that an inference spent in one phase: decode, admit, choose, lease, queue, run, encode, observe",
};

/// How inferences ended.
pub const REQUESTS: Metric = Metric {
    name: "tidegate_requests",
    unit: "requests",
    kind: MetricKind::Counter,
    labels: &["model", "version", "outcome"],
    help: "Inferences by outcome: ok, or the kind of failure; without model where none was found",
};

/// How loads of versions ended.
pub const LOADS: Metric = Metric {
    name: "tidegate_loads",
    unit: "loads",
    kind: MetricKind::Counter,
    labels: &["model", "outcome"],
    help: "Loads of versions by outcome: ok, failed, or rejected by a gate",
};

/// What serves.
pub const SERVING: Metric = Metric {
    name: "tidegate_version_serving",
    unit: "versions",
    kind: MetricKind::Gauge,
    labels: &["model", "version"],
    help: "1 for each version that takes requests which name no version",
};

/// What runs where.
pub const NODES: Metric = Metric {
    name: "tidegate_model_nodes",
    unit: "nodes",
    kind: MetricKind::Gauge,
    labels: &["model", "version", "provider"],
    help: "Nodes of the graph that an execution provider runs; 0 for one that was asked for and got none",
};

/// Where versions are.
pub const STATE: Metric = Metric {
    name: "tidegate_version_state",
    unit: "versions",
    kind: MetricKind::Gauge,
    labels: &["model", "version", "state"],
    help: "1 for each version that was asked for, with its state; until it is retired",
};

/// Who waits for an inference thread.
pub const QUEUED: Metric = Metric {
    name: "tidegate_queue_requests",
    unit: "requests",
    kind: MetricKind::Gauge,
    labels: &["model", "version"],
    help: "Inferences that wait for an inference thread; 0 for a version that runs in place",
};

/// Who is inside.
pub const IN_FLIGHT: Metric = Metric {
    name: "tidegate_requests_in_flight",
    unit: "requests",
    kind: MetricKind::Gauge,
    labels: &[],
    help: "Inferences that were admitted and whose last byte is not handed over yet",
};

/// Who is connected.
pub const CONNECTIONS: Metric = Metric {
    name: "tidegate_connections",
    unit: "connections",
    kind: MetricKind::Gauge,
    labels: &["protocol"],
    help: "Open connections to the ports of the protocol: http or grpc",
};

/// What was freed.
pub const RETIRED: Metric = Metric {
    name: "tidegate_retired_versions",
    unit: "versions",
    kind: MetricKind::Counter,
    labels: &[],
    help: "Versions whose memory was freed",
};

/// Whether memory came back.
pub const RETIRE_RESIDENT: Metric = Metric {
    name: "tidegate_retire_resident_bytes",
    unit: "bytes",
    kind: MetricKind::Gauge,
    labels: &["moment"],
    help: "Resident memory just before and just after the last version was freed; none before the first",
};

/// Memory that did not come back.
pub const UNRETURNED: Metric = Metric {
    name: "tidegate_unreturned_versions",
    unit: "versions",
    kind: MetricKind::Counter,
    labels: &[],
    help: "Freed versions that gave back less than half of the memory that their load took",
};

/// What became of traces.
pub const TRACES: Metric = Metric {
    name: "tidegate_traces",
    unit: "inferences",
    kind: MetricKind::Counter,
    labels: &["outcome"],
    help: "Inferences of kept traces by outcome: exported, queue_full, or failed after every try",
};

/// Who we are.
pub const BUILD: Metric = Metric {
    name: "tidegate_build_info",
    unit: "builds",
    kind: MetricKind::Gauge,
    labels: &["version", "onnxruntime"],
    help: "1, labelled with the version of this program and of the ONNX Runtime library it loaded",
};

/// Processors' time.
pub const CPU: Metric = Metric {
    name: "process_cpu_seconds",
    unit: "seconds",
    kind: MetricKind::Counter,
    labels: &[],
    help: "Time that processors spent for this process, in user and in system mode",
};

/// Memory of the process.
pub const RESIDENT: Metric = Metric {
    name: "process_resident_memory_bytes",
    unit: "bytes",
    kind: MetricKind::Gauge,
    labels: &[],
    help: "Memory of this process that is resident",
};

/// Address space of the process.
pub const VIRTUAL: Metric = Metric {
    name: "process_virtual_memory_bytes",
    unit: "bytes",
    kind: MetricKind::Gauge,
    labels: &[],
    help: "Address space of this process",
};

/// Descriptors in use.
pub const OPEN_FDS: Metric = Metric {
    name: "process_open_fds",
    unit: "descriptors",
    kind: MetricKind::Gauge,
    labels: &[],
    help: "Open file descriptors",
};

/// Descriptors allowed.
pub const MAX_FDS: Metric = Metric {
    name: "process_max_fds",
    unit: "descriptors",
    kind: MetricKind::Gauge,
    labels: &[],
    help: "Open file descriptors that the system allows this process; none where it sets no limit",
};

/// Threads of the process.
pub const THREADS: Metric = Metric {
    name: "process_threads",
    unit: "threads",
    kind: MetricKind::Gauge,
    labels: &[],
    help: "Threads of this process",
};

/// When it began.
pub const START: Metric = Metric {
    name: "process_start_time_seconds",
    unit: "seconds",
    kind: MetricKind::Gauge,
    labels: &[],
    help: "When this process began, in seconds since the Unix epoch",
};

/// Triton's name.
pub const NV_SUCCESS: Metric = Metric {
    name: "nv_inference_request_success",
    unit: "requests",
    kind: MetricKind::Unknown,
    labels: &["model", "version"],
    help: "Inferences answered",
};

/// Triton's name.
pub const NV_FAILURE: Metric = Metric {
    name: "nv_inference_request_failure",
    unit: "requests",
    kind: MetricKind::Unknown,
    labels: &["model", "version", "reason"],
    help: "Inferences failed, by reason: REJECTED, CANCELED, BACKEND, OTHER",
};

/// Triton's name.
pub const NV_COUNT: Metric = Metric {
    name: "nv_inference_count",
    unit: "rows",
    kind: MetricKind::Unknown,
    labels: &["model", "version"],
    help: "Rows answered",
};

/// Triton's name.
pub const NV_EXEC: Metric = Metric {
    name: "nv_inference_exec_count",
    unit: "runs",
    kind: MetricKind::Unknown,
    labels: &["model", "version"],
    help: "Runs of the model",
};

/// Triton's name.
pub const NV_REQUEST_US: Metric = Metric {
    name: "nv_inference_request_duration_us",
    unit: "microseconds",
    kind: MetricKind::Unknown,
    labels: &["model", "version"],
    help: "Time of answered inferences",
};

/// Triton's name.
pub const NV_QUEUE_US: Metric = Metric {
    name: "nv_inference_queue_duration_us",
    unit: "microseconds",
    kind: MetricKind::Unknown,
    labels: &["model", "version"],
    help: "Time that answered inferences waited for their run",
};

/// Triton's name.
pub const NV_INPUT_US: Metric = Metric {
    name: "nv_inference_compute_input_duration_us",
    unit: "microseconds",
    kind: MetricKind::Unknown,
    labels: &["model", "version"],
    help: "Time that answered inferences took to become tensors",
};

/// Triton's name.
pub const NV_INFER_US: Metric = Metric {
    name: "nv_inference_compute_infer_duration_us",
    unit: "microseconds",
    kind: MetricKind::Unknown,
    labels: &["model", "version"],
    help: "Time that the model ran for answered inferences",
};

/// Triton's name.
pub const NV_OUTPUT_US: Metric = Metric {
    name: "nv_inference_compute_output_duration_us",
    unit: "microseconds",
    kind: MetricKind::Unknown,
    labels: &["model", "version"],
    help: "Time that tensors of answered inferences took to become answers",
};

/// Every metric, in the order of the documentation.
pub const ALL: [Metric; 31] = [
    REQUEST_DURATION,
    PHASE_DURATION,
    REQUESTS,
    IN_FLIGHT,
    QUEUED,
    LOADS,
    SERVING,
    NODES,
    STATE,
    RETIRED,
    RETIRE_RESIDENT,
    UNRETURNED,
    CONNECTIONS,
    TRACES,
    BUILD,
    CPU,
    RESIDENT,
    VIRTUAL,
    OPEN_FDS,
    MAX_FDS,
    THREADS,
    START,
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
