//! Steps and calls: places where a key names a verb.

use super::{ANYTHING, Place, Templates, Walk};
use crate::action::{Verb, VerbKind};
use crate::runbook::diagnostic::Diagnostic;
use crate::runbook::node::{Key, Node, NodeValue, Span};
use crate::runbook::suggest;

const STEP_VERBS: [VerbKind; 2] = [VerbKind::Action, VerbKind::Probe];

impl Walk<'_> {
    pub(super) fn step(&mut self, node: &Node) {
        let NodeValue::Map(entries) = &node.value else {
            let message = "a step is a mapping with an `id` and one action or probe";
            self.problems.push(Diagnostic::error("wrong-type", message).at(node.span));
            return;
        };
        let (verbs, policy): (Vec<_>, Vec<_>) =
            entries.iter().cloned().partition(|(key, _)| names_verb(&key.name));
        let policy = Node { value: NodeValue::Map(policy), span: node.span };
        let place = Place { what: "a step", templates: Templates::NotHere };
        let unknown = self.policy(&policy, place);
        match verbs.as_slice() {
            [] if !unknown => {
                let shown = node.get("id").map_or(node.span, |id| id.span);
                let message = "this step does nothing: it needs one action or probe";
                self.problems.push(
                    Diagnostic::error("missing-verb", message)
                        .at(shown)
                        .hint("Add a key such as `docker.stop` with its arguments."),
                );
            }
            [(first, _), others @ ..] => {
                for (other, _) in others {
                    let message = "a step has one action or probe, and this is another";
                    self.problems.push(
                        Diagnostic::error("several-verbs", message)
                            .at(other.span)
                            .also(first.span, "the first")
                            .hint("Make a step of each."),
                    );
                }
            }
            [] => {}
        }
        for (key, arguments) in &verbs {
            self.call(key, arguments, &STEP_VERBS, "a step");
        }
    }

    /// Checks a step's policy keys; whether any of them is unknown.
    fn policy(&mut self, policy: &Node, place: Place<'_>) -> bool {
        let before = self.problems.len();
        self.value(policy, &self.catalog.step, place);
        let mut unknown = false;
        let verbs = self.catalog.names(&STEP_VERBS);
        for found in &mut self.problems[before..] {
            // The walk knows policy keys only: perhaps a verb was meant.
            let at = found.span.unwrap_or_default();
            if found.code == "unknown-key" && policy_key(policy, at) {
                unknown = true;
                let written = self.source.slice(at).replace(['_', '-', ' '], ".");
                let suggested = found.hints.iter().any(|hint| hint.starts_with("did you mean"));
                if !suggested && let Some(verb) = suggest::closest(&written, verbs.iter().copied())
                {
                    found.hints = vec![format!("did you mean `{verb}`?")];
                }
            }
        }
        unknown
    }

    pub(super) fn probe_call(&mut self, node: &Node, what: &str) {
        self.one_verb(node, VerbKind::Probe, what);
    }

    pub(super) fn message_call(&mut self, node: &Node, what: &str) {
        self.one_verb(node, VerbKind::Action, what);
        if let NodeValue::Map(entries) = &node.value {
            for (key, _) in entries {
                let verb = self.catalog.verb(&key.name);
                if verb.is_some_and(|verb| verb.kind == VerbKind::Action && !verb.is_message()) {
                    self.no_message(&key.name, key.span);
                }
            }
        }
    }

    /// The name of a verb that carries messages.
    pub(super) fn message_name(&mut self, node: &Node, what: &str) {
        let Some(name) = node.as_text() else {
            let message = format!("{what} must be the name of a verb");
            self.problems.push(Diagnostic::error("wrong-type", message).at(node.span));
            return;
        };
        match self.catalog.verb(name) {
            Some(verb) if verb.is_message() => {}
            Some(_) => self.no_message(name, node.span),
            None => {
                let key = Key { name: name.to_owned(), span: node.span };
                self.unknown_verb(&key, &[VerbKind::Action]);
            }
        }
    }

    fn no_message(&mut self, verb: &str, at: Span) {
        let message = format!("`{verb}` carries no message to people");
        let names = self.catalog.messages();
        self.problems.push(
            Diagnostic::error("not-a-message", message)
                .at(at)
                .hint(format!("known here: {}", suggest::listed(&names))),
        );
    }

    pub(super) fn inventory_call(&mut self, node: &Node, what: &str) {
        self.one_verb(node, VerbKind::Inventory, what);
    }

    fn one_verb(&mut self, node: &Node, kind: VerbKind, what: &str) {
        match &node.value {
            NodeValue::Map(entries) if entries.len() == 1 => {
                for (key, arguments) in entries {
                    self.call(key, arguments, &[kind], what);
                }
            }
            _ => {
                let message = format!("{what} must be just {} with its arguments", noun(kind));
                let mut problem = Diagnostic::error("missing-verb", message).at(node.span);
                let names = self.catalog.names(&[kind]);
                if let Some(name) = names.first() {
                    problem = problem.hint(format!("Write it as `{{{name}: {{…}}}}`."));
                }
                self.problems.push(problem);
            }
        }
    }

    fn call(&mut self, key: &Key, arguments: &Node, kinds: &[VerbKind], what: &str) {
        let Some(verb) = self.catalog.verb(&key.name) else {
            self.unknown_verb(key, kinds);
            return;
        };
        if !kinds.contains(&verb.kind) {
            self.wrong_kind(verb, key.span, kinds, what);
        }
        let what = format!("`{}`", verb.name);
        let schema = self.catalog.arguments(verb.name).unwrap_or(&ANYTHING);
        self.value(arguments, schema, Place { what: &what, templates: Templates::Allowed });
    }

    fn unknown_verb(&mut self, key: &Key, kinds: &[VerbKind]) {
        let shown = suggest::visible(&key.name);
        let mut problem =
            Diagnostic::error("unknown-verb", format!("there is no verb `{shown}`")).at(key.span);
        let system = key.name.split_once('.').map_or(key.name.as_str(), |(system, _)| system);
        let names = self.catalog.names(kinds);
        let meant = if key.name.len() <= 64 {
            suggest::closest(&key.name, names.iter().copied())
        } else {
            None
        };
        let of_system: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| name.split_once('.').is_some_and(|(prefix, _)| prefix == system))
            .collect();
        if let Some(meant) = meant {
            problem = problem.hint(format!("did you mean `{meant}`?"));
        } else if !of_system.is_empty() {
            problem = problem.hint(format!("known here: {}", suggest::listed(&of_system)));
        } else {
            let systems: Vec<&str> =
                self.catalog.registry().systems().iter().map(|system| system.name).collect();
            if !systems.is_empty() {
                problem = problem.hint(format!("known systems: {}", suggest::listed(&systems)));
            }
        }
        self.problems.push(problem);
    }

    fn wrong_kind(&mut self, verb: &Verb, at: Span, kinds: &[VerbKind], what: &str) {
        let wanted = match kinds {
            [one] => noun(*one),
            _ => "an action or a probe",
        };
        let message = format!("`{}` is {}, and {what} needs {wanted}", verb.name, noun(verb.kind));
        let mut problem = Diagnostic::error("wrong-verb-kind", message).at(at);
        let names = self.catalog.names(kinds);
        let same: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| name.split_once('.').is_some_and(|(system, _)| system == verb.system()))
            .collect();
        let known = if same.is_empty() { names } else { same };
        if (1..=12).contains(&known.len()) {
            problem = problem.hint(format!("known here: {}", suggest::listed(&known)));
        }
        self.problems.push(problem);
    }
}

/// Whether a step's key is meant as a verb.
pub(in crate::runbook::validate) fn names_verb(key: &str) -> bool {
    key.contains('.')
}

fn policy_key(policy: &Node, at: Span) -> bool {
    match &policy.value {
        NodeValue::Map(entries) => entries.iter().any(|(key, _)| key.span == at),
        _ => false,
    }
}

fn noun(kind: VerbKind) -> &'static str {
    match kind {
        VerbKind::Action => "an action",
        VerbKind::Probe => "a probe",
        VerbKind::Inventory => "an inventory",
    }
}
