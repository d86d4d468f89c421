//! `docker.start`: stopped containers of a project run again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::client::{Engine, Limits};
use super::power::{Before, Target};
use super::project::{self, Project};
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Readiness, Repeat,
    ResolveContext, Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};

/// Starts stopped containers of a Compose project. Does not wait for health: `docker.expect` asks for that.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    /// The Compose project.
    project: String,
    /// The services to start; all of them when left out.
    #[serde(default)]
    services: Option<Vec<String>>,
}

#[async_trait]
impl VerbArgs for Start {
    const NAME: &'static str = "docker.start";
    const SUMMARY: &'static str = "start stopped containers of a Compose project";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Item = Target;

    fn validate(&self) -> Result<(), String> {
        project::validate(&self.project, self.services.as_deref())
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Target)>, ActionError> {
        let engine = Engine::of(&cx.connections)?;
        let found = Project::read(&engine, &Limits::resolving(), &self.project).await?;
        let members = found.select(self.services.as_deref())?;
        let targets = members.iter().map(|member| Target::of(&self.project, member));
        Ok(project::item_names(&members).into_iter().zip(targets).collect())
    }

    fn make(target: Target, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(StartContainer { connections: cx.connections.clone(), target })))
    }
}

struct StartContainer {
    connections: Arc<Connections>,
    target: Target,
}

#[async_trait]
impl Action for StartContainer {
    fn describe(&self) -> Description {
        let container = &self.target.container;
        Description::new(
            format!("start container {container}"),
            format!("stop container {container} again"),
        )
    }

    fn repeat(&self) -> Repeat {
        Repeat::AfterInspect
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let engine = Engine::of(&self.connections)?;
        let target = &self.target;
        let container = target.look(&engine, &cx.into()).await?.ok_or_else(|| {
            ActionError::new(
                ErrorKind::NotFound,
                format!("find container {}: it was removed", target.container),
            )
        })?;
        if container.paused {
            return Err(ActionError::new(
                ErrorKind::Conflict,
                format!("start container {}: it is paused", container.name),
            )
            .hint(format!("`docker -H {} unpause {}`", engine.at(), container.name)));
        }
        if target.will_run(cx, &container) {
            let evidence = target.evidence(&container, "runs already");
            return Ok(Readiness::AlreadyDone { evidence });
        }
        Ok(Readiness::Needed { saved: Before::save(&container), predicted: target.predict(true) })
    }

    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError> {
        let engine = Engine::of(&self.connections)?;
        let before = Before::read(saved)?;
        let name = &self.target.container;
        engine.start(&cx.into(), &before.id, name).await?;
        Ok(Evidence::with(format!("{name} started"), serde_json::json!({ "id": before.id })))
    }

    async fn verify(&self, cx: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        let engine = Engine::of(&self.connections)?;
        let target = &self.target;
        Ok(match target.look(&engine, &cx.into()).await? {
            None => Verdict::not_yet(format!("{} no longer exists", target.container)),
            Some(container) if container.running && !container.restarting => {
                Verdict::Holds { evidence: target.evidence(&container, "runs") }
            }
            Some(container) => Verdict::not_yet(format!(
                "{} ended with exit code {}",
                target.container, container.exit_code
            )),
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
        let container = self.target.same(&engine, &limits, saved).await?;
        if container.running {
            engine.stop(&limits, &container.id, &container.name, None).await?;
        }
        Ok(())
    }
}
