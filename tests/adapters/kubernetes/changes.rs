//! `kubernetes.pause`, `resume`, `scale`, `restart` and `abort`: on the double and on the real control plane.

use rollback::action::{ErrorKind, Present};
use serde_json::json;

use super::port::Port;
use super::rig::{MERGE, Rig};
use crate::support::back;

scenarios! {
    a_pause_and_a_resume_are_each_others_undo,
    a_namesake_is_not_what_was_changed,
    scaling_goes_down_to_nothing_and_back,
    a_number_that_somebody_changed_is_not_overwritten,
    a_restart_replaces_the_pods_once,
    a_paused_deployment_is_not_restarted,
    a_rollout_of_argo_is_aborted_and_undone,
}

async fn a_pause_and_a_resume_are_each_others_undo(rig: &Rig) {
    rig.workload("deployments", "web", &["a:1"]).await;
    let path = rig.one("deployments", "web");
    let is_paused = async || rig.get(&path).await["spec"]["paused"] == true;
    let port = Port::of(rig, "admin");
    let pause = port.planned("kubernetes.pause", json!({"deployment": "web"})).await;
    let (saved, _) = port.apply(pause.as_ref()).await;
    assert!(is_paused().await);
    assert!(port.already_done(pause.as_ref()).await.ends_with("is paused"));
    let resume = port.planned("kubernetes.resume", json!({"deployment": "web"})).await;
    let (resumed, _) = port.apply(resume.as_ref()).await;
    assert!(!is_paused().await);
    port.undo(resume.as_ref(), &resumed).await;
    assert!(is_paused().await);
    port.undo(pause.as_ref(), &saved).await;
    assert!(!is_paused().await);
}

async fn a_namesake_is_not_what_was_changed(rig: &Rig) {
    rig.workload("deployments", "web", &["a:1"]).await;
    let port = Port::of(rig, "admin");
    let pause = port.planned("kubernetes.pause", json!({"deployment": "web"})).await;
    let (saved, _) = port.apply(pause.as_ref()).await;
    rig.remove("deployments", "web").await;
    rig.workload("deployments", "web", &["a:1"]).await;
    let error = pause.undo(&Port::cx(), &saved, None).await.expect_err("another one is there");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
}

async fn scaling_goes_down_to_nothing_and_back(rig: &Rig) {
    for (plural, kind) in [("deployments", "deployment"), ("statefulsets", "statefulset")] {
        rig.workload(plural, "web", &["a:1"]).await;
        let path = rig.one(plural, "web");
        let replicas = async || rig.get(&path).await["spec"]["replicas"].as_u64();
        let port = Port::of(rig, "admin");
        let down = port.planned("kubernetes.scale", json!({kind: "web", "replicas": 0})).await;
        let (saved, _) = port.apply(down.as_ref()).await;
        assert_eq!(replicas().await, Some(0), "{kind}");
        port.already_done(down.as_ref()).await;
        let up = port.planned("kubernetes.scale", json!({kind: "web", "replicas": 3})).await;
        let (risen, _) = port.apply(up.as_ref()).await;
        port.undo(up.as_ref(), &risen).await;
        assert_eq!(replicas().await, Some(0), "{kind}");
        port.undo(down.as_ref(), &saved).await;
        assert_eq!(replicas().await, Some(2), "{kind}");
    }
}

async fn a_number_that_somebody_changed_is_not_overwritten(rig: &Rig) {
    rig.workload("deployments", "web", &["a:1"]).await;
    let port = Port::of(rig, "admin");
    let action =
        port.planned("kubernetes.scale", json!({"deployment": "web", "replicas": 0})).await;
    let saved = port.needed(action.as_ref()).await;
    let path = rig.one("deployments", "web");
    rig.patch(&path, MERGE, json!({"spec": {"replicas": 5}})).await;
    let error = action.apply(&Port::cx(), &saved).await.expect_err("it was changed");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Conflict, true), "{error}");
    assert_eq!(rig.get(&path).await["spec"]["replicas"], 5);
    let (saved, _) = port.apply(action.as_ref()).await;
    rig.patch(&path, MERGE, json!({"spec": {"replicas": 4}})).await;
    let error = action.undo(&Port::cx(), &saved, None).await.expect_err("it was changed");
    assert!(error.message.contains("scaled to 4 since"), "{error}");
}

async fn a_restart_replaces_the_pods_once(rig: &Rig) {
    rig.workload("deployments", "web", &["a:1"]).await;
    let uids = async || {
        let pods = rig.list("pods").await;
        pods.iter().map(|pod| pod["metadata"]["uid"].to_string()).collect::<Vec<_>>()
    };
    let before = uids().await;
    let port = Port::of(rig, "admin");
    let action = port.planned("kubernetes.restart", json!({"deployment": "web"})).await;
    let saved = port.needed(action.as_ref()).await;
    let done = action.apply(&Port::cx(), &saved).await.expect("it restarts");
    rig.roll_out("deployments", "web").await;
    rig.wait("the old pods go", async || uids().await.iter().all(|pod| !before.contains(pod)))
        .await;
    // A run that was killed after the change has the note, and finds its own restart.
    let noted = json!({"restarted_at": done.facts["restarted_at"]});
    let later = Port::cx().recording(std::sync::Arc::new(Deaf), vec![noted]);
    let found = action.inspect(&later).await.expect("it can be looked at");
    assert!(matches!(found, rollback::action::Readiness::AlreadyDone { .. }), "{found:?}");
    // There is nothing to bring back, though the restart stays the newest.
    let seen = back::reverted(action, (saved, Some(done)), Port::cx).await;
    assert_eq!(seen, (Present::Unseen, Present::Unseen));
}

struct Deaf;

#[async_trait::async_trait]
impl rollback::action::Recorder for Deaf {
    async fn note(&self, note: serde_json::Value) -> Result<(), rollback::action::ActionError> {
        panic!("nothing is to be noted: {note}")
    }

    fn jot(&self, note: serde_json::Value) {
        panic!("nothing is to be noted: {note}")
    }
}

async fn a_paused_deployment_is_not_restarted(rig: &Rig) {
    rig.workload("deployments", "web", &["a:1"]).await;
    rig.patch(&rig.one("deployments", "web"), MERGE, json!({"spec": {"paused": true}})).await;
    let port = Port::of(rig, "admin");
    let action = port.planned("kubernetes.restart", json!({"deployment": "web"})).await;
    let error = action.inspect(&Port::cx()).await.expect_err("nothing would happen");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert!(error.hints[0].contains("kubernetes.resume"), "{error:?}");
}

async fn a_rollout_of_argo_is_aborted_and_undone(rig: &Rig) {
    rig.define_rollouts().await;
    let rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "b:1"}]}},
        },
    });
    let made = rig.create(&rig.all("rollouts"), rollout).await;
    // What Argo's controller would have made of two versions.
    for (number, image) in [(1, "a:1"), (2, "b:1")] {
        let labels = json!({"app": "web", "rollouts-pod-template-hash": format!("h{number}")});
        let set = json!({
            "metadata": {
                "name": format!("web-h{number}"), "labels": labels,
                "annotations": {"rollout.argoproj.io/revision": number.to_string()},
                "ownerReferences": [{
                    "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web",
                    "uid": made["metadata"]["uid"], "controller": true,
                }],
            },
            "spec": {
                "replicas": 0, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": image}]}},
            },
        });
        rig.create(&rig.all("replicasets"), set).await;
    }
    let path = rig.one("rollouts", "web");
    let status = json!({"status": {"phase": "Progressing", "observedGeneration": "1"}});
    rig.patch(&format!("{path}/status"), MERGE, status).await;

    let port = Port::of(rig, "admin");
    let abort = port.planned("kubernetes.abort", json!({"rollout": "web"})).await;
    let (saved, _) = port.apply(abort.as_ref()).await;
    assert_eq!(rig.get(&path).await["status"]["abort"], true);
    port.already_done(abort.as_ref()).await;
    let args = json!({"rollout": "web", "to": {"image": "a:1"}});
    let undo = port.planned("kubernetes.undo", args).await;
    port.apply(undo.as_ref()).await;
    let after = rig.get(&path).await;
    assert_eq!(super::rig::image(&after), "a:1");
    let labels = &after["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels, &json!({"app": "web"}), "the controller's own label stays out");
    port.undo(abort.as_ref(), &saved).await;
    assert_eq!(rig.get(&path).await["status"]["abort"], false);
}
