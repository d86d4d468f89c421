//! Another image, and back.

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, HealthConfig, HealthStatusEnum, RestartPolicy,
    RestartPolicyNameEnum,
};
use rollback::action::ErrorKind;
use serde_json::json;

use super::proxy::Proxy;
use super::rig::{BROKEN, NEW, OLD, Rig, is_running};

/// The requests of a swap until the old container is stopped: looks three times, at the image, creates, looks again, stops.
const UNTIL_STOPPED: usize = 7;

fn env(found: &ContainerInspectResponse) -> Vec<String> {
    let mut env = found.config.clone().and_then(|config| config.env).unwrap_or_default();
    env.retain(|entry| entry.starts_with("AGENT_") || entry.starts_with("TOKEN"));
    env.sort();
    env
}

fn volume(found: &ContainerInspectResponse) -> Option<String> {
    let mounts = found.mounts.clone().unwrap_or_default();
    mounts.into_iter().find(|mount| mount.destination.as_deref() == Some("/data"))?.name
}

fn aliases(found: &ContainerInspectResponse, network: &str) -> Vec<String> {
    let networks = found.network_settings.clone().and_then(|settings| settings.networks);
    let id = found.id.clone().unwrap_or_default();
    let aliases = networks.and_then(|mut networks| networks.remove(network)?.aliases);
    let mut aliases = aliases.unwrap_or_default();
    aliases.retain(|alias| !id.starts_with(alias.as_str()));
    aliases
}

/// Restarted by the engine unless stopped, with an anonymous volume, and more patient than its image.
fn always_with_data(body: &mut ContainerCreateBody) {
    body.volumes = Some(vec!["/data".to_owned()]);
    body.healthcheck = Some(HealthConfig { retries: Some(9), ..HealthConfig::default() });
    if let Some(host) = body.host_config.as_mut() {
        host.restart_policy = Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::ALWAYS),
            maximum_retry_count: Some(0),
        });
    }
}

/// When the engine restarts a container by itself.
pub(super) fn policy(found: &ContainerInspectResponse) -> Option<RestartPolicyNameEnum> {
    found.host_config.clone()?.restart_policy?.name
}

pub(super) async fn a_container_goes_back_to_the_old_image_and_forward_again(rig: &Rig) {
    let (port, project) = (rig.port(), rig.project().await);
    project.run_with("web", 1, NEW, always_with_data).await;
    let first = project.look("web-1").await.unwrap();
    assert!(env(&first).contains(&"AGENT_FEATURES=new".to_owned()));
    let args = json!({"project": project.name, "image": OLD, "grace": "5s"});
    let back = port.one("docker.swap", args).await;
    let saved = port.carry_out(back.as_ref()).await;
    port.already_done(back.as_ref()).await;

    let second = project.look("web-1").await.unwrap();
    let health = second.state.clone().and_then(|state| state.health?.status);
    assert_eq!(health, Some(HealthStatusEnum::HEALTHY), "it was waited for");
    assert_eq!(
        env(&second),
        ["AGENT_LEGACY=yes", "AGENT_MODEL=small", "AGENT_VERSION=1.0.0", "TOKEN=of-the-creator"]
    );
    let check = |found: &ContainerInspectResponse| found.config.clone()?.healthcheck;
    let (former, check) = (check(&first).unwrap(), check(&second).unwrap());
    assert_ne!(former.interval, check.interval, "the health check is the image's own");
    assert_eq!((former.retries, check.retries), (Some(9), Some(9)), "but for the creator's part");
    assert!(volume(&first).is_some());
    assert_eq!(volume(&second), volume(&first), "the data goes along");
    assert_eq!(aliases(&second, &project.network), aliases(&first, &project.network));
    assert_eq!(policy(&second), Some(RestartPolicyNameEnum::ALWAYS));
    let labels = second.config.clone().and_then(|config| config.labels).unwrap();
    assert_eq!(Some(&labels["com.docker.compose.image"]), second.image.as_ref());
    let parked = project.all().await.into_iter().find(|(_, id, _)| Some(id) == first.id.as_ref());
    let (parked, _, running) = parked.expect("the old container is still there");
    assert!(parked.contains(".rollback-old-") && !running, "{parked}");

    // Forward again, to what is recorded as having run before, and both changes back.
    let port = rig.port();
    let forward =
        port.one("docker.swap", json!({"project": project.name, "image": "recorded"})).await;
    let forward_saved = port.carry_out(forward.as_ref()).await;
    let third = project.look("web-1").await.unwrap();
    assert_eq!(third.image, first.image);
    assert_eq!(env(&third), env(&first));
    for _ in 0..2 {
        forward.undo(&port.cx(), &forward_saved, None).await.unwrap();
        assert_eq!(project.look("web-1").await.unwrap().id, second.id);
    }
    for _ in 0..2 {
        back.undo(&port.cx(), &saved, None).await.unwrap();
        let found = project.look("web-1").await.unwrap();
        assert_eq!((&found.id, policy(&found)), (&first.id, policy(&first)));
        assert!(is_running(Some(found)));
    }
    assert_eq!(project.all().await.len(), 1, "nothing else is left");
}

pub(super) async fn a_broken_image_brings_the_old_container_back(rig: &Rig) {
    let (port, project) = (rig.port(), rig.project().await);
    project.run("web", 1, NEW).await;
    let before = project.all().await;
    let action = port.one("docker.swap", json!({"project": project.name, "image": BROKEN})).await;
    let saved = port.needed(action.as_ref()).await;
    let error = action.apply(&port.cx(), &saved).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Failed, "{error}");
    assert!(error.message.contains("exit code") && error.message.contains("runs again"), "{error}");
    assert!(!error.retryable);
    assert_eq!(project.all().await, before, "the same container, and no other");
    action.undo(&port.cx(), &saved, None).await.unwrap();
    assert_eq!(project.all().await, before);
}

pub(super) async fn a_stop_that_is_said_to_have_failed_leaves_the_old_container_running(rig: &Rig) {
    let (port, project) = (rig.port(), rig.project().await);
    project.run("web", 1, NEW).await;
    let before = project.all().await;
    let args = json!({"project": project.name, "image": OLD, "grace": "5s"});
    let item = port.items("docker.swap", args).await.unwrap().remove(0);
    let saved = port.needed(port.action("docker.swap", &item).as_ref()).await;
    let proxy = Proxy::lying(&rig.host, UNTIL_STOPPED).await;
    let port = port.through(&proxy.host);
    let error = port.action("docker.swap", &item).apply(&port.cx(), &saved).await.unwrap_err();
    assert!(error.retryable && error.message.contains("the exit event was lost"), "{error}");
    assert_eq!(project.all().await, before, "the same container runs, and no other is left");
}

pub(super) async fn a_missing_image_touches_nothing(rig: &Rig) {
    let (port, project) = (rig.port(), rig.project().await);
    project.run("web", 1, NEW).await;
    let before = project.all().await;
    for image in [json!("rollback-test/agent:9.9.9"), json!("recorded")] {
        let args = json!({"project": project.name, "image": image});
        let error = port.items("docker.swap", args).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
        assert!(!error.hints.is_empty(), "{error}");
    }
    assert_eq!(project.all().await, before);
}

pub(super) async fn the_wanted_image_is_a_success_and_a_stopped_container_stays_stopped(rig: &Rig) {
    let (port, project) = (rig.port(), rig.project().await);
    project.run("web", 1, NEW).await;
    let same = port.one("docker.swap", json!({"project": project.name, "image": NEW})).await;
    port.already_done(same.as_ref()).await;

    let stop = port.one("docker.stop", json!({"project": project.name})).await;
    port.carry_out(stop.as_ref()).await;
    let swap = port.one("docker.swap", json!({"project": project.name, "image": OLD})).await;
    let saved = port.carry_out(swap.as_ref()).await;
    let swapped = project.look("web-1").await.unwrap();
    assert!(env(&swapped).contains(&"AGENT_VERSION=1.0.0".to_owned()));
    assert!(!is_running(Some(swapped)));
    swap.undo(&port.cx(), &saved, None).await.unwrap();
    assert!(project.running().await.is_empty());
    assert_eq!(project.all().await.len(), 1);
}

pub(super) async fn a_swap_that_another_run_left_half_done_is_not_guessed_at(rig: &Rig) {
    let (port, project) = (rig.port(), rig.project().await);
    project.run("web", 1, NEW).await;
    let args = json!({"project": project.name, "image": OLD, "grace": "5s"});
    let item = port.items("docker.swap", args).await.unwrap().remove(0);
    let saved = port.needed(port.action("docker.swap", &item).as_ref()).await;
    let proxy = Proxy::start(&rig.host, UNTIL_STOPPED).await;
    let mortal = port.through(&proxy.host);
    mortal.action("docker.swap", &item).apply(&mortal.cx(), &saved).await.unwrap_err();
    assert!(project.running().await.is_empty(), "it died between stop and start");

    let other = rig.port();
    let error = other.action("docker.swap", &item).inspect(&other.cx()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert!(error.hints[1].contains("rm -f"), "{:?}", error.hints);
}
