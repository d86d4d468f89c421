//! A decision table as plain data.

use std::time::Duration;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::runbook::node::Span;
use crate::runbook::{Severity, VerbCall};

/// What is to be done when a trigger fires; later ones are more.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// Watch it, and have the rollback ready.
    MonitorAndPrepare,
    /// Improve it in the course of ordinary work; no rollback.
    Optimize,
    /// Deploy nothing more, and find out whether to roll back.
    PauseAndEvaluate,
    /// Roll back in an orderly way.
    PlannedRollback,
    /// Roll back at once.
    ImmediateRollback,
}

impl Response {
    /// The word of the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::MonitorAndPrepare => "monitor-and-prepare",
            Self::Optimize => "optimize",
            Self::PauseAndEvaluate => "pause-and-evaluate",
            Self::PlannedRollback => "planned-rollback",
            Self::ImmediateRollback => "immediate-rollback",
        }
    }
}

/// Who has to agree before the rollback starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// Nobody.
    Automated,
    /// Somebody with this role of the table.
    Role(String),
}

/// One line of a table.
#[derive(Debug, Clone)]
pub struct Trigger {
    /// Unique in the table.
    pub id: String,
    /// What it means, for people.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// The probe that holds while it fires: the bad condition.
    pub condition: VerbCall,
    /// How long the condition has to have held.
    pub sustained_for: Option<Duration>,
    /// What is to be done.
    pub response: Response,
    /// The runbook's name.
    pub runbook: String,
    /// The label of the answer that says what the runbook is for.
    pub argument: Option<String>,
    /// How soon it has to be done, from the moment at which the trigger fires.
    pub within: Duration,
    /// Who has to agree.
    pub approval: Approval,
    /// How long it has to be left alone after it was acted on: told to whoever acts, not enforced.
    pub cool_down: Option<Duration>,
    /// Where it stands.
    pub span: Span,
    /// Where its runbook is named.
    pub runbook_span: Span,
    /// Where its approval is.
    pub approval_span: Span,
}

/// A decision table.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its short name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// The roles that approve, with what they are called.
    pub roles: IndexMap<String, String>,
    /// The triggers, in the order of the file.
    pub triggers: Vec<Trigger>,
}

impl Table {
    /// Who has to agree to a trigger's response, for people; `None` when nobody has to.
    pub fn approver<'a>(&'a self, trigger: &'a Trigger) -> Option<&'a str> {
        match &trigger.approval {
            Approval::Automated => None,
            Approval::Role(role) => Some(self.roles.get(role).unwrap_or(role)),
        }
    }
}
