//! All objects, and what happens to the metadata of one that is made, changed or removed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fields::{flag, items, number, object, set, text};
use super::resources::{self, Resource};
use crate::clock;

/// The objects of a cluster, as they are kept in its file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// Counts changes of any object: the last `resourceVersion` that was given away.
    version: u64,
    /// By `deployments.apps/NAMESPACE/NAME`.
    objects: BTreeMap<String, Value>,
}

fn prefix(resource: &Resource, namespace: &str) -> String {
    format!("{}/{namespace}/", resource.qualified())
}

fn key(resource: &Resource, object: &Value) -> String {
    format!("{}{}", prefix(resource, namespace(object)), name(object))
}

pub(super) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(super) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

pub(super) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// A time as objects have it, in whole seconds.
pub(super) fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl State {
    /// The last `resourceVersion`.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<&Value> {
        self.objects.get(&format!("{}{name}", prefix(resource, namespace)))
    }

    /// Those of a namespace, or of all, in the order of their names.
    pub(super) fn list(&self, resource: &Resource, namespace: Option<&str>) -> Vec<&Value> {
        let prefix = match namespace {
            Some(namespace) => prefix(resource, namespace),
            None => format!("{}/", resource.qualified()),
        };
        let from = self.objects.range(prefix.clone()..);
        from.take_while(|(key, _)| key.starts_with(&prefix)).map(|(_, object)| object).collect()
    }

    /// Those that this one controls, oldest first.
    pub(super) fn owned(&self, resource: &Resource, owner: &Value) -> Vec<Value> {
        let all = self.list(resource, Some(namespace(owner))).into_iter();
        let mut owned: Vec<Value> = all
            .filter(|object| {
                items(object, "/metadata/ownerReferences").iter().any(|reference| {
                    flag(reference, "/controller") && text(reference, "/uid") == uid(owner)
                })
            })
            .cloned()
            .collect();
        owned.sort_by_key(age);
        owned
    }

    /// Adds an object, which gets its identity, and returns it as it is now.
    pub(super) fn insert(&mut self, resource: &Resource, mut new: Value) -> Value {
        self.version += 1;
        let metadata = object(&mut new, &["metadata"]);
        metadata.insert("uid".to_owned(), uuid::Uuid::new_v4().to_string().into());
        metadata.insert("creationTimestamp".to_owned(), stamp(clock::now()).into());
        metadata.insert("resourceVersion".to_owned(), self.version.to_string().into());
        if resource.counted {
            metadata.insert("generation".to_owned(), 1.into());
        }
        self.objects.insert(key(resource, &new), new.clone());
        new
    }

    /// Puts a changed object into the place of the one with its name. What is as it was keeps its version.
    pub(super) fn replace(&mut self, resource: &Resource, mut new: Value) -> Value {
        let key = key(resource, &new);
        if self.objects.get(&key) == Some(&new) {
            return new;
        }
        self.version += 1;
        set(&mut new, &["metadata", "resourceVersion"], self.version.to_string());
        self.objects.insert(key, new.clone());
        new
    }

    /// Changes what is wanted of an object, as a client does that its generation counts.
    pub(super) fn want(&mut self, resource: &Resource, mut new: Value) -> Value {
        let generation = number(&new, "/metadata/generation") + 1;
        set(&mut new, &["metadata", "generation"], generation);
        self.replace(resource, new)
    }

    /// Removes an object; with `cascading` also those that it owns, and a namespace with all that is in it.
    pub(super) fn remove(&mut self, resource: &Resource, gone: &Value, cascading: bool) {
        self.version += 1;
        self.objects.remove(&key(resource, gone));
        if *resource == resources::NAMESPACES {
            let within = name(gone);
            self.objects.retain(|_, object| namespace(object) != within);
        }
        if cascading {
            for resource in resources::ALL {
                for owned in self.owned_by(resource, gone) {
                    self.remove(resource, &owned, true);
                }
            }
        }
    }

    fn owned_by(&self, resource: &Resource, owner: &Value) -> Vec<Value> {
        let all = self.list(resource, Some(namespace(owner))).into_iter();
        let belongs = |reference: &Value| text(reference, "/uid") == uid(owner);
        all.filter(|object| items(object, "/metadata/ownerReferences").iter().any(belongs))
            .cloned()
            .collect()
    }
}

/// The oldest first, and of one second by their names.
fn age(object: &Value) -> (String, String) {
    (text(object, "/metadata/creationTimestamp").to_owned(), name(object).to_owned())
}

/// The reference by which an object's controller is found.
pub(super) fn controller_reference(resource: &Resource, owner: &Value) -> Value {
    json!([{
        "apiVersion": resource.api_version(), "kind": resource.kind, "name": name(owner), "uid": uid(owner),
        "controller": true, "blockOwnerDeletion": true,
    }])
}
