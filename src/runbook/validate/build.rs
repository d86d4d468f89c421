//! Makes the [`Runbook`] of a tree that the walk has looked at.
//!
//! What the walk refused is left out, so that the other passes still find everything else. A value that the
//! walk accepted and a type refuses is reported here: nothing is dropped in silence.

use std::time::Duration;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::walk::names_verb;
use crate::runbook::Severity;
use crate::runbook::diagnostic::Diagnostic;
use crate::runbook::forms::{
    AfterForm, ApprovalForm, End, InputForm, PhaseForm, RunbookForm, RungForm, StepForm,
    TargetForm, VERSION, VerifyForm,
};
use crate::runbook::model::{
    After, Approval, ForEach, Input, InputType, Phase, Retry, Runbook, Rung, Scenario, Step,
    Target, VerbCall, Verify,
};
use crate::runbook::node::{Key, Node, NodeValue, Span};
use crate::value::Lasting;

const RETRY_DELAY: Duration = Duration::from_secs(1);
const RETRY_MAX_DELAY: Duration = Duration::from_secs(30);

/// The keys of a runbook and of a phase whose places are read one by one. What is under them may be most of the file, so a form only learns
/// that they are there.
const READ_ONE_BY_ONE: [&str; 8] =
    ["inputs", "targets", "escalation", "closing", "phases", "prepare", "restore", "steps"];

/// The runbook, as far as it could be read. What it keeps of the tree is taken out of it.
pub(super) fn runbook(mut root: Node, problems: &mut Vec<Diagnostic>) -> Runbook {
    let mut build = Build::new(problems);
    let runbook = build.runbook(&mut root);
    problems.append(&mut build.found);
    runbook
}

struct Build {
    /// Where the walk found something wrong, sorted.
    refused: Vec<usize>,
    /// Where it found something missing, sorted: that makes no key wrong that is there.
    incomplete: Vec<usize>,
    found: Vec<Diagnostic>,
}

impl Build {
    fn new(problems: &[Diagnostic]) -> Self {
        let (missing, wrong): (Vec<&Diagnostic>, Vec<&Diagnostic>) =
            problems.iter().partition(|found| found.code.starts_with("missing-"));
        Self { refused: starts(&wrong), incomplete: starts(&missing), found: Vec::new() }
    }

    /// Whether the walk found something wrong inside a place.
    fn is_refused(&self, span: Span) -> bool {
        any_within(&self.refused, span)
    }

    /// Deserializes a mapping without the keys that the walk refused; `assumed` fills in for keys without which
    /// the type could not exist.
    fn form<T: DeserializeOwned>(&mut self, node: &Node, assumed: &[(&str, Value)]) -> Option<T> {
        self.form_without(&[], node, assumed)
    }

    /// The same with nothing under these keys.
    fn form_without<T: DeserializeOwned>(
        &mut self,
        elsewhere: &[&str],
        node: &Node,
        assumed: &[(&str, Value)],
    ) -> Option<T> {
        let mut map = Map::new();
        let mut complete = true;
        for (key, value) in entries(node) {
            if names_verb(&key.name) {
                continue;
            }
            if self.is_refused(Span { start: key.span.start, end: value.span.end }) {
                complete = false;
                continue;
            }
            let elsewhere = elsewhere.contains(&key.name.as_str());
            let value = if elsewhere { Value::Null } else { value.to_json() };
            let _none = map.insert(key.name.clone(), value);
        }
        for (key, value) in assumed {
            let _present = map.entry(*key).or_insert_with(|| value.clone());
        }
        match serde_json::from_value(Value::Object(map)) {
            Ok(form) => Some(form),
            Err(error) => {
                if complete && !any_within(&self.incomplete, node.span) {
                    self.found
                        .push(Diagnostic::error("invalid-value", error.to_string()).at(node.span));
                }
                None
            }
        }
    }

    fn runbook(&mut self, root: &mut Node) -> Runbook {
        let assumed =
            [("name", "".into()), ("scenario", "emergency".into()), ("phases", Value::Null)];
        let form: Option<RunbookForm> = self.form_without(&READ_ONE_BY_ONE, root, &assumed);
        let name = form.as_ref().map_or_else(String::new, |form| form.name.0.clone());
        let severity = form.as_ref().and_then(|form| form.severity);
        let (title, subject, scenario, give_up, needs) = match form {
            Some(form) => (form.title, form.subject, form.scenario, form.give_up, form.approval),
            None => (None, None, Scenario::Emergency, None, None),
        };
        Runbook {
            version: VERSION,
            title: title.map_or_else(|| name.clone(), |title| title.0),
            subject: subject.map_or_else(|| name.clone(), |subject| subject.0),
            name,
            scenario,
            severity: severity.unwrap_or_else(|| Severity::usual(scenario)),
            inputs: self.named(root.get("inputs"), Self::input),
            targets: self.named(root.get("targets"), Self::target),
            give_up: lasting(give_up),
            approval: needs.map(|form| approval(form, root)),
            escalation: items(root.get("escalation"))
                .iter()
                .filter_map(|rung| self.rung(rung))
                .collect(),
            closing: items(root.get("closing"))
                .iter()
                .filter_map(Node::as_text)
                .map(str::to_owned)
                .collect(),
            phases: items_mut(root.get_mut("phases"))
                .iter_mut()
                .map(|phase| self.phase(phase))
                .collect(),
            prepare: self.of_drill(root, "prepare"),
            restore: self.of_drill(root, "restore"),
        }
    }

    fn named<T>(
        &mut self,
        node: Option<&Node>,
        read: fn(&mut Self, &Key, &Node) -> Option<T>,
    ) -> IndexMap<String, T> {
        let mut map = IndexMap::new();
        for (key, value) in node.map(entries).unwrap_or_default() {
            if let Some(item) = read(self, key, value) {
                let _none = map.insert(key.name.clone(), item);
            }
        }
        map
    }

    fn input(&mut self, key: &Key, node: &Node) -> Option<Input> {
        let assumed = [("type", serde_json::to_value(InputType::String).unwrap_or_default())];
        let form: InputForm = self.form(node, &assumed)?;
        Some(Input {
            kind: form.kind,
            required: form.required,
            prompt: form.prompt.map(|prompt| prompt.0),
            default: node.get("default").cloned(),
            from: node.get("from").and_then(call).map(|(key, args)| (key.name, args)),
            argument: form.argument,
            at_least: form.at_least,
            one_of: form.one_of.map(|values| values.into_iter().map(|value| value.0).collect()),
            sample: node.get("sample").cloned(),
            span: key.span,
        })
    }

    fn target(&mut self, key: &Key, node: &Node) -> Option<Target> {
        let form: TargetForm = self.form(node, &[])?;
        let span = node.get("reached_by").map_or(key.span, |reached_by| reached_by.span);
        let from = form.from.map(|from| from.0);
        let from_span = node.get("from").map_or(span, |from| from.span);
        let (within, reached_by) = (form.within.0, form.reached_by.0);
        Some(Target { within, from, reached_by, span, from_span })
    }

    fn rung(&mut self, node: &Node) -> Option<Rung> {
        let form: RungForm = self.form(node, &[])?;
        let message = |(key, args): (Key, Node)| VerbCall { verb: key.name, args, span: key.span };
        Some(Rung {
            level: form.level.0,
            who: form.who.0,
            after: lasting(form.after).unwrap_or_default(),
            severity: form.severity,
            phone: node.get("phone").cloned(),
            tell: items(node.get("tell")).iter().filter_map(call).map(message).collect(),
            span: node.get("level").map_or(node.span, |level| level.span),
        })
    }

    fn phase(&mut self, node: &mut Node) -> Phase {
        let assumed = [("id", "".into()), ("steps", Value::Null)];
        let form: Option<PhaseForm> = self.form_without(&READ_ONE_BY_ONE, node, &assumed);
        let (id, title, budget) = match form {
            Some(form) => (form.id.0, form.title, form.budget),
            None => (String::new(), None, None),
        };
        Phase {
            id,
            title: title.map(|title| title.0),
            budget: lasting(budget),
            steps: items_mut(node.get_mut("steps"))
                .iter_mut()
                .map(|step| self.step(step))
                .collect(),
            span: node.get("id").map_or(node.span, |id| id.span),
        }
    }

    /// The steps under a key that only a drill runs, as a phase of that name.
    fn of_drill(&mut self, root: &mut Node, key: &str) -> Option<Phase> {
        let steps = root.get_mut(key)?;
        Some(Phase {
            id: key.to_owned(),
            title: None,
            budget: None,
            span: steps.span,
            steps: items_mut(Some(steps)).iter_mut().map(|step| self.step(step)).collect(),
        })
    }

    fn step(&mut self, node: &mut Node) -> Step {
        let form: StepForm = self.form(node, &[("id", "".into())]).unwrap_or_default();
        let span = node.get("id").map_or(node.span, |id| id.span);
        let verb = entries_mut(node).iter_mut().find(|(key, _)| names_verb(&key.name));
        let (verb, verb_span, args) = match verb {
            Some((key, args)) => (std::mem::take(&mut key.name), key.span, args.take()),
            None => (String::new(), span, Node { value: NodeValue::Null, span }),
        };
        Step {
            id: form.id.0,
            title: form.title.map(|title| title.0),
            verb,
            args,
            optional: form.optional,
            after: form.after.map(|waits| after(waits, items(node.get("after")))),
            when: node.get_mut("when").map(|when| Box::new(when.take())),
            timeout: lasting(form.timeout),
            expected: lasting(form.expected),
            retry: form.retry.map(|retry| {
                Box::new(Retry {
                    attempts: retry.attempts,
                    delay: lasting(retry.delay).unwrap_or(RETRY_DELAY),
                    max_delay: lasting(retry.max_delay).unwrap_or(RETRY_MAX_DELAY),
                })
            }),
            on_failure: form.on_failure,
            verify: form.verify.map(|form| Box::new(verify(&form, node.get("verify")))),
            irreversible: form.irreversible,
            approval: form.approval.map(|form| Box::new(approval(form, node))),
            for_each: node.get_mut("for_each").map(|list| Box::new(ForEach { list: list.take() })),
            parallel: form.parallel,
            span,
            verb_span,
        }
    }
}

fn starts(problems: &[&Diagnostic]) -> Vec<usize> {
    let mut starts: Vec<usize> =
        problems.iter().filter_map(|found| found.span).map(|span| span.start).collect();
    starts.sort_unstable();
    starts
}

fn any_within(starts: &[usize], span: Span) -> bool {
    let first = starts.partition_point(|start| *start < span.start);
    starts.get(first).is_some_and(|start| *start <= span.end)
}

fn after(waits: Vec<AfterForm>, nodes: &[Node]) -> Vec<After> {
    let wait = |(form, node): (AfterForm, &Node)| match form {
        AfterForm::Success(step) => After { step: step.0, settled: false, span: node.span },
        AfterForm::Settled(form) => {
            let span = node.get("step").map_or(node.span, |step| step.span);
            After { step: form.step.0, settled: form.is == End::Settled, span }
        }
    };
    waits.into_iter().zip(nodes).map(wait).collect()
}

fn verify(form: &VerifyForm, node: Option<&Node>) -> Verify {
    let probe = node.and_then(|node| node.get("probe")).and_then(call);
    Verify {
        within: lasting(form.within),
        every: lasting(form.every),
        probe: probe.map(|(key, args)| VerbCall { verb: key.name, args, span: key.span }),
    }
}

/// The approval that `around`, a step or the whole runbook, needs.
fn approval(form: ApprovalForm, around: &Node) -> Approval {
    Approval {
        role: form.role.0,
        within: form.within.0,
        reason: form.reason.map(|reason| reason.0),
        span: around.get("approval").map_or(around.span, |node| node.span),
    }
}

fn lasting(value: Option<Lasting>) -> Option<Duration> {
    value.map(|value| value.0)
}

/// The verb and the arguments of a call.
fn call(node: &Node) -> Option<(Key, Node)> {
    entries(node).first().cloned()
}

fn entries(node: &Node) -> &[(Key, Node)] {
    match &node.value {
        NodeValue::Map(entries) => entries,
        _ => &[],
    }
}

fn entries_mut(node: &mut Node) -> &mut [(Key, Node)] {
    match &mut node.value {
        NodeValue::Map(entries) => entries,
        _ => &mut [],
    }
}

fn items_mut(node: Option<&mut Node>) -> &mut [Node] {
    match node.map(|node| &mut node.value) {
        Some(NodeValue::List(items)) => items,
        _ => &mut [],
    }
}

fn items(node: Option<&Node>) -> &[Node] {
    match node.map(|node| &node.value) {
        Some(NodeValue::List(items)) => items,
        _ => &[],
    }
}
