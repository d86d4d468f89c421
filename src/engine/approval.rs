//! Approvals: whether a step, or the whole run, has the word of somebody whose role it needs.

use super::state::RunState;
use crate::event::{Actor, Channel, Event, StopReason};
use crate::plan::{PlannedApproval, StepId};

/// What is known of an approval that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApprovalState {
    /// When it was first asked for, milliseconds since the run's start.
    pub asked_ms: u64,
    /// Whether it was given; `None` while nobody has answered and there is time.
    pub given: Option<bool>,
}

/// What a person says to an approval.
#[derive(Debug, Clone)]
pub struct ApprovalAnswer {
    /// The step that needs it; the whole run where none is named.
    pub step: Option<StepId>,
    /// Who answers, as the person says.
    pub name: String,
    /// Where the answer was typed, and by which login.
    pub by: Actor,
    /// How it came.
    pub how: Channel,
    /// Yes or no.
    pub approved: bool,
    /// What the person adds.
    pub reason: Option<String>,
}

/// Whether a step, or the run, may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// It may: no approval is needed, or it was given.
    Open,
    /// Somebody has to be asked.
    Ask,
    /// Somebody was asked.
    Waits,
    /// It was denied, or nobody answered in time.
    Shut,
}

/// Where the approval of a step, or of the run, stands.
pub(super) fn gate(
    state: &RunState,
    step: Option<&StepId>,
    needed: Option<&PlannedApproval>,
) -> Gate {
    if needed.is_none() {
        return Gate::Open;
    }
    match state.approvals.get(&step.cloned()).map(|known| known.given) {
        None => Gate::Ask,
        Some(None) => Gate::Waits,
        Some(Some(true)) => Gate::Open,
        Some(Some(false)) => Gate::Shut,
    }
}

/// The approvals that wait for an answer: whose they are, when they were asked for, and what was asked.
pub(super) fn waiting(
    state: &RunState,
) -> impl Iterator<Item = (&Option<StepId>, u64, &PlannedApproval)> {
    let open = state.approvals.iter().filter(|(_, known)| known.given.is_none());
    open.filter_map(|(step, known)| {
        Some((step, known.asked_ms, state.plan().approval_of(step.as_ref())?))
    })
}

/// What an answer comes to: an event, or why it does not count.
pub(super) fn answered(state: &RunState, answer: ApprovalAnswer) -> Result<Event, String> {
    let ApprovalAnswer { step, name, by, how, approved, reason } = answer;
    let asked = waiting(state).find(|(asked, ..)| **asked == step);
    let Some((_, _, approval)) = asked else {
        let what = step.map_or_else(|| "the run".to_owned(), |step| step.to_string());
        return Err(format!("{name} answered about {what}, which waits for no approval"));
    };
    if !approval.may_answer(&name) {
        return Err(format!("{name} answered, and does not hold the role {}", approval.who()));
    }
    let (role, listed) = (approval.role.clone(), !approval.approvers.is_empty());
    Ok(Event::ApprovalAnswered { step, role, listed, name, by, how, approved, reason })
}

/// Why the run stops when an approval by a role was not given: it does without an optional step, and stops before a required one.
pub(super) fn missing(
    state: &RunState,
    step: Option<&StepId>,
    role: &str,
    denied_by: Option<&String>,
) -> Option<StopReason> {
    let optional = |id| state.plan().step(id).is_some_and(|step| step.policy.optional);
    (!step.is_some_and(optional)).then(|| StopReason::NotApproved {
        step: step.cloned(),
        role: role.to_owned(),
        denied_by: denied_by.cloned(),
    })
}
