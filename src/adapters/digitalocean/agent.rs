//! `GenAI` agents as the API describes them (`apiAgent` in `specification/resources/gen-ai/definitions.yml` of
//! <https://github.com/digitalocean/openapi>), and finding one by its exact name.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::app::digest_of;
use super::client::{DigitalOcean, segment};
use super::find::one_of;
use crate::action::{ActionError, StepContext};

/// The time for finding agents while a plan is made.
pub(super) const RESOLVING: Duration = Duration::from_secs(20);
/// Where agents are.
const AGENTS: &str = "/v2/gen-ai/agents";
/// What an update may set beside the instruction (`apiUpdateAgentInputPublic`), as an agent shows it.
const SETTINGS: [&str; 11] = [
    "name",
    "description",
    "k",
    "max_tokens",
    "temperature",
    "top_p",
    "tags",
    "retrieval_method",
    "provide_citations",
    "project_id",
    "model",
];

/// An agent as an item of a step names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AgentTarget {
    pub(super) uuid: String,
    pub(super) name: String,
}

impl fmt::Display for AgentTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "agent {}", self.name)
    }
}

impl AgentTarget {
    /// The path of the agent in the API.
    pub(super) fn path(&self) -> String {
        format!("{AGENTS}/{}", segment(&self.uuid))
    }

    /// The agent as it is now.
    pub(super) async fn look(
        &self,
        account: &DigitalOcean,
        cx: &StepContext,
    ) -> Result<Agent, ActionError> {
        let answer: AgentAnswer = account.get(cx, &format!("read {self}"), &self.path()).await?;
        Ok(answer.agent)
    }
}

/// All agents of the account, and the one of this exact name.
pub(super) async fn find(
    account: &DigitalOcean,
    cx: &StepContext,
    name: &str,
) -> Result<(Vec<AgentTarget>, AgentTarget), ActionError> {
    let all: Vec<AgentTarget> = account.list(cx, "list agents", AGENTS, "agents").await?;
    let found = of_name(&all, name)?;
    Ok((all, found))
}

/// The agent of this exact name.
pub(super) fn of_name(all: &[AgentTarget], name: &str) -> Result<AgentTarget, ActionError> {
    let found = one_of("agent", name, all, |it| it.name.clone(), |it| it.uuid.clone())?;
    Ok(found.clone())
}

#[derive(Debug, Deserialize)]
struct AgentAnswer {
    agent: Agent,
}

/// An agent.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct Agent(Value);

impl Agent {
    /// Its system prompt.
    pub(super) fn instruction(&self) -> &str {
        self.0["instruction"].as_str().unwrap_or_default()
    }

    /// What tells its settings apart from others, its instruction left out.
    pub(super) fn settings(&self) -> String {
        let settings: Value = SETTINGS
            .iter()
            .map(|name| {
                let value =
                    if *name == "model" { &self.0["model"]["uuid"] } else { &self.0[*name] };
                ((*name).to_owned(), value.clone())
            })
            .collect();
        digest_of(&settings)
    }

    /// Its routes: the agent that each leads to, the route's id, and what it is.
    pub(super) fn routes(&self) -> Vec<(AgentTarget, String, Link)> {
        let text = |child: &Value, name: &str| child[name].as_str().unwrap_or_default().to_owned();
        let route = |child: &Value| {
            let to = AgentTarget { uuid: text(child, "uuid"), name: text(child, "name") };
            let link =
                Link::Route { name: text(child, "route_name"), if_case: text(child, "if_case") };
            (to, text(child, "route_uuid"), link)
        };
        self.0["child_agents"].as_array().into_iter().flatten().map(route).collect()
    }

    /// Its functions, each with its id.
    pub(super) fn functions(&self) -> Vec<(String, Function)> {
        let function = |it: &Value| {
            let id = it["uuid"].as_str().unwrap_or_default().to_owned();
            serde_json::from_value(it.clone()).ok().map(|function| (id, function))
        };
        self.0["functions"].as_array().into_iter().flatten().filter_map(function).collect()
    }
}

/// A function that an agent may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub(super) struct Function {
    /// Its name for the agent.
    pub(super) name: String,
    /// What it does, in words for the model.
    #[serde(default)]
    pub(super) description: String,
    /// Its name in the functions platform: `package/function`.
    #[serde(default)]
    pub(super) faas_name: String,
    /// Its namespace there: `fn-…`.
    #[serde(default)]
    pub(super) faas_namespace: String,
    /// What it takes, as the platform describes it.
    #[serde(default = "empty")]
    pub(super) input_schema: Value,
    /// What it gives.
    #[serde(default = "empty")]
    pub(super) output_schema: Value,
}

fn empty() -> Value {
    json!({})
}

/// What connects an agent with something that it may use: all that is needed to make it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Link {
    /// A route to another agent.
    Route {
        /// The route's name.
        name: String,
        /// When it is taken, in words for the model.
        if_case: String,
    },
    /// A function.
    Function(Function),
}
