//! `kubernetes.expect`: how a workload is.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::change::Foreseen;
use super::client::Kubernetes;
use super::rollout::{Progress, progress};
use super::workload::{Kind, Named, Target, Workload};
use crate::action::{
    ActionError, Connections, Description, Evidence, Probe, ResolveContext, StepContext, VerbArgs,
    VerbKind, Verdict, Work,
};
use crate::value::Count;

/// Asks how a workload is. Everything that is given must hold.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KubernetesExpect")]
pub(super) struct Expect {
    #[serde(flatten)]
    workload: Named,
    #[serde(flatten)]
    wanted: Wanted,
}

/// What must hold.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Wanted {
    /// Whether its rollouts are paused.
    #[serde(default)]
    paused: Option<bool>,
    /// How many replicas it is to have.
    #[serde(default)]
    replicas: Option<Count>,
    /// How many of its pods are ready.
    #[serde(default)]
    ready: Option<Count>,
    /// The image of a container of its pod template.
    #[serde(default)]
    image: Option<String>,
    /// Whether its rollout is complete: the controller has seen the present specification, every pod that is wanted is of the
    /// present pod template and available, and no other is left.
    #[serde(default)]
    rolled_out: Option<bool>,
}

/// The question, with its namespace.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ExpectItem {
    target: Target,
    wanted: Wanted,
}

#[async_trait]
impl VerbArgs for Expect {
    const NAME: &'static str = "kubernetes.expect";
    const SUMMARY: &'static str = "ask how a workload is";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Item = ExpectItem;

    fn validate(&self) -> Result<(), String> {
        let (kind, _) = self.workload.workload()?;
        let Wanted { paused, replicas, ready, image, rolled_out } = &self.wanted;
        if paused.is_none()
            && replicas.is_none()
            && ready.is_none()
            && image.is_none()
            && rolled_out.is_none()
        {
            return Err(
                "nothing is expected; add `paused`, `replicas`, `ready`, `image` or `rolled_out`"
                    .into(),
            );
        }
        if kind == Kind::DaemonSet && replicas.is_some() {
            return Err("a daemonset has a pod on each node, and no replicas; use `ready`".into());
        }
        if paused.is_some() && !kind.can_pause() {
            return Err(format!("a {} is never paused", kind.word()));
        }
        Ok(())
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, ExpectItem)>, ActionError> {
        let kubernetes = Kubernetes::of(&cx.connections)?;
        let target = self.workload.target(&kubernetes)?;
        Ok(vec![(String::new(), ExpectItem { target, wanted: self.wanted })])
    }

    fn make(item: ExpectItem, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Probe(Box::new(Question { connections: cx.connections.clone(), item })))
    }
}

struct Question {
    connections: Arc<Connections>,
    item: ExpectItem,
}

/// What was seen of one thing, and whether it is as wanted.
type Seen = (bool, String);

impl Question {
    fn seen(&self, cx: &StepContext, workload: &Workload) -> Vec<Seen> {
        let Wanted { paused, replicas, ready, image, rolled_out } = &self.item.wanted;
        let foreseen = Foreseen::of(cx, workload);
        let mut seen = Vec::new();
        if let Some(wanted) = paused {
            let word = if foreseen.paused { "paused" } else { "not paused" };
            seen.push((foreseen.paused == *wanted, word.to_owned()));
        }
        if let Some(wanted) = replicas {
            let text = format!("{} replicas wanted", foreseen.replicas);
            seen.push((wanted.admits(foreseen.replicas), told(&text, wanted)));
        }
        if let Some(wanted) = ready {
            let field = if workload.target.kind == Kind::DaemonSet {
                "numberReady"
            } else {
                "readyReplicas"
            };
            let now = workload.counted(field);
            let fits =
                wanted.admits(now) || (foreseen.will_roll && wanted.admits(foreseen.replicas));
            seen.push((fits, told(&format!("{now} pods ready"), wanted)));
        }
        if let Some(wanted) = image {
            seen.push((
                foreseen.images.contains(wanted),
                format!("image {}", foreseen.images.join(", ")),
            ));
        }
        if let Some(wanted) = rolled_out {
            let (complete, text) = match progress(workload) {
                _ if foreseen.will_roll => (true, "a rollout is to come".to_owned()),
                Progress::Complete(text) => (true, text),
                Progress::Underway(text) | Progress::Halted(text) => (false, text),
            };
            seen.push((complete == *wanted, text));
        }
        seen
    }
}

fn told(now: &str, wanted: &Count) -> String {
    format!("{now} (expected {wanted})")
}

#[async_trait]
impl Probe for Question {
    fn describe(&self) -> Description {
        let Wanted { paused, replicas, ready, image, rolled_out } = &self.item.wanted;
        let not = |yes: bool| if yes { "" } else { "not " };
        let parts = [
            paused.map(|paused| format!("{}paused", not(paused))),
            replicas.map(|count| format!("{count} replicas")),
            ready.map(|count| format!("{count} pods ready")),
            image.as_ref().map(|image| format!("image {image}")),
            rolled_out.map(|complete| format!("{}rolled out", not(complete))),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        Description::question(format!("{}: {}", self.item.target, parts.join(", ")))
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        let workload = self.item.target.look(&kubernetes, cx).await?;
        let seen = self.seen(cx, &workload);
        let wrong: Vec<&str> =
            seen.iter().filter(|(holds, _)| !holds).map(|(_, text)| text.as_str()).collect();
        if !wrong.is_empty() {
            return Ok(Verdict::not_yet(format!("{}: {}", self.item.target, wrong.join("; "))));
        }
        let all: Vec<&str> = seen.iter().map(|(_, text)| text.as_str()).collect();
        let summary = format!("{}: {}", self.item.target, all.join("; "));
        let facts = json!({"generation": workload.generation(), "images": workload.images()});
        Ok(Verdict::Holds { evidence: Evidence::with(summary, facts) })
    }
}
