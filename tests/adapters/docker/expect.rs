//! Counts of containers.

use std::sync::Arc;

use rollback::action::{ErrorKind, Verdict};
use serde_json::json;

use super::rig::{NEW, OLD, Port, Project, Rig, until};

async fn observe(port: &Port, project: &Project, mut args: serde_json::Value) -> Verdict {
    args["project"] = project.name.clone().into();
    port.probe(args).await.observe(&port.cx()).await.unwrap()
}

async fn holds(port: &Port, project: &Project, args: serde_json::Value) -> bool {
    matches!(observe(port, project, args).await, Verdict::Holds { .. })
}

pub(super) async fn containers_are_counted_by_state(rig: &Rig) {
    let (port, project) = (rig.port(), rig.project().await);
    for number in 1..=3 {
        project.run("web", number, OLD).await;
    }
    project.run("api", 1, NEW).await;
    let stop = port.one("docker.stop", json!({"project": project.name, "services": ["api"]})).await;
    port.carry_out(stop.as_ref()).await;

    assert!(holds(&port, &project, json!({"count": 4, "running": 3, "stopped": 1})).await);
    assert!(!holds(&port, &project, json!({"count": 3})).await);
    assert!(holds(&port, &project, json!({"services": ["web"], "stopped": 0, "image": OLD})).await);
    assert!(!holds(&port, &project, json!({"image": OLD})).await);
    until("all three are healthy", async || {
        holds(&port, &project, json!({"services": ["web"], "healthy": {"at_least": 3}})).await
    })
    .await;
    match observe(&port, &project, json!({"healthy": {"at_least": 4}})).await {
        Verdict::NotYet { observed } => {
            assert!(observed.contains("not healthy: api-1"), "{observed}")
        }
        Verdict::Holds { evidence } => panic!("one is stopped: {}", evidence.summary),
    }
}

pub(super) async fn an_unhealthy_container_does_not_count(rig: &Rig) {
    let (port, project) = (rig.port(), rig.project().await);
    project.run("web", 1, OLD).await;
    project
        .run_with("web", 2, OLD, |body| {
            body.env = Some(vec!["AGENT_HEALTH=broken".to_owned()]);
            let labels = body.labels.as_mut().expect("a project's containers have labels");
            labels.insert("sandbox.behaviour".to_owned(), "never-healthy".to_owned());
        })
        .await;
    until("one is healthy", async || {
        holds(&port, &project, json!({"healthy": 1, "running": 2})).await
    })
    .await;
    assert!(!holds(&port, &project, json!({"healthy": 2})).await);
}

pub(super) async fn a_plan_s_own_effects_count(rig: &Rig) {
    let (port, project) = (rig.port(), rig.project().await);
    project.run("web", 1, OLD).await;
    let resource = format!("docker:{}/web-1", project.name);
    let predicting = port
        .cx()
        .predicting(Arc::new(move |asked| (asked == resource).then(|| json!({"running": false}))));
    let args = json!({"project": project.name, "running": 0});
    let verdict = port.probe(args).await.observe(&predicting).await.unwrap();
    assert!(matches!(verdict, Verdict::Holds { .. }), "{verdict:?}");
    assert!(!holds(&port, &project, json!({"running": 0})).await);
}

pub(super) async fn typing_mistakes_are_found_before_the_run(rig: &Rig) {
    let (port, project) = (rig.port(), rig.project().await);
    project.run("web", 1, OLD).await;
    for args in [
        json!({"project": project.name, "services": ["wep"], "running": 1}),
        json!({"project": project.name, "image": "rollback-test/agent:9.9.9"}),
        json!({"project": "rollback-test-nowhere", "running": 0}),
    ] {
        let error = port.items("docker.expect", args.clone()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{args}: {error}");
    }
}
