//! A store that forgets with the process.
//!
//! Until a durable store stands behind the same seam, history is bounded: the oldest entries go.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

use crate::platform::store::journal::{Document, Entry, Recorded, Store, StoreError, Write};

/// Documents and journal in memory.
#[derive(Debug, Default)]
pub struct Memory {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    documents: BTreeMap<String, Document>,
    journal: VecDeque<Recorded>,
    sequence: u64,
}

impl Store for Memory {
    fn read(&self, name: &str) -> Result<Option<Document>, StoreError> {
        Ok(self.held.lock().documents.get(name).cloned())
    }

    fn commit(&self, write: Write, entry: Entry) -> Result<Document, StoreError> {
        let Write { name, expected, content } = write;
        let mut held = self.held.lock();
        let found = held.documents.get(&name).map_or(0, |document| document.generation);
        if found != expected {
            return Err(StoreError::Generation { name, expected, found });
        }
        let document = Document { name: name.clone(), generation: found + 1, content };
        held.documents.insert(name, document.clone());
        held.sequence += 1;
        let sequence = held.sequence;
        if held.journal.len() == KEPT {
            held.journal.pop_front();
        }
        held.journal.push_back(Recorded { sequence, entry });
        Ok(document)
    }

    fn journal(&self, after: u64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let held = self.held.lock();
        let newer = held.journal.iter().filter(|recorded| recorded.sequence > after);
        Ok(newer.take(limit).cloned().collect())
    }
}

/// Entries kept: a busy operator's month.
const KEPT: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::Memory;
    use crate::platform::clock::{Clock, Manual};
    use crate::platform::store::journal::{Entry, Store, StoreError, Write};
    use serde_json::json;

    fn write(store: &Memory, expected: u64, content: u64) -> Result<u64, StoreError> {
        let entry = Entry {
            at: Manual::new().wall(),
            actor: "operator".into(),
            action: "promote".into(),
            subject: format!("iris/{content}"),
            reason: None,
        };
        let write = Write { name: "model/iris".into(), expected, content: json!(content) };
        store.commit(write, entry).map(|document| document.generation)
    }

    #[test]
    fn a_write_on_an_old_reading_changes_neither_state_nor_history() {
        let store = Memory::default();
        assert_eq!(write(&store, 0, 1).unwrap(), 1);
        assert_eq!(write(&store, 1, 2).unwrap(), 2);
        let refused = write(&store, 1, 3).unwrap_err().to_string();
        assert_eq!(refused, "document 'model/iris' is at generation 2, expected 1");
        assert_eq!(store.read("model/iris").unwrap().unwrap().content, json!(2));
        let subjects: Vec<String> =
            store.journal(0, 9).unwrap().into_iter().map(|entry| entry.entry.subject).collect();
        assert_eq!(subjects, ["iris/1", "iris/2"]);
        assert_eq!(store.journal(1, 9).unwrap().len(), 1);
    }
}
