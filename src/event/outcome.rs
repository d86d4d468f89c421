//! How things end, why they do not begin, and how people answer.

use serde::{Deserialize, Serialize};

use crate::plan::StepId;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every item was changed (or answered) as wanted.
    Done,
    /// The wanted state was there already.
    AlreadyDone,
    /// Not run; a success for those who wait.
    Skipped,
    /// Waits for a person, who has not answered yet; holds nobody up.
    Open,
    /// At least one item failed, none is unknown.
    Failed,
    /// At least one item may or may not have been changed.
    Unknown,
    /// It failed, and its changes were taken back.
    Undone,
    /// Not started when the run ended.
    NotStarted,
}

impl Outcome {
    /// Whether those who wait for success may go on.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Done | Self::AlreadyDone | Self::Skipped | Self::Open)
    }
}

/// Why a step was skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkipReason {
    /// Its `when` is false.
    Condition {
        /// The expression and what it evaluated to.
        because: String,
    },
    /// An optional step that does not fit into the time that is left.
    NoSpareTime {
        /// What it needs.
        needs_ms: u64,
        /// What is left.
        left_ms: u64,
    },
    /// A step that it waits for did not succeed.
    Blocked {
        /// That step.
        by: StepId,
    },
    /// `--only` or `--from` left it out.
    LeftOut {
        /// The flag.
        because: String,
    },
    /// The approval that it needs was not given, and the run does without it.
    NotApproved {
        /// Who was asked.
        role: String,
    },
    /// The run stops.
    Stopping,
}

/// How a gate of a hold answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateState {
    /// As wanted.
    Holds,
    /// Not as wanted.
    Fails,
    /// Nobody knows.
    NoData,
}

/// What was seen of a gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateSeen {
    /// Its name.
    pub gate: String,
    /// Whether it holds.
    pub state: GateState,
    /// What was seen, or why nothing could be.
    pub seen: String,
}

/// How a person answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// At the terminal of the run.
    Terminal,
    /// By a command, from another terminal.
    Command,
}

/// Why a run stops before its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// A required step failed or is unknown, and its `on_failure` is `stop`.
    StepFailed {
        /// That step.
        step: StepId,
    },
    /// The operator interrupted it (Ctrl-C).
    Interrupted,
    /// It was told to end (SIGTERM), perhaps by `rollback abort` or a take-over.
    Terminated {
        /// Who asked and why, when it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// Another run has taken the subject over.
    TakenOver {
        /// That run.
        run: String,
        /// Its runbook's name and scenario, for people.
        runbook: String,
    },
    /// An approval was denied, or not given in time.
    NotApproved {
        /// The step that needs it; the whole run where none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
        /// Who was asked.
        role: String,
        /// Who denied it; nobody answered where none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        denied_by: Option<String>,
    },
    /// Its `give_up` time has passed.
    GaveUp,
    /// The journal cannot be written any more.
    JournalLost {
        /// The error.
        error: String,
    },
    /// A bug.
    Panicked {
        /// The panic's message.
        message: String,
    },
}

/// The final word about a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunVerdict {
    /// Everything required is done, every target was met.
    Recovered,
    /// Everything required is done, a target was missed.
    RecoveredLate,
    /// It failed, and nothing of this run's changes remains.
    FailedClean,
    /// It failed, and some changes remain or are unknown: a person is needed.
    FailedPartial,
    /// Stopped by the operator, everything settled.
    Aborted,
    /// An approval was denied or not given in time: nothing more was started, and what is done is kept.
    NotApproved,
    /// A bug in this program.
    InternalError,
}
