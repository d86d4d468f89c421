//! What the adapter makes of a server that is slow, silent, cut off, or not ready.

use std::time::Duration;

use rollback::action::ErrorKind;
use rollback::sandbox::faults::Faults;
use serde_json::json;
use tokio::time::Instant;

use super::rig::{Rig, cx, cx_until};

fn broken(fault: &str) -> Rig {
    let faults = Faults::default();
    faults.add(fault.parse().expect("a fault"));
    Rig::behind(Some(faults))
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let rig = broken("prometheus:silence");
    let soon = cx_until(Instant::now() + Duration::from_millis(300));
    let error = rig.port().refused(json!({"query": "up", "equals": 1}), &soon).await;
    assert_eq!((error.kind, error.retryable), (ErrorKind::TimedOut, true), "{error:?}");
    let stopped = cx();
    stopped.cancelled().cancel();
    let error = rig.port().refused(json!({"query": "up", "equals": 1}), &stopped).await;
    assert_eq!((error.kind, error.retryable), (ErrorKind::Cancelled, false), "{error:?}");
}

#[tokio::test]
async fn a_question_that_breaks_off_may_be_asked_again() {
    for fault in ["reset", "lost"] {
        let rig = broken(&format!("prometheus:{fault},times=1"));
        rig.write("up", "1", &[(0, 1.0)]).await;
        let args = json!({"query": rig.query("up"), "equals": 1});
        let error = rig.port().refused(args.clone(), &cx()).await;
        assert_eq!((error.kind, error.retryable), (ErrorKind::Failed, true), "{error:?}");
        assert_eq!(rig.ask(args).await.0, 'y');
    }
}

#[tokio::test]
async fn a_part_that_fails_fails_the_whole() {
    for (path, args) in [
        ("/query", json!({"at_most": 1, "fresh": "1m"})),
        ("/query_range", json!({"at_most": 1, "for": "5s"})),
    ] {
        let rig = broken(&format!("prometheus:error=503,path={path}"));
        rig.write("part", "1", &[(0, 0.5)]).await;
        let mut args = args;
        args["query"] = rig.query("part").into();
        let error = rig.port().refused(args, &cx()).await;
        assert_eq!((error.kind, error.retryable), (ErrorKind::Failed, true), "{path}: {error:?}");
    }
}

#[tokio::test]
async fn a_slow_answer_is_not_a_failure() {
    let rig = broken("prometheus:latency=800ms");
    rig.write("slow", "1", &[(0, 0.5)]).await;
    assert_eq!(rig.ask(json!({"query": rig.query("slow"), "at_most": 1})).await.0, 'y');
}

#[tokio::test]
async fn refusals_keep_their_meaning() {
    for (status, kind, again) in [
        (400, ErrorKind::Invalid, false),
        (401, ErrorKind::Denied, false),
        (403, ErrorKind::Denied, false),
        (422, ErrorKind::Failed, false),
        (429, ErrorKind::Failed, true),
        (500, ErrorKind::Failed, true),
        (503, ErrorKind::Failed, true),
    ] {
        let rig = broken(&format!("prometheus:error={status}"));
        let error = rig.port().refused(json!({"query": "up", "equals": 1}), &cx()).await;
        assert_eq!((error.kind, error.retryable), (kind, again), "{status}: {error:?}");
        let reached = rig.port().reach().await.expect_err("it cannot be used");
        assert_eq!(reached.retryable, again, "{status}: {reached:?}");
    }
}
