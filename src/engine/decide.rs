//! What to do next: pure functions of the state and the time. The [agenda](super::agenda) knows what to ask them about, and the
//! dispatcher carries out what they say.

use super::approval::{Gate, gate};
use super::deadline;
use super::lifecycle::Stage;
use super::state::{RunState, StepState};
use crate::event::{Outcome, SkipReason};
#[cfg(test)]
use crate::plan::PlannedPhase;
use crate::plan::{PlannedStep, StepId, Until};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Record that a phase starts.
    StartPhase(String),
    /// Record that every required step of a phase has settled.
    EndPhase(String),
    /// Ask for the approval that a step needs, or the whole run.
    AskApproval(Option<StepId>),
    /// Start a step.
    Start(StepId),
    /// Record that a step is not run.
    Skip(StepId, SkipReason),
    /// Nothing is left to do and nothing is in flight.
    End,
}

/// What the agenda must come to, from a look at every step: its oracle in all tests of the engine.
#[cfg(test)]
pub(super) fn decide(state: &RunState, now_ms: u64) -> Option<Command> {
    if state.ended.is_some() {
        return None;
    }
    let in_flight = state.steps.values().any(StepState::is_running);
    if state.stop.is_some() {
        return (!in_flight).then_some(Command::End);
    }
    match gate(state, None, state.plan().approval.as_ref()) {
        Gate::Open => {}
        Gate::Ask => return Some(Command::AskApproval(None)),
        Gate::Waits | Gate::Shut => return None,
    }
    for phase in &state.plan().phases {
        if !state.phases_started.contains_key(&phase.id) {
            return Some(Command::StartPhase(phase.id.clone()));
        }
        if let Some(command) =
            phase.steps.iter().find_map(|step| start_or_skip(state, step, now_ms))
        {
            return Some(command);
        }
        if !state.phases_ended.contains(&phase.id) {
            if is_settled(state, phase) {
                return Some(Command::EndPhase(phase.id.clone()));
            }
            // The next phase has to wait.
            return None;
        }
    }
    let asked = state.approvals.values().any(|known| known.given.is_none());
    (!in_flight && !asked).then_some(Command::End)
}

/// A phase is settled when its required steps are; optional ones hold nobody up.
#[cfg(test)]
fn is_settled(state: &RunState, phase: &PlannedPhase) -> bool {
    phase.steps.iter().filter(|step| !step.policy.optional).all(|step| {
        state.steps.get(&step.id).is_some_and(|known| known.outcome.is_some() && !asks(known))
    })
}

/// Whether a person is being asked how to go on after this step's failure.
pub(super) fn asks(step: &StepState) -> bool {
    step.decision == Some(None)
}

/// What becomes of a step now; `None` when nothing does yet, or something did already.
pub(super) fn start_or_skip(state: &RunState, step: &PlannedStep, now_ms: u64) -> Option<Command> {
    let known = state.steps.get(&step.id)?;
    if known.started_ms.is_some() || known.outcome.is_some() {
        return None;
    }
    let skip = |reason| Some(Command::Skip(step.id.clone(), reason));
    if let Some(because) = state.header.left_out.get(step.id.as_str()) {
        return skip(SkipReason::LeftOut { because: because.clone() });
    }
    for wait in &step.waits {
        let awaited = state.steps.get(&wait.step)?;
        let outcome = awaited.outcome?;
        if asks(awaited) {
            return None;
        }
        let passes = match wait.until {
            Until::Success => outcome.is_success(),
            Until::Settled => true,
            Until::Passed => outcome != Outcome::NotStarted,
        };
        if !passes {
            return skip(SkipReason::Blocked { by: wait.step.clone() });
        }
    }
    // Not before its turn: those below wait for this step alone, and would overtake what it waits for.
    if let Some(because) = &step.skip {
        return skip(SkipReason::Condition { because: because.to_string() });
    }
    // What may be in force since an earlier session is looked at and finished, however little time is left.
    if step.policy.optional
        && !known.may_have_changed_something()
        && let Some((needs_ms, left_ms)) = deadline::misfit(state, step, now_ms)
    {
        return skip(SkipReason::NoSpareTime { needs_ms, left_ms });
    }
    match gate(state, Some(&step.id), step.policy.approval.as_ref()) {
        Gate::Open => Some(Command::Start(step.id.clone())),
        Gate::Ask => Some(Command::AskApproval(Some(step.id.clone()))),
        Gate::Shut if step.policy.optional => {
            let role = step.policy.approval.as_ref().map(|needed| needed.role.clone());
            skip(SkipReason::NotApproved { role: role.unwrap_or_default() })
        }
        // A required one stops the run.
        Gate::Waits | Gate::Shut => None,
    }
}

/// How a step ended, from its items.
pub fn outcome(step: &StepState) -> Outcome {
    let any = |stage: Stage| step.items.values().any(|item| item.stage == stage);
    let all = |stage: Stage| step.items.values().all(|item| item.stage == stage);
    if step.items.is_empty() {
        // It never found out what to work on.
        return Outcome::NotStarted;
    }
    let unanswered =
        step.items.values().any(|item| item.stage == Stage::Open && item.answer_required);
    let in_doubt = [Stage::Unknown, Stage::Applying, Stage::Applied, Stage::Undoing];
    if in_doubt.into_iter().any(any) {
        Outcome::Unknown
    } else if any(Stage::Failed) || any(Stage::NotInForce) || any(Stage::Stuck) {
        Outcome::Failed
    } else if any(Stage::Undone) {
        // A way back that was cut short has not taken the step back.
        if step.may_have_changed_something() { Outcome::Failed } else { Outcome::Undone }
    } else if any(Stage::Pending) || any(Stage::Inspected) || unanswered {
        Outcome::NotStarted
    } else if any(Stage::Open) {
        Outcome::Open
    } else if all(Stage::FoundDone) {
        Outcome::AlreadyDone
    } else {
        Outcome::Done
    }
}

/// One line about a step that ended: its first error, or how many items are done.
pub(super) fn summary(step: &StepState) -> Option<String> {
    step.items
        .values()
        .find(|item| !item.stage.is_success())
        .and_then(|item| item.error.clone())
        .or_else(|| (step.items.len() > 1).then(|| format!("{} items", step.items.len())))
}
