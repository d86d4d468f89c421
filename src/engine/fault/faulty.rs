//! The work of a verb behind the faults: every call meets them first.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Call, Faults, Passed, injected};
use crate::action::{
    Action, ActionError, Answer, Description, ErrorKind, Evidence, Present, Probe, Readiness,
    Repeat, Reversal, Saved, StepContext, Touches, Verdict,
};

/// A change behind the faults.
pub(super) struct FaultyAction {
    pub(super) verb: &'static str,
    pub(super) inner: Box<dyn Action>,
    pub(super) faults: Arc<Faults>,
}

impl FaultyAction {
    async fn look(&self, cx: &StepContext) -> Result<(), ActionError> {
        self.faults.meet(self.verb, cx, Call::Look).await.map(drop)
    }

    /// A change that is made, and whose answer may be lost.
    async fn change<T>(
        &self,
        cx: &StepContext,
        change: impl Future<Output = Result<T, ActionError>>,
    ) -> Result<T, ActionError> {
        match self.faults.meet(self.verb, cx, Call::Change).await? {
            Passed::Answered => change.await,
            Passed::Lost => {
                let _lost = change.await;
                Err(injected(ErrorKind::Unknown, self.verb, "its answer is lost"))
            }
        }
    }
}

#[async_trait]
impl Action for FaultyAction {
    fn describe(&self) -> Description {
        self.inner.describe()
    }

    fn repeat(&self) -> Repeat {
        self.inner.repeat()
    }

    fn repeat_of_undo(&self) -> Repeat {
        self.inner.repeat_of_undo()
    }

    fn reversal(&self) -> Reversal {
        self.inner.reversal()
    }

    fn touches(&self) -> Touches {
        self.inner.touches()
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        self.look(cx).await?;
        self.inner.inspect(cx).await
    }

    async fn dry_run(
        &self,
        cx: &StepContext,
        saved: &Saved,
    ) -> Result<Option<Evidence>, ActionError> {
        self.look(cx).await?;
        self.inner.dry_run(cx, saved).await
    }

    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError> {
        self.change(cx, self.inner.apply(cx, saved)).await
    }

    async fn verify(&self, cx: &StepContext, applied: &Evidence) -> Result<Verdict, ActionError> {
        self.look(cx).await?;
        self.inner.verify(cx, applied).await
    }

    async fn present(
        &self,
        cx: &StepContext,
        saved: &Saved,
        applied: Option<&Evidence>,
    ) -> Result<Present, ActionError> {
        self.look(cx).await?;
        self.inner.present(cx, saved, applied).await
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        applied: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        self.change(cx, self.inner.undo(cx, saved, applied)).await
    }
}

/// A question behind the faults.
pub(super) struct FaultyProbe {
    pub(super) verb: &'static str,
    pub(super) inner: Box<dyn Probe>,
    pub(super) faults: Arc<Faults>,
}

#[async_trait]
impl Probe for FaultyProbe {
    fn describe(&self) -> Description {
        self.inner.describe()
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        let _answered = self.faults.meet(self.verb, cx, Call::Look).await?;
        self.inner.observe(cx).await
    }

    async fn answer(&self, cx: &StepContext) -> Result<Answer, ActionError> {
        let _answered = self.faults.meet(self.verb, cx, Call::Look).await?;
        self.inner.answer(cx).await
    }
}
