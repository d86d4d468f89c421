//! `digitalocean.expect`: what an app is, and what serves of it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::app::{App, Target};
use super::client::DigitalOcean;
use super::find::{self, Named};
use crate::action::{
    ActionError, Connections, Description, Evidence, Probe, ResolveContext, StepContext, VerbArgs,
    VerbKind, Verdict, Work,
};
use crate::adapters::http::quoted;

/// The phases that an active deployment can be waited for in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Phase {
    /// It waits to be built.
    PendingBuild,
    /// It is built.
    Building,
    /// It waits to be deployed.
    PendingDeploy,
    /// It is deployed.
    Deploying,
    /// It serves.
    Active,
    /// It failed.
    Error,
    /// It was given up.
    Canceled,
}

impl Phase {
    fn word(self) -> &'static str {
        match self {
            Self::PendingBuild => "PENDING_BUILD",
            Self::Building => "BUILDING",
            Self::PendingDeploy => "PENDING_DEPLOY",
            Self::Deploying => "DEPLOYING",
            Self::Active => "ACTIVE",
            Self::Error => "ERROR",
            Self::Canceled => "CANCELED",
        }
    }
}

/// Asks what apps are. All that is given has to be so, for every app.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DigitalOceanExpect")]
pub(super) struct Expect {
    #[serde(flatten)]
    apps: Named,
    #[serde(flatten)]
    wanted: Wanted,
}

/// What has to be so.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
struct Wanted {
    /// The phase of the deployment that is under way, or of the one that serves when none is. An archived app is `ACTIVE`, too: ask for
    /// `archived` beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phase: Option<Phase>,
    /// Whether the app is archived, and what serves is so, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    archived: Option<bool>,
    /// Whether a rollback has pinned the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pinned: Option<bool>,
    /// The id of the deployment that serves, or that it repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deployment: Option<String>,
    /// Values in the specification of what serves, each by its JSON pointer: `{/services/0/image/tag: "2.0.0"}`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    spec: IndexMap<String, Value>,
}

impl Wanted {
    fn check(&self) -> Result<(), String> {
        let nothing = self.phase.is_none()
            && self.archived.is_none()
            && self.pinned.is_none()
            && self.deployment.is_none()
            && self.spec.is_empty();
        if nothing {
            return Err(
                "nothing is expected: give `phase`, `archived`, `pinned`, `deployment` or `spec`"
                    .into(),
            );
        }
        match self.spec.keys().find(|pointer| !pointer.starts_with('/')) {
            Some(pointer) => Err(format!("`{pointer}` is no JSON pointer; it begins with `/`")),
            None => Ok(()),
        }
    }

    /// In words: `archived, ACTIVE`.
    fn words(&self) -> String {
        let not = |so: bool| if so { "" } else { "not " };
        let mut words = Vec::new();
        words.extend(self.archived.map(|so| format!("{}archived", not(so))));
        words.extend(self.phase.map(|phase| phase.word().to_owned()));
        words.extend(self.pinned.map(|so| format!("{}pinned", not(so))));
        words.extend(self.deployment.as_ref().map(|id| format!("at deployment {id}")));
        words.extend(self.spec.iter().map(|(pointer, value)| format!("with {pointer} {value}")));
        words.join(", ")
    }
}

/// One app, and what is asked about it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    target: Target,
    wanted: Wanted,
}

#[async_trait]
impl VerbArgs for Expect {
    const NAME: &'static str = "digitalocean.expect";
    const SUMMARY: &'static str = "ask what apps are: archived, pinned, in which phase and version";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Item = Asked;

    fn validate(&self) -> Result<(), String> {
        self.apps.check()?;
        self.wanted.check()
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Asked)>, ActionError> {
        let found = self.apps.find(cx).await?;
        let asked = |(name, _, target)| (name, Asked { target, wanted: self.wanted.clone() });
        Ok(found.into_iter().map(asked).collect())
    }

    fn make(item: Asked, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Probe(Box::new(Question { connections: cx.connections.clone(), item })))
    }
}

struct Question {
    connections: Arc<Connections>,
    item: Asked,
}

#[async_trait]
impl Probe for Question {
    fn describe(&self) -> Description {
        Description::question(format!("{} is {}", self.item.target, self.item.wanted.words()))
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        let account = DigitalOcean::of(&self.connections)?;
        let app = find::look(&account, cx, &self.item.target).await?;
        let Asked { target, wanted } = &self.item;
        if wanted.archived.is_some() && target.foreseen(cx) == wanted.archived {
            return Ok(Verdict::holds(format!("{target} is to be {}", wanted.words())));
        }
        let missing = missing(wanted, &app);
        if missing.is_empty() {
            let active = app.active().map(|active| active.id.as_str());
            let text = format!("{target} is {}", wanted.words());
            let evidence = Evidence::with(text, json!({ "deployment": active }));
            return Ok(Verdict::Holds { evidence });
        }
        // What is told comes from the specification, and so from whoever wrote it.
        let text = quoted(missing.join(", ").as_bytes(), account.secrets());
        Ok(Verdict::not_yet(format!("{target}: {text}")))
    }
}

/// What is not as it is wanted, in words.
fn missing(wanted: &Wanted, app: &App) -> Vec<String> {
    let mut missing = Vec::new();
    let newest = app.in_flight().or(app.active());
    if let Some(phase) = wanted.phase
        && newest.is_none_or(|newest| newest.phase != phase.word())
    {
        let seen = newest.map_or("there is none".to_owned(), |newest| {
            format!("{} is {}", newest.id, newest.progress())
        });
        missing.push(format!("its deployment is not {} ({seen})", phase.word()));
    }
    if let Some(so) = wanted.archived {
        let deployed = app.active().and_then(|active| active.spec.as_ref()).unwrap_or(&app.spec);
        let settled = deployed.is_archived() == app.spec.is_archived();
        if app.spec.is_archived() != so || !settled {
            let seen = match (app.spec.is_archived(), settled) {
                (true, true) => "it is archived",
                (true, false) => "it is about to be archived",
                (false, true) => "it is in service",
                (false, false) => "it is about to be in service",
            };
            missing.push(seen.to_owned());
        }
    }
    if wanted.pinned.is_some_and(|so| app.pinned().is_some() != so) {
        let seen = app.pinned().map(|pinned| format!("a rollback has pinned it to {}", pinned.id));
        missing.push(seen.unwrap_or_else(|| "no rollback has pinned it".to_owned()));
    }
    if let Some(id) = &wanted.deployment
        && app.active().is_none_or(|active| !active.is_of(id))
    {
        let seen = app.active().map_or("nothing".to_owned(), |active| active.id.clone());
        missing.push(format!("deployment {seen} serves"));
    }
    let served = app.active().and_then(|active| active.spec.as_ref()).unwrap_or(&app.spec).value();
    for (pointer, value) in &wanted.spec {
        match served.pointer(pointer) {
            Some(seen) if seen == value => {}
            Some(seen) => missing.push(format!("{pointer} is {seen}")),
            None => missing.push(format!("there is no {pointer}")),
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_so_is_told() {
        let app: App = serde_json::from_value(json!({
            "id": "1", "spec": {"name": "web", "maintenance": {"archive": true}},
            "active_deployment": {"id": "d1", "phase": "ACTIVE", "cloned_from": "d0", "spec": {"name": "web", "tag": "2"}},
            "pending_deployment": {"id": "d2", "phase": "BUILDING", "progress": {"success_steps": 1, "total_steps": 4}},
        }))
        .unwrap();
        let told = |wanted: Value| missing(&serde_json::from_value(wanted).unwrap(), &app);
        let none: [&str; 0] = [];
        assert_eq!(
            told(json!({"phase": "BUILDING", "deployment": "d0", "spec": {"/tag": "2"}})),
            none
        );
        assert_eq!(
            told(json!({"phase": "ACTIVE"})),
            ["its deployment is not ACTIVE (d2 is BUILDING (1 of 4 steps))"]
        );
        assert_eq!(told(json!({"archived": true})), ["it is about to be archived"]);
        assert_eq!(told(json!({"pinned": true})), ["no rollback has pinned it"]);
        assert_eq!(told(json!({"deployment": "d2"})), ["deployment d1 serves"]);
        assert_eq!(
            told(json!({"spec": {"/tag": 2, "/no": 1}})),
            ["/tag is \"2\"", "there is no /no"]
        );
    }

    #[test]
    fn something_has_to_be_expected() {
        let check = |wanted: Value| serde_json::from_value::<Wanted>(wanted).unwrap().check();
        assert!(check(json!({"pinned": false})).is_ok());
        assert!(check(json!({})).is_err() && check(json!({"spec": {"tag": 1}})).is_err());
    }
}
