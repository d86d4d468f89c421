//! `digitalocean.restart` and `digitalocean.deploy`: a new deployment of what runs, or of the newest source.
//!
//! Neither request has a key by which the API would know a repeated one. So the newest deployment is noted before it is sent; an attempt whose
//! answer was lost finds its own deployment as the one that is newer, and sends nothing again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::app::{App, Deployment, DeploymentAnswer, Target};
use super::client::DigitalOcean;
use super::find::{self, Named};
use super::follow;
use super::pause::unpinned;
use super::rollback;
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Present, Readiness, Repeat,
    ResolveContext, Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};
use crate::adapters::http::Method;

/// Restarts the containers of apps, one after the other, in the version that they have.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DigitalOceanRestart")]
pub(super) struct Restart {
    #[serde(flatten)]
    apps: Named,
    /// Only these components; all of them unless given.
    #[serde(default)]
    components: Vec<String>,
}

/// Deploys apps from the newest source: the newest commit of their branch, or what the tag of their image names now. That is no way back to
/// an earlier version; `digitalocean.rollback` is.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DigitalOceanDeploy")]
pub(super) struct Deploy {
    #[serde(flatten)]
    apps: Named,
    /// Builds anew even where the build of an earlier deployment would do.
    #[serde(default)]
    force_build: bool,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Request {
    Restart { components: Vec<String> },
    Deploy { force_build: bool },
}

/// One app, and what is done to it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    target: Target,
    request: Request,
}

async fn orders(
    apps: &Named,
    request: Request,
    cx: &ResolveContext,
) -> Result<Vec<(String, Order)>, ActionError> {
    let order = |(name, _, target): (String, App, Target)| {
        (name, Order { target, request: request.clone() })
    };
    Ok(apps.find(cx).await?.into_iter().map(order).collect())
}

#[async_trait]
impl VerbArgs for Restart {
    const NAME: &'static str = "digitalocean.restart";
    const SUMMARY: &'static str = "restart the containers of apps, in the version that they have";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(600);
    type Item = Order;

    fn validate(&self) -> Result<(), String> {
        self.apps.check()
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Order)>, ActionError> {
        orders(&self.apps, Request::Restart { components: self.components }, cx).await
    }

    fn make(order: Order, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(Beginning { connections: cx.connections.clone(), order })))
    }
}

#[async_trait]
impl VerbArgs for Deploy {
    const NAME: &'static str = "digitalocean.deploy";
    const SUMMARY: &'static str = "deploy apps from their newest source";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(900);
    type Item = Order;

    fn validate(&self) -> Result<(), String> {
        self.apps.check()
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Order)>, ActionError> {
        orders(&self.apps, Request::Deploy { force_build: self.force_build }, cx).await
    }

    fn make(order: Order, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(Beginning { connections: cx.connections.clone(), order })))
    }
}

impl Request {
    fn verb(&self) -> &'static str {
        match self {
            Self::Restart { .. } => "restart",
            Self::Deploy { .. } => "deploy",
        }
    }

    /// Refuses an app that is in no state for it.
    fn allowed(&self, cx: &StepContext, target: &Target, app: &App) -> Result<(), ActionError> {
        let archived = target.foreseen(cx).unwrap_or(app.spec.is_archived());
        match self {
            Self::Deploy { .. } => unpinned("deploy", target, app),
            Self::Restart { .. } if archived => {
                let text =
                    format!("restart {target}: it is archived, so there is nothing to restart");
                Err(ActionError::new(ErrorKind::Conflict, text)
                    .hint("Bring it back first, with `digitalocean.resume`."))
            }
            Self::Restart { .. } => Ok(()),
        }
    }

    async fn send(
        &self,
        account: &DigitalOcean,
        cx: &StepContext,
        target: &Target,
    ) -> Result<Deployment, ActionError> {
        let doing = format!("{} {target}", self.verb());
        let body = match self {
            Self::Restart { components } if components.is_empty() => json!({}),
            Self::Restart { components } => json!({ "components": components }),
            Self::Deploy { force_build } => {
                return deploy(account, cx, &doing, (target, *force_build)).await;
            }
        };
        begin(account, cx, &doing, (target, "restart", &body)).await
    }
}

/// Deploys an app as its specification has it; gives the deployment that this has begun.
pub(super) async fn deploy(
    account: &DigitalOcean,
    cx: &StepContext,
    doing: &str,
    (target, force_build): (&Target, bool),
) -> Result<Deployment, ActionError> {
    let body = json!({ "force_build": force_build });
    begin(account, cx, doing, (target, "deployments", &body)).await
}

async fn begin(
    account: &DigitalOcean,
    cx: &StepContext,
    doing: &str,
    (target, what, body): (&Target, &str, &Value),
) -> Result<Deployment, ActionError> {
    let path = format!("{}/{what}", target.path());
    let body = Some(body.to_string());
    let answer: DeploymentAnswer = account.send(cx, doing, Method::Post, &path, body).await?;
    Ok(answer.deployment)
}

struct Beginning {
    connections: Arc<Connections>,
    order: Order,
}

impl Beginning {
    /// The deployment that an earlier attempt of this step has begun. One that has failed is no reason not to begin another.
    async fn ours(
        &self,
        cx: &StepContext,
        account: &DigitalOcean,
    ) -> Result<Option<Deployment>, ActionError> {
        let target = &self.order.target;
        // The newest note counts: behind the deployment of one attempt comes what was there before the next.
        for note in cx.notes().iter().rev() {
            let begun = if let Some(id) = note["deployment"].as_str() {
                Some(follow::deployment(account, cx, target, id).await?)
            } else if let Some(before) = note["before"].as_str() {
                let all = follow::deployments(account, cx, target).await?;
                all.into_iter().take_while(|deployment| deployment.id != before).last()
            } else {
                continue;
            };
            return Ok(begun.filter(|begun| !begun.has_failed()));
        }
        Ok(None)
    }

    /// The deployment that is to be taken back. Where the outcome was never learnt, it is the one that is newer than what served.
    async fn made(
        &self,
        cx: &StepContext,
        account: &DigitalOcean,
        former: &str,
        applied: Option<&Evidence>,
    ) -> Result<Option<String>, ActionError> {
        if let Some(known) = applied.and_then(|applied| applied.facts["deployment"].as_str()) {
            return Ok(Some(known.to_owned()));
        }
        let all = follow::deployments(account, cx, &self.order.target).await?;
        // Those that have failed were never served, and the attempt after them began anew.
        let newer: Vec<_> =
            all.iter().take_while(|it| it.id != former).filter(|it| !it.has_failed()).collect();
        Ok(newer.first().filter(|_| newer.len() == 1).map(|it| it.id.clone()))
    }

    fn evidence(&self, deployment: &Deployment) -> Evidence {
        let text = format!(
            "{} is deployed anew: deployment {} is {}",
            self.order.target, deployment.id, deployment.phase
        );
        Evidence::with(text, json!({"deployment": deployment.id}))
    }
}

#[async_trait]
impl Action for Beginning {
    fn describe(&self) -> Description {
        let target = &self.order.target;
        match &self.order.request {
            Request::Restart { components } if components.is_empty() => Description::new(
                format!("restart {target}"),
                "nothing: the new containers are of the same version",
            ),
            Request::Restart { components } => Description::new(
                format!("restart {} of {target}", components.join(", ")),
                "nothing: the new containers are of the same version",
            ),
            Request::Deploy { force_build } => {
                let how = if *force_build { ", built anew" } else { "" };
                Description::new(
                    format!("deploy {target} from its newest source{how}"),
                    format!("roll {target} back to the deployment that served before"),
                )
            }
        }
    }

    fn repeat(&self) -> Repeat {
        Repeat::AfterInspect
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let account = DigitalOcean::of(&self.connections)?;
        let app = find::look(&account, cx, &self.order.target).await?;
        if let Some(ours) = self.ours(cx, &account).await?.filter(Deployment::is_over) {
            return Ok(Readiness::AlreadyDone { evidence: self.evidence(&ours) });
        }
        self.order.request.allowed(cx, &self.order.target, &app)?;
        let active = app.active().map(|active| active.id.clone());
        let found = match &active {
            Some(id) => format!("deployment {id} serves"),
            None => "nothing serves".to_owned(),
        };
        let saved = json!({"found": found, "deployment": active, "spec": app.spec.digest()});
        Ok(Readiness::needed(Saved::public(saved)))
    }

    async fn apply(&self, cx: &StepContext, _: &Saved) -> Result<Evidence, ActionError> {
        let account = DigitalOcean::of(&self.connections)?;
        let target = &self.order.target;
        let id = if let Some(ours) = self.ours(cx, &account).await? {
            ours.id
        } else {
            let all = follow::deployments(&account, cx, target).await?;
            let newest = all.first().map(|newest| newest.id.as_str()).unwrap_or_default();
            cx.note(json!({ "before": newest })).await?;
            self.order.request.send(&account, cx, target).await?.id
        };
        cx.note(json!({ "deployment": id })).await?;
        let ended = follow::to_its_end(&account, cx, target, &id).await?;
        Ok(self.evidence(&ended))
    }

    async fn verify(&self, cx: &StepContext, applied: &Evidence) -> Result<Verdict, ActionError> {
        let account = DigitalOcean::of(&self.connections)?;
        let app = find::look(&account, cx, &self.order.target).await?;
        let active = app.active().filter(|active| active.is_active());
        let ours = applied.facts["deployment"].as_str().unwrap_or_default();
        Ok(match active {
            Some(active) if active.id == ours => Verdict::Holds { evidence: applied.clone() },
            Some(active) => {
                Verdict::not_yet(format!("{} serves deployment {}", self.order.target, active.id))
            }
            None => Verdict::not_yet(format!("nothing of {} serves", self.order.target)),
        })
    }

    async fn present(
        &self,
        cx: &StepContext,
        saved: &Saved,
        applied: Option<&Evidence>,
    ) -> Result<Present, ActionError> {
        let Some(former) = saved.state["deployment"].as_str() else { return Ok(Present::Unseen) };
        if matches!(self.order.request, Request::Restart { .. }) {
            return Ok(Present::Unseen);
        }
        let account = DigitalOcean::of(&self.connections)?;
        let app = find::look(&account, cx, &self.order.target).await?;
        let running = app.in_flight().or(app.active());
        if running.is_some_and(|running| running.is_of(former)) {
            // One that is still deployed is for undo, which follows it to its end.
            let there = app.in_flight().is_none();
            return Ok(if there { Present::AsBefore } else { Present::Unseen });
        }
        let ours = self.made(cx, &account, former, applied).await?;
        let as_left = ours.is_some() && running.map(|running| &running.id) == ours.as_ref();
        Ok(if as_left { Present::AsLeft } else { Present::Other })
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        applied: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        if matches!(self.order.request, Request::Restart { .. }) {
            // There is nothing to bring back: what ran before was the same.
            return Ok(());
        }
        let account = DigitalOcean::of(&self.connections)?;
        let target = &self.order.target;
        let app = find::look(&account, cx, target).await?;
        let Some(former) = saved.state["deployment"].as_str() else { return Ok(()) };
        let running = app.in_flight().or(app.active());
        if let Some(back) = running.filter(|running| running.is_of(former)) {
            return follow::to_its_end(&account, cx, target, &back.id).await.map(drop);
        }
        unpinned("undo", target, &app)?;
        let doing = format!("take the deployment of {target} back");
        let ours = self.made(cx, &account, former, applied).await?;
        if ours.is_none() || running.map(|running| &running.id) != ours.as_ref() {
            let text = format!("{doing}: something else has been deployed since");
            return Err(ActionError::new(ErrorKind::Conflict, text));
        }
        let _warnings = rollback::validate(&account, cx, (target, former), false).await?;
        let begun = rollback::send(&account, cx, (target, former), false).await?;
        follow::to_its_end(&account, cx, target, &begun.id).await.map(drop)
    }
}
