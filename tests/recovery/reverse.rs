//! Promise P30 of whole runs: a shipped runbook fails at a step, and what it has done is taken back, each change twice; then
//! the world is as it was, but for what was announced.
//!
//! `make test` lets some steps of every runbook fail, another few each time; `make revert`, or `ROLLBACK_REVERT_STEPS=all`, all of them.

use std::path::Path;
use std::sync::Arc;

use rollback::action::{Action as _, Present, Readiness, Saved};
use rollback::clock;
use rollback::engine::{MemoryVault, Vault, take_back};
use rollback::event::{Event, Header, Record, RunVerdict};
use rollback::journal::Journal;
use rollback::plan::{Plan, StepId};
use rollback::revert::{self, LookContext, Past, look};
use serde_json::Value;

use super::rig::Rig;
use super::steps::{Attempts, Bench, RUN, fail, header, shipped};

/// Every so many steps fail in the short form.
const SHORT: usize = 6;

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figures are what the long form is run for")]
async fn a_run_that_fails_at_any_step_is_taken_back_and_each_change_twice() {
    let all = std::env::var("ROLLBACK_REVERT_STEPS").is_ok_and(|wanted| wanted == "all");
    let every = if all { 1 } else { SHORT };
    let first = usize::try_from(clock::now().as_millisecond()).expect("after 1970") % every;
    let mut bench = Bench::new().await;
    let (mut runs, mut changes) = (0, 0);
    for path in shipped() {
        bench.reset(&path).await;
        let plan = bench.plan(&path).await;
        let concerned = plan.steps().filter(|step| step.skip.is_none());
        let ids: Vec<StepId> = concerned.map(|step| step.id.clone()).collect();
        // None fails in the first round.
        let rounds = std::iter::once(None).chain(ids.iter().skip(first).step_by(every).map(Some));
        for failing in rounds {
            changes += there_and_back(&mut bench, &path, failing).await;
            runs += 1;
        }
    }
    println!("{runs} runs taken back, {changes} changes in them, each twice");
    assert!(changes > 10, "only {changes} changes were taken back");
}

/// Runs a runbook in which a step fails, and takes all of it back. Returns how many changes that were.
async fn there_and_back(bench: &mut Bench, path: &Path, failing: Option<&StepId>) -> usize {
    bench.reset(path).await;
    let before = Rig::at_rest(|| bench.state());
    let context = format!("{} with {failing:?} failing", path.display());
    let mut plan = bench.plan(path).await;
    if let Some(id) = failing {
        let _policy = fail(bench, &mut plan, id).await;
    }
    let vault: Arc<dyn Vault> = Arc::new(MemoryVault::default());
    let (records, _) = run(bench, header(plan), &vault).await;
    let past = Past::of(&records, "00".repeat(32)).expect("a journal of this program");
    let plan = revert::plan(&past, &bench.resolve, &|_| None).expect("all of it can be planned");
    in_reverse(&past, &plan, &context);
    let cx = LookContext {
        resolve: bench.resolve.clone(),
        vault: vault.clone(),
        scratch: bench.scratch.path().to_owned(),
    };
    let looked = look(&plan, &past, &cx).await;
    assert!(looked.refusals.is_empty(), "{context}: {:?}", looked.refusals);
    let changes = plan.steps().map(|step| step.items.resolved().len()).sum();
    let wanted = without_what_stays(&plan, before);
    let state = || without_what_stays(&plan, bench.state());

    match failing {
        None => {
            let reverse = Header { run: "20261122-0000-back".into(), ..header(plan.clone()) };
            let (records, verdict) = run(bench, reverse, &vault).await;
            assert_eq!(verdict, RunVerdict::Recovered, "{context}: {:#?}", troubles(&records));
        }
        Some(_) => each_twice(bench, &plan, &vault, &context).await,
    }
    Rig::becomes(&wanted, &context, state);
    changes
}

/// Takes everything back in the plan's order as the engine does, and at once a second time. Whoever looks sees each change as the run left it
/// before, and as before the run afterwards; so a resumed revert does that does not know whether it was done.
async fn each_twice(bench: &Bench, plan: &Plan, vault: &Arc<dyn Vault>, context: &str) {
    for step in plan.steps() {
        let verb = bench.resolve.registry.verb(&step.verb).expect("a planned verb exists");
        for item in step.items.resolved() {
            let back = take_back(verb, &item.args, RUN, &bench.resolve, vault.as_ref());
            let back = back.await.expect("its saved state is there");
            let attempts = Attempts::new(bench, step);
            let what = format!("{} [{}]; {context}", step.id, item.name);
            let look = async || back.look(&attempts.context()).await;
            let left = look().await;
            assert!(matches!(left, Ok(Present::AsLeft | Present::Unseen)), "{left:?} {what}");
            for time in ["once", "twice"] {
                let undone = back.apply(&attempts.context(), &Saved::default()).await;
                let applied =
                    undone.unwrap_or_else(|error| panic!("undone {time}: {error:?} {what}"));
                attempts.verified(&back, &applied).await;
                let seen = look().await.unwrap_or_else(|error| panic!("{error:?} {what}"));
                assert!(matches!(seen, Present::AsBefore | Present::Unseen), "{seen:?} {what}");
                let spared = back.inspect(&attempts.context().after_attempts(1)).await;
                let done = matches!(spared, Ok(Readiness::AlreadyDone { .. }));
                assert_eq!(done, seen == Present::AsBefore, "{spared:?} {what}");
            }
        }
    }
}

async fn run(bench: &Bench, header: Header, vault: &Arc<dyn Vault>) -> (Vec<Record>, RunVerdict) {
    let header = Arc::new(header);
    let (journal, log) = Journal::in_memory(header.clone());
    let ended = bench.engine(journal, vault.clone()).run(header).await;
    let records = log.records().iter().map(|record| Record::clone(record)).collect();
    (records, ended.state.ended.expect("it ends").0)
}

/// What came into force after something else is taken back before it.
fn in_reverse(past: &Past, plan: &Plan, context: &str) {
    let order: Vec<(String, usize)> = plan
        .steps()
        .enumerate()
        .flat_map(|(place, step)| {
            step.items.resolved().iter().map(move |item| {
                (item.args.value()["place"].as_str().expect("a place").to_owned(), place)
            })
        })
        .collect();
    let place = |change: &revert::Change| {
        let name = change.place().to_string();
        order.iter().find(|(known, _)| *known == name).map(|(_, place)| *place)
    };
    for one in &past.changes {
        for other in past.changes.iter().filter(|other| other.begun > one.ended) {
            if let (Some(one_at), Some(other_at)) = (place(one), place(other)) {
                assert!(other_at < one_at, "{} before {}; {context}", other.place(), one.place());
            }
        }
    }
}

/// The state without the systems in which something stays that was announced.
fn without_what_stays(plan: &Plan, mut state: Value) -> Value {
    let reverts = plan.reverts.as_ref().expect("the plan of a revert");
    for left in reverts.left.iter().filter(|left| !left.message) {
        // A step that was made to fail has changed nothing.
        if left.step.0.ends_with("/clear-metrics") {
            let _removed = state.as_object_mut().expect("groups").remove("redis");
        }
    }
    state
}

fn troubles(records: &[Record]) -> Vec<&Event> {
    let bad = |event: &&Event| {
        matches!(
            event,
            Event::ApplyFailed { .. }
                | Event::ApplyUnknown { .. }
                | Event::VerifyFailed { .. }
                | Event::InspectFailed { .. }
        )
    };
    records.iter().map(|record| &record.event).filter(bad).collect()
}
