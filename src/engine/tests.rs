//! The engine against a world in memory, in virtual time.

mod approvals;
mod custody;
mod faults;
mod fleets;
mod holds;
mod targets;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::testing::{
    Bench, Holding, Switch, Trouble, actor, after, bad, expect, fleet, from_environment, hold,
    in_virtual_time, numbers, on, plan, switch, target,
};
use super::{Request, RunState};
use crate::action::{ErrorKind, Window};
use crate::event::{Event, Outcome, Place, Record, RunVerdict, StopReason};
use crate::journal::{JournalError, MemoryLog};
use crate::plan::{Deferred, Items, Plan, PlannedProbe, StepId, Until};
use crate::runbook::OnFailure;
use crate::signal::Signal;

fn outcome(state: &RunState, step: &str) -> Option<Outcome> {
    state.steps[&StepId(step.into())].outcome
}

fn verdict(state: &RunState) -> (RunVerdict, u8) {
    state.ended.expect("the run ended")
}

fn count(log: &MemoryLog, wanted: impl Fn(&Event) -> bool) -> usize {
    log.records().iter().filter(|record| wanted(&record.event)).count()
}

#[tokio::test(start_paused = true)]
async fn a_plan_runs_to_its_end_and_meets_its_target() {
    let bench = Bench::new();
    let mut plan = plan(vec![
        vec![switch("a", on("a")), after(switch("b", on("b")), "a", Until::Passed)],
        vec![expect("proof", "b")],
    ]);
    plan.targets = vec![target("back", Duration::from_secs(60), "p1/proof")];
    let (state, log) = bench.run(plan).await;
    assert_eq!(verdict(&state), (RunVerdict::Recovered, 0));
    assert!(bench.world().is_on("a") && bench.world().is_on("b"));
    assert_eq!(count(&log, |event| matches!(event, Event::TargetReached { in_time: true, .. })), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_there_already_is_a_success_and_changes_nothing() {
    let bench = Bench::new();
    let (_, _) = bench.run(plan(vec![vec![switch("a", on("a"))]])).await;
    let (state, log) = bench.run(plan(vec![vec![switch("a", on("a"))]])).await;
    assert_eq!(outcome(&state, "p0/a"), Some(Outcome::AlreadyDone));
    assert_eq!(bench.world().effects("a"), 1);
    assert_eq!(count(&log, |event| matches!(event, Event::ApplyStarted { .. })), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_stops_what_comes_later_and_keeps_what_was_achieved() {
    let bench = Bench::new();
    let plan = plan(vec![
        vec![
            switch("a", on("a")),
            after(switch("b", bad("b", Trouble::Fails)), "a", Until::Passed),
        ],
        vec![switch("c", on("c"))],
    ]);
    let (state, _) = bench.run(plan).await;
    assert_eq!(verdict(&state), (RunVerdict::FailedPartial, 7));
    assert!(bench.world().is_on("a"));
    assert_eq!(outcome(&state, "p1/c"), None);
}

#[tokio::test(start_paused = true)]
async fn a_stop_takes_no_proof_for_granted() {
    let bench = Bench::new();
    let mut unproved = switch("a", on("a"));
    let probe = serde_json::json!({"key": "never"}).into();
    unproved.policy.verify.probe = Some(PlannedProbe { verb: "test.expect".into(), args: probe });
    let fails = switch("b", Switch { takes_ms: 500, ..bad("b", Trouble::Fails) });
    let (state, _) = bench.run(plan(vec![vec![unproved, fails]])).await;
    assert_eq!(state.stop, Some(StopReason::StepFailed { step: StepId("p0/b".into()) }));
    assert_eq!(outcome(&state, "p0/a"), Some(Outcome::Failed));
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_left_in_doubt_is_looked_at_even_if_the_resumed_run_stops() {
    let bench = Bench::new();
    let slow = Switch { takes_ms: 1000, ..on("a") };
    let (run, handles) = bench.start(plan(vec![vec![switch("a", slow)]]));
    assert!(tokio::time::timeout(Duration::from_millis(500), run).await.is_err(), "killed");
    bench.world().turn("a", true);
    let (run, resumed) = bench.resume(handles.log, None);
    resumed.signals.send(Signal::Interrupt).unwrap();
    let state = run.await.state;
    assert_eq!(state.stop, Some(StopReason::Interrupted));
    assert_eq!(outcome(&state, "p0/a"), Some(Outcome::AlreadyDone));
}

#[tokio::test(start_paused = true)]
async fn a_failure_before_any_change_leaves_nothing_behind() {
    let bench = Bench::new();
    let (state, _) = bench.run(plan(vec![vec![switch("a", bad("a", Trouble::Blind))]])).await;
    assert_eq!(verdict(&state), (RunVerdict::FailedClean, 6));
}

#[tokio::test(start_paused = true)]
async fn a_continued_failure_blocks_only_those_who_asked_for_success() {
    let bench = Bench::new();
    let mut broken = switch("broken", bad("x", Trouble::Fails));
    broken.policy.on_failure = OnFailure::Continue;
    let plan = plan(vec![vec![
        broken,
        after(switch("next", on("next")), "broken", Until::Passed),
        after(switch("strict", on("strict")), "broken", Until::Success),
    ]]);
    let (state, _) = bench.run(plan).await;
    assert_eq!(outcome(&state, "p0/next"), Some(Outcome::Done));
    assert_eq!(outcome(&state, "p0/strict"), Some(Outcome::NotStarted));
    assert_eq!(verdict(&state).0, RunVerdict::FailedPartial);
}

#[tokio::test(start_paused = true)]
async fn a_step_below_a_skipped_one_waits_for_what_is_above_it() {
    let bench = Bench::new();
    let mut broken = switch("broken", bad("x", Trouble::Fails));
    broken.policy.on_failure = OnFailure::Continue;
    let mut skipped = after(switch("skipped", on("skipped")), "broken", Until::Success);
    skipped.skip = Some("its condition is false".into());
    let below = after(switch("below", on("below")), "skipped", Until::Success);
    let (state, _) = bench.run(plan(vec![vec![broken, skipped, below]])).await;
    assert_eq!(outcome(&state, "p0/below"), Some(Outcome::NotStarted));
    assert!(!bench.world().is_on("below"));
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_arguments_have_no_value_fails_in_its_turn_with_the_reason() {
    let bench = Bench::new();
    let mut late = switch("late", on("late"));
    let reason = "read the secret `values.token`".to_owned();
    late.items = Items::Deferred(Deferred { args: Vec::new(), reason: reason.clone() }.into());
    let (state, log) = bench.run(plan(vec![vec![switch("a", on("a"))], vec![late]])).await;
    assert!(bench.world().is_on("a"));
    assert_eq!(outcome(&state, "p1/late"), Some(Outcome::Failed));
    let told = |event: &Event| matches!(event, Event::StepEnded { summary: Some(summary), .. } if summary.contains(&reason));
    assert_eq!(count(&log, told), 1);
}

#[tokio::test(start_paused = true)]
async fn an_optional_failure_fails_nothing_and_holds_nobody_up() {
    let bench = Bench::new();
    let mut slow = switch("slow", bad("slow", Trouble::Hangs));
    slow.policy.optional = true;
    let mut plan = plan(vec![vec![slow, switch("a", on("a"))], vec![expect("proof", "a")]]);
    plan.targets = vec![target("back", Duration::from_secs(3), "p1/proof")];
    let (state, _) = bench.run(plan).await;
    assert_eq!(verdict(&state), (RunVerdict::Recovered, 0));
    assert_eq!(outcome(&state, "p0/slow"), Some(Outcome::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_late_target_is_reported_when_it_is_late_and_cancels_nothing() {
    let bench = Bench::new();
    let slow = Switch { takes_ms: 4000, ..on("a") };
    let mut plan =
        plan(vec![vec![switch("a", slow), after(expect("proof", "a"), "a", Until::Passed)]]);
    plan.phases[0].budget = Some(Duration::from_secs(2));
    plan.targets = vec![target("back", Duration::from_secs(3), "p0/proof")];
    let (state, log) = bench.run(plan).await;
    assert_eq!(verdict(&state), (RunVerdict::RecoveredLate, 5));
    let at = |wanted: fn(&Event) -> bool| {
        log.records().iter().find(|record| wanted(&record.event)).map(|record| record.elapsed_ms)
    };
    assert_eq!(at(|event| matches!(event, Event::BudgetPassed { .. })), Some(2000));
    assert_eq!(at(|event| matches!(event, Event::TargetLate { .. })), Some(3000));
    assert!(at(|event| matches!(event, Event::TargetReached { in_time: false, .. })) >= Some(4000));
}

#[tokio::test(start_paused = true)]
async fn an_optional_step_that_cannot_fit_is_not_started() {
    let bench = Bench::new();
    let mut extra = switch("extra", on("extra"));
    extra.policy.optional = true;
    extra.policy.expected = Duration::from_secs(90);
    let mut plan =
        plan(vec![vec![extra, switch("a", on("a")), after(expect("p", "a"), "a", Until::Passed)]]);
    plan.targets = vec![target("back", Duration::from_secs(60), "p0/p")];
    let (state, _) = bench.run(plan).await;
    assert_eq!(outcome(&state, "p0/extra"), Some(Outcome::Skipped));
    assert!(!bench.world().is_on("extra"));
    assert_eq!(verdict(&state).1, 0);
}

#[tokio::test(start_paused = true)]
async fn only_passing_errors_are_retried() {
    let bench = Bench::new();
    let mut passing = switch("passing", bad("passing", Trouble::FailsTwice));
    passing.policy.retry.attempts = 3;
    let mut lasting = switch("lasting", bad("lasting", Trouble::Fails));
    lasting.policy.retry.attempts = 3;
    lasting.policy.on_failure = OnFailure::Continue;
    let (state, log) = bench.run(plan(vec![vec![passing, lasting]])).await;
    assert_eq!(outcome(&state, "p0/passing"), Some(Outcome::Done));
    assert_eq!(outcome(&state, "p0/lasting"), Some(Outcome::Failed));
    assert_eq!(count(&log, |event| matches!(event, Event::RetryScheduled { .. })), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_cleared_up_by_looking() {
    let bench = Bench::new();
    let (state, log) =
        bench.run(plan(vec![vec![switch("a", bad("a", Trouble::AnswerLost))]])).await;
    assert_eq!(verdict(&state), (RunVerdict::Recovered, 0));
    assert_eq!(bench.world().effects("a"), 1);
    assert_eq!(count(&log, |event| matches!(event, Event::ApplyUnknown { .. })), 1);
    assert_eq!(count(&log, |event| matches!(event, Event::FoundDone { .. })), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_not_cleared_up_while_the_steps_own_probe_says_otherwise() {
    let bench = Bench::new();
    let mut step = switch("a", bad("a", Trouble::AnswerLost));
    let probe = serde_json::json!({"key": "never"}).into();
    step.policy.verify.probe = Some(PlannedProbe { verb: "test.expect".into(), args: probe });
    let (state, _) = bench.run(plan(vec![vec![step]])).await;
    assert_eq!(outcome(&state, "p0/a"), Some(Outcome::Unknown));
    assert_eq!(verdict(&state), (RunVerdict::FailedPartial, 7));
}

#[tokio::test(start_paused = true)]
async fn what_was_in_doubt_stays_so_when_a_later_look_sees_nothing() {
    let bench = Bench::new();
    let mut step = switch("a", bad("a", Trouble::LostThenBlind));
    step.policy.retry.attempts = 3;
    let (state, log) = bench.run(plan(vec![vec![step]])).await;
    assert_eq!(count(&log, |event| matches!(event, Event::RetryScheduled { .. })), 2);
    assert_eq!(outcome(&state, "p0/a"), Some(Outcome::Unknown));
    assert_eq!(verdict(&state), (RunVerdict::FailedPartial, 7));
}

#[tokio::test(start_paused = true)]
async fn what_an_attempt_may_have_left_is_not_forgotten_when_a_later_one_is_refused() {
    let bench = Bench::new();
    let mut step = switch("a", bad("a", Trouble::LostThenRefused));
    step.policy.retry.attempts = 2;
    let (state, log) = bench.run(plan(vec![vec![step]])).await;
    assert_eq!(count(&log, |event| matches!(event, Event::ApplyUnknown { .. })), 1);
    assert_eq!(outcome(&state, "p0/a"), Some(Outcome::Failed));
    assert_eq!(verdict(&state).0, RunVerdict::FailedPartial);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_that_must_not_be_repeated_is_for_a_person() {
    let bench = Bench::new();
    let mut step = switch("a", Switch { never_twice: true, ..bad("a", Trouble::AnswerLost) });
    step.policy.retry.attempts = 5;
    let (state, _) = bench.run(plan(vec![vec![step]])).await;
    assert_eq!(outcome(&state, "p0/a"), Some(Outcome::Unknown));
    assert_eq!(verdict(&state), (RunVerdict::FailedPartial, 7));
    assert_eq!(bench.world().effects("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_call_ends_at_its_deadline_and_is_unknown() {
    let bench = Bench::new();
    let started = tokio::time::Instant::now();
    let (state, _) = bench.run(plan(vec![vec![switch("a", bad("a", Trouble::Hangs))]])).await;
    assert_eq!(outcome(&state, "p0/a"), Some(Outcome::Unknown));
    // 5 s for the call, 2 s to clear the doubt up.
    assert!(started.elapsed() < Duration::from_secs(8));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_an_adapter_stops_the_run_and_is_written_down() {
    let bench = Bench::new();
    let steps = vec![switch("ok", on("ok")), switch("a", bad("a", Trouble::Panics))];
    let (state, log) = bench.run(plan(vec![steps, vec![switch("later", on("later"))]])).await;
    assert_eq!(verdict(&state), (RunVerdict::InternalError, 20));
    assert_eq!(outcome(&state, "p0/a"), Some(Outcome::Unknown));
    assert!(!bench.world().is_on("later"));
    let stop = |event: &Event| {
        matches!(event, Event::StopRequested { reason: StopReason::Panicked { message } }
            if message == "a bug in the adapter")
    };
    assert_eq!(count(&log, stop), 1);
}

#[tokio::test(start_paused = true)]
async fn undo_on_failure_takes_back_this_step_alone_in_reverse_order() {
    let bench = Bench::new();
    let mut step = fleet(
        "fleet",
        vec![
            ("1".into(), Switch { takes_ms: 30, ..on("one") }),
            ("2".into(), Switch { takes_ms: 10, ..on("two") }),
            ("3".into(), bad("three", Trouble::Fails)),
        ],
    );
    step.policy.on_failure = OnFailure::Undo;
    let before = switch("before", on("before"));
    let (state, log) =
        bench.run(plan(vec![vec![before, after(step, "before", Until::Passed)]])).await;
    assert_eq!(verdict(&state).0, RunVerdict::FailedPartial);
    assert!(bench.world().is_on("before"), "earlier steps are kept");
    assert!(!bench.world().is_on("one") && !bench.world().is_on("two"));
    let undone: Vec<_> = log
        .records()
        .iter()
        .filter_map(|record| match &record.event {
            Event::Undone { at } => Some(at.item.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(
        undone,
        ["1", "2", "3"],
        "the last to come into force goes first, the failed one too"
    );
}

#[tokio::test(start_paused = true)]
async fn undo_takes_back_what_waits_for_another_attempt_when_the_run_is_stopped() {
    let bench = Bench::new();
    let mut step = fleet(
        "fleet",
        vec![
            ("1".into(), bad("one", Trouble::Unreachable)),
            ("2".into(), bad("two", Trouble::Fails)),
        ],
    );
    step.policy.on_failure = OnFailure::Undo;
    step.policy.retry.attempts = 5;
    step.policy.retry.delay = Duration::from_secs(60);
    step.policy.retry.max_delay = Duration::from_secs(60);
    let (run, handles) = bench.start(plan(vec![vec![step]]));
    let run = tokio::spawn(run);
    tokio::time::sleep(Duration::from_millis(500)).await;
    handles.signals.send(Signal::Interrupt).unwrap();
    let state = run.await.unwrap().state;
    let undone = |event: &Event| matches!(event, Event::Undone { .. });
    assert_eq!(count(&handles.log, undone), 2);
    assert_ne!(verdict(&state).0, RunVerdict::InternalError);
}

#[tokio::test(start_paused = true)]
async fn what_only_an_undo_needs_goes_with_a_steps_success_and_stays_in_the_journal() {
    let bench = Bench::new();
    let mut bad =
        fleet("fleet", vec![("1".into(), on("one")), ("2".into(), bad("two", Trouble::Fails))]);
    bad.policy.on_failure = OnFailure::Undo;
    let before = switch("before", on("before"));
    let (state, log) =
        bench.run(plan(vec![vec![before, after(bad, "before", Until::Passed)]])).await;
    assert!(!bench.world().is_on("one"), "the failed step had what its undo needs");
    let item = |state: &RunState, step: &str| {
        let item = state.steps[&StepId(step.into())].items.values().next().expect("an item");
        (item.saved().is_some(), item.applied().is_some())
    };
    assert_eq!(item(&state, "p0/before"), (false, false));
    assert!(item(&state, "p0/fleet").0, "it did not succeed");
    let mut folded = RunState::new(state.header.clone());
    for record in log.records() {
        folded.apply(record.elapsed_ms, &record.event).expect("its own records");
    }
    assert_eq!(item(&folded, "p0/before"), (true, true));
}

#[tokio::test(start_paused = true)]
async fn a_fan_out_journals_each_item() {
    let bench = Bench::new();
    let items = (0..131).map(|n| (format!("{n:03}"), on(&format!("s{n}")))).collect();
    let (state, log) = bench.run(plan(vec![vec![fleet("fleet", items)]])).await;
    assert_eq!(verdict(&state).1, 0);
    assert_eq!(count(&log, |event| matches!(event, Event::ApplyStarted { .. })), 131);
    assert_eq!(count(&log, |event| matches!(event, Event::Verified { .. })), 131);
}

#[tokio::test(start_paused = true)]
async fn one_interrupt_settles_what_is_in_flight_and_starts_nothing_new() {
    let bench = Bench::new();
    let slow = Switch { takes_ms: 1000, ..on("a") };
    let plan = plan(vec![vec![switch("a", slow), after(switch("b", on("b")), "a", Until::Passed)]]);
    let (run, handles) = bench.start(plan);
    let run = tokio::spawn(run);
    tokio::time::sleep(Duration::from_millis(500)).await;
    handles.signals.send(Signal::Interrupt).unwrap();
    let state = run.await.unwrap().state;
    assert_eq!(verdict(&state), (RunVerdict::Aborted, 10));
    assert_eq!(outcome(&state, "p0/a"), Some(Outcome::Done));
    assert_eq!(outcome(&state, "p0/b"), None);
}

#[tokio::test(start_paused = true)]
async fn two_interrupts_stop_now_and_mark_what_was_in_flight() {
    let bench = Bench::new();
    let (run, handles) = bench.start(plan(vec![vec![switch("a", bad("a", Trouble::Hangs))]]));
    let run = tokio::spawn(run);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let second = tokio::time::Instant::now();
    handles.signals.send(Signal::Interrupt).unwrap();
    handles.signals.send(Signal::Interrupt).unwrap();
    let state = run.await.unwrap().state;
    assert_eq!(outcome(&state, "p0/a"), Some(Outcome::Unknown));
    assert_eq!(verdict(&state), (RunVerdict::FailedPartial, 7));
    assert!(second.elapsed() <= Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn two_interrupts_begin_no_way_back() {
    let bench = Bench::new();
    let items = vec![("1".into(), on("one")), ("2".into(), bad("two", Trouble::Hangs))];
    let mut step = fleet("fleet", items);
    step.policy.on_failure = OnFailure::Undo;
    let (run, handles) = bench.start(plan(vec![vec![step]]));
    let run = tokio::spawn(run);
    tokio::time::sleep(Duration::from_millis(500)).await;
    handles.signals.send(Signal::Interrupt).unwrap();
    handles.signals.send(Signal::Interrupt).unwrap();
    let state = run.await.unwrap().state;
    assert_eq!(count(&handles.log, |event| matches!(event, Event::UndoStarted { .. })), 0);
    assert_eq!(verdict(&state), (RunVerdict::FailedPartial, 7));
    assert!(bench.world().is_on("one"));
}

#[tokio::test(start_paused = true)]
async fn two_interrupts_take_back_no_further_item() {
    let bench = Bench::new();
    let slow = |key: &str| Switch { takes_ms: 1000, ..on(key) };
    let failing = Switch { trouble: Trouble::NeverHolds, ..slow("two") };
    let mut step = fleet("fleet", vec![("1".into(), slow("one")), ("2".into(), failing)]);
    step.policy.on_failure = OnFailure::Undo;
    let proof = step.policy.verify.within;
    let (run, handles) = bench.start(plan(vec![vec![step]]));
    let run = tokio::spawn(run);
    // The second is on its way back for half a second, and has half a second to go.
    tokio::time::sleep(Duration::from_millis(1500) + proof).await;
    handles.signals.send(Signal::Interrupt).unwrap();
    handles.signals.send(Signal::Interrupt).unwrap();
    let state = run.await.unwrap().state;
    assert_eq!(count(&handles.log, |event| matches!(event, Event::UndoStarted { .. })), 1);
    assert_eq!(count(&handles.log, |event| matches!(event, Event::Undone { .. })), 1);
    assert_eq!(verdict(&state), (RunVerdict::FailedPartial, 7));
    assert_eq!(outcome(&state, "p0/fleet"), Some(Outcome::Failed), "one of them is in force");
    assert!(bench.world().is_on("one") && !bench.world().is_on("two"));
    // The way back is finished, and nothing goes forward first.
    let (run, handles) = bench.resume(handles.log, None);
    assert_eq!(verdict(&run.await.state), (RunVerdict::FailedClean, 6));
    assert_eq!(count(&handles.log, |event| matches!(event, Event::ApplyStarted { .. })), 2);
    assert!(!bench.world().is_on("one") && !bench.world().is_on("two"));
}

#[tokio::test(start_paused = true)]
async fn the_way_back_takes_what_was_only_looked_at_again() {
    let bench = Bench::new();
    let half = Switch { takes_ms: 60_000, ..on("half") };
    let failing = bad("failing", Trouble::NeverHolds);
    let mut step = fleet("fleet", vec![("1".into(), half), ("2".into(), failing)]);
    step.policy.timeout = Duration::from_secs(600);
    step.policy.on_failure = OnFailure::Undo;
    let (run, handles) = bench.start(plan(vec![vec![step]]));
    assert!(killed_after(500, run).await.is_none());
    // Of the first nobody knows; it is looked at though the run stops, and not begun again. The second fails its proof.
    let (run, resumed) = bench.resume(handles.log, None);
    resumed.signals.send(Signal::Interrupt).unwrap();
    let state = run.await.state;
    assert_eq!(verdict(&state), (RunVerdict::FailedClean, 6));
    assert_eq!(count(&resumed.log, |event| matches!(event, Event::Undone { .. })), 2);
    assert!(!bench.world().is_on("half") && !bench.world().is_on("failing"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_terminal_is_only_news() {
    let bench = Bench::new();
    let (run, handles) =
        bench.start(plan(vec![vec![switch("a", Switch { takes_ms: 1000, ..on("a") })]]));
    handles.signals.send(Signal::HangUp).unwrap();
    let state = run.await.state;
    assert_eq!(verdict(&state).1, 0);
    assert_eq!(count(&handles.log, |event| matches!(event, Event::OutputLost { .. })), 1);
}

#[tokio::test(start_paused = true)]
async fn give_up_cancels_the_run() {
    let bench = Bench::new();
    let mut step = switch("a", bad("a", Trouble::Hangs));
    step.policy.timeout = Duration::from_secs(3600);
    let mut plan = plan(vec![vec![step]]);
    plan.give_up = Some(Duration::from_secs(10));
    let started = tokio::time::Instant::now();
    let (state, _) = bench.run(plan).await;
    assert_eq!(state.stop, Some(StopReason::GaveUp));
    assert!(started.elapsed() < Duration::from_secs(13));
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_written_stops_every_change() {
    let whole = {
        let bench = Bench::new();
        bench.run(plan(vec![vec![switch("a", on("a"))], vec![switch("b", on("b"))]])).await.1
    };
    for failing in 1..whole.records().len() as u64 {
        let bench = Bench::new();
        let (run, handles) =
            bench.start(plan(vec![vec![switch("a", on("a"))], vec![switch("b", on("b"))]]));
        handles.log.fail_from(failing, JournalError::Closed);
        let ended = run.await;
        let intents = |key: &str| {
            count(
                &handles.log,
                |event| matches!(event, Event::ApplyStarted { at, .. } if at.step.0.ends_with(key)),
            )
        };
        for key in ["a", "b"] {
            assert!(bench.world().effects(key) as usize <= intents(key), "cut at {failing}");
        }
        assert!(ended.state.ended.is_some());
        // Unless only the very last records were lost, somebody has to be told.
        if !bench.world().is_on("b") {
            assert!(!ended.unrecorded.is_empty(), "cut at {failing}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_required_question_waits_and_an_open_one_does_not() {
    let bench = Bench::new();
    let steps = vec![expect("open", "ask:is it quiet"), expect("required", "ask:sure!")];
    let (run, handles) = bench.start(plan(vec![steps, vec![switch("a", on("a"))]]));
    let run = tokio::spawn(run);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!bench.world().is_on("a"));
    let at = Place { step: StepId("p0/required".into()), item: String::new() };
    handles
        .requests
        .send(Request::Answer { at, by: actor(), confirmed: true, remark: None })
        .unwrap();
    let state = run.await.unwrap().state;
    assert_eq!(verdict(&state).1, 0);
    assert_eq!(outcome(&state, "p0/open"), Some(Outcome::Open));
    assert!(bench.world().is_on("a"));
}

#[tokio::test(start_paused = true)]
async fn what_is_looked_at_later_is_recorded_and_holds_nobody_up() {
    let bench = Bench::new();
    let (state, log) = bench.run(plan(vec![vec![expect("stable", "later:is it stable")]])).await;
    assert_eq!(verdict(&state).1, 0);
    assert_eq!(outcome(&state, "p0/stable"), Some(Outcome::Open));
    let asked = |event: &Event| {
        matches!(event, Event::QuestionOpened { text, required: false, window: Some(Window::Short), hold_ms: Some(60_000), .. }
            if text == "is it stable")
    };
    assert_eq!(count(&log, asked), 1);
}

#[tokio::test(start_paused = true)]
async fn a_person_decides_whether_a_failure_ends_the_run() {
    for go_on in [true, false] {
        let mut bench = Bench::new();
        bench.attended = true;
        let mut step = switch("a", bad("a", Trouble::Fails));
        step.policy.on_failure = OnFailure::Ask;
        let (run, handles) =
            bench.start(plan(vec![vec![step, after(switch("b", on("b")), "a", Until::Passed)]]));
        let run = tokio::spawn(run);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!bench.world().is_on("b"));
        let step = StepId("p0/a".into());
        handles.requests.send(Request::Decide { step, by: actor(), go_on }).unwrap();
        let state = run.await.unwrap().state;
        assert_eq!(bench.world().is_on("b"), go_on);
        assert_eq!(state.stop.is_none(), go_on);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_person_a_question_about_a_failure_means_stop() {
    let bench = Bench::new();
    let mut step = switch("a", bad("a", Trouble::Fails));
    step.policy.on_failure = OnFailure::Ask;
    let (state, _) = bench.run(plan(vec![vec![step]])).await;
    assert!(matches!(state.stop, Some(StopReason::StepFailed { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_at_a_required_question_does_not_answer_it() {
    let bench = Bench::new();
    let steps = vec![expect("sure", "ask:sure!")];
    let (run, handles) = bench.start(plan(vec![steps, vec![switch("a", on("a"))]]));
    let run = tokio::spawn(run);
    tokio::time::sleep(Duration::from_secs(1)).await;
    handles.signals.send(Signal::Interrupt).unwrap();
    let state = run.await.unwrap().state;
    assert_eq!(outcome(&state, "p0/sure"), Some(Outcome::NotStarted));

    let (run, handles) = bench.resume(handles.log, None);
    let run = tokio::spawn(run);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!bench.world().is_on("a"), "nobody has answered");
    let at = Place { step: StepId("p0/sure".into()), item: String::new() };
    let answer = Request::Answer { at, by: actor(), confirmed: true, remark: None };
    handles.requests.send(answer).unwrap();
    assert_eq!(verdict(&run.await.unwrap().state).1, 0);
    assert!(bench.world().is_on("a"));
}

#[tokio::test(start_paused = true)]
async fn a_failure_after_an_interrupt_outweighs_it() {
    let bench = Bench::new();
    let failing = Switch { takes_ms: 1000, ..bad("b", Trouble::Fails) };
    let steps = vec![switch("a", on("a")), after(switch("b", failing), "a", Until::Passed)];
    let (run, handles) = bench.start(plan(vec![steps]));
    let run = tokio::spawn(run);
    tokio::time::sleep(Duration::from_millis(500)).await;
    handles.signals.send(Signal::Interrupt).unwrap();
    assert_eq!(verdict(&run.await.unwrap().state), (RunVerdict::FailedPartial, 7));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_gave_up_can_be_taken_up_again() {
    let bench = Bench::new();
    let slow = Switch { takes_ms: 3000, ..on("a") };
    let mut plan = plan(vec![vec![switch("a", slow), switch("b", on("b"))]]);
    plan.phases[0].steps[1]
        .waits
        .push(crate::plan::Wait { step: StepId("p0/a".into()), until: Until::Passed });
    plan.give_up = Some(Duration::from_secs(5));
    let (run, handles) = bench.start(plan);
    // Killed in the middle, and left alone for longer than the run may take.
    assert!(killed_after(1000, run).await.is_none());
    let (run, _handles) = bench.resume(handles.log, None);
    assert_eq!(verdict(&run.await.state).1, 0);
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_nobody_can_make_any_more_means_stop() {
    let mut bench = Bench::new();
    bench.attended = true;
    let mut step = switch("a", bad("a", Trouble::Fails));
    step.policy.on_failure = OnFailure::Ask;
    let (run, handles) =
        bench.start(plan(vec![vec![step, after(switch("b", on("b")), "a", Until::Passed)]]));
    let run = tokio::spawn(run);
    tokio::time::sleep(Duration::from_secs(60)).await;
    handles.signals.send(Signal::HangUp).unwrap();
    let state = run.await.unwrap().state;
    assert!(matches!(state.stop, Some(StopReason::StepFailed { .. })));
    assert!(!bench.world().is_on("b"));
}

/// A plan whose end state is known, with every kind of trouble that resume has to cope with.
fn eventful(next: &mut impl FnMut(u64) -> u64) -> Plan {
    let phases = 1 + next(3);
    let mut plan_phases = Vec::new();
    for phase in 0..phases {
        let mut steps = Vec::new();
        for step in 0..=next(3) {
            let items = (0..=next(4))
                .map(|item| {
                    let trouble = match next(8) {
                        0 => Trouble::FailsTwice,
                        1 => Trouble::AnswerLost,
                        2 => Trouble::RequestLost,
                        _ => Trouble::None,
                    };
                    let args = Switch {
                        key: format!("{phase}.{step}.{item}"),
                        takes_ms: next(400),
                        trouble,
                        never_twice: next(4) == 0,
                    };
                    (item.to_string(), args)
                })
                .collect();
            let mut planned = fleet(&step.to_string(), items);
            planned.policy.retry.attempts = 4;
            planned.policy.on_failure =
                if next(4) == 0 { OnFailure::Continue } else { OnFailure::Stop };
            if step > 0 && next(2) == 0 {
                planned = after(planned, &(step - 1).to_string(), Until::Passed);
            }
            steps.push(planned);
        }
        plan_phases.push(steps);
    }
    plan(plan_phases)
}

fn switches(plan: &Plan) -> Vec<(StepId, Switch)> {
    plan.steps()
        .flat_map(|step| step.items.resolved().iter().map(move |item| (step.id.clone(), item)))
        .map(|(step, item)| (step, item.args.read().unwrap()))
        .collect()
}

/// Kills runs at random instants, again during resume, and compares the world's own ledger with the journal.
#[test]
#[expect(clippy::print_stdout, reason = "the figures are what the long form is run for")]
fn killed_runs_lose_nothing_and_repeat_nothing_that_must_not_be() {
    let first = from_environment("ROLLBACK_SIM_SEED", 0);
    let seeds = from_environment("ROLLBACK_SIM_SEEDS", 100);
    let results = in_virtual_time(first..first + seeds, killed_and_resumed);
    let killed: u64 = results.iter().map(|(kills, _)| kills).sum();
    let recovered = results.iter().filter(|(_, recovered)| *recovered).count();
    println!(
        "simulation: {seeds} seeds from {first}, kills {killed}, recovered {recovered}, done twice 0, lost 0"
    );
}

/// One run: how often it was killed, and whether it recovered in the end.
async fn killed_and_resumed(seed: u64) -> (u64, bool) {
    let mut next = numbers(seed);
    let bench = Bench::new();
    let plan = eventful(&mut next);
    let (run, handles) = bench.start(plan.clone());
    let mut log = handles.log.clone();
    let mut ended = killed_after(next(2500), run).await;
    drop(handles);
    let mut kills = 0;
    while ended.is_none() {
        let (run, handles) = bench.resume(log, None);
        log = handles.log.clone();
        kills += 1;
        let patience = if kills < 3 { next(2500) } else { 3_600_000 };
        ended = killed_after(patience, run).await;
    }
    let state = ended.unwrap().state;
    for (step, switch) in switches(&plan) {
        let effects = bench.world().effects(&switch.key);
        if switch.never_twice {
            assert!(effects <= 1, "seed {seed}: {} was done {effects} times", switch.key);
        }
        if outcome(&state, &step.0) == Some(Outcome::Done) {
            assert!(bench.world().is_on(&switch.key), "seed {seed}: {} is lost", switch.key);
        }
    }
    let recovered = verdict(&state).0 == RunVerdict::Recovered;
    let known = |step: &StepId| {
        !matches!(outcome(&state, &step.0), Some(Outcome::Unknown | Outcome::Failed))
    };
    let mut off = switches(&plan)
        .into_iter()
        .filter(|(step, switch)| !bench.world().is_on(&switch.key) && known(step));
    assert!(!recovered || off.next().is_none(), "seed {seed}: recovered without a switch");
    (kills, recovered)
}

/// Puts the world where the records say that it is. What was only announced has happened if `announced` says so.
fn put_back(bench: &Bench, records: &[Arc<Record>], announced: bool) {
    let mut switches = HashMap::new();
    for record in records {
        let (at, on) = match &record.event {
            Event::ApplyStarted { at, .. } if announced => (at, true),
            Event::Applied { at, .. } => (at, true),
            Event::Undone { at } => (at, false),
            _ => continue,
        };
        let _former = switches.insert(at.item.clone(), on);
    }
    *bench.world().switches.lock().unwrap() = switches;
}

#[tokio::test(start_paused = true)]
async fn a_way_back_that_must_not_be_gone_twice_is_for_a_person_once_it_was_cut() {
    let bench = Bench::new();
    let once = Switch { never_twice: true, ..on("once") };
    let mut step =
        fleet("fleet", vec![("1".into(), once), ("2".into(), bad("2", Trouble::NeverHolds))]);
    step.policy.on_failure = OnFailure::Undo;
    let (state, log) = bench.run(plan(vec![vec![step]])).await;
    assert_eq!(verdict(&state), (RunVerdict::FailedClean, 6));
    let records = log.records();
    let begun =
        |record: &Arc<Record>| matches!(&record.event, Event::UndoStarted { at } if at.item == "1");
    let cut = records.iter().position(begun).expect("it is taken back") + 1;
    bench.world().turn("once", true);
    let (run, handles) = bench.resume(log.cut_after(cut), None);
    assert_eq!(verdict(&run.await.state), (RunVerdict::FailedPartial, 7));
    assert!(bench.world().is_on("once"), "nobody knows whether the first undo has come through");
    let failed = |event: &Event| matches!(event, Event::UndoFailed { error, .. } if error.kind == ErrorKind::Unknown);
    assert_eq!(count(&handles.log, failed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_way_back_that_was_refused_is_gone_again_by_a_resumed_run() {
    let bench = Bench::new();
    let once = Switch { never_twice: true, ..on("once") };
    let mut step =
        fleet("fleet", vec![("1".into(), once), ("2".into(), bad("2", Trouble::NeverHolds))]);
    step.policy.on_failure = OnFailure::Undo;
    bench.world().turn("locked once", true);
    let (state, log) = bench.run(plan(vec![vec![step]])).await;
    assert_eq!(verdict(&state), (RunVerdict::FailedPartial, 7));
    assert!(bench.world().is_on("once"));
    bench.world().turn("locked once", false);
    let (run, _handles) = bench.resume(log.cut_after(log.records().len()), None);
    assert_eq!(verdict(&run.await.state), (RunVerdict::FailedClean, 6));
    assert!(!bench.world().is_on("once"), "nothing was in doubt");
}

#[tokio::test(start_paused = true)]
async fn a_way_back_that_was_cut_anywhere_is_finished() {
    let bench = Bench::new();
    let named = |switch: Switch| (switch.key.clone(), switch);
    let mut step =
        fleet("fleet", vec![named(on("a")), named(bad("b", Trouble::NeverHolds)), named(on("c"))]);
    step.policy.on_failure = OnFailure::Undo;
    let (state, log) = bench.run(plan(vec![vec![step], vec![switch("later", on("later"))]])).await;
    assert_eq!(verdict(&state), (RunVerdict::FailedClean, 6));
    let records = log.records();
    assert_eq!(count(&log, |event| matches!(event, Event::Undone { .. })), 3);
    // Before it, the run would go forward.
    let begun = |record: &Arc<Record>| matches!(record.event, Event::FailureDecided { .. });
    let begun = records.iter().position(begun).expect("the way back is announced");
    for cut in begun + 1..records.len() {
        put_back(&bench, &records[..cut], true);
        let (run, _handles) = bench.resume(log.cut_after(cut), None);
        let state = run.await.state;
        assert_eq!(verdict(&state), (RunVerdict::FailedClean, 6), "cut after {cut}");
        for key in ["a", "b", "c", "later"] {
            assert!(!bench.world().is_on(key), "{key} remains, cut after {cut}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_recovered_run_that_is_cut_anywhere_recovers_again() {
    let bench = Bench::new();
    let named = |key: &str| (key.to_owned(), on(key));
    let mut plan = plan(vec![
        vec![fleet("a", vec![named("a")]), fleet("b", vec![named("b"), named("c")])],
        vec![expect("proof", "b"), expect("open", "ask:is it quiet")],
    ]);
    plan.targets = vec![target("back", Duration::from_secs(60), "p1/proof")];
    let (_, log) = bench.run(plan).await;
    for cut in 1..log.records().len() {
        for announced in [true, false] {
            put_back(&bench, &log.records()[..cut], announced);
            let (run, _handles) = bench.resume(log.cut_after(cut), None);
            let state = run.await.state;
            assert_eq!(verdict(&state).1, 0, "cut after {cut}, announced: {announced}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_cut_and_no_gap_makes_a_journal_that_cannot_be_followed() {
    for seed in 0..4 {
        let mut next = numbers(seed);
        let bench = Bench::new();
        let mut plan = eventful(&mut next);
        plan.phases[0].steps.push(expect("p0/question", "ask:is it quiet"));
        plan.phases[0].steps.push(expect("p0/probe", "0.0.0"));
        bench.world().turn("rate", true);
        let gates = vec!["rate".to_owned()];
        let held = Holding { for_ms: 1000, every_ms: 200, tolerate_ms: 0, gates };
        plan.phases[0].steps.push(hold("p0/hold", &held));
        let (_, log) = bench.run(plan).await;
        let records: Vec<Record> = log.records().iter().map(|record| (**record).clone()).collect();
        for at in (1..records.len()).step_by(3) {
            let (run, _handles) = bench.resume(log.cut_after(at), None);
            let state = run.await.state;
            assert_ne!(verdict(&state).0, RunVerdict::InternalError, "seed {seed}, cut {at}");
            let gap: Vec<_> = [&records[..at], &records[at + 1..]].concat();
            let state = bench.salvage(&gap).await;
            assert_ne!(verdict(&state).0, RunVerdict::InternalError, "seed {seed}, gap {at}");
        }
    }
}

async fn killed_after(
    millis: u64,
    run: impl Future<Output = super::Ended>,
) -> Option<super::Ended> {
    // Dropping the run drops the dispatcher; its step tasks lose their way to the journal, and so change nothing more.
    tokio::time::timeout(Duration::from_millis(millis), run).await.ok()
}
