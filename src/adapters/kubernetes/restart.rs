//! `kubernetes.restart`: all pods of a workload are replaced, in its own rolling way.
//!
//! As `kubectl rollout restart`: an annotation with the time changes the pod template. The time is noted before it is written, so
//! that a run which was killed in between finds its own restart and does not make a second one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::{self, Need};
use super::change::{Foreseen, Version, predict, write};
use super::client::{Kubernetes, Mode, resolving};
use super::ownership;
use super::workload::{Kind, Named, Target, Workload};
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Present, Readiness, Repeat,
    ResolveContext, Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};
use crate::clock;

/// The annotation of kubectl.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// Replaces all pods of a workload in its own rolling way. Does not wait for them: `kubernetes.wait` does.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KubernetesRestart")]
pub(super) struct Restart {
    #[serde(flatten)]
    workload: Named,
}

#[async_trait]
impl VerbArgs for Restart {
    const NAME: &'static str = "kubernetes.restart";
    const SUMMARY: &'static str = "replace all pods of a workload, in its own rolling way";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(15);
    type Item = Target;

    fn validate(&self) -> Result<(), String> {
        self.workload.workload().map(drop)
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Target)>, ActionError> {
        let kubernetes = Kubernetes::of(&cx.connections)?;
        let target = self.workload.target(&kubernetes)?;
        let needs = vec![Need::to_get(&target), Need::to_patch(&target, None)];
        access::check(&kubernetes, &resolving(), &target, needs).await?;
        Ok(vec![(String::new(), target)])
    }

    fn make(target: Target, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(RestartPods { connections: cx.connections.clone(), target })))
    }
}

struct RestartPods {
    connections: Arc<Connections>,
    target: Target,
}

impl RestartPods {
    async fn set(
        &self,
        cx: &StepContext,
        (workload, time): (&Workload, &str),
        mode: Mode,
    ) -> Result<Workload, ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        let doing = format!("restart {}", self.target);
        let operations = vec![restart_at(workload, time)];
        let version = Version::of(workload);
        write(&kubernetes, cx, (&self.target, &doing), &version, operations, mode).await
    }

    async fn look(&self, cx: &StepContext) -> Result<Workload, ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        self.target.look(&kubernetes, cx).await
    }

    /// The evidence, if this step has restarted the workload.
    fn restarted(&self, workload: &Workload, times: &[Value]) -> Option<Evidence> {
        let at = restarted_at(workload)?;
        let ours = times.iter().any(|note| note["restarted_at"] == at);
        ours.then(|| {
            let text =
                format!("{} restarts since {at}{}", self.target, ownership::warning(workload));
            Evidence::with(text, json!({"restarted_at": at, "generation": workload.generation()}))
        })
    }
}

/// When the workload was last told to restart.
fn restarted_at(workload: &Workload) -> Option<&str> {
    match workload.target.kind {
        Kind::Rollout => workload.spec().get("restartAt")?.as_str(),
        _ => workload.template().pointer("/metadata/annotations")?.get(RESTARTED_AT)?.as_str(),
    }
}

/// The operation that tells a workload to restart.
fn restart_at(workload: &Workload, time: &str) -> Value {
    if workload.target.kind == Kind::Rollout {
        return json!({"op": "add", "path": "/spec/restartAt", "value": time});
    }
    let annotations = "/spec/template/metadata/annotations";
    if workload.template().pointer("/metadata/annotations").is_none_or(Value::is_null) {
        return json!({"op": "add", "path": annotations, "value": {RESTARTED_AT: time}});
    }
    let path = format!("{annotations}/{}", RESTARTED_AT.replace('/', "~1"));
    json!({"op": "add", "path": path, "value": time})
}

#[async_trait]
impl Action for RestartPods {
    fn describe(&self) -> Description {
        Description::new(
            format!("restart {}", self.target),
            "nothing: the new pods are of the same pod template",
        )
    }

    fn repeat(&self) -> Repeat {
        Repeat::AfterInspect
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let workload = self.look(cx).await?;
        if let Some(evidence) = self.restarted(&workload, cx.notes()) {
            return Ok(Readiness::AlreadyDone { evidence });
        }
        if Foreseen::of(cx, &workload).paused {
            let text = format!("restart {}: it is paused, so nothing would happen", self.target);
            return Err(ActionError::new(ErrorKind::Conflict, text)
                .hint("Let its rollouts go on first, with `kubernetes.resume`."));
        }
        let pods = workload.replicas();
        let found = match workload.target.kind {
            Kind::DaemonSet => format!("{} pods", workload.counted("desiredNumberScheduled")),
            _ => format!("{pods} pods"),
        };
        let saved =
            Saved::public(json!({ "found": format!("{found}{}", ownership::warning(&workload)) }));
        Ok(Readiness::Needed {
            saved,
            predicted: predict(cx, &self.target, json!({"will_roll": true})),
        })
    }

    async fn dry_run(&self, cx: &StepContext, _: &Saved) -> Result<Option<Evidence>, ActionError> {
        let workload = self.look(cx).await?;
        let _tried = self.set(cx, (&workload, &now()), Mode::DryRun).await?;
        Ok(Some(Evidence::new(self.describe().apply)))
    }

    async fn apply(&self, cx: &StepContext, _: &Saved) -> Result<Evidence, ActionError> {
        let workload = self.look(cx).await?;
        let time = now();
        let note = json!({ "restarted_at": time });
        cx.note(note.clone()).await?;
        let changed = self.set(cx, (&workload, &time), Mode::Store).await?;
        self.restarted(&changed, &[note]).ok_or_else(|| {
            let text = format!("restart {}: the API server has dropped the change", self.target);
            ActionError::new(ErrorKind::Failed, text)
        })
    }

    async fn verify(&self, cx: &StepContext, applied: &Evidence) -> Result<Verdict, ActionError> {
        let workload = self.look(cx).await?;
        let note = json!({ "restarted_at": applied.facts["restarted_at"] });
        Ok(match self.restarted(&workload, &[note]) {
            Some(evidence) => Verdict::Holds { evidence },
            None => Verdict::not_yet(format!("{} has been changed again since", self.target)),
        })
    }

    /// Nothing is brought back, so there is nothing to look for.
    async fn present(
        &self,
        _: &StepContext,
        _: &Saved,
        _: Option<&Evidence>,
    ) -> Result<Present, ActionError> {
        Ok(Present::Unseen)
    }

    async fn undo(
        &self,
        _: &StepContext,
        _: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        // There is nothing to bring back: what ran before was the same.
        Ok(())
    }
}

fn now() -> String {
    clock::now().to_string()
}
