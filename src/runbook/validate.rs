//! Holds a file's tree against the language and finds every problem, each with its exact place.
//!
//! Four passes, none of which stops at the first problem: [`walk`] compares with the schemas, [`build`] makes the [`Runbook`]
//! (leaving out what the walk refused), [`graph`], [`targets`], [`inputs`], [`escalation`], [`severity`] and [`lints`] judge what belongs together, and [`names`]
//! reads the templates. [`values`] evaluates with defaults and samples what can be known offline.

mod build;
mod escalation;
mod graph;
mod inputs;
mod lints;
mod names;
mod severity;
mod targets;
mod values;
mod version;
mod walk;

use serde_json::Value;

use super::diagnostic::{Diagnostic, Severity, Source};
use super::model::Runbook;
use super::node::Node;
use super::schema::Catalog;
use crate::action::Registry;

pub use values::offline_scope;

/// Makes a runbook of a tree, as far as it can, and finds all problems. The runbook may be used only when none of
/// them is an error.
pub fn validate(
    root: Node,
    source: &Source,
    registry: &Registry,
) -> (Option<Runbook>, Vec<Diagnostic>) {
    if let Some(problem) = version::check(&root, "runbook") {
        return (None, vec![problem]);
    }
    let catalog = Catalog::of(registry, &root);
    let mut problems = walk::form(&root, source, &catalog);
    let runbook = build::runbook(root, &mut problems);
    let graphs = graph::check(&runbook, &mut problems);
    targets::check(&runbook, &graphs, registry, &mut problems);
    inputs::check(&runbook, &mut problems);
    escalation::check(&runbook, &mut problems);
    lints::check(&runbook, &graphs, registry, &mut problems);
    severity::check(&runbook, &mut problems);
    names::check(&runbook, source, &mut problems);
    if !problems.iter().any(|found| found.severity == Severity::Error) {
        values::check(&runbook, source, registry, &mut problems);
    }
    (Some(runbook), problems)
}

/// Every problem of form of a document of another kind, such as `decision table`, held against a schema of its own.
pub(crate) fn document(
    root: &Node,
    source: &Source,
    schema: &Value,
    kind: &str,
    catalog: &Catalog<'_>,
) -> Vec<Diagnostic> {
    match version::check(root, kind) {
        Some(problem) => vec![problem],
        None => walk::document(root, source, schema, &format!("a {kind}"), catalog),
    }
}

/// Every problem of form in the block of one system under `connections` of an environment file.
pub(crate) fn connection(
    system: &str,
    node: &Node,
    source: &Source,
    catalog: &Catalog<'_>,
) -> Vec<Diagnostic> {
    walk::connection(system, node, source, catalog)
}

#[cfg(test)]
mod tests;
