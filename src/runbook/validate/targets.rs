//! Recovery targets: the step that proves one exists, is required, and asks a question.

use super::graph::PhaseGraph;
use crate::action::{Registry, VerbKind};
use crate::runbook::diagnostic::Diagnostic;
use crate::runbook::model::{Runbook, Target};
use crate::runbook::node::Span;
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
        let Some(proof) = position(runbook, &target.reached_by) else {
            problems.push(unknown(runbook, &target.reached_by, target.span));
            continue;
        };
        begins(runbook, graphs, (name, target), proof, problems);
        let step = &runbook.phases[proof.0].steps[proof.1];
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

/// The step with whose end the target's time begins: it exists, ends before the proof, and is not one that may be dropped.
fn begins(
    runbook: &Runbook,
    graphs: &[PhaseGraph],
    (name, target): (&str, &Target),
    proof: Position,
    problems: &mut Vec<Diagnostic>,
) {
    let Some(reference) = &target.from else { return };
    let Some(from) = position(runbook, reference) else {
        problems.push(unknown(runbook, reference, target.from_span));
        return;
    };
    let step = &runbook.phases[from.0].steps[from.1];
    let problem = if step.optional {
        let text =
            format!("the time of `{name}` begins with an optional step, which may be dropped");
        Diagnostic::error("target-from-optional-step", text)
            .hint("Make the step required, or begin with another step.")
    } else if !precedes(graphs, from, proof) {
        let text =
            format!("the time of `{name}` begins with a step that need not end before its proof");
        Diagnostic::error("target-from-later-step", text)
            .hint("Let `from` name a step that `reached_by` waits for, or one of an earlier phase.")
    } else {
        return;
    };
    problems.push(problem.at(target.from_span).also(step.span, "begins here"));
}

fn unknown(runbook: &Runbook, reference: &str, at: Span) -> Diagnostic {
    let shown = suggest::visible(reference);
    let references: Vec<String> = runbook
        .phases
        .iter()
        .flat_map(|phase| phase.steps.iter().map(move |step| format!("{}/{}", phase.id, step.id)))
        .collect();
    let mut problem =
        Diagnostic::error("unknown-step", format!("there is no step `{shown}`")).at(at);
    let same_step = references.iter().find(|known| known.rsplit('/').next() == Some(reference));
    match same_step {
        Some(known) => problem = problem.hint(format!("did you mean `{known}`?")),
        None => {
            problem.hints.extend(suggest::hint(reference, references.iter().map(String::as_str)));
        }
    }
    if !reference.contains('/') && same_step.is_none() {
        problem = problem.hint("A step is named as `phase/step`.");
    }
    problem
}
