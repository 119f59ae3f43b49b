//! `tidegate ready`: whether a server answers; a container's health check.

use clap::Args;

use crate::app::cli::client::{Http, Reply};
use crate::app::cli::exit::Ended;
use crate::app::cli::print;

/// Flags of `tidegate ready`.
#[derive(Clone, Debug, Args)]
pub struct ReadyFlags {
    /// A model that must answer; without one, the server as a whole.
    #[arg(value_name = "MODEL")]
    pub model: Option<String>,
    /// A version of it.
    #[arg(long, value_name = "N", requires = "model")]
    pub version: Option<String>,
    /// Where the server is.
    #[command(flatten)]
    pub server: Http,
}

/// Says `ready`, or fails.
///
/// # Errors
///
/// [`Ended::NotReady`], [`Ended::Unreachable`]; an unknown model is any other failure.
pub fn ready(flags: &ReadyFlags) -> anyhow::Result<()> {
    let path = match (&flags.model, &flags.version) {
        (None, _) => "/v2/health/ready".to_owned(),
        (Some(model), None) => format!("/v2/models/{model}/ready"),
        (Some(model), Some(version)) => format!("/v2/models/{model}/versions/{version}/ready"),
    };
    let reply = flags.server.client()?.get(&path)?;
    if reply.status.as_u16() == 503 {
        return Err(Ended::NotReady { reason: reason(&reply) }.into());
    }
    reply.done()?;
    print::out("ready\n");
    Ok(())
}

fn reason(reply: &Reply) -> String {
    let of_server = reply.body.starts_with(b"{\"ready\"");
    if of_server { "the server is starting or stopping".to_owned() } else { reply.refusal() }
}
