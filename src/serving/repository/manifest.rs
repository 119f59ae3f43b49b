//! `model.toml`: what one may want to say of a model.
//!
//! It lies beside the version folders and counts for all versions.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;

use crate::serving::runtime::device::{Cuda, OpenVino, Providers, TensorRt, Wishes};

/// What a model's owner says of it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Manifest {
    /// Version of the file's format; 1 is the only one.
    pub schema: Option<u32>,
    /// What runs its versions, the preferred one first; the server's `runtime.providers` if not said.
    pub providers: Option<Providers>,
    /// Options of `cuda`, in place of the server's.
    pub cuda: Option<Cuda>,
    /// Options of `tensorrt`, in place of the server's.
    pub tensorrt: Option<TensorRt>,
    /// Options of `openvino`, in place of the server's.
    pub openvino: Option<OpenVino>,
    /// How its versions are warmed.
    pub warmup: Warmup,
}

/// How a version is warmed.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Warmup {
    /// Sizes of dimensions by symbol (`batch = 8`); without one, a golden case's, or 1.
    pub dims: BTreeMap<String, i64>,
}

/// Why a manifest cannot be obeyed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("model.toml cannot be read: {0}")]
    Read(io::Error),
    /// It says something that we do not know.
    #[error("model.toml: {0}")]
    Parse(toml::de::Error),
    /// A newer format.
    #[error("model.toml has schema {found}, expected 1")]
    Schema {
        /// What it says.
        found: u32,
    },
    /// A size that no dimension can have.
    #[error("model.toml: warmup.dims.{symbol} is {found}, expected 1 or more")]
    Size {
        /// Which dimension.
        symbol: String,
        /// What it says.
        found: i64,
    },
}

impl Manifest {
    /// What it says of devices.
    pub fn devices(&self) -> Wishes {
        Wishes {
            providers: self.providers.clone(),
            cuda: self.cuda.clone(),
            tensorrt: self.tensorrt.clone(),
            openvino: self.openvino.clone(),
        }
    }
}

/// Reads a model folder's manifest; the default if it has none.
///
/// # Errors
///
/// [`ManifestError`]; a setting that cannot act is never ignored.
pub fn read(folder: &Path) -> Result<Manifest, ManifestError> {
    let text = match fs::read_to_string(folder.join("model.toml")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Manifest::default()),
        Err(error) => return Err(ManifestError::Read(error)),
    };
    let manifest: Manifest = toml::from_str(&text).map_err(ManifestError::Parse)?;
    if let Some(found) = manifest.schema.filter(|&schema| schema != 1) {
        return Err(ManifestError::Schema { found });
    }
    let mut sizes = manifest.warmup.dims.iter();
    match sizes.find(|&(_, &size)| size < 1) {
        Some((symbol, &found)) => Err(ManifestError::Size { symbol: symbol.clone(), found }),
        None => Ok(manifest),
    }
}

#[cfg(test)]
mod tests {
    use super::read;
    use std::fs;

    #[test]
    fn what_it_says_is_obeyed_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap().warmup.dims.is_empty());
        let says = |text: &str| {
            fs::write(folder.path().join("model.toml"), text).unwrap();
            read(folder.path()).map_err(|error| error.to_string())
        };
        let dims = says("[warmup]\ndims = { batch = 8 }").unwrap().warmup.dims;
        assert_eq!(dims["batch"], 8);
        assert!(says("[warm]").unwrap_err().contains("unknown field `warm`"));
        assert_eq!(says("schema = 2").unwrap_err(), "model.toml has schema 2, expected 1");
        let size = says("[warmup]\ndims = { batch = 0 }").unwrap_err();
        assert_eq!(size, "model.toml: warmup.dims.batch is 0, expected 1 or more");
    }
}
