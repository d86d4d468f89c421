//! Holds: hours that pass whoever runs the run, and gates that decide.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{count, killed_after, outcome, verdict};
use crate::engine::Request;
use crate::engine::testing::{
    Bench, Holding, actor, after, expect, hold, on, plan, switch, target,
};
use crate::event::{Event, GateState, Outcome, Place, RunVerdict, StopReason};
use crate::plan::{Plan, StepId, Until};
use crate::signal::Signal;

const HOUR: u64 = 3600 * 1000;

fn hours(count: u64) -> Duration {
    Duration::from_millis(count * HOUR)
}

fn day(gates: &[&str]) -> Holding {
    let gates = gates.iter().map(|gate| (*gate).to_owned()).collect();
    Holding { for_ms: 24 * HOUR, every_ms: 300_000, tolerate_ms: 0, gates }
}

/// `half` is switched on, held for a day, and then `none`.
fn graceful(holding: &Holding) -> Plan {
    let held = after(hold("hold", holding), "half", Until::Passed);
    plan(vec![vec![switch("half", on("half")), held], vec![switch("none", on("none"))]])
}

fn looks(log: &crate::journal::MemoryLog) -> usize {
    count(log, |event| matches!(event, Event::HoldLooked { .. }))
}

fn place() -> Place {
    Place { step: StepId("p0/hold".into()), item: String::new() }
}

/// Whole seconds, in which the steps' own milliseconds do not count.
fn seconds(since: Instant) -> u64 {
    since.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_hold_is_over_when_its_time_is_and_its_gates_have_held() {
    let bench = Bench::new();
    bench.world().turn("rate", true);
    let began = Instant::now();
    let (state, log) = bench.run(graceful(&day(&["rate"]))).await;
    assert_eq!(verdict(&state), (RunVerdict::Recovered, 0));
    assert_eq!(seconds(began), 24 * 3600, "no timeout of a step cuts it");
    assert_eq!(looks(&log), 24 * 12 + 1);
    assert!(bench.world().is_on("none"));
}

#[tokio::test(start_paused = true)]
async fn without_gates_the_time_alone_counts() {
    let bench = Bench::new();
    let began = Instant::now();
    let (state, _) = bench.run(graceful(&day(&[]))).await;
    assert_eq!((verdict(&state).1, seconds(began)), (0, 24 * 3600));
}

#[tokio::test(start_paused = true)]
async fn the_first_no_fails_a_hold_that_tolerates_none() {
    let bench = Bench::new();
    bench.world().turn("rate", true);
    let (run, handles) = bench.start(graceful(&day(&["rate"])));
    let run = tokio::spawn(run);
    sleep(hours(3)).await;
    let began = Instant::now();
    bench.world().turn("rate", false);
    let state = run.await.unwrap().state;
    assert!(seconds(began) <= 300);
    assert_eq!(state.stop, Some(StopReason::StepFailed { step: place().step }));
    assert_eq!(verdict(&state), (RunVerdict::FailedPartial, 7));
    assert!(bench.world().is_on("half") && !bench.world().is_on("none"));
    // Whoever goes on has seen to it: the gates are asked again, and the time has gone on.
    bench.world().turn("rate", true);
    let (run, _handles) = bench.resume_later(handles.log, hours(10));
    let began = Instant::now();
    assert_eq!(verdict(&run.await.state).1, 0);
    assert!((11 * 3600 - 300..=11 * 3600).contains(&seconds(began)), "{}", seconds(began));
}

#[tokio::test(start_paused = true)]
async fn a_gate_may_fail_for_as_long_as_is_tolerated() {
    let tolerant = Holding { tolerate_ms: 600_000, ..day(&["rate"]) };
    for (minutes, code) in [(9, 0), (11, 7)] {
        let bench = Bench::new();
        bench.world().turn("rate", true);
        let (run, _handles) = bench.start(graceful(&tolerant));
        let run = tokio::spawn(run);
        sleep(hours(3)).await;
        bench.world().turn("rate", false);
        sleep(Duration::from_secs(60 * minutes)).await;
        bench.world().turn("rate", true);
        // A look falls on the moment in which it began.
        assert_eq!(verdict(&run.await.unwrap().state).1, code, "{minutes} min");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_fails_at_the_end_is_waited_for_while_that_is_tolerated() {
    let bench = Bench::new();
    bench.world().turn("rate", true);
    let tolerant = Holding { tolerate_ms: 600_000, ..day(&["rate"]) };
    let (run, _handles) = bench.start(graceful(&tolerant));
    let (began, run) = (Instant::now(), tokio::spawn(run));
    sleep(Duration::from_secs(24 * 3600 - 120)).await;
    bench.world().turn("rate", false);
    sleep(Duration::from_secs(360)).await;
    assert!(!run.is_finished(), "the time is over, and the gate does not hold");
    bench.world().turn("rate", true);
    assert_eq!(verdict(&run.await.unwrap().state).1, 0);
    assert!((24 * 3600 + 240..24 * 3600 + 300).contains(&seconds(began)), "{}", seconds(began));
}

#[tokio::test(start_paused = true)]
async fn the_time_goes_on_while_nobody_runs_the_run() {
    // Killed after an hour; what is left when it is taken up so much later.
    for (later, left) in [(0, 23), (10, 13), (22, 1), (23, 0), (240, 0)] {
        let bench = Bench::new();
        bench.world().turn("rate", true);
        let (run, handles) = bench.start(graceful(&day(&["rate"])));
        assert!(killed_after(HOUR, run).await.is_none());
        let asked = looks(&handles.log);
        let (run, resumed) = bench.resume_later(handles.log, hours(later));
        let began = Instant::now();
        let state = run.await.state;
        assert_eq!(verdict(&state), (RunVerdict::Recovered, 0));
        let waited = seconds(began) / 60;
        assert!((60 * left..=60 * left + 5).contains(&waited), "{later} h later: {waited} min");
        assert!(looks(&resumed.log) > asked, "its gates are asked once more");
        assert_eq!(bench.world().effects("half"), 1);
        assert_eq!(count(&resumed.log, |event| matches!(event, Event::HoldBegan { .. })), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_whose_time_has_passed_is_not_over_while_a_gate_fails() {
    let bench = Bench::new();
    bench.world().turn("rate", true);
    let (run, handles) = bench.start(graceful(&day(&["rate"])));
    assert!(killed_after(HOUR, run).await.is_none());
    bench.world().turn("rate", false);
    let (run, _handles) = bench.resume_later(handles.log, hours(48));
    assert_eq!(verdict(&run.await.state).1, 7);
    assert!(!bench.world().is_on("none"));
}

#[tokio::test(start_paused = true)]
async fn without_data_a_hold_does_not_end_until_there_are_some() {
    let bench = Bench::new();
    for key in ["rate", "cost", "cost:unknown"] {
        bench.world().turn(key, true);
    }
    let (run, handles) = bench.start(graceful(&day(&["rate", "cost"])));
    let (began, run) = (Instant::now(), tokio::spawn(run));
    sleep(hours(30)).await;
    assert!(!run.is_finished());
    let unknown = |event: &Event| {
        matches!(event, Event::HoldLooked { gates, .. }
            if gates[0].state == GateState::Holds && gates[1].state == GateState::NoData)
    };
    assert_eq!(count(&handles.log, unknown), looks(&handles.log));
    let asked = |event: &Event| matches!(event, Event::QuestionOpened { text, required: true, .. } if text.contains("no data for cost"));
    assert_eq!(count(&handles.log, asked), 1);
    bench.world().turn("cost:unknown", false);
    assert_eq!(verdict(&run.await.unwrap().state).1, 0);
    assert!((30 * 3600..30 * 3600 + 11).contains(&seconds(began)), "{}", seconds(began));
}

#[tokio::test(start_paused = true)]
async fn a_person_can_end_a_hold_without_data() {
    for (confirmed, code) in [(true, 0), (false, 7)] {
        let bench = Bench::new();
        bench.world().turn("rate:unknown", true);
        let (run, handles) = bench.start(graceful(&day(&["rate"])));
        let run = tokio::spawn(run);
        let answer = || Request::Answer { at: place(), by: actor(), confirmed, remark: None };
        sleep(hours(1)).await;
        handles.requests.send(answer()).unwrap();
        sleep(hours(24)).await;
        assert!(!run.is_finished(), "nobody was asked yet when that was said");
        handles.requests.send(answer()).unwrap();
        let began = Instant::now();
        assert_eq!(verdict(&run.await.unwrap().state).1, code);
        assert_eq!(seconds(began), 0);
        assert_eq!(bench.world().is_on("none"), confirmed);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_was_asked_is_still_asked_by_the_run_that_goes_on() {
    let bench = Bench::new();
    bench.world().turn("rate:unknown", true);
    let (run, handles) = bench.start(graceful(&day(&["rate"])));
    assert!(killed_after(25 * HOUR, run).await.is_none());
    let (run, handles) = bench.resume_later(handles.log, hours(1));
    let run = tokio::spawn(run);
    sleep(hours(1)).await;
    assert_eq!(count(&handles.log, |event| matches!(event, Event::QuestionOpened { .. })), 1);
    let answer = Request::Answer { at: place(), by: actor(), confirmed: true, remark: None };
    handles.requests.send(answer).unwrap();
    assert_eq!(verdict(&run.await.unwrap().state).1, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_a_hold_at_once_and_its_time_goes_on() {
    let bench = Bench::new();
    bench.world().turn("rate", true);
    let (run, handles) = bench.start(graceful(&day(&["rate"])));
    let run = tokio::spawn(run);
    sleep(hours(1)).await;
    let began = Instant::now();
    handles.signals.send(Signal::Interrupt).unwrap();
    let state = run.await.unwrap().state;
    assert_eq!(verdict(&state), (RunVerdict::Aborted, 10));
    assert_eq!(outcome(&state, "p0/hold"), Some(Outcome::NotStarted));
    assert_eq!(seconds(began), 0);
    let (run, _handles) = bench.resume_later(handles.log, hours(23));
    let began = Instant::now();
    assert_eq!((verdict(&run.await.state).1, seconds(began)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_holds_is_cut_anywhere_and_holds_no_longer_than_it_should() {
    let bench = Bench::new();
    bench.world().turn("rate", true);
    let mut plan = graceful(&Holding { every_ms: 6 * HOUR, ..day(&["rate"]) });
    plan.phases[1].steps.push(after(expect("p1/proof", "none"), "p1/none", Until::Passed));
    plan.targets = vec![target("gone", hours(25), "p1/proof")];
    let (run, handles) = bench.start(plan);
    assert_eq!(verdict(&run.await.state).1, 0);
    let records = handles.log.records();
    for cut in 1..records.len() {
        let (run, _resumed) = bench.resume(handles.log.cut_after(cut), None);
        let began = Instant::now();
        assert_eq!(verdict(&run.await.state).1, 0, "cut after {cut}");
        let here = u64::try_from(began.elapsed().as_millis()).unwrap();
        let whole = records[cut - 1].elapsed_ms + here;
        // A resumed run counts the time of this machine, too, which has passed meanwhile.
        assert!((86_340_000..86_410_000).contains(&whole), "cut after {cut}: {whole} ms");
    }
}
