//! `tidegate version`: of this program, of the library, of the server.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use crate::app::cli::client::{Client, Http};
use crate::app::cli::print;
use crate::app::config;
use crate::serving::runtime::onnx::library::Library;

/// Flags of `tidegate version`.
#[derive(Clone, Debug, Args)]
pub struct VersionFlags {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the server is.
    #[command(flatten)]
    pub server: Http,
}

#[derive(Deserialize)]
struct Server {
    name: String,
    version: String,
}

/// Prints what is known; neither a library nor a server needs to be there.
///
/// # Errors
///
/// A URL or configuration that cannot be read.
pub fn version(flags: &VersionFlags) -> anyhow::Result<()> {
    let client = flags.server.client()?;
    let own = env!("CARGO_PKG_VERSION");
    let library = config::load(None).and_then(|config| Ok(Library::open(&config.libraries())?));
    let server = ask(&client);
    if flags.json {
        let library = library.as_ref().map(Library::version).ok();
        let server = server.as_ref().map(|server| &server.version).ok();
        let versions = json!({"tidegate": own, "onnxruntime": library, "server": server});
        print::out(&format!("{versions}\n"));
        return Ok(());
    }
    let library = match library {
        Ok(library) => format!("{}  {}", library.version(), library.path().display()),
        Err(error) => format!("none: {error}"),
    };
    let server = match server {
        Ok(server) => format!("{}  {} at {}", server.version, server.name, client.url()),
        Err(error) => format!("none: {error}"),
    };
    print::out(&format!("tidegate      {own}\nONNX Runtime  {library}\nserver        {server}\n"));
    Ok(())
}

fn ask(client: &Client) -> anyhow::Result<Server> {
    client.get("/v2")?.done()?.read()
}
