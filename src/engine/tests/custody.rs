//! The subject: lent while a run waits for hours, and its own again before anything is changed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::sleep;

use super::verdict;
use crate::engine::Request;
use crate::engine::custody::{Custody, Regained};
use crate::engine::testing::{Bench, Holding, Switch, after, expect, hold, on, plan, switch};
use crate::event::{RunVerdict, StopReason};
use crate::plan::{Plan, PlannedApproval, Until};

/// What was done with a subject, and whether it is gone.
#[derive(Default)]
struct Keeper {
    told: Mutex<Vec<String>>,
    gone: Mutex<bool>,
    /// Somebody has it who may give it back.
    busy: Mutex<bool>,
}

impl Keeper {
    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

impl Custody for Keeper {
    fn lend(&self, waits: &str) {
        self.told.lock().unwrap().push(format!("lent in {waits}"));
    }

    fn take_back(&self) -> Result<Regained, StopReason> {
        if *self.busy.lock().unwrap() {
            return Ok(Regained::NotYet { holder: "another".into() });
        }
        self.told.lock().unwrap().push("taken back".into());
        if *self.gone.lock().unwrap() { Err(taken()) } else { Ok(Regained::Held) }
    }
}

fn taken() -> StopReason {
    StopReason::TakenOver { run: "other".into(), runbook: "rescue (emergency)".into() }
}

fn kept() -> (Bench, Arc<Keeper>) {
    let keeper = Arc::new(Keeper::default());
    let bench = Bench { custody: keeper.clone(), ..Bench::new() };
    bench.world().turn("rate", true);
    (bench, keeper)
}

/// A change, an hour, a change, an hour, a change.
fn staged() -> Plan {
    let hour = Holding {
        for_ms: 3_600_000,
        every_ms: 300_000,
        tolerate_ms: 0,
        gates: vec!["rate".into()],
    };
    let staged =
        |key: &str| vec![switch(key, on(key)), after(hold("hold", &hour), key, Until::Passed)];
    plan(vec![staged("half"), staged("quarter"), vec![switch("none", on("none"))]])
}

#[tokio::test(start_paused = true)]
async fn it_is_lent_in_every_hold_and_taken_back_before_each_change() {
    let (bench, keeper) = kept();
    let (state, _) = bench.run(staged()).await;
    assert_eq!(verdict(&state).1, 0);
    let told = ["lent in p0/hold", "taken back", "lent in p1/hold", "taken back"];
    assert_eq!(keeper.told(), told);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_subject_is_gone_changes_nothing_more() {
    let (bench, keeper) = kept();
    let (run, handles) = bench.start(staged());
    let run = tokio::spawn(run);
    sleep(Duration::from_secs(60)).await;
    *keeper.gone.lock().unwrap() = true;
    let state = run.await.unwrap().state;
    assert_eq!(state.stop, Some(taken()));
    assert_eq!(verdict(&state), (RunVerdict::Aborted, 10));
    assert!(bench.world().is_on("half") && !bench.world().is_on("quarter"));
    let (state, _) = crate::engine::recover::fold(&handles.log.history().unwrap().records, false)
        .expect("the journal can be followed");
    assert_eq!(state.stop, Some(taken()), "whoever resumes it can be told");
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_for_a_subject_that_may_come_back() {
    let (bench, keeper) = kept();
    let (run, _handles) = bench.start(staged());
    let run = tokio::spawn(run);
    sleep(Duration::from_secs(60)).await;
    *keeper.busy.lock().unwrap() = true;
    sleep(Duration::from_secs(2 * 3600)).await;
    assert!(!run.is_finished() && !bench.world().is_on("quarter"), "nothing is changed meanwhile");
    *keeper.busy.lock().unwrap() = false;
    let state = run.await.unwrap().state;
    assert_eq!(verdict(&state).1, 0);
    let told = ["lent in p0/hold", "taken back", "lent in p1/hold", "taken back"];
    assert_eq!(keeper.told(), told);
}

#[tokio::test(start_paused = true)]
async fn a_letter_tells_a_waiting_run_at_once() {
    let (bench, _) = kept();
    let (run, handles) = bench.start(staged());
    let run = tokio::spawn(run);
    sleep(Duration::from_secs(60)).await;
    let StopReason::TakenOver { run: other, runbook } = taken() else { unreachable!() };
    handles.requests.send(Request::TakeOver { run: other, runbook }).unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(run.await.unwrap().state.stop, Some(taken()));
    assert_eq!(began.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn it_is_lent_while_somebody_is_asked_and_nothing_else_is_at_work() {
    for (beside, told) in [(false, vec!["lent in p0/b"]), (true, vec![])] {
        let (bench, keeper) = kept();
        let mut b = switch("b", on("b"));
        b.policy.approval = Some(PlannedApproval {
            role: "lead".into(),
            within: Duration::from_secs(60),
            reason: None,
            approvers: Vec::new(),
        });
        let mut steps = vec![b];
        if beside {
            let mut slow = switch("slow", Switch { takes_ms: 100_000, ..on("slow") });
            slow.policy.timeout = Duration::from_secs(200);
            steps.push(slow);
        }
        let (state, _) = bench.run(plan(vec![steps])).await;
        assert_eq!(verdict(&state).1, 9);
        assert_eq!(keeper.told(), told);
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_not_lent_while_anything_else_is_at_work() {
    let (bench, keeper) = kept();
    let mut plan = staged();
    let mut slow = switch("slow", Switch { takes_ms: 7_200_000, ..on("slow") });
    slow.policy.timeout = Duration::from_secs(3 * 3600);
    slow.id = crate::plan::StepId("p0/slow".into());
    plan.phases[0].steps.push(slow);
    plan.phases[2].steps.push(after(expect("p2/proof", "none"), "p2/none", Until::Passed));
    let (state, _) = bench.run(plan).await;
    assert_eq!(verdict(&state).1, 0);
    assert_eq!(keeper.told(), ["lent in p1/hold", "taken back"]);
}
