//! What the adapter makes of a server that is slow, silent, cut off, or not ready. The double's ledger tells what went.

use std::time::Duration;

use rollback::action::{ActionError, ErrorKind, Saved};
use rollback::sandbox::faults::Faults;
use rollback::sandbox::ledger::{Effects, Ledger};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::rig::{Rig, carry_out, cx, cx_until, needed};
use crate::support::HANG;

const KEYS: usize = 300;

async fn filled() -> (Rig, Faults, Ledger) {
    let faults = Faults::default();
    let (rig, ledger) = Rig::behind(Some(faults.clone())).await;
    rig.fill("f", KEYS).await;
    (rig, faults, ledger)
}

fn inject(faults: &Faults, text: &str) {
    faults.add(text.parse().expect("a fault"));
}

/// Every key went exactly once.
fn each_once(effects: &Effects) {
    assert_eq!(effects.len(), KEYS);
    assert!(effects.values().all(|count| *count == 1), "{effects:?}");
}

/// Applies with little time; a hang fails the test.
async fn hurried(rig: &Rig) -> ActionError {
    let action = rig.port().delete(json!({"pattern": rig.key("f:*")})).await;
    let cx = cx_until(Instant::now() + Duration::from_millis(700));
    let saved = Saved::default();
    let ended = timeout(HANG, action.apply(&cx, &saved)).await.expect("it ends at its deadline");
    ended.expect_err("nobody answers")
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let (rig, faults, ledger) = filled().await;
    inject(&faults, "redis:silence,path=SCAN");
    let error = hurried(&rig).await;
    assert_eq!((error.kind, error.retryable), (ErrorKind::TimedOut, true), "{error:?}");
    assert!(ledger.effects().is_empty());

    faults.clear(None);
    inject(&faults, "redis:silence,path=UNLINK");
    let error = hurried(&rig).await;
    assert_eq!((error.kind, error.retryable), (ErrorKind::Unknown, true), "{error:?}");
}

#[tokio::test]
async fn a_look_and_a_question_end_at_the_deadline_too() {
    let (rig, faults, _) = filled().await;
    inject(&faults, "redis:silence");
    let port = rig.port();
    let action = port.delete(json!({"pattern": rig.key("f:*")})).await;
    let probe = port.probe(json!({"pattern": rig.key("f:*"), "keys": 0})).await;
    let soon = || cx_until(Instant::now() + Duration::from_millis(300));
    let looked = timeout(HANG, action.inspect(&soon())).await.expect("it ends");
    assert_eq!(looked.map(drop).expect_err("nobody answers").kind, ErrorKind::TimedOut);
    let asked = timeout(HANG, probe.observe(&soon())).await.expect("it ends");
    assert_eq!(asked.map(drop).expect_err("nobody answers").kind, ErrorKind::TimedOut);
    let cancelled = cx();
    cancelled.cancelled().cancel();
    let looked = timeout(HANG, action.inspect(&cancelled)).await.expect("it ends");
    assert_eq!(looked.map(drop).expect_err("told to stop").kind, ErrorKind::Cancelled);
}

#[tokio::test]
async fn a_cut_in_the_middle_of_a_pipeline_is_unknown_and_once_more_does_no_harm() {
    for fault in ["reset", "lost"] {
        let (rig, faults, ledger) = filled().await;
        let action = rig.port().delete(json!({"pattern": rig.key("f:*")})).await;
        let saved = needed(action.as_ref()).await;
        inject(&faults, &format!("redis:{fault},path=UNLINK {}f:150,times=1", rig.prefix));
        let error = action.apply(&cx(), &saved).await.expect_err("it was cut off");
        assert_eq!((error.kind, error.retryable), (ErrorKind::Unknown, true), "{error:?}");
        let gone = ledger.effects().len();
        assert!(gone < KEYS, "{gone} of {KEYS} went before the cut");
        let applied = carry_out(action.as_ref()).await;
        assert_eq!(applied.facts["unlinked"], KEYS - gone);
        each_once(&ledger.effects());
        assert_eq!(rig.left("f", KEYS).await, 0);
    }
}

#[tokio::test]
async fn a_slow_answer_is_not_a_failure() {
    let (rig, faults, ledger) = filled().await;
    // The client library would give up after 500 ms by itself.
    inject(&faults, "redis:latency=800ms,path=UNLINK");
    let action = rig.port().delete(json!({"pattern": rig.key("f:*")})).await;
    carry_out(action.as_ref()).await;
    each_once(&ledger.effects());
}

#[tokio::test]
async fn refusals_keep_their_meaning() {
    for (status, kind, again) in [
        (503, ErrorKind::Failed, true),
        (403, ErrorKind::Denied, false),
        (401, ErrorKind::Denied, false),
        (409, ErrorKind::Conflict, false),
        (500, ErrorKind::Failed, false),
    ] {
        let (rig, faults, ledger) = filled().await;
        let action = rig.port().delete(json!({"pattern": rig.key("f:*")})).await;
        for command in ["SCAN", "UNLINK"] {
            faults.clear(None);
            inject(&faults, &format!("redis:error={status},path={command}"));
            let error = action.apply(&cx(), &Saved::default()).await.expect_err("refused");
            assert_eq!((error.kind, error.retryable), (kind, again), "{command}: {error:?}");
        }
        assert!(ledger.effects().is_empty());
    }
}
