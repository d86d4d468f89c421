//! Who owns a subject while nobody holds its lock: a run that waits for hours, or one that was interrupted in such a wait.
//!
//! The record lies beside the lock and outlives its run's process. It is decided by only while the lock is held, so that two runs
//! cannot both have read that the subject is theirs. A machine that is restarted may lose it, since locks lie in memory: what a journal
//! says of itself, and what runs came after it, is asked beside it.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::JournalError;
use super::files;
use super::holder::Holder;
use super::lock;

/// The longest record.
const LONGEST: u64 = 32 * 1024;

/// A run that owns a subject without holding its lock. Other users can have written this text: sanitize before printing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The run.
    pub holder: Holder,
    /// The step that it waits in, or for.
    pub waits: String,
    /// Since when.
    pub since: Timestamp,
    /// The run that has taken the subject over from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_over: Option<Holder>,
}

/// Where the owner of a subject is written down.
#[derive(Debug, Clone)]
pub struct OwnerFile {
    path: PathBuf,
    mode: u32,
}

impl OwnerFile {
    /// The record beside the lock at `lock`, created with `mode`.
    pub(super) fn beside(lock: &Path, mode: u32) -> Self {
        Self { path: lock.with_extension("owner"), mode }
    }

    /// The record at a path that a run has kept.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, mode: 0o600 }
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The owner, if there is one. A record that cannot be read, or is only half there, names nobody.
    pub fn read(&self) -> Option<Owner> {
        let mut text = String::new();
        let file = files::open_shared(&self.path).ok()?;
        let _length = file.take(LONGEST).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Writes the owner down. To be called while the lock is held; blocks for a flush.
    pub fn write(&self, owner: &Owner) -> Result<(), JournalError> {
        let put = || -> io::Result<()> {
            let text = serde_json::to_vec(owner)?;
            let mut file = lock::open(&self.path, self.mode)?;
            file.set_len(0)?;
            file.write_all(&text)?;
            file.sync_data()
        };
        put().map_err(|error| JournalError::io("write the owner to", &self.path, error))
    }

    /// Nobody owns the subject any more, if `run` did.
    pub fn give_up(&self, run: &str) -> Result<bool, JournalError> {
        if self.read().is_none_or(|owner| owner.holder.run != run) {
            return Ok(false);
        }
        // Emptied, not removed: in a shared folder it may belong to another user.
        lock::open(&self.path, self.mode)
            .and_then(|file| file.set_len(0))
            .map_err(|error| JournalError::io("give up the subject in", &self.path, error))?;
        Ok(true)
    }
}
