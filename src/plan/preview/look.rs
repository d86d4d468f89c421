//! One look at one item, with a deadline.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Finding, Known, PreviewContext, PreviewItem};
use crate::action::{
    Action, ActionError, Answer, ErrorKind, Gate, Hold, Prediction, Predictions, Probe, Readiness,
    StepContext, Verdict, Work,
};
use crate::plan::{PlannedItem, PlannedStep};

/// The longest look; a step's own timeout may be shorter.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// The run's id in a preview.
const PREVIEW: &str = "plan";

/// What a look found.
pub(super) struct Seen {
    pub(super) item: PreviewItem,
    pub(super) predicted: Vec<Prediction>,
}

/// Looks at the items of one layer.
pub(super) struct Looker<'a> {
    cx: &'a PreviewContext,
    predictions: Arc<HashMap<String, Value>>,
    /// Whether an earlier step would change anything, predicted or not.
    changed: bool,
}

impl<'a> Looker<'a> {
    pub(super) fn new(
        cx: &'a PreviewContext,
        predictions: Arc<HashMap<String, Value>>,
        changed: bool,
    ) -> Self {
        Self { cx, predictions, changed }
    }

    pub(super) async fn look(&self, step: &PlannedStep, item: &PlannedItem) -> Seen {
        let (finding, known, predicted) = match self.make(step, item) {
            Ok(Work::Action(action)) => self.inspect(step, action.as_ref()).await,
            Ok(Work::Probe(probe)) => {
                let (finding, known) = self.observe(step, probe.as_ref()).await;
                (finding, known, Vec::new())
            }
            Ok(Work::Manual(question)) => {
                let (required, window) = (question.required, question.window);
                (Finding::AsksPerson { required, window }, Known::Rendered, Vec::new())
            }
            Ok(Work::Later(later)) => {
                let finding = Finding::AsksLater { window: later.window };
                (finding, Known::Rendered, Vec::new())
            }
            Ok(Work::Hold(hold)) => {
                (self.ask_gates(step, &hold).await, Known::ReadLive, Vec::new())
            }
            Err(error) => (Finding::CannotTell { error }, Known::Rendered, Vec::new()),
        };
        let item = PreviewItem {
            name: item.name.clone(),
            does: item.does.to_string(),
            undo: item.undo.clone(),
            finding,
            known,
        };
        Seen { item, predicted }
    }

    fn make(&self, step: &PlannedStep, item: &PlannedItem) -> Result<Work, ActionError> {
        let verb = self.cx.resolve.registry.verb(&step.verb).ok_or_else(|| {
            ActionError::new(ErrorKind::Invalid, format!("find the verb `{}`", step.verb))
        })?;
        verb.make(&item.args, &self.cx.resolve)
    }

    /// A context for one look, and its end.
    fn context(&self, step: &PlannedStep) -> StepContext {
        let deadline = Instant::now() + step.policy.timeout.min(LOOK_TIMEOUT);
        let scratch = self.cx.scratch.clone();
        StepContext::new(deadline, CancellationToken::new(), scratch, PREVIEW)
    }

    /// A context that knows the predictions, and whether any of them was used.
    fn predicting(&self, step: &PlannedStep) -> (StepContext, Arc<AtomicBool>) {
        let used = Arc::new(AtomicBool::new(false));
        let (predictions, noted) = (self.predictions.clone(), used.clone());
        let look_up: Predictions = Arc::new(move |resource| {
            let found = predictions.get(resource).cloned();
            noted.fetch_or(found.is_some(), Ordering::Relaxed);
            found
        });
        (self.context(step).predicting(look_up), used)
    }

    async fn inspect(
        &self,
        step: &PlannedStep,
        action: &dyn Action,
    ) -> (Finding, Known, Vec<Prediction>) {
        let (cx, used) = self.predicting(step);
        let readiness = within(&cx, action.inspect(&cx)).await;
        let predicted = used.load(Ordering::Relaxed);
        let known = if predicted { Known::Predicted } else { Known::ReadLive };
        match readiness {
            Ok(Readiness::Needed { saved, predicted }) => {
                let (found, spreads) = (saved.found().map(str::to_owned), saved.spreads());
                let change = Finding::WouldChange { found, spreads };
                // The system tries it on what is there now, so what earlier steps will change must not matter.
                match within(&cx, action.dry_run(&cx, &saved)).await {
                    Ok(None) => (change, known, predicted),
                    Ok(Some(_)) => (change, Known::DryRun, predicted),
                    Err(error) => (Finding::CannotTell { error }, known, predicted),
                }
            }
            Ok(Readiness::AlreadyDone { evidence }) => {
                (Finding::AlreadyDone { evidence: evidence.summary }, known, Vec::new())
            }
            Err(error) => (Finding::CannotTell { error }, Known::Rendered, Vec::new()),
        }
    }

    /// Asks for the present, and then for the future that is predicted.
    async fn observe(&self, step: &PlannedStep, probe: &dyn Probe) -> (Finding, Known) {
        let cx = self.context(step);
        let now = within(&cx, probe.observe(&cx)).await;
        let later = self.observe_later(step, probe).await;
        let observed = match (now, &later) {
            (Ok(Verdict::Holds { evidence }), None | Some(Verdict::Holds { .. })) => {
                return (Finding::Holds { evidence: evidence.summary }, Known::ReadLive);
            }
            (Ok(Verdict::Holds { .. }), Some(Verdict::NotYet { observed })) => {
                let observed = observed.clone();
                return (Finding::DoesNotHold { observed }, Known::Predicted);
            }
            (Ok(Verdict::NotYet { observed }), _) => observed,
            // What does not answer now may do so once an earlier step has started it.
            (Err(error), Some(Verdict::Holds { .. })) => error.message,
            (Err(error), _) => return (Finding::CannotTell { error }, Known::Rendered),
        };
        match later {
            Some(Verdict::Holds { .. }) => (Finding::WillHold { observed }, Known::Predicted),
            _ if self.changed => (Finding::MayHold { observed }, Known::ReadLive),
            _ => (Finding::DoesNotHold { observed }, Known::ReadLive),
        }
    }

    /// How the gates of a hold answer now. What does not hold before the steps above may hold after them.
    async fn ask_gates(&self, step: &PlannedStep, hold: &Hold) -> Finding {
        let cx = self.context(step);
        let asked =
            hold.gates.iter().map(async |gate| (gate, within(&cx, gate.probe.answer(&cx)).await));
        let mut unknown = None;
        for (Gate { text, .. }, answer) in join_all(asked).await {
            match answer {
                Ok(Answer::Yes { .. }) => {}
                Ok(Answer::No { observed }) => {
                    let observed = format!("{text}: {observed}");
                    return if self.changed {
                        Finding::MayHold { observed }
                    } else {
                        Finding::DoesNotHold { observed }
                    };
                }
                Ok(Answer::NoData { reason }) => {
                    let message = format!("learn about {text}: {reason}");
                    unknown = Some(ActionError::new(ErrorKind::Failed, message));
                }
                Err(error) => unknown = Some(error),
            }
        }
        match unknown {
            Some(error) => Finding::CannotTell { error },
            None => Finding::Holds { evidence: String::new() },
        }
    }

    /// The answer with the predicted effects of earlier steps, if the probe knows what to do with them.
    async fn observe_later(&self, step: &PlannedStep, probe: &dyn Probe) -> Option<Verdict> {
        if self.predictions.is_empty() {
            return None;
        }
        let (cx, used) = self.predicting(step);
        let later = within(&cx, probe.observe(&cx)).await.ok()?;
        used.load(Ordering::Relaxed).then_some(later)
    }
}

/// Ends at the context's deadline, whatever the client library does.
async fn within<T>(
    cx: &StepContext,
    look: impl Future<Output = Result<T, ActionError>>,
) -> Result<T, ActionError> {
    tokio::time::timeout_at(cx.deadline(), look).await.unwrap_or_else(|_| {
        Err(ActionError::new(ErrorKind::TimedOut, "read the present state in time: no answer"))
    })
}
