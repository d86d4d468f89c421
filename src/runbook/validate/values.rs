//! What can be evaluated offline is evaluated, with defaults and declared samples, and the verbs judge their arguments.
//!
//! What waits for a run (an inventory without a sample, the environment) is no error: a note says so.

use std::collections::BTreeSet;

use serde_json::Value;

use super::names;
use crate::action::Registry;
use crate::runbook::diagnostic::{Diagnostic, Source};
use crate::runbook::model::{Runbook, Step};
use crate::runbook::node::{Node, Span};
use crate::runbook::template::{self, Scope, TemplateError};

/// The values that are known without an environment and without asking anybody: defaults and samples.
pub fn offline_scope(runbook: &Runbook) -> Scope {
    let mut scope = Scope::new().with_unknown("environment").with_unknown("run");
    for (name, input) in &runbook.inputs {
        let known = input.default.as_ref().or(input.sample.as_ref());
        let value = known.and_then(|node| template::evaluate(node, &scope).ok());
        let fallback = || input.sample.as_ref().map(Node::to_json);
        scope = match value.or_else(fallback) {
            Some(value) => scope.with_input(name, value),
            None => scope.with_unknown(format!("inputs.{name}")),
        };
    }
    scope
}

/// Evaluates every step and lets its verb judge the arguments.
pub(super) fn check(
    runbook: &Runbook,
    source: &Source,
    registry: &Registry,
    problems: &mut Vec<Diagnostic>,
) {
    let scope = offline_scope(runbook);
    let mut values = Values { source, registry, problems, unknown: BTreeSet::new(), waiting: None };
    for step in runbook.all_steps() {
        values.step(step, &scope);
    }
    for message in runbook.escalation.iter().flat_map(|rung| &rung.tell) {
        values.arguments(&message.verb, &message.args, message.span, &scope);
    }
    values.report();
}

/// What a `for_each` repeats over.
enum Repeated {
    /// A list with this first element.
    Over(Value),
    /// A list that only a run will know.
    Unknown,
    /// Not a list, or an empty one.
    Wrong,
}

struct Values<'a> {
    source: &'a Source,
    registry: &'a Registry,
    problems: &'a mut Vec<Diagnostic>,
    /// The names that a run will know.
    unknown: BTreeSet<String>,
    /// The first place that waits for one.
    waiting: Option<Span>,
}

impl Values<'_> {
    fn step(&mut self, step: &Step, scope: &Scope) {
        if let Some(when) = &step.when
            && let Err(error) = template::condition(when, scope)
        {
            self.error(error);
        }
        let scope = match &step.for_each {
            None => scope.clone(),
            Some(for_each) => match self.repeated(&for_each.list, scope) {
                Repeated::Over(item) => scope.clone().with_item(item, 0),
                Repeated::Unknown => scope.clone().with_unknown("item").with_unknown("index"),
                Repeated::Wrong => return,
            },
        };
        self.arguments(&step.verb, &step.args, step.verb_span, &scope);
        if let Some(probe) = step.verify.as_ref().and_then(|verify| verify.probe.as_ref()) {
            self.arguments(&probe.verb, &probe.args, probe.span, &scope);
        }
    }

    fn repeated(&mut self, list: &Node, scope: &Scope) -> Repeated {
        match template::evaluate(list, scope) {
            Ok(Value::Array(items)) => {
                items.into_iter().next().map_or(Repeated::Wrong, Repeated::Over)
            }
            Ok(other) => {
                let message = format!("`for_each` needs a list, not {}", template::kind_of(&other));
                self.problems.push(Diagnostic::error("wrong-type", message).at(list.span));
                Repeated::Wrong
            }
            Err(error) => {
                let unknown = error.is_unevaluated();
                self.error(error);
                if unknown { Repeated::Unknown } else { Repeated::Wrong }
            }
        }
    }

    fn arguments(&mut self, verb: &str, arguments: &Node, place: Span, scope: &Scope) {
        let Some(verb) = self.registry.verb(verb) else { return };
        let Some(value) = self.evaluate(arguments, scope) else { return };
        if let Err(message) = (verb.validate)(value) {
            self.problems.push(
                Diagnostic::error("invalid-arguments", format!("`{}`: {message}", verb.name))
                    .at(place),
            );
        }
    }

    fn evaluate(&mut self, node: &Node, scope: &Scope) -> Option<Value> {
        template::evaluate(node, scope).map_err(|error| self.error(error)).ok()
    }

    fn error(&mut self, error: TemplateError) {
        if error.is_unevaluated() {
            let place = names::exact(self.source, error.span, &error.expression);
            let _first = self.waiting.get_or_insert(place);
            let names = error.unknown.into_iter();
            self.unknown.extend(names.filter(|name| !name.starts_with("item") && name != "index"));
        } else {
            self.problems.push(names::problem(self.source, error));
        }
    }

    fn report(self) {
        let Some(place) = self.waiting else { return };
        let names: Vec<String> = self.unknown.iter().map(|name| format!("`{name}`")).collect();
        let message = format!("not evaluated offline: {}", names.join(", "));
        self.problems.push(
            Diagnostic::note("unevaluated", message)
                .at(place)
                .label("the first of them")
                .hint("Give an input a `sample`; `rollback plan` evaluates the rest, with an environment."),
        );
    }
}
