//! `kubernetes.scale`: how many replicas a workload has.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kube::api::Patch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::{self, Need};
use super::change::{Foreseen, as_json, look_again, moved, predict, read};
use super::client::{Kubernetes, Mode, resolving};
use super::ownership;
use super::workload::{Kind, Named, Target, Workload};
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Readiness, Repeat,
    ResolveContext, Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};

/// The subresource through which `kubectl scale` changes the number, too: an account may be allowed that and no more.
const SCALE: &str = "scale";

/// Changes how many replicas a Deployment, a StatefulSet or an Argo Rollout has. Does not wait for its pods: `kubernetes.wait`
/// and `kubernetes.expect` do.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KubernetesScale")]
pub(super) struct Scale {
    #[serde(flatten)]
    workload: Named,
    /// How many.
    replicas: u64,
}

/// The change of one workload.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ScaleItem {
    target: Target,
    replicas: u64,
}

#[async_trait]
impl VerbArgs for Scale {
    const NAME: &'static str = "kubernetes.scale";
    const SUMMARY: &'static str = "change how many replicas a workload has";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(15);
    type Item = ScaleItem;

    fn validate(&self) -> Result<(), String> {
        match self.workload.workload()? {
            (Kind::DaemonSet, _) => {
                Err("a daemonset has a pod on each node, and no replicas".into())
            }
            _ if i32::try_from(self.replicas).is_err() => Err("`replicas` is too large".into()),
            _ => Ok(()),
        }
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, ScaleItem)>, ActionError> {
        let kubernetes = Kubernetes::of(&cx.connections)?;
        let target = self.workload.target(&kubernetes)?;
        let needs = vec![Need::to_get(&target), Need::to_patch(&target, Some(SCALE))];
        access::check(&kubernetes, &resolving(), &target, needs).await?;
        Ok(vec![(String::new(), ScaleItem { target, replicas: self.replicas })])
    }

    fn make(item: ScaleItem, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(SetReplicas { connections: cx.connections.clone(), item })))
    }
}

struct SetReplicas {
    connections: Arc<Connections>,
    item: ScaleItem,
}

/// What undo needs to know.
#[derive(Debug, Serialize, Deserialize)]
struct Before {
    uid: String,
    replicas: u64,
}

impl SetReplicas {
    /// Changes the number if it still is `from`.
    async fn set(
        &self,
        cx: &StepContext,
        (uid, from): (&str, u64),
        to: u64,
        mode: Mode,
    ) -> Result<(), ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        let target = &self.item.target;
        let doing = format!("scale {target} to {to}");
        let patch = change(uid, from, to)?;
        let written =
            kubernetes.patch(cx, &doing, (&target.object(), Some(SCALE)), &patch, mode).await;
        match written {
            Err(error) if error.kind == ErrorKind::Invalid => {
                let now = target.look(&kubernetes, cx).await?;
                let same = now.uid() == uid && now.replicas() == from;
                Err(if same { error } else { moved(&doing, target) })
            }
            written => written.map(drop),
        }
    }

    fn evidence(&self, workload: &Workload) -> Evidence {
        let text = format!(
            "{} is to have {} replicas{}",
            self.item.target,
            workload.replicas(),
            ownership::warning(workload)
        );
        Evidence::with(text, json!({"replicas": workload.replicas()}))
    }
}

fn change(uid: &str, from: u64, to: u64) -> Result<Patch<Value>, ActionError> {
    let mut operations = vec![json!({"op": "test", "path": "/metadata/uid", "value": uid})];
    // Zero is left out of a Scale object, and a test of what is not there fails.
    if from != 0 {
        operations.push(json!({"op": "test", "path": "/spec/replicas", "value": from}));
    }
    operations.push(json!({"op": "add", "path": "/spec/replicas", "value": to}));
    as_json(operations)
}

#[async_trait]
impl Action for SetReplicas {
    fn describe(&self) -> Description {
        let ScaleItem { target, replicas } = &self.item;
        Description::new(
            format!("scale {target} to {replicas}"),
            format!("scale {target} back to what it has now"),
        )
    }

    fn repeat(&self) -> Repeat {
        Repeat::Safe
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        let ScaleItem { target, replicas } = &self.item;
        let workload = target.look(&kubernetes, cx).await?;
        if Foreseen::of(cx, &workload).replicas == *replicas {
            return Ok(Readiness::AlreadyDone { evidence: self.evidence(&workload) });
        }
        let before = workload.replicas();
        let found = format!("{before} → {replicas}{}", ownership::warning(&workload));
        let saved =
            Saved::public(json!({"uid": workload.uid(), "replicas": before, "found": found}));
        let effect = json!({"replicas": replicas, "will_roll": true});
        Ok(Readiness::Needed { saved, predicted: predict(cx, target, effect) })
    }

    async fn dry_run(
        &self,
        cx: &StepContext,
        saved: &Saved,
    ) -> Result<Option<Evidence>, ActionError> {
        let Before { uid, replicas } = read(&saved.state)?;
        self.set(cx, (&uid, replicas), self.item.replicas, Mode::DryRun).await?;
        Ok(Some(Evidence::new(self.describe().apply)))
    }

    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError> {
        let Before { uid, mut replicas } = read(&saved.state)?;
        if cx.was_attempted() {
            // What was saved is kept for undo, and may not be what is there now.
            let kubernetes = Kubernetes::of(&self.connections)?;
            let now = look_again(&kubernetes, cx, &self.item.target, &uid).await?;
            replicas = now.replicas();
        }
        self.set(cx, (&uid, replicas), self.item.replicas, Mode::Store).await?;
        let ScaleItem { target, replicas } = &self.item;
        Ok(Evidence::with(
            format!("{target} is to have {replicas} replicas"),
            json!({ "replicas": replicas }),
        ))
    }

    async fn verify(&self, cx: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        let workload = self.item.target.look(&kubernetes, cx).await?;
        Ok(if workload.replicas() == self.item.replicas {
            Verdict::Holds { evidence: self.evidence(&workload) }
        } else {
            let now = workload.replicas();
            Verdict::not_yet(format!(
                "{} is to have {now}; does an autoscaler own it?",
                self.item.target
            ))
        })
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        let ScaleItem { target, replicas } = &self.item;
        let before: Before = read(&saved.state)?;
        let workload = look_again(&kubernetes, cx, target, &before.uid).await?;
        let now = workload.replicas();
        if now == before.replicas {
            return Ok(());
        }
        if now != *replicas {
            let text = format!("scale {target} back: it has been scaled to {now} since");
            return Err(ActionError::new(ErrorKind::Conflict, text));
        }
        self.set(cx, (&before.uid, now), before.replicas, Mode::Store).await
    }
}
