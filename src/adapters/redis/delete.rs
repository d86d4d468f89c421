//! `redis.delete`: the keys of a pattern go, until none is left.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Redis, within};
use super::pattern;
use super::sweep::{self, Sweep, spent, too_many};
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Prediction, Readiness,
    Repeat, ResolveContext, Reversal, Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};

/// Why there is no way back.
const GONE: &str = "deleted keys cannot be brought back";

/// Deletes every key that matches a pattern.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RedisDelete")]
pub(super) struct Delete {
    /// The pattern, as Redis' KEYS has it: `metrics:v2:*`. It must begin with text that stands for itself.
    pattern: String,
    /// The most keys that may match: a pattern that is too wide touches nothing. It holds over all attempts at the step. No limit unless given.
    #[serde(default)]
    at_most: Option<u64>,
}

#[async_trait]
impl VerbArgs for Delete {
    const NAME: &'static str = "redis.delete";
    const SUMMARY: &'static str = "delete the keys that match a pattern, until none is left";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(60);
    const IRREVERSIBLE: Option<&'static str> = Some(GONE);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        pattern::check_to_delete(&self.pattern)
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        // A template may have made the pattern after the runbook was checked.
        item.validate().map_err(|problem| {
            ActionError::new(ErrorKind::Invalid, format!("use `{}`: {problem}", Self::NAME))
        })?;
        Ok(Work::Action(Box::new(DeleteKeys { connections: cx.connections.clone(), item })))
    }
}

/// The name of a pattern's keys in the predictions of a plan.
pub(super) fn resource(pattern: &str) -> String {
    format!("redis:{pattern}")
}

struct DeleteKeys {
    connections: Arc<Connections>,
    item: Delete,
}

impl DeleteKeys {
    /// How many keys match.
    async fn count(&self, cx: &StepContext) -> Result<u64, ActionError> {
        let redis = Redis::of(&self.connections)?;
        let doing = format!("count the keys matching `{}`", self.item.pattern);
        let counting = async {
            let servers = redis.open().await?;
            servers.take_changes()?;
            sweep::count(&servers, &self.item.pattern).await
        };
        within(cx, &doing, counting).await
    }

    fn none_left(&self) -> String {
        format!("no key matches {}", self.item.pattern)
    }
}

#[async_trait]
impl Action for DeleteKeys {
    fn describe(&self) -> Description {
        let most = self.item.at_most.map(|most| format!(" (at most {most})")).unwrap_or_default();
        Description::new(format!("delete the keys matching {}{most}", self.item.pattern), "")
    }

    fn repeat(&self) -> Repeat {
        Repeat::Safe
    }

    fn reversal(&self) -> Reversal {
        Reversal::Irreversible { reason: GONE.to_owned() }
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let found = self.count(cx).await?;
        if found == 0 {
            return Ok(Readiness::AlreadyDone { evidence: Evidence::new(self.none_left()) });
        }
        let spent = spent(cx.notes());
        if let Some(most) = self.item.at_most
            && found + spent > most
        {
            return Err(too_many(&self.item.pattern, most, spent, &found.to_string()));
        }
        let after =
            Prediction { resource: resource(&self.item.pattern), state: json!({"keys": 0}) };
        Ok(Readiness::Needed {
            saved: Saved::public(json!({"found": format!("{found} keys"), "keys": found})),
            predicted: vec![after],
        })
    }

    async fn apply(&self, cx: &StepContext, _: &Saved) -> Result<Evidence, ActionError> {
        let redis = Redis::of(&self.connections)?;
        let Delete { pattern, at_most } = &self.item;
        let swept = Sweep::new(cx, pattern, *at_most).run(&redis).await?;
        Ok(Evidence::with(
            format!("{} keys deleted, none is left", swept.unlinked),
            json!({"found": swept.found, "unlinked": swept.unlinked, "passes": swept.passes}),
        ))
    }

    async fn verify(&self, cx: &StepContext, applied: &Evidence) -> Result<Verdict, ActionError> {
        Ok(match self.count(cx).await? {
            0 => {
                let unlinked = applied.facts.get("unlinked").and_then(Value::as_u64);
                let deleted = unlinked.map(|keys| format!(", {keys} deleted")).unwrap_or_default();
                let facts = applied.facts.clone();
                let summary = format!("{}{deleted}", self.none_left());
                Verdict::Holds { evidence: Evidence::with(summary, facts) }
            }
            left => Verdict::not_yet(format!("{left} keys match {}", self.item.pattern)),
        })
    }

    async fn undo(
        &self,
        _: &StepContext,
        _: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let text = format!("bring the keys matching {} back: {GONE}", self.item.pattern);
        Err(ActionError::new(ErrorKind::Invalid, text))
    }
}
