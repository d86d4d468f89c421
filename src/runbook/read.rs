//! A file's text, read within limits: the size is known before a byte is read, and nothing that is not a regular file
//! (a named pipe, a device) is ever read, since it may never end.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use super::diagnostic::{Diagnostic, Diagnostics, Source};
use super::node::Span;

/// A larger file is refused unread.
pub(crate) const LARGEST_FILE: u64 = 8 * 1024 * 1024;

/// Reads the bytes of a runbook or an environment file.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, Diagnostics> {
    let refused = |problem| whole_file(path, problem);
    let failed = |error: &std::io::Error| {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file".to_owned(),
            _ => format!("failed to read the file: {error}"),
        };
        refused(Diagnostic::error("unreadable-file", message))
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
        return Err(refused(Diagnostic::error("unreadable-file", format!("this is {what}"))));
    }
    if about.len() > LARGEST_FILE {
        return Err(refused(too_large(about.len())));
    }
    let mut bytes = Vec::new();
    let read = file.take(LARGEST_FILE + 1).read_to_end(&mut bytes);
    let size = read.map_err(|error| failed(&error))? as u64;
    if size > LARGEST_FILE {
        return Err(refused(too_large(size)));
    }
    Ok(bytes)
}

fn whole_file(path: &Path, problem: Diagnostic) -> Diagnostics {
    Diagnostics::new(Source::new(path.display().to_string(), ""), vec![problem])
}

/// The refusal of a file of this many bytes.
pub(super) fn too_large(size: u64) -> Diagnostic {
    Diagnostic::error(
        "file-too-large",
        format!("the file has {size} bytes, and at most {LARGEST_FILE} are accepted"),
    )
}

/// The bytes as text without a byte-order mark.
pub(crate) fn text(path: &str, bytes: Vec<u8>) -> Result<Source, Diagnostics> {
    let error = match String::from_utf8(bytes) {
        Ok(mut text) => {
            if text.starts_with('\u{FEFF}') {
                drop(text.drain(..'\u{FEFF}'.len_utf8()));
            }
            return Ok(Source::new(path, text));
        }
        Err(error) => error,
    };
    let good = error.utf8_error().valid_up_to();
    let byte = error.as_bytes().get(good).copied().unwrap_or_default();
    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let place = Span { start: good, end: good + '\u{FFFD}'.len_utf8() };
    let message = format!("byte {good} (0x{byte:02x}) is not UTF-8");
    let problem = Diagnostic::error("not-utf8", message).at(place).hint("Save the file as UTF-8.");
    Err(Diagnostics::new(Source::new(path, text), vec![problem]))
}
