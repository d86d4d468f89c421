//! `kubernetes.abort`: an Argo Rollout gives its new version up, and its stable one takes all the traffic.
//!
//! As `kubectl argo rollouts abort`: the switch is in the status, and the template stays the new one. When the Rollout leaves that
//! state it tries the new version again, so `kubernetes.undo` belongs behind it
//! (<https://argo-rollouts.readthedocs.io/en/stable/generated/kubectl-argo-rollouts/kubectl-argo-rollouts_abort/>).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kube::api::Patch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::{self, Need};
use super::change::{look_again, predict, read};
use super::client::{Kubernetes, Mode, resolving};
use super::workload::{Kind, Target, Workload};
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Readiness, Repeat,
    ResolveContext, Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};

/// The subresource with the switch. A cluster whose Rollouts have none keeps the status in the object itself.
const STATUS: &str = "status";

/// Makes an Argo Rollout give up its new version: the stable one takes all the traffic. `kubernetes.undo` belongs behind it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KubernetesAbort")]
pub(super) struct Abort {
    /// The name of the Argo Rollout.
    rollout: String,
    /// Its namespace; by default the one of the environment's connection.
    #[serde(default)]
    namespace: Option<String>,
}

#[async_trait]
impl VerbArgs for Abort {
    const NAME: &'static str = "kubernetes.abort";
    const SUMMARY: &'static str = "make an Argo Rollout give up its new version";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(15);
    type Item = Target;

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Target)>, ActionError> {
        let kubernetes = Kubernetes::of(&cx.connections)?;
        let namespace = self.namespace.unwrap_or_else(|| kubernetes.namespace().to_owned());
        let target = Target { kind: Kind::Rollout, namespace, name: self.rollout };
        let needs = vec![Need::to_get(&target), Need::to_patch(&target, Some(STATUS))];
        access::check(&kubernetes, &resolving(), &target, needs).await?;
        Ok(vec![(String::new(), target)])
    }

    fn make(target: Target, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(AbortRollout { connections: cx.connections.clone(), target })))
    }
}

struct AbortRollout {
    connections: Arc<Connections>,
    target: Target,
}

/// What undo needs to know.
#[derive(Debug, Serialize, Deserialize)]
struct Before {
    uid: String,
}

fn is_aborted(workload: &Workload) -> bool {
    workload.status("abort") == true
}

impl AbortRollout {
    async fn set(&self, cx: &StepContext, abort: bool, mode: Mode) -> Result<(), ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        let doing = format!("{} {}", if abort { "abort" } else { "retry" }, self.target);
        let patch: Patch<Value> = Patch::Merge(json!({"status": {"abort": abort}}));
        let object = self.target.object();
        match kubernetes.patch(cx, &doing, (&object, Some(STATUS)), &patch, mode).await {
            Err(error) if error.kind == ErrorKind::NotFound => {
                kubernetes.patch(cx, &doing, (&object, None), &patch, mode).await.map(drop)
            }
            patched => patched.map(drop),
        }
    }

    async fn look(&self, cx: &StepContext) -> Result<Workload, ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        self.target.look(&kubernetes, cx).await
    }
}

#[async_trait]
impl Action for AbortRollout {
    fn describe(&self) -> Description {
        Description::new(format!("abort {}", self.target), format!("retry {}", self.target))
    }

    fn repeat(&self) -> Repeat {
        Repeat::Safe
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let workload = self.look(cx).await?;
        let already = |what: &str| {
            let evidence = Evidence::new(format!("{} {what}", self.target));
            Ok(Readiness::AlreadyDone { evidence })
        };
        if is_aborted(&workload) {
            return already("is aborted");
        }
        if workload.said("phase") == "Healthy" && workload.observed() == workload.generation() {
            return already("is healthy: there is no new version to give up");
        }
        let phase = workload.said("phase").to_lowercase();
        let found = format!("it is {}", if phase.is_empty() { "new" } else { &phase });
        let saved = Saved::public(json!({"uid": workload.uid(), "found": found}));
        Ok(Readiness::Needed { saved, predicted: predict(cx, &self.target, json!({})) })
    }

    async fn dry_run(&self, cx: &StepContext, _: &Saved) -> Result<Option<Evidence>, ActionError> {
        self.set(cx, true, Mode::DryRun).await?;
        Ok(Some(Evidence::new(self.describe().apply)))
    }

    async fn apply(&self, cx: &StepContext, _: &Saved) -> Result<Evidence, ActionError> {
        self.set(cx, true, Mode::Store).await?;
        Ok(Evidence::new(format!("{} was told to abort", self.target)))
    }

    async fn verify(&self, cx: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        let workload = self.look(cx).await?;
        Ok(if is_aborted(&workload) {
            Verdict::holds(format!("{} is aborted", self.target))
        } else {
            Verdict::not_yet(format!("{} is not aborted", self.target))
        })
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        let Before { uid } = read(&saved.state)?;
        if is_aborted(&look_again(&kubernetes, cx, &self.target, &uid).await?) {
            self.set(cx, false, Mode::Store).await?;
        }
        Ok(())
    }
}
