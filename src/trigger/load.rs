//! From a file to a table, or to all its problems, each with its place.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::form::{self, TriggerForm};
use super::model::{Approval, Table, Trigger};
use super::{arguments, lint};
use crate::action::Registry;
use crate::environment::FoundRunbook;
use crate::runbook::diagnostic::{Diagnostic, Diagnostics, Severity, Source};
use crate::runbook::node::{Key, Node, NodeValue, Span};
use crate::runbook::schema::Catalog;
use crate::runbook::{VerbCall, parse, read, template, validate};

/// The word that stands for nobody where a role is asked for.
const AUTOMATED: &str = "automated";

/// A table that can be used.
#[derive(Debug, Clone)]
pub struct LoadedTable {
    /// The table.
    pub table: Table,
    /// Its text and path.
    pub source: Source,
    /// Warnings.
    pub warnings: Diagnostics,
}

/// Loads a table from a file; `runbooks` are those that it may name.
///
/// # Errors
/// All problems of the file at once.
pub fn load(
    path: &Path,
    registry: &Registry,
    runbooks: &[FoundRunbook],
) -> Result<LoadedTable, Diagnostics> {
    let shown = path.display().to_string();
    load_source(read::text(&shown, read::bytes(path)?)?, registry, runbooks)
}

/// Loads a table from a text; `path` is only shown.
///
/// # Errors
/// As [`load`].
pub fn load_text(
    path: &str,
    text: &str,
    registry: &Registry,
    runbooks: &[FoundRunbook],
) -> Result<LoadedTable, Diagnostics> {
    load_source(Source::new(path, text), registry, runbooks)
}

fn load_source(
    source: Source,
    registry: &Registry,
    runbooks: &[FoundRunbook],
) -> Result<LoadedTable, Diagnostics> {
    let root = match parse::parse(&source) {
        Ok(root) => root,
        Err(problems) => return Err(Diagnostics::new(source, problems)),
    };
    let catalog = Catalog::of(registry, &root);
    let schema = form::form();
    let mut problems = validate::document(&root, &source, &schema, "decision table", &catalog);
    let table = table(&root, &problems);
    names(&table, &mut problems);
    arguments::check(&table, &catalog, &mut problems);
    lint::check(&table, &catalog, runbooks, &mut problems);
    let failed = problems.iter().any(|found| found.severity == Severity::Error);
    let warnings = Diagnostics::new(source.clone(), problems);
    if failed { Err(warnings) } else { Ok(LoadedTable { table, source, warnings }) }
}

/// The table as far as it can be read; what has problems of form is left out, since they are told already.
fn table(root: &Node, problems: &[Diagnostic]) -> Table {
    let text = |key: &str| root.get(key).and_then(Node::as_text).map(str::to_owned);
    let name = text("name").unwrap_or_default();
    let roles = match root.get("roles").map(|node| &node.value) {
        Some(NodeValue::Map(roles)) => roles.as_slice(),
        _ => &[],
    };
    let called = |(key, title): &(Key, Node)| {
        (key.name.clone(), title.as_text().unwrap_or(&key.name).to_owned())
    };
    let triggers = match root.get("triggers").map(|node| &node.value) {
        Some(NodeValue::List(triggers)) => triggers.as_slice(),
        _ => &[],
    };
    let wrong = |span: Span| {
        let places = problems.iter().filter_map(|found| found.span);
        places.into_iter().any(|at| span.start <= at.start && at.start < span.end)
    };
    Table {
        title: text("title").unwrap_or_else(|| name.clone()),
        name,
        roles: roles.iter().map(called).collect(),
        triggers: triggers.iter().filter(|node| !wrong(node.span)).filter_map(trigger).collect(),
    }
}

fn trigger(node: &Node) -> Option<Trigger> {
    let form: TriggerForm = without_condition(node)?;
    let NodeValue::Map(condition) = &node.get("condition")?.value else { return None };
    let (verb, args) = condition.first()?;
    let lasting = |given: Option<crate::value::Lasting>| given.map(|given| given.0);
    let place = |key: &str| node.get(key).map_or(node.span, |value| value.span);
    Some(Trigger {
        id: form.id.0,
        title: form.title.0,
        severity: form.severity,
        condition: VerbCall { verb: verb.name.clone(), args: args.clone(), span: verb.span },
        sustained_for: lasting(form.sustained_for),
        response: form.action,
        runbook: form.runbook.0,
        argument: form.argument.map(|argument| argument.label.0),
        within: form.within.0,
        approval: match form.approval.0.as_str() {
            AUTOMATED => Approval::Automated,
            _ => Approval::Role(form.approval.0),
        },
        cool_down: lasting(form.cool_down),
        span: place("id"),
        runbook_span: place("runbook"),
        approval_span: place("approval"),
    })
}

/// The condition's arguments may hold anything that a template may stand for.
fn without_condition<T: DeserializeOwned>(node: &Node) -> Option<T> {
    let NodeValue::Map(entries) = &node.value else { return None };
    let entries = entries.iter().map(|(key, value)| match key.name.as_str() {
        "condition" => (key.name.clone(), Value::Null),
        _ => (key.name.clone(), value.to_json()),
    });
    serde_json::from_value(Value::Object(entries.collect::<Map<_, _>>())).ok()
}

/// Templates read the environment and nothing else: there is no run yet, and so no input.
fn names(table: &Table, problems: &mut Vec<Diagnostic>) {
    for trigger in &table.triggers {
        match template::uses(&trigger.condition.args) {
            Err(errors) => problems.extend(errors.into_iter().map(Diagnostic::from)),
            Ok(uses) => {
                for used in uses {
                    let strange = used.names.iter().find(|name| {
                        name.split('.').next().is_some_and(|root| root != "environment")
                    });
                    problems.extend(strange.map(|name| {
                        let name = crate::runbook::suggest::visible(name);
                        let message = format!("there is no name `{name}` in a decision table");
                        Diagnostic::error("unknown-name", message)
                            .at(used.span)
                            .hint("Only `environment.…` can be read here: a table is asked before there is a run.")
                    }));
                }
            }
        }
    }
}
