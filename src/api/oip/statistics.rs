//! What was counted of a version since it was loaded, in the protocol's words.
//!
//! Each statistic is a count and cumulative nanoseconds. `compute_input` is the time that requests
//! took to become tensors, `compute_output` the time that tensors took to become answers.

use serde::Serialize;

use crate::api::oip::pb::inference as pb;
use crate::domain::inference::Origin;
use crate::platform::telemetry::batches::BatchTotals;
use crate::platform::telemetry::versions::VersionMetrics;

/// Statistics of some versions.
#[derive(Clone, Debug, Serialize)]
pub struct Statistics {
    /// One entry a version.
    pub model_stats: Vec<VersionStatistics>,
}

/// Statistics of one version.
#[derive(Clone, Debug, Serialize)]
pub struct VersionStatistics {
    /// The model.
    pub name: String,
    /// The version.
    pub version: String,
    /// When the last inference came, in milliseconds since the Unix epoch.
    pub last_inference: u64,
    /// Rows answered.
    pub inference_count: u64,
    /// Runs of the model.
    pub execution_count: u64,
    /// How long the parts of inferences took.
    pub inference_stats: InferenceStatistics,
    /// The same by the size of the batch, for usual sizes.
    pub batch_stats: Vec<BatchStatistics>,
}

/// How long the parts of inferences took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct InferenceStatistics {
    /// Whole inferences that were answered.
    pub success: Statistic,
    /// Whole inferences that failed.
    pub fail: Statistic,
    /// Waiting for a run.
    pub queue: Statistic,
    /// Requests becoming tensors.
    pub compute_input: Statistic,
    /// The model running.
    pub compute_infer: Statistic,
    /// Tensors becoming answers.
    pub compute_output: Statistic,
    /// There is no response cache.
    pub cache_hit: Statistic,
    /// There is no response cache.
    pub cache_miss: Statistic,
}

/// How long runs of one batch size took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BatchStatistics {
    /// Rows of each run.
    pub batch_size: u64,
    /// Requests becoming tensors.
    pub compute_input: Statistic,
    /// The model running.
    pub compute_infer: Statistic,
    /// Tensors becoming answers.
    pub compute_output: Statistic,
}

/// A count, and what it took together.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Statistic {
    /// How many.
    pub count: u64,
    /// Nanoseconds, added up.
    pub ns: u64,
}

impl VersionStatistics {
    /// Puts a version's sums into the protocol's words.
    pub fn of(origin: &Origin, metrics: &VersionMetrics) -> Self {
        let totals = metrics.totals();
        let answered = |ns| Statistic { count: totals.success_count, ns };
        Self {
            name: origin.model.to_string(),
            version: origin.labels.version.clone(),
            last_inference: totals.last_ms,
            inference_count: totals.rows,
            execution_count: totals.runs,
            inference_stats: InferenceStatistics {
                success: answered(totals.success_ns),
                fail: Statistic { count: totals.fail_count, ns: totals.fail_ns },
                queue: answered(totals.queue_ns),
                compute_input: answered(totals.decode_ns),
                compute_infer: answered(totals.run_ns),
                compute_output: answered(totals.encode_ns),
                cache_hit: Statistic::default(),
                cache_miss: Statistic::default(),
            },
            batch_stats: metrics.batches().by_size().map(BatchStatistics::of).collect(),
        }
    }

    fn message(self) -> pb::ModelStatistics {
        let stats = self.inference_stats;
        let message = |statistic: Statistic| Some(statistic.message());
        pb::ModelStatistics {
            name: self.name,
            version: self.version,
            last_inference: self.last_inference,
            inference_count: self.inference_count,
            execution_count: self.execution_count,
            inference_stats: Some(pb::InferStatistics {
                success: message(stats.success),
                fail: message(stats.fail),
                queue: message(stats.queue),
                compute_input: message(stats.compute_input),
                compute_infer: message(stats.compute_infer),
                compute_output: message(stats.compute_output),
                cache_hit: message(stats.cache_hit),
                cache_miss: message(stats.cache_miss),
            }),
            batch_stats: self.batch_stats.into_iter().map(BatchStatistics::message).collect(),
            ..pb::ModelStatistics::default()
        }
    }
}

impl BatchStatistics {
    fn of((batch_size, totals): (u64, BatchTotals)) -> Self {
        let of = |ns| Statistic { count: totals.runs, ns };
        Self {
            batch_size,
            compute_input: of(totals.decode_ns),
            compute_infer: of(totals.run_ns),
            compute_output: of(totals.encode_ns),
        }
    }

    fn message(self) -> pb::InferBatchStatistics {
        pb::InferBatchStatistics {
            batch_size: self.batch_size,
            compute_input: Some(self.compute_input.message()),
            compute_infer: Some(self.compute_infer.message()),
            compute_output: Some(self.compute_output.message()),
        }
    }
}

impl Statistic {
    fn message(self) -> pb::StatisticDuration {
        pb::StatisticDuration { count: self.count, ns: self.ns }
    }
}

impl Statistics {
    /// The protobuf message.
    pub fn message(self) -> pb::ModelStatisticsResponse {
        let model_stats = self.model_stats.into_iter().map(VersionStatistics::message).collect();
        pb::ModelStatisticsResponse { model_stats }
    }
}
