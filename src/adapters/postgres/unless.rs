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

    /// What has been changed already is not asked about again: the probe would judge the outcome. What stands in the way of a change does
    /// not where it is needless.
    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        match self.action.inspect(cx).await {
            Ok(needed @ Readiness::Needed { .. }) => Ok(match self.needless(cx).await? {
                Some(evidence) => Readiness::AlreadyDone { evidence },
                None => needed,
            }),
            Err(error) if error.kind == ErrorKind::Conflict => match self.needless(cx).await {
                Ok(Some(evidence)) => Ok(Readiness::AlreadyDone { evidence }),
                Ok(None) | Err(_) => Err(error),
            },
            other => other,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::action::{Past, TakeBack};

    /// A gate with this answer.
    struct Gate(Answer);

    fn expired() -> Answer {
        Answer::NoData { reason: "the key has expired".into() }
    }

    #[async_trait]
    impl Probe for Gate {
        fn describe(&self) -> Description {
            Description::question("the canary is well")
        }

        async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
            self.answer(cx).await.map(Verdict::from)
        }

        async fn answer(&self, _: &StepContext) -> Result<Answer, ActionError> {
            Ok(self.0.clone())
        }
    }

    /// A change that was taken back, and that nothing stands in the way of, or something does.
    struct Undone {
        hindered: bool,
    }

    #[async_trait]
    impl Action for Undone {
        fn describe(&self) -> Description {
            Description::new("restore", "put the former rows back")
        }

        fn repeat(&self) -> Repeat {
            Repeat::AfterInspect
        }

        async fn inspect(&self, _: &StepContext) -> Result<Readiness, ActionError> {
            if self.hindered {
                return Err(ActionError::new(ErrorKind::Conflict, "change a standby"));
            }
            Ok(Readiness::needed(Saved::public(json!({"mark": 1}))))
        }

        async fn apply(&self, _: &StepContext, _: &Saved) -> Result<Evidence, ActionError> {
            Ok(Evidence::new("restored"))
        }

        async fn verify(&self, _: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
            Ok(Verdict::not_yet("the ledger does not know it"))
        }

        async fn undo(
            &self,
            _: &StepContext,
            _: &Saved,
            _: Option<&Evidence>,
        ) -> Result<(), ActionError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn whoever_takes_it_back_asks_no_gate() {
        let cx = StepContext::looking(Duration::from_secs(5)).after_attempts(1);
        let made = || Unless {
            probes: vec![Box::new(Gate(expired()))],
            action: Undone { hindered: false },
        };
        let forward = made().inspect(&cx).await.expect_err("nobody knows whether it is needed");
        assert!(forward.retryable, "{forward:?}");

        let saved = Saved::public(json!({"mark": 1}));
        let applied = Some(Evidence::new("restored"));
        let (run, place, notes) = ("run".into(), "data/restore".into(), Vec::new());
        let past = Past { run, place, saved, applied, notes };
        let back = TakeBack::new(Box::new(made()), past);
        let verdict = back.verify(&cx, &Evidence::default()).await.expect("no gate is asked");
        assert!(matches!(verdict, Verdict::Holds { .. }), "{verdict:?}");
        assert_eq!(back.look(&cx).await.expect("no gate is asked"), Present::AsBefore);
    }

    #[tokio::test]
    async fn what_stands_in_the_way_is_told_only_where_the_change_is_needed() {
        let cx = StepContext::looking(Duration::from_secs(5));
        let hindered = |answer| Unless {
            probes: vec![Box::new(Gate(answer))],
            action: Undone { hindered: true },
        };
        let yes = Answer::Yes { evidence: Evidence::new("all is well") };
        let found = hindered(yes).inspect(&cx).await.expect("it is needless");
        assert!(matches!(found, Readiness::AlreadyDone { .. }), "{found:?}");
        for answer in [Answer::No { observed: "a bad row".into() }, expired()] {
            let error = hindered(answer).inspect(&cx).await.expect_err("it is hindered");
            assert_eq!(error.message, "change a standby");
        }
    }
}
