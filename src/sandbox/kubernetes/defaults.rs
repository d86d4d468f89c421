//! What the server adds to an object that leaves it out, and what it refuses.

use serde_json::{Value, json};

use super::failure::Failure;
use super::fields::{default, flag, items, number_or, set, text};
use super::resources::{DAEMON_SETS, DEPLOYMENTS, PODS, REPLICA_SETS, Resource, STATEFUL_SETS};
use super::state::name;

/// Adds what is left out.
pub(super) fn add(resource: &Resource, object: &mut Value) {
    match resource.kind {
        "Deployment" => {
            // Go leaves out what is false.
            if !flag(object, "/spec/paused") {
                let _false = super::fields::object(object, &["spec"]).shift_remove("paused");
            }
            default(object, &["spec", "replicas"], 1);
            default(object, &["spec", "strategy", "type"], "RollingUpdate");
            if text(object, "/spec/strategy/type") == "RollingUpdate" {
                for bound in ["maxUnavailable", "maxSurge"] {
                    default(object, &["spec", "strategy", "rollingUpdate", bound], "25%");
                }
            }
            default(object, &["spec", "revisionHistoryLimit"], 10);
            default(object, &["spec", "progressDeadlineSeconds"], 600);
        }
        "ReplicaSet" => default(object, &["spec", "replicas"], 1),
        "StatefulSet" => {
            default(object, &["spec", "replicas"], 1);
            default(object, &["spec", "podManagementPolicy"], "OrderedReady");
            default(object, &["spec", "revisionHistoryLimit"], 10);
            default(object, &["spec", "updateStrategy", "type"], "RollingUpdate");
            if text(object, "/spec/updateStrategy/type") == "RollingUpdate" {
                default(object, &["spec", "updateStrategy", "rollingUpdate", "partition"], 0);
            }
        }
        "DaemonSet" => {
            default(object, &["spec", "revisionHistoryLimit"], 10);
            default(object, &["spec", "updateStrategy", "type"], "RollingUpdate");
            if text(object, "/spec/updateStrategy/type") == "RollingUpdate" {
                default(object, &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"], 1);
            }
        }
        "Pod" => return pod(object, &["spec"]),
        _ => return,
    }
    set_missing_time(object);
    pod(object, &["spec", "template", "spec"]);
}

/// Templates have no time of their own, and say so.
fn set_missing_time(object: &mut Value) {
    if object.pointer("/spec/template").is_some() {
        set(object, &["spec", "template", "metadata", "creationTimestamp"], Value::Null);
    }
}

fn pod(object: &mut Value, at: &[&str]) {
    let pointer = format!("/{}", at.join("/"));
    let Some(spec) = object.pointer_mut(&pointer) else { return };
    for (field, content) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("securityContext", json!({})),
        ("schedulerName", json!("default-scheduler")),
    ] {
        default(spec, &[field], content);
    }
    let containers = spec.get_mut("containers").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        let image = text(container, "/image").to_owned();
        let latest = image.ends_with(":latest")
            || !image.rsplit('/').next().unwrap_or_default().contains([':', '@']);
        for (field, content) in [
            ("resources", json!({})),
            ("terminationMessagePath", json!("/dev/termination-log")),
            ("terminationMessagePolicy", json!("File")),
            ("imagePullPolicy", json!(if latest { "Always" } else { "IfNotPresent" })),
        ] {
            default(container, &[field], content);
        }
    }
}

/// Refuses an object that could not work.
pub(super) fn check(resource: &Resource, object: &Value) -> Result<(), Failure> {
    let refuse = |problem: String| Err(Failure::invalid(resource, name(object), &problem));
    let spec = match resource.kind {
        "Pod" => "/spec",
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => "/spec/template/spec",
        _ => return Ok(()),
    };
    let replicas = number_or(object, "/spec/replicas", 0);
    if replicas < 0 {
        return refuse(format!(
            "spec.replicas: Invalid value: {replicas}: must be greater than or equal to 0"
        ));
    }
    if *resource != PODS {
        let selected = object.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
        let labels = object.pointer("/spec/template/metadata/labels").and_then(Value::as_object);
        let Some(selected) = selected.filter(|selected| !selected.is_empty()) else {
            return refuse("spec.selector: Required value".to_owned());
        };
        let carried = |(name, value)| labels.and_then(|labels| labels.get(name)) == Some(value);
        if !selected.iter().all(carried) {
            return refuse(
                "spec.template.metadata.labels: Invalid value: `selector` does not match template `labels`"
                    .to_owned(),
            );
        }
    }
    let path = spec.trim_start_matches('/').replace('/', ".");
    let containers = items(object, &format!("{spec}/containers"));
    if containers.is_empty() {
        return refuse(format!("{path}.containers: Required value"));
    }
    for (index, container) in containers.iter().enumerate() {
        for field in ["name", "image"] {
            if text(container, &format!("/{field}")).is_empty() {
                return refuse(format!("{path}.containers[{index}].{field}: Required value"));
            }
        }
    }
    Ok(())
}

/// Refuses a change of what cannot be changed.
pub(super) fn check_change(resource: &Resource, old: &Value, new: &Value) -> Result<(), Failure> {
    let refuse = |problem: &str| Err(Failure::invalid(resource, name(new), problem));
    let differs = |pointer: &str| old.pointer(pointer) != new.pointer(pointer);
    let with_selector = [&DEPLOYMENTS, &REPLICA_SETS, &DAEMON_SETS].contains(&resource);
    if with_selector && differs("/spec/selector") {
        return refuse("spec.selector: Invalid value: field is immutable");
    }
    let fixed = ["/spec/selector", "/spec/serviceName", "/spec/podManagementPolicy"];
    if *resource == STATEFUL_SETS && fixed.into_iter().any(differs) {
        return refuse(
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'template', \
             and 'updateStrategy' are forbidden",
        );
    }
    Ok(())
}
