//! What a double of a messenger was given, kept in a file of the world.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{SandboxError, store};

/// How many are kept.
const MOST: usize = 1000;

/// A list of messages, oldest first.
#[derive(Debug, Clone)]
pub(super) struct Kept<T> {
    path: PathBuf,
    messages: Arc<Mutex<Vec<T>>>,
}

impl<T: Clone + Serialize + DeserializeOwned> Kept<T> {
    /// Opens the list with what its file holds.
    pub(super) fn open(path: &Path) -> Result<Self, SandboxError> {
        let messages = if path.exists() { store::read_json(path)? } else { Vec::new() };
        Ok(Self { path: path.to_owned(), messages: Arc::new(Mutex::new(messages)) })
    }

    /// All messages, oldest first.
    pub(super) fn all(&self) -> Vec<T> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the list; what comes to be too much goes from its beginning.
    pub(super) fn change(&self, change: impl FnOnce(&mut Vec<T>)) -> Result<(), SandboxError> {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut messages);
        let surplus = messages.len().saturating_sub(MOST);
        messages.drain(..surplus);
        store::write_json(&self.path, &*messages)
    }

    /// Adds a message.
    pub(super) fn add(&self, message: T) -> Result<(), SandboxError> {
        self.change(|messages| messages.push(message))
    }

    /// Forgets all messages.
    pub(super) fn clear(&self) -> Result<(), SandboxError> {
        self.change(Vec::clear)
    }
}
