//! The three kinds of patches: by merging JSON, by operations on JSON, and by merging with knowledge of which lists are sets.

use serde_json::{Map, Value};

use super::failure::Failure;
use super::resources::Resource;

/// The fields that are lists of named things, and the name's field there.
const MERGED_LISTS: [(&str, &str); 8] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("env", "name"),
    ("volumes", "name"),
    ("imagePullSecrets", "name"),
    ("ports", "containerPort"),
    ("volumeMounts", "mountPath"),
    ("conditions", "type"),
];

/// The object after a patch of this content type.
pub(super) fn apply(
    resource: &Resource,
    kind: &str,
    body: &[u8],
    current: &Value,
) -> Result<Value, Failure> {
    let read = || -> Result<Value, Failure> {
        serde_json::from_slice(body).map_err(|error| Failure::bad_request(error.to_string()))
    };
    let mut patched = current.clone();
    match kind {
        "application/merge-patch+json" => json_patch::merge(&mut patched, &read()?),
        "application/json-patch+json" => {
            let patch: json_patch::Patch = serde_json::from_slice(body)
                .map_err(|error| Failure::bad_request(error.to_string()))?;
            json_patch::patch(&mut patched, &patch).map_err(|_| Failure::unprocessable())?;
        }
        "application/strategic-merge-patch+json" if !resource.is_custom() => match read()? {
            Value::Object(patch) => merge(&mut patched, patch)?,
            _ => return Err(Failure::bad_request("a strategic merge patch is an object")),
        },
        _ => return Err(Failure::unsupported(expectation(resource))),
    }
    Ok(patched)
}

fn expectation(resource: &Resource) -> &'static str {
    if resource.is_custom() {
        "the body of the request was in an unknown format - accepted media types include: \
         application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    } else {
        "415: Unsupported Media Type"
    }
}

/// Merges a map: null removes, maps merge, sets merge by name, everything else replaces.
fn merge(target: &mut Value, mut patch: Map<String, Value>) -> Result<(), Failure> {
    let directive = patch.shift_remove("$patch");
    let kept = patch.shift_remove("$retainKeys");
    let target = match target {
        Value::Object(target) => target,
        other => {
            *other = Value::Object(Map::new());
            match other {
                Value::Object(target) => target,
                _ => unreachable!("it was made one just now"),
            }
        }
    };
    match directive.as_ref().map(|directive| directive.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("replace") => {
            *target = patch;
            return Ok(());
        }
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        Some(other) => return Err(unknown(other)),
    }
    if let Some(Value::Array(kept)) = kept {
        target.retain(|name, _| kept.iter().any(|keep| keep == name));
    }
    for (name, value) in patch {
        if name.starts_with('$') {
            return Err(unknown(&name));
        }
        match value {
            Value::Null => drop(target.shift_remove(&name)),
            Value::Object(value) => merge(target.entry(name).or_insert(Value::Null), value)?,
            Value::Array(value) => match MERGED_LISTS.iter().find(|(list, _)| *list == name) {
                Some((_, by)) => merge_list(target.entry(name).or_insert(Value::Null), value, by)?,
                None => drop(target.insert(name, Value::Array(value))),
            },
            value => drop(target.insert(name, value)),
        }
    }
    Ok(())
}

fn merge_list(target: &mut Value, patch: Vec<Value>, by: &str) -> Result<(), Failure> {
    let mut list = match target.take() {
        Value::Array(list) => list,
        _ => Vec::new(),
    };
    let directive =
        |element: &Value| element.get("$patch").and_then(Value::as_str).map(str::to_owned);
    if patch.iter().any(|element| directive(element).as_deref() == Some("replace")) {
        list.clear();
    }
    for element in patch {
        let Some(name) = element.get(by).cloned() else {
            if directive(&element).as_deref() == Some("replace") {
                continue;
            }
            return Err(Failure::bad_request(format!(
                "map: {element} does not contain declared merge key: {by}"
            )));
        };
        let place = list.iter().position(|each| each.get(by) == Some(&name));
        match (place, directive(&element).as_deref()) {
            (Some(place), Some("delete")) => drop(list.remove(place)),
            (None, Some("delete")) => {}
            (Some(place), _) => merge_element(&mut list[place], element)?,
            (None, _) => {
                let mut new = Value::Null;
                merge_element(&mut new, element)?;
                list.push(new);
            }
        }
    }
    *target = Value::Array(list);
    Ok(())
}

fn merge_element(target: &mut Value, element: Value) -> Result<(), Failure> {
    match element {
        Value::Object(element) => merge(target, element),
        other => {
            *target = other;
            Ok(())
        }
    }
}

fn unknown(directive: &str) -> Failure {
    Failure::bad_request(format!("unknown patch type: {directive}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::resources::DEPLOYMENTS;
    use super::*;

    fn strategic(current: &Value, patch: &Value) -> Value {
        let kind = "application/strategic-merge-patch+json";
        apply(&DEPLOYMENTS, kind, patch.to_string().as_bytes(), current).unwrap()
    }

    #[test]
    fn lists_of_named_things_merge_and_other_lists_are_replaced() {
        let current =
            json!({"containers": [{"name": "a", "image": "1", "args": ["x"]}, {"name": "b"}]});
        let patch = json!({"containers": [{"name": "a", "image": "2", "args": ["y"]}, {"name": "b", "$patch": "delete"}]});
        let expected = json!({"containers": [{"name": "a", "image": "2", "args": ["y"]}]});
        assert_eq!(strategic(&current, &patch), expected);
    }

    #[test]
    fn a_map_can_be_replaced_as_a_whole() {
        let current =
            json!({"spec": {"template": {"a": 1, "b": 2}, "replicas": 3, "paused": true}});
        let patch = json!({"spec": {"template": {"$patch": "replace", "b": 4}, "paused": null}});
        assert_eq!(
            strategic(&current, &patch),
            json!({"spec": {"template": {"b": 4}, "replicas": 3}})
        );
    }

    #[test]
    fn a_test_that_fails_changes_nothing_and_is_unprocessable() {
        let current = json!({"a": 1});
        let patch =
            br#"[{"op":"replace","path":"/a","value":2},{"op":"test","path":"/a","value":1}]"#;
        let refused = apply(&DEPLOYMENTS, "application/json-patch+json", patch, &current);
        assert_eq!(refused.unwrap_err().code.as_u16(), 422);
    }
}
