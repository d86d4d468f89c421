//! Faults of a drill: each does what it says, where it is to, as often as it is to.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{count, outcome, verdict};
use crate::action::{ErrorKind, ResolveContext};
use crate::engine::RunState;
use crate::engine::fault::{Effect, Fault, Faults};
use crate::engine::testing::{Bench, after, expect, on, plan, switch};
use crate::event::{Event, Outcome, RunVerdict};
use crate::journal::MemoryLog;
use crate::plan::{Plan, Until};

/// A bench whose adapters stand behind these faults.
fn behind(faults: &[&str]) -> (Bench, Arc<Faults>) {
    let mut bench = Bench::new();
    let faults = faults.iter().map(|text| text.parse().expect("a fault"));
    let faults = Arc::new(Faults::new(faults));
    let registry = bench.resolve.registry.as_ref().clone().behind(faults.clone());
    let connections = bench.resolve.connections.clone();
    bench.resolve = Arc::new(ResolveContext { connections, registry: Arc::new(registry) });
    (bench, faults)
}

/// A switch, and behind it the question whether it is on.
fn two() -> Plan {
    plan(vec![vec![switch("a", on("a")), after(expect("b", "a"), "a", Until::Success)]])
}

async fn run(faults: &[&str]) -> (RunState, MemoryLog, Vec<u64>, Duration) {
    let (bench, faults) = behind(faults);
    let start = Instant::now();
    let (state, log) = bench.run(two()).await;
    (state, log, faults.met().map(|(_, met)| met).collect(), start.elapsed())
}

/// The kinds of the errors that were told.
fn told(log: &MemoryLog) -> Vec<ErrorKind> {
    let records = log.history().unwrap().records;
    let errors = records.iter().filter_map(|record| match &record.event {
        Event::ApplyFailed { error, .. }
        | Event::ApplyUnknown { error, .. }
        | Event::InspectFailed { error, .. }
        | Event::VerifyFailed { error, .. } => Some(error.kind),
        _ => None,
    });
    errors.collect()
}

#[tokio::test(start_paused = true)]
async fn latency_delays_every_call_and_changes_nothing_else() {
    let (state, log, met, took) = run(&["test:latency=1s"]).await;
    assert_eq!(verdict(&state), (RunVerdict::Recovered, 0));
    // Looked at, changed, proved; then asked.
    assert_eq!(met, [4]);
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(told(&log), []);
}

#[tokio::test(start_paused = true)]
async fn a_fault_keeps_to_its_verb_its_step_and_its_count() {
    let (_, _, met, took) =
        run(&["test.expect:latency=1s", "test.switch:latency=10ms,times=2"]).await;
    assert_eq!(met, [1, 2]);
    assert!(took < Duration::from_secs(2), "{took:?}");
    let (_, _, met, _) =
        run(&["test:latency=1ms,step=p0/b", "test:latency=1ms,step=p0", "other:error"]).await;
    // `p0` is the beginning of every place, as `redirect` would be of `redirect/drain`.
    assert_eq!(met, [1, 4, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_looked_for_and_found() {
    let (state, log, met, _) = run(&["test.switch:unknown"]).await;
    assert_eq!(verdict(&state), (RunVerdict::Recovered, 0));
    assert_eq!(met, [1]);
    assert_eq!(told(&log), [ErrorKind::Unknown]);
    assert_eq!(count(&log, |event| matches!(event, Event::FoundDone { .. })), 1);
    assert_eq!(count(&log, |event| matches!(event, Event::ApplyStarted { .. })), 1, "once");
}

#[tokio::test(start_paused = true)]
async fn an_error_and_an_unreachable_system_fail_what_needs_them() {
    let (state, log, _, _) = run(&["test.switch:error"]).await;
    assert_eq!(verdict(&state), (RunVerdict::FailedClean, 6));
    assert_eq!(told(&log), [ErrorKind::Failed]);
    // A question is asked again, and a system that comes back answers it.
    let (state, _, met, _) = run(&["test.expect:unreachable,times=2"]).await;
    assert_eq!((outcome(&state, "p0/b"), met), (Some(Outcome::Done), vec![2]));
    let (state, log, _, _) = run(&["test.expect:unreachable"]).await;
    assert_eq!(verdict(&state), (RunVerdict::FailedPartial, 7));
    assert_eq!(told(&log), [ErrorKind::Unreachable]);
}

#[tokio::test(start_paused = true)]
async fn silence_lasts_until_the_attempts_time_is_up() {
    let (state, log, _, took) = run(&["test.switch:timeout,times=1"]).await;
    // The first call is the look: nothing was changed by it.
    assert_eq!(verdict(&state), (RunVerdict::FailedClean, 6));
    assert_eq!(told(&log), [ErrorKind::TimedOut]);
    assert!(took >= Duration::from_secs(5), "{took:?}");
    let (state, log, _, _) = run(&["test.switch:latency=30s"]).await;
    assert_eq!(verdict(&state), (RunVerdict::FailedClean, 6));
    assert_eq!(told(&log), [ErrorKind::TimedOut]);
}

#[test]
fn faults_are_read_and_written_as_they_are_typed() {
    for text in [
        "docker:latency=4s",
        "docker.stop:error,step=redirect/drain-green,times=2",
        "http:unreachable",
        "redis.delete:timeout,times=1",
        "postgres:unknown",
    ] {
        let fault: Fault = text.parse().expect(text);
        assert_eq!(fault.to_string(), text);
    }
    let fault: Fault = " docker.stop:step=a/b, latency=1m 30s ".parse().expect("in any order");
    assert_eq!(fault.effect, Effect::Latency(Duration::from_secs(90)));
    assert!(fault.is_about("docker.stop") && !fault.is_about("docker.start"));
    for (text, why) in [
        ("docker", "say what goes wrong"),
        ("docker:", "understand ``"),
        ("docker:slow", "understand `slow`"),
        ("docker:latency=4", "understand `latency=4`"),
        ("docker:latency", "understand `latency`"),
        ("docker:error,times=0", "understand `times=0`"),
        ("docker:error,step=", "understand `step=`"),
        ("docker:step=a/b", "find one effect"),
        ("docker:error,timeout", "find one effect"),
    ] {
        let error = text.parse::<Fault>().expect_err(text).to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}
