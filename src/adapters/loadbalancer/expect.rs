//! `loadbalancer.expect`: asks which side of an upstream is live, or which shares its sides have.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::nginx::Nginx;
use super::proof::{Proof, Unproved};
use super::shares;
use super::upstream::{self, check_name};
use crate::action::{
    ActionError, Answer, Description, Evidence, Probe, ResolveContext, StepContext, VerbArgs,
    VerbKind, Verdict, Work,
};

/// The arguments of `loadbalancer.expect`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The upstream, as the environment names it.
    pub upstream: String,
    /// The side that should be live, after a `loadbalancer.switch`.
    pub side: Option<String>,
    /// The shares that should be live, after a `loadbalancer.weight` with the same ones. That asks nginx which file it serves by; who
    /// really answers is what `http.sample` counts.
    #[serde(default)]
    pub weights: IndexMap<String, u32>,
}

/// The question with everything that the environment says about it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectItem {
    upstream: String,
    side: String,
    servers: Vec<String>,
    proof: SocketAddr,
}

#[async_trait]
impl VerbArgs for Expect {
    const NAME: &'static str = "loadbalancer.expect";
    const SUMMARY: &'static str =
        "Ask which side of an upstream is live, or which shares its sides have";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(5);
    type Item = ExpectItem;

    fn validate(&self) -> Result<(), String> {
        check_name(&self.upstream)?;
        match (&self.side, self.weights.is_empty()) {
            (Some(side), true) => check_name(side),
            (None, false) => shares::check(&self.weights),
            _ => Err("it needs either `side` or `weights`".to_owned()),
        }
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, ExpectItem)>, ActionError> {
        let nginx = Nginx::shared(&cx.connections)?;
        let settings = nginx.settings.upstream(&self.upstream)?;
        let (side, servers) = match self.side {
            Some(side) => {
                let servers = settings.side(&self.upstream, &side)?.to_vec();
                (side, servers)
            }
            None => (
                shares::named(&self.weights, settings),
                shares::servers(&self.upstream, &self.weights, settings)?,
            ),
        };
        let item = ExpectItem { servers, proof: settings.proof, upstream: self.upstream, side };
        Ok(vec![(String::new(), item)])
    }

    fn make(item: ExpectItem, _: &ResolveContext) -> Result<Work, ActionError> {
        let ExpectItem { upstream, side, servers, proof } = item;
        let proof = upstream::proof(&upstream, &side, &servers, proof);
        Ok(Work::Probe(Box::new(SideProbe { upstream, side, proof })))
    }
}

struct SideProbe {
    upstream: String,
    side: String,
    proof: Proof,
}

#[async_trait]
impl Probe for SideProbe {
    fn describe(&self) -> Description {
        Description::question(format!("upstream {} is on {}", self.upstream, self.side))
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        Ok(match self.look(cx).await {
            Ok(evidence) => Verdict::Holds { evidence },
            Err(seen) => Verdict::not_yet(seen.text()),
        })
    }

    async fn answer(&self, cx: &StepContext) -> Result<Answer, ActionError> {
        Ok(match self.look(cx).await {
            Ok(evidence) => Answer::Yes { evidence },
            Err(Unproved::Silent(reason)) => Answer::NoData { reason },
            Err(Unproved::Answered(observed)) => Answer::No { observed },
        })
    }
}

impl SideProbe {
    async fn look(&self, cx: &StepContext) -> Result<Evidence, Unproved> {
        self.proof.holds(cx.deadline()).await?;
        let Self { upstream, side, proof } = self;
        Ok(Evidence::new(format!("{upstream} is on {side}: {} answers it", proof.address())))
    }
}
