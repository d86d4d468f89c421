//! The life of one item: look, write down, change, prove; and the way back.
//!
//! The order of the events is the contract with recovery: `ApplyStarted` is on disk before `apply` is called, and a
//! doubt about an outcome is written down before anything is done about it.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use super::emitter::Message;
use super::executor::Kit;
use super::lifecycle::Stage;
use super::retry;
use super::state::{ItemState, Undo};
use crate::action::{
    Action, ActionError, ErrorKind, Evidence, Later, Present, Probe, Question, Readiness, Recorder,
    Repeat, Saved, StepContext, Verdict, Work,
};
use crate::event::{Event, Place, SavedRecord};
use crate::failpoint;
use crate::plan::StepPolicy;
use crate::value::{JsonText, Shared};

/// How long after its deadline a call may still return by itself before it is dropped.
pub(super) const GRACE: Duration = Duration::from_millis(200);

/// One item at work.
pub(super) struct ItemRun {
    pub(super) kit: Arc<Kit>,
    pub(super) policy: Shared<StepPolicy>,
    pub(super) at: Place,
    pub(super) known: ItemState,
    probe: Option<Box<dyn Probe>>,
    /// `at` as the contexts of all its calls have it.
    pub(super) place: Arc<str>,
    recorder: Arc<ItemRecorder>,
}

impl Drop for ItemRun {
    /// Whoever works on the item again has its notes from the state.
    fn drop(&mut self) {
        self.kit.notes.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.at);
    }
}

/// How an attempt ended.
enum Attempt {
    /// Everything is told.
    Settled,
    /// The run stops: nothing was changed by this attempt.
    Stopped,
    /// It failed; `told` is the event that says so for good, if it is not told already.
    Failed { error: ActionError, told: Option<Box<Event>> },
}

/// Why a call was cut off.
enum Cut {
    Late,
    Killed,
}

impl ItemRun {
    /// An item where `known` says it stands.
    pub(super) fn new(
        kit: Arc<Kit>,
        policy: Shared<StepPolicy>,
        at: Place,
        known: ItemState,
        probe: Option<Box<dyn Probe>>,
    ) -> Self {
        let recorder = ItemRecorder { kit: kit.clone(), at: at.clone() };
        let (place, recorder) = (at.to_string().into(), Arc::new(recorder));
        Self { kit, policy, at, known, probe, place, recorder }
    }

    /// Works on the item until it is settled.
    pub(super) async fn work(mut self, work: Work) {
        match work {
            Work::Manual(question) => self.ask(&question, None).await,
            Work::Later(Later { text, window, hold, .. }) => {
                let question = Question { text, required: false, window: Some(window) };
                self.ask(&question, Some(hold)).await;
            }
            Work::Probe(probe) => self.observe(probe.as_ref()).await,
            Work::Hold(hold) => self.hold(&hold).await,
            Work::Action(action) => self.change(action.as_ref()).await,
        }
    }

    /// `hold` is how long the answer has to hold, where a probe gives it after the run.
    async fn ask(&mut self, question: &Question, hold: Option<Duration>) {
        let (answer, answered) = oneshot::channel();
        if question.required {
            self.kit.emitter.send(Message::Waiting { at: self.at.clone(), answer });
        }
        if self.known.stage != Stage::Open {
            self.kit.emitter.emit(Event::QuestionOpened {
                at: self.at.clone(),
                text: question.text.clone(),
                required: question.required,
                window: question.window,
                hold_ms: hold.map(|hold| u64::try_from(hold.as_millis()).unwrap_or(u64::MAX)),
            });
        }
        if question.required {
            tokio::select! {
                _answer = answered => {}
                () = self.kit.stopping.cancelled() => {}
            }
        }
    }

    async fn observe(&mut self, probe: &dyn Probe) {
        let deadline = Instant::now() + self.policy.timeout;
        match self.until_it_holds(deadline, Asked::Probe(probe)).await {
            Some(Ok(evidence)) => {
                self.kit.emitter.emit(Event::Verified { at: self.at.clone(), evidence });
            }
            Some(Err(error)) => {
                self.kit.emitter.emit(Event::VerifyFailed { at: self.at.clone(), error });
            }
            None => {}
        }
    }

    async fn change(&mut self, action: &dyn Action) {
        if self.known.stage == Stage::Applied {
            let applied = self.known.applied().unwrap_or_default();
            return self.prove(action, &applied).await;
        }
        let mut doubt = self.known.stage == Stage::Unknown;
        let mut waits = retry::waits(&self.policy.retry);
        loop {
            let (error, told) = match self.attempt(action, &mut doubt).await {
                Attempt::Settled | Attempt::Stopped => return,
                Attempt::Failed { error, told } => (error, told),
            };
            let repeatable = !doubt || action.repeat() != Repeat::Never;
            let wait = waits
                .next()
                .filter(|wait| error.retryable && repeatable && self.kit.may_wait(*wait));
            let Some(wait) = wait else {
                if let Some(event) = told {
                    self.kit.emitter.emit(*event);
                }
                return;
            };
            self.kit.emitter.emit(Event::RetryScheduled {
                at: self.at.clone(),
                attempt: self.known.attempts,
                delay_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                error,
            });
            tokio::select! {
                () = sleep(wait) => {}
                () = self.kit.stopping.cancelled() => return,
            }
        }
    }

    async fn attempt(&mut self, action: &dyn Action, doubt: &mut bool) -> Attempt {
        let deadline = Instant::now() + self.policy.timeout;
        let saved = match self.look(action, deadline, *doubt).await {
            Ok(saved) => saved,
            Err(attempt) => return attempt,
        };
        if self.kit.stopping.is_cancelled() {
            return Attempt::Stopped;
        }
        // It knows of the attempts before this one.
        let cx = self.context(deadline);
        self.known.attempts += 1;
        failpoint::reach("engine.before-intent");
        let intent = Event::ApplyStarted { at: self.at.clone(), attempt: self.known.attempts };
        if self.kit.emitter.intend(intent).await.is_err() {
            // Not on disk, so not done. The dispatcher has seen the journal's failure itself.
            self.kit.emitter.send(Message::Withdrawn { at: self.at.clone() });
            return Attempt::Stopped;
        }
        failpoint::reach("engine.before-effect");
        let result = self.bounded(deadline, action.apply(&cx, &saved)).await;
        failpoint::reach("engine.after-effect");
        let error = match result {
            Ok(Ok(evidence)) => {
                let applied = evidence.clone();
                self.kit.emitter.emit(Event::Applied { at: self.at.clone(), evidence });
                self.prove(action, &applied).await;
                return Attempt::Settled;
            }
            Ok(Err(error)) => error,
            Err(cut) => self.cut_off("see the end of the change", &cut, ErrorKind::Unknown),
        };
        if !error.outcome_unknown() {
            let told = Event::ApplyFailed { at: self.at.clone(), error: error.clone() };
            return Attempt::Failed { error, told: Some(Box::new(told)) };
        }
        *doubt = true;
        self.kit.emitter.emit(Event::ApplyUnknown { at: self.at.clone(), error: error.clone() });
        if self.settle_doubt(action).await {
            return Attempt::Settled;
        }
        Attempt::Failed { error, told: None }
    }

    /// Looks at the present state. What it finds is told; `Ok` means that the change is needed.
    async fn look(
        &mut self,
        action: &dyn Action,
        deadline: Instant,
        doubt: bool,
    ) -> Result<Saved, Attempt> {
        let cx = self.context(deadline);
        let found = match self.bounded(deadline, action.inspect(&cx)).await {
            Ok(found) => found,
            Err(Cut::Killed) => return Err(Attempt::Stopped),
            Err(cut) => Err(self.cut_off("look at the present state", &cut, ErrorKind::TimedOut)),
        };
        match found {
            Ok(Readiness::AlreadyDone { evidence }) => {
                match self.extra_probe(deadline).await {
                    Some(Ok(())) => {}
                    Some(Err(error)) => return Err(self.not_seen(error, doubt)),
                    None => return Err(Attempt::Stopped),
                }
                self.kit.emitter.emit(Event::FoundDone { at: self.at.clone(), evidence });
                Err(Attempt::Settled)
            }
            Ok(Readiness::Needed { .. }) if doubt && action.repeat() == Repeat::Never => {
                if self.settle_doubt(action).await {
                    return Err(Attempt::Settled);
                }
                let error = must_not_repeat();
                self.kit
                    .emitter
                    .emit(Event::ApplyUnknown { at: self.at.clone(), error: error.clone() });
                Err(Attempt::Settled)
            }
            Ok(Readiness::Needed { saved, predicted }) => {
                let saved = self.keep(saved, predicted, doubt).await?;
                Ok(saved)
            }
            Err(error) => Err(self.not_seen(error, doubt)),
        }
    }

    /// The end of an attempt that could not see what there is: what was in doubt before stays in doubt.
    fn not_seen(&self, error: ActionError, doubt: bool) -> Attempt {
        let at = self.at.clone();
        let told = if doubt {
            Event::ApplyUnknown { at, error: error.clone() }
        } else {
            Event::InspectFailed { at, error: error.clone() }
        };
        Attempt::Failed { error, told: Some(Box::new(told)) }
    }

    /// Writes the saved state down. What was there before the first attempt is kept, since that is what undo restores.
    async fn keep(
        &mut self,
        fresh: Saved,
        predicted: Vec<crate::action::Prediction>,
        doubt: bool,
    ) -> Result<Saved, Attempt> {
        let kept = match self.known.saved() {
            Some(record) if doubt => self.kit.recall(&record).await.map(|saved| (saved, record)),
            _ => self.kit.keep(&self.at, &fresh).await.map(|record| (fresh, record)),
        };
        let (saved, record) = kept.map_err(|error| self.not_seen(error, doubt))?;
        self.known.keep(&record);
        self.kit.emitter.emit(Event::Inspected { at: self.at.clone(), saved: record, predicted });
        Ok(saved)
    }

    /// Looks whether a change of unknown outcome has happened after all, and is proved by the step's own probe: again and again where the
    /// system will show it, once where only the step's own means can tell.
    async fn settle_doubt(&mut self, action: &dyn Action) -> bool {
        let until = Instant::now() + self.policy.verify.within;
        loop {
            let cx = self.context(until);
            if let Ok(Ok(Readiness::AlreadyDone { evidence })) =
                self.bounded(until, action.inspect(&cx)).await
                && let Some(Ok(())) = self.extra_probe(until).await
            {
                self.kit.emitter.emit(Event::FoundDone { at: self.at.clone(), evidence });
                return true;
            }
            let again = action.repeat() != Repeat::Never
                && Instant::now() + self.policy.verify.every < until;
            if !again || !self.kit.pause(self.policy.verify.every).await {
                return false;
            }
        }
    }

    async fn prove(&mut self, action: &dyn Action, applied: &Evidence) {
        let deadline = Instant::now() + self.policy.verify.within;
        let proved = match self.until_it_holds(deadline, Asked::Action(action, applied)).await {
            Some(Ok(evidence)) => {
                self.extra_probe(deadline).await.map(|held| held.map(|()| evidence))
            }
            unproved => unproved,
        };
        let Some(proved) = proved else { return };
        self.kit.emitter.emit(match proved {
            Ok(evidence) => Event::Verified { at: self.at.clone(), evidence },
            Err(error) => Event::VerifyFailed { at: self.at.clone(), error },
        });
    }

    /// Asks the step's own `verify.probe`, if there is one, until it holds. `None` when the run is stopped at once.
    async fn extra_probe(&self, deadline: Instant) -> Option<Result<(), ActionError>> {
        let Some(probe) = &self.probe else { return Some(Ok(())) };
        let answer = self.until_it_holds(deadline, Asked::Proof(probe.as_ref())).await?;
        Some(answer.map(drop))
    }

    /// Asks until the answer is as expected. `None` when the run is stopped at once, or stopped while nothing depends on the answer.
    async fn until_it_holds(
        &self,
        deadline: Instant,
        asked: Asked<'_>,
    ) -> Option<Result<Evidence, ActionError>> {
        let cx = self.context(deadline);
        loop {
            let answer = match asked {
                Asked::Probe(probe) | Asked::Proof(probe) => {
                    self.bounded(deadline, probe.observe(&cx)).await
                }
                Asked::Action(action, applied) => {
                    self.bounded(deadline, action.verify(&cx, applied)).await
                }
            };
            let last = match answer {
                Ok(Ok(Verdict::Holds { evidence })) => return Some(Ok(evidence)),
                Ok(Ok(Verdict::NotYet { observed })) => {
                    ActionError::new(ErrorKind::TimedOut, format!("see it in time: {observed}"))
                }
                Ok(Err(error)) if !error.retryable => return Some(Err(error)),
                Ok(Err(error)) => error,
                Err(Cut::Killed) => return None,
                Err(cut @ Cut::Late) => {
                    return Some(Err(self.cut_off("get an answer", &cut, ErrorKind::TimedOut)));
                }
            };
            let gives_up = matches!(asked, Asked::Probe(_)) && self.kit.stopping.is_cancelled();
            if gives_up {
                return None;
            }
            if Instant::now() + self.policy.verify.every >= deadline {
                return Some(Err(last));
            }
            if !self.kit.pause(self.policy.verify.every).await {
                return None;
            }
        }
    }

    /// Takes the item's change back.
    pub(super) async fn undo(&mut self, action: &dyn Action) -> Result<(), String> {
        let doubt = self.known.undo == Undo::InDoubt;
        let life = async {
            self.kit.emitter.intend(Event::UndoStarted { at: self.at.clone() }).await.ok()?;
            let deadline = Instant::now() + self.policy.timeout;
            let cx = self.context(deadline);
            let saved = match self.known.saved() {
                Some(record) => self.kit.recall(&record).await,
                None => Ok(Saved::default()),
            };
            let undone = match saved {
                Ok(saved) => {
                    let applied = self.known.applied();
                    let undoing = async {
                        if doubt && action.repeat_of_undo() == Repeat::Never {
                            let present = action.present(&cx, &saved, applied.as_ref()).await?;
                            let undone = present == Present::AsBefore;
                            return if undone { Ok(()) } else { Err(must_not_repeat()) };
                        }
                        action.undo(&cx, &saved, applied.as_ref()).await
                    };
                    match self.bounded(deadline, undoing).await {
                        Ok(undone) => undone,
                        Err(cut) => {
                            Err(self.cut_off("take the change back", &cut, ErrorKind::Unknown))
                        }
                    }
                }
                Err(error) => Err(error),
            };
            self.kit.emitter.emit(match undone {
                Ok(()) => Event::Undone { at: self.at.clone() },
                Err(error) => Event::UndoFailed { at: self.at.clone(), error },
            });
            Some(())
        };
        AssertUnwindSafe(life)
            .catch_unwind()
            .await
            .map(drop)
            .map_err(|panic| panic_message(panic.as_ref()))
    }

    fn context(&self, deadline: Instant) -> StepContext {
        let kit = &self.kit;
        StepContext::new(deadline, kit.killing.clone(), kit.scratch.clone(), kit.run.clone())
            .at(self.place.clone())
            .after_attempts(self.known.attempts)
            .recording(self.recorder.clone(), self.notes())
    }

    /// The notes of earlier sessions and of this one.
    fn notes(&self) -> Vec<Value> {
        let taken = self.kit.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = taken.get(&self.at).into_iter().flatten().cloned();
        self.known.notes.iter().map(JsonText::value).chain(taken).collect()
    }

    /// Runs a call that should end by itself at the deadline, and cuts it off when it does not.
    async fn bounded<T>(&self, deadline: Instant, call: impl Future<Output = T>) -> Result<T, Cut> {
        tokio::select! {
            biased;
            result = call => Ok(result),
            () = sleep_until(deadline + GRACE) => Err(Cut::Late),
            () = self.kit.cut() => Err(Cut::Killed),
        }
    }

    fn cut_off(&self, what: &str, cut: &Cut, kind: ErrorKind) -> ActionError {
        let why = match cut {
            Cut::Late => format!("within {}", crate::value::brief(self.policy.timeout)),
            Cut::Killed => "before the run was stopped".to_owned(),
        };
        ActionError::new(kind, format!("{what} {why}"))
    }
}

/// What is asked until it holds.
#[derive(Clone, Copy)]
enum Asked<'a> {
    Probe(&'a dyn Probe),
    /// Whether a change is in force depends on it.
    Proof(&'a dyn Probe),
    Action(&'a dyn Action, &'a Evidence),
}

/// Writes an item's notes into the journal.
struct ItemRecorder {
    kit: Arc<Kit>,
    at: Place,
}

#[async_trait]
impl Recorder for ItemRecorder {
    async fn note(&self, note: Value) -> Result<(), ActionError> {
        self.kit.emitter.intend(self.noted(&note)).await.map_err(|error| {
            ActionError::new(ErrorKind::Failed, "write a note into the journal").caused_by(&error)
        })?;
        self.remember(note);
        Ok(())
    }

    fn jot(&self, note: Value) {
        self.kit.emitter.emit(self.noted(&note));
        self.remember(note);
    }
}

impl ItemRecorder {
    fn noted(&self, note: &Value) -> Event {
        Event::Noted { at: self.at.clone(), note: note.clone() }
    }

    fn remember(&self, note: Value) {
        let mut taken = self.kit.notes.lock().unwrap_or_else(PoisonError::into_inner);
        taken.entry(self.at.clone()).or_default().push(note);
    }
}

/// The notes of items at work, by this session. Those of all sessions are in the state.
pub(super) type Notes = Mutex<HashMap<Place, Vec<Value>>>;

fn must_not_repeat() -> ActionError {
    ActionError::new(
        ErrorKind::Unknown,
        "tell whether it was done: it was in flight when the run was cut off, and must not be repeated blindly",
    )
    .hint("Look at the system yourself, then finish or repeat this step by hand.")
}

pub(super) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

impl Kit {
    /// Writes a fresh saved state down: the private part into its own file.
    async fn keep(&self, at: &Place, saved: &Saved) -> Result<SavedRecord, ActionError> {
        let private = match &saved.private {
            Some(private) => Some(self.vault.put(at, private).await?),
            None => None,
        };
        Ok(SavedRecord { state: saved.state.clone(), private })
    }

    /// Reads a saved state back.
    async fn recall(&self, record: &SavedRecord) -> Result<Saved, ActionError> {
        let private = match &record.private {
            Some(reference) => Some(self.vault.get(reference).await?),
            None => None,
        };
        Ok(Saved { state: record.state.clone(), private })
    }
}
