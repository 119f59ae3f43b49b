//! What a `config.pbtxt` comes to here.

use crate::serving::repository::manifest::Manifest;

/// What a `config.pbtxt` comes to here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// What it says, in our words.
    pub manifest: Manifest,
    /// What becomes of it, one sentence each.
    pub notes: Vec<String>,
}

impl Translation {
    /// Notes what becomes of something.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}
