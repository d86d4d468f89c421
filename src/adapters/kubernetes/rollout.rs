//! Whether a rollout is complete: a condition of our own, which the client library's does not replace.
//!
//! A status belongs to the generation that its controller has observed. Right after a change it still tells of the former one,
//! and says "complete" of that; so the generation comes first. Otherwise the tests are those of `kubectl rollout status`, but for
//! a StatefulSet's, which is stricter: kubectl calls it complete as soon as a partition is set.

use serde_json::Value;

use super::workload::{Kind, Workload};

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// Every pod that is wanted is of the present template, and available.
    Complete(String),
    /// It goes on.
    Underway(String),
    /// It will not go on by itself.
    Halted(String),
}

/// How far the rollout of a workload's present template is.
pub(super) fn progress(workload: &Workload) -> Progress {
    let (generation, observed) = (workload.generation(), workload.observed());
    if observed < generation {
        let kind = workload.target.kind.word();
        return Progress::Underway(format!(
            "the {kind} controller has not seen the change yet (generation {generation}, observed {observed})"
        ));
    }
    match workload.target.kind {
        Kind::Deployment => deployment(workload),
        Kind::StatefulSet => stateful_set(workload),
        Kind::DaemonSet => daemon_set(workload),
        Kind::Rollout => rollout(workload),
    }
}

fn deployment(workload: &Workload) -> Progress {
    let wanted = workload.replicas();
    let [replicas, updated, available] =
        ["replicas", "updatedReplicas", "availableReplicas"].map(|field| workload.counted(field));
    if updated >= wanted && replicas <= updated && available >= updated {
        return Progress::Complete(format!("{available} of {wanted} pods updated and available"));
    }
    let old = replicas.saturating_sub(updated);
    let so_far =
        format!("{updated} of {wanted} pods updated, {available} available, {old} old left");
    let given_up = workload
        .condition("Progressing")
        .is_some_and(|condition| condition["reason"] == "ProgressDeadlineExceeded");
    if given_up {
        Progress::Halted(format!("its progress deadline has passed: {so_far}"))
    } else if workload.paused() {
        Progress::Halted(format!("it is paused: {so_far}"))
    } else {
        Progress::Underway(so_far)
    }
}

fn stateful_set(workload: &Workload) -> Progress {
    if on_delete(workload) {
        return by_hand();
    }
    let wanted = workload.replicas();
    let [updated, ready] =
        ["updatedReplicas", "readyReplicas"].map(|field| workload.counted(field));
    let partition =
        workload.spec().pointer("/updateStrategy/rollingUpdate/partition").and_then(Value::as_u64);
    let partition = partition.unwrap_or(0).min(wanted);
    // Once all are updated and ready the controller makes the update revision the current one.
    let current =
        partition > 0 || workload.said("updateRevision") == workload.said("currentRevision");
    if updated >= wanted - partition && ready >= wanted && current {
        let kept = if partition > 0 {
            format!(", {partition} kept by the partition")
        } else {
            String::new()
        };
        return Progress::Complete(format!(
            "{updated} of {wanted} pods updated, {ready} ready{kept}"
        ));
    }
    // With ordered pods the controller waits for a broken one for ever, even when the template has been mended
    // (<https://github.com/kubernetes/kubernetes/issues/67250>).
    Progress::Underway(format!(
        "{updated} of {wanted} pods updated, {ready} ready; a pod that cannot become ready has to be deleted by hand"
    ))
}

fn daemon_set(workload: &Workload) -> Progress {
    if on_delete(workload) {
        return by_hand();
    }
    let [wanted, updated, available] =
        ["desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable"]
            .map(|field| workload.counted(field));
    let so_far = format!("{updated} of {wanted} pods updated, {available} available");
    if updated >= wanted && available >= wanted {
        Progress::Complete(so_far)
    } else {
        Progress::Underway(so_far)
    }
}

/// Argo's own words: <https://argo-rollouts.readthedocs.io/en/stable/features/specification/>.
fn rollout(workload: &Workload) -> Progress {
    let message = workload.said("message");
    let told = |phase: &str| match message {
        "" => format!("it is {phase}"),
        message => format!("it is {phase}: {message}"),
    };
    match workload.said("phase") {
        "Healthy" => Progress::Complete("it is healthy".to_owned()),
        phase @ ("Degraded" | "Paused") => Progress::Halted(told(&phase.to_lowercase())),
        "" => Progress::Underway("its controller has said nothing yet".to_owned()),
        phase => Progress::Underway(told(&phase.to_lowercase())),
    }
}

fn on_delete(workload: &Workload) -> bool {
    workload.spec().pointer("/updateStrategy/type").is_some_and(|strategy| strategy == "OnDelete")
}

fn by_hand() -> Progress {
    Progress::Halted("its pods are only replaced when they are deleted (OnDelete)".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::workload::Target;
    use super::*;

    fn look(kind: Kind, object: Value) -> Progress {
        let target = Target { kind, namespace: "n".into(), name: "a".into() };
        progress(&Workload::of(&target, object))
    }

    fn deployed(generation: u64, paused: bool, reason: &str, status: [u64; 3]) -> Progress {
        let [replicas, updated, available] = status;
        look(
            Kind::Deployment,
            json!({
                "metadata": {"generation": generation}, "spec": {"replicas": 3, "paused": paused},
                "status": {
                    "observedGeneration": 11, "replicas": replicas, "updatedReplicas": updated, "availableReplicas": available,
                    "conditions": [{"type": "Progressing", "status": "True", "reason": reason}],
                },
            }),
        )
    }

    #[test]
    fn a_deployment_is_complete_only_for_the_generation_that_was_seen() {
        let done = "NewReplicaSetAvailable";
        assert!(matches!(deployed(11, false, done, [3, 3, 3]), Progress::Complete(_)));
        assert!(matches!(deployed(12, false, done, [3, 3, 3]), Progress::Underway(_)));
        for status in [[3, 2, 3], [4, 3, 4], [3, 3, 2]] {
            assert!(
                matches!(deployed(11, false, done, status), Progress::Underway(_)),
                "{status:?}"
            );
            assert!(matches!(deployed(11, true, done, status), Progress::Halted(_)), "{status:?}");
            let late = deployed(11, false, "ProgressDeadlineExceeded", status);
            assert!(matches!(late, Progress::Halted(_)), "{status:?}");
        }
        let paused = deployed(11, true, "DeploymentPaused", [3, 3, 3]);
        assert!(
            matches!(paused, Progress::Complete(_)),
            "what is complete stays so while it is paused"
        );
    }

    fn stateful(strategy: &Value, mut status: Value) -> Progress {
        status["observedGeneration"] = json!(2);
        let object = json!({"metadata": {"generation": 2}, "spec": {"replicas": 3, "updateStrategy": strategy}, "status": status});
        look(Kind::StatefulSet, object)
    }

    #[test]
    fn a_stateful_set_is_complete_when_all_pods_are_of_one_revision() {
        let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}});
        let mixed = json!({"updatedReplicas": 3, "readyReplicas": 3, "currentRevision": "a", "updateRevision": "b"});
        assert!(matches!(stateful(&rolling, mixed.clone()), Progress::Underway(_)));
        let whole = json!({"updatedReplicas": 3, "readyReplicas": 3, "currentRevision": "b", "updateRevision": "b"});
        assert!(matches!(stateful(&rolling, whole), Progress::Complete(_)));
        let part = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}});
        let one = json!({"updatedReplicas": 1, "readyReplicas": 3, "currentRevision": "a", "updateRevision": "b"});
        assert!(matches!(stateful(&part, one), Progress::Complete(_)));
        assert!(matches!(stateful(&json!({"type": "OnDelete"}), mixed), Progress::Halted(_)));
    }

    #[test]
    fn a_daemon_set_counts_nodes() {
        let seen = |updated: u64| {
            let status = json!({"observedGeneration": 1, "desiredNumberScheduled": 2, "updatedNumberScheduled": updated, "numberAvailable": 2});
            look(
                Kind::DaemonSet,
                json!({"metadata": {"generation": 1}, "spec": {}, "status": status}),
            )
        };
        assert!(matches!(seen(1), Progress::Underway(_)));
        assert!(matches!(seen(2), Progress::Complete(_)));
    }

    #[test]
    fn argo_says_its_phase_and_its_generation_as_text() {
        let seen = |phase: &str, observed: &str| {
            let status = json!({"phase": phase, "observedGeneration": observed});
            look(
                Kind::Rollout,
                json!({"metadata": {"generation": 4}, "spec": {}, "status": status}),
            )
        };
        assert!(matches!(seen("Healthy", "4"), Progress::Complete(_)));
        assert!(matches!(seen("Healthy", "3"), Progress::Underway(_)));
        assert!(matches!(seen("Degraded", "4"), Progress::Halted(_)));
        assert!(matches!(seen("Progressing", "4"), Progress::Underway(_)));
    }
}
