//! gRPC on one connection: which service a path belongs to.
//!
//! tonic answers an undecodable message with INTERNAL and an oversize one with `OUT_OF_RANGE`; both
//! are the caller's to mend, and are answered here as the table of failures says.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use tonic::Status;
use tonic::body::Body as TonicBody;
use tonic::codec::CompressionEncoding;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::{Builder, Error as ReflectionError};
use tower::util::BoxCloneSyncService;
use tower::{Service as _, ServiceExt};

use crate::api::body::Accounted;
use crate::api::oip::health::Health;
use crate::api::oip::pb::inference::grpc_inference_service_server as server;
use crate::api::oip::rpc::{self, Arrived, Rpc, TicketSlot};
use crate::api::oip::service::Service;
use crate::api::status::{self, Refusal};
use crate::api::traced;
use crate::domain::failure::Code;
use crate::serving::gateway::infer::Ticket;

/// The services of the gRPC port. Cloning shares them.
#[derive(Clone)]
pub struct Grpc {
    service: Service,
    inference: server::GrpcInferenceServiceServer<Rpc>,
    /// By the path they answer; their own types cannot be named.
    beside: Arc<[(&'static str, Beside); 3]>,
    health: Health,
}

type Beside = BoxCloneSyncService<Request<Incoming>, Response<TonicBody>, Infallible>;

impl Grpc {
    /// The services of a listener.
    ///
    /// # Errors
    ///
    /// If the committed description of the protocol cannot be read.
    pub fn new(service: Service) -> Result<Self, ReflectionError> {
        let limit = service.limits().message_bytes;
        let inference = server::GrpcInferenceServiceServer::new(Rpc::new(service.clone()))
            // The limit holds before and after inflating. It happens on the connection's thread and
            // in one go: a message of 64 MiB keeps others of that thread waiting for a tenth of a
            // second, which tonic gives no way to divide.
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Deflate)
            .max_decoding_message_size(limit)
            // What a model answers is not bounded by what a caller may send.
            .max_encoding_message_size(usize::MAX);
        let builder = || {
            Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTOR)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let health = Health::new(service.clone());
        let beside = [
            ("/grpc.reflection.v1.", BoxCloneSyncService::new(builder().build_v1()?)),
            ("/grpc.reflection.v1alpha.", BoxCloneSyncService::new(builder().build_v1alpha()?)),
            ("/grpc.health.v1.", BoxCloneSyncService::new(HealthServer::new(health.clone()))),
        ];
        let beside = Arc::new(beside);
        Ok(Self { service, inference, beside, health })
    }

    /// What the port says of its health.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Answers one call. Every call of the inference service has one account, whatever becomes of it.
    ///
    /// A task is moved several times before it runs, so the future is kept small: what it awaits is
    /// boxed, and the services are behind one pointer.
    ///
    /// # Errors
    ///
    /// None; the type is what hyper asks for.
    pub async fn call(
        self: Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Accounted<TonicBody>>, Infallible> {
        let at = self.service.now();
        let infers = request.uri().path() == INFER;
        let trace = infers.then(|| self.service.trace(request.headers(), &traced::GRPC)).flatten();
        request.extensions_mut().insert(Arrived { at, trace: trace.clone() });
        let path = request.uri().path();
        let ours =
            path.strip_prefix('/').is_some_and(|rest| rest.starts_with(server::SERVICE_NAME));
        if !is_grpc(request.headers()) {
            return Ok(not_grpc(&self.service));
        }
        let mut answer = if ours {
            let mut inference = self.inference.clone();
            if let Some(encoding) = request.headers().get(ENCODING).and_then(encoding) {
                inference = inference.send_compressed(encoding);
            }
            // Always ready, as generated code is.
            inference.call(request).await?
        } else if let Some((_, beside)) =
            self.beside.iter().find(|(prefix, _)| path.starts_with(prefix))
        {
            Box::pin(beside.clone().oneshot(request)).await?
        } else {
            let text = format!("service of {path} is not offered by this server");
            let refusal = Refusal::new(Code::NotOffered, text);
            refusal.status(self.service.new_id(), self.service.compat()).into_http()
        };
        let ticket = answer.extensions_mut().remove::<TicketSlot>().and_then(|slot| slot.take());
        let mut answer = if ours
            && ticket.is_none()
            && !answer.headers().contains_key(CODE)
            && let Some(found) = Status::from_header_map(answer.headers())
        {
            let ticket = infers.then(|| self.service.open(at, trace.clone()));
            refuse_unread(&self.service, ticket, &found)
        } else {
            answer.map(|body| Accounted::new(body, ticket))
        };
        if let Some(trace) = &trace {
            traced::respond(answer.headers_mut(), trace);
        }
        Ok(answer)
    }
}

// PROTOCOL-HTTP2: content that is not gRPC's own is 415, so that no proxy takes it for an answer.
fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn not_grpc(service: &Service) -> Response<Accounted<TonicBody>> {
    let text = "content type is not application/grpc, which is all that this port reads";
    let refusal = Refusal::new(Code::Encoding, text);
    let compat = service.compat();
    let mut answer = refusal.status(service.new_id(), compat).into_http();
    *answer.status_mut() = status::http_status(refusal.code.kind(), compat);
    answer.map(|body| Accounted::new(body, None))
}

// The message never reached its handler: it could not be decoded, was too large, or for no call.
fn refuse_unread(
    service: &Service,
    ticket: Option<Ticket>,
    found: &Status,
) -> Response<Accounted<TonicBody>> {
    let refusal = rpc::unread(found);
    let id = ticket.as_ref().map_or_else(|| service.new_id(), Ticket::id);
    let answer = refusal.status(id, service.compat()).into_http();
    if let Some(mut ticket) = ticket {
        ticket.fail(refusal.code);
    }
    answer.map(|body| Accounted::new(body, None))
}

// Answers are compressed for those who compress: most clients say that they take every encoding,
// and would pay for it without having asked.
fn encoding(value: &HeaderValue) -> Option<CompressionEncoding> {
    match value.as_bytes() {
        b"gzip" => Some(CompressionEncoding::Gzip),
        b"deflate" => Some(CompressionEncoding::Deflate),
        _ => None,
    }
}

impl fmt::Debug for Grpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grpc").finish_non_exhaustive()
    }
}

/// The protocol's own description, for reflection.
const DESCRIPTOR: &[u8] = include_bytes!("pb/descriptor.bin");

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const CODE: HeaderName = HeaderName::from_static("x-tidegate-code");
