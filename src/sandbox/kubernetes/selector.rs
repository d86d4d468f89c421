//! Selectors of lists: labels in the grammar of `kubectl -l`, and the one field that is asked for, the name.

use serde_json::Value;

use super::failure::Failure;
use super::fields::text;
use super::state::name;

/// What a label must be like.
#[derive(Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl Requirement {
    fn read(part: &str) -> Option<Self> {
        let owned = |text: &str| text.trim().to_owned();
        let set = |text: &str| -> Option<Vec<String>> {
            let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
            Some(inner.split(',').map(owned).collect())
        };
        if let Some((label, values)) = part.split_once(" notin ") {
            return Some(Self::NotIn(owned(label), set(values)?));
        }
        if let Some((label, values)) = part.split_once(" in ") {
            return Some(Self::In(owned(label), set(values)?));
        }
        if let Some((label, value)) = part.split_once("!=") {
            return Some(Self::NotIn(owned(label), vec![owned(value)]));
        }
        if let Some((label, value)) = part.split_once('=') {
            return Some(Self::In(owned(label), vec![owned(value.trim_start_matches('='))]));
        }
        let part = part.trim();
        let is_label = |text: &str| !text.is_empty() && !text.contains([' ', '(', ')', '!']);
        match part.strip_prefix('!') {
            Some(label) if is_label(label) => Some(Self::Absent(owned(label))),
            None if is_label(part) => Some(Self::Exists(owned(part))),
            _ => None,
        }
    }

    fn admits(&self, object: &Value) -> bool {
        let label = |name: &str| {
            object.pointer("/metadata/labels").and_then(|labels| labels.get(name)?.as_str())
        };
        let among = |values: &[String], value: &str| values.iter().any(|each| each == value);
        match self {
            Self::In(name, values) => label(name).is_some_and(|value| among(values, value)),
            Self::NotIn(name, values) => label(name).is_none_or(|value| !among(values, value)),
            Self::Exists(name) => label(name).is_some(),
            Self::Absent(name) => label(name).is_none(),
        }
    }
}

/// Which objects a list has.
#[derive(Debug, Default)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    name: Option<String>,
}

impl Selector {
    /// Reads `labelSelector` and `fieldSelector`.
    pub(super) fn read(labels: Option<&String>, fields: Option<&String>) -> Result<Self, Failure> {
        let mut selector = Self::default();
        for part in split(labels.map_or("", String::as_str)) {
            let requirement = Requirement::read(&part);
            let requirement = requirement.ok_or_else(|| {
                Failure::bad_request(format!("unable to parse requirement: {part}"))
            })?;
            selector.labels.push(requirement);
        }
        match fields.map(|fields| fields.split_once('=')) {
            None => {}
            Some(Some(("metadata.name", name))) => {
                selector.name = Some(name.trim_start_matches('=').to_owned());
            }
            Some(_) => return Err(Failure::bad_request("field label not supported")),
        }
        Ok(selector)
    }

    pub(super) fn admits(&self, object: &Value) -> bool {
        self.name.as_deref().is_none_or(|wanted| wanted == name(object))
            && self.labels.iter().all(|requirement| requirement.admits(object))
    }
}

/// At the commas that are in no parentheses.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_i32;
    for character in text.chars() {
        match character {
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(character);
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// The labels of a `matchLabels`, as the text that selects them.
pub(super) fn of_labels(object: &Value) -> String {
    let labels = object.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    let pairs = labels.into_iter().flatten();
    let pairs: Vec<String> =
        pairs.map(|(name, value)| format!("{name}={}", text(value, ""))).collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_are_selected_in_every_form() {
        let object = json!({"metadata": {"name": "a", "labels": {"app": "web", "tier": "front"}}});
        for (selector, admits) in [
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app!=web", false),
            ("app in (web, api),tier", true),
            ("app notin (web),tier", false),
            ("none", false),
            ("!none", true),
            ("", true),
        ] {
            let read = Selector::read(Some(&selector.to_owned()), None).unwrap();
            assert_eq!(read.admits(&object), admits, "{selector}");
        }
        assert!(Selector::read(Some(&"a b".to_owned()), None).is_err());
    }
}
