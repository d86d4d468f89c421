//! `loadbalancer.weight`: divides the traffic of an upstream among its sides.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::change::Change;
use super::nginx::Nginx;
use super::shares;
use super::upstream::{self, check_name};
use crate::action::{
    ActionError, Description, Prediction, ResolveContext, VerbArgs, VerbKind, Work,
};

/// The arguments of `loadbalancer.weight`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Weight {
    /// The upstream, as the environment names it.
    pub upstream: String,
    /// The share of each side, as whole numbers up to 1000 that are compared with each other: `{new: 25, old: 75}`. A side with 0, or
    /// one that is not named, gets nothing. A side's share is divided evenly among its servers.
    pub weights: IndexMap<String, u32>,
}

/// Weights with everything that the environment says about them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightItem {
    upstream: String,
    shares: String,
    weights: IndexMap<String, u32>,
    file: PathBuf,
    servers: Vec<String>,
    proof: SocketAddr,
}

#[async_trait]
impl VerbArgs for Weight {
    const NAME: &'static str = "loadbalancer.weight";
    const SUMMARY: &'static str = "Divide the traffic of an upstream among its sides, proved live";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(15);
    type Item = WeightItem;

    fn validate(&self) -> Result<(), String> {
        check_name(&self.upstream)?;
        shares::check(&self.weights)
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, WeightItem)>, ActionError> {
        let nginx = Nginx::shared(&cx.connections)?;
        let settings = nginx.settings.upstream(&self.upstream)?;
        let item = WeightItem {
            shares: shares::named(&self.weights, settings),
            servers: shares::servers(&self.upstream, &self.weights, settings)?,
            file: settings.file.clone(),
            proof: settings.proof,
            upstream: self.upstream,
            weights: self.weights,
        };
        Ok(vec![(String::new(), item)])
    }

    fn make(item: WeightItem, cx: &ResolveContext) -> Result<Work, ActionError> {
        let WeightItem { upstream, shares, weights, file, servers, proof } = item;
        let proof = upstream::proof(&upstream, &shares, &servers, proof);
        let told = shares::told(&weights);
        Ok(Work::Action(Box::new(Change {
            nginx: Nginx::shared(&cx.connections)?,
            text: upstream::text(&upstream, &servers, &proof),
            proof: Some(proof),
            description: Description::new(
                format!(
                    "divide upstream {upstream} in {}: {told}, and reload nginx",
                    file.display()
                ),
                format!("put the former {} back, and reload nginx", file.display()),
            ),
            outcome: format!("{upstream} is divided: {told}"),
            prediction: Some(Prediction {
                resource: format!("loadbalancer:{upstream}"),
                state: json!({"weights": weights}),
            }),
            file,
        })))
    }
}
