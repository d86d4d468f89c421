//! Rules that no schema can say: irreversible changes, shells in disguise, checklist items that block, paths.

use std::collections::HashSet;

use serde_json::Value;

use super::graph::PhaseGraph;
use super::targets::{Position, position, precedes};
use crate::action::{Registry, VerbKind};
use crate::runbook::diagnostic::Diagnostic;
use crate::runbook::model::{Runbook, Step};
use crate::runbook::node::{Node, NodeValue};
use crate::runbook::suggest;

const SHELLS: [&str; 8] = ["sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "busybox"];

/// Checks every step.
pub(super) fn check(
    runbook: &Runbook,
    graphs: &[PhaseGraph],
    registry: &Registry,
    problems: &mut Vec<Diagnostic>,
) {
    let mut lints = Lints { runbook, graphs, registry, validation: None };
    lints.validation = lints.validation().map(|at| (at, graphs[at.0].after(at.1)));
    for (phase_position, phase) in runbook.phases.iter().enumerate() {
        for (step_position, step) in phase.steps.iter().enumerate() {
            lints.question(step, problems);
            lints.irreversible(step, (phase_position, step_position), problems);
            lints.blocking_item(step, (phase_position, step_position), problems);
            lints.approval(step, problems);
            hidden_shell(step, problems);
            policy(step, problems);
        }
    }
    for step in runbook.drill_phases().flat_map(|phase| &phase.steps) {
        lints.question(step, problems);
        lints.undeclared(step, problems);
        lints.approval(step, problems);
        hidden_shell(step, problems);
        policy(step, problems);
    }
}

struct Lints<'a> {
    runbook: &'a Runbook,
    graphs: &'a [PhaseGraph],
    registry: &'a Registry,
    /// The step that validates the rollback, and those of its phase that come after it.
    validation: Option<(Position, HashSet<usize>)>,
}

impl Lints<'_> {
    /// A runbook of questions may be asked at any time, so it must not change anything.
    fn question(&self, step: &Step, problems: &mut Vec<Diagnostic>) {
        let is_change =
            || self.registry.verb(&step.verb).is_some_and(|verb| verb.kind == VerbKind::Action);
        if self.runbook.scenario.asks_only() && is_change() {
            let message = format!("`{}` changes something, and this scenario only asks", step.verb);
            problems.push(
                Diagnostic::error("change-among-questions", message).at(step.verb_span).hint(
                    "Ask with a probe such as `http.expect`, or give the runbook another scenario.",
                ),
            );
        }
    }

    /// What cannot be undone comes after everything that could show that it should not happen.
    fn irreversible(&self, step: &Step, at: Position, problems: &mut Vec<Diagnostic>) {
        self.undeclared(step, problems);
        let is_known =
            self.registry.verb(&step.verb).is_some_and(|verb| verb.irreversible.is_some());
        if !is_known && !step.irreversible {
            return;
        }
        let before = Diagnostic::error(
            "irreversible-before-validation",
            format!("`{}` cannot be undone, and runs before the rollback is validated", step.id),
        )
        .at(step.verb_span);
        match &self.validation {
            None => problems.push(
                before.hint("Put a probe before it, and let a target be `reached_by` that probe."),
            ),
            Some((validation, after))
                if at.0 < validation.0 || at.0 == validation.0 && !after.contains(&at.1) =>
            {
                let proof = &self.runbook.phases[validation.0].steps[validation.1];
                problems.push(
                    before
                        .also(proof.span, "validated here")
                        .hint("Move it to a phase after the validation."),
                );
            }
            Some(_) => {}
        }
    }

    /// What cannot be undone says so.
    fn undeclared(&self, step: &Step, problems: &mut Vec<Diagnostic>) {
        let reason = self.registry.verb(&step.verb).and_then(|verb| verb.irreversible);
        if let (Some(reason), false) = (reason, step.irreversible) {
            problems.push(
                Diagnostic::error(
                    "undeclared-irreversible",
                    format!("`{}` cannot be undone: {reason}", step.verb),
                )
                .at(step.verb_span)
                .hint("Add `irreversible: true` to the step when that is acceptable."),
            );
        }
    }

    /// The last step that proves a target; without targets, the last probe.
    fn validation(&self) -> Option<Position> {
        let proofs = self.runbook.targets.values();
        let last = proofs.filter_map(|target| position(self.runbook, &target.reached_by)).max();
        last.or_else(|| {
            let phases = self.runbook.phases.iter().enumerate();
            let steps = phases.flat_map(|(phase, content)| {
                content
                    .steps
                    .iter()
                    .enumerate()
                    .map(move |(step, content)| ((phase, step), content))
            });
            let is_probe = |step: &Step| {
                self.registry.verb(&step.verb).is_some_and(|verb| verb.kind == VerbKind::Probe)
            };
            steps.filter(|(_, step)| is_probe(step)).map(|(place, _)| place).max()
        })
    }

    /// Who approves, approves a change; a question changes nothing.
    fn approval(&self, step: &Step, problems: &mut Vec<Diagnostic>) {
        let Some(approval) = &step.approval else { return };
        if self.registry.verb(&step.verb).is_some_and(|verb| verb.kind == VerbKind::Probe) {
            problems.push(
                Diagnostic::error(
                    "approval-of-a-question",
                    format!("`{}` only asks, so there is nothing to approve", step.id),
                )
                .at(approval.span)
                .also(step.verb_span, "changes nothing")
                .hint("Put `approval` on the change that follows it."),
            );
        }
    }

    /// An item that waits for a person must not stand between the start and a target.
    fn blocking_item(&self, step: &Step, at: Position, problems: &mut Vec<Diagnostic>) {
        if !step.verb.starts_with("manual.") {
            return;
        }
        let proofs = self.runbook.targets.iter().filter_map(|(name, target)| {
            let from = target.from.as_deref().and_then(|from| position(self.runbook, from));
            Some((name, from, position(self.runbook, &target.reached_by)?))
        });
        let delays = |proof: Position| {
            at == proof
                || (at.0 < proof.0 && !step.optional)
                || (at.0 == proof.0 && precedes(self.graphs, at, proof))
        };
        // Who decides may take all the time: the target's begins with the decision.
        let before = |from: Position| at == from || precedes(self.graphs, at, from);
        let delayed = |from: Option<Position>, proof| delays(proof) && !from.is_some_and(before);
        let Some((target, ..)) = proofs.into_iter().find(|(_, from, proof)| delayed(*from, *proof))
        else {
            return;
        };
        for item in required_items(&step.args) {
            problems.push(
                Diagnostic::error(
                    "person-before-target",
                    format!("this item waits for a person, and the target `{target}` waits for it"),
                )
                .at(item.span)
                .hint("Give the item a probe, leave `required` out, or move it behind the target."),
            );
        }
    }
}

/// The `required: true` of items without a probe.
fn required_items(arguments: &Node) -> Vec<&Node> {
    let mut found = Vec::new();
    match &arguments.value {
        NodeValue::List(items) => items.iter().for_each(|item| found.extend(required_items(item))),
        NodeValue::Map(entries) => match arguments.get("required") {
            Some(required) if required.value == NodeValue::Bool(true) => {
                if arguments.get("probe").is_none() {
                    found.push(required);
                }
            }
            _ => entries.iter().for_each(|(_, value)| found.extend(required_items(value))),
        },
        _ => {}
    }
    found
}

/// `[sh, -c, …]` is a shell, and has to be called one.
fn hidden_shell(step: &Step, problems: &mut Vec<Diagnostic>) {
    if step.verb != "script.run" {
        return;
    }
    let Some(NodeValue::List(argv)) = step.args.get("argv").map(|argv| &argv.value) else { return };
    let words: Vec<&str> = argv.iter().map_while(Node::as_text).collect();
    let program = words.first().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    let is_command =
        |word: &&str| word.starts_with('-') && !word.starts_with("--") && word.contains('c');
    if SHELLS.contains(&program) && words.iter().skip(1).take(3).any(is_command) {
        problems.push(
            Diagnostic::error("hidden-shell", format!("`{program} -c` runs a script through a shell"))
                .at(argv[0].span)
                .hint("Use `script.shell`, which says so and passes values safely, or call the program itself."),
        );
    }
}

/// Policy keys that contradict each other.
fn policy(step: &Step, problems: &mut Vec<Diagnostic>) {
    if let (Some(expected), Some(timeout)) = (step.expected, step.timeout)
        && expected > timeout
        && step.for_each.is_none()
    {
        let message = format!("`{}` is expected to take longer than its timeout allows", step.id);
        problems.push(Diagnostic::warning("expected-over-timeout", message).at(step.span));
    }
    if let Some(retry) = &step.retry
        && retry.delay > retry.max_delay
    {
        let message = format!("the first retry of `{}` waits longer than `max_delay`", step.id);
        problems.push(Diagnostic::error("delay-over-max", message).at(step.span));
    }
    if let Some(for_each) = &step.for_each
        && for_each.list.to_json() == Value::Array(Vec::new())
    {
        let message = format!("`{}` repeats over nothing", suggest::visible(&step.id));
        problems.push(Diagnostic::error("empty-list", message).at(for_each.list.span));
    }
}
