//! More and fewer containers.

use rollback::action::ErrorKind;
use serde_json::json;

use super::rig::{NEW, Rig};

pub(super) async fn surplus_containers_are_parked_and_come_back(rig: &Rig) {
    let (port, project) = (rig.port(), rig.project().await);
    for number in 1..=3 {
        project.run("web", number, NEW).await;
    }
    project.run("api", 1, NEW).await;
    let before = project.all().await;
    let args = json!({"project": project.name, "services": {"web": 1}, "grace": "5s"});
    let action = port.one("docker.scale", args.clone()).await;
    let saved = port.carry_out(action.as_ref()).await;
    assert_eq!(project.running().await, ["api-1", "web-1"]);
    assert_eq!(project.all().await.len(), 4, "nothing was removed");
    port.already_done(action.as_ref()).await;

    let count = json!({"project": project.name, "services": ["web"], "count": 1});
    let verdict = port.probe(count).await.observe(&port.cx()).await.unwrap();
    assert!(matches!(verdict, rollback::action::Verdict::Holds { .. }), "{verdict:?}");
    for _ in 0..2 {
        action.undo(&port.cx(), &saved, None).await.unwrap();
        assert_eq!(project.all().await, before);
    }
}

pub(super) async fn parked_containers_serve_again_before_new_ones_are_made(rig: &Rig) {
    let (port, project) = (rig.port(), rig.project().await);
    for number in 1..=2 {
        project.run("web", number, NEW).await;
    }
    let before = project.all().await;
    let down = json!({"project": project.name, "services": ["web"], "to": 0});
    port.carry_out(port.one("docker.scale", down.clone()).await.as_ref()).await;
    assert!(project.running().await.is_empty());
    let services = port.list("docker.services", json!({"project": project.name})).await.unwrap();
    assert_eq!(services, [json!("web")], "a service that is parked is still one");

    let port = rig.port();
    let up = json!({"project": project.name, "services": ["web"], "to": 3});
    let action = port.one("docker.scale", up).await;
    let saved = port.carry_out(action.as_ref()).await;
    assert_eq!(project.running().await, ["web-1", "web-2", "web-3"]);
    let after = project.all().await;
    assert_eq!(after[..2], before, "the same containers as before");
    let made = project.look("web-3").await.and_then(|found| found.config).unwrap();
    let labels = made.labels.unwrap();
    assert_eq!(labels["com.docker.compose.container-number"], "3");
    assert!(made.env.unwrap().contains(&"TOKEN=of-the-creator".to_owned()));

    for _ in 0..2 {
        action.undo(&port.cx(), &saved, None).await.unwrap();
        assert!(project.running().await.is_empty());
        assert_eq!(
            project.all().await.len(),
            2,
            "what was made is gone, what was parked is parked"
        );
    }
}

pub(super) async fn undo_leaves_alone_what_others_made(rig: &Rig) {
    let (port, project) = (rig.port(), rig.project().await);
    project.run("web", 1, NEW).await;
    let args = json!({"project": project.name, "services": {"web": 2}});
    let action = port.one("docker.scale", args).await;
    let saved = port.carry_out(action.as_ref()).await;
    project.remove(&project.full("web-2")).await;
    project.run("web", 2, NEW).await;
    let error = action.undo(&port.cx(), &saved, None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert_eq!(project.running().await, ["web-1", "web-2"]);
}
