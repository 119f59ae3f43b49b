//! The seam of state and history, which are written together.
//!
//! State (what should be served) and history (who changed it, and why) can never disagree, because
//! there is no call that writes one without the other.

use std::time::SystemTime;

use serde_json::Value;

/// A document after a write or a read.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The name it is kept under (`model/iris`).
    pub name: String,
    /// Grows by one with each write; 1 after the first.
    pub generation: u64,
    /// The content.
    pub content: Value,
}

/// One change, as history tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When it was committed.
    pub at: SystemTime,
    /// Who changed it.
    pub actor: String,
    /// What was done (`promote`).
    pub action: String,
    /// To what (`iris/2`).
    pub subject: String,
    /// Why, in the actor's own words.
    pub reason: Option<String>,
}

/// An entry with its place in the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Place in the journal, from 1 without gaps.
    pub sequence: u64,
    /// The entry.
    pub entry: Entry,
}

/// A document to write, if it still is what the writer read.
#[derive(Clone, Debug)]
pub struct Write {
    /// The name it is kept under.
    pub name: String,
    /// The generation that the writer read; 0 if there was none.
    pub expected: u64,
    /// The new content.
    pub content: Value,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody wrote the document in between.
    #[error("document '{name}' is at generation {found}, expected {expected}")]
    Generation {
        /// The document.
        name: String,
        /// What the writer read.
        expected: u64,
        /// What is there.
        found: u64,
    },
}

/// Keeps documents and the journal of their changes.
pub trait Store: Send + Sync + 'static {
    /// The document of that name.
    ///
    /// # Errors
    ///
    /// The store's own, if it cannot be read.
    fn read(&self, name: &str) -> Result<Option<Document>, StoreError>;

    /// Writes the document and its journal entry, both or neither.
    ///
    /// # Errors
    ///
    /// [`StoreError::Generation`] if the document is not at the expected generation.
    fn commit(&self, write: Write, entry: Entry) -> Result<Document, StoreError>;

    /// Journal entries after `sequence`, oldest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// The store's own, if it cannot be read.
    fn journal(&self, after: u64, limit: usize) -> Result<Vec<Recorded>, StoreError>;
}
