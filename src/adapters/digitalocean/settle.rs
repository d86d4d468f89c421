//! `digitalocean.commit` and `digitalocean.revert`: a rollback is kept for good, or taken back. Both set the app free for deployments.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::app::{App, DeploymentAnswer, Target};
use super::client::DigitalOcean;
use super::find::{self, Named};
use super::follow;
use super::rollback;
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Present, Readiness, Repeat,
    ResolveContext, Reversal, Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};
use crate::adapters::http::Method;

/// Why a commit stays.
const FOR_GOOD: &str = "a committed rollback is no longer known as one; deploying the newer version again is a change of its own";

/// Keeps the rollback of apps for good, and lets them be deployed again. An app that is not pinned is done already.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DigitalOceanCommit")]
pub(super) struct Commit {
    #[serde(flatten)]
    apps: Named,
}

/// Takes the rollback of apps back: what was wanted before is deployed. An app that is not pinned is done already.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DigitalOceanRevert")]
pub(super) struct Revert {
    #[serde(flatten)]
    apps: Named,
}

#[async_trait]
impl VerbArgs for Commit {
    const NAME: &'static str = "digitalocean.commit";
    const SUMMARY: &'static str = "keep the rollback of apps for good";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(30);
    const IRREVERSIBLE: Option<&'static str> = Some(FOR_GOOD);
    type Item = Target;

    fn validate(&self) -> Result<(), String> {
        self.apps.check()
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Target)>, ActionError> {
        targets(&self.apps, cx).await
    }

    fn make(target: Target, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(Committing { connections: cx.connections.clone(), target })))
    }
}

#[async_trait]
impl VerbArgs for Revert {
    const NAME: &'static str = "digitalocean.revert";
    const SUMMARY: &'static str = "take the rollback of apps back";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(600);
    type Item = Target;

    fn validate(&self) -> Result<(), String> {
        self.apps.check()
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Target)>, ActionError> {
        targets(&self.apps, cx).await
    }

    fn make(target: Target, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(Reverting { connections: cx.connections.clone(), target })))
    }
}

async fn targets(apps: &Named, cx: &ResolveContext) -> Result<Vec<(String, Target)>, ActionError> {
    let found = apps.find(cx).await?;
    Ok(found.into_iter().map(|(name, _, target)| (name, target)).collect())
}

/// Takes a rollback back and follows what comes of it.
pub(super) async fn revert(
    account: &DigitalOcean,
    cx: &StepContext,
    doing: &str,
    target: &Target,
) -> Result<String, ActionError> {
    let path = format!("{}/rollback/revert", target.path());
    let answer: DeploymentAnswer = account.send(cx, doing, Method::Post, &path, None).await?;
    let id = answer.deployment.id;
    let _ended = follow::to_its_end(account, cx, target, &id).await?;
    Ok(id)
}

async fn look(
    connections: &Connections,
    cx: &StepContext,
    target: &Target,
) -> Result<(Arc<DigitalOcean>, App), ActionError> {
    let account = DigitalOcean::of(connections)?;
    let app = find::look(&account, cx, target).await?;
    Ok((account, app))
}

/// The evidence, if the app is pinned to nothing and nothing is on its way.
fn settled(target: &Target, app: &App) -> Option<Evidence> {
    let free = app.pinned().is_none() && app.in_flight().is_none();
    free.then(|| {
        let active = app.active().map(|active| active.id.as_str()).unwrap_or_default();
        let text = format!("{target} is pinned to no rollback, and serves deployment {active}");
        Evidence::with(text, json!({ "deployment": active }))
    })
}

fn verdict(target: &Target, app: &App) -> Verdict {
    match (settled(target, app), app.pinned(), app.in_flight()) {
        (Some(evidence), ..) => Verdict::Holds { evidence },
        (None, Some(pinned), _) => {
            Verdict::not_yet(format!("{target} is pinned to deployment {}", pinned.id))
        }
        (None, None, running) => {
            let running = running.map(super::app::Deployment::progress).unwrap_or_default();
            Verdict::not_yet(format!("the deployment of {target} is {running}"))
        }
    }
}

struct Committing {
    connections: Arc<Connections>,
    target: Target,
}

#[async_trait]
impl Action for Committing {
    fn describe(&self) -> Description {
        let undo = format!("nothing: {FOR_GOOD}");
        Description::new(format!("keep the rollback of {} for good", self.target), undo)
    }

    fn repeat(&self) -> Repeat {
        Repeat::AfterInspect
    }

    fn reversal(&self) -> Reversal {
        Reversal::Irreversible { reason: FOR_GOOD.to_owned() }
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let (_, app) = look(&self.connections, cx, &self.target).await?;
        match (app.pinned(), settled(&self.target, &app)) {
            (None, Some(evidence)) => Ok(Readiness::AlreadyDone { evidence }),
            (None, None) => Err(ActionError::new(
                ErrorKind::Conflict,
                format!("keep the rollback of {}: another deployment is under way", self.target),
            )
            .retryable(true)),
            (Some(pinned), _) => {
                let found = format!("pinned to deployment {}", pinned.id);
                Ok(Readiness::needed(Saved::public(
                    json!({"found": found, "deployment": pinned.id}),
                )))
            }
        }
    }

    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError> {
        let (account, app) = look(&self.connections, cx, &self.target).await?;
        let doing = format!("keep the rollback of {}", self.target);
        if let Some(pinned) = app.pinned() {
            if saved.state["deployment"] != pinned.id.as_str() {
                let text = format!("{doing}: it is pinned to another one since it was looked at");
                return Err(ActionError::new(ErrorKind::Conflict, text));
            }
            let path = format!("{}/rollback/commit", self.target.path());
            account.tell(cx, &doing, Method::Post, &path).await?;
        }
        let id = &saved.state["deployment"];
        let text = format!("the rollback of {} is kept", self.target);
        Ok(Evidence::with(text, json!({ "deployment": id })))
    }

    async fn verify(&self, cx: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        let (_, app) = look(&self.connections, cx, &self.target).await?;
        Ok(verdict(&self.target, &app))
    }

    async fn undo(
        &self,
        _: &StepContext,
        _: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let text = format!("take the commit of {} back: {FOR_GOOD}", self.target);
        Err(ActionError::new(ErrorKind::Invalid, text))
    }
}

struct Reverting {
    connections: Arc<Connections>,
    target: Target,
}

#[async_trait]
impl Action for Reverting {
    fn describe(&self) -> Description {
        Description::new(
            format!("take the rollback of {} back", self.target),
            format!("roll {} back again", self.target),
        )
    }

    fn repeat(&self) -> Repeat {
        Repeat::AfterInspect
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let (_, app) = look(&self.connections, cx, &self.target).await?;
        if let Some(evidence) = settled(&self.target, &app) {
            return Ok(Readiness::AlreadyDone { evidence });
        }
        let pinned = app.pinned();
        let found = pinned.map_or_else(
            || "a deployment under way".to_owned(),
            |pinned| format!("pinned to deployment {}", pinned.id),
        );
        let of = pinned.map(|pinned| pinned.cloned_from.as_deref().unwrap_or(&pinned.id));
        Ok(Readiness::needed(Saved::public(json!({"found": found, "of": of}))))
    }

    async fn apply(&self, cx: &StepContext, _: &Saved) -> Result<Evidence, ActionError> {
        let (account, app) = look(&self.connections, cx, &self.target).await?;
        let id = match (app.pinned(), app.in_flight()) {
            (None, Some(running)) => {
                follow::to_its_end(&account, cx, &self.target, &running.id).await?.id
            }
            (None, None) => app.active().map(|active| active.id.clone()).unwrap_or_default(),
            (Some(_), _) => {
                let doing = self.describe().apply;
                revert(&account, cx, &doing, &self.target).await?
            }
        };
        let text = format!("the rollback of {} is taken back by deployment {id}", self.target);
        Ok(Evidence::with(text, json!({ "deployment": id })))
    }

    async fn verify(&self, cx: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        let (_, app) = look(&self.connections, cx, &self.target).await?;
        Ok(verdict(&self.target, &app))
    }

    /// What it is pinned to is a deployment of its own each time.
    async fn present(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<Present, ActionError> {
        let found = self.inspect(&cx.clone().afresh()).await?;
        Ok(Present::of(found, saved, |now| now.agrees(saved, &["of"])))
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        applied: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let (account, app) = look(&self.connections, cx, &self.target).await?;
        let Some(of) = saved.state["of"].as_str() else { return Ok(()) };
        if app.pinned().is_some_and(|pinned| pinned.is_of(of)) {
            return match app.in_flight() {
                Some(running) => {
                    follow::to_its_end(&account, cx, &self.target, &running.id).await.map(drop)
                }
                None => Ok(()),
            };
        }
        super::pause::unpinned("undo", &self.target, &app)?;
        let ours = applied.and_then(|applied| applied.facts["deployment"].as_str());
        let active = app.in_flight().or(app.active()).map(|it| it.id.as_str());
        if ours.is_some_and(|ours| active != Some(ours)) {
            let text =
                format!("roll {} back again: something else has been deployed since", self.target);
            return Err(ActionError::new(ErrorKind::Conflict, text));
        }
        let _warnings = rollback::validate(&account, cx, (&self.target, of), false).await?;
        let begun = rollback::send(&account, cx, (&self.target, of), true).await?;
        follow::to_its_end(&account, cx, &self.target, &begun.id).await.map(drop)
    }
}
