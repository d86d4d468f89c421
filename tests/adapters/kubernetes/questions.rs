//! `kubernetes.expect`, `kubernetes.wait` and whether the cluster can be reached: on the double and on the real control plane.

use rollback::action::ErrorKind;
use rollback::secret::Secrets;
use serde_json::{Value, json};

use super::port::{Port, told};
use super::rig::{MERGE, Rig};

scenarios! {
    everything_that_is_expected_has_to_hold,
    a_rollout_is_complete_when_its_last_pod_is_ready,
    what_will_never_come_is_not_waited_for,
    a_cluster_is_reached_with_its_namespace,
    a_server_is_reached_by_its_address_and_a_token,
}

async fn expect(port: &Port, more: Value) -> (bool, String) {
    let mut args = json!({"deployment": "web"});
    for (key, value) in more.as_object().expect("a mapping") {
        args[key] = value.clone();
    }
    told(port.ask("kubernetes.expect", args).await.expect("it can be asked"))
}

async fn everything_that_is_expected_has_to_hold(rig: &Rig) {
    rig.workload("deployments", "web", &["a:1"]).await;
    let port = Port::of(rig, "admin");
    let good = json!({"paused": false, "replicas": 2, "ready": {"at_least": 2}, "image": "a:1", "rolled_out": true});
    let (holds, seen) = expect(&port, good).await;
    assert!(holds, "{seen}");
    for (wrong, told) in [
        (json!({"paused": true}), "not paused"),
        (json!({"replicas": 3}), "2 replicas wanted (expected 3)"),
        (json!({"ready": {"at_most": 1}}), "2 pods ready (expected at most 1)"),
        (json!({"image": "b:1"}), "image a:1"),
        (json!({"rolled_out": false}), "2 of 2 pods"),
    ] {
        let (holds, seen) = expect(&port, wrong.clone()).await;
        assert!(!holds && seen.contains(told), "{wrong}: {seen}");
    }
}

async fn a_rollout_is_complete_when_its_last_pod_is_ready(rig: &Rig) {
    rig.workload("deployments", "web", &["a:1"]).await;
    rig.set_image("deployments", "web", "b:1").await;
    let port = Port::of(rig, "admin");
    let wait = async || port.ask("kubernetes.wait", json!({"deployment": "web"})).await;
    // Right after the change, whatever the former status says.
    assert!(!told(wait().await.expect("it goes on")).0);
    rig.observed("deployments", "web").await;
    let (complete, seen) = told(wait().await.expect("it goes on"));
    assert!(!complete && seen.contains("pods updated"), "{seen}");
    rig.roll_out("deployments", "web").await;
    assert!(told(wait().await.expect("it has ended")).0);
}

async fn what_will_never_come_is_not_waited_for(rig: &Rig) {
    rig.workload("deployments", "web", &["a:1"]).await;
    rig.patch(&rig.one("deployments", "web"), MERGE, json!({"spec": {"paused": true}})).await;
    rig.set_image("deployments", "web", "b:1").await;
    rig.observed("deployments", "web").await;
    let port = Port::of(rig, "admin");
    let error = port.ask("kubernetes.wait", json!({"deployment": "web"})).await;
    let error = error.expect_err("it never ends");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Conflict, false));
    assert!(error.message.contains("it is paused"), "{error}");
}

async fn a_cluster_is_reached_with_its_namespace(rig: &Rig) {
    let line = Port::of(rig, "admin").reach().await.expect("it answers");
    assert!(line.starts_with("kubernetes v") && line.ends_with(&rig.namespace), "{line}");
    // Who may not look at namespaces may still work in one.
    let _line = Port::of(rig, "nobody").reach().await.expect("it answers");
    let elsewhere =
        json!({"kubeconfig": rig.kubeconfig, "context": "admin", "namespace": "no-such-namespace"});
    let error = Port::with(elsewhere, Secrets::default()).reach().await.expect_err("there is none");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
}

async fn a_server_is_reached_by_its_address_and_a_token(rig: &Rig) {
    let port = |token: &str| {
        let mut secrets = Secrets::default();
        let marker = secrets.insert("token", token.to_owned().into());
        let settings = json!({
            "server": rig.url, "token": marker, "namespace": rig.namespace, "ca_file": rig.ca_file,
        });
        Port::with(settings, secrets)
    };
    let _line = port(rig.token("admin")).reach().await.expect("it answers");
    let wrong = "not-a-token-of-anybody";
    let error = port(wrong).reach().await.expect_err("it is not known");
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert!(!format!("{error:?}").contains(wrong), "{error:?}");
}
