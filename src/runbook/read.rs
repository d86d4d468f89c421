//! A file's text, read within limits: the size is known before a byte is read, and nothing that is not a regular file
//! (a named pipe, a device) is ever read, since it may never end.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use super::diagnostic::{Diagnostic, Source};
use super::node::Span;

/// A larger file is refused unread.
pub(crate) const LARGEST_FILE: u64 = 8 * 1024 * 1024;

/// Reads the bytes of a runbook or an environment file.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, Diagnostic> {
    let failed = |error: &std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Diagnostic::error("unreadable-file", "no such file"),
        _ => Diagnostic::error("unreadable-file", format!("failed to read the file: {error}")),
    };
    // Without O_NONBLOCK, opening a named pipe waits for a writer.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|error| failed(&error))?;
    let about = file.metadata().map_err(|error| failed(&error))?;
    if !about.is_file() {
        let what = if about.is_dir() { "a directory" } else { "not a regular file" };
        return Err(Diagnostic::error("unreadable-file", format!("this is {what}")));
    }
    if about.len() > LARGEST_FILE {
        return Err(too_large(about.len()));
    }
    let mut bytes = Vec::new();
    let read = file.take(LARGEST_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|error| failed(&error))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

fn too_large(size: u64) -> Diagnostic {
    Diagnostic::error(
        "file-too-large",
        format!("the file has {size} bytes, and at most {LARGEST_FILE} are accepted"),
    )
}

/// The bytes as text without a byte-order mark.
pub(crate) fn text(path: &str, bytes: Vec<u8>) -> Result<Source, (Source, Diagnostic)> {
    match String::from_utf8(bytes) {
        Ok(mut text) => {
            if text.starts_with('\u{FEFF}') {
                drop(text.drain(..'\u{FEFF}'.len_utf8()));
            }
            Ok(Source::new(path, text))
        }
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let byte = error.as_bytes().get(good).copied().unwrap_or_default();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let place = Span { start: good, end: good + '\u{FFFD}'.len_utf8() };
            let problem =
                Diagnostic::error("not-utf8", format!("byte {good} (0x{byte:02x}) is not UTF-8"))
                    .at(place)
                    .hint("Save the file as UTF-8.");
            Err((Source::new(path, text), problem))
        }
    }
}
