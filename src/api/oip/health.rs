//! gRPC's own health protocol: Check, and Watch for those who wait.

use std::fmt;

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::api::oip::pb::inference::grpc_inference_service_server::SERVICE_NAME;

/// Says whether the gRPC port serves; everybody who watches is told.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
}

impl Health {
    /// Speaks through that reporter.
    pub fn new(reporter: HealthReporter) -> Self {
        Self { reporter }
    }

    /// Says whether the server as a whole and the inference service serve.
    pub async fn set(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", SERVICE_NAME] {
            self.reporter.set_service_status(service, status).await;
        }
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}
