//! What templates can see.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// The values behind the names, and the names whose values only a run will know.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    values: Map<String, Value>,
    unknown: BTreeSet<String>,
}

impl Scope {
    /// A scope without any name.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives an input its value: `inputs.<name>`.
    #[must_use]
    pub fn with_input(mut self, name: &str, value: Value) -> Self {
        let inputs = self.values.entry("inputs").or_insert_with(|| json!({}));
        inputs[name] = value;
        self
    }

    /// Gives all inputs their values: `inputs.<name>`. One that is missing here is undefined.
    #[must_use]
    pub fn with_inputs(mut self, values: Map<String, Value>) -> Self {
        let _former = self.values.insert("inputs".into(), Value::Object(values));
        self
    }

    /// Gives the environment's values: `environment.<name>`, secrets as markers.
    #[must_use]
    pub fn with_environment(mut self, values: Value) -> Self {
        let _former = self.values.insert("environment".into(), values);
        self
    }

    /// Gives the run's own values: `run.id` and `run.folder`.
    #[must_use]
    pub fn with_run(mut self, values: Value) -> Self {
        let _former = self.values.insert("run".into(), values);
        self
    }

    /// Gives the addresses of the running sandbox to an environment file: `sandbox.<name>`.
    #[must_use]
    pub fn with_sandbox(mut self, values: Value) -> Self {
        let _former = self.values.insert("sandbox".into(), values);
        self
    }

    /// Gives the element of a `for_each`: `item`, and its position from 0: `index`.
    #[must_use]
    pub fn with_item(mut self, item: Value, index: usize) -> Self {
        let _former = self.values.insert("item".into(), item);
        let _former = self.values.insert("index".into(), index.into());
        self
    }

    /// Says that a name (`environment`, `inputs.agents`) exists, with a value that is not known yet.
    #[must_use]
    pub fn with_unknown(mut self, name: impl Into<String>) -> Self {
        let _new = self.unknown.insert(name.into());
        self
    }

    /// The names of these that are not known yet.
    pub(super) fn unknown_of(&self, names: &[String]) -> Vec<String> {
        let covers = |unknown: &str, name: &str| {
            let starts = |long: &str, short: &str| {
                long.strip_prefix(short)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            // `inputs` as a whole is unknown as long as one of its members is.
            starts(name, unknown) || starts(unknown, name)
        };
        names
            .iter()
            .filter(|name| self.unknown.iter().any(|unknown| covers(unknown, name)))
            .cloned()
            .collect()
    }

    /// The names at one level: of `inputs` for `inputs.x`, of everything for `x`.
    pub(super) fn siblings(&self, name: &str) -> Vec<&str> {
        let mut level = &self.values;
        let mut parts: Vec<&str> = name.split('.').collect();
        let _last = parts.pop();
        for part in parts {
            match level.get(part) {
                Some(Value::Object(inner)) => level = inner,
                _ => return Vec::new(),
            }
        }
        level.keys().map(String::as_str).collect()
    }

    /// Whether a dotted name has a value.
    pub(super) fn knows(&self, name: &str) -> bool {
        let mut parts = name.split('.');
        let mut value = parts.next().and_then(|first| self.values.get(first));
        for part in parts {
            value = match value {
                Some(Value::Object(inner)) => inner.get(part),
                // Attributes of other values are for the evaluation to judge.
                Some(_) => return true,
                None => None,
            };
        }
        value.is_some()
    }

    pub(super) fn values(&self) -> &Map<String, Value> {
        &self.values
    }
}
