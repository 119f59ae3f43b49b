//! Asks a running server over HTTP/1.1, one call a connection.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::Args;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use crate::app::cli::exit::Ended;
use crate::app::config;
use crate::app::screen::reach;

/// Where callers of models find the server.
#[derive(Clone, Debug, Args)]
pub struct Http {
    /// Where the server answers HTTP; else `TIDEGATE_URL`, else the address in the configuration.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Seconds to wait for an answer.
    #[arg(long, value_name = "S", default_value_t = 60)]
    pub timeout: u64,
}

/// Where operators find it.
#[derive(Clone, Debug, Args)]
pub struct Admin {
    /// Where the server's admin port is; else `TIDEGATE_ADMIN_URL`, else the address in the
    /// configuration.
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// Seconds to wait for an answer.
    #[arg(long, value_name = "S", default_value_t = 600)]
    pub timeout: u64,
}

/// One port of one server.
#[derive(Debug)]
pub struct Client {
    url: String,
    uri: Uri,
    flag: &'static str,
    timeout: Duration,
    runtime: Runtime,
}

/// What it answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

impl Http {
    /// A client of the HTTP port.
    ///
    /// # Errors
    ///
    /// A URL or configuration that cannot be read.
    pub fn client(&self) -> anyhow::Result<Client> {
        let url = url(self.url.as_deref(), config::TIDEGATE_URL, |server| server.http)?;
        Client::new(url, "--url", self.timeout)
    }
}

impl Admin {
    /// A client of the admin port.
    ///
    /// # Errors
    ///
    /// A URL or configuration that cannot be read.
    pub fn client(&self) -> anyhow::Result<Client> {
        let url = url(self.admin.as_deref(), config::TIDEGATE_ADMIN_URL, |server| server.admin)?;
        Client::new(url, "--admin", self.timeout)
    }
}

// The configuration that a server started here would read says where it listens, also in a
// container.
fn url(
    flag: Option<&str>,
    variable: &str,
    of: impl Fn(&config::Server) -> SocketAddr,
) -> anyhow::Result<String> {
    if let Some(url) = flag.map(str::to_owned).or_else(|| config::environment(variable)) {
        return Ok(url);
    }
    let config = config::load(None).context("set --url or --admin to do without it")?;
    Ok(format!("http://{}", reach(of(&config.server))))
}

impl Client {
    fn new(url: String, flag: &'static str, timeout_s: u64) -> anyhow::Result<Self> {
        let url = if url.contains("://") { url } else { format!("http://{url}") };
        let uri: Uri = url.parse().with_context(|| format!("{flag} {url}, expected a URL"))?;
        ensure!(
            uri.scheme_str() == Some("http"),
            "{flag} {url} is not spoken here, expected http://HOST:PORT"
        );
        let runtime = Builder::new_current_thread().enable_all().build().context("a runtime")?;
        Ok(Self { url, uri, flag, timeout: Duration::from_secs(timeout_s), runtime })
    }

    /// Where the server is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Reads.
    ///
    /// # Errors
    ///
    /// [`Ended::Unreachable`], or an answer that breaks off or does not come in time.
    pub fn get(&self, path: &str) -> anyhow::Result<Reply> {
        self.ask(Method::GET, path, Bytes::new())
    }

    /// Sends JSON.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub fn post(&self, path: &str, body: impl Into<Bytes>) -> anyhow::Result<Reply> {
        self.ask(Method::POST, path, body.into())
    }

    fn ask(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Reply> {
        let call = async {
            match tokio::time::timeout(self.timeout, self.exchange(method, path, body)).await {
                Ok(reply) => reply,
                Err(_) => bail!("{} did not answer within {:?}", self.url, self.timeout),
            }
        };
        self.runtime.block_on(call)
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Reply> {
        let unreachable = |reason: &dyn Display| Ended::Unreachable {
            url: self.url.clone(),
            reason: reason.to_string(),
            flag: self.flag,
        };
        let host = self.uri.host().with_context(|| format!("{} has no host", self.url))?;
        let address = format!("{host}:{}", self.uri.port_u16().unwrap_or(80));
        let stream = TcpStream::connect(&address).await.map_err(|error| unreachable(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.uri.path().trim_end_matches('/')))
            .header(header::HOST, &address)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .with_context(|| format!("path {path}"))?;
        // The connection moves bytes while the answer is awaited, and ends with this call.
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            Ok(Reply { status, body })
        };
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(answer);
        let answered: Result<Reply, hyper::Error> = tokio::select! {
            answered = &mut answer => answered,
            ended = &mut connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(error),
            },
        };
        answered.with_context(|| format!("{} did not answer as a server does", self.url))
    }
}

impl Reply {
    /// The same, if the server did what was asked.
    ///
    /// # Errors
    ///
    /// What the server says instead.
    pub fn done(self) -> anyhow::Result<Self> {
        if self.status.is_success() {
            return Ok(self);
        }
        bail!("{}", self.refusal());
    }

    /// What the server says it is not doing, with the code that `docs/errors.md` explains.
    pub fn refusal(&self) -> String {
        let body: Option<Value> = serde_json::from_slice(&self.body).ok();
        let text = |key: &str| body.as_ref()?.get(key)?.as_str();
        match (text("error"), text("code")) {
            (Some(error), Some(code)) => format!("{error} ({code})"),
            (Some(error), None) => error.to_owned(),
            (None, _) => format!("the server answers {}", self.status),
        }
    }

    /// The body, read.
    ///
    /// # Errors
    ///
    /// A body that is not what this server sends.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_slice(&self.body).context("the answer is not one of this server")
    }
}
