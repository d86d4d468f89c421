//! What others ask of a run while it runs.

use super::approval::ApprovalAnswer;
use crate::event::{Actor, Event, Place};
use crate::plan::StepId;

/// What another process, or the person at the terminal, asks of a run.
#[derive(Debug, Clone)]
pub enum Request {
    /// The answer to an open question.
    Answer {
        /// The question's place.
        at: Place,
        /// Who answers.
        by: Actor,
        /// Yes or no.
        confirmed: bool,
        /// A remark.
        remark: Option<String>,
    },
    /// Whether to go on after a failure.
    Decide {
        /// The step that failed.
        step: StepId,
        /// Who decides.
        by: Actor,
        /// Whether to go on.
        go_on: bool,
    },
    /// An approval, or its denial.
    Approve(ApprovalAnswer),
    /// Somebody takes notice.
    Acknowledge {
        /// Who.
        by: Actor,
        /// A remark.
        remark: Option<String>,
    },
    /// Start nothing more, settle what is in flight.
    Stop {
        /// Who asks, and why.
        by: String,
    },
    /// The same, for another run that takes the subject over.
    TakeOver {
        /// That run.
        run: String,
        /// Its runbook's name and scenario, for people.
        runbook: String,
    },
    /// Something worth a line in the journal: a lost terminal, a warning.
    Tell(Event),
    /// The person at the terminal is gone.
    Unattended,
}
