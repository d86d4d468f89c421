//! Targets whose time begins with a step.

use std::time::Duration;

use super::{count, killed_after, outcome, verdict};
use crate::engine::deadline;
use crate::engine::testing::{Bench, Switch, after, expect, header, on, plan, switch, target};
use crate::event::{Event, Outcome, RunVerdict};
use crate::journal::MemoryLog;
use crate::plan::{Plan, StepId, Until};

/// A minute of preparation, the decision, and what takes `cut_s` until it is proved; in 30 s from the decision.
fn decided(cut_s: u64) -> Plan {
    let lasting = |key: &str, seconds: u64| {
        let mut step = switch(key, Switch { takes_ms: seconds * 1000, ..on(key) });
        step.policy.timeout = Duration::from_secs(600);
        step
    };
    let cut = after(lasting("cut", cut_s), "decided", Until::Passed);
    let proof = after(expect("proof", "cut"), "cut", Until::Passed);
    let mut plan =
        plan(vec![vec![lasting("prepare", 60)], vec![lasting("decided", 10), cut, proof]]);
    let mut quick = target("quick", Duration::from_secs(30), "p1/proof");
    quick.from = Some(StepId("p1/decided".into()));
    plan.targets = vec![quick];
    plan
}

fn took(log: &MemoryLog) -> Option<(u64, bool)> {
    log.records().iter().find_map(|record| match record.event {
        Event::TargetReached { took_ms, in_time, .. } => Some((took_ms / 1000, in_time)),
        _ => None,
    })
}

#[tokio::test(start_paused = true)]
async fn its_time_begins_when_the_step_has_ended() {
    let (state, log) = Bench::new().run(decided(20)).await;
    assert_eq!(verdict(&state), (RunVerdict::Recovered, 0));
    assert_eq!(took(&log), Some((20, true)));
    // What the steps before it know: nothing is running yet.
    let left: Vec<_> = log
        .records()
        .iter()
        .filter_map(|record| match &record.event {
            Event::StepStarted { step, left_ms } => {
                Some((step.0.clone(), left_ms.map(|ms| ms / 1000)))
            }
            _ => None,
        })
        .collect();
    assert_eq!(left[0], ("p0/prepare".into(), None));
    assert_eq!(left[1], ("p1/decided".into(), None));
    assert_eq!(left[2], ("p1/cut".into(), Some(30)));
    assert_eq!(left[3].1, Some(10));
}

#[tokio::test(start_paused = true)]
async fn it_is_late_at_the_moment_when_it_is() {
    let (state, log) = Bench::new().run(decided(40)).await;
    assert_eq!(verdict(&state), (RunVerdict::RecoveredLate, 5));
    assert_eq!(took(&log), Some((40, false)));
    let late = log.records().iter().find_map(|record| match record.event {
        Event::TargetLate { .. } => Some(record.elapsed_ms / 1000),
        _ => None,
    });
    assert_eq!(late, Some(60 + 10 + 30));
}

#[tokio::test(start_paused = true)]
async fn an_incident_that_began_earlier_does_not_move_it() {
    let mut header = header(decided(20));
    header.since = Some(header.started - Duration::from_secs(3600));
    let mut state = crate::engine::RunState::new(header.into());
    let target = state.plan().targets[0].clone();
    assert_eq!(deadline::target_due_ms(&state, &target), None);
    let step = StepId("p1/decided".into());
    let ended = Event::StepEnded { step, outcome: crate::event::Outcome::Done, summary: None };
    state.apply(70_000, &ended).unwrap();
    assert_eq!(deadline::target_due_ms(&state, &target), Some(100_000));
    assert_eq!(deadline::took_ms(&state, &target, 95_000), 25_000);
}

#[tokio::test(start_paused = true)]
async fn it_counts_on_while_nobody_runs_the_run() {
    let bench = Bench::new();
    let (run, handles) = bench.start(decided(20));
    assert!(killed_after(75_000, run).await.is_none());
    let (run, handles) = bench.resume_later(handles.log, Duration::from_secs(3600));
    assert_eq!(verdict(&run.await.state), (RunVerdict::RecoveredLate, 5));
    let (took, in_time) = took(&handles.log).expect("it is reached");
    assert!(took > 3600 && !in_time, "{took} s");
    assert_eq!(count(&handles.log, |event| matches!(event, Event::TargetLate { .. })), 1);
}

#[tokio::test(start_paused = true)]
async fn an_optional_step_that_was_in_flight_is_looked_at_though_no_time_is_left() {
    let bench = Bench::new();
    let mut extra = switch("extra", Switch { takes_ms: 2000, ..on("extra") });
    extra.policy.optional = true;
    extra.policy.expected = Duration::from_secs(5);
    let slow = switch("a", Switch { takes_ms: 4000, ..on("a") });
    let mut plan = plan(vec![vec![extra, slow, after(expect("p", "a"), "a", Until::Passed)]]);
    plan.targets = vec![target("back", Duration::from_secs(9), "p0/p")];
    let (run, handles) = bench.start(plan);
    assert!(killed_after(1000, run).await.is_none());
    // The change went through though nobody heard of it.
    bench.world().turn("extra", true);
    let (run, _handles) = bench.resume_later(handles.log, Duration::from_secs(60));
    let state = run.await.state;
    assert_eq!(outcome(&state, "p0/extra"), Some(Outcome::AlreadyDone));
}

#[tokio::test(start_paused = true)]
async fn what_comes_before_it_does_not_take_its_time() {
    // An optional step of 40 s fits before the decision, and not after it.
    for (phase, started) in [(0, true), (1, false)] {
        let mut plan = decided(20);
        let mut extra = switch("extra", Switch { takes_ms: 1000, ..on("extra") });
        extra.id = StepId(format!("p{phase}/extra").into());
        extra.policy.optional = true;
        extra.policy.expected = Duration::from_secs(40);
        if phase == 1 {
            extra = after(extra, "p1/decided", Until::Passed);
        }
        plan.phases[phase].steps.push(extra);
        let bench = Bench::new();
        let (state, _) = bench.run(plan).await;
        assert_eq!(verdict(&state).1, 0);
        assert_eq!(bench.world().is_on("extra"), started, "in phase {phase}");
    }
}
