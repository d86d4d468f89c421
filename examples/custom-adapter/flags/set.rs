//! `flags.set`: turns a flag on or off.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rollback::action::{
    Action, ActionError, Description, Evidence, Readiness, Repeat, ResolveContext, Saved,
    StepContext, VerbArgs, VerbKind, Verdict, Work,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::service::{Service, word};

/// Turns a feature flag on or off.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetArgs {
    /// The flag's name.
    #[schemars(length(min = 1))]
    flag: String,
    /// Whether it is to be on.
    on: bool,
}

#[async_trait]
impl VerbArgs for SetArgs {
    const NAME: &'static str = "flags.set";
    const SUMMARY: &'static str = "Turns a feature flag on or off";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(5);
    type Item = Self;

    // One flag is one item. A verb over a fleet reads the live system here and returns many.
    async fn expand(self, _cx: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(Set { args: item, service: Service::shared(cx)? })))
    }
}

struct Set {
    args: SetArgs,
    service: Arc<Service>,
}

#[async_trait]
impl Action for Set {
    fn describe(&self) -> Description {
        let SetArgs { flag, on } = &self.args;
        Description::new(
            format!("turn the flag {flag} {}", word(*on)),
            format!("turn the flag {flag} {} again", word(!on)),
        )
    }

    // Twice is the same as once, so nobody has to look after a lost answer.
    fn repeat(&self) -> Repeat {
        Repeat::Safe
    }

    async fn inspect(&self, _cx: &StepContext) -> Result<Readiness, ActionError> {
        let on = self.service.is_on(&self.args.flag)?;
        if on == self.args.on {
            let evidence = Evidence::new(format!("{} is {} already", self.args.flag, word(on)));
            return Ok(Readiness::AlreadyDone { evidence });
        }
        Ok(Readiness::needed(Saved::public(json!({ "on": on }))))
    }

    async fn apply(&self, _cx: &StepContext, _saved: &Saved) -> Result<Evidence, ActionError> {
        self.service.turn(&self.args.flag, self.args.on);
        Ok(Evidence::new(format!("turned {} {}", self.args.flag, word(self.args.on))))
    }

    async fn verify(&self, _cx: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        let on = self.service.is_on(&self.args.flag)?;
        let seen = format!("{} is {}", self.args.flag, word(on));
        Ok(if on == self.args.on { Verdict::holds(seen) } else { Verdict::not_yet(seen) })
    }

    async fn undo(
        &self,
        _cx: &StepContext,
        saved: &Saved,
        _applied: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let former = saved.state["on"].as_bool().unwrap_or(!self.args.on);
        self.service.turn(&self.args.flag, former);
        Ok(())
    }
}
