//! `kubernetes.undo`: the pod template of a former revision is the present one again.
//!
//! As `kubectl rollout undo`, with four differences: the revision is chosen once and named, and not "the second newest" at the
//! moment of the call; a paused Deployment is undone and set going in the same request, where kubectl refuses; annotations of the
//! workload stay; and what somebody changes between the look and the change is looked at again before it is overwritten.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::{self, Need};
use super::change::{Foreseen, Version, current, look_again, predict, read, set_paused, write};
use super::client::{Kubernetes, Mode, resolving};
use super::history::{self, Revision, fingerprint};
use super::ownership;
use super::workload::{Named, Target, Workload};
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Present, Readiness, Repeat,
    ResolveContext, Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};

/// Brings the pod template of a former revision back; a paused Deployment is set going in the same request. Does not wait for
/// its pods: `kubernetes.wait` does.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KubernetesUndo")]
pub(super) struct Undo {
    #[serde(flatten)]
    workload: Named,
    /// Which revision: `previous` (the newest whose pod template is not the present one), `{revision: 3}`, or
    /// `{image: "legacy/agent:1.0.0"}` (the newest with a container of this image). It is resolved once, before the run begins.
    #[serde(default)]
    to: Wanted,
}

/// Which revision to go back to.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
#[schemars(rename = "KubernetesRevision")]
pub(super) enum Wanted {
    /// The newest whose pod template is not the present one.
    #[default]
    #[serde(with = "previous")]
    #[schemars(with = "previous::Word")]
    Previous,
    /// The one with this number.
    Numbered {
        /// As `kubectl rollout history` shows it.
        revision: u64,
    },
    /// The newest with a container of this image.
    Running {
        /// As it stands in the pod template.
        image: String,
    },
}

/// The word `previous`.
mod previous {
    use schemars::JsonSchema;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    #[schemars(rename = "KubernetesPreviousRevision")]
    pub(in super::super) enum Word {
        /// The newest revision whose pod template is not the present one.
        Previous,
    }

    pub(super) fn serialize<S: Serializer>(to: S) -> Result<S::Ok, S::Error> {
        Word::Previous.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<(), D::Error> {
        Word::deserialize(from).map(|Word::Previous| ())
    }
}

/// The change, with the revision resolved.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct UndoItem {
    target: Target,
    to: Revision,
}

#[async_trait]
impl VerbArgs for Undo {
    const NAME: &'static str = "kubernetes.undo";
    const SUMMARY: &'static str = "bring the pod template of a former revision back";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Item = UndoItem;

    fn validate(&self) -> Result<(), String> {
        self.workload.workload().map(drop)
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, UndoItem)>, ActionError> {
        let kubernetes = Kubernetes::of(&cx.connections)?;
        let looking = resolving();
        let target = self.workload.target(&kubernetes)?;
        let holder = history::holder(target.kind);
        let needs = vec![
            Need::to_get(&target),
            Need::to_list(holder.clone()),
            Need::to_get_any(holder),
            Need::to_patch(&target, None),
        ];
        let (allowed, to) = tokio::join!(
            access::check(&kubernetes, &looking, &target, needs),
            choose(&kubernetes, &looking, &target, &self.to),
        );
        allowed?;
        Ok(vec![(String::new(), UndoItem { to: to?, target })])
    }

    fn make(item: UndoItem, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(UndoRollout { connections: cx.connections.clone(), item })))
    }
}

async fn choose(
    kubernetes: &Kubernetes,
    cx: &StepContext,
    target: &Target,
    wanted: &Wanted,
) -> Result<Revision, ActionError> {
    let workload = target.look(kubernetes, cx).await?;
    if let Some(other) = workload.spec().pointer("/workloadRef/name").and_then(Value::as_str) {
        let text = format!("undo {target}: its pod template is that of {other}");
        return Err(ActionError::new(ErrorKind::Invalid, text).hint("Undo that one instead."));
    }
    let revisions = history::revisions(kubernetes, cx, &workload).await?;
    let present = fingerprint(workload.template());
    let known: Vec<String> = revisions.iter().map(ToString::to_string).collect();
    let found = revisions.into_iter().find(|revision| match wanted {
        Wanted::Previous => revision.template != present,
        Wanted::Numbered { revision: number } => revision.number == *number,
        Wanted::Running { image } => revision.images.contains(image),
    });
    found.ok_or_else(|| {
        let wanted = match wanted {
            Wanted::Previous => "a former revision".to_owned(),
            Wanted::Numbered { revision } => format!("revision {revision}"),
            Wanted::Running { image } => format!("a revision with the image {image}"),
        };
        let error = ActionError::new(ErrorKind::NotFound, format!("find {wanted} of {target}"));
        error.hint(match known.as_slice() {
            [] => "Its history is empty: `revisionHistoryLimit` may be 0.".to_owned(),
            known => format!("Its history has: {}.", known.join(", ")),
        })
    })
}

struct UndoRollout {
    connections: Arc<Connections>,
    item: UndoItem,
}

/// What undo needs to know. The former template itself may hold secrets, and is kept apart.
#[derive(Debug, Serialize, Deserialize)]
struct Before {
    uid: String,
    template: String,
    was_paused: bool,
}

impl UndoRollout {
    async fn set(
        &self,
        cx: &StepContext,
        saved: &Saved,
        mode: Mode,
    ) -> Result<Workload, ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        let UndoItem { target, to } = &self.item;
        let template = history::template(&kubernetes, cx, target, to).await?;
        let mut operations = vec![replace_template(&template)];
        if read::<Before>(&saved.state)?.was_paused {
            operations.push(set_paused(false));
        }
        let doing = format!("bring {to} of {target} back");
        let version = current(&kubernetes, cx, target, saved).await?;
        write(&kubernetes, cx, (target, &doing), &version, operations, mode).await
    }

    fn evidence(&self, workload: &Workload) -> Evidence {
        let UndoItem { target, to } = &self.item;
        Evidence::with(
            format!("{target} has the pod template of {to}{}", ownership::warning(workload)),
            json!({"generation": workload.generation(), "revision": to.number, "images": to.images}),
        )
    }
}

fn replace_template(template: &Value) -> Value {
    json!({"op": "replace", "path": "/spec/template", "value": template})
}

#[async_trait]
impl Action for UndoRollout {
    fn describe(&self) -> Description {
        let UndoItem { target, to } = &self.item;
        Description::new(
            format!("bring {to} of {target} back"),
            format!("put the pod template back that {target} has now"),
        )
    }

    fn repeat(&self) -> Repeat {
        Repeat::AfterInspect
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        let UndoItem { target, to } = &self.item;
        let workload = target.look(&kubernetes, cx).await?;
        let foreseen = Foreseen::of(cx, &workload);
        if foreseen.template == to.template && !foreseen.paused {
            return Ok(Readiness::AlreadyDone { evidence: self.evidence(&workload) });
        }
        let Version { uid, generation } = Version::of(&workload);
        let paused = if workload.paused() { ", paused" } else { "" };
        let now = workload.images().join(", ");
        let found = format!("{now}{paused} → {to}{}", ownership::warning(&workload));
        let state = json!({
            "uid": uid, "generation": generation, "was_paused": workload.paused(),
            "template": fingerprint(workload.template()), "found": found,
        });
        let after = json!({
            "paused": false, "images": to.images, "template": to.template, "will_roll": true,
        });
        Ok(Readiness::Needed {
            saved: Saved { state, private: Some(workload.template().clone()) },
            predicted: predict(cx, target, after),
        })
    }

    async fn dry_run(
        &self,
        cx: &StepContext,
        saved: &Saved,
    ) -> Result<Option<Evidence>, ActionError> {
        let tried = self.set(cx, saved, Mode::DryRun).await?;
        Ok(Some(self.evidence(&tried)))
    }

    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError> {
        let changed = self.set(cx, saved, Mode::Store).await?;
        Ok(self.evidence(&changed))
    }

    async fn verify(&self, cx: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        let UndoItem { target, to } = &self.item;
        let workload = target.look(&kubernetes, cx).await?;
        if fingerprint(workload.template()) != to.template {
            let images = workload.images().join(", ");
            let owner = ownership::owner(&workload);
            let who = owner.map(|owner| format!("; is it {owner}?")).unwrap_or_default();
            return Ok(Verdict::not_yet(format!(
                "{target} has another pod template ({images}){who}"
            )));
        }
        if workload.paused() {
            return Ok(Verdict::not_yet(format!("{target} is paused")));
        }
        Ok(Verdict::Holds { evidence: self.evidence(&workload) })
    }

    /// The generation grows with every change, the one that takes this one back among them.
    async fn present(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<Present, ActionError> {
        let found = self.inspect(&cx.clone().afresh()).await?;
        Ok(Present::of(found, saved, |now| now.agrees(saved, &["uid", "template", "was_paused"])))
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let kubernetes = Kubernetes::of(&self.connections)?;
        let UndoItem { target, to } = &self.item;
        let before: Before = read(&saved.state)?;
        let workload = look_again(&kubernetes, cx, target, &before.uid).await?;
        let present = fingerprint(workload.template());
        if present == before.template && workload.paused() == before.was_paused {
            return Ok(());
        }
        let doing = format!("put the former pod template of {target} back");
        if present != to.template && present != before.template {
            let text = format!("{doing}: it has been changed since");
            return Err(ActionError::new(ErrorKind::Conflict, text));
        }
        let former = saved.private.as_ref().ok_or_else(|| {
            ActionError::new(ErrorKind::NotFound, format!("{doing}: what was saved of it is gone"))
        })?;
        let mut operations = vec![replace_template(former)];
        if before.was_paused {
            operations.push(set_paused(true));
        }
        let version = Version::of(&workload);
        let _changed =
            write(&kubernetes, cx, (target, &doing), &version, operations, Mode::Store).await?;
        Ok(())
    }
}
