//! `tidegate __try-load`: the other side of a trial, for the server's own use.

use std::path::PathBuf;

use clap::Args;

use crate::serving::runtime::onnx::library::Library;
use crate::serving::runtime::onnx::trial;

/// Arguments of a trial.
#[derive(Clone, Debug, Args)]
pub struct TryLoadFlags {
    /// The model file.
    pub model: PathBuf,
    /// The library that opens it.
    #[arg(long)]
    pub library: PathBuf,
}

/// Opens the model and lets it go.
///
/// # Errors
///
/// If the library or the model is refused.
pub fn try_load(flags: &TryLoadFlags) -> anyhow::Result<()> {
    let library = Library::open(std::slice::from_ref(&flags.library))?;
    Ok(trial::open_here(&library, &flags.model)?)
}
