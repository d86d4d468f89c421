//! `digitalocean.detach` and `digitalocean.attach`: an agent loses a route to another agent, or a function, and gets it back.
//!
//! What a written procedure calls "comment out the tool". The requests are `genai_attach_agent`, `genai_update_attached_agent`, `genai_detach_agent`,
//! `genai_attach_agent_function` and `genai_detach_agent_function` in `specification/resources/gen-ai/` of <https://github.com/digitalocean/openapi>. Neither the agent behind a route nor the
//! function itself is touched. All that the API needs to make the link again is kept before it goes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::agent::{self, Agent, AgentTarget, Function, Link, RESOLVING};
use super::client::{DigitalOcean, segment};
use super::find::one_of;
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Readiness, Repeat,
    ResolveContext, Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};
use crate::adapters::http::Method;
use crate::secret::has_marker;

/// Takes a route to another agent, or a function, away from an agent, so that it answers without.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DigitalOceanDetach")]
pub(super) struct Detach {
    /// The agent, by its exact name.
    agent: String,
    /// The route: its name, or that of the agent it leads to.
    #[serde(default)]
    route: Option<String>,
    /// The function, by its name.
    #[serde(default)]
    function: Option<String>,
}

/// Gives a route to another agent, or a function, to an agent. A route that is there with another name or another case is changed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DigitalOceanAttach")]
pub(super) struct Attach {
    /// The agent, by its exact name.
    agent: String,
    /// The route.
    #[serde(default)]
    route: Option<NewRoute>,
    /// The function.
    #[serde(default)]
    function: Option<Function>,
}

/// A route to another agent.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewRoute {
    /// The agent that it leads to, by its exact name.
    to: String,
    /// The route's name: `route_to_finance_ssc_expert`.
    name: String,
    /// When it is taken, in words for the model.
    if_case: String,
}

/// Which link of which agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Which {
    /// The route to this agent.
    Route { to: AgentTarget },
    /// The function of this name.
    Function { name: String },
}

impl Which {
    fn words(&self) -> String {
        match self {
            Self::Route { to } => format!("the route to {}", to.name),
            Self::Function { name } => format!("the function {name}"),
        }
    }
}

/// One link, and what it is to be; none when it is to be gone.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Linking {
    agent: AgentTarget,
    which: Which,
    wanted: Option<Link>,
}

fn either<T, U>(route: Option<&T>, function: Option<&U>) -> Result<(), String> {
    if route.is_some() == function.is_some() {
        return Err("exactly one of `route` and `function` is needed".to_owned());
    }
    Ok(())
}

#[async_trait]
impl VerbArgs for Detach {
    const NAME: &'static str = "digitalocean.detach";
    const SUMMARY: &'static str = "take a route or a function away from an agent";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Item = Linking;

    fn validate(&self) -> Result<(), String> {
        either(self.route.as_ref(), self.function.as_ref())
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Linking)>, ActionError> {
        let account = DigitalOcean::of(&cx.connections)?;
        let looking = StepContext::looking(RESOLVING);
        let (all, agent) = agent::find(&account, &looking, &self.agent).await?;
        let present = agent.look(&account, &looking).await?;
        let which = match (&self.route, &self.function) {
            (Some(route), _) => Which::Route { to: leads_to(route, &present, &all)? },
            (None, name) => {
                let name = name.clone().unwrap_or_default();
                let known: Vec<String> =
                    present.functions().into_iter().map(|(_, function)| function.name).collect();
                let _found = one_of("function", &name, &known, Clone::clone, Clone::clone)?;
                Which::Function { name }
            }
        };
        Ok(vec![(String::new(), Linking { agent, which, wanted: None })])
    }

    fn make(item: Linking, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(Change { connections: cx.connections.clone(), item })))
    }
}

/// The agent that a route of this name leads to. One that no route leads to any more is found by its own name.
fn leads_to(route: &str, agent: &Agent, all: &[AgentTarget]) -> Result<AgentTarget, ActionError> {
    let routes = agent.routes();
    let named = |(to, _, link): &&(AgentTarget, String, Link)| {
        to.name == route || matches!(link, Link::Route { name, .. } if name == route)
    };
    let found: Vec<_> = routes.iter().filter(named).collect();
    match found.as_slice() {
        [(to, ..)] => Ok(to.clone()),
        [] => agent::of_name(all, route),
        several => {
            let text = format!("find the one route `{route}`: {} have this name", several.len());
            Err(ActionError::new(ErrorKind::Conflict, text))
        }
    }
}

#[async_trait]
impl VerbArgs for Attach {
    const NAME: &'static str = "digitalocean.attach";
    const SUMMARY: &'static str = "give a route or a function to an agent";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Item = Linking;

    fn validate(&self) -> Result<(), String> {
        either(self.route.as_ref(), self.function.as_ref())?;
        if has_marker(&json!(self).to_string()) {
            return Err("it holds a secret, and what an agent uses is shown".to_owned());
        }
        Ok(())
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Linking)>, ActionError> {
        let account = DigitalOcean::of(&cx.connections)?;
        let looking = StepContext::looking(RESOLVING);
        let (all, agent) = agent::find(&account, &looking, &self.agent).await?;
        let (which, wanted) = match (self.route, self.function) {
            (Some(NewRoute { to, name, if_case }), _) => {
                let to = agent::of_name(&all, &to)?;
                (Which::Route { to }, Some(Link::Route { name, if_case }))
            }
            (None, Some(function)) => {
                let name = function.name.clone();
                (Which::Function { name }, Some(Link::Function(function)))
            }
            (None, None) => {
                let text = "attach something: neither `route` nor `function` says what";
                return Err(ActionError::new(ErrorKind::Invalid, text));
            }
        };
        Ok(vec![(String::new(), Linking { agent, which, wanted })])
    }

    fn make(item: Linking, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(Change { connections: cx.connections.clone(), item })))
    }
}

/// A link that is there.
struct Present {
    id: String,
    link: Link,
}

struct Change {
    connections: Arc<Connections>,
    item: Linking,
}

impl Change {
    fn account(&self) -> Result<Arc<DigitalOcean>, ActionError> {
        DigitalOcean::of(&self.connections)
    }

    fn doing(&self) -> String {
        let Linking { agent, which, wanted } = &self.item;
        match wanted {
            None => format!("take {} away from {agent}", which.words()),
            Some(_) => format!("give {} to {agent}", which.words()),
        }
    }

    /// The link as it is now.
    async fn look(
        &self,
        account: &DigitalOcean,
        cx: &StepContext,
    ) -> Result<Option<Present>, ActionError> {
        let agent = self.item.agent.look(account, cx).await?;
        Ok(match &self.item.which {
            Which::Route { to } => {
                let mut routes = agent.routes().into_iter();
                let found = routes.find(|(child, ..)| child.uuid == to.uuid);
                found.map(|(_, id, link)| Present { id, link })
            }
            Which::Function { name } => {
                let mut functions = agent.functions().into_iter();
                let found = functions.find(|(_, function)| function.name == *name);
                found.map(|(id, function)| Present { id, link: Link::Function(function) })
            }
        })
    }

    /// Makes the link what it is to be.
    async fn set(
        &self,
        cx: &StepContext,
        account: &DigitalOcean,
        present: Option<&Present>,
        wanted: Option<&Link>,
    ) -> Result<(), ActionError> {
        let agent = &self.item.agent;
        let (method, path, body) = match &self.item.which {
            Which::Route { to } => {
                let path = format!("{}/child_agents/{}", agent.path(), segment(&to.uuid));
                match (present, wanted) {
                    (_, None) => (Method::Delete, path, None),
                    (None, Some(link)) => (Method::Post, path, Some(self.body(link, None))),
                    (Some(present), Some(link)) => {
                        (Method::Put, path, Some(self.body(link, Some(&present.id))))
                    }
                }
            }
            Which::Function { .. } => {
                let path = format!("{}/functions", agent.path());
                match (present, wanted) {
                    (None, Some(link)) => (Method::Post, path, Some(self.body(link, None))),
                    (Some(present), None) => {
                        (Method::Delete, format!("{path}/{}", segment(&present.id)), None)
                    }
                    _ => {
                        let text =
                            format!("{}: one of this name is there, and is another", self.doing());
                        return Err(ActionError::new(ErrorKind::Conflict, text)
                            .hint("Take it away first, with `digitalocean.detach`."));
                    }
                }
            }
        };
        let _agent: Value = account.send(cx, &self.doing(), method, &path, body).await?;
        Ok(())
    }

    /// What is sent to make a link.
    fn body(&self, link: &Link, id: Option<&str>) -> String {
        let agent = &self.item.agent.uuid;
        let mut body = match (link, &self.item.which) {
            (Link::Route { name, if_case }, Which::Route { to }) => json!({
                "parent_agent_uuid": agent, "child_agent_uuid": to.uuid, "route_name": name, "if_case": if_case,
            }),
            (Link::Route { name, if_case }, Which::Function { .. }) => {
                json!({"route_name": name, "if_case": if_case})
            }
            (Link::Function(function), _) => json!({
                "agent_uuid": agent, "function_name": function.name, "description": function.description,
                "faas_name": function.faas_name, "faas_namespace": function.faas_namespace,
                "input_schema": function.input_schema, "output_schema": function.output_schema,
            }),
        };
        if let Some(id) = id {
            body["uuid"] = id.into();
        }
        body.to_string()
    }

    fn evidence(&self) -> Evidence {
        let Linking { agent, which, wanted } = &self.item;
        let has = if wanted.is_some() { "has" } else { "is without" };
        Evidence::new(format!("{agent} {has} {}", which.words()))
    }

    fn former(&self, saved: &Saved) -> Result<Option<Link>, ActionError> {
        let kept = saved.private.as_ref().map(|private| private["link"].clone());
        let former = kept.and_then(|kept| serde_json::from_value(kept).ok());
        former.ok_or_else(|| {
            let text = format!("{}: what was there before is lost", self.doing());
            ActionError::new(ErrorKind::Invalid, text)
        })
    }
}

fn link_of(present: Option<&Present>) -> Option<&Link> {
    present.map(|present| &present.link)
}

#[async_trait]
impl Action for Change {
    fn describe(&self) -> Description {
        let Linking { agent, which, wanted } = &self.item;
        let undo = match wanted {
            None => format!("give {} back to {agent}", which.words()),
            Some(_) => format!("make {} of {agent} what it was", which.words()),
        };
        Description::new(self.doing(), undo)
    }

    fn repeat(&self) -> Repeat {
        Repeat::AfterInspect
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let account = self.account()?;
        let present = self.look(&account, cx).await?;
        if link_of(present.as_ref()) == self.item.wanted.as_ref() {
            return Ok(Readiness::AlreadyDone { evidence: self.evidence() });
        }
        let found = if present.is_some() { "attached" } else { "not attached" };
        // What an agent is told may be confidential.
        let private = Some(json!({ "link": link_of(present.as_ref()) }));
        Ok(Readiness::needed(Saved { state: json!({ "found": found }), private }))
    }

    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError> {
        let account = self.account()?;
        let present = self.look(&account, cx).await?;
        if link_of(present.as_ref()) != self.former(saved)?.as_ref() {
            let text = format!("{}: it has changed since it was looked at", self.doing());
            return Err(ActionError::new(ErrorKind::Conflict, text).retryable(true));
        }
        self.set(cx, &account, present.as_ref(), self.item.wanted.as_ref()).await?;
        Ok(self.evidence())
    }

    async fn verify(&self, cx: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        let present = self.look(&*self.account()?, cx).await?;
        Ok(match (link_of(present.as_ref()) == self.item.wanted.as_ref(), present) {
            (true, _) => Verdict::Holds { evidence: self.evidence() },
            (false, None) => {
                Verdict::not_yet(format!("{} is not attached", self.item.which.words()))
            }
            (false, Some(_)) => {
                Verdict::not_yet(format!("{} is another one", self.item.which.words()))
            }
        })
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let (account, former) = (self.account()?, self.former(saved)?);
        let present = self.look(&account, cx).await?;
        let now = link_of(present.as_ref());
        if now == former.as_ref() {
            return Ok(());
        }
        if now != self.item.wanted.as_ref() {
            let text = format!("take back: {}: somebody has changed it since", self.doing());
            return Err(ActionError::new(ErrorKind::Conflict, text));
        }
        self.set(cx, &account, present.as_ref(), former.as_ref()).await
    }
}
