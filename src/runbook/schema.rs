//! The JSON Schema of a runbook, made from the types of [`forms`](super::forms) and the arguments of every verb.
//!
//! Two readers: [`Catalog`] is what [`validate`](super::validate) holds a file against; [`runbook_schema`] is the published document
//! (draft 2020-12) that editors complete and check with, [`environment_schema`] its sibling for environment files.

mod published;

use std::collections::{HashMap, HashSet};

use schemars::JsonSchema as _;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::forms::{RunbookForm, StepForm};
use super::node::{Node, NodeValue};
use crate::action::{Registry, Verb, VerbKind};

pub use published::{environment_schema, runbook_schema, table_schema};

/// Every schema that a file is held against.
pub(crate) struct Catalog<'r> {
    registry: &'r Registry,
    /// The top level down to the phases.
    pub(crate) runbook: Value,
    /// A step without its verb.
    pub(crate) step: Value,
    verbs: HashMap<&'static str, Value>,
    connections: HashMap<&'static str, Value>,
    definitions: Map<String, Value>,
}

impl<'r> Catalog<'r> {
    /// The schemas of all verbs and systems of this registry.
    pub(crate) fn new(registry: &'r Registry) -> Self {
        Self::with(registry, |_| true)
    }

    /// The schemas of those verbs and systems that stand in a file as keys: to make all of them takes longer than to read the file.
    pub(crate) fn of(registry: &'r Registry, file: &Node) -> Self {
        let mut keys = HashSet::new();
        collect_keys(file, &mut keys);
        Self::with(registry, |name| keys.contains(name))
    }

    fn with(registry: &'r Registry, wanted: impl Fn(&str) -> bool) -> Self {
        let mut forms = SchemaSettings::draft2020_12()
            .with(|settings| settings.inline_subschemas = true)
            .into_generator();
        let mut arguments = SchemaSettings::draft2020_12().into_generator();
        let verbs = registry
            .verbs()
            .filter(|verb| wanted(verb.name))
            .map(|verb| (verb.name, (verb.schema)(&mut arguments).to_value()))
            .collect();
        let connections = registry
            .connections()
            .filter(|block| wanted(block.key))
            .map(|block| (block.key, (block.schema)(&mut arguments).to_value()))
            .collect();
        Self {
            registry,
            connections,
            runbook: RunbookForm::json_schema(&mut forms).to_value(),
            step: StepForm::json_schema(&mut forms).to_value(),
            verbs,
            definitions: arguments.take_definitions(true),
        }
    }

    /// The verb of this name.
    pub(crate) fn verb(&self, name: &str) -> Option<&'r Verb> {
        self.registry.verb(name)
    }

    /// The systems and verbs.
    pub(crate) fn registry(&self) -> &'r Registry {
        self.registry
    }

    /// The names of all verbs of some kinds.
    pub(crate) fn names(&self, wanted: &[VerbKind]) -> Vec<&'static str> {
        self.registry
            .verbs()
            .filter(|verb| wanted.contains(&verb.kind))
            .map(|verb| verb.name)
            .collect()
    }

    /// The names of all verbs that carry messages.
    pub(crate) fn messages(&self) -> Vec<&'static str> {
        let messages = self.registry.verbs().filter(|verb| verb.is_message());
        messages.map(|verb| verb.name).collect()
    }

    /// The schema of a verb's arguments, if the verb is known and among those that this was made for.
    pub(crate) fn arguments(&self, verb: &str) -> Option<&Value> {
        let found = self.verbs.get(verb);
        debug_assert!(found.is_some() || self.verb(verb).is_none(), "{verb} was left out");
        found
    }

    /// The schema of a system's connection, if it has settings and is among those that this was made for.
    pub(crate) fn connection(&self, system: &str) -> Option<&Value> {
        let found = self.connections.get(system);
        debug_assert!(
            found.is_some() || self.registry.connections().all(|known| known.key != system),
            "{system} was left out"
        );
        found
    }

    /// Follows `$ref`s. References never form a circle without a structure between.
    pub(crate) fn resolve<'a>(&'a self, mut schema: &'a Value) -> &'a Value {
        while let Some(target) = schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|path| path.rsplit('/').next())
            .and_then(|name| self.definitions.get(name))
        {
            schema = target;
        }
        schema
    }
}

fn collect_keys<'n>(node: &'n Node, keys: &mut HashSet<&'n str>) {
    match &node.value {
        NodeValue::List(nodes) => nodes.iter().for_each(|node| collect_keys(node, keys)),
        NodeValue::Map(entries) => {
            for (key, node) in entries {
                let _new = keys.insert(&key.name);
                collect_keys(node, keys);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
