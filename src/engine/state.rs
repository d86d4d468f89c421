//! The state of a run: a fold over its events. Recovery is the same fold over the journal's records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use indexmap::IndexMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::approval::ApprovalState;
use super::lifecycle::Stage;
use crate::action::{ErrorKind, Evidence};
use crate::event::{
    Event, Header, Outcome, Place, RunVerdict, SavedRecord, SkipReason, StopReason,
};
use crate::plan::budget::Schedule;
use crate::plan::{Items, Plan, PlannedItem, PlannedStep, StepId};
use crate::value::{ByName, JsonText};

/// An event that may not follow: a bug on writing, a damaged journal on reading.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot follow for {place} ({stage})")]
pub struct IllegalEvent {
    /// The event's name.
    pub what: String,
    /// The step or item.
    pub place: String,
    /// Where it stands.
    pub stage: String,
}

/// What is known of one item.
#[derive(Debug, Clone)]
pub struct ItemState {
    /// Where it stands.
    pub stage: Stage,
    saved: Option<JsonText>,
    applied: Option<JsonText>,
    /// Facts noted by attempts.
    pub notes: Vec<JsonText>,
    /// Attempts so far.
    pub attempts: u32,
    /// Whether a change of this run may be in force: an attempt began and was not taken back.
    pub touched: bool,
    /// When it came into force, for undoing in reverse order; counted over the run.
    pub order: u64,
    /// Whether something may be in force even if the attempt fails: it has noted something, which verbs of several calls do before their
    /// first change, or an attempt before it may have left something.
    pub begun: bool,
    /// Whether the run waits for the answer to its question.
    pub answer_required: bool,
    /// When its hold first began, milliseconds since the run's start.
    pub hold_ms: Option<u64>,
    /// What is known of the last undo.
    pub undo: Undo,
    /// The last error, or what was seen instead.
    pub error: Option<String>,
}

/// Whether it is known what an undo has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undo {
    /// It was not begun, had its effect, or surely had none.
    Known,
    /// It may have had its effect.
    InDoubt,
}

impl Default for ItemState {
    fn default() -> Self {
        Self {
            stage: Stage::Pending,
            saved: None,
            applied: None,
            notes: Vec::new(),
            attempts: 0,
            touched: false,
            order: 0,
            begun: false,
            answer_required: false,
            hold_ms: None,
            undo: Undo::Known,
            error: None,
        }
    }
}

impl ItemState {
    /// The state before the first change, for undo.
    pub fn saved(&self) -> Option<SavedRecord> {
        self.saved.as_ref().map(unpacked)
    }

    /// What `apply` reported.
    pub fn applied(&self) -> Option<Evidence> {
        self.applied.as_ref().map(unpacked)
    }

    /// Takes in the state before the change.
    pub(super) fn keep(&mut self, saved: &SavedRecord) {
        self.saved = Some(packed(saved));
    }
}

/// What is known of one step.
#[derive(Debug, Clone, Default)]
pub struct StepState {
    /// When it started, milliseconds since the run's start.
    pub started_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Its items by name.
    pub items: ByName<ItemState>,
    /// Whether a person is asked how to go on after its failure, and what the answer was.
    pub decision: Option<Option<bool>>,
}

impl StepState {
    /// Whether it is running.
    pub fn is_running(&self) -> bool {
        self.started_ms.is_some() && self.outcome.is_none()
    }

    /// Since when it is at work, milliseconds since the run's start; a hold goes on while nobody runs the run.
    pub fn at_work_since_ms(&self) -> Option<u64> {
        let held = self.items.values().filter_map(|item| item.hold_ms).min();
        self.started_ms.map(|started| held.map_or(started, |held| held.min(started)))
    }

    /// Whether it does nothing but wait in a hold.
    pub fn is_holding(&self) -> bool {
        let waits = |item: &ItemState| {
            item.hold_ms.is_some() && matches!(item.stage, Stage::Pending | Stage::Open)
        };
        self.is_running()
            && self.items.values().any(waits)
            && self.items.values().all(|item| waits(item) || item.stage.is_settled())
    }

    /// Whether a change of it is in force, or may be.
    pub fn may_have_changed_something(&self) -> bool {
        self.items.values().any(|item| item.touched)
    }

    /// Whether it has failed and its own changes are being taken back (`on_failure: undo`). A person's decision
    /// comes after the step's end, the engine's own before it.
    pub fn is_on_its_way_back(&self) -> bool {
        self.outcome.is_none()
            && (self.decision == Some(Some(false))
                || self.items.values().any(|item| item.stage == Stage::Undoing))
    }

    /// Whether its way back was cut short when the run was stopped at once. One that the systems have refused is not.
    fn has_stopped_on_its_way_back(&self) -> bool {
        let any = |stage| self.items.values().any(|item| item.stage == stage);
        any(Stage::Undone) && !any(Stage::Stuck) && self.may_have_changed_something()
    }
}

/// What is known of one target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetState {
    /// How long it took, when it was reached.
    pub took_ms: Option<u64>,
    /// Whether it is late, reached or not.
    pub late: bool,
}

/// Everything that is known of a run.
#[derive(Debug, Clone)]
pub struct RunState {
    /// What it started from, with the items that deferred steps found meanwhile.
    pub header: Arc<Header>,
    /// The steps, in the plan's order.
    pub steps: IndexMap<StepId, StepState>,
    /// The targets.
    pub targets: BTreeMap<String, TargetState>,
    /// The phases that have started, and when (milliseconds since the run's start).
    pub phases_started: BTreeMap<String, u64>,
    /// The phases that have ended.
    pub phases_ended: BTreeSet<String>,
    /// The phases whose budget has passed.
    pub budgets_passed: BTreeSet<String>,
    /// The approvals that were asked for; that of the whole run has no step.
    pub approvals: BTreeMap<Option<StepId>, ApprovalState>,
    /// The rungs of the escalation ladder that were raised, and the messages of each whose end is known.
    pub rungs: BTreeMap<String, BTreeSet<String>>,
    /// Whether somebody has taken notice.
    pub acknowledged: bool,
    /// Why nothing more is started.
    pub stop: Option<StopReason>,
    /// Whether what is in flight is stopped, too.
    pub killed: bool,
    /// The final word.
    pub ended: Option<(RunVerdict, u8)>,
    /// When the present process took it up, milliseconds since the run's start.
    pub session_ms: u64,
    /// What the plan expects to take how long, made when it is first asked for.
    schedule: OnceLock<Schedule>,
    changes: u64,
}

impl RunState {
    /// The state right after the start.
    pub fn new(header: Arc<Header>) -> Self {
        let mut steps = IndexMap::with_capacity(header.plan.steps().count());
        steps.extend(
            header.plan.steps().map(|step| (step.id.clone(), step_state(step.items.resolved()))),
        );
        let targets =
            header.plan.targets.iter().map(|target| (target.name.clone(), TargetState::default()));
        Self {
            targets: targets.collect(),
            header,
            steps,
            phases_started: BTreeMap::new(),
            phases_ended: BTreeSet::new(),
            budgets_passed: BTreeSet::new(),
            approvals: BTreeMap::new(),
            rungs: BTreeMap::new(),
            acknowledged: false,
            stop: None,
            killed: false,
            ended: None,
            session_ms: 0,
            schedule: OnceLock::new(),
            changes: 0,
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.header.plan
    }

    /// What the plan expects to take how long.
    pub fn schedule(&self) -> &Schedule {
        self.schedule.get_or_init(|| Schedule::of(&self.header.plan))
    }

    /// Lets go what only an undo or another attempt would need of a step that has succeeded: neither comes any more in this process. No part
    /// of the fold: what a resume or a revert makes of the journal has it, since a salvaged run looks at such a step again.
    pub(super) fn let_go(&mut self, id: &StepId) {
        let items = self.steps.get_mut(id).into_iter().flat_map(|step| step.items.values_mut());
        items.for_each(|item| (item.saved, item.applied, item.notes) = (None, None, Vec::new()));
    }

    /// The item at a place.
    pub fn item(&self, at: &Place) -> Option<&ItemState> {
        self.steps.get(&at.step)?.items.get(&at.item)
    }

    /// Takes one event in.
    pub fn apply(&mut self, elapsed_ms: u64, event: &Event) -> Result<(), IllegalEvent> {
        match event {
            // What is looked at after the run changes nothing in it.
            Event::RunStarted { .. }
            | Event::OutputLost { .. }
            | Event::Warned { .. }
            | Event::QuestionProbed { .. }
            | Event::EvidenceGathered { .. }
            | Event::RevertStarted { .. }
            | Event::RunConfirmed { .. } => {}
            Event::RunResumed { salvaged, .. } => {
                self.session_ms = elapsed_ms;
                self.forget_approvals(elapsed_ms);
                self.resume(salvaged.is_some());
            }
            Event::PhaseStarted { phase } => {
                let _first = self.phases_started.entry(phase.clone()).or_insert(elapsed_ms);
            }
            Event::PhaseEnded { phase } => insert(&mut self.phases_ended, phase),
            Event::BudgetPassed { phase, .. } => insert(&mut self.budgets_passed, phase),
            Event::StepStarted { step, .. } => {
                let state = self.step_mut(step, event)?;
                let _first = state.started_ms.get_or_insert(elapsed_ms);
            }
            Event::StepResolved { step, items } => self.resolve(step, items, event)?,
            Event::StepSkipped { step, reason } => {
                let state = self.step_mut(step, event)?;
                state.outcome = Some(match reason {
                    // Not the step's own choice: those who wait for it must not go on.
                    SkipReason::Blocked { .. } | SkipReason::Stopping => Outcome::NotStarted,
                    _ => Outcome::Skipped,
                });
                state.ended_ms = Some(elapsed_ms);
            }
            Event::StepEnded { step, outcome, .. } => {
                let state = self.step_mut(step, event)?;
                state.outcome = Some(*outcome);
                state.ended_ms = Some(elapsed_ms);
            }
            Event::DecisionAsked { step } => self.step_mut(step, event)?.decision = Some(None),
            Event::FailureDecided { step, go_on, .. } => {
                self.step_mut(step, event)?.decision = Some(Some(*go_on));
            }
            Event::ApprovalAsked { step, .. } => {
                let asked = ApprovalState { asked_ms: elapsed_ms, given: None };
                let _first = self.approvals.entry(step.clone()).or_insert(asked);
            }
            Event::ApprovalAnswered { step, approved, .. } => {
                self.settle_approval(step.as_ref(), *approved, event)?;
            }
            Event::ApprovalExpired { step, .. } => {
                // A program of before may have resumed the run, and found its time passed.
                let asked = ApprovalState { asked_ms: elapsed_ms, given: None };
                let _known = self.approvals.entry(step.clone()).or_insert(asked);
                self.settle_approval(step.as_ref(), false, event)?;
            }
            Event::TargetReached { target, took_ms, in_time } => {
                let state = self.targets.entry(target.clone()).or_default();
                state.took_ms = Some(*took_ms);
                state.late |= !in_time;
            }
            Event::TargetLate { target, .. } => {
                self.targets.entry(target.clone()).or_default().late = true;
            }
            Event::RungRaised { level, .. } => {
                let _raised = self.rungs.entry(level.clone()).or_default();
            }
            Event::RungTold { level, message, .. } => {
                insert(self.rungs.entry(level.clone()).or_default(), message);
            }
            Event::Acknowledged { .. } => self.acknowledged = true,
            Event::StopRequested { reason } => {
                // The first reason explains the end; a bug outweighs it.
                if self.stop.is_none() || matches!(reason, StopReason::Panicked { .. }) {
                    self.stop = Some(reason.clone());
                }
            }
            Event::KillRequested => self.killed = true,
            Event::RunEnded { verdict, exit_code } => self.ended = Some((*verdict, *exit_code)),
            Event::Inspected { at, .. }
            | Event::FoundDone { at, .. }
            | Event::ApplyStarted { at, .. }
            | Event::Noted { at, .. }
            | Event::Applied { at, .. }
            | Event::ApplyFailed { at, .. }
            | Event::ApplyUnknown { at, .. }
            | Event::Verified { at, .. }
            | Event::VerifyFailed { at, .. }
            | Event::InspectFailed { at, .. }
            | Event::RetryScheduled { at, .. }
            | Event::UndoStarted { at }
            | Event::Undone { at }
            | Event::UndoFailed { at, .. }
            | Event::HoldBegan { at, .. }
            | Event::HoldLooked { at, .. }
            | Event::QuestionOpened { at, .. }
            | Event::QuestionAnswered { at, .. } => self.apply_to_item(elapsed_ms, at, event)?,
        }
        Ok(())
    }

    /// Whether a person has ended the hold that an event still tells of.
    pub(super) fn is_settled_by_a_person(&self, event: &Event) -> bool {
        let (Event::HoldLooked { at, .. }
        | Event::Verified { at, .. }
        | Event::VerifyFailed { at, .. }) = event
        else {
            return false;
        };
        let ended = |stage| matches!(stage, Stage::Verified | Stage::Failed);
        self.item(at).is_some_and(|item| item.hold_ms.is_some() && ended(item.stage))
    }

    fn settle_approval(
        &mut self,
        step: Option<&StepId>,
        given: bool,
        event: &Event,
    ) -> Result<(), IllegalEvent> {
        let known = self.approvals.get_mut(&step.cloned()).filter(|known| known.given.is_none());
        let known = known.ok_or_else(|| {
            let place = step.map_or("the run", |step| &step.0);
            illegal(event, place, "it waits for no approval")
        })?;
        known.given = Some(given);
        Ok(())
    }

    fn apply_to_item(
        &mut self,
        elapsed_ms: u64,
        at: &Place,
        event: &Event,
    ) -> Result<(), IllegalEvent> {
        self.changes += 1;
        let order = self.changes;
        let item = self
            .steps
            .get_mut(&at.step)
            .and_then(|step| step.items.get_mut(&at.item))
            .ok_or_else(|| illegal(event, &place_name(at), "no such item in the plan"))?;
        item.stage = item
            .stage
            .next(event)
            .ok_or_else(|| illegal(event, &place_name(at), &format!("{:?}", item.stage)))?;
        match event {
            // What was there before the first attempt is what undo restores.
            Event::Inspected { saved, .. } if !item.touched || item.saved.is_none() => {
                item.keep(saved);
            }
            Event::ApplyStarted { attempt, .. } => {
                item.attempts = *attempt;
                item.begun = item.touched;
                item.touched = true;
                item.order = order;
            }
            Event::Noted { note, .. } => {
                item.notes.push(packed(note));
                item.begun = true;
            }
            Event::QuestionOpened { required, .. } => item.answer_required = *required,
            Event::HoldBegan { .. } => item.hold_ms = item.hold_ms.or(Some(elapsed_ms)),
            Event::Applied { evidence, .. } => {
                item.applied = Some(packed(evidence));
                item.order = order;
            }
            Event::ApplyFailed { error, .. } | Event::RetryScheduled { error, .. } => {
                // Whatever may have begun counts as a change that may be in force.
                item.touched &= item.applied.is_some()
                    || item.stage == Stage::Unknown
                    || item.begun
                    || error.kind == ErrorKind::Failed;
                item.error = Some(error.message.clone());
            }
            Event::ApplyUnknown { error, .. }
            | Event::VerifyFailed { error, .. }
            | Event::InspectFailed { error, .. } => item.error = Some(error.message.clone()),
            // Killed before it ended, it is as one whose answer was lost.
            Event::UndoStarted { .. } => item.undo = Undo::InDoubt,
            Event::UndoFailed { error, .. } => {
                item.undo = if error.outcome_unknown() { Undo::InDoubt } else { Undo::Known };
                item.error = Some(error.message.clone());
            }
            Event::Undone { .. } => {
                item.touched = false;
                item.undo = Undo::Known;
                item.applied = None;
                // They told of a change that is no more; a resumed run may make it again, and take that back, too.
                item.notes.clear();
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes back that a change was announced: the announcement could not be written, so nothing was changed.
    pub(super) fn withdraw(&mut self, at: &Place) {
        let item = self.steps.get_mut(&at.step).and_then(|step| step.items.get_mut(&at.item));
        if let Some(item) = item.filter(|item| item.stage == Stage::Applying) {
            item.stage = Stage::Inspected;
            item.attempts = item.attempts.saturating_sub(1);
            item.touched = item.attempts > 0 && item.touched;
        }
    }

    /// Whoever goes on after a no asks again, and so does who goes on when the time has passed without anybody who could have heard the
    /// answer. What nobody has answered yet still counts from when it was asked.
    fn forget_approvals(&mut self, now_ms: u64) {
        let header = self.header.clone();
        self.approvals.retain(|step, known| {
            let within = header.plan.approval_of(step.as_ref()).map_or(0, |approval| {
                u64::try_from(approval.within.as_millis()).unwrap_or(u64::MAX)
            });
            let passed = known.given.is_none() && now_ms >= known.asked_ms.saturating_add(within);
            known.given != Some(false) && !passed
        });
    }

    fn resume(&mut self, salvaging: bool) {
        self.stop = None;
        self.killed = false;
        self.ended = None;
        for step in self.steps.values_mut() {
            if step.is_on_its_way_back() || step.has_stopped_on_its_way_back() {
                // What was begun is finished first: forward again from half of it could be neither.
                step.decision = Some(Some(false));
                step.started_ms = None;
                step.ended_ms = None;
                step.outcome = None;
                continue;
            }
            for item in step.items.values_mut() {
                item.stage = if salvaging { item.stage.salvaged() } else { item.stage.resumed() };
            }
            let finished = step.outcome.is_some_and(Outcome::is_success)
                && step.items.values().all(|item| {
                    let left_open = item.stage == Stage::Open && !item.answer_required;
                    item.stage.is_success() || left_open
                });
            if !finished || salvaging {
                step.outcome = None;
                step.started_ms = None;
                step.ended_ms = None;
                step.decision = None;
            }
        }
        if salvaging {
            self.phases_ended.clear();
        } else {
            let steps = &self.steps;
            let unfinished = |phase: &str| {
                let prefix = format!("{phase}/");
                steps.iter().any(|(id, step)| id.0.starts_with(&prefix) && step.outcome.is_none())
            };
            self.phases_ended.retain(|phase| !unfinished(phase));
        }
    }

    fn resolve(
        &mut self,
        id: &StepId,
        items: &[PlannedItem],
        event: &Event,
    ) -> Result<(), IllegalEvent> {
        // The journal and the screen keep the plan as the run began with it.
        let planned = Arc::make_mut(&mut self.header)
            .plan
            .phases
            .iter_mut()
            .flat_map(|phase| &mut phase.steps)
            .find(|step| step.id == *id)
            .ok_or_else(|| illegal(event, &id.0, "no such step in the plan"))?;
        planned.items = Items::Resolved(items.to_vec());
        let fresh = step_state(items).items;
        self.step_mut(id, event)?.items = fresh;
        Ok(())
    }

    fn step_mut(&mut self, id: &StepId, event: &Event) -> Result<&mut StepState, IllegalEvent> {
        self.steps.get_mut(id).ok_or_else(|| illegal(event, &id.0, "no such step in the plan"))
    }

    /// The planned step and its state.
    pub fn step(&self, id: &StepId) -> Option<(&PlannedStep, &StepState)> {
        let (index, _, known) = self.steps.get_full(id)?;
        Some((self.plan().nth(index)?, known))
    }
}

fn step_state(items: &[PlannedItem]) -> StepState {
    StepState {
        items: items.iter().map(|item| (item.name.as_str().into(), ItemState::default())).collect(),
        ..StepState::default()
    }
}

fn unpacked<T: DeserializeOwned>(text: &JsonText) -> T {
    text.read().expect("the text of a value reads back")
}

/// What has to be remembered of thousands of items, in as little memory as it takes.
fn packed(value: &impl Serialize) -> JsonText {
    JsonText::of(value).expect("what stands in the journal is JSON")
}

fn insert(set: &mut BTreeSet<String>, name: &str) {
    let _new = set.insert(name.to_owned());
}

fn place_name(at: &Place) -> String {
    match at.item.as_str() {
        "" => at.step.to_string(),
        item => format!("{} [{item}]", at.step),
    }
}

fn illegal(event: &Event, place: &str, stage: &str) -> IllegalEvent {
    let what = serde_json::to_value(event)
        .ok()
        .and_then(|value| value.get("event").and_then(|name| name.as_str().map(str::to_owned)))
        .unwrap_or_else(|| "an event".to_owned());
    IllegalEvent { what, place: place.to_owned(), stage: stage.to_owned() }
}
