//! Small files of the world's state, each replaced as a whole.
//!
//! The world outlives its process, also a killed one, so a reader finds either the former or the new content of a
//! file. Nothing is flushed to the disk itself: a sandbox need not survive the machine.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::SandboxError;

/// Writes `content` to a sibling with mode 0600 and renames it to `path`.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), SandboxError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let sibling = path.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&sibling)
        .map_err(SandboxError::file("write", &sibling))?;
    file.write_all(content).map_err(SandboxError::file("write", &sibling))?;
    fs::rename(&sibling, path).map_err(SandboxError::file("replace", path))
}

/// Writes a value as JSON, as [`replace`] does.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), SandboxError> {
    let text = serde_json::to_vec(value)
        .map_err(|source| SandboxError::Corrupt { path: path.to_owned(), source })?;
    replace(path, &text)
}

/// Reads a value that was written with [`write_json`].
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, SandboxError> {
    let text = fs::read(path).map_err(SandboxError::file("read", path))?;
    serde_json::from_slice(&text)
        .map_err(|source| SandboxError::Corrupt { path: path.to_owned(), source })
}

/// Makes a folder and those above it, for this user alone.
pub fn folder(path: &Path) -> Result<(), SandboxError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(SandboxError::file("make the folder", path))
}

/// Removes a file; one that is not there is fine.
pub fn remove_file(path: &Path) -> Result<(), SandboxError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(SandboxError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Removes a folder with all it holds; one that is not there is fine.
pub fn remove_folder(path: &Path) -> Result<(), SandboxError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(SandboxError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}
