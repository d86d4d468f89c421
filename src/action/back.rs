//! A change of an earlier run, taken back as a change of its own.

use async_trait::async_trait;
use serde_json::Value;

use super::{
    Action, ActionError, Description, ErrorKind, Evidence, Readiness, Repeat, Reversal, Saved,
    StepContext, Touches, Verdict,
};

/// What a run left behind of one change.
#[derive(Debug, Clone)]
pub struct Past {
    /// The run's id: adapters mark by it what they keep.
    pub run: String,
    /// The step, and its item behind a `/`, as that run's [`StepContext::place`] had it.
    pub place: String,
    /// The state before the change.
    pub saved: Saved,
    /// What the change reported; `None` when its outcome was never learnt.
    pub applied: Option<Evidence>,
    /// What was noted meanwhile, oldest first.
    pub notes: Vec<Value>,
}

/// What there is now, beside what a run left.
#[derive(Debug, Clone, PartialEq)]
pub enum Present {
    /// The change is in force.
    AsLeft,
    /// It is as it was before the change.
    AsBefore,
    /// Nothing was saved that a look could be held against; undo decides in its turn.
    Unseen,
    /// Neither as the run left it nor as it was before.
    Other,
}

/// The reverse of a change: its `undo` as an action.
pub struct TakeBack {
    action: Box<dyn Action>,
    past: Past,
}

impl TakeBack {
    /// The reverse of `action`, which a run has applied.
    pub fn new(action: Box<dyn Action>, past: Past) -> Self {
        Self { action, past }
    }

    /// Looks whether the change is in force. Only reads.
    ///
    /// # Errors
    /// Those of the action's `inspect`; one that does not come from the way to the system says that the present state is another.
    pub async fn look(&self, cx: &StepContext) -> Result<Present, ActionError> {
        // A script's look ends what was left running, which no look beforehand may; its own check needs no notes.
        let cx = match self.action.touches() {
            Touches::Anything => cx.clone().on_behalf_of(&self.past.run, &self.past.place, &[]),
            _ => self.behalf(cx),
        };
        self.present(&cx).await
    }

    async fn present(&self, cx: &StepContext) -> Result<Present, ActionError> {
        Ok(match self.action.inspect(cx).await? {
            Readiness::AlreadyDone { .. } => Present::AsLeft,
            Readiness::Needed { .. } if says_nothing(&self.past.saved) => Present::Unseen,
            Readiness::Needed { saved, .. } if saved == self.past.saved => Present::AsBefore,
            Readiness::Needed { .. } => Present::Other,
        })
    }

    /// The context as the run that made the change had it.
    fn behalf(&self, cx: &StepContext) -> StepContext {
        let Past { run, place, notes, .. } = &self.past;
        cx.clone().on_behalf_of(run, place, notes).after_attempts(1)
    }
}

/// Whether an error tells of what was found, and not of the way there.
fn is_of_the_state(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::Invalid)
}

fn says_nothing(saved: &Saved) -> bool {
    let empty = match &saved.state {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    empty && saved.private.is_none()
}

#[async_trait]
impl Action for TakeBack {
    fn describe(&self) -> Description {
        Description::new(self.action.describe().undo, "")
    }

    /// A second undo changes nothing.
    fn repeat(&self) -> Repeat {
        Repeat::Safe
    }

    fn reversal(&self) -> Reversal {
        Reversal::Irreversible { reason: "the runbook itself goes forward again".into() }
    }

    /// Undo itself refuses what is not as the run left it. A look spares it only after a doubt.
    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        if cx.was_attempted() && self.present(&self.behalf(cx)).await? == Present::AsBefore {
            return Ok(Readiness::AlreadyDone { evidence: Evidence::new("as before the run") });
        }
        Ok(Readiness::needed(Saved::default()))
    }

    async fn apply(&self, cx: &StepContext, _: &Saved) -> Result<Evidence, ActionError> {
        let Past { saved, applied, .. } = &self.past;
        self.action.undo(&self.behalf(cx), saved, applied.as_ref()).await?;
        Ok(Evidence::new(self.action.describe().undo))
    }

    /// The change is in force no more when the action would make it again, or could not even do that: what it was made from is gone. An action
    /// that knows its own work by a note, and not by the state, is asked whether what it reported is still so.
    async fn verify(&self, cx: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        let cx = self.behalf(cx);
        let in_force = match self.action.inspect(&cx).await {
            Ok(Readiness::AlreadyDone { evidence }) => evidence,
            Ok(Readiness::Needed { .. }) => {
                return Ok(Verdict::Holds { evidence: Evidence::default() });
            }
            Err(error) if is_of_the_state(error.kind) => {
                return Ok(Verdict::Holds { evidence: Evidence::default() });
            }
            Err(error) => return Err(error),
        };
        if let Some(applied) = &self.past.applied
            && let Verdict::NotYet { .. } = self.action.verify(&cx, applied).await?
        {
            return Ok(Verdict::Holds { evidence: Evidence::default() });
        }
        Ok(Verdict::not_yet(in_force.summary))
    }

    /// Never asked for: it says that it is irreversible.
    async fn undo(
        &self,
        _: &StepContext,
        _: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        Err(ActionError::new(ErrorKind::Invalid, "take a revert back"))
    }

    fn touches(&self) -> Touches {
        self.action.touches()
    }
}
