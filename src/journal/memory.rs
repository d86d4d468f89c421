//! A log in memory with the same lines as a file, for tests in virtual time and for rehearsals.
//!
//! It acknowledges at once and can be told to fail, or be cut, where a disk or a crash would have done so.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ack::Outcome;
use super::error::JournalError;
use super::line::{Chain, Entry};
use super::reader::{self, History};
use crate::event::Record;

/// The content of a journal in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryLog {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    bytes: Vec<u8>,
    records: Vec<Arc<Record>>,
    chain: Chain,
    appends: u64,
    failure: Option<(u64, JournalError)>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            records: Vec::new(),
            chain: Chain::START,
            appends: 0,
            failure: None,
        }
    }
}

impl MemoryLog {
    /// Lets the append with this number (counted from 0, the run's start) and all later ones fail.
    pub fn fail_from(&self, append: u64, error: JournalError) {
        self.state().failure = Some((append, error));
    }

    /// The records so far.
    pub fn records(&self) -> Vec<Arc<Record>> {
        self.state().records.clone()
    }

    /// The lines so far, as a file would hold them.
    pub fn bytes(&self) -> Vec<u8> {
        self.state().bytes.clone()
    }

    /// What a resumed run would read.
    pub fn history(&self) -> Result<History, JournalError> {
        reader::parse(Path::new("(memory)"), &self.bytes())
    }

    /// A log that holds the first `records` of this one, as if the run had been killed then; to be
    /// [continued](super::Journal::continue_in_memory).
    #[must_use]
    pub fn cut_after(&self, records: usize) -> Self {
        let cut = Self::default();
        for record in self.records().iter().take(records) {
            // What could be sealed once can be sealed again.
            let _sealed = cut.append(Record::clone(record).into());
        }
        cut
    }

    pub(super) fn append(&self, entry: Entry) -> Outcome {
        let mut guard = self.state();
        let state = &mut *guard;
        let number = state.appends;
        state.appends += 1;
        if let Some((from, error)) = &state.failure
            && number >= *from
        {
            return Err(error.clone());
        }
        let record = Arc::new(state.chain.seal(entry, &mut state.bytes)?);
        state.records.push(Arc::clone(&record));
        Ok(record)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
