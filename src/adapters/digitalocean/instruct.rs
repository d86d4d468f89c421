//! `digitalocean.instruct`: the system prompt of an agent is set, or one text in it replaced by another.
//!
//! The request is `genai_update_agent` in `specification/resources/gen-ai/` of <https://github.com/digitalocean/openapi>, with the instruction alone: what an update does not name stays.
//! The description does not promise that, so the other settings are compared afterwards.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::agent::{self, Agent, AgentTarget, RESOLVING};
use super::client::DigitalOcean;
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Present, Readiness, Repeat,
    ResolveContext, Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};
use crate::adapters::http::Method;
use crate::digest::sha256;
use crate::secret::has_marker;

/// Sets the system prompt of an agent, such as to let it answer without a specialist.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DigitalOceanInstruct")]
pub(super) struct Instruct {
    /// The agent, by its exact name.
    agent: String,
    /// The whole system prompt.
    #[serde(default)]
    instruction: Option<String>,
    /// Instead of the whole: one text in the system prompt, and what stands in its place.
    #[serde(default)]
    replace: Option<Replace>,
}

/// One text in place of another.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Replace {
    /// The text; it has to be there exactly once.
    find: String,
    /// What stands in its place.
    with: String,
}

/// One agent, and what it is to be told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    agent: AgentTarget,
    instruction: Option<String>,
    replace: Option<Replace>,
}

#[async_trait]
impl VerbArgs for Instruct {
    const NAME: &'static str = "digitalocean.instruct";
    const SUMMARY: &'static str = "set the system prompt of an agent, or replace a text in it";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Item = Told;

    fn validate(&self) -> Result<(), String> {
        match (&self.instruction, &self.replace) {
            (Some(text), None) if text.trim().is_empty() => {
                Err("`instruction` is empty".to_owned())
            }
            (None, Some(replace)) if replace.find.is_empty() => Err("`find` is empty".to_owned()),
            (None, Some(replace)) if replace.with.contains(&replace.find) => {
                Err("`with` holds `find`, so that it could not be told whether it is done"
                    .to_owned())
            }
            (Some(_), None) | (None, Some(_)) if has_marker(&json!(self).to_string()) => {
                Err("it holds a secret, and an agent may tell what it is told".to_owned())
            }
            (Some(_), None) | (None, Some(_)) => Ok(()),
            _ => Err("exactly one of `instruction` and `replace` is needed".to_owned()),
        }
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Told)>, ActionError> {
        let account = DigitalOcean::of(&cx.connections)?;
        let looking = StepContext::looking(RESOLVING);
        let (_, agent) = agent::find(&account, &looking, &self.agent).await?;
        let Self { instruction, replace, .. } = self;
        Ok(vec![(String::new(), Told { agent, instruction, replace })])
    }

    fn make(item: Told, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(Telling { connections: cx.connections.clone(), item })))
    }
}

impl Told {
    /// The instruction that an agent with this one is to have; it is the same where it is done.
    fn wanted(&self, present: &str) -> Result<String, String> {
        match (&self.instruction, &self.replace) {
            (Some(text), _) => Ok(text.clone()),
            (None, Some(Replace { find, with })) => match present.matches(find.as_str()).count() {
                1 => Ok(present.replacen(find.as_str(), with, 1)),
                0 if !with.is_empty() && present.contains(with.as_str()) => Ok(present.to_owned()),
                0 => {
                    Err("its instruction does not hold the text that is to be replaced".to_owned())
                }
                count => Err(format!(
                    "its instruction holds the text that is to be replaced {count} times"
                )),
            },
            (None, None) => Ok(present.to_owned()),
        }
    }
}

struct Telling {
    connections: Arc<Connections>,
    item: Told,
}

impl Telling {
    async fn look(&self, cx: &StepContext) -> Result<(Arc<DigitalOcean>, Agent), ActionError> {
        let account = DigitalOcean::of(&self.connections)?;
        let agent = self.item.agent.look(&account, cx).await?;
        Ok((account, agent))
    }

    fn doing(&self) -> String {
        format!("set the instruction of {}", self.item.agent)
    }

    fn conflict(&self, why: &str) -> ActionError {
        ActionError::new(ErrorKind::Conflict, format!("{}: {why}", self.doing()))
    }

    async fn put(
        &self,
        cx: &StepContext,
        account: &DigitalOcean,
        instruction: &str,
    ) -> Result<(), ActionError> {
        let agent = &self.item.agent;
        let body = json!({"uuid": agent.uuid, "instruction": instruction}).to_string();
        let _agent: Value =
            account.send(cx, &self.doing(), Method::Put, &agent.path(), Some(body)).await?;
        Ok(())
    }

    fn former<'a>(&self, saved: &'a Saved) -> Result<&'a str, ActionError> {
        let kept = saved.private.as_ref().and_then(|private| private["instruction"].as_str());
        kept.ok_or_else(|| self.conflict("its former instruction is lost"))
    }

    fn evidence(&self, agent: &Agent) -> Evidence {
        let text = agent.instruction();
        let summary =
            format!("{} has the instruction, {} characters", self.item.agent, text.chars().count());
        Evidence::with(summary, json!({"instruction": sha256(text), "settings": agent.settings()}))
    }
}

#[async_trait]
impl Action for Telling {
    fn describe(&self) -> Description {
        let apply = match &self.item.replace {
            Some(_) => format!("replace a text in the instruction of {}", self.item.agent),
            None => self.doing(),
        };
        Description::new(apply, format!("give its former instruction back to {}", self.item.agent))
    }

    fn repeat(&self) -> Repeat {
        Repeat::AfterInspect
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let (_, agent) = self.look(cx).await?;
        // A text that has gone leaves nothing by which to tell that it is done, so what was sent is known by a note.
        let present = sha256(agent.instruction());
        if cx.notes().iter().any(|note| note["wanted"] == present.as_str()) {
            return Ok(Readiness::AlreadyDone { evidence: self.evidence(&agent) });
        }
        let wanted = self.item.wanted(agent.instruction()).map_err(|why| self.conflict(&why))?;
        if wanted == agent.instruction() {
            return Ok(Readiness::AlreadyDone { evidence: self.evidence(&agent) });
        }
        let found = format!("an instruction of {} characters", agent.instruction().chars().count());
        let state = json!({
            "found": found, "instruction": present, "wanted": sha256(wanted), "settings": agent.settings(),
        });
        let private = Some(json!({"instruction": agent.instruction()}));
        Ok(Readiness::needed(Saved { state, private }))
    }

    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError> {
        let (account, agent) = self.look(cx).await?;
        if saved.state["instruction"] != sha256(agent.instruction()) {
            let why = "it has changed since it was looked at";
            return Err(self.conflict(why).retryable(true));
        }
        let wanted = self.item.wanted(agent.instruction()).map_err(|why| self.conflict(&why))?;
        let settings = agent.settings();
        cx.note(json!({ "wanted": sha256(&wanted) })).await?;
        self.put(cx, &account, &wanted).await?;
        let (_, agent) = self.look(cx).await?;
        if agent.settings() != settings {
            let why = "other settings of the agent have changed with it";
            return Err(ActionError::new(ErrorKind::Unknown, format!("{}: {why}", self.doing()))
                .hint("Compare them in the control panel."));
        }
        Ok(self.evidence(&agent))
    }

    async fn verify(&self, cx: &StepContext, applied: &Evidence) -> Result<Verdict, ActionError> {
        let (_, agent) = self.look(cx).await?;
        Ok(if applied.facts["instruction"] == sha256(agent.instruction()) {
            Verdict::Holds { evidence: self.evidence(&agent) }
        } else {
            Verdict::not_yet(format!("{} has another instruction", self.item.agent))
        })
    }

    async fn present(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<Present, ActionError> {
        let (_, agent) = self.look(cx).await?;
        Ok(match self.former(saved)? {
            former if agent.instruction() == former => Present::AsBefore,
            _ if saved.state["wanted"] == sha256(agent.instruction()) => Present::AsLeft,
            _ => Present::Other,
        })
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        applied: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        match self.present(cx, saved, applied).await? {
            Present::AsBefore => Ok(()),
            Present::AsLeft => {
                let account = DigitalOcean::of(&self.connections)?;
                self.put(cx, &account, self.former(saved)?).await
            }
            _ => Err(self.conflict("somebody has changed it since")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(find: &str, with: &str, present: &str) -> Result<String, String> {
        let agent = AgentTarget { uuid: "1".into(), name: "a".into() };
        let replace = Some(Replace { find: find.into(), with: with.into() });
        Told { agent, instruction: None, replace }.wanted(present)
    }

    #[test]
    fn a_text_is_replaced_where_it_stands_once() {
        assert_eq!(wanted("use X", "say no", "first use X, then").unwrap(), "first say no, then");
        assert_eq!(wanted("use X", "say no", "first say no, then").unwrap(), "first say no, then");
        assert!(wanted("use X", "say no", "something else").is_err());
        assert!(wanted("use X", "", "something else").is_err());
        assert!(wanted("x", "y", "x x").unwrap_err().ends_with("2 times"));
    }
}
