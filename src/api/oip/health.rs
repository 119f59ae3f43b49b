//! gRPC's own health protocol: Check, and Watch for those who wait.
//!
//! What it says is read from what is served at that moment, as the probes and the protocol's own
//! calls read it, so they cannot disagree.

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health as Protocol;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::api::oip::pb::inference::grpc_inference_service_server::SERVICE_NAME;
use crate::api::oip::service::Service;
use crate::api::status::Refusal;
use crate::domain::failure::Code;

/// Says whether the server, or a model, serves. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Health {
    service: Service,
    end: watch::Sender<bool>,
}

type Told = Result<HealthCheckResponse, Status>;

impl Health {
    /// Speaks of what is behind that service.
    pub fn new(service: Service) -> Self {
        Self { service, end: watch::Sender::new(false) }
    }

    /// Ends every watch, after its last word; a connection with one would never end by itself.
    pub fn end(&self) {
        self.end.send_replace(true);
    }

    // The name of a service is nothing, the inference service's, or that of a model.
    fn status(&self, name: &str) -> Option<ServingStatus> {
        let serves = match name {
            "" | SERVICE_NAME => self.service.is_ready(),
            model => self.service.model_serves(model)?,
        };
        Some(if serves { ServingStatus::Serving } else { ServingStatus::NotServing })
    }

    async fn tell(self, name: String, told: mpsc::Sender<Told>) {
        let mut end = self.end.subscribe();
        let mut last = None;
        loop {
            // Before the look, so that no change is missed in between.
            let changed = self.service.changed();
            let status = self.status(&name).unwrap_or(ServingStatus::ServiceUnknown);
            if last.replace(status) != Some(status) && told.send(Ok(answer(status))).await.is_err()
            {
                return;
            }
            tokio::select! {
                // First, so that the last word is that the server stops.
                biased;
                () = changed => {}
                _ = end.wait_for(|&end| end) => return,
                () = told.closed() => return,
            }
        }
    }
}

#[tonic::async_trait]
impl Protocol for Health {
    type WatchStream = ReceiverStream<Told>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let name = request.into_inner().service;
        let status = self.status(&name).ok_or_else(|| {
            let text = format!(
                "service '{name}' is not known, expected none, '{SERVICE_NAME}' or a model"
            );
            let refusal = Refusal::new(Code::Model, text);
            refusal.status(self.service.new_id(), self.service.compat())
        });
        Ok(Response::new(answer(status?)))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (told, hears) = mpsc::channel(1);
        drop(tokio::spawn(self.clone().tell(request.into_inner().service, told)));
        Ok(Response::new(ReceiverStream::new(hears)))
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
