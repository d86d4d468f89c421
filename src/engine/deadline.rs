//! Targets, budgets, approvals and the time to give up, as events that fall due.
//!
//! Targets and budgets only report. Times are milliseconds since the run's start; a target's clock may have started
//! earlier, with the incident (`--since`), or starts later, with the end of a step (`from`).

use std::time::Duration;

use super::approval;
use super::state::RunState;
use crate::event::{Event, Outcome, StopReason};
use crate::plan::budget::{Progress, Stage};
use crate::plan::{PlannedStep, PlannedTarget, StepId};

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How much of the targets' time had passed when the run started.
pub fn head_start_ms(state: &RunState) -> u64 {
    state.header.since.map_or(0, |since| {
        let passed = state.header.started.as_millisecond().saturating_sub(since.as_millisecond());
        u64::try_from(passed).unwrap_or(0)
    })
}

/// Whether the step that proves a target is part of this run (`--only`, `--from`).
fn is_part_of(state: &RunState, target: &PlannedTarget) -> bool {
    !state.header.left_out.contains_key(target.reached_by.as_str())
}

/// When a target falls due: 0 when its time had passed before the run started, `None` while its time has not begun.
pub fn target_due_ms(state: &RunState, target: &PlannedTarget) -> Option<u64> {
    match &target.from {
        None => Some(millis(target.within).saturating_sub(head_start_ms(state))),
        Some(from) => Some(began_ms(state, from)?.saturating_add(millis(target.within))),
    }
}

/// How long a target took that was reached at `at_ms`.
pub fn took_ms(state: &RunState, target: &PlannedTarget, at_ms: u64) -> u64 {
    match &target.from {
        None => at_ms.saturating_add(head_start_ms(state)),
        Some(from) => at_ms.saturating_sub(began_ms(state, from).unwrap_or(at_ms)),
    }
}

/// When the time of a target began that counts from this step: with its end, however it ended. A step that was left out, or that the
/// run did without, has ended when that was decided.
fn began_ms(state: &RunState, from: &StepId) -> Option<u64> {
    let step = state.steps.get(from)?;
    step.outcome.filter(|outcome| *outcome != Outcome::NotStarted)?;
    step.ended_ms
}

/// What is left until the next target that is still open; negative when that one is late.
pub fn left_ms(state: &RunState, now_ms: u64) -> Option<i64> {
    state
        .plan()
        .targets
        .iter()
        .filter(|target| is_part_of(state, target))
        .filter(|target| {
            state.targets.get(&target.name).is_none_or(|known| known.took_ms.is_none())
        })
        .filter_map(|target| target_due_ms(state, target))
        .min()
        .map(|due| {
            let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            signed(due).saturating_sub(signed(now_ms))
        })
}

/// Why an optional step does not fit: what it needs and what is left, or `None` when it fits. The time that the open targets need,
/// their verification included, is kept back.
pub fn misfit(state: &RunState, step: &PlannedStep, now_ms: u64) -> Option<(u64, u64)> {
    let late = |target: &PlannedTarget| {
        state.targets.get(&target.name).is_some_and(|known| known.late && known.took_ms.is_none())
    };
    if state.plan().targets.iter().any(late) {
        return Some((millis(step.policy.expected), 0));
    }
    let fit = state.schedule().fits(&step.id, &progress(state, now_ms));
    fit.err().map(|spare| (millis(spare.needs), millis(spare.left)))
}

/// How far the run has come, on the clock of the targets.
fn progress(state: &RunState, now_ms: u64) -> Progress {
    let head_start = head_start_ms(state);
    let at = |ms: u64| Duration::from_millis(ms.saturating_add(head_start));
    let mut progress = state.schedule().progress(at(now_ms));
    for (id, step) in &state.steps {
        let course = match (step.outcome, step.at_work_since_ms()) {
            (Some(_), started) => Stage::Ended(at(step.ended_ms.or(started).unwrap_or(0))),
            (None, Some(started)) => Stage::Running(at(started)),
            (None, None) => Stage::Waiting,
        };
        state.schedule().note(&mut progress, id, course);
    }
    progress
}

/// The events that are due at `now_ms` and have not been emitted yet.
pub fn due(state: &RunState, now_ms: u64) -> Vec<Event> {
    alarms(state).filter(|(at, _)| *at <= now_ms).map(|(_, event)| event).collect()
}

/// When the next event falls due.
pub fn next_ms(state: &RunState) -> Option<u64> {
    alarms(state).map(|(at, _)| at).min()
}

fn alarms(state: &RunState) -> impl Iterator<Item = (u64, Event)> + '_ {
    let targets = state.plan().targets.iter().filter(|target| is_part_of(state, target));
    let targets = targets.filter_map(|target| {
        let known = state.targets.get(&target.name)?;
        (known.took_ms.is_none() && !known.late).then(|| {
            let event =
                Event::TargetLate { target: target.name.clone(), within_ms: millis(target.within) };
            Some((target_due_ms(state, target)?, event))
        })?
    });
    let budgets = state.plan().phases.iter().filter_map(|phase| {
        let budget_ms = millis(phase.budget?);
        let started = state.phases_started.get(&phase.id)?;
        let open =
            !state.phases_ended.contains(&phase.id) && !state.budgets_passed.contains(&phase.id);
        open.then(|| {
            let event = Event::BudgetPassed { phase: phase.id.clone(), budget_ms };
            (started.saturating_add(budget_ms), event)
        })
    });
    let approvals = approval::waiting(state).filter(|_| state.stop.is_none());
    let approvals = approvals.map(|(step, asked_ms, approval)| {
        let event = Event::ApprovalExpired { step: step.clone(), role: approval.role.clone() };
        (asked_ms.saturating_add(millis(approval.within)), event)
    });
    let give_up = state.plan().give_up.filter(|_| state.stop.is_none()).map(|limit| {
        (
            // Whoever takes a run up again has the whole time again.
            state.session_ms.saturating_add(millis(limit)),
            Event::StopRequested { reason: StopReason::GaveUp },
        )
    });
    targets.chain(budgets).chain(approvals).chain(give_up)
}
