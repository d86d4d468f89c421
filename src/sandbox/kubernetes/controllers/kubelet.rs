//! What a node does with a pod, without containers: after a while it is ready, or never.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::fields::{items, text};
use super::super::resources::PODS;
use super::super::state::State;
use super::pods;

/// How pods become ready.
#[derive(Debug, Clone)]
pub struct Kubelet {
    /// How long after a pod was made.
    pub readiness: Duration,
    /// Images whose containers never become ready.
    pub broken: Vec<String>,
}

impl Kubelet {
    /// The same without the waiting.
    pub(super) fn at_once(&self) -> Self {
        Self { readiness: Duration::ZERO, broken: self.broken.clone() }
    }

    /// Makes ready what is due; how long until the next is.
    pub(super) fn step(&self, state: &mut State, now: Timestamp) -> Option<Duration> {
        let pods: Vec<Value> = state.list(&PODS, None).into_iter().cloned().collect();
        let mut next = None;
        for mut pod in pods.into_iter().filter(|pod| !pods::is_ready(pod)) {
            let containers = items(&pod, "/spec/containers");
            let is_broken =
                |container| self.broken.iter().any(|image| image == text(container, "/image"));
            let broken = containers.iter().any(is_broken);
            let wait = self.wait(&pod, now);
            if broken || wait.is_zero() {
                pod["status"] = running(&pod, !broken);
                state.replace(&PODS, pod);
            } else {
                next = Some(next.map_or(wait, |next: Duration| next.min(wait)));
            }
        }
        next
    }

    fn wait(&self, pod: &Value, now: Timestamp) -> Duration {
        let made: Timestamp = text(pod, "/metadata/creationTimestamp").parse().unwrap_or(now);
        let age = Duration::try_from(now.duration_since(made)).unwrap_or_default();
        self.readiness.saturating_sub(age)
    }
}

fn running(pod: &Value, ready: bool) -> Value {
    let word = if ready { "True" } else { "False" };
    let containers = items(pod, "/spec/containers").iter();
    let states: Vec<Value> = containers
        .map(|container| {
            json!({
                "name": container["name"], "image": container["image"], "ready": ready, "restartCount": 0, "started": ready,
            })
        })
        .collect();
    json!({
        "phase": "Running", "qosClass": "BestEffort", "containerStatuses": states,
        "conditions": [{"type": "Ready", "status": word}, {"type": "ContainersReady", "status": word}],
    })
}
