//! What `rollback check` found, in the forms that programs read.
//!
//! Whoever checks hands over plain data ([`CheckedFile`]); each form is a pure function of it: [`json()`] for scripts,
//! [`junit()`] for test reports, [`sarif()`] for code scanning, [`github()`] for annotations in a pull request. File names
//! and messages come from files that nobody trusts, so every form escapes them by its own rules.

mod github;
mod json;
mod junit;
mod sarif;
#[cfg(test)]
mod tests;

pub use github::github;
pub use json::json;
pub use junit::junit;
pub use sarif::sarif;

use serde::Serialize;

/// A file that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckedFile {
    /// Its path, relative to the current folder where it lies below.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// Whether its problems fail the check.
    pub failed: bool,
    /// Everything that was found, in the order of the file.
    pub problems: Vec<Problem>,
}

/// What a checked file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A runbook.
    Runbook,
    /// The connections that runbooks run against.
    Environment,
    /// A decision table.
    Decisions,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// The file cannot be used, or its times cannot fit.
    Error,
    /// Somebody should look at it.
    Warning,
    /// What could not be known offline.
    Note,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Level,
    /// A stable kebab-case name of the kind of problem.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// Where; `None` for problems of the file as a whole.
    #[serde(flatten)]
    pub place: Option<Extent>,
    /// What to do, in sentences.
    pub hints: Vec<String>,
}

/// A place in a file, counted from 1; columns count characters, and the end is the first that is outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// The line where it starts.
    pub line: usize,
    /// The column where it starts.
    pub column: usize,
    /// The line where it ends.
    pub end_line: usize,
    /// The column where it ends.
    pub end_column: usize,
}

impl Problem {
    /// A problem that has no place in the file.
    pub fn beyond(severity: Level, code: &str, message: String, hints: Vec<String>) -> Self {
        Self { severity, code: code.to_owned(), message, place: None, hints }
    }

    /// The message and the hints, one a line.
    fn text(&self) -> String {
        let lines = std::iter::once(&self.message).chain(&self.hints);
        lines.map(|line| super::text::sanitize(line)).collect::<Vec<_>>().join("\n")
    }
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}
