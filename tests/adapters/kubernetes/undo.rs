//! `kubernetes.undo`: on the double and on the real control plane, with the same assertions.

use rollback::action::{ErrorKind, Saved};
use serde_json::{Value, json};

use super::port::{Port, told};
use super::rig::{MERGE, OPERATIONS, Rig, image, revision};
use crate::support::server_variable;

scenarios! {
    a_paused_deployment_is_undone_and_set_going_in_one_change,
    the_template_comes_back_whole,
    a_revision_is_moved_once_whatever_became_of_the_answer,
    what_somebody_changed_in_between_is_not_overwritten,
    a_status_that_moves_does_not_matter,
    an_attempt_after_a_doubt_is_made_to_what_is_there_then,
    what_was_only_paused_is_paused_again,
    a_revision_is_chosen_by_number_or_by_image,
    a_deployment_without_a_history_is_told,
    a_stateful_set_and_a_daemon_set_go_back_to_a_controller_revision,
    what_was_changed_since_is_not_undone,
    a_dry_run_lets_the_server_judge_and_changes_nothing,
    what_an_account_may_not_do_is_named_before_anything_is_touched,
}

/// The images of the two revisions.
const OLD: &str = "legacy/agent:1.0.0";
const NEW: &str = "ollama/agent:2.0.0";

async fn deployment(rig: &Rig) -> Value {
    rig.workload("deployments", "web", &[OLD, NEW]).await
}

fn undo_web() -> Value {
    json!({"deployment": "web"})
}

async fn a_paused_deployment_is_undone_and_set_going_in_one_change(rig: &Rig) {
    let before = deployment(rig).await;
    let path = rig.one("deployments", "web");
    let marked = json!({"metadata": {"annotations": {"note": "kept"}}, "spec": {"paused": true}});
    let before_generation = before["metadata"]["generation"].as_u64().expect("a number");
    rig.patch(&path, MERGE, marked).await;
    rig.observed("deployments", "web").await;

    let port = Port::of(rig, "admin");
    let action = port.planned("kubernetes.undo", undo_web()).await;
    assert!(action.describe().apply.contains(OLD), "{:?}", action.describe());
    let (saved, _) = port.apply(action.as_ref()).await;
    let after = rig.get(&path).await;
    assert_eq!(image(&after), OLD);
    assert!(!after["spec"]["paused"].as_bool().unwrap_or(false), "{}", after["spec"]);
    assert_eq!(after["metadata"]["annotations"]["note"], "kept");
    // The pause was one change of the specification, and the undo with the resume is one more.
    assert_eq!(after["metadata"]["generation"], before_generation + 2);
    rig.roll_out("deployments", "web").await;
    assert_eq!(revision(&rig.get(&path).await), "3", "the revision that came back is the newest");
    port.already_done(action.as_ref()).await;

    port.undo(action.as_ref(), &saved).await;
    let back = rig.get(&path).await;
    assert_eq!((image(&back), &back["spec"]["paused"]), (NEW, &json!(true)));
}

async fn the_template_comes_back_whole(rig: &Rig) {
    rig.workload("deployments", "web", &[OLD]).await;
    let path = rig.one("deployments", "web");
    let add = json!([{"op": "add", "path": "/spec/template/spec/containers/0/env", "value": [{"name": "NEW", "value": "1"}]}]);
    rig.patch(&path, OPERATIONS, add).await;
    rig.roll_out("deployments", "web").await;
    let port = Port::of(rig, "admin");
    let action = port.planned("kubernetes.undo", undo_web()).await;
    port.apply(action.as_ref()).await;
    let after = rig.get(&path).await;
    let container = &after["spec"]["template"]["spec"]["containers"][0];
    assert!(container.get("env").is_none(), "what is new is gone: {container}");
}

async fn a_revision_is_moved_once_whatever_became_of_the_answer(rig: &Rig) {
    deployment(rig).await;
    let port = Port::of(rig, "admin");
    let item = port.item("kubernetes.undo", undo_web()).await.expect("it can be planned");
    let action = port.action("kubernetes.undo", &item);
    let saved = port.needed(action.as_ref()).await;
    let _lost = action.apply(&Port::cx(), &saved).await.expect("it is applied");
    rig.roll_out("deployments", "web").await;
    // Another process knows the item alone: the revision's number has changed meanwhile.
    let later = port.action("kubernetes.undo", &item);
    let told = port.already_done(later.as_ref()).await;
    assert!(told.contains(OLD), "{told}");
    assert_eq!(image(&rig.get(&rig.one("deployments", "web")).await), OLD);
}

async fn what_somebody_changed_in_between_is_not_overwritten(rig: &Rig) {
    deployment(rig).await;
    let port = Port::of(rig, "admin");
    let action = port.planned("kubernetes.undo", undo_web()).await;
    let saved = port.needed(action.as_ref()).await;
    rig.set_image("deployments", "web", "third/agent:3.0.0").await;
    let error = action.apply(&Port::cx(), &saved).await.expect_err("it was changed");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Conflict, true), "{error}");
    assert!(error.message.contains("changed by somebody else"), "{error}");
    assert_eq!(image(&rig.get(&rig.one("deployments", "web")).await), "third/agent:3.0.0");
    // The engine looks again, and then it is its own decision.
    port.apply(action.as_ref()).await;
    assert_eq!(image(&rig.get(&rig.one("deployments", "web")).await), OLD);
}

async fn a_status_that_moves_does_not_matter(rig: &Rig) {
    deployment(rig).await;
    let port = Port::of(rig, "admin");
    let action = port.planned("kubernetes.undo", undo_web()).await;
    let saved = port.needed(action.as_ref()).await;
    let path = format!("{}/status", rig.one("deployments", "web"));
    rig.patch(&path, MERGE, json!({"status": {"collisionCount": 1}})).await;
    action.apply(&Port::cx(), &saved).await.expect("the specification is the same");
}

async fn an_attempt_after_a_doubt_is_made_to_what_is_there_then(rig: &Rig) {
    deployment(rig).await;
    let port = Port::of(rig, "admin");
    let undo = port.planned("kubernetes.undo", undo_web()).await;
    let scale = port.planned("kubernetes.scale", json!({"deployment": "web", "replicas": 0})).await;
    let (undo_saved, scale_saved) =
        (port.needed(undo.as_ref()).await, port.needed(scale.as_ref()).await);
    // An autoscaler does not wait until the run is resumed.
    let path = rig.one("deployments", "web");
    rig.patch(&path, MERGE, json!({"spec": {"replicas": 5}})).await;
    let again = Port::cx().after_attempts(1);
    undo.apply(&again, &undo_saved).await.expect("it is made to what is there now");
    scale.apply(&again, &scale_saved).await.expect("it is made to what is there now");
    let after = rig.get(&path).await;
    assert_eq!((image(&after), &after["spec"]["replicas"]), (OLD, &json!(0)));
    scale.undo(&Port::cx(), &scale_saved, None).await.expect("what was there first");
    assert_eq!(rig.get(&path).await["spec"]["replicas"], 2);
}

async fn what_was_only_paused_is_paused_again(rig: &Rig) {
    rig.workload("deployments", "web", &[OLD]).await;
    let path = rig.one("deployments", "web");
    rig.patch(&path, MERGE, json!({"spec": {"paused": true}})).await;
    let port = Port::of(rig, "admin");
    let args = json!({"deployment": "web", "to": {"image": OLD}});
    let action = port.planned("kubernetes.undo", args).await;
    let (saved, _) = port.apply(action.as_ref()).await;
    assert!(!rig.get(&path).await["spec"]["paused"].as_bool().unwrap_or(false));
    port.undo(action.as_ref(), &saved).await;
    assert_eq!(rig.get(&path).await["spec"]["paused"], true);
}

async fn a_revision_is_chosen_by_number_or_by_image(rig: &Rig) {
    rig.workload("deployments", "web", &["a:1", "b:1", "c:1"]).await;
    let port = Port::of(rig, "admin");
    for (to, expected) in [
        (json!("previous"), "b:1"),
        (json!({"revision": 1}), "a:1"),
        (json!({"image": "a:1"}), "a:1"),
    ] {
        let args = json!({"deployment": "web", "to": to});
        let action = port.planned("kubernetes.undo", args).await;
        assert!(action.describe().apply.contains(expected), "{to}: {:?}", action.describe());
    }
    let args = json!({"deployment": "web", "to": {"image": "d:1"}});
    let error = port.item("kubernetes.undo", args).await.expect_err("there is none");
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.hints[0].contains("revision 2 (b:1)"), "{error:?}");
}

async fn a_deployment_without_a_history_is_told(rig: &Rig) {
    rig.workload("deployments", "web", &[OLD]).await;
    let port = Port::of(rig, "admin");
    let error = port.item("kubernetes.undo", undo_web()).await.expect_err("there is none");
    assert!(error.message.contains("a former revision"), "{error}");
    let error = port.item("kubernetes.undo", json!({"deployment": "none"})).await;
    let error = error.expect_err("there is none");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
}

async fn a_stateful_set_and_a_daemon_set_go_back_to_a_controller_revision(rig: &Rig) {
    for (plural, kind) in [("statefulsets", "statefulset"), ("daemonsets", "daemonset")] {
        rig.workload(plural, "db", &[OLD, NEW]).await;
        let port = Port::of(rig, "admin");
        let action = port.planned("kubernetes.undo", json!({kind: "db"})).await;
        let (saved, _) = port.apply(action.as_ref()).await;
        rig.roll_out(plural, "db").await;
        assert_eq!(image(&rig.get(&rig.one(plural, "db")).await), OLD, "{kind}");
        let complete = port.ask("kubernetes.wait", json!({kind: "db"})).await;
        assert!(told(complete.expect("it can be asked")).0, "{kind}");
        port.already_done(action.as_ref()).await;
        port.undo(action.as_ref(), &saved).await;
        assert_eq!(image(&rig.get(&rig.one(plural, "db")).await), NEW, "{kind}");
    }
}

async fn what_was_changed_since_is_not_undone(rig: &Rig) {
    deployment(rig).await;
    let port = Port::of(rig, "admin");
    let action = port.planned("kubernetes.undo", undo_web()).await;
    let (saved, _) = port.apply(action.as_ref()).await;
    rig.set_image("deployments", "web", "third/agent:3.0.0").await;
    let error = action.undo(&Port::cx(), &saved, None).await.expect_err("it was changed");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    let lost = Saved { private: None, ..saved };
    rig.set_image("deployments", "web", OLD).await;
    let error = action.undo(&Port::cx(), &lost, None).await.expect_err("nothing to bring back");
    assert!(error.message.contains("what was saved of it is gone"), "{error}");
}

async fn a_dry_run_lets_the_server_judge_and_changes_nothing(rig: &Rig) {
    let before = deployment(rig).await;
    let port = Port::of(rig, "admin");
    let action = port.planned("kubernetes.undo", undo_web()).await;
    let saved = port.needed(action.as_ref()).await;
    let tried = action.dry_run(&Port::cx(), &saved).await.expect("the server tries it");
    assert!(tried.expect("it can").summary.contains(OLD));
    let after = rig.get(&rig.one("deployments", "web")).await;
    assert_eq!(after["metadata"]["generation"], before["metadata"]["generation"]);
    assert_eq!(image(&after), NEW);
}

async fn what_an_account_may_not_do_is_named_before_anything_is_touched(rig: &Rig) {
    deployment(rig).await;
    rig.grant(
        "deployer",
        json!([{"apiGroups": ["apps"], "resources": ["deployments", "replicasets"], "verbs": ["get", "list"]}]),
    )
    .await;
    let port = Port::of(rig, "deployer");
    let error = port.item("kubernetes.undo", undo_web()).await.expect_err("it may not");
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(error.message.contains("may not patch deployments.apps"), "{error}");
    assert!(!error.message.contains("list"), "only what is missing: {error}");
    let error = port.item("kubernetes.scale", json!({"deployment": "web", "replicas": 0})).await;
    let error = error.expect_err("it may not");
    assert!(error.message.contains("patch deployments.apps/scale"), "{error}");
    assert!(error.hints[0].contains("--subresource=scale"), "{error:?}");
    rig.grant(
        "deployer",
        json!([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["patch"]}]),
    )
    .await;
    let action = port.planned("kubernetes.undo", undo_web()).await;
    port.apply(action.as_ref()).await;
}

/// Two namesakes but for their names: one is undone by us, the other by kubectl.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_is_what_kubectl_leaves_but_for_annotations() {
    let rig = Rig::real().await;
    let kubectl = server_variable(&["ROLLBACK_TEST_KUBECTL"]);
    let kinds = [
        ("deployments", "deployment"),
        ("statefulsets", "statefulset"),
        ("daemonsets", "daemonset"),
    ];
    for (plural, kind) in kinds {
        for name in ["ours", "theirs"] {
            rig.workload(plural, name, &[OLD]).await;
            let env = json!([{"op": "add", "path": "/spec/template/spec/containers/0/env", "value": [{"name": "NEW", "value": "1"}]}]);
            rig.patch(&rig.one(plural, name), OPERATIONS, env).await;
            rig.set_image(plural, name, NEW).await;
            rig.roll_out(plural, name).await;
            let later = json!({"metadata": {"annotations": {"later": "kept"}}});
            rig.patch(&rig.one(plural, name), MERGE, later).await;
        }
        let port = Port::of(&rig, "admin");
        let args = json!({kind: "ours", "to": {"revision": 1}});
        port.apply(port.planned("kubernetes.undo", args).await.as_ref()).await;
        let undone = std::process::Command::new(&kubectl)
            .args([
                "--context",
                "admin",
                "--namespace",
                &rig.namespace,
                "rollout",
                "undo",
                kind,
                "theirs",
            ])
            .arg("--to-revision=1")
            .env("KUBECONFIG", &rig.kubeconfig)
            .output()
            .expect("kubectl runs");
        assert!(undone.status.success(), "{undone:?}");
        let [ours, theirs] = ["ours", "theirs"].map(|name| rig.one(plural, name));
        let (ours, theirs) = (rig.get(&ours).await, rig.get(&theirs).await);
        let spec = |object: &Value, name: &str| object["spec"].to_string().replace(name, "web");
        assert_eq!(spec(&ours, "ours"), spec(&theirs, "theirs"), "{kind}");
        assert_eq!(ours["metadata"]["generation"], theirs["metadata"]["generation"], "{kind}");
        // kubectl puts the former revision's annotations into the place of a Deployment's.
        assert_eq!(ours["metadata"]["annotations"]["later"], "kept", "{kind}");
    }
}
