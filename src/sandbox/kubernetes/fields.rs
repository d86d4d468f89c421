//! Reading and writing the fields of an object: absent, null and zero are the same number, as in Go's JSON.

use serde_json::{Map, Value};

/// The number at a JSON pointer; 0 where there is none.
pub(super) fn number(value: &Value, pointer: &str) -> i64 {
    number_or(value, pointer, 0)
}

pub(super) fn number_or(value: &Value, pointer: &str, default: i64) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(default)
}

/// The text at a JSON pointer; empty where there is none.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn flag(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
}

/// The elements at a JSON pointer.
pub(super) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The object at a path of names, made where there is none.
pub(super) fn object<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    let mut at = value;
    for name in path {
        at = as_object(at).entry(*name).or_insert(Value::Null);
    }
    as_object(at)
}

fn as_object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(object) => object,
        _ => unreachable!("it was made one just now"),
    }
}

/// Sets the field that a path of names leads to.
pub(super) fn set(value: &mut Value, path: &[&str], content: impl Into<Value>) {
    if let Some((last, above)) = path.split_last() {
        object(value, above).insert((*last).to_owned(), content.into());
    }
}

/// Sets the field unless it has a value.
pub(super) fn default(value: &mut Value, path: &[&str], content: impl Into<Value>) {
    if let Some((last, above)) = path.split_last() {
        let field = object(value, above).entry(*last).or_insert(Value::Null);
        if field.is_null() {
            *field = content.into();
        }
    }
}

/// Sets a number that is left out when it is 0.
pub(super) fn count(status: &mut Map<String, Value>, name: &str, number: i64) {
    if number == 0 {
        status.shift_remove(name);
    } else {
        status.insert(name.to_owned(), number.into());
    }
}

/// The value of an annotation.
pub(super) fn annotation<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get("metadata")?.get("annotations")?.get(name)?.as_str()
}

/// Sets an annotation; whether that changed anything.
pub(super) fn annotate(value: &mut Value, name: &str, content: &str) -> bool {
    let changed = annotation(value, name) != Some(content);
    set(value, &["metadata", "annotations", name], content);
    changed
}

/// Its condition of this type.
pub(super) fn condition<'a>(value: &'a Value, kind: &str) -> Option<&'a Value> {
    items(value, "/status/conditions").iter().find(|condition| text(condition, "/type") == kind)
}
