//! `digitalocean.pause` and `digitalocean.resume`: an app is archived, and put back into service.
//!
//! There is no such request. Archiving is `maintenance.archive` in the app's specification (`app_maintenance_spec` in the API's description,
//! <https://docs.digitalocean.com/products/app-platform/how-to/archive-restore/>), which an update replaces as a whole: so it is read, one field of it changed,
//! and all of it sent back. The change is a deployment, which is followed to its end: the old containers go with it, and their logs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::app::{App, AppAnswer, Deployment, Spec, Target};
use super::client::DigitalOcean;
use super::find::{self, Named};
use super::follow;
use super::start;
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Prediction, Present,
    Readiness, Repeat, ResolveContext, Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};
use crate::adapters::http::Method;

/// Takes apps offline: archived, with an offline page in their place. What runs in them ends, and what they have written to their logs
/// is lost: fetch it before, with `digitalocean.logs`. Databases and dedicated addresses stay, and are paid for.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DigitalOceanPause")]
pub(super) struct Pause {
    #[serde(flatten)]
    apps: Named,
}

/// Brings archived apps back into service, in the specification that they have, without its maintenance mode.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DigitalOceanResume")]
pub(super) struct Resume {
    #[serde(flatten)]
    apps: Named,
}

#[async_trait]
impl VerbArgs for Pause {
    const NAME: &'static str = "digitalocean.pause";
    const SUMMARY: &'static str = "archive apps, so that nothing of them runs";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(600);
    type Item = Target;

    fn validate(&self) -> Result<(), String> {
        self.apps.check()
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Target)>, ActionError> {
        Wanted::Archived.items(&self.apps, cx).await
    }

    fn make(target: Target, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Wanted::Archived.work(target, cx))
    }
}

#[async_trait]
impl VerbArgs for Resume {
    const NAME: &'static str = "digitalocean.resume";
    const SUMMARY: &'static str = "bring archived apps back into service";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(600);
    type Item = Target;

    fn validate(&self) -> Result<(), String> {
        self.apps.check()
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Target)>, ActionError> {
        Wanted::InService.items(&self.apps, cx).await
    }

    fn make(target: Target, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Wanted::InService.work(target, cx))
    }
}

/// What an app is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Archived,
    InService,
}

impl Wanted {
    fn is_archived(self) -> bool {
        self == Self::Archived
    }

    /// `pause`, `resume`.
    fn verb(self) -> &'static str {
        if self.is_archived() { "pause" } else { "resume" }
    }

    /// `archived`, `in service`.
    fn word(self) -> &'static str {
        if self.is_archived() { "archived" } else { "in service" }
    }

    fn of(self, spec: &Spec) -> Spec {
        if self.is_archived() { spec.archived() } else { spec.in_service() }
    }

    async fn items(
        self,
        apps: &Named,
        cx: &ResolveContext,
    ) -> Result<Vec<(String, Target)>, ActionError> {
        let found = apps.find(cx).await?;
        let item = |(name, app, target): (String, App, Target)| {
            let needed = app.spec.is_archived() != self.is_archived();
            if needed {
                unpinned(self.verb(), &target, &app)?;
            }
            Ok((name, target))
        };
        found.into_iter().map(item).collect()
    }

    fn work(self, target: Target, cx: &ResolveContext) -> Work {
        let connections = cx.connections.clone();
        Work::Action(Box::new(Archiving { connections, target, wanted: self }))
    }
}

/// Refuses an app that a rollback has pinned: it takes no other deployment.
pub(super) fn unpinned(verb: &str, target: &Target, app: &App) -> Result<(), ActionError> {
    let Some(pinned) = app.pinned() else { return Ok(()) };
    let text = format!("{verb} {target}: a rollback has pinned it to deployment {}", pinned.id);
    Err(if pinned.has_failed() {
        let text = format!("{text}, which ended with {}", pinned.progress());
        ActionError::new(ErrorKind::Conflict, text).hint(
            "Take the failed rollback back with `digitalocean.revert`; that sets the app free.",
        )
    } else {
        ActionError::new(ErrorKind::Conflict, text).hint(
            "Keep the rollback with `digitalocean.commit`, or take it back with `digitalocean.revert`.",
        )
    })
}

/// Replaces the specification of an app; gives the app as it is then.
pub(super) async fn put(
    account: &DigitalOcean,
    cx: &StepContext,
    doing: &str,
    (target, spec): (&Target, &Spec),
) -> Result<App, ActionError> {
    let body = format!("{{\"spec\":{}}}", spec.text());
    let answer: AppAnswer =
        account.send(cx, doing, Method::Put, &target.path(), Some(body)).await?;
    Ok(answer.app)
}

struct Archiving {
    connections: Arc<Connections>,
    target: Target,
    wanted: Wanted,
}

impl Archiving {
    async fn look(&self, cx: &StepContext) -> Result<(Arc<DigitalOcean>, App), ActionError> {
        let account = DigitalOcean::of(&self.connections)?;
        let app = find::look(&account, cx, &self.target).await?;
        Ok((account, app))
    }

    /// The evidence, if the app is as it is wanted, and what serves is so too.
    fn settled(&self, app: &App) -> Option<Evidence> {
        serving(app, self.wanted.is_archived()).map(|active| {
            let page = !self.wanted.is_archived() && app.spec.is_in_maintenance();
            let page = if page { ", and shows the page of its maintenance mode" } else { "" };
            let text = format!(
                "{} is {}{page}: deployment {} is ACTIVE",
                self.target,
                self.wanted.word(),
                active.id
            );
            Evidence::with(text, json!({"deployment": active.id, "spec": app.spec.digest()}))
        })
    }

    /// Whether its specification is what this step made of the former one.
    fn is_ours(&self, app: &App, former: &Spec) -> bool {
        app.spec.is_archived() == self.wanted.is_archived() && app.spec.is_same_but_archived(former)
    }

    /// What the app's state is, in words.
    fn observed(&self, app: &App) -> String {
        let word = if app.spec.is_archived() { Wanted::Archived } else { Wanted::InService }.word();
        let deployment = match (app.in_flight(), app.active()) {
            (Some(running), _) => format!("deployment {} is {}", running.id, running.progress()),
            (None, Some(active)) => format!("deployment {} is {}", active.id, active.progress()),
            (None, None) => "it has no deployment".to_owned(),
        };
        format!("{} is to be {word}: {deployment}", self.target)
    }

    /// Follows the deployment of what the app's specification says, and gives the app as it is then. Where none is under way, it begins one.
    async fn follow(
        &self,
        cx: &StepContext,
        account: &DigitalOcean,
        doing: &str,
        begun: Option<&Deployment>,
    ) -> Result<App, ActionError> {
        let id = match begun {
            Some(begun) => begun.id.clone(),
            None => start::deploy(account, cx, doing, (&self.target, false)).await?.id,
        };
        cx.note(json!({ "deployment": id })).await?;
        let _ended = follow::to_its_end(account, cx, &self.target, &id).await?;
        find::look(account, cx, &self.target).await
    }

    /// Writes the former specification back, where this step's own is in force.
    async fn put_back(
        &self,
        cx: &StepContext,
        account: &DigitalOcean,
        doing: &str,
        (app, former): (&App, &Spec),
    ) -> Result<App, ActionError> {
        if !self.is_ours(app, former) {
            let text = format!("{doing}: its specification is not what this step wrote");
            return Err(ActionError::new(ErrorKind::Conflict, text).hint(
                "Somebody has changed it since. Compare both in the control panel, and decide.",
            ));
        }
        let changed = put(account, cx, doing, (&self.target, former)).await?;
        self.follow(cx, account, doing, changed.begun()).await
    }

    /// The error of an app that is not as its last deployment should have left it.
    fn disturbed(&self, doing: &str, app: &App) -> ActionError {
        let text = format!("{doing}: {}", self.observed(app));
        ActionError::new(ErrorKind::Unknown, text)
            .hint("Somebody else changes this app at the same time, or the change was not taken.")
    }
}

/// The deployment that serves, if both it and the app's specification are archived, or both are not, and nothing is under way.
fn serving(app: &App, archived: bool) -> Option<&Deployment> {
    let active = app.active().filter(|active| active.is_active())?;
    // A deployment does not always tell its specification; then that of the app counts.
    let deployed = active.spec.as_ref().unwrap_or(&app.spec).is_archived();
    let there =
        app.spec.is_archived() == archived && deployed == archived && app.in_flight().is_none();
    there.then_some(active)
}

/// The specification to go back to. It is that of the app, unless what serves is archived and the specification is not, or the other way round:
/// then its own deployment has failed or is under way, and what serves is what was before.
fn way_back(app: &App) -> Spec {
    let served = app.active().and_then(|active| active.spec.as_ref());
    match served.filter(|served| served.is_archived() != app.spec.is_archived()) {
        None => app.spec.clone(),
        Some(served) if served.is_same_but_archived(&app.spec) => served.clone(),
        Some(served) if served.is_archived() => app.spec.archived(),
        Some(_) => app.spec.in_service(),
    }
}

#[async_trait]
impl Action for Archiving {
    fn describe(&self) -> Description {
        match self.wanted {
            Wanted::Archived => Description::new(
                format!("archive {}; its containers end", self.target),
                format!("deploy the former specification of {}", self.target),
            ),
            Wanted::InService => Description::new(
                format!("bring {} back into service", self.target),
                format!("archive {} again, in its former specification", self.target),
            ),
        }
    }

    fn repeat(&self) -> Repeat {
        Repeat::AfterInspect
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let (_, app) = self.look(cx).await?;
        let foreseen = self.target.foreseen(cx).unwrap_or(self.wanted.is_archived());
        let settled = self.settled(&app).filter(|_| foreseen == self.wanted.is_archived());
        if let Some(evidence) = settled {
            return Ok(Readiness::AlreadyDone { evidence });
        }
        unpinned(self.wanted.verb(), &self.target, &app)?;
        let found = match app.in_flight() {
            Some(running) => format!("deployment {} under way", running.id),
            None if way_back(&app).is_archived() => "archived".to_owned(),
            None => "in service".to_owned(),
        };
        let active = app.active().map(|active| active.id.clone());
        let saved = Saved {
            state: json!({"found": found, "deployment": active, "spec": app.spec.digest()}),
            // The specification holds the values of variables.
            private: Some(json!({"spec": way_back(&app).text()})),
        };
        let state = json!({"archived": self.wanted.is_archived()});
        let predicted = vec![Prediction { resource: self.target.resource(), state }];
        Ok(Readiness::Needed { saved, predicted })
    }

    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError> {
        let (account, app) = self.look(cx).await?;
        if let Some(evidence) = self.settled(&app) {
            return Ok(evidence);
        }
        let doing = format!("{} {}", self.wanted.verb(), self.target);
        unpinned(self.wanted.verb(), &self.target, &app)?;
        let app = if app.spec.is_archived() == self.wanted.is_archived() {
            // Sent by an earlier attempt: its deployment is followed, or begun once more if it has failed.
            self.follow(cx, &account, &doing, app.in_flight()).await?
        } else {
            if saved.state["spec"] != app.spec.digest() {
                let text = format!("{doing}: its specification has changed since it was looked at");
                return Err(ActionError::new(ErrorKind::Conflict, text).retryable(true));
            }
            let wanted = self.wanted.of(&app.spec);
            let changed = put(&account, cx, &doing, (&self.target, &wanted)).await?;
            self.follow(cx, &account, &doing, changed.begun()).await?
        };
        self.settled(&app).ok_or_else(|| self.disturbed(&doing, &app))
    }

    async fn verify(&self, cx: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        let (_, app) = self.look(cx).await?;
        Ok(match self.settled(&app) {
            Some(evidence) => Verdict::Holds { evidence },
            None => Verdict::not_yet(self.observed(&app)),
        })
    }

    async fn present(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<Present, ActionError> {
        let (_, app) = self.look(cx).await?;
        let Some(former) = former(saved) else { return Ok(Present::Unseen) };
        Ok(if app.spec.digest() == former.digest() {
            // What is still being deployed, or has failed, is for undo.
            serving(&app, former.is_archived()).map_or(Present::Unseen, |_| Present::AsBefore)
        } else if self.is_ours(&app, &former) {
            Present::AsLeft
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
        let doing = format!("take back what was done to {}", self.target);
        let former = former(saved).ok_or_else(|| {
            ActionError::new(
                ErrorKind::Invalid,
                format!("{doing}: its former specification is lost"),
            )
        })?;
        let sent = app.spec.digest() == former.digest();
        if sent && serving(&app, former.is_archived()).is_some() {
            return Ok(());
        }
        unpinned("undo", &self.target, &app)?;
        let app = if sent {
            // By an earlier attempt: its deployment is followed, or begun once more if it has failed.
            self.follow(cx, &account, &doing, app.in_flight()).await?
        } else {
            self.put_back(cx, &account, &doing, (&app, &former)).await?
        };
        match serving(&app, former.is_archived()) {
            Some(_) => Ok(()),
            None => Err(self.disturbed(&doing, &app)),
        }
    }
}

/// The specification that was kept.
fn former(saved: &Saved) -> Option<Spec> {
    saved.private.as_ref()?.get("spec").and_then(Value::as_str).and_then(Spec::read)
}
