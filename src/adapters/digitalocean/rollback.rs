//! `digitalocean.rollback`: a deployment of the past is deployed again.
//!
//! The platform's own way (`apps_create_rollback` in the API's description): validated, then sent, then followed. Until it is committed or
//! reverted, the app is pinned to it and takes no other deployment. Which deployment is meant is decided once, when the plan is made; the request has no
//! key by which the API would know a repeated one, so what the app is pinned to, or repeats, is looked at before anything is sent.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::app::{App, Deployment, DeploymentAnswer, Target};
use super::client::DigitalOcean;
use super::find::{self, Named};
use super::follow;
use super::settle::revert;
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Present, Readiness, Repeat,
    ResolveContext, Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};
use crate::adapters::http::{Method, quoted};

/// The time for reading deployments while a plan is made.
const RESOLVING: Duration = Duration::from_secs(20);
/// The word for the version before the one that serves.
const PREVIOUS: &str = "previous";
/// The warning that an image may have changed under its tag.
const NO_DIGEST: &str = "image_source_missing_digest";

/// Deploys an earlier deployment of apps again. `previous` is the one that served before the present one; it is looked up once, when the
/// plan is made.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DigitalOceanRollback")]
pub(super) struct Rollback {
    #[serde(flatten)]
    apps: Named,
    /// The id of a deployment, or `previous`.
    #[serde(default = "previous")]
    to: String,
    /// Pins the app, so that nothing is deployed to it, until `digitalocean.commit` or `digitalocean.revert`. Otherwise the rollback is
    /// committed at once.
    #[serde(default = "yes")]
    pin: bool,
    /// Goes on although an image of that deployment is named by its tag alone, so that another image may come back under it.
    #[serde(default)]
    allow_missing_digest: bool,
}

fn previous() -> String {
    PREVIOUS.to_owned()
}

fn yes() -> bool {
    true
}

/// One app, and where it goes back to.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Back {
    target: Target,
    deployment: String,
    pin: bool,
    allow_missing_digest: bool,
}

#[async_trait]
impl VerbArgs for Rollback {
    const NAME: &'static str = "digitalocean.rollback";
    const SUMMARY: &'static str = "deploy an earlier deployment of apps again";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(600);
    type Item = Back;

    fn validate(&self) -> Result<(), String> {
        self.apps.check()?;
        if self.to.trim().is_empty() {
            return Err("`to` is empty".to_owned());
        }
        Ok(())
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Back)>, ActionError> {
        let account = DigitalOcean::of(&cx.connections)?;
        let looking = StepContext::looking(RESOLVING);
        let mut items = Vec::new();
        for (name, _, target) in self.apps.find(cx).await? {
            let app = find::look(&account, &looking, &target).await?;
            let all = follow::deployments(&account, &looking, &target).await?;
            let deployment = resolve(&self.to, &target, &app, &all)?;
            let Self { pin, allow_missing_digest, .. } = self;
            items.push((name, Back { target, deployment, pin, allow_missing_digest }));
        }
        Ok(items)
    }

    fn make(item: Back, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(GoBack { connections: cx.connections.clone(), item })))
    }
}

/// The id of the deployment that is meant.
fn resolve(
    to: &str,
    target: &Target,
    app: &App,
    all: &[Deployment],
) -> Result<String, ActionError> {
    let missing = |text: String| {
        ActionError::new(ErrorKind::NotFound, text)
            .hint(format!("`doctl apps list-deployments {}` lists them.", target.id))
    };
    if to != PREVIOUS {
        let found = all.iter().find(|deployment| deployment.id == to);
        return found
            .map(|found| found.id.clone())
            .ok_or_else(|| missing(format!("find deployment `{to}` of {target}")));
    }
    // What a rollback has pinned is where "previous" has led already: asked once more, it means the same.
    if let Some(origin) = app.pinned().and_then(|pinned| pinned.cloned_from.clone()) {
        return Ok(origin);
    }
    let active = app.active().ok_or_else(|| missing(format!("find what serves of {target}")))?;
    let older = all.iter().skip_while(|deployment| deployment.id != active.id).skip(1);
    let served = |deployment: &&Deployment| {
        deployment.phase == "SUPERSEDED"
            && !deployment.is_archived()
            && !active.is_of(&deployment.id)
    };
    let found = older.into_iter().find(served);
    // A rollback in between is a copy: the original is meant.
    found.map(|found| found.cloned_from.clone().unwrap_or_else(|| found.id.clone())).ok_or_else(
        || missing(format!("find a deployment of {target} that served before {}", active.id)),
    )
}

/// What the validation finds (`apps_validate_rollback`).
#[derive(Debug, Deserialize)]
struct Validation {
    #[serde(default)]
    valid: bool,
    #[serde(default)]
    error: Option<Condition>,
    #[serde(default)]
    warnings: Option<Vec<Condition>>,
}

#[derive(Debug, Deserialize)]
struct Condition {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    components: Option<Vec<String>>,
}

impl Condition {
    /// The condition in words: `exceeded_revision_limit, the deployment is too old (www)`.
    fn told(&self, account: &DigitalOcean) -> String {
        let of = self.components.as_deref().unwrap_or_default().join(", ");
        let of = if of.is_empty() { of } else { format!(" ({of})") };
        quoted(format!("{}, {}{of}", self.code, self.message).as_bytes(), account.secrets())
    }
}

/// Asks whether an app can go back to a deployment; gives the warnings that are not in the way.
pub(super) async fn validate(
    account: &DigitalOcean,
    cx: &StepContext,
    (target, deployment): (&Target, &str),
    allow_missing_digest: bool,
) -> Result<Vec<String>, ActionError> {
    let doing = format!("roll {target} back to deployment {deployment}");
    let path = format!("{}/rollback/validate", target.path());
    let body = json!({"deployment_id": deployment, "skip_pin": false}).to_string();
    let found: Validation = account.ask(cx, &doing, &path, body).await?;
    if let Some(error) = &found.error {
        let error = error.told(account);
        return Err(ActionError::new(ErrorKind::Conflict, format!("{doing}: {error}")));
    }
    if !found.valid {
        let text = format!("{doing}: it is not valid, and no reason is given");
        return Err(ActionError::new(ErrorKind::Conflict, text));
    }
    let warnings = found.warnings.unwrap_or_default();
    let undigested = warnings.iter().find(|warning| warning.code == NO_DIGEST);
    if let Some(warning) = undigested.filter(|_| !allow_missing_digest) {
        let text = format!("{doing}: {}", warning.told(account));
        return Err(ActionError::new(ErrorKind::Conflict, text).hint(
            "The tag may name another image by now. `digitalocean.rollback` with `allow_missing_digest: true` goes on all the same.",
        ));
    }
    Ok(warnings.iter().map(|warning| warning.told(account)).collect())
}

/// Sends a rollback, which the caller has validated; gives the deployment that it has begun.
pub(super) async fn send(
    account: &DigitalOcean,
    cx: &StepContext,
    (target, deployment): (&Target, &str),
    pin: bool,
) -> Result<Deployment, ActionError> {
    let doing = format!("roll {target} back to deployment {deployment}");
    let path = format!("{}/rollback", target.path());
    let body = json!({"deployment_id": deployment, "skip_pin": !pin}).to_string();
    let answer: DeploymentAnswer =
        account.send(cx, &doing, Method::Post, &path, Some(body)).await?;
    Ok(answer.deployment)
}

struct GoBack {
    connections: Arc<Connections>,
    item: Back,
}

impl GoBack {
    async fn look(&self, cx: &StepContext) -> Result<(Arc<DigitalOcean>, App), ActionError> {
        let account = DigitalOcean::of(&self.connections)?;
        let app = find::look(&account, cx, &self.item.target).await?;
        Ok((account, app))
    }

    fn doing(&self) -> String {
        format!("roll {} back to deployment {}", self.item.target, self.item.deployment)
    }

    /// The evidence, if that deployment serves again.
    fn settled(&self, app: &App) -> Option<Evidence> {
        let active = app.active().filter(|active| active.is_active())?;
        let there = active.is_of(&self.item.deployment) && app.in_flight().is_none();
        let pin = if app.pinned().is_some() { ", pinned" } else { "" };
        there.then(|| {
            let text = format!(
                "{} serves deployment {} again{pin}: {} is ACTIVE",
                self.item.target, self.item.deployment, active.id
            );
            Evidence::with(text, json!({"deployment": active.id, "of": self.item.deployment}))
        })
    }

    /// The deployment under way that goes where this step wants to go.
    fn on_its_way<'a>(&self, app: &'a App) -> Option<&'a Deployment> {
        app.in_flight().filter(|running| running.is_of(&self.item.deployment))
    }

    /// Sends the rollback; gives the deployment that goes there.
    async fn begin(&self, account: &DigitalOcean, cx: &StepContext) -> Result<String, ActionError> {
        let place = (&self.item.target, self.item.deployment.as_str());
        match send(account, cx, place, self.item.pin).await {
            Ok(begun) => Ok(begun.id),
            Err(error) if error.outcome_unknown() => Err(error),
            Err(error) => self.arrived(account, cx).await.ok_or(error),
        }
    }

    /// The deployment of an earlier attempt. What a killed one had sent may arrive after this one has looked, and is then why this
    /// one is refused.
    async fn arrived(&self, account: &DigitalOcean, cx: &StepContext) -> Option<String> {
        if !cx.was_attempted() {
            return None;
        }
        let app = find::look(account, cx, &self.item.target).await.ok()?;
        let active = app.active().filter(|active| active.is_of(&self.item.deployment));
        self.on_its_way(&app).or(active).map(|begun| begun.id.clone())
    }

    /// Refuses an app that another rollback has pinned, or one to the same deployment that has failed.
    fn free(&self, app: &App) -> Result<(), ActionError> {
        match app.pinned() {
            Some(pinned) if !pinned.is_of(&self.item.deployment) || pinned.has_failed() => {
                super::pause::unpinned("roll back", &self.item.target, app)
            }
            _ => Ok(()),
        }
    }
}

/// Whether what served before serves again, or is about to.
fn is_back(app: &App, saved: &Saved) -> bool {
    let former = saved.state["deployment"].as_str();
    let running = app.in_flight().or(app.active());
    former.is_some_and(|former| running.is_some_and(|running| running.is_of(former)))
        || saved.state["spec"] == app.spec.digest()
}

#[async_trait]
impl Action for GoBack {
    fn describe(&self) -> Description {
        let pin = if self.item.pin { ", and pin it" } else { "" };
        let undo =
            if self.item.pin { "revert the rollback of" } else { "deploy what served before of" };
        Description::new(format!("{}{pin}", self.doing()), format!("{undo} {}", self.item.target))
    }

    fn repeat(&self) -> Repeat {
        Repeat::AfterInspect
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let (account, app) = self.look(cx).await?;
        if let Some(evidence) = self.settled(&app) {
            return Ok(Readiness::AlreadyDone { evidence });
        }
        self.free(&app)?;
        let mut found = app.active().map_or_else(
            || "nothing serves".to_owned(),
            |active| format!("deployment {} serves", active.id),
        );
        if self.on_its_way(&app).is_none() {
            let place = (&self.item.target, self.item.deployment.as_str());
            match validate(&account, cx, place, self.item.allow_missing_digest).await {
                Ok(warnings) => {
                    for warning in warnings {
                        found.push_str(&format!("; warning: {warning}"));
                    }
                }
                Err(error) => {
                    let _deployment = self.arrived(&account, cx).await.ok_or(error)?;
                }
            }
        }
        let active = app.active().map(|active| active.id.clone());
        let saved = json!({"found": found, "deployment": active, "spec": app.spec.digest()});
        Ok(Readiness::needed(Saved::public(saved)))
    }

    async fn apply(&self, cx: &StepContext, _: &Saved) -> Result<Evidence, ActionError> {
        let (account, app) = self.look(cx).await?;
        self.free(&app)?;
        let id = match self.on_its_way(&app) {
            Some(running) => running.id.clone(),
            None => self.begin(&account, cx).await?,
        };
        cx.note(json!({ "deployment": id })).await?;
        let _ended = follow::to_its_end(&account, cx, &self.item.target, &id).await?;
        let app = find::look(&account, cx, &self.item.target).await?;
        self.settled(&app).ok_or_else(|| {
            let text = format!("{}: another deployment was made at the same time", self.doing());
            ActionError::new(ErrorKind::Unknown, text)
        })
    }

    async fn verify(&self, cx: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        let (_, app) = self.look(cx).await?;
        Ok(match (self.settled(&app), app.active()) {
            (Some(evidence), _) => Verdict::Holds { evidence },
            (None, Some(active)) => {
                Verdict::not_yet(format!("{} serves deployment {}", self.item.target, active.id))
            }
            (None, None) => Verdict::not_yet(format!("nothing of {} serves", self.item.target)),
        })
    }

    async fn present(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<Present, ActionError> {
        let (_, app) = self.look(cx).await?;
        Ok(if self.settled(&app).is_some() {
            Present::AsLeft
        } else if app.in_flight().is_some() {
            Present::Unseen
        } else if is_back(&app, saved) {
            Present::AsBefore
        } else {
            Present::Other
        })
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let (account, app) = self.look(cx).await?;
        let target = &self.item.target;
        let doing = format!("take back the rollback of {target}");
        if app.pinned().is_some_and(|pinned| pinned.is_of(&self.item.deployment)) {
            return revert(&account, cx, &doing, target).await.map(drop);
        }
        let running = app.in_flight().or(app.active());
        let here = running.is_some_and(|running| running.is_of(&self.item.deployment));
        let former = saved.state["deployment"].as_str();
        match (here, former) {
            // Committed at once, as it was asked for: the way back is a rollback, too.
            (true, Some(former)) if !self.item.pin && former != self.item.deployment => {
                let place = (target, former);
                let _warnings =
                    validate(&account, cx, place, self.item.allow_missing_digest).await?;
                let begun = send(&account, cx, place, false).await?;
                follow::to_its_end(&account, cx, target, &begun.id).await.map(drop)
            }
            (false, _) if is_back(&app, saved) => match app.in_flight() {
                Some(running) => {
                    follow::to_its_end(&account, cx, target, &running.id).await.map(drop)
                }
                None => Ok(()),
            },
            (true, _) => {
                let text = format!("{doing}: it has been committed");
                Err(ActionError::new(ErrorKind::Conflict, text)
                    .hint("`digitalocean.rollback` with `to: ID` deploys what served before."))
            }
            (false, _) => {
                let text = format!("{doing}: something else has been deployed since");
                Err(ActionError::new(ErrorKind::Conflict, text))
            }
        }
    }
}
