//! Templates: their syntax, and whether the names they read exist.

use crate::runbook::diagnostic::{Diagnostic, Source};
use crate::runbook::model::{Input, Runbook, Step};
use crate::runbook::node::{Node, Span};
use crate::runbook::suggest;
use crate::runbook::template::{self, TemplateError, Use};

/// What a step's templates can read.
const IN_STEPS: [&str; 3] = ["environment", "inputs", "run"];
/// What they can read besides, where `for_each` repeats the step.
const IN_REPETITIONS: [&str; 5] = ["environment", "index", "inputs", "item", "run"];
/// What an input's templates can read.
const IN_INPUTS: [&str; 1] = ["environment"];

/// Checks every template of a runbook.
pub(super) fn check(runbook: &Runbook, source: &Source, problems: &mut Vec<Diagnostic>) {
    let mut names = Names { runbook, source, problems };
    for input in runbook.inputs.values() {
        names.input(input);
    }
    for step in runbook.all_steps() {
        names.step(step);
    }
    for rung in &runbook.escalation {
        let arguments = rung.tell.iter().map(|message| &message.args);
        arguments.chain(&rung.phone).for_each(|node| names.node(node, &IN_STEPS));
    }
}

/// The place of an expression inside the text that holds it, where it is written as it is read.
pub(super) fn exact(source: &Source, within: Span, expression: &str) -> Span {
    if expression.is_empty() {
        return within;
    }
    source.slice(within).find(expression).map_or(within, |at| {
        let start = within.start + at;
        Span { start, end: start + expression.len() }
    })
}

/// A template's error as a problem of the file.
pub(super) fn problem(source: &Source, error: TemplateError) -> Diagnostic {
    let place = exact(source, error.span, &error.expression);
    Diagnostic::from(error).at(place)
}

struct Names<'a> {
    runbook: &'a Runbook,
    source: &'a Source,
    problems: &'a mut Vec<Diagnostic>,
}

impl Names<'_> {
    fn input(&mut self, input: &Input) {
        if let Some(default) = &input.default {
            self.node(default, &IN_INPUTS);
        }
        if let Some((_, arguments)) = &input.from {
            self.node(arguments, &IN_INPUTS);
        }
    }

    fn step(&mut self, step: &Step) {
        let here: &[&str] = if step.for_each.is_some() { &IN_REPETITIONS } else { &IN_STEPS };
        self.node(&step.args, here);
        if let Some(probe) = step.verify.as_ref().and_then(|verify| verify.probe.as_ref()) {
            self.node(&probe.args, here);
        }
        if let Some(for_each) = &step.for_each {
            self.node(&for_each.list, &IN_STEPS);
        }
        if let Some(when) = &step.when {
            self.uses(template::condition_uses(when), &IN_STEPS);
        }
    }

    fn node(&mut self, node: &Node, roots: &[&str]) {
        self.uses(template::uses(node), roots);
    }

    fn uses(&mut self, uses: Result<Vec<Use>, Vec<TemplateError>>, roots: &[&str]) {
        match uses {
            Ok(found) => {
                for one in &found {
                    for name in &one.names {
                        self.name(name, one, roots);
                    }
                }
            }
            Err(errors) => {
                self.problems.extend(errors.into_iter().map(|error| problem(self.source, error)));
            }
        }
    }

    fn name(&mut self, name: &str, used: &Use, roots: &[&str]) {
        let (root, member) = name
            .split_once('.')
            .map_or((name, None), |(root, rest)| (root, rest.split('.').next()));
        let inputs = || self.runbook.inputs.keys().map(String::as_str);
        let (message, hint) = match (root, member) {
            _ if !roots.contains(&root) => (unknown_root(root), self.root_hint(root, roots)),
            ("inputs", Some(input)) if !self.runbook.inputs.contains_key(input) => {
                let hint = suggest::closest(input, inputs()).map_or_else(
                    || format!("Declare it under `inputs:` as `{input}`."),
                    |meant| format!("did you mean `inputs.{meant}`?"),
                );
                (format!("there is no input `{input}`"), hint)
            }
            _ => return,
        };
        let place = exact(self.source, exact(self.source, used.span, &used.expression), name);
        self.problems.push(Diagnostic::error("unknown-name", message).at(place).hint(hint));
    }

    fn root_hint(&self, root: &str, roots: &[&str]) -> String {
        if self.runbook.inputs.contains_key(root) && roots.contains(&"inputs") {
            return format!("did you mean `inputs.{root}`?");
        }
        match suggest::closest(root, roots.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("known here: {}", suggest::listed(roots)),
        }
    }
}

fn unknown_root(root: &str) -> String {
    match root {
        "item" | "index" => format!("`{root}` exists only in a step with `for_each`"),
        "inputs" => "an input cannot read other inputs".to_owned(),
        _ => format!("there is no name `{root}`"),
    }
}
