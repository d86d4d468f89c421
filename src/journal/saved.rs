//! Private saved states: what undo needs and nobody else may read, in 0600 files beside the journal,
//! which holds only their names and hashes.

use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::error::JournalError;
use super::files;
use crate::digest::sha256;
use crate::event::{Place, PrivateRef};

/// Writes a value durably into `dir` and returns the reference for the journal.
pub(super) fn put(dir: &Path, place: &Place, value: &Value) -> Result<PrivateRef, JournalError> {
    let bytes = value.to_string().into_bytes();
    let hash = sha256(&bytes);
    let reference = PrivateRef { file: file_name(place, &hash), sha256: hash };
    let path = dir.join(&reference.file);
    if path.exists() && get(dir, &reference).is_ok() {
        return Ok(reference);
    }
    // Under its own name only when complete, so that a crash leaves no half of it there.
    let new = dir.join(format!(".new-{}", uuid::Uuid::new_v4().simple()));
    let mut file = files::create(&new)?;
    let stored = file
        .write_all(&bytes)
        .map_err(|e| JournalError::io("write", &new, e))
        .and_then(|()| file.sync_all().map_err(|e| files::not_synced(&new, e)))
        .and_then(|()| {
            std::fs::rename(&new, &path).map_err(|e| JournalError::io("write", &path, e))
        })
        .and_then(|()| files::sync_parent(&path));
    if stored.is_err() {
        // The first error counts.
        let _left_over = std::fs::remove_file(&new);
    }
    stored.map(|()| reference)
}

/// Reads a value back and checks that it is the one that was saved.
pub(super) fn get(dir: &Path, reference: &PrivateRef) -> Result<Value, JournalError> {
    let path = dir.join(&reference.file);
    let untrusted = |why| JournalError::Untrusted { path: path.clone(), why };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if reference.file.starts_with('.') || !reference.file.chars().all(plain) {
        return Err(untrusted("it is not the name of a saved state"));
    }
    let bytes = files::read(&path)?;
    if sha256(&bytes) != reference.sha256 {
        return Err(untrusted("its content is not what was saved"));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| JournalError::io("read", &path, std::io::Error::from(error)))
}

/// A name that people can place and that no item's name can lead elsewhere.
fn file_name(place: &Place, hash: &str) -> String {
    let readable: String = format!("{}-{}", place.step, place.item)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(64)
        .collect();
    let at = sha256(format!("{}\n{}", place.step, place.item).as_bytes());
    format!("{}-{}-{}.json", readable.trim_matches('-'), &at[..8], &hash[..16])
}
