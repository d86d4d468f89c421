//! The ledger of effects: every call that changed something, counted by the world itself.
//!
//! Tests use it as an oracle that is independent of journals and clients: "was this container stopped twice?".
//! One line per effect, appended with one write before the answer is sent, so that it survives a killed process.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::SandboxError;

/// How often each effect happened, by key: `stop legacy/agent-001`, `chat post`.
pub type Effects = BTreeMap<String, u64>;

/// The ledger, shared by all doubles of one world.
#[derive(Debug, Clone)]
pub struct Ledger {
    path: PathBuf,
    book: Arc<Mutex<Book>>,
}

#[derive(Debug)]
struct Book {
    file: File,
    effects: Effects,
}

impl Ledger {
    /// Opens the ledger at `path`, with what it already holds.
    pub fn open(path: &Path) -> Result<Self, SandboxError> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(SandboxError::file("open", path))?;
        let effects = read(path)?;
        Ok(Self { path: path.to_owned(), book: Arc::new(Mutex::new(Book { file, effects })) })
    }

    /// Counts one effect. A ledger that cannot be written says so in the log; the count in memory stays true.
    pub fn record(&self, key: &str) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let line: String =
            key.chars().map(|c| if c.is_control() { ' ' } else { c }).chain(['\n']).collect();
        if let Err(error) = book.file.write_all(line.as_bytes()) {
            tracing::error!(path = %self.path.display(), %error, "failed to write the ledger of effects");
        }
        *book.effects.entry(line.trim_end().to_owned()).or_default() += 1;
    }

    /// All effects so far.
    pub fn effects(&self) -> Effects {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).effects.clone()
    }

    /// Forgets everything, for a world that is put back to its first state.
    pub fn clear(&self) -> Result<(), SandboxError> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.file.set_len(0).map_err(SandboxError::file("clear", &self.path))?;
        book.effects.clear();
        Ok(())
    }
}

/// Reads a ledger from its file, also that of a world that does not run.
pub fn read(path: &Path) -> Result<Effects, SandboxError> {
    let text = std::fs::read_to_string(path).map_err(SandboxError::file("read", path))?;
    let mut effects = Effects::new();
    for line in text.lines() {
        *effects.entry(line.to_owned()).or_default() += 1;
    }
    Ok(effects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_are_counted_and_survive_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("effects.log");
        let ledger = Ledger::open(&path).unwrap();
        ledger.record("stop a");
        ledger.record("stop a");
        ledger.record("post two\nlines");
        drop(ledger);
        let again = Ledger::open(&path).unwrap();
        again.record("stop a");
        let expected = Effects::from([("stop a".to_owned(), 3), ("post two lines".to_owned(), 1)]);
        assert_eq!(again.effects(), expected);
        assert_eq!(read(&path).unwrap(), expected);
        again.clear().unwrap();
        assert!(read(&path).unwrap().is_empty());
    }
}
