//! `flags.expect`: asks whether a flag is on or off.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rollback::action::{
    ActionError, Description, Probe, ResolveContext, StepContext, VerbArgs, VerbKind, Verdict, Work,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::service::{Service, word};

/// Asks whether a feature flag is on or off.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectArgs {
    /// The flag's name.
    #[schemars(length(min = 1))]
    flag: String,
    /// Whether it must be on.
    on: bool,
}

#[async_trait]
impl VerbArgs for ExpectArgs {
    const NAME: &'static str = "flags.expect";
    const SUMMARY: &'static str = "Asks whether a feature flag is on or off";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(5);
    type Item = Self;

    async fn expand(self, _cx: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Probe(Box::new(Expect { args: item, service: Service::shared(cx)? })))
    }
}

struct Expect {
    args: ExpectArgs,
    service: Arc<Service>,
}

#[async_trait]
impl Probe for Expect {
    fn describe(&self) -> Description {
        Description::question(format!("the flag {} is {}", self.args.flag, word(self.args.on)))
    }

    async fn observe(&self, _cx: &StepContext) -> Result<Verdict, ActionError> {
        let on = self.service.is_on(&self.args.flag)?;
        let seen = format!("{} is {}", self.args.flag, word(on));
        Ok(if on == self.args.on { Verdict::holds(seen) } else { Verdict::not_yet(seen) })
    }
}
