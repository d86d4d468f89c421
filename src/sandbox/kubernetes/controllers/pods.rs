//! Pods as their controllers see them.

use serde_json::{Map, Value, json};

use super::super::fields::{condition, object, set, text};
use super::super::resources::{PODS, Resource};
use super::super::state::{State, controller_reference, name, namespace};

pub(super) fn is_ready(pod: &Value) -> bool {
    text(pod, "/status/phase") == "Running"
        && condition(pod, "Ready").is_some_and(|ready| text(ready, "/status") == "True")
}

/// How many of them are ready, as a number of the API.
pub(super) fn ready<'a>(pods: impl IntoIterator<Item = &'a Value>) -> i64 {
    count(pods.into_iter().filter(|pod| is_ready(pod)))
}

pub(super) fn count<'a>(pods: impl Iterator<Item = &'a Value>) -> i64 {
    i64::try_from(pods.count()).unwrap_or(i64::MAX)
}

pub(super) fn label<'a>(object: &'a Value, label: &str) -> &'a str {
    let labels = object.pointer("/metadata/labels");
    labels.and_then(|labels| labels.get(label)?.as_str()).unwrap_or_default()
}

/// Makes a pod from the template of its controller, with more labels.
pub(super) fn create(
    state: &mut State,
    resource: &Resource,
    owner: &Value,
    named: &str,
    template: &Value,
    labels: &[(&str, &str)],
) {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}});
    let metadata = object(&mut pod, &["metadata"]);
    let mut all = map(template, "/metadata/labels");
    all.extend(labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).into())));
    metadata.insert("name".to_owned(), named.into());
    metadata.insert("namespace".to_owned(), namespace(owner).into());
    metadata.insert("labels".to_owned(), all.into());
    metadata.insert("annotations".to_owned(), map(template, "/metadata/annotations").into());
    metadata.insert("ownerReferences".to_owned(), controller_reference(resource, owner));
    set(&mut pod, &["spec"], template["spec"].clone());
    set(&mut pod, &["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    state.insert(&PODS, pod);
}

fn map(value: &Value, pointer: &str) -> Map<String, Value> {
    value.pointer(pointer).and_then(Value::as_object).cloned().unwrap_or_default()
}

pub(super) fn remove(state: &mut State, pod: &Value) {
    state.remove(&PODS, pod, false);
}

/// Those whose name ends with a number, by that number.
pub(super) fn ordinal(pod: &Value) -> i64 {
    name(pod).rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(-1)
}
