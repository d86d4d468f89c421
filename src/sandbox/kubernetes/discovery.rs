//! What a client asks before it asks for objects: the server's version, its health, and which kinds of objects it has.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::resources::{self, Resource};

/// The server whose behaviour this is.
pub(super) fn version() -> Value {
    json!({
        "major": "1", "minor": "20", "gitVersion": "v1.20.2", "gitCommit": "sandbox", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "sandbox",
    })
}

/// Answers for paths below `/api` and `/apis` that lead to no objects.
pub(super) fn answer(path: &str) -> Option<Value> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["api"] => Some(
            json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        ),
        ["api", version] => list("", version),
        ["apis"] => {
            let groups: Vec<Value> = groups().into_iter().map(group).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", name] => {
            let found = groups().into_iter().find(|(known, _)| known == name)?;
            let mut answer = json!({"kind": "APIGroup", "apiVersion": "v1"});
            json_patch::merge(&mut answer, &group(found));
            Some(answer)
        }
        ["apis", group, version] => list(group, version),
        _ => None,
    }
}

/// The groups that have a name, each with its version.
fn groups() -> BTreeMap<&'static str, &'static str> {
    let named = resources::ALL.into_iter().filter(|resource| !resource.group.is_empty());
    named.map(|resource| (resource.group, resource.version)).collect()
}

fn group((name, version): (&str, &str)) -> Value {
    let version = json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn list(group: &str, version: &str) -> Option<Value> {
    let known = resources::ALL.into_iter();
    let of_this = known.filter(|each| (each.group, each.version) == (group, version));
    let of_this: Vec<&Resource> = of_this.collect();
    let first = of_this.first()?;
    let resources: Vec<Value> = of_this.iter().flat_map(|resource| entries(resource)).collect();
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": first.api_version(), "resources": resources,
    }))
}

fn entries(resource: &Resource) -> Vec<Value> {
    let verbs = match resource.kind {
        "SelfSubjectAccessReview" => json!(["create"]),
        _ => json!(["create", "delete", "get", "list", "patch", "update"]),
    };
    let mut whole = json!({
        "name": resource.plural, "singularName": "", "namespaced": resource.namespaced, "kind": resource.kind,
        "verbs": verbs,
    });
    if !resource.short.is_empty() {
        whole["shortNames"] = json!([resource.short]);
    }
    let parts = resource.subresources.iter().map(|below| {
        let kind = if *below == "scale" { "Scale" } else { resource.kind };
        json!({
            "name": format!("{}/{below}", resource.plural), "singularName": "", "namespaced": resource.namespaced,
            "kind": kind, "verbs": ["get", "patch", "update"],
        })
    });
    std::iter::once(whole).chain(parts).collect()
}
