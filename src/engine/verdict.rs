//! The final word about a run, and the exit code it ends with.

use super::state::{RunState, StepState};
use crate::event::{Outcome, RunVerdict, StopReason};
use crate::plan::PlannedStep;
use crate::runbook::OnFailure;

/// The exit code of a verdict.
pub fn exit_code(verdict: RunVerdict) -> u8 {
    match verdict {
        RunVerdict::Recovered => 0,
        RunVerdict::RecoveredLate => 5,
        RunVerdict::FailedClean => 6,
        RunVerdict::FailedPartial => 7,
        RunVerdict::NotApproved => 9,
        RunVerdict::Aborted => 10,
        RunVerdict::InternalError => 20,
    }
}

/// Judges a run in which nothing is in flight any more.
pub fn judge(state: &RunState) -> RunVerdict {
    let required = || {
        state
            .plan()
            .steps()
            .filter(|step| !step.policy.optional)
            .filter_map(|step| state.steps.get(&step.id).map(|known| (step, known)))
    };
    let unknown = required().any(|(_, known)| known.outcome == Some(Outcome::Unknown));
    let failed = |(step, known): (&PlannedStep, &StepState)| {
        step.policy.on_failure != OnFailure::Continue
            && matches!(known.outcome, Some(Outcome::Failed | Outcome::Undone))
    };
    let touched = state.steps.values().any(StepState::may_have_changed_something);
    match &state.stop {
        Some(StopReason::Panicked { .. }) => return RunVerdict::InternalError,
        _ if unknown => return RunVerdict::FailedPartial,
        // A failure while the run was stopping outweighs that somebody had stopped it.
        Some(
            StopReason::Interrupted
            | StopReason::Terminated { .. }
            | StopReason::TakenOver { .. }
            | StopReason::NotApproved { .. },
        ) if required().any(failed) => {
            return if touched { RunVerdict::FailedPartial } else { RunVerdict::FailedClean };
        }
        Some(
            StopReason::Interrupted | StopReason::Terminated { .. } | StopReason::TakenOver { .. },
        ) => return RunVerdict::Aborted,
        Some(StopReason::NotApproved { .. }) => return RunVerdict::NotApproved,
        Some(
            StopReason::StepFailed { .. } | StopReason::GaveUp | StopReason::JournalLost { .. },
        ) => return if touched { RunVerdict::FailedPartial } else { RunVerdict::FailedClean },
        None => {}
    }
    // A failure that was continued does not spoil a recovery that was proved; a step that was never
    // reached because of it, or a target that nothing proves, does.
    let unreached =
        required().any(|(_, known)| matches!(known.outcome, None | Some(Outcome::NotStarted)));
    let unproved = state.plan().targets.iter().any(|target| {
        let left_out = state.header.left_out.contains_key(target.reached_by.as_str());
        !left_out && state.targets.get(&target.name).is_none_or(|known| known.took_ms.is_none())
    });
    if unreached || unproved {
        return if touched { RunVerdict::FailedPartial } else { RunVerdict::FailedClean };
    }
    if state.targets.values().any(|target| target.late) {
        RunVerdict::RecoveredLate
    } else {
        RunVerdict::Recovered
    }
}
