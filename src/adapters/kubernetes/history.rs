//! The revisions of a workload: ReplicaSets of a Deployment or a Rollout, ControllerRevisions of the others.
//!
//! A controller numbers a revision anew when it becomes the present one again, so a revision is remembered by the object that
//! holds it, and by a hash of its pod template: after a change, or after a crash, the number says nothing.

use kube::core::{ApiResource, GroupVersionKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::{Kubernetes, Object};
use super::workload::{Kind, Target, Workload, images};
use crate::action::{ActionError, ErrorKind, StepContext};
use crate::digest::sha256;

/// The pod template as it was in one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Revision {
    /// Its number when it was looked up.
    pub(super) number: u64,
    /// The object that holds it.
    pub(super) holder: String,
    /// That object's identity.
    pub(super) uid: String,
    /// The images of its containers.
    pub(super) images: Vec<String>,
    /// The hash of its pod template.
    pub(super) template: String,
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "revision {} ({})", self.number, self.images.join(", "))
    }
}

/// Which kind of object holds the revisions, where its number is, and what its controller adds to the template.
struct Holder {
    resource: ApiResource,
    number: fn(&Value) -> Option<u64>,
    template: fn(&Value) -> Option<&Value>,
    added_label: Option<&'static str>,
}

impl Holder {
    fn of(kind: Kind) -> Self {
        fn annotated(object: &Value, name: &str) -> Option<u64> {
            object.pointer("/metadata/annotations")?[name].as_str()?.parse().ok()
        }
        let apps = |kind, plural| {
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("apps", "v1", kind), plural)
        };
        match kind {
            Kind::Deployment => Self {
                resource: apps("ReplicaSet", "replicasets"),
                number: |set| annotated(set, "deployment.kubernetes.io/revision"),
                template: |set| set.pointer("/spec/template"),
                added_label: Some("pod-template-hash"),
            },
            Kind::Rollout => Self {
                resource: apps("ReplicaSet", "replicasets"),
                number: |set| annotated(set, "rollout.argoproj.io/revision"),
                template: |set| set.pointer("/spec/template"),
                added_label: Some("rollouts-pod-template-hash"),
            },
            Kind::StatefulSet | Kind::DaemonSet => Self {
                resource: apps("ControllerRevision", "controllerrevisions"),
                number: |revision| revision["revision"].as_u64(),
                template: |revision| revision.pointer("/data/spec/template"),
                added_label: None,
            },
        }
    }

    fn read(&self, object: &Value) -> Option<(Revision, Value)> {
        let template = plain((self.template)(object)?, self.added_label);
        let meta = object.get("metadata")?;
        let revision = Revision {
            number: (self.number)(object)?,
            holder: meta["name"].as_str()?.to_owned(),
            uid: meta["uid"].as_str()?.to_owned(),
            images: images(&template),
            template: fingerprint(&template),
        };
        Some((revision, template))
    }
}

/// Which kind of object holds the revisions of a workload.
pub(super) fn holder(kind: Kind) -> ApiResource {
    Holder::of(kind).resource
}

/// The revisions of a workload, the newest first.
pub(super) async fn revisions(
    kubernetes: &Kubernetes,
    cx: &StepContext,
    workload: &Workload,
) -> Result<Vec<Revision>, ActionError> {
    let Target { kind, namespace, .. } = &workload.target;
    let holder = Holder::of(*kind);
    let all = kubernetes.list(cx, &holder.resource, namespace, &workload.selector()?).await?;
    let owned = all.iter().filter(|object| is_controlled_by(object, workload.uid()));
    let mut found: Vec<Revision> =
        owned.filter_map(|object| Some(holder.read(object)?.0)).collect();
    found.sort_by_key(|revision| std::cmp::Reverse(revision.number));
    Ok(found)
}

/// The pod template of a revision. It must still be what it was when the revision was chosen.
pub(super) async fn template(
    kubernetes: &Kubernetes,
    cx: &StepContext,
    target: &Target,
    revision: &Revision,
) -> Result<Value, ActionError> {
    let holder = Holder::of(target.kind);
    let object = Object {
        resource: holder.resource.clone(),
        namespace: Some(target.namespace.clone()),
        name: revision.holder.clone(),
    };
    let gone = |why: &str| {
        ActionError::new(ErrorKind::Conflict, format!("bring {revision} of {target} back: {why}"))
    };
    let found = kubernetes.find(cx, &object).await?;
    let found = found.ok_or_else(|| gone("it was removed from the history"))?;
    let (now, template) = holder.read(&found).ok_or_else(|| gone("it is no revision any more"))?;
    if now.uid != revision.uid || now.template != revision.template {
        return Err(gone("it is no longer what it was when it was chosen"));
    }
    Ok(template)
}

fn is_controlled_by(object: &Value, uid: &str) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().any(|owner| owner["controller"] == true && owner["uid"] == uid)
}

/// A pod template without what a controller or its store adds to a copy.
fn plain(template: &Value, added_label: Option<&str>) -> Value {
    let mut template = template.clone();
    if let Value::Object(fields) = &mut template {
        let _patch_directive = fields.shift_remove("$patch");
    }
    if let Some(Value::Object(labels)) = template.pointer_mut("/metadata/labels")
        && let Some(added) = added_label
    {
        let _hash = labels.shift_remove(added);
    }
    template
}

/// The hash of a pod template. Empty fields and the order of keys make no difference.
pub(super) fn fingerprint(template: &Value) -> String {
    sha256(sorted(template).to_string())
}

fn sorted(value: &Value) -> Value {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(&String, Value)> =
                fields.iter().map(|(key, value)| (key, sorted(value))).collect();
            fields.retain(|(_, value)| !empty(value));
            fields.sort_by_key(|(key, _)| *key);
            fields.into_iter().map(|(key, value)| (key.clone(), value)).collect()
        }
        Value::Array(values) => values.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_is_the_same_in_the_workload_and_in_its_history() {
        let live = json!({"metadata": {"creationTimestamp": null, "labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
        let set = json!({"metadata": {"labels": {"pod-template-hash": "x", "app": "a"}}, "spec": {"containers": [{"image": "i:1", "name": "c"}]}});
        let revision = json!({"$patch": "replace", "metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"image": "i:1", "name": "c"}]}});
        let wanted = fingerprint(&live);
        assert_eq!(fingerprint(&plain(&set, Some("pod-template-hash"))), wanted);
        assert_eq!(fingerprint(&plain(&revision, None)), wanted);
        let other = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"image": "i:2", "name": "c"}]}});
        assert_ne!(fingerprint(&other), wanted);
    }

    #[test]
    fn an_empty_volume_is_not_the_same_as_none() {
        // `emptyDir: {}` is what makes a volume: within a list, an object that becomes empty still counts.
        let with = json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}});
        let without = json!({"spec": {"volumes": []}});
        assert_ne!(fingerprint(&with), fingerprint(&without));
    }
}
