//! `digitalocean.apps`: the names of the account's apps, as the source of an input.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::client::DigitalOcean;
use super::find;
use crate::action::{ActionError, Inventory, ResolveContext, StepContext};

/// The time for listing; an account has some pages of apps at most.
const LISTING: Duration = Duration::from_secs(20);

/// The names of all apps, in the order of the API.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DigitalOceanApps")]
pub(super) struct Apps {
    /// Only those that are archived, or only those that are not.
    #[serde(default)]
    archived: Option<bool>,
}

#[async_trait]
impl Inventory for Apps {
    const NAME: &'static str = "digitalocean.apps";
    const SUMMARY: &'static str = "list the names of apps";

    async fn list(self, cx: &ResolveContext) -> Result<Vec<Value>, ActionError> {
        let account = DigitalOcean::of(&cx.connections)?;
        let all = find::all(&account, &StepContext::looking(LISTING)).await?;
        let wanted =
            all.iter().filter(|app| self.archived.is_none_or(|so| app.spec.is_archived() == so));
        Ok(wanted.map(|app| Value::from(app.spec.name())).collect())
    }
}
