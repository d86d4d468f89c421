//! The history of a `StatefulSet` or `DaemonSet`: one `ControllerRevision` for each template that it had.

use serde_json::{Value, json};

use super::super::fields::{number, number_or, set};
use super::super::resources::{REVISIONS, Resource};
use super::super::state::{State, controller_reference, name, namespace};

/// The revisions of an object, oldest first, and the last of them is the template that it has now.
pub(super) fn sync(
    state: &mut State,
    resource: &Resource,
    owner: &Value,
    label: &str,
) -> Vec<Value> {
    let mut history = list(state, owner);
    let data = data(owner);
    let next = history.last().map_or(0, |last| number(last, "/revision")) + 1;
    match history.iter().position(|revision| revision["data"] == data) {
        Some(place) if place + 1 == history.len() => return history,
        // A template that comes back is the newest revision again, under its name.
        Some(place) => {
            let mut revision = history.remove(place);
            set(&mut revision, &["revision"], next);
            history.push(state.replace(&REVISIONS, revision));
        }
        None => history.push(create(state, resource, owner, label, &data, next)),
    }
    history
}

fn list(state: &State, owner: &Value) -> Vec<Value> {
    let mut history = state.owned(&REVISIONS, owner);
    history.sort_by_key(|revision| number(revision, "/revision"));
    history
}

/// The patch that brings a template back.
fn data(owner: &Value) -> Value {
    let mut template = owner["spec"]["template"].clone();
    set(&mut template, &["$patch"], "replace");
    json!({"spec": {"template": template}})
}

fn create(
    state: &mut State,
    resource: &Resource,
    owner: &Value,
    label: &str,
    data: &Value,
    number: i64,
) -> Value {
    let hash = hash(data);
    let mut labels = owner.pointer("/spec/template/metadata/labels").cloned().unwrap_or_default();
    set(&mut labels, &[label], hash.clone());
    state.insert(
        &REVISIONS,
        json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision",
            "metadata": {
                "name": format!("{}-{hash}", name(owner)), "namespace": namespace(owner), "labels": labels,
                "ownerReferences": controller_reference(resource, owner),
            },
            "data": data, "revision": number,
        }),
    )
}

/// Ten letters and digits that are the same for the same content: no vowels, so that they form no words.
pub(super) fn hash(content: &Value) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let digest = crate::digest::sha256(content.to_string().as_bytes());
    let letter = |byte: u8| char::from(LETTERS[usize::from(byte) % LETTERS.len()]);
    digest
        .as_bytes()
        .chunks(2)
        .take(10)
        .map(|pair| letter(pair[0].wrapping_mul(31) ^ pair[1]))
        .collect()
}

/// Removes the oldest that nobody uses and that are more than the object keeps.
pub(super) fn truncate(state: &mut State, owner: &Value, used: &[&str]) {
    let history = list(state, owner);
    let unused = history.iter().rev().skip(1).rev().filter(|each| !used.contains(&name(each)));
    let unused: Vec<&Value> = unused.collect();
    let limit =
        usize::try_from(number_or(owner, "/spec/revisionHistoryLimit", 10)).unwrap_or_default();
    for revision in unused.iter().take(unused.len().saturating_sub(limit)) {
        state.remove(&REVISIONS, revision, false);
    }
}

/// The template that a revision holds.
pub(super) fn template(revision: &Value) -> Value {
    let mut template = revision.pointer("/data/spec/template").cloned().unwrap_or_default();
    if let Value::Object(template) = &mut template {
        template.shift_remove("$patch");
    }
    template
}

/// The revision of this name, or the newest.
pub(super) fn named<'a>(history: &'a [Value], wanted: &str) -> Option<&'a Value> {
    history.iter().find(|revision| name(revision) == wanted).or(history.last())
}
