//! A run as its readers see it: a fold over its records.

use std::sync::Arc;

use indexmap::IndexMap;
use jiff::Timestamp;
use serde::Serialize;

use super::approvals::{self, ApprovalView};
use super::evidence::EvidenceView;
use super::hold::HoldView;
use super::questions::QuestionView;
use super::style::brief_ms;
use super::text::sanitize;
use crate::action::Window;
use crate::event::{
    Actor, Event, Header, Outcome, Place, Record, RunVerdict, SkipReason, Standing, StopReason,
};
use crate::plan::{Items, PlannedItem, StepId};
use crate::value::ByName;

/// Everything that a report shows.
#[derive(Debug, Clone)]
pub struct View {
    /// What the run started from.
    pub header: Arc<Header>,
    /// The steps in the order of the plan.
    pub steps: IndexMap<StepId, StepView>,
    /// The targets in the order of the plan.
    pub targets: IndexMap<String, TargetView>,
    /// Questions to people.
    pub questions: Vec<QuestionView>,
    /// The approvals that were asked for, in their order.
    pub approvals: Vec<ApprovalView>,
    /// The rungs of the escalation ladder that were raised.
    pub rungs: Vec<RungView>,
    /// Who took notice of the run, when (milliseconds since the start), and a remark.
    pub acknowledged: Option<(u64, Actor, Option<String>)>,
    /// The steps whose failure a person is asked about: go on?
    pub undecided: Vec<StepId>,
    /// The archives that were made of it.
    pub evidence: Vec<EvidenceView>,
    /// What was worth knowing.
    pub warnings: Vec<String>,
    /// Who took the run up again, and when (milliseconds since the start).
    pub resumed: Vec<(u64, Actor)>,
    /// Why it stopped before its end.
    pub stop: Option<StopReason>,
    /// The final word and the exit code.
    pub verdict: Option<(RunVerdict, u8)>,
    /// What it has come to for those who depend on it.
    pub standing: Option<Standing>,
    /// Whether it has begun to change anything.
    pub changed: bool,
    /// The run that was started last to take it back.
    pub reverted_by: Option<String>,
    /// When it was confirmed, and who saw to it.
    pub confirmed: Option<(Timestamp, Actor)>,
    /// The time of the last record, or of the end.
    pub at: Timestamp,
    /// Milliseconds from the start to the last record, or to the end.
    pub elapsed_ms: u64,
}

/// A step as its readers see it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StepView {
    /// When it started, milliseconds since the run's start.
    pub started_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why it was not run.
    pub skipped: Option<Box<SkipReason>>,
    /// One line: evidence, or the first error.
    pub summary: Option<String>,
    /// Its items.
    pub items: ByName<ItemView>,
    /// Attempts that failed and were followed by another.
    pub retries: u32,
}

/// An item as its readers see it.
#[derive(Debug, Clone, Serialize)]
pub struct ItemView {
    /// Where it stands.
    pub stage: ItemStage,
    /// What it does, in words.
    pub does: Arc<str>,
    /// Evidence, or the last error.
    pub note: Option<String>,
    /// What a person can do about an error.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    /// How its hold stands, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Box<HoldView>>,
}

/// Where an item stands, in the words of a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ItemStage {
    /// Not begun.
    Waiting,
    /// Begun.
    Working,
    /// As wanted.
    Done,
    /// As wanted before anything was changed.
    AlreadyDone,
    /// Failed.
    Failed,
    /// Nobody knows.
    Unknown,
    /// Waits for a person.
    Open,
    /// Taken back.
    Undone,
}

/// A target as its readers see it.
#[derive(Debug, Clone, Serialize)]
pub struct TargetView {
    /// Its time in milliseconds.
    pub within_ms: u64,
    /// The step with whose end its time begins, if it does not begin with the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<StepId>,
    /// When its time began, milliseconds since the run's start, if it counts from a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub began_ms: Option<u64>,
    /// How long it took.
    pub took_ms: Option<u64>,
    /// Whether it is late.
    pub late: bool,
}

/// A rung of the escalation ladder as its readers see it.
#[derive(Debug, Clone, Serialize)]
pub struct RungView {
    /// Its name.
    pub level: String,
    /// Who was told.
    pub who: String,
    /// The number to call.
    pub phone: Option<String>,
    /// When, milliseconds since the run's start.
    pub raised_ms: u64,
    /// What became of its messages, by name: sent, or why not.
    pub messages: IndexMap<String, Option<String>>,
}

impl View {
    /// Folds the records of a run; `None` when the first is not its start.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Option<Self> {
        let mut records = records.into_iter();
        let mut view = Self::start(records.next()?)?;
        for record in records {
            view.take(record);
        }
        Some(view)
    }

    /// The view right after a run's first record.
    pub fn start(record: &Record) -> Option<Self> {
        let Event::RunStarted { header } = &record.event else { return None };
        let mut steps = IndexMap::with_capacity(header.plan.steps().count());
        steps.extend(header.plan.steps().map(|step| {
            let items = match &step.items {
                Items::Resolved(items) => items.iter().map(item_view).collect(),
                Items::Deferred(_) => ByName::default(),
            };
            (step.id.clone(), StepView { items, ..StepView::default() })
        }));
        let targets = header.plan.targets.iter().map(|target| {
            let within_ms = u64::try_from(target.within.as_millis()).unwrap_or(u64::MAX);
            let from = target.from.clone();
            (
                target.name.clone(),
                TargetView { within_ms, from, began_ms: None, took_ms: None, late: false },
            )
        });
        Some(Self {
            steps,
            targets: targets.collect(),
            header: header.clone(),
            questions: Vec::new(),
            approvals: Vec::new(),
            evidence: Vec::new(),
            rungs: Vec::new(),
            acknowledged: None,
            undecided: Vec::new(),
            warnings: Vec::new(),
            resumed: Vec::new(),
            stop: None,
            verdict: None,
            standing: None,
            changed: false,
            reverted_by: None,
            confirmed: None,
            at: record.at,
            elapsed_ms: record.elapsed_ms,
        })
    }

    /// Takes one more record in.
    pub fn take(&mut self, record: &Record) {
        if self.verdict.is_none() {
            self.at = record.at;
            self.elapsed_ms = record.elapsed_ms;
        }
        let elapsed_ms = record.elapsed_ms;
        match &record.event {
            Event::RunResumed { by, .. } => {
                self.resumed.push((elapsed_ms, by.clone()));
                self.stop = None;
                self.verdict = None;
                // What was not decided is tried again.
                self.undecided.clear();
                let items = self.steps.values_mut().flat_map(|step| step.items.values_mut());
                items.filter_map(|item| item.hold.as_mut()).for_each(|hold| hold.gates.clear());
            }
            Event::StepStarted { step, .. } => self.on_step(step, |view| {
                view.started_ms = Some(elapsed_ms);
                view.outcome = None;
                view.ended_ms = None;
                view.skipped = None;
            }),
            Event::StepResolved { step, items } => {
                self.on_step(step, |view| view.items = items.iter().map(item_view).collect());
            }
            Event::StepSkipped { step, reason } => self.on_step(step, |view| {
                view.outcome = Some(match reason {
                    SkipReason::Blocked { .. } | SkipReason::Stopping => Outcome::NotStarted,
                    _ => Outcome::Skipped,
                });
                view.skipped = Some(Box::new(reason.clone()));
            }),
            Event::StepEnded { step, outcome, summary } => self.on_step(step, |view| {
                view.outcome = Some(*outcome);
                view.ended_ms = Some(elapsed_ms);
                view.summary.clone_from(summary);
            }),
            Event::TargetReached { target, took_ms, in_time } => {
                if let Some(view) = self.targets.get_mut(target) {
                    view.took_ms = Some(*took_ms);
                    view.late |= !in_time;
                }
            }
            Event::TargetLate { target, .. } => {
                if let Some(view) = self.targets.get_mut(target) {
                    view.late = true;
                }
            }
            Event::DecisionAsked { step } if !self.undecided.contains(step) => {
                self.undecided.push(step.clone());
            }
            Event::FailureDecided { step, .. } => self.undecided.retain(|asked| asked != step),
            Event::StopRequested { reason } => {
                self.undecided.clear();
                let _first = self.stop.get_or_insert_with(|| reason.clone());
            }
            Event::RungRaised { level, who, phone } => self.rungs.push(RungView {
                level: level.clone(),
                who: who.clone(),
                phone: phone.clone(),
                raised_ms: elapsed_ms,
                messages: IndexMap::new(),
            }),
            Event::RungTold { level, message, error } => {
                let why = error.as_ref().map(|error| error.message.clone());
                if let Some(rung) = self.rungs.iter_mut().find(|rung| rung.level == *level) {
                    let _former = rung.messages.insert(message.clone(), why);
                }
            }
            Event::Acknowledged { by, remark } => {
                self.acknowledged = Some((elapsed_ms, by.clone(), remark.clone()));
            }
            Event::Warned { message } => self.warnings.push(message.clone()),
            Event::OutputLost { what } => {
                self.warnings.push(format!("the output was lost: {what}"));
            }
            Event::RunEnded { verdict, exit_code } => self.verdict = Some((*verdict, *exit_code)),
            Event::QuestionProbed { at, held, seen, .. } => {
                if let Some(question) = self.questions.iter_mut().find(|open| open.at == *at) {
                    question.looked(elapsed_ms, *held, seen);
                }
            }
            Event::RevertStarted { run, .. } => self.reverted_by = Some(run.clone()),
            Event::ApplyStarted { .. } => self.changed = true,
            Event::RunConfirmed { by } => self.confirmed = Some((record.at, by.clone())),
            Event::QuestionAnswered { at, by, confirmed, remark } => {
                let answer = (*confirmed, by.clone(), remark.clone());
                if let Some(question) = self.questions.iter_mut().find(|open| open.at == *at) {
                    question.answer = Some(answer);
                }
            }
            Event::HoldBegan { at, for_ms } => {
                let hold = Box::new(HoldView::begun(elapsed_ms, *for_ms));
                if let Some(item) = self.item_mut(at) {
                    item.hold.get_or_insert(hold);
                }
            }
            Event::HoldLooked { at, gates, .. } => {
                if let Some(hold) = self.item_mut(at).and_then(|item| item.hold.as_mut()) {
                    hold.looked(gates);
                }
            }
            // Data came before the person's answer.
            Event::Verified { at, .. } | Event::VerifyFailed { at, .. } => {
                self.questions.retain(|asked| asked.at != *at || asked.answer.is_some());
            }
            event => approvals::take(&mut self.approvals, elapsed_ms, event),
        }
        if let Event::StepStarted { step, .. }
        | Event::StepSkipped { step, .. }
        | Event::StepEnded { step, .. } = &record.event
        {
            self.begin_targets(step, elapsed_ms);
        }
        if let Some(question) = QuestionView::opened(&record.event) {
            self.ask(question);
        }
        self.evidence.extend(EvidenceView::of(record));
        self.standing = Standing::after(self.standing, &record.event, &self.header.plan);
        self.take_item(&record.event);
    }

    fn take_item(&mut self, event: &Event) {
        use ItemStage::{AlreadyDone, Done, Failed, Open, Undone, Unknown, Waiting, Working};
        let (at, stage, note, hints) = match event {
            Event::Inspected { at, .. } => (at, Waiting, None, None),
            Event::ApplyStarted { at, .. } | Event::UndoStarted { at } => (at, Working, None, None),
            Event::FoundDone { at, evidence } => {
                (at, AlreadyDone, Some(evidence.summary.clone()), None)
            }
            Event::Applied { at, evidence } => (at, Working, Some(evidence.summary.clone()), None),
            Event::Verified { at, evidence } => (at, Done, Some(evidence.summary.clone()), None),
            Event::ApplyUnknown { at, error } => {
                (at, Unknown, Some(error.message.clone()), Some(&error.hints))
            }
            Event::ApplyFailed { at, error }
            | Event::VerifyFailed { at, error }
            | Event::InspectFailed { at, error }
            | Event::UndoFailed { at, error } => {
                (at, Failed, Some(error.message.clone()), Some(&error.hints))
            }
            Event::RetryScheduled { at, error, .. } => {
                self.on_step(&at.step, |view| view.retries += 1);
                (at, Waiting, Some(error.message.clone()), None)
            }
            Event::QuestionOpened { at, .. } => (at, Open, None, None),
            Event::QuestionAnswered { at, confirmed: true, .. } => (at, Done, None, None),
            Event::QuestionAnswered { at, confirmed: false, .. } => (at, Failed, None, None),
            Event::Undone { at } => (at, Undone, None, None),
            _ => return,
        };
        let item = self.steps.get_mut(&at.step).and_then(|step| step.items.get_mut(&at.item));
        if let Some(item) = item {
            item.stage = stage;
            // The last word counts: an empty proof keeps what the change itself reported.
            if note.as_ref().is_some_and(|note| !note.is_empty()) {
                item.note = note;
            }
            item.hints = hints.cloned().unwrap_or_default();
        }
    }

    /// A question that is asked again, after a "no", takes the place of the first one.
    fn ask(&mut self, question: QuestionView) {
        match self.questions.iter_mut().find(|asked| asked.at == question.at) {
            Some(asked) => *asked = question,
            None => self.questions.push(question),
        }
    }

    fn item_mut(&mut self, at: &Place) -> Option<&mut ItemView> {
        self.steps.get_mut(&at.step)?.items.get_mut(&at.item)
    }

    /// The steps that wait in a hold, and how that stands.
    pub fn holds(&self) -> impl Iterator<Item = (&StepId, &HoldView)> {
        let at_work = self.steps.iter().filter(|(_, step)| step.is_at_work());
        at_work.flat_map(|(id, step)| {
            step.items.values().filter_map(move |item| Some((id, item.hold.as_deref()?)))
        })
    }

    fn on_step(&mut self, id: &StepId, change: impl FnOnce(&mut StepView)) {
        if let Some(view) = self.steps.get_mut(id) {
            change(view);
        }
    }

    /// The questions that nobody has answered.
    pub fn open_questions(&self) -> impl Iterator<Item = &QuestionView> {
        self.questions.iter().filter(|question| question.answer.is_none())
    }

    /// The approvals that nobody has answered and that still can be.
    pub fn open_approvals(&self) -> impl Iterator<Item = &ApprovalView> {
        let open = self.stop.is_none() && self.verdict.is_none();
        self.approvals.iter().filter(move |asked| open && asked.outcome.is_none())
    }

    /// The questions whose answers confirm the rollback: all but those of the review.
    fn validated(&self) -> impl Iterator<Item = &QuestionView> {
        self.questions.iter().filter(|asked| asked.window != Some(Window::Review))
    }

    /// Whether nothing is left to be confirmed: it has recovered, something was asked, and all of it is answered with yes.
    pub fn is_complete(&self) -> bool {
        self.standing >= Some(Standing::Recovered)
            && self.validated().next().is_some()
            && self.validated().all(QuestionView::is_confirmed)
    }

    /// Whether the run waits for what a person says.
    pub fn waits_for_person(&self) -> bool {
        let mut required = self.open_questions().filter(|question| question.required);
        !self.undecided.is_empty()
            || required
                .any(|question| self.steps.get(&question.at.step).is_some_and(StepView::is_at_work))
    }

    /// How much of a target's time has passed at `now_ms`; `None` while it has not begun.
    pub fn passed_ms(&self, target: &TargetView, now_ms: u64) -> Option<u64> {
        match target.from {
            None => Some(now_ms + self.head_start_ms()),
            Some(_) => target.began_ms.map(|began_ms| now_ms.saturating_sub(began_ms)),
        }
    }

    /// When a target was reached, milliseconds since the run's start; `None` also when that was before it.
    pub fn reached_ms(&self, target: &TargetView) -> Option<u64> {
        match target.from {
            None => target.took_ms?.checked_sub(self.head_start_ms()),
            Some(_) => Some(target.began_ms? + target.took_ms?),
        }
    }

    /// With the end of a step begins the time of the targets that count from it.
    fn begin_targets(&mut self, step: &StepId, elapsed_ms: u64) {
        let ended = self.steps.get(step).and_then(|view| view.outcome);
        let began = ended.filter(|outcome| *outcome != Outcome::NotStarted).map(|_| elapsed_ms);
        for target in self.targets.values_mut().filter(|target| target.from.as_ref() == Some(step))
        {
            target.began_ms = began;
        }
    }

    /// The time on the targets' clock when the run started: not zero when the incident began earlier.
    pub fn head_start_ms(&self) -> u64 {
        self.header.since.map_or(0, |since| {
            let head = self.header.started.as_millisecond() - since.as_millisecond();
            u64::try_from(head).unwrap_or(0)
        })
    }
}

fn item_view(item: &PlannedItem) -> (Box<str>, ItemView) {
    let view = ItemView {
        stage: ItemStage::Waiting,
        does: item.does.clone(),
        note: None,
        hints: Vec::new(),
        hold: None,
    };
    (item.name.as_str().into(), view)
}

impl TargetView {
    /// Its time, for people: `1h`, or `1h from cutover/decided`.
    pub fn time(&self) -> String {
        let within = brief_ms(self.within_ms);
        match &self.from {
            None => within,
            Some(from) => format!("{within} from {}", sanitize(&from.0)),
        }
    }
}

impl StepView {
    /// Whether it has begun and not ended.
    pub fn is_at_work(&self) -> bool {
        self.started_ms.is_some() && self.outcome.is_none()
    }

    /// Since when it is at work, milliseconds since the run's start; a hold goes on while nobody runs the run.
    pub fn at_work_since_ms(&self) -> Option<u64> {
        let held = self.items.values().filter_map(|item| Some(item.hold.as_ref()?.began_ms)).min();
        self.started_ms.map(|started| held.map_or(started, |held| held.min(started)))
    }

    /// How many items are as wanted, and how many there are.
    pub fn progress(&self) -> (usize, usize) {
        let done = self
            .items
            .values()
            .filter(|item| matches!(item.stage, ItemStage::Done | ItemStage::AlreadyDone))
            .count();
        (done, self.items.len())
    }

    /// The evidence of a step with one item, or the summary that the engine gave.
    pub fn evidence(&self) -> Option<&str> {
        let single = (self.items.len() == 1).then(|| self.items.values().next()).flatten();
        single.and_then(|item| item.note.as_deref()).or(self.summary.as_deref())
    }

    /// How long it took.
    pub fn took_ms(&self) -> Option<u64> {
        Some(self.ended_ms?.saturating_sub(self.started_ms?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::{actor, begun, opened, place};

    #[test]
    fn a_question_that_is_asked_again_takes_the_place_of_the_first() {
        let (mut view, mut take) = begun();
        take(&mut view, opened("Does it hold?"));
        let (at, by) = (place(), actor());
        take(&mut view, Event::QuestionAnswered { at, by, confirmed: false, remark: None });
        take(&mut view, opened("Does it hold now?"));
        assert_eq!(view.open_questions().count(), 1);
        let (at, by) = (place(), actor());
        take(&mut view, Event::QuestionAnswered { at, by, confirmed: true, remark: None });
        assert_eq!(view.open_questions().count(), 0);
        assert_eq!(view.questions.len(), 1);
        assert_eq!(view.questions[0].text, "Does it hold now?");
    }

    #[test]
    fn a_run_waits_for_a_person_until_the_person_has_spoken() {
        let (mut view, mut take) = begun();
        take(&mut view, opened("Does it hold?"));
        assert!(!view.waits_for_person(), "the step has not started");
        take(&mut view, Event::StepStarted { step: place().step, left_ms: None });
        assert!(view.waits_for_person());
        let (at, by) = (place(), actor());
        take(&mut view, Event::QuestionAnswered { at, by, confirmed: false, remark: None });
        assert!(!view.waits_for_person());
        take(&mut view, Event::DecisionAsked { step: place().step });
        assert_eq!(view.undecided, [place().step]);
        let (step, by) = (place().step, actor());
        take(&mut view, Event::FailureDecided { step, by, go_on: true });
        assert!(!view.waits_for_person());
    }
}
