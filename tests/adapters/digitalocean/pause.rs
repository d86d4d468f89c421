//! Apps are archived and brought back: exactly those that are named, with everything in their specification.

use std::time::Duration;

use rollback::action::{ActionError, ErrorKind, Saved, Verdict};
use rollback::sandbox::digitalocean::{Fate, Phase};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::rig::{APPS, Rig};

const SPECIALISTS: [&str; 4] =
    ["odoo-developer-agent", "finance-ssc-expert", "bi-architect", "devops-engineer"];
const PAUSE: &str = "digitalocean.pause";
const RESUME: &str = "digitalocean.resume";

fn spec(rig: &Rig, name: &str) -> Value {
    rig.account.app(name).expect("the app is there").spec
}

/// The specification without what archiving adds.
fn without_maintenance(mut spec: Value) -> Value {
    spec.as_object_mut().expect("an object").remove("maintenance");
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_those_that_are_named_are_archived_and_brought_back() {
    let rig = Rig::new();
    let port = rig.port();
    let before: Vec<Value> = SPECIALISTS.iter().map(|name| spec(&rig, name)).collect();
    assert_eq!(port.list("digitalocean.apps", json!({})).await.len(), APPS);
    let items = port.items(PAUSE, json!({"apps": SPECIALISTS})).await.expect("all are there");
    let names: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, SPECIALISTS);
    let mut done = Vec::new();
    for item in &items {
        let action = port.action(PAUSE, item);
        let (saved, _) = port.apply(&*action).await;
        assert!(port.already_done(&*action).await.contains("is archived"));
        done.push((action, saved));
    }
    let archived = port.list("digitalocean.apps", json!({"archived": true})).await;
    assert_eq!(archived.len(), 4, "no app with a name like theirs: {archived:?}");
    for (name, before) in SPECIALISTS.iter().zip(&before) {
        let after = spec(&rig, name);
        assert_eq!(after["maintenance"], json!({"archive": true, "enabled": true}), "{name}");
        assert_eq!(&without_maintenance(after), before, "{name}");
        assert_eq!(rig.count(&format!("update app {name}")), 1);
    }
    for (action, saved) in &done {
        port.undo(&**action, saved).await;
    }
    for (name, before) in SPECIALISTS.iter().zip(&before) {
        assert_eq!(&spec(&rig, name), before, "{name}");
        let serves = rig.account.app(name).expect("the app is there").deployments[0].phase;
        assert_eq!(serves, Phase::Active);
    }
    assert_eq!(rig.total(), 8, "{:?}", rig.ledger.effects());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archived_app_is_resumed_and_archived_again_by_undo() {
    let rig = Rig::new();
    let port = rig.port();
    let before = spec(&rig, "bi-architect");
    assert!(before["x_future_feature"].is_object(), "a field that nobody knows");
    let pause = port.planned(PAUSE, json!({"app": "bi-architect"})).await;
    let _saved = port.apply(&*pause).await;
    let archived = spec(&rig, "bi-architect");
    let resume = port.planned(RESUME, json!({"app": "bi-architect"})).await;
    let (saved, _) = port.apply(&*resume).await;
    assert_eq!(spec(&rig, "bi-architect"), before);
    assert!(port.already_done(&*resume).await.contains("in service"));
    port.undo(&*resume, &saved).await;
    assert_eq!(spec(&rig, "bi-architect"), archived);
    assert_eq!(rig.count("update app bi-architect"), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_not_exactly_one_app_are_refused() {
    let rig = Rig::new();
    // Each plan makes its own list.
    let refused =
        async |args: Value| rig.port().items(PAUSE, args).await.expect_err("it is refused");
    let error = refused(json!({"app": "finance-ssc"})).await;
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.hints[0].contains("`finance-ssc-expert`"), "{error:?}");
    let error = refused(json!({"apps": ["bi-architect", "nowhere"]})).await;
    assert!(error.kind == ErrorKind::NotFound && error.hints.is_empty(), "{error:?}");
    rig.account.tamper("bi-architect", |app| app.spec["name"] = "devops-engineer".into());
    let error = refused(json!({"app": "devops-engineer"})).await;
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
    assert_eq!(rig.total(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_app_is_refused_before_anything_is_sent() {
    let rig = Rig::new();
    let port = rig.port();
    let pause = port.planned(PAUSE, json!({"app": "bi-architect"})).await;
    let saved = port.needed(&*pause).await;
    rig.account.tamper("bi-architect", |app| app.pinned.clone_from(&app.active));
    let planned = rig.port().items(PAUSE, json!({"app": "bi-architect"})).await;
    let planned = planned.expect_err("refused");
    let applied = pause.apply(&port.cx(), &saved).await.expect_err("refused");
    for error in [planned, port.refused(&*pause).await, applied] {
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert!(error.hints[0].contains("digitalocean.revert"), "{error:?}");
    }
    assert_eq!(rig.total(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_else_changed_is_not_overwritten() {
    let rig = Rig::new();
    let port = rig.port();
    let pause = port.planned(PAUSE, json!({"app": "bi-architect"})).await;
    let saved = port.needed(&*pause).await;
    rig.account.tamper("bi-architect", |app| app.spec["features"] = json!(["new"]));
    let error = pause.apply(&port.cx(), &saved).await.expect_err("it has changed");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Conflict, true), "{error:?}");
    assert_eq!(rig.total(), 0);
    let (saved, _) = port.apply(&*pause).await;
    rig.account.tamper("bi-architect", |app| app.spec["features"] = json!(["newer"]));
    let error = pause.undo(&port.cx(), &saved, None).await.expect_err("it has changed again");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
    assert_eq!(rig.count("update app bi-architect"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_fails_is_a_failure_and_one_that_is_slow_is_open() {
    let rig = Rig::new();
    let port = rig.port();
    rig.account.tamper("bi-architect", |app| app.fate = Fate::Error);
    let pause = port.planned(PAUSE, json!({"app": "bi-architect"})).await;
    let saved = port.needed(&*pause).await;
    let error = pause.apply(&port.cx(), &saved).await.expect_err("it fails");
    assert_eq!(error.kind, ErrorKind::Failed, "{error:?}");
    assert!(error.message.contains("ended with ERROR"), "{error:?}");
    rig.account.tamper("devops-engineer", |app| app.fate = Fate::Endless);
    let pause = port.planned(PAUSE, json!({"app": "devops-engineer"})).await;
    let saved = port.needed(&*pause).await;
    let soon = port.cx_until(Instant::now() + Duration::from_secs(6));
    let error = pause.apply(&soon, &saved).await.expect_err("it is not over");
    assert_eq!(error.kind, ErrorKind::Unknown, "{error:?}");
    assert!(error.message.contains("it is DEPLOYING"), "{error:?}");
    assert_eq!(rig.count("update app devops-engineer"), 1);
}

/// Whether what serves is archived.
fn serves_archived(rig: &Rig, name: &str) -> bool {
    let app = rig.account.app(name).expect("the app is there");
    let active = app.deployments.iter().find(|it| Some(&it.id) == app.active.as_ref());
    active.expect("something serves").spec["maintenance"]["archive"] == true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_failed_is_begun_once_more_by_the_next_attempt() {
    let rig = Rig::new();
    let port = rig.port();
    let before = spec(&rig, "bi-architect");
    let mut archived = false;
    for verb in [PAUSE, RESUME] {
        rig.account.tamper("bi-architect", |app| app.fate = Fate::Error);
        let action = port.planned(verb, json!({"app": "bi-architect"})).await;
        let saved = port.needed(&*action).await;
        let error = action.apply(&port.cx(), &saved).await.expect_err("it fails");
        assert_eq!(error.kind, ErrorKind::Failed, "{verb}: {error:?}");
        assert_eq!(serves_archived(&rig, "bi-architect"), archived, "{verb} did nothing");
        rig.account.tamper("bi-architect", |app| app.fate = Fate::Active);
        // The specification says what is wanted already. What serves is what undo goes back to.
        let (saved, _) = port.apply(&*action).await;
        assert_eq!(serves_archived(&rig, "bi-architect"), !archived, "{verb}");
        port.undo(&*action, &saved).await;
        assert_eq!(serves_archived(&rig, "bi-architect"), archived, "{verb} is taken back");
        let again = port.planned(verb, json!({"app": "bi-architect"})).await;
        let (_, _) = port.apply(&*again).await;
        archived = !archived;
    }
    assert_eq!(spec(&rig, "bi-architect"), before);
    assert_eq!(
        (rig.count("deploy app bi-architect"), rig.count("update app bi-architect")),
        (2, 6)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undo_whose_deployment_failed_is_not_done() {
    let rig = Rig::new();
    let port = rig.port();
    let before = spec(&rig, "bi-architect");
    let pause = port.planned(PAUSE, json!({"app": "bi-architect"})).await;
    let (saved, _) = port.apply(&*pause).await;
    rig.account.tamper("bi-architect", |app| app.fate = Fate::Error);
    for time in ["it is sent", "it is sent once more"] {
        let error = pause.undo(&port.cx(), &saved, None).await.expect_err(time);
        assert_eq!(error.kind, ErrorKind::Failed, "{time}: {error:?}");
        assert_eq!(spec(&rig, "bi-architect"), before, "the specification says nothing of it");
        assert!(serves_archived(&rig, "bi-architect"), "{time}, and the app is still offline");
    }
    rig.account.tamper("bi-architect", |app| app.fate = Fate::Active);
    port.undo(&*pause, &saved).await;
    assert!(!serves_archived(&rig, "bi-architect"));
    assert_eq!(
        (rig.count("deploy app bi-architect"), rig.count("update app bi-architect")),
        (2, 2)
    );
}

/// What a run that was killed somewhere after the request has on disk: the saved state, perhaps notes, and no outcome.
async fn taken_up(rig: &Rig, saved: &Saved) -> Result<(), ActionError> {
    let port = rig.port();
    let again = port.planned(PAUSE, json!({"app": "bi-architect"})).await;
    // Under way it is needed, and following it sends nothing; over, it is done.
    loop {
        match again.inspect(&port.cx()).await? {
            rollback::action::Readiness::AlreadyDone { .. } => return Ok(()),
            rollback::action::Readiness::Needed { .. } => {
                let evidence = again.apply(&port.cx(), saved).await?;
                let verdict = again.verify(&port.cx(), &evidence).await?;
                assert!(matches!(verdict, Verdict::Holds { .. }), "{verdict:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_killed_after_the_request_looks_first() {
    for fault in ["digitalocean:lost,times=1", "digitalocean:reset,times=1"] {
        let rig = Rig::direct();
        let port = rig.port();
        let before = spec(&rig, "bi-architect");
        let pause = port.planned(PAUSE, json!({"app": "bi-architect"})).await;
        let saved = port.needed(&*pause).await;
        // The look before the change is let through.
        rig.fault("digitalocean:latency=300ms,path=/v2/apps,times=1");
        let app = rig.account.app("bi-architect").expect("the app is there");
        let update = format!("{fault},path=/v2/apps/{}", app.id);
        let error = {
            let cx = port.cx();
            let applying = pause.apply(&cx, &saved);
            // The fault is for the PUT alone, which comes second.
            let arming = async {
                while !rig.faults.list().is_empty() {
                    tokio::task::yield_now().await;
                }
                rig.fault(&update);
            };
            let (applied, ()) = tokio::join!(applying, arming);
            applied.expect_err("its answer is lost")
        };
        assert_eq!((error.kind, error.retryable), (ErrorKind::Unknown, true), "{error:?}");
        taken_up(&rig, &saved).await.expect("it is taken up");
        assert_eq!(rig.count("update app bi-architect"), 1, "{fault}: it is sent once");
        pause.undo(&port.cx(), &saved, None).await.expect("it is undone");
        assert_eq!(spec(&rig, "bi-architect"), before);
    }
}
