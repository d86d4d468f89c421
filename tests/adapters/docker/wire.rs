//! Engines that do not answer, or not to us.

use std::time::Duration;

use rollback::action::{ErrorKind, Item};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::proxy::Silence;
use super::rig::Port;
use crate::support::{HANG, free_port};

/// An item of `docker.stop` as the plan records it.
fn item() -> Item {
    item_with(&json!("10000ms"))
}

fn item_with(grace: &serde_json::Value) -> Item {
    let target = json!({"project": "p", "short_name": "web-1", "container": "p-web-1"});
    Item { name: "web-1".into(), args: json!({"target": target, "grace": grace}).into() }
}

fn running() -> String {
    json!({
        "Id": "0123456789abcdef", "Name": "/p-web-1", "Image": "sha256:aa",
        "State": {"Running": true},
        "Config": {"Labels": {"com.docker.compose.project": "p"}},
    })
    .to_string()
}

#[tokio::test]
async fn a_silent_engine_ends_by_the_deadline() {
    let silence = Silence::after("", 0).await;
    let port = Port::at(&silence.host);
    let action = port.action("docker.stop", &item());
    let started = Instant::now();
    let deadline = started + Duration::from_millis(300);
    let cx = port.cx_until(deadline, CancellationToken::new());
    let error = action.inspect(&cx).await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::TimedOut, true), "{error}");
    let error = action.inspect(&cx).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TimedOut, "past the deadline nothing is sent: {error}");
    assert!(started.elapsed() < HANG);
}

#[tokio::test]
async fn a_change_without_an_answer_is_unknown_and_one_not_sent_is_not() {
    let mut silence = Silence::after(&running(), 1).await;
    let port = Port::at(&silence.host);
    let action = port.action("docker.stop", &item());
    let saved = port.needed(action.as_ref()).await;

    let cancel = CancellationToken::new();
    let cx = port.cx_until(Instant::now() + HANG, cancel.clone());
    let (outcome, ()) = tokio::join!(action.apply(&cx, &saved), async {
        drop(silence.heard().await);
        cancel.cancel();
    });
    let error = outcome.unwrap_err();
    assert!(error.outcome_unknown() && !error.retryable, "{error}");

    let error = action.apply(&cx, &saved).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled, "cancelled before it was sent: {error}");
}

#[tokio::test]
async fn a_grace_that_nobody_names_is_the_container_s_own() {
    for (grace, asked) in [(json!("10000ms"), "?t=10 "), (json!(null), "/stop? ")] {
        let mut silence = Silence::after(&running(), 1).await;
        let port = Port::at(&silence.host);
        let action = port.action("docker.stop", &item_with(&grace));
        let saved = port.needed(action.as_ref()).await;
        let cancel = CancellationToken::new();
        let cx = port.cx_until(Instant::now() + HANG, cancel.clone());
        let (_unknown, line) = tokio::join!(action.apply(&cx, &saved), async {
            let line = silence.heard().await;
            cancel.cancel();
            line
        });
        assert!(line.contains(asked), "{line}");
    }
}

#[tokio::test]
async fn an_absent_engine_is_unreachable_with_a_command_to_type() {
    let folder = tempfile::tempdir().unwrap();
    let socket = format!("unix://{}/docker.sock", folder.path().display());
    for host in [socket, format!("tcp://127.0.0.1:{}", free_port())] {
        let port = Port::at(&host);
        let error = port.reach().await.unwrap_err();
        assert_eq!((error.kind, error.retryable), (ErrorKind::Unreachable, true), "{error}");
        assert_eq!(
            error.hints,
            [format!("Is the Docker Engine running? Try `docker -H {host} ps`.")]
        );
        let action = port.action("docker.stop", &item());
        assert_eq!(action.inspect(&port.cx()).await.unwrap_err().kind, ErrorKind::Unreachable);
    }
}

#[tokio::test]
async fn garbage_is_a_failure_and_not_a_panic() {
    for answer in ["", "{}", "[1, 2", "<html>", r#"{"Id": 5}"#] {
        let silence = Silence::after(answer, 1).await;
        let port = Port::at(&silence.host);
        let action = port.action("docker.stop", &item());
        let error = action.inspect(&port.cx()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Failed, "{answer}: {error}");
    }
}

#[tokio::test]
async fn an_unknown_setting_is_refused() {
    let port = Port::with(json!({"hots": "unix:///var/run/docker.sock"}));
    let error = port.reach().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("hots"), "{error}");
}
