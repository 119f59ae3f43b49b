//! A gRPC client that sends what it is told to, deadlines and broken messages too.
//!
//! Not tonic's channel: that one ends a call by itself when its `grpc-timeout` has passed, and
//! the server's own answer would never be seen.

use std::error::Error;
use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tidegate::api::oip::pb::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Response, Status};

/// A client of the protocol.
pub type Client = GrpcInferenceServiceClient<HttpClient<HttpConnector, Body>>;

/// Messages as bytes, neither encoded nor decoded.
#[derive(Clone, Copy, Debug)]
struct AsTheyAre;

/// A client of the server at that address.
pub fn client(to: SocketAddr) -> Client {
    Client::with_origin(http_client(), origin(to))
}

/// Calls the protocol's method of that name with bytes that need not be a message.
pub async fn call(
    to: SocketAddr,
    method: &str,
    message: impl Into<Bytes>,
) -> Result<Response<Bytes>, Status> {
    let mut grpc = Grpc::with_origin(http_client(), origin(to));
    grpc.ready().await.expect("a client without limits is ready");
    let path = format!("/inference.GRPCInferenceService/{method}");
    let path = path.parse().expect("a method's name fits a path");
    grpc.unary(Request::new(message.into()), path, AsTheyAre).await
}

/// Announces a message as compressed in that way, and returns how it is refused.
pub async fn call_compressed(to: SocketAddr, method: &str, encoding: &str) -> Option<Status> {
    // The flag of a compressed message, the length of what follows, and nothing like gzip.
    let frame = Bytes::from_static(&[1, 0, 0, 0, 2, b'n', b'o']);
    let request =
        http::Request::post(format!("http://{to}/inference.GRPCInferenceService/{method}"))
            .header("content-type", "application/grpc")
            .header("grpc-encoding", encoding)
            .body(Body::new(Full::new(frame)))
            .expect("a request");
    let response = http_client().request(request).await.expect("an answer");
    Status::from_header_map(response.headers())
}

/// Sends a body that need not be gRPC's; trailers are put with the headers of the answer.
pub async fn post(
    to: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Result<http::Response<()>, Box<dyn Error + Send + Sync>> {
    let mut request = http::Request::post(format!("http://{to}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = http_client().request(request.body(Body::new(Full::new(body)))?).await?;
    let (mut head, body) = response.into_parts();
    if let Some(trailers) = body.collect().await?.trailers() {
        head.headers.extend(trailers.clone());
    }
    Ok(http::Response::from_parts(head, ()))
}

fn http_client() -> HttpClient<HttpConnector, Body> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    HttpClient::builder(TokioExecutor::new()).http2_only(true).build(connector)
}

fn origin(to: SocketAddr) -> http::Uri {
    format!("http://{to}").parse().expect("an address is an origin")
}

impl Codec for AsTheyAre {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for AsTheyAre {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for AsTheyAre {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
