//! A bare HTTP/2 echo, which `loadtest/cpu.py` holds the server against.
//!
//! It takes connections, spreads them over the cores and speaks HTTP/2 as `api::listen` does, and
//! that is all: no tonic, no message, no model. Every request is read to its end and answered with
//! the same bytes, so what a server costs beyond this is its own doing.
//!
//! ```text
//! echo ADDR:PORT FILE      FILE: a whole gRPC message, with its five bytes of frame
//! ```

use std::convert::Infallible;
use std::io::{self, Error, ErrorKind};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tidegate::platform::cores::{self, CoreRuntimes};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err(Error::new(ErrorKind::InvalidInput, "expected ADDR:PORT and FILE"));
    };
    let answer = Bytes::from(std::fs::read(file)?);
    let cores = CoreRuntimes::start("core", cores::usable())?;
    let control = Builder::new_current_thread().enable_all().build()?;
    control.block_on(accept(&address, &answer, &cores))
}

async fn accept(address: &str, answer: &Bytes, cores: &CoreRuntimes) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    show(&listener.local_addr()?.to_string());
    for next in 0.. {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (stream, answer) = (stream.into_std()?, answer.clone());
        cores.spawn(next, async move {
            if let Ok(stream) = TcpStream::from_std(stream) {
                serve(stream, answer).await;
            }
        });
    }
    Ok(())
}

async fn serve(stream: TcpStream, answer: Bytes) {
    let service = service_fn(move |request| echo(request, answer.clone()));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20)
        .max_frame_size(1 << 20)
        .keep_alive_interval(Duration::from_mins(2))
        .serve_connection(TokioIo::new(stream), service);
    // A caller that breaks off is its own affair.
    connection.await.ok();
}

async fn echo(
    request: Request<Incoming>,
    answer: Bytes,
) -> Result<Response<impl Body<Data = Bytes, Error = Infallible>>, hyper::Error> {
    drop(request.into_body().collect().await?);
    let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
    let body = Full::new(answer).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body);
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
    Ok(response)
}

#[expect(clippy::print_stdout, reason = "tells whoever started it where it listens")]
fn show(address: &str) {
    println!("{address}");
}

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
