//! Types and single values.

use std::str::FromStr as _;

use serde_json::{Number, Value};

use super::{Place, Walk};
use crate::runbook::diagnostic::Diagnostic;
use crate::runbook::node::{Node, NodeValue};
use crate::runbook::suggest;
use crate::value::{Lasting, LastingError};

/// The JSON type of a value.
fn kind(node: &Node) -> &'static str {
    match &node.value {
        NodeValue::Null => "null",
        NodeValue::Bool(_) => "boolean",
        NodeValue::Number(number) if number.is_f64() => "number",
        NodeValue::Number(_) => "integer",
        NodeValue::Text(_) => "string",
        NodeValue::List(_) => "array",
        NodeValue::Map(_) => "object",
    }
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Whether a value has one of the types that a schema allows.
pub(super) fn has_type(node: &Node, schema: &Value) -> bool {
    let (allowed, kind) = (types(schema), kind(node));
    allowed.is_empty()
        || allowed.contains(&kind)
        || (kind == "integer" && allowed.contains(&"number"))
}

/// The words of an enumeration.
pub(super) fn words(schema: &Value) -> Vec<&str> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(Value::String(word)), _) => vec![word],
        (_, Some(Value::Array(words))) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// What a schema wants, as people say it.
pub(super) fn describe(schema: &Value) -> String {
    match schema.get("format").and_then(Value::as_str) {
        Some("duration-with-unit") => return "a duration such as `30s`".into(),
        Some("rollback-id") => return "a short name".into(),
        _ => {}
    }
    let words: Vec<&str> = types(schema)
        .into_iter()
        .filter_map(|kind| {
            Some(match kind {
                "boolean" => "true or false",
                "integer" => "a whole number",
                "number" => "a number",
                "string" => "a text",
                "array" => "a list",
                "object" => "a mapping",
                _ => return None,
            })
        })
        .collect();
    either(&words)
}

/// `a`, `a or b`, `a, b or c`.
pub(super) fn either<S: AsRef<str>>(words: &[S]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.as_slice() {
        [] => "something else".into(),
        [one] => (*one).into(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// What was found, as people say it.
pub(super) fn found(node: &Node) -> &'static str {
    match kind(node) {
        "null" => "empty",
        "boolean" => "true or false",
        "integer" => "a number",
        "number" => "a number with a fraction",
        "string" => "a text",
        "array" => "a list",
        _ => "a mapping",
    }
}

impl<'a> Walk<'a> {
    pub(super) fn wrong_type(&mut self, node: &Node, schema: &'a Value, place: Place<'_>) {
        let duration = schema.get("format").and_then(Value::as_str) == Some("duration-with-unit");
        let source = self.source.slice(node.span);
        if duration && matches!(node.value, NodeValue::Number(_)) {
            let error = LastingError::NoUnit(source.to_owned());
            self.problems
                .push(Diagnostic::error("duration-without-unit", error.to_string()).at(node.span));
            return;
        }
        let message = format!("{} must be {}, not {}", place.what, describe(schema), found(node));
        let mut problem = Diagnostic::error("wrong-type", message).at(node.span);
        let wanted = types(schema);
        match &node.value {
            NodeValue::Number(_) | NodeValue::Bool(_) if wanted.contains(&"string") => {
                problem =
                    problem.hint(format!("Put it in quotes to make it a text: \"{source}\"."));
            }
            NodeValue::Text(text)
                if wanted.contains(&"boolean")
                    && ["yes", "no", "on", "off"].contains(&text.to_lowercase().as_str()) =>
            {
                problem = problem.hint("Write `true` or `false`.");
            }
            NodeValue::Text(_) | NodeValue::Number(_) if wanted.contains(&"array") => {
                let shown = suggest::visible(source);
                problem = problem.hint(format!("Write it as a list: [{shown}]."));
            }
            _ => {}
        }
        self.problems.push(problem);
    }

    pub(super) fn scalar(&mut self, node: &Node, schema: &'a Value, place: Place<'_>) {
        match &node.value {
            NodeValue::Text(text) => self.text(node, text, schema, place),
            NodeValue::Number(number) => self.number(node, number, schema, place),
            _ => {}
        }
    }

    fn text(&mut self, node: &Node, text: &str, schema: &'a Value, place: Place<'_>) {
        let words = words(schema);
        if !words.is_empty() && !words.contains(&text) {
            self.unknown_word(node, text, &words, place);
        }
        let what = place.what;
        let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0);
        let most = schema.get("maxLength").and_then(Value::as_u64).unwrap_or(u64::MAX);
        let length = text.chars().count() as u64;
        if length < least {
            let message = format!("{what} must not be empty");
            self.problems.push(Diagnostic::error("empty-text", message).at(node.span));
        } else if length > most {
            let message = format!("{what} has at most {most} characters, and this has {length}");
            self.problems.push(Diagnostic::error("text-too-long", message).at(node.span));
        }
        match schema.get("format").and_then(Value::as_str) {
            Some("duration-with-unit") => {
                if let Err(error) = Lasting::from_str(text) {
                    let code = match error {
                        LastingError::NoUnit(_) => "duration-without-unit",
                        LastingError::Malformed(_) => "malformed-duration",
                        LastingError::NotPositive | LastingError::TooLong(_) => {
                            "duration-out-of-range"
                        }
                    };
                    let message = suggest::visible(&error.to_string());
                    self.problems.push(Diagnostic::error(code, message).at(node.span));
                }
            }
            Some("rollback-id") if !is_id(text) => {
                let message = format!("`{}` cannot be {what}", suggest::visible(text));
                self.problems.push(Diagnostic::error("malformed-id", message).at(node.span).hint(
                    "Use lower-case letters, digits, `-` and `_`, at most 64, beginning with a letter or digit.",
                ));
            }
            _ => {}
        }
    }

    fn number(&mut self, node: &Node, number: &Number, schema: &'a Value, place: Place<'_>) {
        let bound = |key| schema.get(key).and_then(Value::as_f64);
        let value = number.as_f64().unwrap_or(f64::MAX);
        let most = match schema.get("format").and_then(Value::as_str) {
            Some("uint8") => Some(f64::from(u8::MAX)),
            Some("uint16") => Some(f64::from(u16::MAX)),
            Some("uint32") => Some(f64::from(u32::MAX)),
            Some("int32") => Some(f64::from(i32::MAX)),
            _ => None,
        };
        let most = bound("maximum").into_iter().chain(most).reduce(f64::min);
        let least = bound("minimum");
        let too_small = least.is_some_and(|least| value < least)
            || bound("exclusiveMinimum").is_some_and(|least| value <= least);
        let too_large = most.is_some_and(|most| value > most)
            || bound("exclusiveMaximum").is_some_and(|most| value >= most);
        if too_small || too_large {
            let what = place.what;
            let range = match (least, most) {
                (Some(least), Some(most)) => format!("from {least} to {most}"),
                (Some(least), None) => format!("at least {least}"),
                (None, Some(most)) => format!("at most {most}"),
                (None, None) => "in its range".into(),
            };
            let message = format!("{what} must be {range}, not {number}");
            self.problems.push(Diagnostic::error("number-out-of-range", message).at(node.span));
        }
    }
}

/// A lower-case letter or digit, then at most 63 of these, `-` and `_`.
fn is_id(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= 64
        && text.bytes().next().is_some_and(good)
        && text.bytes().all(|byte| good(byte) || byte == b'-' || byte == b'_')
}
