//! Fields of a JSON answer: found by dotted path or JSON Pointer (RFC 6901), compared strictly.

use indexmap::IndexMap;
use serde_json::Value;

use super::answer::quoted;
use super::message::reveal_in;
use crate::secret::Secrets;

/// Compares the fields of a document with what is expected of them. The error says what was seen at the first that differs.
pub(super) fn compare(
    body: &[u8],
    expected: &IndexMap<String, Value>,
    secrets: &Secrets,
) -> Result<(), String> {
    if expected.is_empty() {
        return Ok(());
    }
    let document: Value = serde_json::from_slice(body).map_err(|error| {
        format!("the answer is not JSON ({error}): `{}`", quoted(body, secrets))
    })?;
    for (path, wanted) in expected {
        let shown = secrets.redact(&wanted.to_string());
        let wanted = reveal_in(wanted, secrets);
        match find(&document, path) {
            None => return Err(format!("the answer has no field `{path}`")),
            Some(found) if same(found, &wanted) => {}
            Some(found) => {
                let seen = quoted(found.to_string().as_bytes(), secrets);
                let hint = hint(found, &wanted);
                return Err(format!("`{path}` was {seen}, wanted {shown}{hint}"));
            }
        }
    }
    Ok(())
}

/// A field by `a.b.0.c` or `/a/b/0/c`. A dotted name that is itself a key of an object wins.
fn find<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() || path.starts_with('/') {
        return document.pointer(path);
    }
    if let Some(field) = document.get(path) {
        return Some(field);
    }
    path.split('.').try_fold(document, |value, part| match value {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        other => other.get(part),
    })
}

/// Equal in type and value; numbers by value, so that `1` and `1.0` are the same.
fn same(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Number(found), Value::Number(wanted)) => {
            found == wanted || found.as_f64() == wanted.as_f64()
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| same(found, wanted))
        }
        (Value::Object(found), Value::Object(wanted)) => {
            found.len() == wanted.len()
                && found
                    .iter()
                    .all(|(name, field)| wanted.get(name).is_some_and(|wanted| same(field, wanted)))
        }
        (found, wanted) => found == wanted,
    }
}

fn hint(found: &Value, wanted: &Value) -> &'static str {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match (found, wanted) {
        (Value::String(_), Value::String(_)) => "",
        (Value::String(_), _) if text(found) == text(wanted) => {
            " (the answer has a string: put the expected value in quotes)"
        }
        (_, Value::String(_)) if text(found) == text(wanted) => {
            " (the answer has no string: write the expected value without quotes)"
        }
        _ => "",
    }
}
