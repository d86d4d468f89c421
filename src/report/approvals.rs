//! Approvals as the readers of a run see them: who was asked, who answered, and how.

use serde::Serialize;

use super::style::{BAD, DOUBT, FAINT, GOOD, STRONG, paint};
use super::text::sanitize;
use crate::event::{Actor, Channel, Event};
use crate::plan::{PlannedApproval, StepId};
use crate::value::brief;

/// An approval that was asked for.
#[derive(Debug, Clone, Serialize)]
pub struct ApprovalView {
    /// The step that needs it; the whole run where none is named.
    pub step: Option<StepId>,
    /// Who was asked, how long the answer might take, and why.
    #[serde(flatten)]
    pub approval: PlannedApproval,
    /// When it was first asked for, milliseconds since the run's start.
    pub asked_ms: u64,
    /// What became of it; `None` while it waits.
    pub outcome: Option<ApprovalOutcome>,
}

/// What became of an approval.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum ApprovalOutcome {
    /// A person answered.
    Answered {
        /// When, milliseconds since the run's start.
        at_ms: u64,
        /// Yes or no.
        approved: bool,
        /// Who, as the person said.
        name: String,
        /// Where it was typed, and by which login.
        by: Actor,
        /// How it came.
        how: Channel,
        /// What the person added.
        reason: Option<String>,
    },
    /// Nobody answered in time.
    Expired,
}

/// Takes an event in.
pub(super) fn take(approvals: &mut Vec<ApprovalView>, at_ms: u64, event: &Event) {
    let (step, outcome) = match event {
        Event::ApprovalAsked { step, approval } => {
            let (step, approval) = (step.clone(), approval.clone());
            // Asked anew, since its time passed while nobody ran the run.
            approvals.retain(|known| known.step != step || known.outcome.is_some());
            approvals.push(ApprovalView { step, approval, asked_ms: at_ms, outcome: None });
            return;
        }
        Event::ApprovalAnswered { step, name, by, how, approved, reason, .. } => {
            let (name, by, reason) = (name.clone(), by.clone(), reason.clone());
            let (approved, how) = (*approved, *how);
            (step, ApprovalOutcome::Answered { at_ms, approved, name, by, how, reason })
        }
        Event::ApprovalExpired { step, .. } => (step, ApprovalOutcome::Expired),
        _ => return,
    };
    let mut waiting = approvals.iter_mut().filter(|known| known.outcome.is_none());
    if let Some(known) = waiting.find(|known| known.step == *step) {
        known.outcome = Some(outcome);
    }
}

/// What an approval is for: a step, or the run.
pub fn subject(step: Option<&StepId>) -> String {
    step.map_or_else(|| "the whole run".to_owned(), |step| sanitize(&step.0))
}

/// The command that answers an approval from another terminal.
pub fn command(run: &str, step: Option<&StepId>) -> String {
    let step = step.map(|step| format!(" --step {}", sanitize(&step.0))).unwrap_or_default();
    format!("rollback approve {run}{step}")
}

/// What is told of an approval at the moment when it happens, without the time.
pub(super) fn tell(event: &Event, run: &str) -> Vec<String> {
    match event {
        Event::ApprovalAsked { step, approval } => asked(step.as_ref(), approval, run),
        Event::ApprovalAnswered { step, role, listed, name, how, approved, reason, .. } => {
            let (sign, word) = match approved {
                true => (paint(GOOD, "✓"), "approved"),
                false => (paint(BAD, "✗"), "denied"),
            };
            let channel = match how {
                Channel::Terminal => "on the terminal",
                Channel::Command => "by `rollback approve`",
            };
            let anybody = if *listed { "" } else { ", a role for which nobody is listed" };
            let reason = reason.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
            let (subject, role) = (subject(step.as_ref()), sanitize(role));
            let (name, reason) = (sanitize(name), sanitize(&reason));
            let how = paint(FAINT, format!("({channel})"));
            vec![format!("{sign} {subject}: {word} by {name} as {role}{anybody}{reason} {how}")]
        }
        Event::ApprovalExpired { step, role } => {
            let (subject, role) = (subject(step.as_ref()), sanitize(role));
            vec![paint(BAD, format!("✗ {subject}: nobody approved it as {role} in time"))]
        }
        _ => Vec::new(),
    }
}

fn asked(step: Option<&StepId>, approval: &PlannedApproval, run: &str) -> Vec<String> {
    let mark = paint(DOUBT, "?");
    let (subject, who) = (subject(step), sanitize(&approval.who()));
    let within = brief(approval.within);
    let why = approval.reason.as_ref().map(|reason| format!(": {}", sanitize(reason)));
    vec![
        format!(
            "{mark} {subject} needs the approval of {who} within {within}{}",
            why.unwrap_or_default()
        ),
        format!("           from another terminal: {}", paint(STRONG, command(run, step))),
    ]
}
