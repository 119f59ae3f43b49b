//! Whose habits are imitated, where clients depend on them.

use serde::{Deserialize, Serialize};

/// Another server whose codes, shapes and defaults are taken over.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compat {
    /// Nobody's.
    #[default]
    None,
    /// Triton's.
    Triton,
}

impl Compat {
    /// The one of that name, as the configuration writes it.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "triton" => Some(Self::Triton),
            _ => None,
        }
    }
}
