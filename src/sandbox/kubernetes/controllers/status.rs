//! What a Deployment says of itself: its counts, and the conditions `Available` and `Progressing`.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::fields::{condition, count, flag, items, number, object, set, text};
use super::super::state::{name, stamp};
use super::rollout::{self, Bounds};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const DONE: &str = "NewReplicaSetAvailable";
const LATE: &str = "ProgressDeadlineExceeded";

/// Whether all is as wanted, by what it said last.
pub(super) fn is_complete(deployment: &Value) -> bool {
    let wanted = number(deployment, "/spec/replicas");
    let counts = ["updatedReplicas", "replicas", "availableReplicas"];
    counts.into_iter().all(|field| number(deployment, &format!("/status/{field}")) == wanted)
        && number(deployment, "/status/observedGeneration")
            >= number(deployment, "/metadata/generation")
}

fn deadline(deployment: &Value) -> Option<Duration> {
    let seconds = deployment.pointer("/spec/progressDeadlineSeconds")?.as_u64()?;
    Some(Duration::from_secs(seconds))
}

fn progress(deployment: &Value) -> &str {
    condition(deployment, PROGRESSING).map_or("", |found| text(found, "/reason"))
}

/// While it is paused no time counts against its deadline.
pub(super) fn note_pause(deployment: &mut Value, now: Timestamp) {
    let (paused, reason) = (flag(deployment, "/spec/paused"), progress(deployment));
    if deadline(deployment).is_none() || reason == LATE {
        return;
    }
    if paused && reason != "DeploymentPaused" {
        say(deployment, PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused", now);
    } else if !paused && reason == "DeploymentPaused" {
        say(deployment, PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed", now);
    }
}

/// A new `ReplicaSet` is progress.
pub(super) fn note_new(deployment: &mut Value, named: &str, now: Timestamp) {
    let text = format!("Created new replica set \"{named}\"");
    say(deployment, PROGRESSING, "True", "NewReplicaSetCreated", &text, now);
}

/// Writes the counts, and what follows from them.
pub(super) fn tell(deployment: &mut Value, new: Option<&Value>, old: &[Value], now: Timestamp) {
    let former = deployment["status"].clone();
    let sets: Vec<Value> = old.iter().chain(new).cloned().collect();
    let total = |field: &str| -> i64 {
        sets.iter().map(|set| number(set, &format!("/status/{field}"))).sum()
    };
    let bounds = Bounds::of(deployment);
    let available = total("availableReplicas");
    let generation = number(deployment, "/metadata/generation");
    let status = object(deployment, &["status"]);
    count(status, "observedGeneration", generation);
    count(status, "replicas", total("replicas"));
    count(status, "updatedReplicas", new.map_or(0, |new| number(new, "/status/replicas")));
    count(status, "readyReplicas", total("readyReplicas"));
    count(status, "availableReplicas", available);
    let missing = rollout::sum(&sets, rollout::replicas) - available;
    count(status, "unavailableReplicas", missing.max(0));
    if available >= bounds.wanted - bounds.unavailable {
        let text = "Deployment has minimum availability.";
        say(deployment, AVAILABLE, "True", "MinimumReplicasAvailable", text, now);
    } else {
        let text = "Deployment does not have minimum availability.";
        say(deployment, AVAILABLE, "False", "MinimumReplicasUnavailable", text, now);
    }
    // A pause says so already, and stands still.
    if !flag(deployment, "/spec/paused") {
        note_progress(deployment, new, &former, now);
    }
}

fn note_progress(deployment: &mut Value, new: Option<&Value>, former: &Value, now: Timestamp) {
    let settled = progress(deployment) == DONE
        && number(deployment, "/status/replicas") == number(deployment, "/status/updatedReplicas");
    if deadline(deployment).is_none() || settled {
        return;
    }
    let subject = match new {
        Some(new) => format!("ReplicaSet \"{}\"", name(new)),
        None => format!("Deployment \"{}\"", name(deployment)),
    };
    if is_complete(deployment) {
        let text = format!("{subject} has successfully progressed.");
        say(deployment, PROGRESSING, "True", DONE, &text, now);
    } else if has_moved(&deployment["status"], former) {
        let text = format!("{subject} is progressing.");
        say(deployment, PROGRESSING, "True", "ReplicaSetUpdated", &text, now);
        // Every bit of it starts the deadline anew.
        touch(deployment, now);
    } else if time_left(deployment, now).is_some_and(|left| left.is_zero()) {
        let text = format!("{subject} has timed out progressing.");
        say(deployment, PROGRESSING, "False", LATE, &text, now);
    }
}

fn has_moved(status: &Value, former: &Value) -> bool {
    let more = |field: &str| number(status, field) > number(former, field);
    let old = |status: &Value| number(status, "/replicas") - number(status, "/updatedReplicas");
    more("/updatedReplicas")
        || more("/readyReplicas")
        || more("/availableReplicas")
        || old(status) < old(former)
}

/// How long it may still take; none when nothing is awaited.
pub(super) fn time_left(deployment: &Value, now: Timestamp) -> Option<Duration> {
    let reason = progress(deployment);
    if matches!(reason, DONE | LATE | "DeploymentPaused" | "") {
        return None;
    }
    let since = condition(deployment, PROGRESSING).map(|found| text(found, "/lastUpdateTime"))?;
    let since: Timestamp = since.parse().ok()?;
    let age = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    Some(deadline(deployment)?.saturating_sub(age))
}

/// Sets a condition; the same again changes nothing.
fn say(
    deployment: &mut Value,
    kind: &str,
    word: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let former = condition(deployment, kind).cloned().unwrap_or_default();
    if text(&former, "/status") == word && text(&former, "/reason") == reason {
        return;
    }
    let now = stamp(now);
    let same = text(&former, "/status") == word;
    let turned = if same { text(&former, "/lastTransitionTime") } else { &now };
    let new = json!({
        "type": kind, "status": word, "reason": reason, "message": message, "lastUpdateTime": now,
        "lastTransitionTime": turned,
    });
    let mut conditions = items(deployment, "/status/conditions").to_vec();
    conditions.retain(|condition| text(condition, "/type") != kind);
    conditions.push(new);
    set(deployment, &["status", "conditions"], conditions);
}

fn touch(deployment: &mut Value, now: Timestamp) {
    let conditions = deployment.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for found in conditions.into_iter().flatten() {
        if text(found, "/type") == PROGRESSING {
            set(found, &["lastUpdateTime"], stamp(now));
        }
    }
}
