//! Making and changing objects, as the server does it for a client: which of its fields a client may set, and what counts as a generation.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::defaults;
use super::failure::Failure;
use super::fields::{count, number, object, set, text};
use super::resources::{NAMESPACES, Resource};
use super::selector;
use super::state::{State, name, uid};

/// Makes an object.
pub(super) fn create(
    state: &mut State,
    resource: &'static Resource,
    namespace: &str,
    mut new: Value,
) -> Result<Value, Failure> {
    if resource.namespaced {
        default_namespace(&mut new, namespace)?;
        if state.get(&NAMESPACES, "", namespace).is_none() {
            return Err(Failure::not_found(&NAMESPACES, namespace));
        }
    }
    identify(resource, &mut new);
    let stem = text(&new, "/metadata/generateName").to_owned();
    if name(&new).is_empty() && !stem.is_empty() {
        set(&mut new, &["metadata", "name"], format!("{stem}{}", suffix()));
    }
    if name(&new).is_empty() {
        let problem = "metadata.name: Required value: name or generateName is required";
        return Err(Failure::invalid(resource, "", problem));
    }
    if resource.subresources.contains(&"status") && !resource.is_custom() {
        set(&mut new, &["status"], first_status(resource));
    }
    defaults::add(resource, &mut new);
    defaults::check(resource, &new)?;
    if state.get(resource, namespace, name(&new)).is_some() {
        return Err(Failure::exists(resource, name(&new)));
    }
    Ok(state.insert(resource, new))
}

fn first_status(resource: &Resource) -> Value {
    match resource.kind {
        "Namespace" => json!({"phase": "Active"}),
        "Pod" => json!({"phase": "Pending", "qosClass": "BestEffort"}),
        "ReplicaSet" | "StatefulSet" => json!({"replicas": 0}),
        "DaemonSet" => json!({
            "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0,
        }),
        _ => json!({}),
    }
}

fn default_namespace(new: &mut Value, namespace: &str) -> Result<(), Failure> {
    let given = text(new, "/metadata/namespace");
    if !given.is_empty() && given != namespace {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    set(new, &["metadata", "namespace"], namespace);
    Ok(())
}

/// Five letters that make a name one of its own.
pub(super) fn suffix() -> String {
    uuid::Uuid::new_v4().simple().to_string().chars().take(5).collect()
}

fn identify(resource: &Resource, object: &mut Value) {
    set(object, &["apiVersion"], resource.api_version());
    set(object, &["kind"], resource.kind);
}

/// Replaces an object, or the part of it that `below` names, by what a client sends.
pub(super) fn update(
    state: &mut State,
    resource: &'static Resource,
    below: &str,
    old: &Value,
    mut new: Value,
) -> Result<Value, Failure> {
    check_identity(resource, old, &new)?;
    if below == "scale" {
        let mut scaled = old.clone();
        set(&mut scaled, &["spec", "replicas"], number(&new, "/spec/replicas"));
        return Ok(scale(&update(state, resource, "", old, scaled)?));
    }
    identify(resource, &mut new);
    keep_metadata(old, &mut new);
    if below == "status" {
        // It changes alone, with the annotations.
        let mut next = old.clone();
        copy(&new, &mut next, "status");
        let annotations = object(&mut new, &["metadata"]).shift_remove("annotations");
        put(object(&mut next, &["metadata"]), "annotations", annotations);
        return Ok(state.replace(resource, next));
    }
    if resource.subresources.contains(&"status") {
        copy(old, &mut new, "status");
    }
    defaults::add(resource, &mut new);
    defaults::check(resource, &new)?;
    defaults::check_change(resource, old, &new)?;
    if resource.counted && is_another_generation(resource, old, &new) {
        return Ok(state.want(resource, new));
    }
    Ok(state.replace(resource, new))
}

fn copy(from: &Value, to: &mut Value, field: &str) {
    put(object(to, &[]), field, from.get(field).cloned());
}

fn put(object: &mut Map<String, Value>, field: &str, content: Option<Value>) {
    match content {
        Some(content) => drop(object.insert(field.to_owned(), content)),
        None => drop(object.shift_remove(field)),
    }
}

/// A client that names a version or an identity means that one alone.
fn check_identity(resource: &Resource, old: &Value, new: &Value) -> Result<(), Failure> {
    if !new.is_object() {
        return Err(Failure::bad_request("the object provided is unrecognized"));
    }
    if name(new) != name(old) {
        return Err(Failure::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            name(new),
            name(old)
        )));
    }
    let given = text(new, "/metadata/resourceVersion");
    if !given.is_empty() && given != text(old, "/metadata/resourceVersion") {
        return Err(Failure::modified(resource, name(old)));
    }
    if !uid(new).is_empty() && uid(new) != uid(old) {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{}\": Precondition failed: UID in precondition: {}, \
             UID in object meta: {}",
            resource.qualified(),
            name(old),
            uid(new),
            uid(old)
        );
        let conflict = Failure::new(StatusCode::CONFLICT, "Conflict", message);
        return Err(conflict.of(resource, name(old)));
    }
    Ok(())
}

/// What no client changes.
fn keep_metadata(old: &Value, new: &mut Value) {
    for field in ["namespace", "uid", "creationTimestamp", "generation", "resourceVersion"] {
        put(object(new, &["metadata"]), field, old["metadata"].get(field).cloned());
    }
}

fn is_another_generation(resource: &Resource, old: &Value, new: &Value) -> bool {
    let differs = |pointer: &str| old.pointer(pointer) != new.pointer(pointer);
    match resource.kind {
        "Deployment" => differs("/spec") || differs("/metadata/annotations"),
        // Everything that the server does not know might be wanted.
        _ if resource.is_custom() => {
            let wanted = |object: &Value| {
                let mut wanted = object.clone();
                wanted["metadata"].take();
                wanted["status"].take();
                wanted
            };
            wanted(old) != wanted(new)
        }
        _ => differs("/spec"),
    }
}

/// How many of it there are and should be: its subresource `scale`.
pub(super) fn scale(of: &Value) -> Value {
    let mut scale =
        json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {}, "spec": {}});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        put(object(&mut scale, &["metadata"]), field, of["metadata"].get(field).cloned());
    }
    let wanted = number(of, "/spec/replicas");
    count(object(&mut scale, &["spec"]), "replicas", wanted);
    scale["status"] = json!({
        "replicas": number(of, "/status/replicas"), "selector": selector::of_labels(of),
    });
    scale
}
