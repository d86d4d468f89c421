//! `GenAI` agents (`/v2/gen-ai/agents`): their routes to other agents, their functions, and their instruction.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::account::{Holdings, Refusal};

/// A route to another agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Its identifier.
    pub uuid: String,
    /// The agent that it leads to.
    pub child: String,
    /// Its name.
    pub name: String,
    /// When it is taken, in words for the model.
    pub if_case: String,
}

/// A function that an agent may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Its identifier.
    pub uuid: String,
    /// Its name for the agent.
    pub name: String,
    /// What it does, in words for the model.
    pub description: String,
    /// Its name in the functions platform.
    pub faas_name: String,
    /// Its namespace there.
    pub faas_namespace: String,
    /// What it takes.
    pub input_schema: Value,
    /// What it gives.
    pub output_schema: Value,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// Its identifier.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// Its system prompt.
    pub instruction: String,
    /// What else can be set.
    pub settings: Value,
    /// Where it may send a question.
    pub routes: Vec<Route>,
    /// What it may call.
    pub functions: Vec<Function>,
}

impl Function {
    fn shown(&self) -> Value {
        json!({
            "uuid": self.uuid, "name": self.name, "description": self.description, "faas_name": self.faas_name,
            "faas_namespace": self.faas_namespace, "input_schema": self.input_schema, "output_schema": self.output_schema,
            "created_at": "2026-01-01T00:00:00Z",
        })
    }
}

impl Agent {
    /// The agent as a list has it.
    pub(super) fn listed(&self) -> Value {
        let mut shown = self.settings.clone();
        shown["uuid"] = self.uuid.as_str().into();
        shown["name"] = self.name.as_str().into();
        shown["instruction"] = self.instruction.as_str().into();
        shown["created_at"] = "2026-01-01T00:00:00Z".into();
        shown
    }
}

fn text(body: &Map<String, Value>, name: &str) -> String {
    body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn id() -> String {
    uuid::Uuid::new_v4().to_string()
}

impl Holdings {
    pub(super) fn agent(&self, uuid: &str) -> Result<&Agent, Refusal> {
        self.agents.iter().find(|agent| agent.uuid == uuid).ok_or_else(Refusal::not_found)
    }

    fn agent_mut(&mut self, uuid: &str) -> Result<&mut Agent, Refusal> {
        self.agents.iter_mut().find(|agent| agent.uuid == uuid).ok_or_else(Refusal::not_found)
    }

    /// The agent with everything that belongs to it.
    pub(super) fn shown_agent(&self, uuid: &str) -> Result<Value, Refusal> {
        let agent = self.agent(uuid)?;
        let child = |route: &Route| {
            let mut shown = self.agent(&route.child).map(Agent::listed).unwrap_or_default();
            shown["route_uuid"] = route.uuid.as_str().into();
            shown["route_name"] = route.name.as_str().into();
            shown["if_case"] = route.if_case.as_str().into();
            shown
        };
        let mut shown = agent.listed();
        shown["child_agents"] = agent.routes.iter().map(child).collect();
        shown["functions"] = agent.functions.iter().map(Function::shown).collect();
        Ok(shown)
    }

    /// `PUT /v2/gen-ai/agents/{uuid}`: what the body has is set, the rest stays.
    pub(super) fn put_agent(
        &mut self,
        uuid: &str,
        body: &Map<String, Value>,
    ) -> Result<(String, Value), Refusal> {
        let agent = self.agent_mut(uuid)?;
        for (name, value) in body {
            match (name.as_str(), value) {
                ("uuid", _) => {}
                ("name", Value::String(text)) => agent.name.clone_from(text),
                ("instruction", Value::String(text)) => agent.instruction.clone_from(text),
                (name, value) => agent.settings[name] = value.clone(),
            }
        }
        let effect = format!("update agent {}", agent.name);
        Ok((effect, json!({"agent": self.shown_agent(uuid)?})))
    }

    /// `POST /v2/gen-ai/agents/{parent}/child_agents/{child}`.
    pub(super) fn add_route(
        &mut self,
        (parent, child): (&str, &str),
        body: &Map<String, Value>,
    ) -> Result<(String, Value), Refusal> {
        let to = self.agent(child)?.name.clone();
        let agent = self.agent_mut(parent)?;
        if agent.routes.iter().any(|route| route.child == child) {
            return Err(Refusal::conflict("the agent has this route already"));
        }
        let (name, if_case) = (text(body, "route_name"), text(body, "if_case"));
        agent.routes.push(Route { uuid: id(), child: child.to_owned(), name, if_case });
        let effect = format!("attach route {} to {to}", agent.name);
        Ok((effect, json!({"parent_agent_uuid": parent, "child_agent_uuid": child})))
    }

    /// `PUT /v2/gen-ai/agents/{parent}/child_agents/{child}`.
    pub(super) fn put_route(
        &mut self,
        (parent, child): (&str, &str),
        body: &Map<String, Value>,
    ) -> Result<(String, Value), Refusal> {
        let to = self.agent(child)?.name.clone();
        let agent = self.agent_mut(parent)?;
        let (name, if_case) = (text(body, "route_name"), text(body, "if_case"));
        let effect = format!("change route {} to {to}", agent.name);
        let route = agent.routes.iter_mut().find(|route| route.child == child);
        let route = route.ok_or_else(Refusal::not_found)?;
        (route.name, route.if_case) = (name, if_case);
        let given =
            json!({"uuid": route.uuid, "parent_agent_uuid": parent, "child_agent_uuid": child});
        Ok((effect, given))
    }

    /// `DELETE /v2/gen-ai/agents/{parent}/child_agents/{child}`.
    pub(super) fn remove_route(
        &mut self,
        (parent, child): (&str, &str),
    ) -> Result<(String, Value), Refusal> {
        let to = self.agent(child)?.name.clone();
        let agent = self.agent_mut(parent)?;
        let before = agent.routes.len();
        agent.routes.retain(|route| route.child != child);
        if agent.routes.len() == before {
            return Err(Refusal::not_found());
        }
        let effect = format!("detach route {} to {to}", agent.name);
        Ok((effect, json!({"parent_agent_uuid": parent, "child_agent_uuid": child})))
    }

    /// `POST /v2/gen-ai/agents/{agent}/functions`.
    pub(super) fn add_function(
        &mut self,
        uuid: &str,
        body: &Map<String, Value>,
    ) -> Result<(String, Value), Refusal> {
        let agent = self.agent_mut(uuid)?;
        let name = text(body, "function_name");
        if name.is_empty() || agent.functions.iter().any(|known| known.name == name) {
            return Err(Refusal::invalid("function_name is missing or taken"));
        }
        let schema = |field: &str| body.get(field).cloned().unwrap_or_else(|| json!({}));
        agent.functions.push(Function {
            uuid: id(),
            name: name.clone(),
            description: text(body, "description"),
            faas_name: text(body, "faas_name"),
            faas_namespace: text(body, "faas_namespace"),
            input_schema: schema("input_schema"),
            output_schema: schema("output_schema"),
        });
        let effect = format!("attach function {name} to {}", agent.name);
        Ok((effect, json!({"agent": self.shown_agent(uuid)?})))
    }

    /// `DELETE /v2/gen-ai/agents/{agent}/functions/{function}`.
    pub(super) fn remove_function(
        &mut self,
        (uuid, function): (&str, &str),
    ) -> Result<(String, Value), Refusal> {
        let agent = self.agent_mut(uuid)?;
        let place = agent.functions.iter().position(|known| known.uuid == function);
        let removed = agent.functions.remove(place.ok_or_else(Refusal::not_found)?);
        let effect = format!("detach function {} from {}", removed.name, agent.name);
        Ok((effect, json!({"agent": self.shown_agent(uuid)?})))
    }
}
