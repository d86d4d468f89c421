//! `loadbalancer.switch`: sends the traffic of an upstream to one of its sides.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::change::Change;
use super::nginx::Nginx;
use super::upstream::{self, check_name};
use crate::action::{
    ActionError, Description, Prediction, ResolveContext, VerbArgs, VerbKind, Work,
};

/// The arguments of `loadbalancer.switch`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// The upstream, as the environment names it.
    pub upstream: String,
    /// The side that gets the traffic, as the environment names it.
    pub to: String,
}

/// A switch with everything that the environment says about it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchItem {
    upstream: String,
    to: String,
    file: PathBuf,
    servers: Vec<String>,
    proof: SocketAddr,
}

#[async_trait]
impl VerbArgs for Switch {
    const NAME: &'static str = "loadbalancer.switch";
    const SUMMARY: &'static str =
        "Send the traffic of an upstream to one of its sides, proved live";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(15);
    type Item = SwitchItem;

    fn validate(&self) -> Result<(), String> {
        check_name(&self.upstream)?;
        check_name(&self.to)
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, SwitchItem)>, ActionError> {
        let nginx = Nginx::shared(&cx.connections)?;
        let settings = nginx.settings.upstream(&self.upstream)?;
        let item = SwitchItem {
            file: settings.file.clone(),
            servers: settings.side(&self.upstream, &self.to)?.to_vec(),
            proof: settings.proof,
            upstream: self.upstream,
            to: self.to,
        };
        Ok(vec![(String::new(), item)])
    }

    fn make(item: SwitchItem, cx: &ResolveContext) -> Result<Work, ActionError> {
        let SwitchItem { upstream, to, file, servers, proof } = item;
        let proof = upstream::proof(&upstream, &to, &servers, proof);
        let count = match servers.len() {
            1 => "1 server".to_owned(),
            count => format!("{count} servers"),
        };
        Ok(Work::Action(Box::new(Change {
            nginx: Nginx::shared(&cx.connections)?,
            text: upstream::text(&upstream, &servers, &proof),
            proof: Some(proof),
            description: Description::new(
                format!(
                    "switch upstream {upstream} to {to} ({count}) in {}, and reload nginx",
                    file.display()
                ),
                format!("put the former {} back, and reload nginx", file.display()),
            ),
            outcome: format!("{upstream} is on {to}"),
            prediction: Some(Prediction {
                resource: format!("loadbalancer:{upstream}"),
                state: json!({"side": to}),
            }),
            file,
        })))
    }
}
