//! `redis.expect`: whether Redis answers, how many keys match a pattern, and what a key holds.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use redis::RedisError;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::{Node, Redis, Role, Servers, within};
use super::{delete, pattern, sweep};
use crate::action::{
    ActionError, Connections, Description, ErrorKind, Evidence, Probe, ResolveContext, StepContext,
    VerbArgs, VerbKind, Verdict, Work,
};
use crate::secret::{Secrets, hide_markers};
use crate::value::Count;

/// The most of a value that an answer quotes, in characters.
const MOST_QUOTED: usize = 100;

/// What a server is to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "RedisRole")]
pub(super) enum ExpectedRole {
    /// It takes changes.
    Master,
    /// It repeats what its master does.
    Replica,
}

/// Asks Redis; everything that is given must hold.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RedisExpect")]
pub(super) struct Expect {
    /// `true`: every server answers. That holds whenever anything else does.
    #[serde(default)]
    ping: bool,
    /// Whether the server is a master or a replica.
    #[serde(default)]
    role: Option<ExpectedRole>,
    /// A pattern whose keys are counted: `metrics:v2:*`.
    #[serde(default)]
    pattern: Option<String>,
    /// How many keys match `pattern`.
    #[serde(default)]
    keys: Option<Count>,
    /// A key.
    #[serde(default)]
    key: Option<String>,
    /// Whether `key` exists.
    #[serde(default)]
    exists: Option<bool>,
    /// The text that `key` holds.
    #[serde(default)]
    value: Option<String>,
}

#[async_trait]
impl VerbArgs for Expect {
    const NAME: &'static str = "redis.expect";
    const SUMMARY: &'static str = "ask how many keys match a pattern, or what a key holds";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        if let Some(pattern) = &self.pattern {
            pattern::check(pattern)?;
        }
        let problem = match self {
            Self { pattern: Some(_), keys: None, .. } => "`pattern` needs `keys`",
            Self { pattern: None, keys: Some(_), .. } => "`keys` needs `pattern`",
            Self { key: Some(_), exists: None, value: None, .. } => {
                "`key` needs `exists` or `value`"
            }
            Self { key: None, exists: Some(_), .. } => "`exists` needs `key`",
            Self { key: None, value: Some(_), .. } => "`value` needs `key`",
            Self { exists: Some(false), value: Some(_), .. } => {
                "a key that does not exist has no `value`"
            }
            Self { ping: false, role: None, pattern: None, key: None, .. } => {
                "nothing is expected; add `ping: true`, `role`, `pattern` with `keys`, or `key`"
            }
            _ => return Ok(()),
        };
        Err(problem.to_owned())
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        item.validate().map_err(|problem| {
            ActionError::new(ErrorKind::Invalid, format!("use `{}`: {problem}", Self::NAME))
        })?;
        Ok(Work::Probe(Box::new(Question { connections: cx.connections.clone(), item })))
    }
}

struct Question {
    connections: Arc<Connections>,
    item: Expect,
}

/// What was seen of one expectation, and whether it is as expected.
type Seen = (bool, String);

#[async_trait]
impl Probe for Question {
    fn describe(&self) -> Description {
        let item = &self.item;
        let mut wanted = Vec::new();
        if item.ping {
            wanted.push("it answers".to_owned());
        }
        wanted.extend(item.role.map(|role| format!("it is a {}", word(role))));
        if let (Some(pattern), Some(keys)) = (&item.pattern, item.keys) {
            wanted.push(format!("{keys} keys match {pattern}"));
        }
        if let Some(key) = &item.key {
            let key = hide_markers(key);
            wanted.push(match (&item.value, item.exists) {
                (Some(value), _) => format!("{key} is `{}`", hide_markers(value)),
                (None, Some(false)) => format!("{key} does not exist"),
                (None, _) => format!("{key} exists"),
            });
        }
        Description::question(format!("redis: {}", wanted.join(", ")))
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        let redis = Redis::of(&self.connections)?;
        let looking = async {
            let servers = redis.open().await?;
            let mut seen = vec![(true, servers.describe())];
            seen.extend(self.item.role.map(|role| judge_role(&servers, role)));
            seen.extend(self.judge_keys(cx, &servers).await?);
            seen.extend(self.judge_key(&redis, &servers).await?);
            Ok(seen)
        };
        let seen = within(cx, "ask redis", looking).await?;
        let content = seen.iter().all(|(content, _)| *content);
        // Who answered matters where nothing else was asked.
        let told = usize::from(seen.len() > 1);
        let texts: Vec<String> = seen.into_iter().skip(told).map(|(_, text)| text).collect();
        let summary = texts.join(", ");
        Ok(if content {
            Verdict::Holds { evidence: Evidence::new(summary) }
        } else {
            Verdict::not_yet(summary)
        })
    }
}

fn word(role: ExpectedRole) -> &'static str {
    match role {
        ExpectedRole::Master => "master",
        ExpectedRole::Replica => "replica",
    }
}

fn judge_role(servers: &Servers, wanted: ExpectedRole) -> Seen {
    let other = servers
        .nodes
        .iter()
        .find(|node| (node.role == Role::Master) != (wanted == ExpectedRole::Master));
    match (other, wanted) {
        (None, _) => (true, format!("it is a {}", word(wanted))),
        (Some(node), ExpectedRole::Master) => (false, format!("{} is a replica", node.at)),
        (Some(node), ExpectedRole::Replica) => (false, format!("{} is a master", node.at)),
    }
}

impl Question {
    async fn judge_keys(
        &self,
        cx: &StepContext,
        servers: &Servers,
    ) -> Result<Option<Seen>, ActionError> {
        let (Some(pattern), Some(wanted)) = (&self.item.pattern, self.item.keys) else {
            return Ok(None);
        };
        let predicted = cx.predicted(&delete::resource(pattern));
        let number = match predicted.as_ref().and_then(|state| state.get("keys")?.as_u64()) {
            Some(number) => number,
            None => sweep::count(servers, pattern).await?,
        };
        Ok(Some((wanted.admits(number), format!("{number} keys match {pattern}"))))
    }

    async fn judge_key(
        &self,
        redis: &Redis,
        servers: &Servers,
    ) -> Result<Option<Seen>, ActionError> {
        let Some(key) = &self.item.key else { return Ok(None) };
        let shown = hide_markers(key);
        let revealed = redis.secrets().reveal(key);
        let key = revealed.expose_secret();
        let Some(wanted) = &self.item.value else {
            let found = self.ask(servers, "EXISTS", key).await?;
            let exists = found.as_i64() == Some(1);
            let text = if exists { "exists" } else { "does not exist" };
            return Ok(Some((Some(exists) == self.item.exists, format!("{shown} {text}"))));
        };
        let found = self.ask(servers, "GET", key).await?;
        let wanted = redis.secrets().reveal(wanted);
        Ok(Some(match found.as_str() {
            None => (false, format!("{shown} does not exist")),
            Some(found) if found == wanted.expose_secret() => {
                (true, format!("{shown} is as expected"))
            }
            Some(found) => (false, format!("{shown} is `{}`", quoted(found, redis.secrets()))),
        }))
    }

    /// Asks the server that holds the key: the others of a cluster say that it is not theirs.
    async fn ask(&self, servers: &Servers, command: &str, key: &str) -> Result<Value, ActionError> {
        let doing = format!(
            "read the key `{}`",
            self.item.key.as_deref().map(hide_markers).unwrap_or_default()
        );
        let answers = join_all(servers.nodes.iter().map(|node| ask(node, command, key))).await;
        let mut elsewhere = None;
        for (node, answer) in servers.nodes.iter().zip(answers) {
            match answer {
                Ok(value) => return Ok(value),
                Err(error) if sweep::is_elsewhere(&error) => {
                    elsewhere = Some(node.failed(&doing, false, &error));
                }
                Err(error) => return Err(node.failed(&doing, false, &error)),
            }
        }
        Err(elsewhere.unwrap_or_else(|| ActionError::new(ErrorKind::NotFound, doing)))
    }
}

async fn ask(node: &Node, command: &str, key: &str) -> Result<Value, RedisError> {
    let mut connection = node.connection.clone();
    let answer: redis::Value = redis::cmd(command).arg(key).query_async(&mut connection).await?;
    Ok(match answer {
        redis::Value::Int(number) => number.into(),
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
        _ => Value::Null,
    })
}

/// The beginning of a value on one line, without secrets.
fn quoted(value: &str, secrets: &Secrets) -> String {
    // Redacted before it is cut, so that no half of a secret is left at the cut.
    let clean = secrets.redact(value);
    let line = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST_QUOTED) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
