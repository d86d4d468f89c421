//! `kubernetes.pause` and `kubernetes.resume`: whether rollouts of a workload go on.
//!
//! A pause stops a rollout and no pod: those of the new version that already run go on serving.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::access::{self, Need};
use super::change::{Foreseen, Version, current, look_again, predict, read, set_paused, write};
use super::client::{Kubernetes, Mode, resolving};
use super::ownership;
use super::workload::{Named, Target, Workload};
use crate::action::{
    Action, ActionError, Connections, Description, Evidence, Present, Readiness, Repeat,
    ResolveContext, Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};

/// Halts the rollouts of a Deployment or an Argo Rollout. Pods that run already go on: shift traffic, scale or undo besides.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KubernetesPause")]
pub(super) struct Pause {
    #[serde(flatten)]
    workload: Named,
}

/// Lets the rollouts of a Deployment or an Argo Rollout go on.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KubernetesResume")]
pub(super) struct Resume {
    #[serde(flatten)]
    workload: Named,
}

#[async_trait]
impl VerbArgs for Pause {
    const NAME: &'static str = "kubernetes.pause";
    const SUMMARY: &'static str = "halt the rollouts of a Deployment or an Argo Rollout";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(15);
    type Item = Halt;

    fn validate(&self) -> Result<(), String> {
        can_be_halted(&self.workload)
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Halt)>, ActionError> {
        Halt::resolve(&self.workload, true, cx).await
    }

    fn make(item: Halt, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(item.work(cx))
    }
}

#[async_trait]
impl VerbArgs for Resume {
    const NAME: &'static str = "kubernetes.resume";
    const SUMMARY: &'static str = "let the rollouts of a Deployment or an Argo Rollout go on";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(15);
    type Item = Halt;

    fn validate(&self) -> Result<(), String> {
        can_be_halted(&self.workload)
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Halt)>, ActionError> {
        Halt::resolve(&self.workload, false, cx).await
    }

    fn make(item: Halt, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(item.work(cx))
    }
}

fn can_be_halted(workload: &Named) -> Result<(), String> {
    let (kind, _) = workload.workload()?;
    if kind.can_pause() {
        return Ok(());
    }
    Err(format!(
        "a {} cannot be paused; Kubernetes pauses Deployments, and Argo its Rollouts",
        kind.word()
    ))
}

/// A workload whose rollouts are to be halted, or not.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Halt {
    target: Target,
    paused: bool,
}

/// What undo needs to know.
#[derive(Debug, Serialize, Deserialize)]
struct Before {
    uid: String,
    was_paused: bool,
}

impl Halt {
    async fn resolve(
        workload: &Named,
        paused: bool,
        cx: &ResolveContext,
    ) -> Result<Vec<(String, Self)>, ActionError> {
        let kubernetes = Kubernetes::of(&cx.connections)?;
        let target = workload.target(&kubernetes)?;
        let needs = vec![Need::to_get(&target), Need::to_patch(&target, None)];
        access::check(&kubernetes, &resolving(), &target, needs).await?;
        Ok(vec![(String::new(), Self { target, paused })])
    }

    fn work(self, cx: &ResolveContext) -> Work {
        Work::Action(Box::new(SetPaused { connections: cx.connections.clone(), item: self }))
    }
}

struct SetPaused {
    connections: Arc<Connections>,
    item: Halt,
}

fn words(paused: bool) -> (&'static str, &'static str) {
    if paused { ("pause", "is paused") } else { ("resume", "is not paused") }
}

impl SetPaused {
    async fn set(
        &self,
        cx: &StepContext,
        version: &Version,
        paused: bool,
        mode: Mode,
    ) -> Result<Workload, ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        let target = &self.item.target;
        let doing = format!("{} {target}", words(paused).0);
        let operations = vec![set_paused(paused)];
        write(&kubernetes, cx, (target, &doing), version, operations, mode).await
    }

    fn evidence(&self, workload: &Workload) -> Evidence {
        let (_, state) = words(self.item.paused);
        Evidence::with(
            format!("{} {state}", self.item.target),
            json!({"generation": workload.generation(), "paused": workload.paused()}),
        )
    }
}

#[async_trait]
impl Action for SetPaused {
    fn describe(&self) -> Description {
        let Halt { target, paused } = &self.item;
        Description::new(
            format!("{} {target}", words(*paused).0),
            format!("{} {target} again", words(!*paused).0),
        )
    }

    fn repeat(&self) -> Repeat {
        Repeat::Safe
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        let Halt { target, paused } = &self.item;
        let workload = target.look(&kubernetes, cx).await?;
        if Foreseen::of(cx, &workload).paused == *paused {
            return Ok(Readiness::AlreadyDone { evidence: self.evidence(&workload) });
        }
        let Version { uid, generation } = Version::of(&workload);
        let found = format!("it {}{}", words(workload.paused()).1, ownership::warning(&workload));
        Ok(Readiness::Needed {
            saved: Saved::public(json!({
                "uid": uid, "generation": generation, "was_paused": workload.paused(), "found": found,
            })),
            predicted: predict(cx, target, json!({ "paused": paused })),
        })
    }

    async fn dry_run(
        &self,
        cx: &StepContext,
        saved: &Saved,
    ) -> Result<Option<Evidence>, ActionError> {
        let tried = self.set(cx, &Version::read(saved)?, self.item.paused, Mode::DryRun).await?;
        Ok(Some(self.evidence(&tried)))
    }

    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        let version = current(&kubernetes, cx, &self.item.target, saved).await?;
        let changed = self.set(cx, &version, self.item.paused, Mode::Store).await?;
        Ok(self.evidence(&changed))
    }

    async fn verify(&self, cx: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        let workload = self.item.target.look(&kubernetes, cx).await?;
        Ok(if workload.paused() == self.item.paused {
            Verdict::Holds { evidence: self.evidence(&workload) }
        } else {
            Verdict::not_yet(format!("{} {}", self.item.target, words(workload.paused()).1))
        })
    }

    /// The generation grows with every change, the one that takes this one back among them.
    async fn present(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<Present, ActionError> {
        let found = self.inspect(&cx.clone().afresh()).await?;
        Ok(Present::of(found, saved, |now| now.agrees(saved, &["uid", "was_paused"])))
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        let Before { uid, was_paused } = read(&saved.state)?;
        let workload = look_again(&kubernetes, cx, &self.item.target, &uid).await?;
        if workload.paused() != was_paused {
            let _changed = self.set(cx, &Version::of(&workload), was_paused, Mode::Store).await?;
        }
        Ok(())
    }
}
