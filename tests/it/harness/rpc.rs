//! A gRPC client for tests that are not async.

use std::future::Future;
use std::net::SocketAddr;

use tidegate::api::oip::pb::inference as pb;
use tidegate::api::oip::pb::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

/// A connection of its own, on a runtime of its own.
#[derive(Debug)]
pub struct Rpc {
    runtime: Runtime,
    channel: Channel,
}

impl Rpc {
    /// Connects.
    pub fn connect(to: SocketAddr) -> Self {
        // A thread of its own answers the server also while nobody waits for a call.
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
        let endpoint = Endpoint::from_shared(format!("http://{to}")).expect("an address");
        let channel = runtime.block_on(endpoint.connect()).expect("the server listens");
        Self { runtime, channel }
    }

    /// The generated client; the connection is shared.
    pub fn client(&self) -> GrpcInferenceServiceClient<Channel> {
        GrpcInferenceServiceClient::new(self.channel())
    }

    /// The connection itself, for other services.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Waits for whatever a client does.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Waits for the outcome of a call.
    pub fn wait<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Status> {
        self.runtime.block_on(call).map(Response::into_inner)
    }

    /// Asks for an inference.
    pub fn infer(&self, request: pb::ModelInferRequest) -> Result<pb::ModelInferResponse, Status> {
        self.wait(self.client().model_infer(request))
    }
}

/// A request of one input.
pub fn request(
    model: &str,
    (name, datatype): (&str, &str),
    shape: &[i64],
    raw: Vec<u8>,
) -> pb::ModelInferRequest {
    let input = pb::model_infer_request::InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        ..Default::default()
    };
    pb::ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![input],
        raw_input_contents: vec![raw.into()],
        ..Default::default()
    }
}
