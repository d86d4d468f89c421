//! The door: a file, or a text, through reading, parsing and validation.

use std::path::Path;

use super::diagnostic::{Diagnostic, Diagnostics, Severity, Source};
use super::model::Runbook;
use super::{parse, read, validate};
use crate::action::Registry;
use crate::digest;

/// A runbook that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The runbook.
    pub runbook: Runbook,
    /// Its text and path.
    pub source: Source,
    /// The SHA-256 of the file's bytes, in lower-case hexadecimal digits.
    pub sha256: String,
    /// Warnings, and notes on what could not be evaluated offline.
    pub warnings: Diagnostics,
}

/// Loads a runbook from a file.
///
/// # Errors
/// All problems of the file at once: it cannot be read, is not YAML, or breaks a rule of the language.
pub fn load(path: &Path, registry: &Registry) -> Result<Loaded, Diagnostics> {
    load_bytes(&path.display().to_string(), read::bytes(path)?, registry)
}

/// Loads a runbook from a text; `path` is only shown.
///
/// # Errors
/// As [`load`].
pub fn load_text(path: &str, text: &str, registry: &Registry) -> Result<Loaded, Diagnostics> {
    load_bytes(path, text.as_bytes().to_vec(), registry)
}

fn load_bytes(path: &str, bytes: Vec<u8>, registry: &Registry) -> Result<Loaded, Diagnostics> {
    let sha256 = digest::sha256(&bytes);
    let source = read::text(path, bytes)?;
    let (runbook, problems) = match parse::parse(&source) {
        Ok(root) => validate::validate(root, &source, registry),
        Err(problems) => (None, problems),
    };
    let failed = problems.iter().any(|found: &Diagnostic| found.severity == Severity::Error);
    let warnings = Diagnostics::new(source.clone(), problems);
    match runbook {
        Some(runbook) if !failed => Ok(Loaded { runbook, source, sha256, warnings }),
        _ => Err(warnings),
    }
}
