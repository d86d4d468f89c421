//! One look at one item, with a deadline.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Finding, Known, PreviewContext, PreviewItem};
use crate::action::{
    Action, ActionError, ErrorKind, Prediction, Predictions, Probe, Readiness, StepContext,
    Verdict, Work,
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
                let finding = Finding::AsksPerson { required: question.required };
                (finding, Known::Rendered, Vec::new())
            }
            Err(error) => (Finding::CannotTell { error }, Known::Rendered, Vec::new()),
        };
        let item = PreviewItem {
            name: item.name.clone(),
            does: item.does.clone(),
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
        verb.make(item.args.clone(), &self.cx.resolve)
    }

    /// A context for one look, and its end.
    fn context(&self, step: &PlannedStep) -> StepContext {
        let deadline = Instant::now() + step.policy.timeout.min(LOOK_TIMEOUT);
        let scratch = self.cx.scratch.clone();
        StepContext::new(deadline, CancellationToken::new(), scratch, PREVIEW)
    }

    fn predictions(&self) -> Predictions {
        let predictions = self.predictions.clone();
        Arc::new(move |resource| predictions.get(resource).cloned())
    }

    async fn inspect(
        &self,
        step: &PlannedStep,
        action: &dyn Action,
    ) -> (Finding, Known, Vec<Prediction>) {
        let cx = self.context(step).predicting(self.predictions());
        let known = if self.predictions.is_empty() { Known::ReadLive } else { Known::Predicted };
        match within(&cx, action.inspect(&cx)).await {
            Ok(Readiness::Needed { predicted, .. }) => (Finding::WouldChange, known, predicted),
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
        let observed = match now {
            Err(error) => return (Finding::CannotTell { error }, Known::Rendered),
            Ok(Verdict::Holds { evidence }) if self.predictions.is_empty() => {
                return (Finding::Holds { evidence: evidence.summary }, Known::ReadLive);
            }
            Ok(Verdict::Holds { evidence }) => Ok(evidence.summary),
            Ok(Verdict::NotYet { observed }) => Err(observed),
        };
        let later = self.observe_later(step, probe).await;
        match (observed, later) {
            (Ok(evidence), None | Some(Ok(Verdict::Holds { .. }))) => {
                (Finding::Holds { evidence }, Known::ReadLive)
            }
            (Ok(_), Some(Ok(Verdict::NotYet { observed }))) => {
                (Finding::DoesNotHold { observed }, Known::Predicted)
            }
            (Err(observed), Some(Ok(Verdict::Holds { .. }))) => {
                (Finding::WillHold { observed }, Known::Predicted)
            }
            (_, Some(Err(error))) => (Finding::CannotTell { error }, Known::Rendered),
            (Err(observed), _) if self.changed => (Finding::MayHold { observed }, Known::ReadLive),
            (Err(observed), _) => (Finding::DoesNotHold { observed }, Known::ReadLive),
        }
    }

    async fn observe_later(
        &self,
        step: &PlannedStep,
        probe: &dyn Probe,
    ) -> Option<Result<Verdict, ActionError>> {
        if self.predictions.is_empty() {
            return None;
        }
        let cx = self.context(step).predicting(self.predictions());
        Some(within(&cx, probe.observe(&cx)).await)
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
