//! Recovery targets: the step that proves one exists, is required, and asks a question.

use super::graph::PhaseGraph;
use crate::action::{Registry, VerbKind};
use crate::runbook::diagnostic::Diagnostic;
use crate::runbook::model::{Runbook, Target};
use crate::runbook::suggest;

/// The position of a step: its phase, and its place there.
pub(super) type Position = (usize, usize);

/// The position of the step that `phase/step` names.
pub(super) fn position(runbook: &Runbook, reference: &str) -> Option<Position> {
    let (phase_id, step_id) = reference.split_once('/')?;
    let phase = runbook.phases.iter().position(|phase| phase.id == phase_id)?;
    let step = runbook.phases[phase].steps.iter().position(|step| step.id == step_id)?;
    Some((phase, step))
}

/// Whether `first` has settled whenever `second` starts.
pub(super) fn precedes(graphs: &[PhaseGraph], first: Position, second: Position) -> bool {
    first.0 < second.0
        || (first.0 == second.0 && graphs[first.0].before(second.1).contains(&first.1))
}

/// Checks every target.
pub(super) fn check(
    runbook: &Runbook,
    graphs: &[PhaseGraph],
    registry: &Registry,
    problems: &mut Vec<Diagnostic>,
) {
    debug_assert_eq!(runbook.phases.len(), graphs.len());
    for (name, target) in &runbook.targets {
        let Some((phase, step)) = position(runbook, &target.reached_by) else {
            problems.push(unknown(runbook, target));
            continue;
        };
        let step = &runbook.phases[phase].steps[step];
        if step.optional {
            problems.push(
                Diagnostic::error(
                    "target-on-optional-step",
                    format!("`{name}` is proved by an optional step, which may be dropped"),
                )
                .at(target.span)
                .also(step.span, "optional")
                .hint("Make the step required, or let another step prove the target."),
            );
        } else if registry.verb(&step.verb).is_some_and(|verb| verb.kind != VerbKind::Probe) {
            problems.push(
                Diagnostic::warning(
                    "target-without-probe",
                    format!("`{name}` is proved by a change, not by a probe"),
                )
                .at(target.span)
                .also(step.verb_span, "changes something")
                .hint("A probe such as `http.expect` proves what users see."),
            );
        }
    }
}

fn unknown(runbook: &Runbook, target: &Target) -> Diagnostic {
    let shown = suggest::visible(&target.reached_by);
    let references: Vec<String> = runbook
        .phases
        .iter()
        .flat_map(|phase| phase.steps.iter().map(move |step| format!("{}/{}", phase.id, step.id)))
        .collect();
    let mut problem =
        Diagnostic::error("unknown-step", format!("there is no step `{shown}`")).at(target.span);
    let same_step = references
        .iter()
        .find(|reference| reference.rsplit('/').next() == Some(target.reached_by.as_str()));
    match same_step {
        Some(reference) => problem = problem.hint(format!("did you mean `{reference}`?")),
        None => problem
            .hints
            .extend(suggest::hint(&target.reached_by, references.iter().map(String::as_str))),
    }
    if !target.reached_by.contains('/') && same_step.is_none() {
        problem = problem.hint("A step is named as `phase/step`.");
    }
    problem
}
