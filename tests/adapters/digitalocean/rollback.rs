//! Apps go back to earlier deployments, are kept there or brought back; what has an effect each time is sent once.

use rollback::action::{Action, ErrorKind, Present, Readiness, Saved, Verdict};
use rollback::sandbox::digitalocean::{Fate, Phase};
use serde_json::{Value, json};

use super::rig::{Port, Rig};
use crate::support::back;

const APP: &str = "bi-architect";
const ROLLBACK: &str = "digitalocean.rollback";

/// The tag of what serves.
fn tag(rig: &Rig) -> String {
    let app = rig.account.app(APP).expect("the app is there");
    let active = app.deployments.iter().find(|it| Some(&it.id) == app.active.as_ref());
    let tag = &active.expect("something serves").spec["services"][0]["image"]["tag"];
    tag.as_str().expect("a tag").to_owned()
}

fn ids(rig: &Rig) -> Vec<String> {
    let app = rig.account.app(APP).expect("the app is there");
    app.deployments.iter().map(|deployment| deployment.id.clone()).collect()
}

async fn back(port: &Port, args: Value) -> Box<dyn Action> {
    let mut all = json!({ "app": APP });
    for (name, value) in args.as_object().expect("an object") {
        all[name] = value.clone();
    }
    port.planned(ROLLBACK, all).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn previous_is_decided_once_and_pinned_until_it_is_reverted() {
    let rig = Rig::new();
    let port = rig.port();
    let first = ids(&rig)[1].clone();
    let items = port.items(ROLLBACK, json!({"app": APP})).await.expect("it can be planned");
    assert_eq!(items[0].args.value()["deployment"], first.as_str());
    let action = port.action(ROLLBACK, &items[0]);
    let (saved, _) = port.apply(&*action).await;
    assert_eq!(tag(&rig), "1.0.0");
    assert!(rig.account.app(APP).expect("it is there").pinned.is_some());
    assert!(port.already_done(&*action).await.contains("pinned"));
    // Planned once more, it means the same deployment, and not the one before that.
    let again = port.items(ROLLBACK, json!({"app": APP})).await.expect("it can be planned");
    assert_eq!(again[0].args, items[0].args);
    port.undo(&*action, &saved).await;
    assert_eq!(tag(&rig), "2.0.0");
    assert_eq!(
        (rig.count("roll back app bi-architect"), rig.count("revert rollback of app bi-architect")),
        (1, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_validation_finds_is_heeded() {
    let rig = Rig::new();
    let port = rig.port();
    let condition =
        |code: &str| json!({"code": code, "message": "it says why", "components": ["agent"]});
    rig.account.tamper(APP, |app| {
        app.verdict = json!({"warnings": [condition("image_source_missing_digest")]});
    });
    let action = back(&port, json!({})).await;
    let error = port.refused(&*action).await;
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
    assert!(error.hints[0].contains("allow_missing_digest"), "{error:?}");
    let action = back(&port, json!({"allow_missing_digest": true})).await;
    let saved = port.needed(&*action).await;
    assert!(
        saved.found().expect("it is told").contains("image_source_missing_digest"),
        "{saved:?}"
    );
    rig.account.tamper(APP, |app| {
        app.verdict = json!({"warnings": [condition("static_site_requires_rebuild")]});
    });
    let action = back(&port, json!({})).await;
    assert!(port.needed(&*action).await.found().expect("it is told").contains("rebuild"));
    rig.account
        .tamper(APP, |app| app.verdict = json!({"error": condition("exceeded_revision_limit")}));
    let error = port.refused(&*action).await;
    assert!(error.message.contains("exceeded_revision_limit, it says why (agent)"), "{error:?}");
    let unknown =
        port.items(ROLLBACK, json!({"app": APP, "to": "nowhere"})).await.expect_err("none");
    assert_eq!(unknown.kind, ErrorKind::NotFound);
    rig.account.tamper(APP, |app| app.deployments.truncate(1));
    let first = port.items(ROLLBACK, json!({"app": APP})).await.expect_err("there is none before");
    assert_eq!(first.kind, ErrorKind::NotFound);
    assert_eq!(rig.total(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_pin_the_way_back_is_a_rollback_too() {
    let rig = Rig::new();
    let port = rig.port();
    let action = back(&port, json!({"pin": false})).await;
    let (saved, _) = port.apply(&*action).await;
    assert_eq!(
        (tag(&rig).as_str(), rig.account.app(APP).expect("it is there").pinned),
        ("1.0.0", None)
    );
    port.undo(&*action, &saved).await;
    assert_eq!(tag(&rig), "2.0.0");
    assert_eq!(rig.count("roll back app bi-architect"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_is_kept_or_taken_back() {
    let rig = Rig::new();
    let port = rig.port();
    let commit = port.planned("digitalocean.commit", json!({"app": APP})).await;
    assert!(port.already_done(&*commit).await.contains("pinned to no rollback"));
    let action = back(&port, json!({})).await;
    let (_, _) = port.apply(&*action).await;
    let revert = port.planned("digitalocean.revert", json!({"app": APP})).await;
    let (saved, _) = port.apply(&*revert).await;
    assert_eq!(tag(&rig), "2.0.0");
    port.undo(&*revert, &saved).await;
    assert_eq!(tag(&rig), "1.0.0");
    let action = back(&port, json!({})).await;
    let rolled = json!({"deployment": ids(&rig).last(), "spec": "that of before"});
    let _kept = port.apply(&*port.planned("digitalocean.commit", json!({"app": APP})).await).await;
    assert_eq!(
        (tag(&rig).as_str(), rig.account.app(APP).expect("it is there").pinned),
        ("1.0.0", None)
    );
    let error =
        action.undo(&port.cx(), &Saved::public(rolled), None).await.expect_err("it is committed");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
    let undone = commit.undo(&port.cx(), &Saved::default(), None).await.expect_err("never");
    assert_eq!(undone.kind, ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_another_rollback_has_pinned_is_refused() {
    let rig = Rig::new();
    let port = rig.port();
    let action = back(&port, json!({})).await;
    rig.account.tamper(APP, |app| app.pinned.clone_from(&app.active));
    assert_eq!(port.refused(&*action).await.kind, ErrorKind::Conflict);
    let deploy = port.planned("digitalocean.deploy", json!({"app": APP})).await;
    assert_eq!(port.refused(&*deploy).await.kind, ErrorKind::Conflict);
    assert_eq!(rig.total(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apps_are_restarted_and_deployed_anew() {
    let rig = Rig::new();
    let port = rig.port();
    let restart =
        port.planned("digitalocean.restart", json!({"app": APP, "components": ["agent"]})).await;
    let (saved, _) = port.apply(&*restart).await;
    assert!(port.already_done(&*restart).await.contains("ACTIVE"));
    port.undo(&*restart, &saved).await;
    assert_eq!((ids(&rig).len(), rig.count("restart app bi-architect")), (3, 1));
    let before = ids(&rig)[0].clone();
    let deploy =
        port.planned("digitalocean.deploy", json!({"app": APP, "force_build": true})).await;
    let (saved, _) = port.apply(&*deploy).await;
    port.undo(&*deploy, &saved).await;
    let app = rig.account.app(APP).expect("it is there");
    assert_eq!(app.deployments[0].cloned_from.as_ref(), Some(&before), "{:?}", app.deployments[0]);
    assert_eq!(
        (rig.count("deploy app bi-architect"), rig.count("roll back app bi-architect")),
        (1, 1)
    );
    let pause = port.planned("digitalocean.pause", json!({"app": APP})).await;
    let _saved = port.apply(&*pause).await;
    let restart = port.planned("digitalocean.restart", json!({"app": APP})).await;
    assert_eq!(port.refused(&*restart).await.kind, ErrorKind::Conflict);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_back_from_a_deployment_takes_no_image_that_may_be_another() {
    let rig = Rig::new();
    let port = rig.port();
    let deploy = port.planned("digitalocean.deploy", json!({"app": APP})).await;
    let (saved, _) = port.apply(&*deploy).await;
    rig.account.tamper(APP, |app| {
        let warning = json!({"code": "image_source_missing_digest", "message": "by tag alone"});
        app.verdict = json!({"warnings": [warning]});
    });
    let error = deploy.undo(&port.cx(), &saved, None).await.expect_err("it may be the same image");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
    assert!(error.hints[0].contains("digitalocean.rollback"), "{error:?}");
    assert_eq!(rig.count("roll back app bi-architect"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_failed_is_begun_anew_by_the_next_attempt() {
    for (verb, effect) in [
        ("digitalocean.deploy", "deploy app bi-architect"),
        ("digitalocean.restart", "restart app bi-architect"),
    ] {
        let rig = Rig::direct();
        let port = rig.port();
        rig.account.tamper(APP, |app| app.fate = Fate::Error);
        let action = port.planned(verb, json!({"app": APP})).await;
        let saved = port.needed(&*action).await;
        let error = action.apply(&port.cx(), &saved).await.expect_err("it fails");
        assert_eq!(error.kind, ErrorKind::Failed, "{verb}: {error:?}");
        rig.account.tamper(APP, |app| app.fate = Fate::Active);
        let id = rig.account.app(APP).expect("it is there").id;
        // What the failed attempt has noted does not hide what this one begins.
        rig.fault(&format!("digitalocean:lost,path=POST /v2/apps/{id}/,times=1"));
        let saved = port.needed(&*action).await;
        let error = action.apply(&port.cx(), &saved).await.expect_err("its answer is lost");
        assert_eq!(error.kind, ErrorKind::Unknown, "{verb}: {error:?}");
        if let Readiness::Needed { .. } = action.inspect(&port.cx()).await.expect("a look") {
            let _followed = action.apply(&port.cx(), &saved).await.expect("it is followed");
        }
        assert!(port.already_done(&*action).await.contains("ACTIVE"));
        assert_eq!(rig.count(effect), 2, "{verb}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_that_failed_says_how_the_app_gets_free() {
    let rig = Rig::new();
    let port = rig.port();
    rig.account.tamper(APP, |app| app.fate = Fate::Error);
    let action = back(&port, json!({})).await;
    let saved = port.needed(&*action).await;
    let error = action.apply(&port.cx(), &saved).await.expect_err("it fails");
    assert_eq!(error.kind, ErrorKind::Failed, "{error:?}");
    rig.account.tamper(APP, |app| app.fate = Fate::Active);
    let error = port.refused(&*action).await;
    assert!(error.message.ends_with("which ended with ERROR"), "{error:?}");
    assert!(error.hints[0].contains("`digitalocean.revert`"), "{error:?}");
    let revert = port.planned("digitalocean.revert", json!({"app": APP})).await;
    let (_, _) = port.apply(&*revert).await;
    let (_, _) = port.apply(&*action).await;
    assert_eq!(tag(&rig), "1.0.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_run_takes_restarts_and_deployments_back() {
    let rig = Rig::new();
    let port = rig.port();
    let restart = port.planned("digitalocean.restart", json!({"app": APP})).await;
    let (saved, applied) = port.apply(&*restart).await;
    let seen = back::reverted(restart, (saved, Some(applied)), || port.cx()).await;
    assert_eq!(seen, (Present::Unseen, Present::Unseen));
    assert_eq!((rig.count("restart app bi-architect"), rig.total()), (1, 1));

    for learnt in [true, false] {
        let before = ids(&rig)[0].clone();
        let deploy = port.planned("digitalocean.deploy", json!({"app": APP})).await;
        let (saved, applied) = port.apply(&*deploy).await;
        let seen = back::reverted(deploy, (saved, learnt.then_some(applied)), || port.cx()).await;
        assert_eq!(seen, (Present::AsLeft, Present::AsBefore), "{learnt}");
        let app = rig.account.app(APP).expect("it is there");
        assert_eq!(app.deployments[0].cloned_from.as_ref(), Some(&before), "{learnt}");
    }
    assert_eq!(rig.count("roll back app bi-architect"), 2);
}

/// Applies with the answer to the request at `path` lost, and takes it up as an engine does: it looks, and follows what it finds.
async fn lost(verb: &str, path: &str, effect: &str) {
    let rig = Rig::direct();
    let port = rig.port();
    let action = port.planned(verb, json!({"app": APP})).await;
    let saved = port.needed(&*action).await;
    let app = rig.account.app(APP).expect("it is there");
    rig.fault(&format!("digitalocean:lost,path=POST /v2/apps/{}/{path},times=1", app.id));
    let error = action.apply(&port.cx(), &saved).await.expect_err("its answer is lost");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Unknown, false), "{verb}: {error:?}");
    if let Readiness::Needed { .. } = action.inspect(&port.cx()).await.expect("it can be looked at")
    {
        let evidence = action.apply(&port.cx(), &saved).await.expect("it is followed");
        let verdict = action.verify(&port.cx(), &evidence).await.expect("it can be asked");
        assert!(matches!(verdict, Verdict::Holds { .. }), "{verb}: {verdict:?}");
    }
    let _done = port.already_done(&*action).await;
    assert_eq!((rig.count(effect), rig.total()), (1, 1), "{verb} is sent once");
    let newest = rig.account.app(APP).expect("it is there").deployments[0].phase;
    assert_eq!(newest, Phase::Active);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_an_effect_each_time_is_sent_once_though_its_answer_is_lost() {
    lost(ROLLBACK, "rollback", "roll back app bi-architect").await;
    lost("digitalocean.restart", "restart", "restart app bi-architect").await;
    lost("digitalocean.deploy", "deployments", "deploy app bi-architect").await;
}

/// The request of a killed attempt is under way while the next one looks, and arrives before that one's own. Here two attempts are made
/// at once, and the first request of either is held up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_attempt_had_sent_may_arrive_late() {
    for held_up in ["rollback", "rollback/validate"] {
        let rig = Rig::new();
        let port = rig.port();
        let action = back(&port, json!({})).await;
        let saved = port.needed(&*action).await;
        let id = rig.account.app(APP).expect("the app is there").id;
        rig.fault(&format!("digitalocean:latency=1s,path=POST /v2/apps/{id}/{held_up},times=1"));
        let attempt = async || {
            let cx = port.cx().after_attempts(1);
            if held_up == "rollback/validate" {
                let found = action.inspect(&cx).await?;
                if matches!(found, Readiness::AlreadyDone { .. }) {
                    return Ok(());
                }
            }
            action.apply(&cx, &saved).await.map(drop)
        };
        let (one, other) = tokio::join!(attempt(), attempt());
        assert!(one.is_ok() && other.is_ok(), "{held_up}: {one:?}, {other:?}");
        assert_eq!(rig.count("roll back app bi-architect"), 1, "{held_up}");
    }
}
