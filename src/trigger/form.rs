//! The shape of a decision table as Rust types, as `runbook::forms` has that of a runbook.

#![expect(dead_code, reason = "some fields only shape the schema; their values come from the tree")]

use indexmap::IndexMap;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde_json::Value;

use super::model::Response;
use crate::runbook::Severity;
use crate::runbook::forms::{Id, Nested, ProbePlace, Text};
use crate::value::Lasting;

/// When to roll back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TableForm {
    /// The version of the form.
    #[schemars(range(min = 1, max = 1))]
    pub(super) version: u32,
    /// A short name.
    pub(super) name: Id,
    /// A title for people; the name when it is missing.
    pub(super) title: Option<Text>,
    /// Who approves: short names of roles, with what they are called.
    #[serde(default)]
    pub(super) roles: IndexMap<String, Text>,
    /// The triggers.
    #[schemars(length(min = 1))]
    pub(super) triggers: Nested<Vec<TriggerForm>>,
}

/// A trigger: a condition, and what is to be done while it holds.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TriggerForm {
    /// The id, unique in the table.
    pub(super) id: Id,
    /// What it means, for people.
    pub(super) title: Text,
    /// How bad it is.
    pub(super) severity: Severity,
    /// A probe with its arguments that holds while things are bad.
    pub(super) condition: ProbePlace,
    /// How long the condition has to have held; given to the probe as its argument `for`.
    pub(super) sustained_for: Option<Lasting>,
    /// What is to be done.
    pub(super) action: Response,
    /// The name of the runbook.
    pub(super) runbook: Text,
    /// What the runbook is for, where it takes a name: a part of the answer.
    pub(super) argument: Option<ArgumentForm>,
    /// How soon it has to be done, from the moment at which the trigger fires.
    pub(super) within: Lasting,
    /// A role that has to agree, or `automated`.
    pub(super) approval: Id,
    /// How long it has to be left alone after it was acted on: told to whoever acts, not enforced.
    pub(super) cool_down: Option<Lasting>,
}

/// Where the name comes from that a runbook is started with.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ArgumentForm {
    /// A label of the series that makes the trigger fire; of several the one that is worst.
    pub(super) label: Text,
}

/// The schema of a table without the verbs of its conditions.
pub fn form() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    TableForm::json_schema(&mut generator).to_value()
}
