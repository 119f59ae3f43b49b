//! `tidegate serve`: flags over environment over file over defaults, then run.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use crate::app::config::{self, Config};
use crate::app::run;
use crate::domain::compat::Compat;

/// Flags of `tidegate serve`.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeFlags {
    /// Folder of models, each as `NAME/VERSION/model.onnx`.
    #[arg(long, value_name = "DIR")]
    pub models: Option<PathBuf>,
    /// Name of the model, where the folder given is one model's own.
    #[arg(long, value_name = "NAME")]
    pub model_name: Option<String>,
    /// Whose codes, shapes and defaults are taken over: `none`, or `triton` for its clients.
    #[arg(long, value_name = "SERVER", value_parser = compat)]
    pub compat: Option<Compat>,
    /// Configuration file (TOML); without it, `tidegate.toml` here, if there is one.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Host that HTTP, gRPC and metrics listen on; admin stays on loopback.
    #[arg(long, value_name = "IP")]
    pub listen: Option<IpAddr>,
    /// Address of HTTP; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT")]
    pub http: Option<SocketAddr>,
    /// Address of gRPC.
    #[arg(long, value_name = "ADDR:PORT")]
    pub grpc: Option<SocketAddr>,
    /// Address of metrics and probes.
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Address of the admin endpoint; it must be on loopback.
    #[arg(long, value_name = "ADDR:PORT")]
    pub admin: Option<SocketAddr>,
    /// Open file descriptor that is told the addresses, as one JSON line, when the server is ready.
    #[arg(long, value_name = "N")]
    pub ready_fd: Option<i32>,
}

/// Runs the server until it is told to stop.
///
/// # Errors
///
/// Whatever keeps it from starting, with what to do about it.
pub fn serve(flags: &ServeFlags) -> anyhow::Result<()> {
    let mut config = config::load(flags.config.as_deref())?;
    apply(flags, &mut config);
    config.check()?;
    run::run(&config, flags.ready_fd)
}

fn apply(flags: &ServeFlags, config: &mut Config) {
    if let Some(models) = &flags.models {
        config.repository.path.clone_from(models);
    }
    if let Some(name) = &flags.model_name {
        config.repository.model_name = Some(name.clone());
    }
    config.compat = flags.compat.unwrap_or(config.compat);
    let server = &mut config.server;
    if let Some(host) = flags.listen {
        for address in [&mut server.http, &mut server.grpc, &mut server.metrics] {
            address.set_ip(host);
        }
    }
    for (address, flag) in [
        (&mut server.http, flags.http),
        (&mut server.grpc, flags.grpc),
        (&mut server.metrics, flags.metrics),
        (&mut server.admin, flags.admin),
    ] {
        *address = flag.unwrap_or(*address);
    }
}

fn compat(name: &str) -> Result<Compat, &'static str> {
    Compat::from_name(name).ok_or("expected none or triton")
}
