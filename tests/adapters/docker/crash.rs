//! The program dies at any request: what it left is finished, or undone, by another that knows item, saved state and notes.
//!
//! A proxy lets so many requests pass and then none. An answer that is lost leaves the engine as the next point does.

use bollard::models::{
    ContainerCreateBody, HealthConfig, RestartPolicy, RestartPolicyNameEnum as Restart,
};
use futures_util::future::join_all;
use rollback::action::Readiness;
use serde_json::{Value, json};

use super::proxy::Proxy;
use super::rig::{NEW, OLD, Project, Rig};
use super::swap::policy;

/// More requests than any of these changes makes.
const REQUESTS: usize = 60;

/// How many points are tried at once.
const AT_ONCE: usize = 3;

/// What happens after the death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// The change is finished.
    Forward,
    /// The half-made change is undone.
    Back,
    /// The change was made, its undo died, and is made again.
    Undone,
}

/// A change that may die.
struct Change {
    /// How many containers of the service run beforehand.
    before: u64,
    verb: &'static str,
    args: Value,
    /// Which containers run after the change.
    running: &'static [&'static str],
}

pub(super) async fn a_swap_may_die_at_any_request(rig: &Rig) {
    let change = Change {
        before: 1,
        verb: "docker.swap",
        args: json!({"image": OLD, "grace": "5s", "steady": "50ms"}),
        running: &["web-1"],
    };
    die_everywhere(rig, &change).await;
}

pub(super) async fn scaling_down_may_die_at_any_request(rig: &Rig) {
    let change = Change {
        before: 2,
        verb: "docker.scale",
        args: json!({"services": {"web": 1}, "grace": "5s"}),
        running: &["web-1"],
    };
    die_everywhere(rig, &change).await;
}

pub(super) async fn scaling_up_may_die_at_any_request(rig: &Rig) {
    let change = Change {
        before: 1,
        verb: "docker.scale",
        args: json!({"services": {"web": 2}, "grace": "5s"}),
        running: &["web-1", "web-2"],
    };
    die_everywhere(rig, &change).await;
}

async fn die_everywhere(rig: &Rig, change: &Change) {
    for after in [After::Forward, After::Back, After::Undone] {
        let mut died = 0;
        let points: Vec<usize> = (0..REQUESTS).step_by(rig.stride).collect();
        for points in points.chunks(AT_ONCE) {
            let all = points.iter().map(|point| die_and_recover(rig, change, *point, after));
            let outcomes = join_all(all).await;
            died += outcomes.iter().filter(|died| **died).count();
            if outcomes.contains(&false) {
                break;
            }
        }
        assert!(died > 0, "{after:?}: it never died");
        assert!(died < REQUESTS / rig.stride, "{after:?}: it never came to its end");
    }
}

/// No health check, so that the test takes no longer than it must; and what is parked must not be restarted by the engine.
fn always_without_health_check(body: &mut ContainerCreateBody) {
    if let Some(host) = body.host_config.as_mut() {
        host.restart_policy =
            Some(RestartPolicy { name: Some(Restart::ALWAYS), maximum_retry_count: Some(0) });
    }
    body.healthcheck =
        Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() });
}

/// Lets the change, or its undo, die at `point`. Returns whether it did.
async fn die_and_recover(rig: &Rig, change: &Change, point: usize, after: After) -> bool {
    let at = format!("{} dies at request {point}, then {after:?}", change.verb);
    let project = rig.project().await;
    for number in 1..=change.before {
        project.run_with("web", number, NEW, always_without_health_check).await;
    }
    let before = project.all().await;
    let port = rig.port();
    let mut args = change.args.clone();
    args["project"] = project.name.clone().into();
    let item = port.items(change.verb, args).await.unwrap().remove(0);
    let action = port.action(change.verb, &item);
    let saved = port.needed(action.as_ref()).await;

    let proxy = Proxy::start(&rig.host, point).await;
    let mortal = port.through(&proxy.host);
    let dying = mortal.action(change.verb, &item);
    let died = if after == After::Undone {
        port.apply(action.as_ref(), &saved).await;
        dying.undo(&mortal.cx(), &saved, None).await.is_err()
    } else {
        dying.apply(&mortal.cx(), &saved).await.is_err()
    };

    if after == After::Forward {
        match action.inspect(&port.cx()).await.unwrap_or_else(|error| panic!("{at}: {error}")) {
            Readiness::AlreadyDone { .. } => {}
            Readiness::Needed { saved: again, .. } => {
                assert_eq!(again, saved, "{at}: what was there first is not forgotten");
                port.apply(action.as_ref(), &again).await;
            }
        }
        port.already_done(action.as_ref()).await;
        assert_eq!(project.running().await, change.running, "{at}");
        assert_no_debris(&project, change, &at).await;
    }
    let undone = action.undo(&port.cx(), &saved, None).await;
    undone.unwrap_or_else(|error| panic!("{at}: undo: {error}"));
    assert_eq!(project.all().await, before, "{at}");
    for (name, _, _) in before {
        let restart = project.inspect(&name).await.and_then(|found| policy(&found));
        assert_eq!(restart, Some(Restart::ALWAYS), "{at}: {name}");
    }
    died
}

/// Nothing but what serves and what is parked.
async fn assert_no_debris(project: &Project, change: &Change, at: &str) {
    for (name, _, running) in project.all().await {
        let serves = change.running.iter().any(|short| project.full(short) == name);
        assert!(serves || (name.contains(".rollback-old-") && !running), "{at}: {name} is left");
        let restart = project.inspect(&name).await.and_then(|found| policy(&found));
        assert_eq!(restart == Some(Restart::ALWAYS), serves, "{at}: {name} is restarted");
    }
}
