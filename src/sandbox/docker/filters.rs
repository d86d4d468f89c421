//! The `filters` parameter of lists, in both of its JSON forms.
//!
//! `{"label": ["a=b"]}` is what the API documents, `{"label": {"a=b": true}}` what the engine's own client sends. Several
//! labels must all hold; of other filters one value suffices.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::engine::EngineError;
use super::model::{Container, Labels};

/// Filters by name.
#[derive(Debug, Default)]
pub(super) struct Filters(BTreeMap<String, Vec<String>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    List(Vec<String>),
    Set(BTreeMap<String, bool>),
}

impl Filters {
    /// Reads the parameter, and refuses filters that are not in `known`.
    pub(super) fn parse(text: Option<&str>, known: &[&str]) -> Result<Self, EngineError> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(Self::default()) };
        let read: BTreeMap<String, Values> = serde_json::from_str(text)
            .map_err(|error| EngineError::bad_request(format!("invalid filters: {error}")))?;
        if let Some(unknown) = read.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(EngineError::bad_request(format!("Invalid filter '{unknown}'")));
        }
        let list = |values| match values {
            Values::List(list) => list,
            Values::Set(set) => {
                set.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect()
            }
        };
        Ok(Self(read.into_iter().map(|(name, values)| (name, list(values))).collect()))
    }

    /// Whether there is a filter of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether one of the values of a filter passes; true without the filter.
    pub(super) fn any(&self, name: &str, passes: impl Fn(&str) -> bool) -> bool {
        self.0.get(name).is_none_or(|values| values.iter().any(|value| passes(value)))
    }

    /// Whether all label filters hold.
    pub(super) fn labels(&self, labels: Option<&Labels>) -> bool {
        let wanted = self.0.get("label").into_iter().flatten();
        let mut wanted = wanted.map(|filter| match filter.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (filter.as_str(), None),
        });
        wanted.all(|(name, value)| {
            let found = labels.and_then(|labels| labels.get(name));
            found.is_some_and(|found| value.is_none_or(|value| found == value))
        })
    }

    /// Whether a container passes. The filter `name` is a regular expression to the engine; here it is a part of
    /// the name, with `^` and `$` as anchors.
    pub(super) fn container(&self, container: &Container) -> bool {
        self.labels(container.config.labels.as_ref())
            && self.any("name", |part| name_matches(&container.name, part))
            && self.any("id", |part| container.id.starts_with(part))
            && self.any("status", |word| container.state.status.word() == word)
            && self.any("network", |name| container.networks.contains_key(name))
            && self.any("health", |word| {
                container.state.health.map_or("none", super::model::Health::word) == word
            })
    }
}

fn name_matches(name: &str, part: &str) -> bool {
    let (part, from_start) = part.strip_prefix('^').map_or((part, false), |part| (part, true));
    let (part, to_end) = part.strip_suffix('$').map_or((part, false), |part| (part, true));
    let part = part.strip_prefix('/').unwrap_or(part);
    match (from_start, to_end) {
        (true, true) => name == part,
        (true, false) => name.starts_with(part),
        (false, true) => name.ends_with(part),
        (false, false) => name.contains(part),
    }
}
