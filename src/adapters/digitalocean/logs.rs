//! `digitalocean.logs`: the end of an app's log, fetched before its containers are gone, and for evidence.
//!
//! The API gives addresses (`apps_get_logs_response`), and hosts of its own give the text. Those addresses carry their own permission, so the
//! token is never sent there; only `https://` is spoken, and `http://` to this machine alone. A live log never ends: what comes in a few seconds is taken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::app::Target;
use super::client::{DigitalOcean, segment};
use super::find::{self, Named};
use crate::action::{
    ActionError, Connections, Description, ErrorKind, Evidence, Gathering, Piece, Probe,
    ResolveContext, StepContext, VerbArgs, VerbKind, Verdict, Work,
};
use crate::adapters::http::{
    Client, Content, HttpConnection, Message, Method, Resolved, is_loopback, parse_url,
};

/// The most that is read of one file of a log, in bytes: its end.
const MOST_BYTES: usize = 4 << 20;
/// The most that one step keeps of it, in bytes.
const MOST_KEPT: usize = 32 << 10;
/// The most that is quoted of one line, in characters.
const MOST_QUOTED: usize = 300;
/// The most and the usual number of lines that are kept.
const MOST_LINES: usize = 1000;
const LINES: usize = 100;
/// The most archived files of one log that are fetched, the last ones.
const MOST_FILES: usize = 8;
/// How long a live log is listened to.
const LISTENING: Duration = Duration::from_secs(5);
/// How many apps are asked at the same time for evidence.
const AT_ONCE: usize = 4;

/// The logs of an app.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// What the build has written.
    Build,
    /// What the deployment has written.
    Deploy,
    /// What the containers write.
    #[default]
    Run,
    /// What containers wrote that have crashed since.
    RunRestarted,
}

impl Kind {
    /// The word of the API.
    fn parameter(self) -> &'static str {
        match self {
            Self::Build => "BUILD",
            Self::Deploy => "DEPLOY",
            Self::Run => "RUN",
            Self::RunRestarted => "RUN_RESTARTED",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Deploy => "deploy",
            Self::Run => "run",
            Self::RunRestarted => "run-restarted",
        }
    }
}

/// Fetches the end of the logs of apps into the run's record, at most 32 KiB of each. What runs in an app that is archived or deployed anew takes its log with it, so
/// this comes before. A log that cannot be had is an error; `optional: true` goes on without.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DigitalOceanLogs")]
pub(super) struct Logs {
    #[serde(flatten)]
    apps: Named,
    /// Which log.
    #[serde(rename = "type", default)]
    kind: Kind,
    /// Of this component alone; of all unless given.
    #[serde(default)]
    component: Option<String>,
    /// Of this deployment; of the one that serves unless given.
    #[serde(default)]
    deployment: Option<String>,
    /// How many lines are kept, from the end.
    #[serde(default = "lines")]
    lines: usize,
    /// Texts that none of these lines may hold, such as `ERROR`.
    #[serde(default)]
    without: Vec<String>,
}

fn lines() -> usize {
    LINES
}

/// One log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    target: Target,
    kind: Kind,
    component: Option<String>,
    deployment: Option<String>,
    lines: usize,
    #[serde(default)]
    without: Vec<String>,
}

#[async_trait]
impl VerbArgs for Logs {
    const NAME: &'static str = "digitalocean.logs";
    const SUMMARY: &'static str = "fetch the end of the logs of apps into the run's record";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Item = Log;

    fn validate(&self) -> Result<(), String> {
        self.apps.check()?;
        if !(1..=MOST_LINES).contains(&self.lines) {
            return Err(format!("`lines` is a number from 1 to {MOST_LINES}"));
        }
        if self.without.iter().any(String::is_empty) {
            return Err("every line holds an empty text of `without`".to_owned());
        }
        Ok(())
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Log)>, ActionError> {
        let found = self.apps.find(cx).await?;
        let Self { kind, component, deployment, lines, without, .. } = self;
        let log = |target| {
            let (component, deployment) = (component.clone(), deployment.clone());
            Log { target, kind, component, deployment, lines, without: without.clone() }
        };
        Ok(found.into_iter().map(|(name, _, target)| (name, log(target))).collect())
    }

    fn make(item: Log, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Probe(Box::new(Fetching { connections: cx.connections.clone(), item })))
    }
}

struct Fetching {
    connections: Arc<Connections>,
    item: Log,
}

#[async_trait]
impl Probe for Fetching {
    fn describe(&self) -> Description {
        let Log { target, kind, lines, without, .. } = &self.item;
        let unwanted = match without.as_slice() {
            [] => String::new(),
            texts => format!(", without {}", texts.join(", ")),
        };
        let kind = kind.word();
        Description::question(format!(
            "the last {lines} lines of the {kind} log of {target}{unwanted}"
        ))
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        let account = DigitalOcean::of(&self.connections)?;
        let text = self.item.fetch(&account, cx).await?;
        let log = format!("{} log of {}", self.item.kind.word(), self.item.target);
        let unwanted = |line: &&str| self.item.without.iter().any(|word| line.contains(word));
        // All of these lines are judged, also those that are too long for the record.
        let asked = || text.lines().rev().take(self.item.lines);
        if let Some(line) = asked().find(unwanted) {
            let (count, all) = (asked().filter(unwanted).count(), asked().count());
            let line: String = line.chars().take(MOST_QUOTED).collect();
            return Ok(Verdict::not_yet(format!("{count} of {all} lines of the {log}: {line}")));
        }
        let last = last_lines(asked());
        let summary = match last.len() {
            0 if text.is_empty() => format!("the {log} is empty"),
            count => format!("{count} lines of the {log}"),
        };
        Ok(Verdict::Holds { evidence: Evidence::with(summary, json!({ "lines": last })) })
    }
}

/// The lines in their order, of which no more is kept than a record bears. They come from the end.
fn last_lines<'a>(lines: impl Iterator<Item = &'a str>) -> VecDeque<String> {
    let (mut kept, mut size) = (VecDeque::new(), 0);
    for line in lines {
        size += line.len() + 1;
        if size > MOST_KEPT {
            break;
        }
        kept.push_front(line.to_owned());
    }
    kept
}

/// Where a log is. The examples in the API's description are of another form than its schema, so neither is required: an answer without both is told.
#[derive(Debug, Default, Deserialize)]
struct Places {
    #[serde(default)]
    live_url: Option<String>,
    #[serde(default)]
    historic_urls: Option<Vec<String>>,
}

impl Log {
    fn path(&self) -> String {
        let mut path = self.target.path();
        for (part, name) in [("deployments", &self.deployment), ("components", &self.component)] {
            if let Some(name) = name {
                path.push_str(&format!("/{part}/{}", segment(name)));
            }
        }
        format!("{path}/logs?type={}&follow=false", self.kind.parameter())
    }

    /// The text, without secrets of this program. Of a long one it is the end.
    async fn fetch(&self, account: &DigitalOcean, cx: &StepContext) -> Result<String, ActionError> {
        let doing = format!("find the {} log of {}", self.kind.word(), self.target);
        let places: Places = account.get(cx, &doing, &self.path()).await?;
        let hosts =
            Client::new(HttpConnection::default(), Arc::default(), "{digitalocean: {ca_file: …}}")
                .reading(MOST_BYTES);
        let mut text = Vec::new();
        let files = places.historic_urls.as_deref().unwrap_or_default();
        for url in &files[files.len().saturating_sub(MOST_FILES)..] {
            text.extend(self.read(&hosts, cx, url, false).await?);
        }
        let live = places.live_url.filter(|url| !url.is_empty());
        match live.filter(|_| text.is_empty()) {
            // A live log by a WebSocket is for those who watch.
            Some(url) if url.starts_with("ws") => {
                return Err(self.unread(&doing, "it is offered as a stream by WebSocket alone"));
            }
            Some(url) => text = self.read(&hosts, cx, &url, true).await?,
            None if places.historic_urls.is_none() && text.is_empty() => {
                return Err(self.unread(&doing, "the answer names neither files nor a live log"));
            }
            None => {}
        }
        Ok(account.secrets().redact(&String::from_utf8_lossy(&text)))
    }

    /// The error of a log that cannot be had. That it is empty would be another thing.
    fn unread(&self, doing: &str, why: &str) -> ActionError {
        let id = &self.target.id;
        ActionError::new(ErrorKind::Failed, format!("{doing}: {why}")).hint(format!(
            "`doctl apps logs {id} --type {}` may show it.",
            self.kind.parameter().to_lowercase()
        ))
    }

    /// Asks a host of logs, with the address alone.
    async fn read(
        &self,
        hosts: &Client,
        cx: &StepContext,
        url: &str,
        live: bool,
    ) -> Result<Vec<u8>, ActionError> {
        let fail = |why: &str| {
            let text = format!("fetch the {} log of {}: {why}", self.kind.word(), self.target);
            ActionError::new(ErrorKind::Failed, text)
        };
        let place = parse_url(url).map_err(|problem| fail(&problem))?;
        if place.scheme() != "https" && !is_loopback(&place) {
            return Err(fail("its address is no `https://` address"));
        }
        let message = Message {
            method: Method::Get,
            url: place.into(),
            headers: IndexMap::new(),
            content: Content::Empty,
            resolved: Resolved::new(),
            fresh: true,
        };
        let enough = live.then(|| cx.deadline().min(Instant::now() + LISTENING));
        let answered = hosts.tail(&message, enough, cx.deadline(), cx.cancelled()).await;
        // The address is a permission, so its text is not shown; nor whether it was sent, since nothing is changed there.
        let answer = answered.map_err(|error| {
            let kind =
                if error.kind == ErrorKind::Cancelled { error.kind } else { ErrorKind::Failed };
            let mut told =
                fail("its host gave no whole answer").retryable(kind == ErrorKind::Failed);
            told.kind = kind;
            told
        })?;
        match answer.status {
            200 => Ok(whole_lines(answer.body)),
            status => Err(fail(&format!("its host answered {status}"))
                .retryable(matches!(status, 429 | 500..))),
        }
    }
}

/// Without what is left of the line at which a long text was cut: it may hold the half of a secret.
fn whole_lines(mut text: Vec<u8>) -> Vec<u8> {
    if text.len() >= MOST_BYTES
        && let Some(end) = text.iter().position(|byte| *byte == b'\n')
    {
        drop(text.drain(..=end));
    }
    text
}

/// Whose logs, for evidence.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gathered {
    /// Apps, by their exact names.
    apps: Vec<String>,
    /// Which logs; what the containers write unless given.
    #[serde(default)]
    types: Vec<Kind>,
}

/// The logs of apps.
pub(super) async fn gather(
    connections: &Connections,
    gathering: &Gathering,
) -> Result<Vec<Piece>, ActionError> {
    let Gathered { apps, mut types } = gathering.settings()?;
    if types.is_empty() {
        types.push(Kind::Run);
    }
    let account = DigitalOcean::of(connections)?;
    let cancel = CancellationToken::new();
    let cx = StepContext::new(gathering.deadline, cancel, std::env::temp_dir(), "evidence");
    let all = find::all(&account, &cx).await?;
    let mut pieces = Vec::new();
    let mut logs = Vec::new();
    for name in apps {
        match find::one_of("app", &name, &all, |app| app.spec.name(), |app| app.id.clone()) {
            Ok(app) => {
                let target = Target { id: app.id.clone(), name };
                let log = |kind: &Kind| {
                    let (target, kind) = (target.clone(), *kind);
                    Log {
                        target,
                        kind,
                        component: None,
                        deployment: None,
                        lines: MOST_LINES,
                        without: Vec::new(),
                    }
                };
                logs.extend(types.iter().map(log));
            }
            Err(error) => pieces.push(Piece::missing(format!("{name}.log"), error)),
        }
    }
    let ask = async |log: Log| {
        let name = format!("{}-{}.log", log.target.name, log.kind.word());
        match log.fetch(&account, &cx).await {
            Ok(text) => gathering.piece(name, text.into_bytes()),
            Err(error) => Piece::missing(name, error),
        }
    };
    pieces.extend(stream::iter(logs).map(ask).buffered(AT_ONCE).collect::<Vec<_>>().await);
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_log_the_end_is_kept() {
        let last = |text: &str| last_lines(text.lines().rev());
        assert_eq!(last("line 1\nline 2"), ["line 1", "line 2"]);
        let wide = format!("{}\n{}\n", "x".repeat(MOST_KEPT), "y".repeat(100));
        assert_eq!(last(&wide), ["y".repeat(100)]);
        assert!(last("").is_empty());
    }

    #[test]
    fn addresses_name_what_is_asked_for() {
        let log = |component: Option<&str>, deployment: Option<&str>| Log {
            target: Target { id: "1".into(), name: "web".into() },
            kind: Kind::RunRestarted,
            component: component.map(str::to_owned),
            deployment: deployment.map(str::to_owned),
            lines: 1,
            without: Vec::new(),
        };
        assert_eq!(log(None, None).path(), "/v2/apps/1/logs?type=RUN_RESTARTED&follow=false");
        let all = log(Some("a/../b"), Some("d1")).path();
        assert_eq!(
            all,
            "/v2/apps/1/deployments/d1/components/a%2F..%2Fb/logs?type=RUN_RESTARTED&follow=false"
        );
    }
}
