use serde_json::json;

use super::*;
use crate::plan::testing::{context, plan, planned, planned_phase};
use crate::plan::{Deferred, PlannedItem};

fn step(id: &str, waits: &[&str], verb: &str, args: Value) -> PlannedStep {
    let mut step = planned(id, waits);
    step.verb = verb.into();
    step.items = Items::Resolved(vec![PlannedItem {
        name: String::new(),
        args: args.into(),
        does: "do it".into(),
        undo: String::new(),
    }]);
    step
}

fn set(id: &str, waits: &[&str], key: &str) -> PlannedStep {
    step(id, waits, "memory.set", json!({"key": key, "to": "new"}))
}

fn expect(id: &str, waits: &[&str], key: &str, predicts: bool) -> PlannedStep {
    step(id, waits, "memory.expect", json!({"key": key, "is": "new", "predicts": predicts}))
}

async fn look(settings: Value, steps: Vec<PlannedStep>) -> Preview {
    let cx = PreviewContext { resolve: Arc::new(context(settings)), scratch: "/nowhere".into() };
    preview(&plan(vec![planned_phase("p", steps)], &[]), &cx).await
}

fn findings(preview: &Preview) -> Vec<&'static str> {
    let items = preview.steps.iter().flat_map(|step| &step.items);
    items
        .map(|item| match item.finding {
            Finding::WouldChange { .. } => "would change",
            Finding::AlreadyDone { .. } => "already done",
            Finding::Holds { .. } => "holds",
            Finding::WillHold { .. } => "will hold",
            Finding::MayHold { .. } => "may hold",
            Finding::DoesNotHold { .. } => "does not hold",
            Finding::AsksPerson { .. } => "asks",
            Finding::AsksLater { .. } => "asks later",
            Finding::Skipped { .. } => "skipped",
            Finding::CannotTell { .. } => "cannot tell",
        })
        .collect()
}

#[tokio::test]
async fn predictions_reach_later_steps_and_nothing_is_changed() {
    let steps = vec![
        set("p/a", &[], "k"),
        expect("p/b", &["p/a"], "k", true),
        expect("p/c", &["p/a"], "k", false),
    ];
    let resolve = Arc::new(context(json!({"values": {"k": "old"}})));
    let cx = PreviewContext { resolve: resolve.clone(), scratch: "/nowhere".into() };
    let plan = plan(vec![planned_phase("p", steps)], &[]);
    let first = preview(&plan, &cx).await;
    assert_eq!(findings(&first), ["would change", "will hold", "may hold"]);
    assert_eq!(first.verdict, PreviewVerdict::Likely);
    assert_eq!(first.weakest, [StepId("p/b".into()), StepId("p/c".into())]);
    assert_eq!(first.steps[0].items[0].known, Known::ReadLive);
    assert_eq!(first.steps[1].items[0].known, Known::Predicted);
    assert_eq!(preview(&plan, &cx).await, first, "the first look changed nothing");
}

#[tokio::test]
async fn what_is_there_already_needs_nothing() {
    let steps = vec![set("p/a", &[], "k"), expect("p/b", &["p/a"], "k", true)];
    let found = look(json!({"values": {"k": "new"}}), steps).await;
    assert_eq!(findings(&found), ["already done", "holds"]);
    assert_eq!(found.verdict, PreviewVerdict::NothingToDo);
    assert!(found.weakest.is_empty());
}

#[tokio::test]
async fn a_wrong_answer_that_nothing_changes_fails() {
    let steps = vec![expect("p/a", &[], "k", false), set("p/b", &["p/a"], "k")];
    let found = look(json!({}), steps).await;
    assert_eq!(findings(&found), ["does not hold", "would change"]);
    assert_eq!(found.verdict, PreviewVerdict::WillFail);
    assert_eq!(found.weakest, [StepId("p/a".into())]);
}

#[tokio::test]
async fn the_verdict_is_that_of_the_weakest_required_step() {
    let mut optional = step("p/chat", &[], "no.such", json!({}));
    optional.policy.optional = true;
    let found = look(json!({}), vec![set("p/a", &[], "k"), optional.clone()]).await;
    assert_eq!(findings(&found), ["would change", "cannot tell"]);
    assert_eq!(found.verdict, PreviewVerdict::Ready, "an optional step cannot fail the run");
    optional.policy.optional = false;
    let found = look(json!({}), vec![set("p/a", &[], "k"), optional]).await;
    assert_eq!(found.verdict, PreviewVerdict::CannotTell);
}

#[tokio::test]
async fn skipped_and_deferred_steps_are_told_as_a_whole() {
    let mut skipped = set("p/a", &[], "k");
    skipped.skip = Some("its condition is false".into());
    let mut deferred = set("p/b", &[], "k");
    deferred.items =
        Items::Deferred(Deferred { args: Vec::new(), reason: "reach memory".into() }.into());
    let found = look(json!({}), vec![skipped, deferred]).await;
    assert_eq!(findings(&found), ["skipped", "cannot tell"]);
}

#[tokio::test(start_paused = true)]
async fn silent_systems_cost_one_deadline_each_layer() {
    let started = tokio::time::Instant::now();
    let steps =
        vec![set("p/a", &[], "k"), set("p/b", &[], "l"), expect("p/c", &["p/a"], "k", true)];
    let found = look(json!({"silent": true}), steps).await;
    assert_eq!(findings(&found), ["cannot tell"; 3]);
    assert_eq!(started.elapsed(), std::time::Duration::from_secs(10));
}

#[tokio::test]
async fn a_preview_survives_json() {
    let found = look(json!({"down": true}), vec![set("p/a", &[], "k")]).await;
    let text = serde_json::to_string(&found).expect("serializable");
    assert_eq!(serde_json::from_str::<Preview>(&text).expect("readable"), found);
}
