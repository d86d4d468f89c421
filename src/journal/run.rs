//! The folder of one run: its journal, its private saved states, its scratch space and its letter box.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;

use super::control::{self, Request, Taken};
use super::error::JournalError;
use super::files;
use super::holder::Holder;
use super::lock::{LeftElsewhere, Lock, LockError};
use super::owner::OwnerFile;
use super::saved;
use crate::event::{Drill, Place, PrivateRef};

/// Letters and digits that cannot be mistaken for one another when read out or typed.
const ALPHABET: &[u8; 31] = b"23456789abcdefghjkmnpqrstuvwxyz";
const SUFFIX: usize = 4;
/// The first record's format, number and time stand within so many bytes.
const BEGINNING: u64 = 128;

/// A run's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    id: String,
    dir: PathBuf,
}

impl Run {
    /// The run of this id in `runs`; nothing is looked at.
    pub(super) fn in_folder(runs: &Path, id: &str) -> Self {
        Self { id: id.to_owned(), dir: runs.join(id) }
    }

    /// Makes the folder of a new run. Its name is durable after [`sync`](Self::sync), what is in it when the journal is.
    pub(super) fn create(runs: &Path, id: &str) -> Result<Self, JournalError> {
        let run = Self::in_folder(runs, id);
        files::new_private_dir(&run.dir)?;
        for folder in [run.saved(), run.scratch(), run.control()] {
            files::new_private_dir(&folder)?;
        }
        Ok(run)
    }

    /// Makes the name of the run's folder durable.
    pub(super) fn sync(&self) -> Result<(), JournalError> {
        files::sync_parent(&self.dir)
    }

    /// The id that people type.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the journal lies.
    pub fn journal_path(&self) -> PathBuf {
        self.dir.join("journal.jsonl")
    }

    /// Where what the journal tells about durations is kept.
    pub(super) fn measured_path(&self) -> PathBuf {
        self.dir.join("measured.json")
    }

    /// A private folder for what steps park until they may be undone.
    pub fn scratch(&self) -> PathBuf {
        self.dir.join("scratch")
    }

    fn saved(&self) -> PathBuf {
        self.dir.join("saved")
    }

    fn control(&self) -> PathBuf {
        self.dir.join("control")
    }

    /// Keeps a private saved state durably, and returns the reference for the journal. Blocks for two flushes.
    pub fn save(&self, place: &Place, value: &Value) -> Result<PrivateRef, JournalError> {
        saved::put(&self.saved(), place, value)
    }

    /// Reads a private saved state back. Fails with [`JournalError::Untrusted`] when it is not what was saved.
    pub fn load(&self, reference: &PrivateRef) -> Result<Value, JournalError> {
        saved::get(&self.saved(), reference)
    }

    fn drill_path(&self) -> PathBuf {
        self.dir.join("drill.json")
    }

    /// Keeps the record of a drill beside the journal, durably; one that is there already is replaced as a whole.
    pub fn keep_drill(&self, drill: &Drill) -> Result<(), JournalError> {
        let path = self.drill_path();
        let mut text = serde_json::to_vec_pretty(drill)
            .map_err(|error| JournalError::io("write", &path, error.into()))?;
        text.push(b'\n');
        files::replace(&path, &text)
    }

    /// The record of the drill that this run was the rollback of, if there is one.
    pub fn drill(&self) -> Result<Option<Drill>, JournalError> {
        let path = self.drill_path();
        if path.symlink_metadata().is_err() {
            return Ok(None);
        }
        let drill = serde_json::from_slice(&files::read(&path)?);
        drill.map(Some).map_err(|error| JournalError::io("read", &path, error.into()))
    }

    /// Leaves a request for the process that runs this run.
    pub fn post(&self, request: &Request) -> Result<(), JournalError> {
        control::post(&self.control(), request)
    }

    /// Takes the requests that were left since the last call, each once.
    pub fn take(&self) -> Result<Taken, JournalError> {
        control::take(&self.control())
    }

    /// Forgets the requests to stop that came too late for an earlier process of this run: they were not meant for whoever takes it
    /// up again, who is to be told of them. Everything else stays: an answer is still one, and an emergency may have the subject.
    pub fn forget_aborts(&self) -> Result<Vec<Request>, JournalError> {
        control::forget_aborts(&self.control())
    }

    /// Makes sure that this process alone runs or resumes this run.
    pub fn lock(&self, holder: &Holder, left: LeftElsewhere) -> Result<Lock, LockError> {
        Lock::acquire(&self.lock_path(), 0o600, holder, left)
    }

    fn lock_path(&self) -> PathBuf {
        self.dir.join("run.lock")
    }

    /// Whether a process runs or resumes this run right now.
    pub fn is_running(&self) -> Result<bool, JournalError> {
        Lock::is_held(&self.lock_path())
    }

    fn owner_path(&self) -> PathBuf {
        self.dir.join("owner")
    }

    /// Keeps where the owner of the run's subject is written down, for those who look at the run alone.
    pub fn keep_ownership(&self, file: &OwnerFile) -> Result<(), JournalError> {
        let path = self.owner_path();
        std::fs::write(&path, file.path().as_os_str().as_bytes())
            .map_err(|error| JournalError::io("write", &path, error))
    }

    /// Where the owner of the run's subject is written down, if the run ever waited for hours.
    pub fn ownership(&self) -> Option<OwnerFile> {
        let path = std::fs::read(self.owner_path()).ok()?;
        Some(OwnerFile::at(PathBuf::from(OsString::from_vec(path))))
    }

    /// Removes the folder of a run that could not begin. A folder with a journal stays.
    pub fn discard_unbegun(&self) -> Result<(), JournalError> {
        if self.journal_path().exists() {
            return Ok(());
        }
        std::fs::remove_dir_all(&self.dir).map_err(|e| JournalError::io("remove", &self.dir, e))
    }

    /// When the run began, read from the first bytes of its journal without verifying them: to sort by.
    pub(super) fn began(&self) -> Option<Timestamp> {
        let file = files::open_to_read(&self.journal_path()).ok()?;
        let mut bytes = Vec::new();
        let _length = file.take(BEGINNING).read_to_end(&mut bytes).ok()?;
        let start = String::from_utf8_lossy(&bytes);
        let (_, rest) = start.split_once("\"at\":\"")?;
        rest.split_once('"')?.0.parse().ok()
    }
}

/// A new id: the minute, for people, and a random part.
pub(super) fn new_id(now: Timestamp) -> String {
    let random = uuid::Uuid::new_v4().into_bytes();
    // Bytes 0 to 5 of a version 4 identifier are random throughout.
    let suffix: String = random
        .iter()
        .take(SUFFIX)
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect();
    format!("{}-{suffix}", now.strftime("%Y%m%d-%H%M"))
}

/// Whether a folder's name, or what a person typed, can be (the beginning of) an id.
pub(super) fn may_be_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}
