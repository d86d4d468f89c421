//! The plan that takes a run back: the reverse of each of its changes, in the reverse order of what came into force.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::Duration;

use super::{Change, Past};
use crate::action::{Action, ActionError, ErrorKind, ResolveContext, Reversal, Verb, Work};
use crate::plan::{
    Back, Concern, History, Items, Left, Plan, PlannedItem, PlannedPhase, PlannedStep, Refused,
    RetryPolicy, Reverts, StepId, StepPolicy, Until, VerifyPolicy, Wait,
};
use crate::runbook::OnFailure;
use crate::value::JsonText;

/// What stands before the ids of phases that take others back.
const PREFIX: &str = "revert-";
/// The assumed duration of a step that nobody has measured.
const TAKES: Duration = Duration::from_secs(2);

/// The changes of one step in one session of the run: they were made together, and are taken back together.
struct Batch<'a> {
    changes: Vec<&'a Change>,
    begun: u64,
    ended: u64,
}

/// Makes the plan. `measured` knows how long its steps took in earlier runs.
///
/// # Errors
/// Changes that this program cannot make, so that it cannot take them back either.
pub fn plan(past: &Past, cx: &ResolveContext, measured: History<'_>) -> Result<Plan, Refused> {
    let (mut back, mut left, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for change in &past.changes {
        match reversal(change, cx) {
            Ok((_, Reversal::Irreversible { reason })) => leave(&mut left, change, reason, cx),
            Ok((undo, Reversal::Automatic)) => back.push((change, undo)),
            Err(error) => reasons.push(Concern::step(&change.step.id, error)),
        }
    }
    if !reasons.is_empty() {
        return Err(Refused { reasons });
    }
    let former = &past.header.plan;
    let reverts = Reverts { run: past.header.run.clone(), journal_head: past.head.clone(), left };
    Ok(Plan {
        title: format!("Revert: {}", former.title),
        targets: Vec::new(),
        give_up: None,
        escalation: Vec::new(),
        reverts: Some(reverts),
        phases: phases(past, &back, measured)?,
        ..former.clone()
    })
}

/// What its undo does, in words, and whether there is one.
fn reversal(change: &Change, cx: &ResolveContext) -> Result<(String, Reversal), ActionError> {
    let action = action(change, cx)?;
    Ok((action.describe().undo, action.reversal()))
}

fn action(change: &Change, cx: &ResolveContext) -> Result<Box<dyn Action>, ActionError> {
    let name = &change.step.verb;
    let invalid = |text: String| ActionError::new(ErrorKind::Invalid, text);
    let verb = cx.registry.verb(name).ok_or_else(|| {
        invalid(format!("find the verb `{name}` in this program"))
            .hint("Revert with the version of rollback that made the run.")
    })?;
    match verb.make(&change.item.args, cx)? {
        Work::Action(action) => Ok(action),
        _ => Err(invalid(format!("take `{name}` back: it changes nothing"))),
    }
}

/// Notes what stays, one line for each step.
fn leave(left: &mut Vec<Left>, change: &Change, because: String, cx: &ResolveContext) {
    if let Some(known) = left.iter_mut().find(|known| known.step == change.step.id) {
        known.items += 1;
        return;
    }
    let message = cx.registry.verb(&change.step.verb).is_some_and(Verb::is_message);
    left.push(Left { step: change.step.id.clone(), items: 1, because, message });
}

fn phases(
    past: &Past,
    back: &[(&Change, String)],
    measured: History<'_>,
) -> Result<Vec<PlannedPhase>, Refused> {
    let mut phases: Vec<PlannedPhase> = Vec::new();
    let mut batches: Vec<Batch<'_>> = Vec::new();
    let (mut given, mut last) = (HashSet::new(), None);
    for batch in batched(back) {
        let former = batch.changes[0];
        let (phase, name) = former.step.id.0.split_once('/').unwrap_or(("run", &former.step.id.0));
        if last != Some(phase) {
            let id = unique(&format!("{PREFIX}{phase}"), &mut given);
            phases.push(PlannedPhase { title: title(past, phase), id, ..empty() });
            batches.clear();
            last = Some(phase);
        }
        let Some(phase) = phases.last_mut() else { continue };
        let id = StepId(unique(&format!("{}/{name}", phase.id), &mut given).into());
        let waits = batches.iter().zip(&phase.steps);
        let waits = waits.filter(|(later, _)| later.begun > batch.ended);
        let waits =
            waits.map(|(_, step)| Wait { step: step.id.clone(), until: Until::Success }).collect();
        phase.steps.push(step(&id, waits, &batch, back, measured)?);
        batches.push(batch);
    }
    Ok(phases)
}

/// `base`, or `base` with the first number that makes an id which was not given before: the runbook's own ids may end in numbers, too.
fn unique(base: &str, given: &mut HashSet<String>) -> String {
    let numbered = (2_usize..).map(|number| format!("{base}-{number}"));
    let mut ids = std::iter::once(base.to_owned()).chain(numbered);
    let id = ids.find(|id| !given.contains(id)).unwrap_or_default();
    given.insert(id.clone());
    id
}

fn title(past: &Past, phase: &str) -> String {
    let former = past.header.plan.phases.iter().find(|known| known.id == phase);
    format!("Take back: {}", former.map_or(phase, |former| &former.title))
}

fn empty() -> PlannedPhase {
    PlannedPhase { id: String::new(), title: String::new(), budget: None, steps: Vec::new() }
}

/// The batches, the last first.
fn batched<'a>(back: &[(&'a Change, String)]) -> Vec<Batch<'a>> {
    let mut batches: Vec<Batch<'a>> = Vec::new();
    for (change, _) in back {
        let same = |batch: &&mut Batch<'_>| {
            batch.changes[0].index == change.index && batch.changes[0].session == change.session
        };
        match batches.iter_mut().rev().find(same) {
            Some(batch) => {
                batch.changes.push(change);
                batch.begun = batch.begun.min(change.begun);
                batch.ended = batch.ended.max(change.ended);
            }
            None => batches.push(Batch {
                changes: vec![change],
                begun: change.begun,
                ended: change.ended,
            }),
        }
    }
    batches.sort_by_key(|batch| Reverse(batch.ended));
    for batch in &mut batches {
        batch.changes.sort_by_key(|change| Reverse(change.ended));
    }
    batches
}

fn step(
    id: &StepId,
    waits: Vec<Wait>,
    batch: &Batch<'_>,
    back: &[(&Change, String)],
    measured: History<'_>,
) -> Result<PlannedStep, Refused> {
    let former = &batch.changes[0].step;
    let item = |change: &&Change| {
        let told = back.iter().find(|(known, _)| std::ptr::eq(*known, *change));
        planned(change, told.map(|(_, undo)| undo.as_str()).unwrap_or_default())
    };
    let items: Result<Vec<PlannedItem>, _> = batch.changes.iter().map(item).collect();
    let items = items.map_err(|error| {
        let error = ActionError::new(ErrorKind::Invalid, "write its saved state into the plan")
            .caused_by(&error);
        Refused { reasons: vec![Concern::step(&former.id, error)] }
    })?;
    Ok(PlannedStep {
        id: id.clone(),
        title: former.title.clone(),
        verb: former.verb.clone(),
        waits,
        skip: None,
        items: Items::Resolved(items),
        policy: policy(former, measured(id)).into(),
    })
}

fn planned(change: &Change, undo: &str) -> Result<PlannedItem, serde_json::Error> {
    let args = Back {
        args: change.item.args.clone(),
        place: change.place().to_string(),
        saved: JsonText::of(&change.saved)?,
        applied: change.applied.as_ref().map(JsonText::of).transpose()?,
        notes: change.notes.clone(),
    };
    Ok(PlannedItem {
        name: change.item.name.clone(),
        args: JsonText::of(&args)?,
        does: undo.into(),
        undo: String::new(),
    })
}

/// How the former step was run, but for what belongs to its own direction.
fn policy(former: &PlannedStep, measured: Option<Duration>) -> StepPolicy {
    use crate::plan::ExpectedFrom::{Assumed, Measured};
    let (expected, expected_from) = measured.map_or((TAKES, Assumed), |took| (took, Measured));
    let StepPolicy { timeout, parallel, approval, .. } = (*former.policy).clone();
    let RetryPolicy { attempts, delay, max_delay } = former.policy.retry;
    let VerifyPolicy { within, every, .. } = former.policy.verify;
    StepPolicy {
        optional: false,
        timeout,
        expected,
        expected_from,
        retry: RetryPolicy { attempts, delay, max_delay },
        on_failure: OnFailure::Stop,
        parallel,
        verify: VerifyPolicy { within, every, probe: None },
        irreversible: false,
        approval,
    }
}
