//! What several reports say of a run in the same words.

use super::View;
use crate::event::{Outcome, RunVerdict};
use crate::plan::PlannedStep;

/// The system of messages.
pub(super) const MESSAGES: &str = "notify";

/// How the run ended, as a sentence.
pub(super) fn verdict(view: &View) -> &'static str {
    let reverts = view.header.plan.reverts.is_some();
    match view.verdict.map(|(verdict, _)| verdict) {
        Some(RunVerdict::Recovered | RunVerdict::RecoveredLate) if reverts => {
            "Reverted: everything that can be is as it was before."
        }
        Some(RunVerdict::FailedClean) if reverts => "Not reverted; nothing was taken back.",
        Some(RunVerdict::FailedPartial) if reverts => {
            "Not reverted; a part is taken back: a person is needed."
        }
        Some(RunVerdict::Recovered) => "Recovered, every target met.",
        Some(RunVerdict::RecoveredLate) => "Recovered, but late: a target was missed.",
        Some(RunVerdict::FailedClean) => "Not recovered; nothing of this run's changes remains.",
        Some(RunVerdict::FailedPartial) => {
            "Not recovered; changes remain or are unknown: a person is needed."
        }
        Some(RunVerdict::Aborted) => "Stopped by the operator, everything settled.",
        Some(RunVerdict::NotApproved) => {
            "Not approved: nothing more was started, and what was done is kept."
        }
        Some(RunVerdict::InternalError) => "Stopped by a bug in rollback itself.",
        None => "Not finished.",
    }
}

/// What the run has changed and told, a line each, in the order of the plan.
pub(super) fn actions(view: &View) -> Vec<String> {
    let changes = view.header.plan.steps().filter(|step| !is_question(step));
    let done = changes.filter_map(|step| {
        let known = view.steps.get(&step.id)?;
        let title = step.title.as_deref().or_else(|| {
            let single = (known.items.len() == 1).then(|| known.items.values().next())?;
            single.map(|item| &*item.does)
        });
        let title = title.unwrap_or(step.id.as_str()).to_owned();
        match (known.outcome?, known.progress()) {
            (Outcome::Done, (done, all)) if all > 1 => Some(format!("{title} ({done} of {all})")),
            (Outcome::Done, _) => Some(title),
            _ => None,
        }
    });
    done.collect()
}

/// The part of a verb before the dot.
pub(super) fn system(step: &PlannedStep) -> &str {
    step.verb.split('.').next().unwrap_or_default()
}

/// Whether a step only asks; its undo is empty as well where a change cannot be taken back, so its name tells.
pub(super) fn is_question(step: &PlannedStep) -> bool {
    let verb = step.verb.split_once('.').map_or("", |(_, verb)| verb);
    matches!(verb, "expect" | "confirm" | "alerts" | "wait")
}
