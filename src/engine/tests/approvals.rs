//! Approvals: nothing begins without them, and nothing is lost by waiting for them.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{count, killed_after, outcome, verdict};
use crate::engine::testing::{Bench, Switch, Trouble, actor, after, bad, expect, on, plan, switch};
use crate::engine::{ApprovalAnswer, Request};
use crate::event::{Channel, Event, Outcome, RunVerdict, SkipReason, StopReason};
use crate::plan::{Plan, PlannedApproval, PlannedStep, StepId, Until};
use crate::signal::Signal;

fn needed(approvers: &[&str]) -> PlannedApproval {
    PlannedApproval {
        role: "lead".into(),
        within: Duration::from_secs(60),
        reason: None,
        approvers: approvers.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn approved(mut step: PlannedStep) -> PlannedStep {
    step.policy.approval = Some(needed(&["ada"]));
    step
}

/// `a`, then `b` after an approval, then `c`.
fn three() -> Plan {
    let b = approved(after(switch("b", on("b")), "a", Until::Passed));
    plan(vec![vec![switch("a", on("a")), b], vec![switch("c", on("c"))]])
}

fn says(name: &str, step: Option<&str>, approved: bool) -> Request {
    Request::Approve(ApprovalAnswer {
        step: step.map(|step| StepId(step.into())),
        name: name.into(),
        by: actor(),
        how: Channel::Command,
        approved,
        reason: Some("seen".into()),
    })
}

#[tokio::test(start_paused = true)]
async fn a_step_begins_when_it_is_approved() {
    let bench = Bench::new();
    let (run, handles) = bench.start(three());
    let run = tokio::spawn(run);
    sleep(Duration::from_secs(59)).await;
    assert!(bench.world().is_on("a") && !bench.world().is_on("b"));
    // Neither the wrong person nor the wrong place is an answer.
    handles.requests.send(says("eve", Some("p0/b"), true)).unwrap();
    handles.requests.send(says("ada", None, true)).unwrap();
    sleep(Duration::from_millis(1)).await;
    assert!(!bench.world().is_on("b"));
    assert_eq!(count(&handles.log, |event| matches!(event, Event::Warned { .. })), 2);
    handles.requests.send(says("ada", Some("p0/b"), true)).unwrap();
    let state = run.await.unwrap().state;
    assert_eq!(verdict(&state), (RunVerdict::Recovered, 0));
    assert!(bench.world().is_on("c"));
    let kept = |event: &Event| {
        matches!(event, Event::ApprovalAnswered { role, name, listed: true, how: Channel::Command, reason: Some(_), .. }
            if role == "lead" && name == "ada")
    };
    assert_eq!(count(&handles.log, kept), 1);
}

#[tokio::test(start_paused = true)]
async fn a_denied_step_stops_the_run_and_what_is_done_is_kept() {
    let bench = Bench::new();
    let (run, handles) = bench.start(three());
    let run = tokio::spawn(run);
    sleep(Duration::from_secs(1)).await;
    handles.requests.send(says("ada", Some("p0/b"), false)).unwrap();
    let state = run.await.unwrap().state;
    assert_eq!(verdict(&state), (RunVerdict::NotApproved, 9));
    let denied = StopReason::NotApproved {
        step: Some(StepId("p0/b".into())),
        role: "lead".into(),
        denied_by: Some("ada".into()),
    };
    assert_eq!(state.stop, Some(denied));
    assert!(bench.world().is_on("a") && !bench.world().is_on("b") && !bench.world().is_on("c"));
    assert_eq!(outcome(&state, "p0/b"), None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_gives_in_time_is_a_no() {
    let bench = Bench::new();
    let begun = Instant::now();
    let (state, _) = bench.run(three()).await;
    assert_eq!(verdict(&state), (RunVerdict::NotApproved, 9));
    assert_eq!(begun.elapsed().as_secs(), 60);
    assert!(!bench.world().is_on("b"));
}

#[tokio::test(start_paused = true)]
async fn a_whole_run_waits_before_its_first_change() {
    for yes in [true, false] {
        let bench = Bench::new();
        let mut plan = plan(vec![vec![switch("a", on("a"))]]);
        plan.approval = Some(needed(&[]));
        let (run, handles) = bench.start(plan);
        let run = tokio::spawn(run);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(count(&handles.log, |event| matches!(event, Event::PhaseStarted { .. })), 0);
        handles.requests.send(says("anybody", None, yes)).unwrap();
        let state = run.await.unwrap().state;
        assert_eq!(verdict(&state).1, if yes { 0 } else { 9 });
        assert_eq!(bench.world().is_on("a"), yes);
        let unlisted =
            |event: &Event| matches!(event, Event::ApprovalAnswered { listed: false, .. });
        assert_eq!(count(&handles.log, unlisted), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_run_does_without_an_optional_step_and_waits_for_it_to_its_end() {
    for (yes, wanted) in [(true, Outcome::Done), (false, Outcome::Skipped)] {
        let bench = Bench::new();
        let mut extra = approved(switch("extra", on("extra")));
        extra.policy.optional = true;
        let (run, handles) = bench.start(plan(vec![vec![extra, switch("a", on("a"))]]));
        let run = tokio::spawn(run);
        sleep(Duration::from_secs(10)).await;
        assert!(bench.world().is_on("a"), "it holds nobody up");
        handles.requests.send(says("ada", Some("p0/extra"), yes)).unwrap();
        let state = run.await.unwrap().state;
        assert_eq!(verdict(&state).1, 0);
        assert_eq!(outcome(&state, "p0/extra"), Some(wanted));
        assert_eq!(bench.world().is_on("extra"), yes);
        let told = |event: &Event| {
            matches!(event, Event::StepSkipped { reason: SkipReason::NotApproved { .. }, .. })
        };
        assert_eq!(count(&handles.log, told), usize::from(!yes));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_approved_is_not_asked_again_and_what_was_denied_is() {
    let bench = Bench::new();
    let slow = Switch { takes_ms: 4000, ..on("b") };
    let mut plan =
        plan(vec![vec![approved(switch("b", slow))], vec![approved(switch("c", on("c")))]]);
    plan.approval = Some(needed(&[]));
    let (run, handles) = bench.start(plan);
    handles.requests.send(says("bob", None, true)).unwrap();
    handles.requests.send(says("ada", Some("p0/b"), true)).unwrap();
    assert!(killed_after(2000, run).await.is_none(), "killed in the middle of b");

    let (run, handles) = bench.resume(handles.log, None);
    let run = tokio::spawn(run);
    sleep(Duration::from_secs(30)).await;
    assert!(bench.world().is_on("b"), "neither the run nor b is asked about again");
    handles.requests.send(says("ada", Some("p1/c"), false)).unwrap();
    assert_eq!(verdict(&run.await.unwrap().state).1, 9);

    let (run, handles) = bench.resume(handles.log, None);
    let run = tokio::spawn(run);
    sleep(Duration::from_secs(30)).await;
    assert!(!run.is_finished(), "whoever goes on asks again, with all the time there is");
    handles.requests.send(says("ada", Some("p1/c"), true)).unwrap();
    assert_eq!(verdict(&run.await.unwrap().state).1, 0);
    assert!(bench.world().is_on("c"));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_approval_counts_from_when_it_was_first_asked_for() {
    let bench = Bench::new();
    let mut beside = switch("beside", Switch { takes_ms: 40_000, ..on("beside") });
    beside.policy.timeout = Duration::from_secs(60);
    let plan = plan(vec![vec![beside, approved(switch("b", on("b")))]]);
    let (run, handles) = bench.start(plan);
    assert!(killed_after(45_000, run).await.is_none());
    let begun = Instant::now();
    let (run, _handles) = bench.resume(handles.log, None);
    assert_eq!(verdict(&run.await.state).1, 9);
    let waited = begun.elapsed().as_secs();
    assert!((15..=20).contains(&waited), "{waited} s");
}

#[tokio::test(start_paused = true)]
async fn an_approval_whose_time_passed_while_nobody_could_hear_the_answer_is_asked_again() {
    let bench = Bench::new();
    let (run, handles) = bench.start(three());
    assert!(killed_after(10_000, run).await.is_none());
    let (run, handles) = bench.resume_later(handles.log, Duration::from_secs(3600));
    let run = tokio::spawn(run);
    sleep(Duration::from_secs(30)).await;
    assert!(!run.is_finished(), "with all its time");
    assert_eq!(count(&handles.log, |event| matches!(event, Event::ApprovalAsked { .. })), 2);
    handles.requests.send(says("ada", Some("p0/b"), true)).unwrap();
    assert_eq!(verdict(&run.await.unwrap().state).1, 0);
    let log = handles.log.cut_after(handles.log.records().len() - 1);
    let (run, _handles) = bench.resume(log, None);
    assert_eq!(verdict(&run.await.state).1, 0, "what was recorded so can be followed");
}

#[tokio::test(start_paused = true)]
async fn a_failure_and_an_interrupt_outweigh_a_no() {
    let bench = Bench::new();
    let failing = Switch { takes_ms: 3000, ..bad("x", Trouble::Fails) };
    let plan = plan(vec![vec![switch("x", failing), approved(switch("b", on("b")))]]);
    let (run, handles) = bench.start(plan.clone());
    let run = tokio::spawn(run);
    sleep(Duration::from_secs(1)).await;
    handles.requests.send(says("ada", Some("p0/b"), false)).unwrap();
    assert_eq!(verdict(&run.await.unwrap().state), (RunVerdict::FailedPartial, 7));

    let (run, handles) = bench.start(three());
    let run = tokio::spawn(run);
    sleep(Duration::from_secs(1)).await;
    handles.signals.send(Signal::Interrupt).unwrap();
    assert_eq!(verdict(&run.await.unwrap().state), (RunVerdict::Aborted, 10));
    assert!(!bench.world().is_on("b"));
}

#[tokio::test(start_paused = true)]
async fn an_approved_run_that_is_cut_anywhere_recovers_and_no_gap_opens_a_gate() {
    let bench = Bench::new();
    let mut plan = three();
    plan.approval = Some(needed(&[]));
    plan.phases[1].steps.push(expect("p1/proof", "b"));
    let answer = |requests: &tokio::sync::mpsc::UnboundedSender<Request>| {
        let requests = requests.clone();
        tokio::spawn(async move {
            // Until the run is over, and whatever it asks.
            while requests.send(says("ada", None, true)).is_ok() {
                let _over = requests.send(says("ada", Some("p0/b"), true));
                sleep(Duration::from_secs(1)).await;
            }
        })
    };
    let (run, handles) = bench.start(plan);
    let _answering = answer(&handles.requests);
    assert_eq!(verdict(&run.await.state).1, 0);
    let records = handles.log.records();
    for cut in 1..records.len() {
        let (run, resumed) = bench.resume(handles.log.cut_after(cut), None);
        let _answering = answer(&resumed.requests);
        assert_eq!(verdict(&run.await.state).1, 0, "cut after {cut}");
    }
    let given = |event: &Event| matches!(event, Event::ApprovalAnswered { step: Some(_), .. });
    let answered = records.iter().position(|record| given(&record.event)).expect("it was given");
    bench.world().turn("b", false);
    let gap: Vec<_> =
        records[..answered].iter().chain(&records[answered + 1..]).map(|r| (**r).clone()).collect();
    assert_eq!(verdict(&bench.salvage(&gap).await).1, 9, "nobody knows any more that it was given");
    assert!(!bench.world().is_on("b"));
}
