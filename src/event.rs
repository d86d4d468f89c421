//! The vocabulary: everything that happens in a run, in the past tense.
//!
//! The engine emits events; the journal makes them durable; the terminal, the JSON stream and the reports read
//! them. Nothing else crosses these borders. The form is versioned by [`FORMAT`]: within a version fields are only added.

mod drill;
mod outcome;
mod standing;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::action::{ActionError, Evidence, Prediction, Window};
use crate::clock::Boot;
use crate::plan::{Plan, PlannedApproval, PlannedItem, StepId};
use crate::secret::Secrets;

pub use drill::{
    DRILL_FORMAT, Drill, DrillPart, DrillResult, DrillRun, DrillTarget, InjectedFault, Restored,
};
pub use outcome::{Channel, GateSeen, GateState, Outcome, RunVerdict, SkipReason, StopReason};
pub use standing::Standing;

/// The version of the journal's form. A newer one is refused, an older one is read.
pub const FORMAT: u32 = 1;

/// What a run starts from; pinned in the first record of its journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The run's id.
    pub run: String,
    /// The version of the program that started it.
    pub program: String,
    /// The runbook file.
    pub runbook_path: String,
    /// The runbook file's text, so that a changed file can be shown as a difference.
    pub runbook_text: Arc<str>,
    /// SHA-256 of the runbook file, hexadecimal.
    pub runbook_sha256: String,
    /// The environment file.
    pub environment_path: String,
    /// SHA-256 of the environment file, hexadecimal.
    pub environment_sha256: String,
    /// Everything that will be done.
    pub plan: Plan,
    /// Why the run was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who started it, where.
    pub by: Actor,
    /// When the incident began, if it was told (`--since`): the clock of the targets starts there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When the run started, for people.
    pub started: Timestamp,
    /// When the run started, for resuming.
    pub boot: Boot,
    /// Steps that are not part of this run (`--only`, `--from`), with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, String>,
    /// What it is for in a drill, if it is part of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<DrillPart>,
    /// The Markdown file to which it adds an entry when it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// A person or program that did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The login name.
    pub user: String,
    /// The machine.
    pub host: String,
    /// The process id.
    pub pid: u32,
}

/// Where one item of one step is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The step.
    pub step: StepId,
    /// The item's name; empty when the step has just one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub item: String,
}

impl std::fmt::Display for Place {
    /// `step`, or `step/item`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.item.as_str() {
            "" => f.write_str(&self.step.0),
            item => write!(f, "{}/{item}", self.step.0),
        }
    }
}

/// A saved state in the journal: its public part, and where the private part lies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedRecord {
    /// What undo needs, without secrets.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub state: Value,
    /// The private part, which lies in a 0600 file beside the journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<PrivateRef>,
}

/// A reference to a private saved state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateRef {
    /// The file's name in the run's `saved` folder.
    pub file: String,
    /// SHA-256 of its content, hexadecimal.
    pub sha256: String,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The run started. Always the first record.
    RunStarted {
        /// What it starts from. Shared, since the plan of a long runbook is most of what a run holds in memory.
        header: Arc<Header>,
    },
    /// Another process took the run up again.
    RunResumed {
        /// Who.
        by: Actor,
        /// What the journal's damage was, when `--salvage` passed over it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        salvaged: Option<String>,
    },
    /// A phase started.
    PhaseStarted {
        /// Its id.
        phase: String,
    },
    /// All steps of a phase have settled.
    PhaseEnded {
        /// Its id.
        phase: String,
    },
    /// A step started.
    StepStarted {
        /// The step.
        step: StepId,
        /// What is left until the next target that is still open; negative when it is late.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left_ms: Option<i64>,
    },
    /// A deferred step found its items.
    StepResolved {
        /// The step.
        step: StepId,
        /// Its items.
        items: Vec<PlannedItem>,
    },
    /// A step was not run.
    StepSkipped {
        /// The step.
        step: StepId,
        /// Why.
        reason: SkipReason,
    },
    /// A step ended.
    StepEnded {
        /// The step.
        step: StepId,
        /// How.
        outcome: Outcome,
        /// One line: evidence of success, or the first error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        summary: Option<String>,
    },
    /// The present state was looked at, and a change is needed.
    Inspected {
        /// The item.
        #[serde(flatten)]
        at: Place,
        /// What undo needs.
        saved: SavedRecord,
        /// What the change will do to resources.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        predicted: Vec<Prediction>,
    },
    /// The wanted state is there already.
    FoundDone {
        /// The item.
        #[serde(flatten)]
        at: Place,
        /// What shows it.
        evidence: Evidence,
    },
    /// A change is about to be made. On disk before it is.
    ApplyStarted {
        /// The item.
        #[serde(flatten)]
        at: Place,
        /// Counted from 1.
        attempt: u32,
    },
    /// A fact that a later look needs.
    Noted {
        /// The item.
        #[serde(flatten)]
        at: Place,
        /// The fact.
        note: Value,
    },
    /// The change was made.
    Applied {
        /// The item.
        #[serde(flatten)]
        at: Place,
        /// What shows it.
        evidence: Evidence,
    },
    /// The change was not made, or is known to have failed.
    ApplyFailed {
        /// The item.
        #[serde(flatten)]
        at: Place,
        /// Why.
        error: ActionError,
    },
    /// Nobody knows whether the change was made.
    ApplyUnknown {
        /// The item.
        #[serde(flatten)]
        at: Place,
        /// Why.
        error: ActionError,
    },
    /// The change is in force, or a probe's answer is as expected.
    Verified {
        /// The item.
        #[serde(flatten)]
        at: Place,
        /// What shows it.
        evidence: Evidence,
    },
    /// The change did not come into force in time, or a probe's answer was not as expected.
    VerifyFailed {
        /// The item.
        #[serde(flatten)]
        at: Place,
        /// What was seen.
        error: ActionError,
    },
    /// Looking at the item failed; nothing was changed.
    InspectFailed {
        /// The item.
        #[serde(flatten)]
        at: Place,
        /// Why.
        error: ActionError,
    },
    /// An attempt failed and another will follow.
    RetryScheduled {
        /// The item.
        #[serde(flatten)]
        at: Place,
        /// The attempt that failed, counted from 1.
        attempt: u32,
        /// The wait.
        delay_ms: u64,
        /// Why it failed.
        error: ActionError,
    },
    /// The change is about to be taken back. On disk before it is.
    UndoStarted {
        /// The item.
        #[serde(flatten)]
        at: Place,
    },
    /// The change was taken back.
    Undone {
        /// The item.
        #[serde(flatten)]
        at: Place,
    },
    /// The change could not be taken back: a person is needed.
    UndoFailed {
        /// The item.
        #[serde(flatten)]
        at: Place,
        /// Why.
        error: ActionError,
    },
    /// A hold began. Its time counts from here, whoever runs the run meanwhile.
    HoldBegan {
        /// The item.
        #[serde(flatten)]
        at: Place,
        /// How long it lasts.
        for_ms: u64,
    },
    /// The gates of a hold were asked.
    HoldLooked {
        /// The item.
        #[serde(flatten)]
        at: Place,
        /// What is left of its time.
        left_ms: u64,
        /// The answers, in the order of the runbook.
        gates: Vec<GateSeen>,
    },
    /// A question to a person was recorded and left open.
    QuestionOpened {
        /// The item.
        #[serde(flatten)]
        at: Place,
        /// The question.
        text: String,
        /// Whether the run waits for the answer.
        required: bool,
        /// When, after the run, it is asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<Window>,
        /// How long a probe's answer has to hold, where a probe answers in place of a person.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hold_ms: Option<u64>,
    },
    /// A probe was asked about an open question, after the run.
    QuestionProbed {
        /// The item.
        #[serde(flatten)]
        at: Place,
        /// Who had it asked.
        by: Actor,
        /// Whether the answer is as wanted.
        held: bool,
        /// What was seen.
        seen: String,
    },
    /// A person answered.
    QuestionAnswered {
        /// The item.
        #[serde(flatten)]
        at: Place,
        /// Who.
        by: Actor,
        /// Yes or no.
        confirmed: bool,
        /// What the person added.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remark: Option<String>,
    },
    /// A person is asked whether to go on after a failure (`on_failure: ask`).
    DecisionAsked {
        /// The step that failed.
        step: StepId,
    },
    /// A person decided whether to go on after a failure (`on_failure: ask`).
    FailureDecided {
        /// The step.
        step: StepId,
        /// Who.
        by: Actor,
        /// Whether the run goes on.
        go_on: bool,
    },
    /// An approval is needed before the run goes on. It is asked for once; the time counts from here.
    ApprovalAsked {
        /// The step that needs it; the whole run where none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
        /// Who is asked, how long the answer may take, and why.
        #[serde(flatten)]
        approval: PlannedApproval,
    },
    /// A person gave an approval, or denied it.
    ApprovalAnswered {
        /// The step that needs it; the whole run where none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
        /// The role in which the person answered.
        role: String,
        /// Whether somebody is listed for the role; without a list anybody may answer.
        listed: bool,
        /// Who answered, as the person said.
        name: String,
        /// Where the answer was typed, and by which login.
        by: Actor,
        /// How it came.
        how: Channel,
        /// Yes or no.
        approved: bool,
        /// What the person added.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Nobody answered in time.
    ApprovalExpired {
        /// The step that needs it; the whole run where none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
        /// Who was asked.
        role: String,
    },
    /// A target's step succeeded.
    TargetReached {
        /// The target.
        target: String,
        /// The time it took, from the clock's start.
        took_ms: u64,
        /// Whether that is inside the target.
        in_time: bool,
    },
    /// A target's time has passed and its step has not succeeded.
    TargetLate {
        /// The target.
        target: String,
        /// Its time.
        within_ms: u64,
    },
    /// A phase has used up its budget and goes on.
    BudgetPassed {
        /// The phase.
        phase: String,
        /// Its budget.
        budget_ms: u64,
    },
    /// The time of a rung of the escalation ladder has come. On disk before its messages leave.
    RungRaised {
        /// Its name.
        level: String,
        /// Who is told.
        who: String,
        /// The number to call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        phone: Option<String>,
    },
    /// What became of one message of a rung.
    RungTold {
        /// The rung.
        level: String,
        /// The message.
        message: String,
        /// Why it was not sent, or perhaps not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<ActionError>,
    },
    /// Somebody has taken notice of the run: no further rung is raised.
    Acknowledged {
        /// Who.
        by: Actor,
        /// What that person added.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remark: Option<String>,
    },
    /// The run starts nothing more and lets what is in flight settle.
    StopRequested {
        /// Why.
        reason: StopReason,
    },
    /// The run stops what is in flight, too.
    KillRequested,
    /// The terminal (or the reader of a pipe) is gone; the run goes on without it.
    OutputLost {
        /// What happened.
        what: String,
    },
    /// Something worth knowing that changes nothing.
    Warned {
        /// The message.
        message: String,
    },
    /// Logs, metrics and files were gathered into an archive, after the run.
    EvidenceGathered {
        /// Who gathered them.
        by: Actor,
        /// The archive.
        archive: String,
        /// SHA-256 of the archive, hexadecimal.
        sha256: String,
        /// How many pieces it holds.
        pieces: usize,
        /// What could not be had, and why.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        missing: BTreeMap<String, String>,
        /// How often each pattern of a failure was found, by piece.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        failures: BTreeMap<String, BTreeMap<String, u64>>,
        /// What was measured: its mean before and after the rollback.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        compared: BTreeMap<String, (Option<f64>, Option<f64>)>,
    },
    /// Another run was started that takes this one back. Written before that one changes anything, so that nobody goes on
    /// with this one.
    RevertStarted {
        /// Who started it.
        by: Actor,
        /// The other run's id.
        run: String,
    },
    /// Every question is answered, and what had to hold has held: the rollback is confirmed.
    RunConfirmed {
        /// Who saw to it.
        by: Actor,
    },
    /// The run ended. Always the last record of a complete journal, but for later answers to open questions.
    RunEnded {
        /// The final word.
        verdict: RunVerdict,
        /// The program's exit code.
        exit_code: u8,
    },
}

impl Event {
    /// The event without secrets in what came from a system: errors, evidence.
    #[must_use]
    pub fn redacted(mut self, secrets: &Secrets) -> Self {
        match &mut self {
            Self::ApplyFailed { error, .. }
            | Self::ApplyUnknown { error, .. }
            | Self::VerifyFailed { error, .. }
            | Self::InspectFailed { error, .. }
            | Self::RetryScheduled { error, .. }
            | Self::UndoFailed { error, .. }
            | Self::RungTold { error: Some(error), .. } => {
                let texts = error.causes.iter_mut().chain(&mut error.hints);
                for text in texts.chain([&mut error.message]) {
                    *text = secrets.redact(text);
                }
            }
            Self::FoundDone { evidence, .. }
            | Self::Applied { evidence, .. }
            | Self::Verified { evidence, .. } => {
                evidence.summary = secrets.redact(&evidence.summary);
            }
            Self::QuestionProbed { seen, .. } => *seen = secrets.redact(seen),
            Self::HoldLooked { gates, .. } => {
                gates.iter_mut().for_each(|gate| gate.seen = secrets.redact(&gate.seen));
            }
            _ => {}
        }
        self
    }
}

/// An event with its place in the run's history, as readers get it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Counted from 0.
    pub seq: u64,
    /// When, for people.
    pub at: Timestamp,
    /// Milliseconds since the run started.
    pub elapsed_ms: u64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}
