//! A drill: what a run is for in it, and its record.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Actor, RunVerdict};
use crate::runbook::Scenario;

/// The version of the record's form. Within a version fields are only added.
pub const DRILL_FORMAT: u32 = 1;

/// What a run is for in a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "kebab-case")]
pub enum DrillPart {
    /// It brings the environment into the state from which one rolls back.
    Prepare,
    /// It is the rollback that is measured.
    Rollback {
        /// The faults that are injected into it, as they were typed.
        faults: Vec<String>,
    },
    /// It brings the environment back.
    Restore,
}

impl DrillPart {
    /// Whether its times tell nothing about an undisturbed run.
    pub fn is_disturbed(&self) -> bool {
        matches!(self, Self::Rollback { faults } if !faults.is_empty())
    }

    /// What the run is, for people.
    pub fn words(&self) -> &'static str {
        match self {
            Self::Prepare => "preparation of a drill",
            Self::Rollback { .. } => "drill",
            Self::Restore => "restoration after a drill",
        }
    }
}

/// The record of a drill. All figures of the rollback are taken from its journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drill {
    /// The version of this form.
    pub format: u32,
    /// The program's version.
    pub program: String,
    /// The runbook's name.
    pub runbook: String,
    /// The kind of runbook.
    pub scenario: Scenario,
    /// What was rolled back.
    pub subject: String,
    /// The environment's name.
    pub environment: String,
    /// Why it was drilled.
    pub reason: Option<String>,
    /// Who started it, where.
    pub by: Actor,
    /// When it began.
    pub started: Timestamp,
    /// When it had ended.
    pub ended: Timestamp,
    /// SHA-256 of the runbook file, hexadecimal.
    pub runbook_sha256: String,
    /// SHA-256 of the environment file, hexadecimal.
    pub environment_sha256: String,
    /// What was injected.
    pub faults: Vec<InjectedFault>,
    /// The run that brought the environment into the state from which one rolls back, if the runbook has one.
    pub prepared: Option<DrillRun>,
    /// The rollback, if it came to it.
    pub rollback: Option<DrillRun>,
    /// Each target's time against its limit.
    pub targets: Vec<DrillTarget>,
    /// How the environment was brought back.
    pub restored: Restored,
    /// What it comes to.
    pub result: DrillResult,
    /// The program's exit code.
    pub exit_code: u8,
}

/// A fault that was injected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectedFault {
    /// As it was typed.
    pub fault: String,
    /// How many calls met it.
    pub met: u64,
}

/// A run of a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillRun {
    /// Its id.
    pub run: String,
    /// Its final word, if it came to one.
    pub verdict: Option<RunVerdict>,
    /// The exit code.
    pub exit_code: u8,
    /// Milliseconds from its start to its end.
    pub elapsed_ms: u64,
    /// The hash of its journal's last record.
    pub journal_head: String,
}

/// A target in a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillTarget {
    /// Its name.
    pub target: String,
    /// Its limit, in milliseconds.
    pub within_ms: u64,
    /// How long it took, if it was reached.
    pub took_ms: Option<u64>,
    /// Whether it was reached within its limit.
    pub in_time: bool,
}

/// How an environment was brought back after a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Restored {
    /// The sandbox was reset.
    Reset,
    /// The runbook's `restore` did it.
    Runbook {
        /// That run.
        run: DrillRun,
    },
    /// What the drill changed was taken back, its rollback first: the runbook has no `restore`.
    Reverted {
        /// The runs that did it.
        runs: Vec<DrillRun>,
        /// The steps whose changes cannot be taken back.
        left: Vec<String>,
    },
    /// It could not be brought back.
    Failed {
        /// Why.
        because: String,
    },
}

/// What a drill comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrillResult {
    /// Recovered within every target, and the environment is back.
    Passed,
    /// Recovered, and a target was missed.
    Late,
    /// Not recovered.
    Failed,
    /// It never came to the rollback: the preparation failed, or the rollback could not start.
    NotBegun,
}

impl DrillResult {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Late => "late",
            Self::Failed => "failed",
            Self::NotBegun => "not begun",
        }
    }
}

impl Drill {
    /// How many targets were reached in time, and how many there are.
    pub fn score(&self) -> (usize, usize) {
        let in_time = self.targets.iter().filter(|target| target.in_time).count();
        (in_time, self.targets.len())
    }
}
