//! `kubernetes.wait`: until the rollout of a workload is complete.
//!
//! As `kubectl rollout status`, but it does not wait for what will never come: a rollout that is paused, or whose progress
//! deadline has passed, is an error at once.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::change::Foreseen;
use super::client::Kubernetes;
use super::rollout::{Progress, progress};
use super::workload::{Named, Target};
use crate::action::{
    ActionError, Connections, Description, ErrorKind, Evidence, Probe, ResolveContext, StepContext,
    VerbArgs, VerbKind, Verdict, Work,
};

/// Waits until the rollout of a workload is complete: every pod that is wanted is of the present pod template and available.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KubernetesWait")]
pub(super) struct Wait {
    #[serde(flatten)]
    workload: Named,
}

#[async_trait]
impl VerbArgs for Wait {
    const NAME: &'static str = "kubernetes.wait";
    const SUMMARY: &'static str = "wait until the rollout of a workload is complete";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(300);
    type Item = Target;

    fn validate(&self) -> Result<(), String> {
        self.workload.workload().map(drop)
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Target)>, ActionError> {
        let kubernetes = Kubernetes::of(&cx.connections)?;
        Ok(vec![(String::new(), self.workload.target(&kubernetes)?)])
    }

    fn make(target: Target, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Probe(Box::new(RolledOut { connections: cx.connections.clone(), target })))
    }
}

struct RolledOut {
    connections: Arc<Connections>,
    target: Target,
}

#[async_trait]
impl Probe for RolledOut {
    fn describe(&self) -> Description {
        Description::question(format!("{} is rolled out", self.target))
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        let workload = self.target.look(&kubernetes, cx).await?;
        let told = |text: &str| format!("{}: {text}", self.target);
        let foreseen = Foreseen::of(cx, &workload);
        if foreseen.will_roll && !foreseen.paused {
            return Ok(Verdict::holds(told("a rollout is to come")));
        }
        match progress(&workload) {
            Progress::Complete(text) => {
                let facts =
                    json!({"generation": workload.generation(), "images": workload.images()});
                Ok(Verdict::Holds { evidence: Evidence::with(told(&text), facts) })
            }
            Progress::Underway(text) => Ok(Verdict::not_yet(told(&text))),
            Progress::Halted(text) => {
                let text = format!("wait for the rollout of {}: {text}", self.target);
                let Target { kind, namespace, name } = &self.target;
                Err(ActionError::new(ErrorKind::Conflict, text).hint(format!(
                    "`kubectl describe {} {name} --namespace {namespace}` says more.",
                    kind.word()
                )))
            }
        }
    }
}
