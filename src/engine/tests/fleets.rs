//! The items of one step: they begin in their order, go on side by side, and settle whatever becomes of one of them.

use std::time::Duration;

use super::{count, verdict};
use crate::engine::testing::{Bench, Switch, Trouble, bad, fleet, on, plan, switch};
use crate::event::{Event, Place, RunVerdict, StopReason};
use crate::journal::MemoryLog;
use crate::signal::Signal;

fn slow(key: &str, takes_ms: u64) -> Switch {
    Switch { takes_ms, ..on(key) }
}

/// The places of these events, in the order in which they were written.
fn places<'a>(log: &MemoryLog, wanted: impl Fn(&Event) -> Option<&Place> + 'a) -> Vec<String> {
    let records = log.records();
    records.iter().filter_map(|record| wanted(&record.event).map(ToString::to_string)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn items_begin_in_their_order() {
    let switches = (0..200).map(|n| (format!("{n:03}"), slow(&format!("switch {n}"), n % 3)));
    let step = fleet("fleet", switches.collect());
    let (state, log) = Bench::new().run(plan(vec![vec![step]])).await;
    assert_eq!(verdict(&state).0, RunVerdict::Recovered);
    let begun = places(&log, |event| match event {
        Event::Inspected { at, .. } => Some(at),
        _ => None,
    });
    assert_eq!(begun.len(), 200);
    assert!(begun.is_sorted(), "{begun:?}");
}

#[tokio::test(start_paused = true)]
async fn a_single_item_does_not_wait_for_a_whole_fleet_of_its_verb() {
    let switches = (0..60).map(|n| (n.to_string(), slow(&format!("switch {n}"), 100))).collect();
    let steps = vec![fleet("fleet", switches), switch("single", slow("single", 100))];
    let (state, log) = Bench::new().run(plan(vec![steps])).await;
    assert_eq!(verdict(&state).0, RunVerdict::Recovered);
    let settled = places(&log, |event| match event {
        Event::Verified { at, .. } => Some(at),
        _ => None,
    });
    let single = settled.iter().position(|place| place == "p0/single").expect("it is settled");
    assert!(single < 20, "{single} came before it");
}

#[tokio::test(start_paused = true)]
async fn a_bug_in_one_item_lets_the_others_settle() {
    for broken in ["1", "2", "3"] {
        let bench = Bench::new();
        let one = |name: &str| {
            let panics = name == broken;
            let args = if panics { bad(name, Trouble::Panics) } else { slow(name, 100) };
            (name.to_owned(), args)
        };
        let step = fleet("fleet", ["1", "2", "3"].map(one).into());
        let (state, log) = bench.run(plan(vec![vec![step]])).await;
        assert_eq!(verdict(&state), (RunVerdict::InternalError, 20));
        let stop = |event: &Event| {
            matches!(event, Event::StopRequested { reason: StopReason::Panicked { message } }
                if message == "a bug in the adapter")
        };
        assert_eq!(count(&log, stop), 1);
        for name in ["1", "2", "3"] {
            assert_eq!(bench.world().is_on(name), name != broken, "{name} beside {broken}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_bug_no_further_item_begins() {
    let bench = Bench::new();
    let mut step = fleet(
        "fleet",
        vec![
            ("1".into(), slow("first", 100)),
            ("2".into(), bad("second", Trouble::Panics)),
            ("3".into(), on("third")),
        ],
    );
    step.policy.parallel = Some(2);
    let (state, _) = bench.run(plan(vec![vec![step]])).await;
    assert_eq!(verdict(&state), (RunVerdict::InternalError, 20));
    assert!(bench.world().is_on("first"), "what is in flight settles");
    assert!(!bench.world().attempts.lock().unwrap().contains_key("third"));
}

#[tokio::test(start_paused = true)]
async fn a_doubt_is_looked_at_behind_an_item_that_may_not_begin_any_more() {
    let bench = Bench::new();
    let switches =
        vec![("1".into(), bad("first", Trouble::FailsTwice)), ("2".into(), slow("second", 1000))];
    let mut step = fleet("fleet", switches);
    step.policy.retry.attempts = 3;
    step.policy.retry.delay = Duration::from_secs(60);
    step.policy.retry.max_delay = Duration::from_secs(60);
    let (run, handles) = bench.start(plan(vec![vec![step]]));
    assert!(tokio::time::timeout(Duration::from_millis(500), run).await.is_err(), "killed");
    bench.world().turn("second", true);
    let (run, resumed) = bench.resume(handles.log, None);
    resumed.signals.send(Signal::Interrupt).unwrap();
    let state = run.await.state;
    assert_eq!(state.stop, Some(StopReason::Interrupted));
    assert_eq!(count(&resumed.log, |event| matches!(event, Event::FoundDone { .. })), 1);
    assert_eq!(bench.world().attempts.lock().unwrap()["first"], 1);
}
