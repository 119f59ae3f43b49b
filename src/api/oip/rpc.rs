//! The gRPC calls of the protocol: read, ask the service, write.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tonic::{Request, Response, Status, Streaming};

use crate::api::oip::convert;
use crate::api::oip::pb::inference as pb;
use crate::api::oip::pb::inference::grpc_inference_service_server::GrpcInferenceService;
use crate::api::oip::service::Service;
use crate::api::session;
use crate::api::status::Refusal;
use crate::domain::failure::Code;
use crate::serving::gateway::infer::Ticket;

/// The calls, for one listener.
#[derive(Clone, Debug)]
pub struct Rpc {
    service: Service,
}

/// When the first byte of a request came; put beside it before it is decoded.
#[derive(Clone, Copy, Debug)]
pub struct Arrived(pub Instant);

/// Hands the account of a request from its handler to the body of its response.
#[derive(Clone, Debug)]
pub struct TicketSlot(Arc<Mutex<Option<Ticket>>>);

impl Rpc {
    /// Calls of that service.
    pub fn new(service: Service) -> Self {
        Self { service }
    }

    fn refuse(&self, refusal: &Refusal) -> Status {
        refusal.status(self.service.new_id())
    }

    fn not_offered<T>(&self, call: &str) -> Result<Response<T>, Status> {
        let text = format!("{call} is not offered by this server");
        Err(self.refuse(&Refusal::new(Code::NotOffered, text)))
    }

    async fn infer(
        &self,
        request: Request<pb::ModelInferRequest>,
        ticket: &mut Ticket,
    ) -> Result<pb::ModelInferResponse, Refusal> {
        let arrived = self.arrived(&request);
        let allowed = session::grpc_timeout(request.metadata().as_ref());
        let mut message = request.into_inner();
        let id = std::mem::take(&mut message.id);
        let call = convert::call(message).map_err(Refusal::from);
        let mut call = call.inspect_err(|refusal| ticket.fail(refusal.code))?;
        call.timeout = [call.timeout, allowed].into_iter().flatten().min();
        let answer = self.service.infer(call, arrived, ticket).await?;
        Ok(convert::response(&answer, id))
    }

    fn arrived<T>(&self, request: &Request<T>) -> Instant {
        request
            .extensions()
            .get::<Arrived>()
            .map_or_else(|| self.service.now(), |arrived| arrived.0)
    }
}

impl TicketSlot {
    /// Takes the account out.
    pub fn take(&self) -> Option<Ticket> {
        self.0.lock().take()
    }
}

type Messages<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl GrpcInferenceService for Rpc {
    type ModelStreamInferStream = Messages<pb::ModelStreamInferResponse>;

    async fn server_live(
        &self,
        _: Request<pb::ServerLiveRequest>,
    ) -> Result<Response<pb::ServerLiveResponse>, Status> {
        Ok(Response::new(pb::ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<pb::ServerReadyRequest>,
    ) -> Result<Response<pb::ServerReadyResponse>, Status> {
        Ok(Response::new(pb::ServerReadyResponse { ready: self.service.is_ready() }))
    }

    async fn model_ready(
        &self,
        request: Request<pb::ModelReadyRequest>,
    ) -> Result<Response<pb::ModelReadyResponse>, Status> {
        let message = request.into_inner();
        let ready = self.service.model_ready(&message.name, &message.version);
        ready.map_err(|refusal| self.refuse(&refusal))?;
        Ok(Response::new(pb::ModelReadyResponse { ready: true }))
    }

    async fn server_metadata(
        &self,
        _: Request<pb::ServerMetadataRequest>,
    ) -> Result<Response<pb::ServerMetadataResponse>, Status> {
        Ok(Response::new(convert::server_metadata(&self.service.metadata())))
    }

    async fn model_metadata(
        &self,
        request: Request<pb::ModelMetadataRequest>,
    ) -> Result<Response<pb::ModelMetadataResponse>, Status> {
        let message = request.into_inner();
        let metadata = self.service.model_metadata(&message.name, &message.version);
        let metadata = metadata.map_err(|refusal| self.refuse(&refusal))?;
        Ok(Response::new(convert::model_metadata(metadata)))
    }

    async fn model_infer(
        &self,
        request: Request<pb::ModelInferRequest>,
    ) -> Result<Response<pb::ModelInferResponse>, Status> {
        let mut ticket = self.service.open(self.arrived(&request));
        match self.infer(request, &mut ticket).await {
            Ok(message) => {
                let mut response = Response::new(message);
                let slot = TicketSlot(Arc::new(Mutex::new(Some(ticket))));
                response.extensions_mut().insert(slot);
                Ok(response)
            }
            Err(refusal) => Err(refusal.status(ticket.id())),
        }
    }

    async fn repository_index(
        &self,
        request: Request<pb::RepositoryIndexRequest>,
    ) -> Result<Response<pb::RepositoryIndexResponse>, Status> {
        Ok(Response::new(convert::index(self.service.index(request.into_inner().ready))))
    }

    async fn repository_model_load(
        &self,
        request: Request<pb::RepositoryModelLoadRequest>,
    ) -> Result<Response<pb::RepositoryModelLoadResponse>, Status> {
        let message = request.into_inner();
        if let Some(name) = message.parameters.keys().next() {
            let text = format!("load parameter '{name}' is not offered");
            return Err(self.refuse(&Refusal::new(Code::NotOffered, text)));
        }
        let loaded = self.service.load(&message.model_name).await;
        loaded.map_err(|refusal| self.refuse(&refusal))?;
        Ok(Response::new(pb::RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<pb::RepositoryModelUnloadRequest>,
    ) -> Result<Response<pb::RepositoryModelUnloadResponse>, Status> {
        let unloaded = self.service.unload(&request.into_inner().model_name).await;
        unloaded.map_err(|refusal| self.refuse(&refusal))?;
        Ok(Response::new(pb::RepositoryModelUnloadResponse {}))
    }

    async fn model_config(
        &self,
        _: Request<pb::ModelConfigRequest>,
    ) -> Result<Response<pb::ModelConfigResponse>, Status> {
        self.not_offered("ModelConfig")
    }

    async fn model_stream_infer(
        &self,
        _: Request<Streaming<pb::ModelInferRequest>>,
    ) -> Result<Response<Self::ModelStreamInferStream>, Status> {
        self.not_offered("ModelStreamInfer")
    }

    async fn model_statistics(
        &self,
        _: Request<pb::ModelStatisticsRequest>,
    ) -> Result<Response<pb::ModelStatisticsResponse>, Status> {
        self.not_offered("ModelStatistics")
    }

    async fn system_shared_memory_status(
        &self,
        _: Request<pb::SystemSharedMemoryStatusRequest>,
    ) -> Result<Response<pb::SystemSharedMemoryStatusResponse>, Status> {
        self.not_offered("SystemSharedMemoryStatus")
    }

    async fn system_shared_memory_register(
        &self,
        _: Request<pb::SystemSharedMemoryRegisterRequest>,
    ) -> Result<Response<pb::SystemSharedMemoryRegisterResponse>, Status> {
        self.not_offered("SystemSharedMemoryRegister")
    }

    async fn system_shared_memory_unregister(
        &self,
        _: Request<pb::SystemSharedMemoryUnregisterRequest>,
    ) -> Result<Response<pb::SystemSharedMemoryUnregisterResponse>, Status> {
        self.not_offered("SystemSharedMemoryUnregister")
    }

    async fn cuda_shared_memory_status(
        &self,
        _: Request<pb::CudaSharedMemoryStatusRequest>,
    ) -> Result<Response<pb::CudaSharedMemoryStatusResponse>, Status> {
        self.not_offered("CudaSharedMemoryStatus")
    }

    async fn cuda_shared_memory_register(
        &self,
        _: Request<pb::CudaSharedMemoryRegisterRequest>,
    ) -> Result<Response<pb::CudaSharedMemoryRegisterResponse>, Status> {
        self.not_offered("CudaSharedMemoryRegister")
    }

    async fn cuda_shared_memory_unregister(
        &self,
        _: Request<pb::CudaSharedMemoryUnregisterRequest>,
    ) -> Result<Response<pb::CudaSharedMemoryUnregisterResponse>, Status> {
        self.not_offered("CudaSharedMemoryUnregister")
    }

    async fn trace_setting(
        &self,
        _: Request<pb::TraceSettingRequest>,
    ) -> Result<Response<pb::TraceSettingResponse>, Status> {
        self.not_offered("TraceSetting")
    }

    async fn log_settings(
        &self,
        _: Request<pb::LogSettingsRequest>,
    ) -> Result<Response<pb::LogSettingsResponse>, Status> {
        self.not_offered("LogSettings")
    }
}
