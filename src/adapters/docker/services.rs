//! `docker.services`: a project's services as the source of an input.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Engine, Limits};
use super::project::Project;
use crate::action::{ActionError, Inventory, ResolveContext};

/// The names of a Compose project's services.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Services {
    /// The Compose project.
    project: String,
}

#[async_trait]
impl Inventory for Services {
    const NAME: &'static str = "docker.services";
    const SUMMARY: &'static str = "the names of a Compose project's services, sorted";

    async fn list(self, cx: &ResolveContext) -> Result<Vec<Value>, ActionError> {
        let engine = Engine::of(&cx.connections)?;
        let project = Project::read(&engine, &Limits::resolving(), &self.project).await?;
        Ok(project.services().into_iter().map(Value::from).collect())
    }
}
