//! Deployments: one `ReplicaSet` for each template, numbered by revision, the newest growing while the others shrink.
//! After `pkg/controller/deployment` of Kubernetes 1.20.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::super::fields::{annotate, annotation, flag, number, number_or, object, set};
use super::super::resources::{DEPLOYMENTS, PODS, REPLICA_SETS};
use super::super::state::{State, controller_reference, name, namespace};
use super::rollout::{self, Bounds};
use super::{revisions, status};

const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const HASH: &str = "pod-template-hash";
/// Annotations that belong to the Deployment or to the `ReplicaSet` alone.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    REVISION,
    HISTORY,
];

/// Looks at every Deployment; how long until the first of them has taken too long.
pub(super) fn step(state: &mut State, now: Timestamp) -> Option<Duration> {
    let all: Vec<Value> = state.list(&DEPLOYMENTS, None).into_iter().cloned().collect();
    let waits = all.into_iter().filter_map(|deployment| sync(state, deployment, now));
    waits.min()
}

fn sync(state: &mut State, mut deployment: Value, now: Timestamp) -> Option<Duration> {
    status::note_pause(&mut deployment, now);
    let wanted = number(&deployment, "/spec/replicas");
    let sets = state.owned(&REPLICA_SETS, &deployment);
    let paused = flag(&deployment, "/spec/paused");
    if paused || rollout::is_scaling(&sets, wanted) {
        let (new, old) = split(state, &mut deployment, false, now);
        rollout::scale(state, &deployment, new.as_ref(), &old);
        if paused {
            clean_up(state, &deployment, &old);
        }
    } else if rollout::rolls(&deployment) {
        roll(state, &mut deployment, now);
    } else {
        recreate(state, &mut deployment, now);
    }
    let (new, old) = found(state, &deployment);
    status::tell(&mut deployment, new.as_ref(), &old, now);
    let wait = status::time_left(&deployment, now);
    state.replace(&DEPLOYMENTS, deployment);
    wait
}

fn roll(state: &mut State, deployment: &mut Value, now: Timestamp) {
    let bounds = Bounds::of(deployment);
    let (new, old) = split(state, deployment, true, now);
    let Some(new) = new else { return };
    if !rollout::grow(state, &new, &old, bounds)
        && !rollout::shrink(state, &new, &old, bounds)
        && status::is_complete(deployment)
    {
        clean_up(state, deployment, &old);
    }
}

/// All of the old before any of the new.
fn recreate(state: &mut State, deployment: &mut Value, now: Timestamp) {
    let bounds = Bounds::of(deployment);
    let (_, old) = split(state, deployment, false, now);
    let mut shrunk = false;
    for set in old.iter().filter(|set| rollout::replicas(set) > 0) {
        shrunk |= rollout::resize(state, set, 0, bounds);
    }
    if shrunk || old.iter().any(|set| !state.owned(&PODS, set).is_empty()) {
        return;
    }
    if let (Some(new), old) = split(state, deployment, true, now)
        && !rollout::resize(state, &new, bounds.wanted, bounds)
        && status::is_complete(deployment)
    {
        clean_up(state, deployment, &old);
    }
}

/// The `ReplicaSet` with the template of now, and the others, oldest first.
fn found(state: &State, deployment: &Value) -> (Option<Value>, Vec<Value>) {
    let mut sets = state.owned(&REPLICA_SETS, deployment);
    let template = without_hash(&deployment["spec"]["template"]);
    let place = sets.iter().position(|set| without_hash(&set["spec"]["template"]) == template);
    let new = place.map(|place| sets.remove(place));
    (new, sets)
}

/// The same, with the newest revision's number brought up to date; without one it is made, if that is asked for.
fn split(
    state: &mut State,
    deployment: &mut Value,
    create: bool,
    now: Timestamp,
) -> (Option<Value>, Vec<Value>) {
    let (new, old) = found(state, deployment);
    let revision = old.iter().map(revision).max().unwrap_or_default() + 1;
    let new = match new {
        Some(new) => Some(renumber(state, deployment, new, revision)),
        None if create => Some(make(state, deployment, &old, revision, now)),
        None => None,
    };
    if let Some(number) = new.as_ref().and_then(|new| annotation(new, REVISION)) {
        annotate(deployment, REVISION, number);
    }
    (new, old)
}

fn renumber(state: &mut State, deployment: &Value, mut new: Value, number: i64) -> Value {
    let former = annotation(&new, REVISION).map(str::to_owned);
    let mut changed = copy_annotations(deployment, &mut new);
    if revision(&new) < number {
        annotate(&mut new, REVISION, &number.to_string());
        changed = true;
    }
    if changed && let Some(former) = former {
        let history = match annotation(&new, HISTORY) {
            Some(history) if !history.is_empty() => format!("{history},{former}"),
            _ => former,
        };
        annotate(&mut new, HISTORY, &history);
    }
    state.replace(&REPLICA_SETS, new)
}

fn make(
    state: &mut State,
    deployment: &mut Value,
    old: &[Value],
    number: i64,
    now: Timestamp,
) -> Value {
    let bounds = Bounds::of(deployment);
    let mut template = deployment["spec"]["template"].clone();
    let hash = revisions::hash(&template);
    set(&mut template, &["metadata", "labels", HASH], hash.clone());
    let mut selector = deployment["spec"]["selector"].clone();
    set(&mut selector, &["matchLabels", HASH], hash.clone());
    let room = bounds.wanted + bounds.surge - rollout::sum(old, rollout::replicas);
    let size =
        if rollout::rolls(deployment) { room.clamp(0, bounds.wanted) } else { bounds.wanted };
    let mut new = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{}-{hash}", name(deployment)), "namespace": namespace(deployment),
            "labels": template["metadata"]["labels"],
            "ownerReferences": controller_reference(&DEPLOYMENTS, deployment),
        },
        "spec": {"replicas": size, "selector": selector, "template": template},
        "status": {"replicas": 0},
    });
    copy_annotations(deployment, &mut new);
    annotate(&mut new, REVISION, &number.to_string());
    rollout::note_size(&mut new, bounds);
    let new = state.insert(&REPLICA_SETS, new);
    status::note_new(deployment, name(&new), now);
    new
}

fn revision(set: &Value) -> i64 {
    annotation(set, REVISION).and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// A `ReplicaSet` gets its Deployment's annotations, and keeps those that the Deployment loses.
fn copy_annotations(deployment: &Value, set: &mut Value) -> bool {
    let from = deployment.pointer("/metadata/annotations").and_then(Value::as_object);
    let mut changed = false;
    for (name, content) in from.into_iter().flatten() {
        if !NOT_COPIED.contains(&name.as_str()) {
            changed |= annotate(set, name, content.as_str().unwrap_or_default());
        }
    }
    changed
}

fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    let labels: &mut Map<String, Value> = object(&mut template, &["metadata", "labels"]);
    labels.shift_remove(HASH);
    template
}

/// Removes the oldest `ReplicaSets` that are more than the Deployment keeps.
fn clean_up(state: &mut State, deployment: &Value, old: &[Value]) {
    let is_idle = |set: &&Value| {
        let counts = ["/spec/replicas", "/status/replicas"].map(|field| number(set, field));
        counts == [0, 0]
            && number(set, "/metadata/generation") <= number(set, "/status/observedGeneration")
    };
    let idle: Vec<&Value> = old.iter().filter(is_idle).collect();
    let limit = usize::try_from(number_or(deployment, "/spec/revisionHistoryLimit", 10));
    for set in idle.iter().take(idle.len().saturating_sub(limit.unwrap_or_default())) {
        state.remove(&REPLICA_SETS, set, true);
    }
}
