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
    /// A look cannot tell; undo decides in its turn.
    Unseen,
    /// Neither as the run left it nor as it was before.
    Other,
}

impl Present {
    /// What an `inspect` has found, held against the state that was saved.
    pub fn of(found: Readiness, saved: &Saved, is_former: impl FnOnce(&Saved) -> bool) -> Self {
        match found {
            Readiness::AlreadyDone { .. } => Self::AsLeft,
            Readiness::Needed { .. } if says_nothing(saved) => Self::Unseen,
            Readiness::Needed { saved: now, .. } if is_former(&now) => Self::AsBefore,
            Readiness::Needed { .. } => Self::Other,
        }
    }
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
    /// Those of the action's `present`; one that does not come from the way to the system says that the present state is another.
    pub async fn look(&self, cx: &StepContext) -> Result<Present, ActionError> {
        let Past { saved, applied, .. } = &self.past;
        self.action.present(&self.behalf(cx), saved, applied.as_ref()).await
    }

    /// The context as the run that made the change had it.
    fn behalf(&self, cx: &StepContext) -> StepContext {
        let Past { run, place, notes, .. } = &self.past;
        cx.clone().on_behalf_of(run, place, notes)
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

    fn repeat(&self) -> Repeat {
        self.action.repeat_of_undo()
    }

    fn reversal(&self) -> Reversal {
        Reversal::Irreversible { reason: "the runbook itself goes forward again".into() }
    }

    /// Undo itself refuses what is not as the run left it. A look spares it only after a doubt.
    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        if cx.was_attempted() {
            match self.look(cx).await {
                Ok(Present::AsBefore) => {
                    let evidence = Evidence::new("as before the run");
                    return Ok(Readiness::AlreadyDone { evidence });
                }
                Err(error) if !is_of_the_state(error.kind) => return Err(error),
                _ => {}
            }
        }
        Ok(Readiness::needed(Saved::default()))
    }

    async fn apply(&self, cx: &StepContext, _: &Saved) -> Result<Evidence, ActionError> {
        let Past { saved, applied, .. } = &self.past;
        let cx = self.behalf(cx).after_attempts(1);
        self.action.undo(&cx, saved, applied.as_ref()).await?;
        Ok(Evidence::new(self.action.describe().undo))
    }

    /// The change is in force no more when it is not as the run left it, or nobody could even make it again: what it was made from is gone.
    /// What looks as if it had nothing to do either way is asked whether what it reported is still so.
    async fn verify(&self, cx: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        let gone = Verdict::Holds { evidence: Evidence::default() };
        match self.look(cx).await {
            Ok(Present::AsLeft) => {}
            Ok(_) => return Ok(gone),
            Err(error) if is_of_the_state(error.kind) => return Ok(gone),
            Err(error) => return Err(error),
        }
        if let Some(applied) = &self.past.applied
            && let Verdict::NotYet { .. } = self.action.verify(&self.behalf(cx), applied).await?
        {
            return Ok(gone);
        }
        Ok(Verdict::not_yet(format!("still in force: {}", self.action.describe().apply)))
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
