//! Selection, stop and start.

use std::time::Duration;

use rollback::action::{ErrorKind, Repeat};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::rig::{NEW, Rig, STUBBORN};

pub(super) async fn a_project_is_stopped_and_comes_back(rig: &Rig) {
    let (port, project) = (rig.port(), rig.project().await);
    for (service, number) in [("web", 1), ("web", 2), ("api", 1)] {
        project.run(service, number, NEW).await;
    }
    let before = project.all().await;
    let args = json!({"project": project.name, "grace": "5s"});
    let items = port.items("docker.stop", args).await.unwrap();
    let names: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, ["api-1", "web-1", "web-2"]);

    let mut done = Vec::new();
    for item in &items {
        let action = port.action("docker.stop", item);
        assert_eq!(action.repeat(), Repeat::AfterInspect);
        let saved = port.carry_out(action.as_ref()).await;
        port.already_done(action.as_ref()).await;
        done.push((action, saved));
    }
    assert!(project.running().await.is_empty());
    for _ in 0..2 {
        for (action, saved) in &done {
            action.undo(&port.cx(), saved, None).await.unwrap();
        }
        assert_eq!(project.all().await, before, "undo, and a second one, bring everything back");
    }
}

pub(super) async fn only_the_named_services_of_the_very_project_are_touched(rig: &Rig) {
    let port = rig.port();
    let (project, other) = (rig.project().await, rig.project().await);
    project.run("web", 1, NEW).await;
    project.run("web-staging", 1, NEW).await;
    other.run("web", 1, NEW).await;
    let oneoff = |body: &mut bollard::models::ContainerCreateBody| {
        let labels = body.labels.as_mut().expect("a project's containers have labels");
        labels.insert("com.docker.compose.oneoff".to_owned(), "True".to_owned());
    };
    project.run_with("web", 9, NEW, oneoff).await;

    let services = port.list("docker.services", json!({"project": project.name})).await.unwrap();
    assert_eq!(services, [json!("web"), json!("web-staging")]);
    let args = json!({"project": project.name, "services": ["web"]});
    let action = port.one("docker.stop", args).await;
    port.carry_out(action.as_ref()).await;
    assert_eq!(project.running().await, ["web-9", "web-staging-1"]);
    assert_eq!(other.running().await, ["web-1"]);
}

pub(super) async fn what_does_not_exist_is_named(rig: &Rig) {
    let (port, project) = (rig.port(), rig.project().await);
    project.run("agent-001", 1, NEW).await;
    let args = json!({"project": project.name, "services": ["agent-001", "agent-0001"]});
    let error = port.items("docker.stop", args).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.message.contains("service `agent-0001`"), "{error}");
    assert_eq!(error.hints, ["Did you mean `agent-001` for `agent-0001`?"]);

    let nearly = format!("{}x", project.name);
    let error = port.items("docker.start", json!({"project": nearly})).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert_eq!(error.hints, [format!("Did you mean `{}`?", project.name)]);
    assert_eq!(project.running().await, ["agent-001-1"]);
}

pub(super) async fn a_stubborn_container_is_killed_after_its_grace(rig: &Rig) {
    let (port, project) = (rig.port(), rig.project().await);
    project.run("web", 1, STUBBORN).await;
    let args = json!({"project": project.name, "grace": "1s"});
    let action = port.one("docker.stop", args).await;
    port.carry_out(action.as_ref()).await;
    let state = project.look("web-1").await.and_then(|found| found.state).unwrap();
    assert_eq!((state.running, state.exit_code), (Some(false), Some(137)));
}

pub(super) async fn stopped_containers_are_started_and_stopped_again(rig: &Rig) {
    let (port, project) = (rig.port(), rig.project().await);
    project.run("web", 1, NEW).await;
    let args = json!({"project": project.name});
    let start = port.one("docker.start", args.clone()).await;
    port.already_done(start.as_ref()).await;
    let stop = port.one("docker.stop", args).await;
    port.carry_out(stop.as_ref()).await;

    let saved = port.carry_out(start.as_ref()).await;
    assert_eq!(project.running().await, ["web-1"]);
    for _ in 0..2 {
        start.undo(&port.cx(), &saved, None).await.unwrap();
        assert!(project.running().await.is_empty());
    }
}

pub(super) async fn undo_refuses_a_container_that_was_replaced(rig: &Rig) {
    let (port, project) = (rig.port(), rig.project().await);
    project.run("web", 1, NEW).await;
    let action = port.one("docker.stop", json!({"project": project.name})).await;
    let saved = port.carry_out(action.as_ref()).await;
    project.remove(&project.full("web-1")).await;
    let error = action.undo(&port.cx(), &saved, None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    port.already_done(action.as_ref()).await;

    let other = project.run("web", 1, NEW).await;
    let error = action.undo(&port.cx(), &saved, None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert!(error.message.contains(&other[..12]), "{error}");
}

pub(super) async fn a_stop_that_is_cut_off_is_unknown_and_later_found_done(rig: &Rig) {
    let (port, project) = (rig.port(), rig.project().await);
    project.run("web", 1, STUBBORN).await;
    let args = json!({"project": project.name, "grace": "3s"});
    let action = port.one("docker.stop", args).await;
    let saved = port.needed(action.as_ref()).await;
    let soon = Instant::now() + Duration::from_secs(1);
    let cx = port.cx_until(soon, CancellationToken::new());
    let error = action.apply(&cx, &saved).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unknown, "{error}");

    // The engine goes on without its caller.
    project.stopped("web-1").await;
    port.already_done(action.as_ref()).await;
    action.undo(&port.cx(), &saved, None).await.unwrap();
    assert_eq!(project.running().await, ["web-1"]);
}

pub(super) async fn the_engine_says_who_it_is(rig: &Rig) {
    let line = rig.port().reach().await.unwrap();
    assert!(line.starts_with("docker "), "{line}");
    assert!(line.contains("(API 1.") && line.ends_with(&format!("at {}", rig.host)), "{line}");
}
