//! What apps are is told as it is.

use serde_json::{Value, json};

use super::rig::{Rig, told};

async fn ask(rig: &Rig, wanted: Value) -> (bool, String) {
    let mut args = json!({"app": "bi-architect"});
    for (name, value) in wanted.as_object().expect("an object") {
        args[name] = value.clone();
    }
    told(rig.port().ask("digitalocean.expect", args).await.expect("it can be asked"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_is_asked_for_its_phase_its_version_and_what_holds_it() {
    let rig = Rig::new();
    let app = rig.account.app("bi-architect").expect("it is there");
    let active = app.active.expect("it serves");
    let first = app.deployments[1].id.clone();
    let tag = "/services/0/image/tag";
    for (wanted, holds) in [
        (json!({"phase": "ACTIVE", "archived": false, "pinned": false}), true),
        (
            json!({"deployment": active, "spec": {tag: "2.0.0", "/services/0/instance_count": 1}}),
            true,
        ),
        (json!({"archived": true}), false),
        (json!({"pinned": true}), false),
        (json!({"deployment": first}), false),
        (json!({"spec": {tag: "1.0.0"}}), false),
        (json!({"spec": {"/nothing": null}}), false),
    ] {
        let (so, seen) = ask(&rig, wanted.clone()).await;
        assert_eq!(so, holds, "{wanted}: {seen}");
    }
    let port = rig.port();
    let back = port.planned("digitalocean.rollback", json!({"app": "bi-architect"})).await;
    let _saved = port.apply(&*back).await;
    let wanted = json!({"deployment": first, "pinned": true, "spec": {tag: "1.0.0"}});
    assert!(ask(&rig, wanted).await.0);
    let revert = port.planned("digitalocean.revert", json!({"app": "bi-architect"})).await;
    let _saved = port.apply(&*revert).await;
    let pause = port.planned("digitalocean.pause", json!({"app": "bi-architect"})).await;
    let _saved = port.apply(&*pause).await;
    assert!(ask(&rig, json!({"phase": "ACTIVE", "archived": true})).await.0);
    assert_eq!(ask(&rig, json!({"archived": false})).await.1, "app bi-architect: it is archived");
}
