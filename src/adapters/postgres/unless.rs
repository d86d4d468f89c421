//! A change that is only made when a probe says that it is needed.

use async_trait::async_trait;

use crate::action::{
    Action, ActionError, Answer, Description, ErrorKind, Evidence, Present, Probe, Readiness,
    Repeat, Reversal, Saved, StepContext, Verdict,
};

/// An action, unless all probes hold.
pub(super) struct Unless<A> {
    pub(super) probes: Vec<Box<dyn Probe>>,
    pub(super) action: A,
}

impl<A> Unless<A> {
    /// What shows that all hold; nothing when one does not. What nobody knows is neither, and an error.
    async fn needless(&self, cx: &StepContext) -> Result<Option<Evidence>, ActionError> {
        let (mut shown, mut unknown) = (Vec::new(), None);
        for probe in &self.probes {
            match probe.answer(cx).await? {
                Answer::Yes { evidence } => shown.push(evidence.summary),
                Answer::No { .. } => return Ok(None),
                Answer::NoData { reason } => unknown = unknown.or(Some(reason)),
            }
        }
        let Some(reason) = unknown else {
            return Ok(Some(Evidence::new(format!("not needed: {}", shown.join("; ")))));
        };
        let text = format!("know whether it is needed: {reason}");
        Err(ActionError::new(ErrorKind::Failed, text).retryable(true).hint(
            "Nothing was changed. Mend what could not be asked, or run the step without `unless`.",
        ))
    }
}

#[async_trait]
impl<A: Action> Action for Unless<A> {
    fn describe(&self) -> Description {
        let Description { apply, undo } = self.action.describe();
        let asked: Vec<String> = self.probes.iter().map(|probe| probe.describe().apply).collect();
        Description::new(format!("{apply}, unless {}", asked.join("; ")), undo)
    }

    fn repeat(&self) -> Repeat {
        self.action.repeat()
    }

    fn reversal(&self) -> Reversal {
        self.action.reversal()
    }

    /// What has been changed already is not asked about again: the probe would judge the outcome.
    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        match self.action.inspect(cx).await? {
            done @ Readiness::AlreadyDone { .. } => Ok(done),
            needed @ Readiness::Needed { .. } => Ok(match self.needless(cx).await? {
                Some(evidence) => Readiness::AlreadyDone { evidence },
                None => needed,
            }),
        }
    }

    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError> {
        self.action.apply(cx, saved).await
    }

    async fn verify(&self, cx: &StepContext, applied: &Evidence) -> Result<Verdict, ActionError> {
        self.action.verify(cx, applied).await
    }

    /// Whoever takes the change back asks what it has left, and not whether it was needed.
    async fn present(
        &self,
        cx: &StepContext,
        saved: &Saved,
        applied: Option<&Evidence>,
    ) -> Result<Present, ActionError> {
        self.action.present(cx, saved, applied).await
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        applied: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        self.action.undo(cx, saved, applied).await
    }
}
