//! Who holds a lock: for people to read, never to decide by.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::Actor;

/// The run that holds a lock, as it described itself. Other users can have written this text: sanitize before printing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The run's id.
    pub run: String,
    /// The runbook's name and scenario, for people.
    pub runbook: String,
    /// The process.
    pub by: Actor,
    /// Since when.
    pub since: Timestamp,
    /// Where that run's state lies, for `rollback status --state-dir`.
    pub state_dir: String,
}
