//! `docker.stop`: containers of a project cease to act.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::client::{Engine, Limits};
use super::power::{Before, Grace, Target};
use super::project::{self, Project};
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Readiness, Repeat,
    ResolveContext, Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};

/// Stops containers of a Compose project.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DockerStop")]
pub(super) struct Stop {
    /// The Compose project.
    project: String,
    /// The services to stop; all of them when left out.
    #[serde(default)]
    services: Option<Vec<String>>,
    /// The time that a container gets to end by itself before it is killed; counted in whole seconds. Its own when left
    /// out: what its creator asked for (`stop_grace_period`), else the engine's 10 s. The step's `timeout` must be longer.
    #[serde(default)]
    grace: Grace,
}

/// One container to stop.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StopItem {
    target: Target,
    grace: Grace,
}

#[async_trait]
impl VerbArgs for Stop {
    const NAME: &'static str = "docker.stop";
    const SUMMARY: &'static str = "stop containers of a Compose project";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Item = StopItem;

    fn validate(&self) -> Result<(), String> {
        project::validate(&self.project, self.services.as_deref())
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, StopItem)>, ActionError> {
        let engine = Engine::of(&cx.connections)?;
        let found = Project::read(&engine, &Limits::resolving(), &self.project).await?;
        let members = found.select_to_stop(self.services.as_deref())?;
        let names = project::item_names(&members);
        let targets = members.iter().map(|member| Target::of(&self.project, member));
        Ok(names
            .into_iter()
            .zip(targets)
            .map(|(name, target)| (name, StopItem { target, grace: self.grace }))
            .collect())
    }

    fn make(item: StopItem, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(StopContainer { connections: cx.connections.clone(), item })))
    }
}

struct StopContainer {
    connections: Arc<Connections>,
    item: StopItem,
}

#[async_trait]
impl Action for StopContainer {
    fn describe(&self) -> Description {
        let container = &self.item.target.container;
        Description::new(
            format!("stop container {container} ({})", self.item.grace),
            format!("start container {container} again"),
        )
    }

    /// The engine goes on with a stop whose caller has left, so only a look can tell.
    fn repeat(&self) -> Repeat {
        Repeat::AfterInspect
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let engine = Engine::of(&self.connections)?;
        let target = &self.item.target;
        let Some(container) = target.look(&engine, &cx.into()).await? else {
            let evidence = Evidence::new(format!("{} no longer exists", target.container));
            return Ok(Readiness::AlreadyDone { evidence });
        };
        if !target.will_run(cx, &container) {
            let evidence = target.evidence(&container, "is stopped already");
            return Ok(Readiness::AlreadyDone { evidence });
        }
        let predicted = target.predict(false);
        Ok(Readiness::Needed { saved: Before::save(&container), predicted })
    }

    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError> {
        let engine = Engine::of(&self.connections)?;
        let before = Before::read(saved)?;
        let name = &self.item.target.container;
        engine.stop(&cx.into(), &before.id, name, self.item.grace.seconds()).await?;
        Ok(Evidence::with(format!("{name} stopped"), serde_json::json!({ "id": before.id })))
    }

    async fn verify(&self, cx: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        let engine = Engine::of(&self.connections)?;
        let target = &self.item.target;
        Ok(match target.look(&engine, &cx.into()).await? {
            None => Verdict::holds(format!("{} no longer exists", target.container)),
            Some(container) if container.running => {
                Verdict::not_yet(format!("{} still runs", target.container))
            }
            Some(container) => {
                let what = format!("is stopped (exit code {})", container.exit_code);
                Verdict::Holds { evidence: target.evidence(&container, &what) }
            }
        })
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let engine = Engine::of(&self.connections)?;
        let limits = Limits::from(cx);
        let target = &self.item.target;
        let container = target.same(&engine, &limits, saved).await?;
        if container.running {
            return Ok(());
        }
        engine.start(&limits, &container.id, &container.name).await?;
        let started = target.same(&engine, &limits, saved).await?;
        if started.running {
            return Ok(());
        }
        Err(ActionError::new(
            ErrorKind::Failed,
            format!(
                "start container {}: it ended with exit code {}",
                started.name, started.exit_code
            ),
        )
        .hint(format!("`docker -H {} logs {}` shows why.", engine.at(), started.name)))
    }
}
