//! Requests from other processes to a running one: each a JSON file that appears complete in the run's folder.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::JournalError;
use super::files;
use crate::event::{Actor, Place};
use crate::plan::StepId;

/// What another process asks of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// Stop, as if interrupted.
    Abort {
        /// Who asks.
        by: Actor,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Settle and stop: an emergency needs the subject.
    TakeOver {
        /// Who asks.
        by: Actor,
        /// The run of the emergency.
        run: String,
        /// Its runbook's name and scenario, for people.
        runbook: String,
    },
    /// Somebody takes notice.
    Acknowledge {
        /// Who.
        by: Actor,
        /// What that person adds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remark: Option<String>,
    },
    /// The answer to a question that the run waits for.
    Answer {
        /// The question's step and item.
        #[serde(flatten)]
        at: Place,
        /// Who answers.
        by: Actor,
        /// Yes or no.
        confirmed: bool,
        /// What the person adds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remark: Option<String>,
    },
    /// An approval, or its denial, by whoever asks.
    Approve {
        /// The step that needs it; the whole run where none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
        /// Who answers, as the person said.
        name: String,
        /// Where it was typed, and by which login.
        by: Actor,
        /// Yes or no.
        approved: bool,
        /// What the person adds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Whether to go on after a failure.
    Decide {
        /// The step; no item.
        #[serde(flatten)]
        at: Place,
        /// Who decides.
        by: Actor,
        /// Whether the run goes on.
        go_on: bool,
    },
}

/// The requests that were waiting.
#[derive(Debug, Default)]
pub struct Taken {
    /// Oldest first.
    pub requests: Vec<Request>,
    /// Files that are no requests, or cannot be trusted, with the reason.
    pub refused: Vec<String>,
}

/// Leaves a request in `dir`.
pub(super) fn post(dir: &Path, request: &Request) -> Result<(), JournalError> {
    // Version 7 identifiers sort by their time.
    let id = uuid::Uuid::now_v7().simple();
    let (new, path) = (dir.join(format!(".new-{id}")), dir.join(format!("{id}.json")));
    let failed = |source| JournalError::io("write", &path, source);
    let text = serde_json::to_vec(request).map_err(|e| failed(e.into()))?;
    let mut file = files::create(&new)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&new, &path).map_err(failed)
}

/// Takes all requests out of `dir`. Each is delivered at most once.
pub(super) fn take(dir: &Path) -> Result<Taken, JournalError> {
    let mut taken = Taken::default();
    for path in waiting(dir)? {
        match read(&path) {
            Ok(request) => taken.requests.push(request),
            Err(error) => taken.refused.push(error.to_string()),
        }
        std::fs::remove_file(&path).map_err(|e| JournalError::io("remove", &path, e))?;
    }
    Ok(taken)
}

/// Removes the requests to stop that a run has not lived to read, and returns them.
pub(super) fn forget_aborts(dir: &Path) -> Result<Vec<Request>, JournalError> {
    let mut forgotten = Vec::new();
    for path in waiting(dir)? {
        let Ok(request @ Request::Abort { .. }) = read(&path) else { continue };
        std::fs::remove_file(&path).map_err(|e| JournalError::io("remove", &path, e))?;
        forgotten.push(request);
    }
    Ok(forgotten)
}

fn waiting(dir: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let failed = |source| JournalError::io("list", dir, source);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Request, JournalError> {
    serde_json::from_slice(&files::read(path)?)
        .map_err(|error| JournalError::io("understand", path, error.into()))
}
