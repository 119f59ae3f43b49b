//! The gRPC calls of the protocol: read, ask the service, write.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status, Streaming};

use crate::api::oip::convert;
use crate::api::oip::pb::inference as pb;
use crate::api::oip::pb::inference::grpc_inference_service_server::{
    GrpcInferenceService, SERVICE_NAME,
};
use crate::api::oip::service::Service;
use crate::api::session;
use crate::api::status::Refusal;
use crate::api::traced;
use crate::domain::failure::Code;
use crate::domain::trace::Trace;
use crate::serving::gateway::infer::Ticket;

/// The calls, for one listener.
#[derive(Clone, Debug)]
pub struct Rpc {
    service: Service,
}

/// What is known of a request before it is decoded; put beside it.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// When its first byte came.
    pub at: Instant,
    /// Its place in a trace; none unless the trace is kept.
    pub trace: Option<Box<Trace>>,
}

/// Hands the account of a request from its handler to the body of its response.
#[derive(Clone, Debug)]
pub struct TicketSlot(Arc<Mutex<Option<Ticket>>>);

impl Rpc {
    /// Calls of that service.
    pub fn new(service: Service) -> Self {
        Self { service }
    }

    fn refuse(&self, refusal: &Refusal) -> Status {
        refusal.status(self.service.new_id(), self.service.compat())
    }

    fn not_offered<T>(&self, call: &str) -> Result<Response<T>, Status> {
        let text = format!("{call} is not offered by this server");
        Err(self.refuse(&Refusal::new(Code::NotOffered, text)))
    }

    // There is one repository; a name for another must not be taken for it.
    fn one_repository(&self, name: &str) -> Result<(), Status> {
        if name.is_empty() {
            return Ok(());
        }
        let text = "repository_name is not offered: there is one repository, leave it out";
        Err(self.refuse(&Refusal::new(Code::NotOffered, text)))
    }

    // KServe's clients write the model where Triton's write the repository, and nothing else.
    fn model_of(&self, repository: String, model: String) -> Result<String, Status> {
        if model.is_empty() {
            return Ok(repository);
        }
        self.one_repository(&repository)?;
        Ok(model)
    }

    async fn infer(
        &self,
        message: pb::ModelInferRequest,
        (arrived, allowed): (Instant, Option<Duration>),
        ticket: &mut Ticket,
    ) -> Result<pb::ModelInferResponse, Refusal> {
        let call = convert::call(message).map_err(Refusal::from);
        let (mut call, echo) = call.inspect_err(|refusal| ticket.fail(refusal.code))?;
        call.timeout = [call.timeout, allowed].into_iter().flatten().min();
        let answer = self.service.infer(call, arrived, ticket).await?;
        Ok(convert::response(&answer, echo))
    }

    // Answers one message of a stream; its account is closed when the stream takes the answer.
    async fn next_of_stream(
        &self,
        message: pb::ModelInferRequest,
        (until, in_band): (Option<Instant>, bool),
        trace: Option<Box<Trace>>,
    ) -> Result<pb::ModelStreamInferResponse, Status> {
        let arrived = self.service.now();
        // The stream's deadline is that of each message in it.
        let allowed = until.map(|until| until.saturating_duration_since(arrived));
        let mut ticket = self.service.open(arrived, trace);
        let id = message.id.clone();
        match self.infer(message, (arrived, allowed), &mut ticket).await {
            Ok(mut answer) => {
                ticket.sent();
                // Each request has one answer, which is therefore its last.
                let last = pb::infer_parameter::ParameterChoice::BoolParam(true);
                let last = pb::InferParameter { parameter_choice: Some(last) };
                answer.parameters.insert(FINAL.to_owned(), last);
                let (error_message, infer_response) = (String::new(), Some(answer));
                Ok(pb::ModelStreamInferResponse { error_message, infer_response })
            }
            Err(refusal) if in_band => Ok(pb::ModelStreamInferResponse {
                error_message: refusal.message,
                // The caller's id says which request it was.
                infer_response: Some(pb::ModelInferResponse { id, ..Default::default() }),
            }),
            Err(refusal) => Err(refusal.status(ticket.id(), self.service.compat())),
        }
    }

    fn arrived<T>(&self, request: &mut Request<T>) -> Arrived {
        let arrived = request.extensions_mut().remove::<Arrived>();
        arrived.unwrap_or_else(|| Arrived { at: self.service.now(), trace: None })
    }
}

impl TicketSlot {
    /// Takes the account out.
    pub fn take(&self) -> Option<Ticket> {
        self.0.lock().take()
    }
}

/// Why a message never reached its handler, in our words: it could not be decoded, was too large, or
/// for no call.
#[expect(clippy::wildcard_enum_match_arm, reason = "what else tonic says is of a broken stream")]
pub fn unread(found: &Status) -> Refusal {
    let text = found.message();
    let code = match found.code() {
        tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => Code::Size,
        tonic::Code::Internal | tonic::Code::InvalidArgument => Code::Malformed,
        // tonic says nothing of a call that it does not know, and something of a compression.
        tonic::Code::Unimplemented if text.is_empty() => {
            let text = format!("{SERVICE_NAME} has no such call");
            return Refusal::new(Code::NotOffered, text);
        }
        tonic::Code::Unimplemented => Code::Encoding,
        _ => Code::Left,
    };
    Refusal::new(code, format!("request message: {text}"))
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
        mut request: Request<pb::ModelInferRequest>,
    ) -> Result<Response<pb::ModelInferResponse>, Status> {
        let Arrived { at: arrived, trace } = self.arrived(&mut request);
        let allowed = session::grpc_timeout(request.metadata().as_ref());
        let mut ticket = self.service.open(arrived, trace);
        match self.infer(request.into_inner(), (arrived, allowed), &mut ticket).await {
            Ok(message) => {
                let mut response = Response::new(message);
                let slot = TicketSlot(Arc::new(Mutex::new(Some(ticket))));
                response.extensions_mut().insert(slot);
                Ok(response)
            }
            Err(refusal) => Err(refusal.status(ticket.id(), self.service.compat())),
        }
    }

    async fn repository_index(
        &self,
        request: Request<pb::RepositoryIndexRequest>,
    ) -> Result<Response<pb::RepositoryIndexResponse>, Status> {
        let message = request.into_inner();
        self.one_repository(&message.repository_name)?;
        Ok(Response::new(convert::index(self.service.index(message.ready))))
    }

    async fn repository_model_load(
        &self,
        request: Request<pb::RepositoryModelLoadRequest>,
    ) -> Result<Response<pb::RepositoryModelLoadResponse>, Status> {
        let message = request.into_inner();
        let model_name = self.model_of(message.repository_name, message.model_name)?;
        if let Some(name) = message.parameters.keys().next() {
            let text = format!("load parameter '{name}' is not offered");
            return Err(self.refuse(&Refusal::new(Code::NotOffered, text)));
        }
        let loaded = self.service.load(&model_name).await;
        loaded.map_err(|refusal| self.refuse(&refusal))?;
        Ok(Response::new(pb::RepositoryModelLoadResponse { model_name, is_loaded: true }))
    }

    async fn repository_model_unload(
        &self,
        request: Request<pb::RepositoryModelUnloadRequest>,
    ) -> Result<Response<pb::RepositoryModelUnloadResponse>, Status> {
        let message = request.into_inner();
        let model_name = self.model_of(message.repository_name, message.model_name)?;
        let unloaded = self.service.unload(&model_name).await;
        unloaded.map_err(|refusal| self.refuse(&refusal))?;
        Ok(Response::new(pb::RepositoryModelUnloadResponse { model_name, is_unloaded: true }))
    }

    async fn model_config(
        &self,
        request: Request<pb::ModelConfigRequest>,
    ) -> Result<Response<pb::ModelConfigResponse>, Status> {
        let message = request.into_inner();
        let config = self.service.model_config(&message.name, &message.version);
        Ok(Response::new(config.map_err(|refusal| self.refuse(&refusal))?.message()))
    }

    async fn model_stream_infer(
        &self,
        mut request: Request<Streaming<pb::ModelInferRequest>>,
    ) -> Result<Response<Self::ModelStreamInferStream>, Status> {
        let arrived = self.arrived(&mut request).at;
        let metadata = request.metadata();
        let in_band = metadata.get(STATUS_ON_ERROR).is_none_or(|value| value != "true");
        let allowed = session::grpc_timeout(metadata.as_ref());
        let until = allowed.and_then(|allowed| arrived.checked_add(allowed));
        let rpc = self.clone();
        let (metadata, _, messages) = request.into_parts();
        let headers = metadata.into_headers();
        let answers = messages.then(move |message| {
            let rpc = rpc.clone();
            // Each message is a span of its own below the caller's.
            let trace = rpc.service.trace(&headers, &traced::GRPC_STREAM);
            async move {
                let message = message.map_err(|status| rpc.refuse(&unread(&status)))?;
                rpc.next_of_stream(message, (until, in_band), trace).await
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn model_statistics(
        &self,
        request: Request<pb::ModelStatisticsRequest>,
    ) -> Result<Response<pb::ModelStatisticsResponse>, Status> {
        let message = request.into_inner();
        let statistics = self.service.statistics(&message.name, &message.version);
        Ok(Response::new(statistics.map_err(|refusal| self.refuse(&refusal))?.message()))
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

/// Header of Triton's streams: errors end the stream with a status instead of being answers in it.
const STATUS_ON_ERROR: &str = "triton_grpc_error";

/// Parameter that marks the last answer to a request.
const FINAL: &str = "triton_final_response";
