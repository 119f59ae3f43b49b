//! `tidegate load` and `tidegate unload`: change what is served.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use crate::app::cli::client::Admin;
use crate::app::cli::print;

/// Flags of `tidegate load` and `tidegate unload`.
#[derive(Clone, Debug, Args)]
pub struct ChangeFlags {
    /// The model.
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// One version: `load` leaves it in standby, `unload` takes it out of standby.
    #[arg(long, value_name = "N")]
    pub version: Option<u64>,
    /// Why; it goes into the server's journal.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Print the server's answer as JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the server is.
    #[command(flatten)]
    pub server: Admin,
}

#[derive(Deserialize)]
struct Receipt {
    generation: u64,
    serving: Option<u64>,
}

/// Loads what the model's policy wants, or one version into standby.
///
/// # Errors
///
/// What the server says; what served before still serves.
pub fn load(flags: &ChangeFlags) -> anyhow::Result<()> {
    make(flags, "load", "loaded")
}

/// Takes a model out of service until its next load, or one version out of standby.
///
/// # Errors
///
/// What the server says.
pub fn unload(flags: &ChangeFlags) -> anyhow::Result<()> {
    make(flags, "unload", "unloaded")
}

fn make(flags: &ChangeFlags, call: &str, done: &str) -> anyhow::Result<()> {
    let model = &flags.model;
    let subject = match flags.version {
        Some(version) => format!("{model}/versions/{version}"),
        None => model.clone(),
    };
    let body = json!({"reason": flags.reason}).to_string();
    let path = format!("/admin/v1/models/{subject}:{call}");
    let reply = flags.server.client()?.post(&path, body)?.done()?;
    if flags.json {
        print::body(&reply.body);
        return Ok(());
    }
    let Receipt { generation, serving } = reply.read()?;
    let what = flags.version.map_or_else(|| model.clone(), |version| format!("{model}/{version}"));
    let serves = match serving {
        Some(version) => format!("version {version} serves"),
        None => "no version serves".to_owned(),
    };
    print::out(&format!("{done} {what}; {serves}, generation {generation}\n"));
    Ok(())
}
