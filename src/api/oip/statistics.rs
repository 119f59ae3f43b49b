//! What was counted of a version since it was loaded, in the protocol's words.
//!
//! Each statistic is a count and cumulative nanoseconds. `compute_input` is the time that requests
//! took to become tensors, `compute_output` the time that tensors took to become answers.

use serde::Serialize;

use crate::api::oip::pb::inference as pb;
use crate::domain::inference::Origin;
use crate::platform::telemetry::versions::Totals;

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
    pub fn of(origin: &Origin, totals: &Totals) -> Self {
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
        }
    }

    fn message(self) -> pb::ModelStatistics {
        let stats = self.inference_stats;
        let message =
            |stat: Statistic| Some(pb::StatisticDuration { count: stat.count, ns: stat.ns });
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
            ..pb::ModelStatistics::default()
        }
    }
}

impl Statistics {
    /// The protobuf message.
    pub fn message(self) -> pb::ModelStatisticsResponse {
        let model_stats = self.model_stats.into_iter().map(VersionStatistics::message).collect();
        pb::ModelStatisticsResponse { model_stats }
    }
}
