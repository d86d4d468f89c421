//! The items of a step: its condition, its repetition, its arguments, and what its verb makes of them.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use indexmap::IndexMap;
use serde_json::Value;
use tokio::time::Instant;

use super::element_name;
use crate::action::{
    ActionError, ErrorKind, Item, Later, Question, ResolveContext, Reversal, Verb, Work,
};
use crate::plan::{PlannedItem, PlannedProbe};
use crate::runbook::diagnostic::Source;
use crate::runbook::node::{Node, NodeValue};
use crate::runbook::template::{self, Scope, TemplateError};
use crate::runbook::{ForEach, Severity, Step, VerbCall};
use crate::value::JsonText;

/// How long resolving may take.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// How many elements of a `for_each` are resolved at the same time.
const PARALLEL_ELEMENTS: usize = 16;

/// What became of a step.
pub(super) enum Resolution {
    /// It can run.
    Ready {
        items: Vec<PlannedItem>,
        probe: Option<PlannedProbe>,
        /// How long it takes by its own arguments.
        lasts: Option<Duration>,
        /// What is worth knowing.
        remarks: Vec<ActionError>,
    },
    /// Its condition says no.
    Skipped { because: String },
    /// It cannot be resolved now.
    Unresolved {
        error: ActionError,
        /// The arguments for a later attempt; none when they have no values.
        args: Vec<Item>,
        probe: Option<PlannedProbe>,
    },
}

/// What resolving a step needs to know.
pub(super) struct Resolver<'a> {
    pub(super) cx: &'a ResolveContext,
    pub(super) source: &'a Source,
    /// How bad it has to be for a channel.
    pub(super) channels: &'a BTreeMap<String, Severity>,
    /// Inputs without a value, and why.
    pub(super) unread: &'a IndexMap<String, ActionError>,
    pub(super) scope: Scope,
    pub(super) deadline: Instant,
}

impl Resolver<'_> {
    pub(super) async fn resolve(&self, step: &Step) -> Resolution {
        let lost = |error| Resolution::Unresolved { error, args: Vec::new(), probe: None };
        match self.condition(step) {
            Ok(None) => {}
            Ok(Some(because)) => return Resolution::Skipped { because },
            Err(error) => return lost(error),
        }
        let args = match self.arguments(step) {
            Ok(args) => args,
            Err(error) => return lost(error),
        };
        let probe = match &step.verify.as_ref().and_then(|verify| verify.probe.as_ref()) {
            None => None,
            Some(call) => match self.probe(call).await {
                Ok(probe) => Some(probe),
                Err(error) => return lost(error),
            },
        };
        let verb = match self.verb(&step.verb) {
            Ok(verb) => verb,
            Err(error) => return lost(error),
        };
        match expand(verb, &args, self.cx, self.deadline).await {
            Ok(items) => {
                let remarks = irreversible_remarks(step, verb, &items, self.cx);
                let lasts = verb.lasts.and_then(|lasts| {
                    args.iter().filter_map(|element| lasts(element.args.value())).max()
                });
                Resolution::Ready { items, probe, lasts, remarks }
            }
            Err(error) => Resolution::Unresolved { error, args, probe },
        }
    }

    pub(super) fn verb(&self, name: &str) -> Result<&Verb, ActionError> {
        let verb = self.cx.registry.verb(name);
        verb.ok_or_else(|| invalid(format!("find the verb `{name}`")))
    }

    /// Why the step is skipped, if it is.
    fn condition(&self, step: &Step) -> Result<Option<String>, ActionError> {
        let Some(when) = &step.when else { return Ok(None) };
        let holds = template::condition(when, &self.scope).map_err(|error| self.explain(error))?;
        let spelling = match &when.value {
            NodeValue::Text(text) => text.clone(),
            _ => when.to_json().to_string(),
        };
        Ok((!holds).then(|| format!("its condition `{}` is false", spelling.trim())))
    }

    /// The verb's arguments, once or for each element.
    fn arguments(&self, step: &Step) -> Result<Vec<Item>, ActionError> {
        let Some(ForEach { list }) = step.for_each.as_deref() else {
            let args = self.evaluate(&step.args, &self.scope)?.into();
            return Ok(vec![Item { name: String::new(), args }]);
        };
        let elements = match self.evaluate(list, &self.scope)? {
            Value::Array(elements) => elements,
            other => {
                return Err(invalid(format!("repeat over a list: `for_each` gives {other}")));
            }
        };
        if elements.is_empty() {
            let error = ActionError::new(ErrorKind::NotFound, "repeat over an empty list");
            return Err(error.hint("Skip the step with `when` if nothing to do is fine."));
        }
        // One scope for all elements: it may hold long lists itself.
        let mut scope = self.scope.clone();
        let mut args = Vec::with_capacity(elements.len());
        for (index, element) in elements.into_iter().enumerate() {
            let name = element_name(&element, index);
            scope = scope.with_item(element, index);
            args.push(Item { name, args: self.evaluate(&step.args, &scope)?.into() });
        }
        Ok(args)
    }

    async fn probe(&self, call: &VerbCall) -> Result<PlannedProbe, ActionError> {
        let verb = self.verb(&call.verb)?;
        let args = self.evaluate(&call.args, &self.scope)?.into();
        let args = [Item { name: String::new(), args }];
        let mut items = expand(verb, &args, self.cx, self.deadline).await?;
        match (items.pop(), items.is_empty()) {
            (Some(item), true) => Ok(PlannedProbe { verb: call.verb.clone(), args: item.args }),
            _ => {
                Err(invalid(format!("verify with `{}`: it asks more than one question", call.verb)))
            }
        }
    }

    pub(super) fn evaluate(&self, node: &Node, scope: &Scope) -> Result<Value, ActionError> {
        let value = template::evaluate(node, scope).map_err(|error| self.explain(error))?;
        match self.cx.connections.secrets().missing_in(&value) {
            None => Ok(value),
            Some(missing) => {
                let message = format!("read the secret `{}`: {}", missing.name, missing.reason);
                Err(invalid(message).hint(format!("Provide it for `{}`.", missing.name)))
            }
        }
    }

    /// A template that waits for an input is explained by what kept the input from being read.
    fn explain(&self, error: TemplateError) -> ActionError {
        let unread = error
            .unknown
            .iter()
            .find_map(|name| self.unread.get_key_value(name.strip_prefix("inputs.")?));
        if let Some((name, reason)) = unread {
            let mut reason = reason.clone();
            reason.message = format!("resolve the input `{name}`: failed to {}", reason.message);
            return reason;
        }
        let mut explained = invalid(match &*error.expression {
            "" => format!("evaluate a template: {}", error.message),
            expression => format!("evaluate `{}`: {}", expression.trim(), error.message),
        });
        explained.hints = error.hints;
        let place = self.source.location(error.span.start);
        let path = &self.source.path;
        explained.hint(format!("See {path}, line {}, column {}.", place.line, place.column))
    }
}

/// Splits the arguments of a step into its items and describes each; also for a deferred step whose turn
/// has come. Fails at `deadline` at the latest.
///
/// # Errors
/// The first element that cannot be resolved; nothing to resolve; two items of one name.
pub async fn expand(
    verb: &Verb,
    args: &[Item],
    cx: &ResolveContext,
    deadline: Instant,
) -> Result<Vec<PlannedItem>, ActionError> {
    let futures: Vec<_> =
        args.iter().map(|element| expand_one(verb, element, cx, deadline)).collect();
    let items: Vec<Vec<PlannedItem>> =
        stream::iter(futures).buffered(PARALLEL_ELEMENTS).try_collect().await?;
    let mut all = Vec::with_capacity(items.iter().map(Vec::len).sum());
    all.extend(items.into_iter().flatten());
    let items: Vec<PlannedItem> = all;
    if items.is_empty() {
        return Err(ActionError::new(
            ErrorKind::NotFound,
            format!("find anything for `{}` to work on", verb.name),
        ));
    }
    let mut names = HashSet::new();
    if let Some(twice) = items.iter().find(|item| !names.insert(&item.name)) {
        return Err(invalid(format!("tell two items apart: both are called `{}`", twice.name)));
    }
    Ok(items)
}

async fn expand_one(
    verb: &Verb,
    element: &Item,
    cx: &ResolveContext,
    deadline: Instant,
) -> Result<Vec<PlannedItem>, ActionError> {
    let expanding = verb.expand(element.args.value(), cx);
    let items = tokio::time::timeout_at(deadline, expanding).await.unwrap_or_else(|_| {
        let message = format!("resolve `{}` in time: no answer", verb.name);
        Err(ActionError::new(ErrorKind::TimedOut, message))
    })?;
    let planned = items.into_iter().map(|item| {
        let (does, undo) = describe(verb, &item.args, cx)?;
        let name = match (element.name.as_str(), item.name.as_str()) {
            ("", name) => name.to_owned(),
            (element, "") => element.to_owned(),
            (element, name) => format!("{element}/{name}"),
        };
        Ok(PlannedItem { name, args: item.args, does: does.into(), undo })
    });
    planned.collect()
}

fn describe(
    verb: &Verb,
    args: &JsonText,
    cx: &ResolveContext,
) -> Result<(String, String), ActionError> {
    Ok(match verb.make(args, cx)? {
        Work::Action(action) => {
            let description = action.describe();
            match action.reversal() {
                Reversal::Automatic => (description.apply, description.undo),
                Reversal::Irreversible { .. } => (description.apply, String::new()),
            }
        }
        Work::Probe(probe) => (probe.describe().apply, String::new()),
        Work::Manual(Question { text, .. }) | Work::Later(Later { text, .. }) => {
            (text, String::new())
        }
        Work::Hold(hold) => (hold.describe(), String::new()),
    })
}

/// Changes that turn out irreversible although the runbook does not say so.
fn irreversible_remarks(
    step: &Step,
    verb: &Verb,
    items: &[PlannedItem],
    cx: &ResolveContext,
) -> Vec<ActionError> {
    // An optional step never decides a run, and a message that was sent is no state to bring back.
    if step.irreversible || step.optional {
        return Vec::new();
    }
    // What has an undo need not be made once more to ask for it.
    let without_undo = |item: &&PlannedItem| item.undo.is_empty();
    let reason =
        items.iter().filter(without_undo).find_map(|item| match verb.make(&item.args, cx) {
            Ok(Work::Action(action)) => match action.reversal() {
                Reversal::Irreversible { reason } => Some(reason),
                Reversal::Automatic => None,
            },
            _ => None,
        });
    let remark = reason.map(|reason| {
        ActionError::new(ErrorKind::Invalid, format!("make the change undoable: {reason}"))
            .hint("Say so in the runbook with `irreversible: true`.")
    });
    remark.into_iter().collect()
}

fn invalid(message: String) -> ActionError {
    ActionError::new(ErrorKind::Invalid, message)
}
