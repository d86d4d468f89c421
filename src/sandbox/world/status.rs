//! What became of a world, from its own side: the engine's state, answers over HTTP, files, messages, effects.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::account::{self, AccountStatus};
use super::cluster::{self, DeploymentStatus};
use super::info::WorldInfo;
use super::open::Inhabitants;
use crate::sandbox::SandboxError;
use crate::sandbox::client::ask;
use crate::sandbox::ledger::Effects;
use crate::sandbox::postgres::DatabaseStatus;

/// Containers of a project by state: `running`, `exited`, and of the running ones `healthy`.
pub type States = BTreeMap<String, usize>;

/// A world at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Containers by Compose project.
    pub containers: BTreeMap<String, States>,
    /// Containers by image.
    pub images: BTreeMap<String, usize>,
    /// What a user gets at `/health` through the load balancer.
    pub load_balancer: Answer,
    /// What the blue service answers.
    pub blue: Answer,
    /// What the green service answers.
    pub green: Answer,
    /// What the orchestrators answer: the old one, the new one, and the front of the new one.
    #[serde(default)]
    pub orchestrators: BTreeMap<String, Answer>,
    /// What the proof server of the load balancer answers.
    pub proof: Option<String>,
    /// The beginning of the SHA-256 of each file, by path below the root. What only logs or runs is left out.
    pub files: BTreeMap<String, String>,
    /// Keys in Redis, by the first two parts of their names.
    pub redis: BTreeMap<String, usize>,
    /// Series of the metrics with their values.
    #[serde(default)]
    pub metrics: Vec<String>,
    /// Deployments of the cluster.
    #[serde(default)]
    pub deployments: Vec<DeploymentStatus>,
    /// The DigitalOcean account.
    #[serde(default)]
    pub account: AccountStatus,
    /// The register of agents.
    pub database: DatabaseStatus,
    /// Texts in the chat, oldest first.
    pub chat: Vec<String>,
    /// Alerts of the pager, oldest first.
    #[serde(default)]
    pub pages: Vec<String>,
    /// Text messages, oldest first.
    #[serde(default)]
    pub texts: Vec<String>,
    /// Subjects of mails, oldest first.
    #[serde(default)]
    pub mails: Vec<String>,
    /// Entries of the tracker, oldest first.
    #[serde(default)]
    pub tracker: Vec<Value>,
    /// Faults that hold.
    pub faults: Vec<String>,
    /// How often each effect happened since the world was put into its first state.
    pub effects: Effects,
    /// The sum of these.
    pub effects_total: u64,
}

/// An answer at `/health`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Answer {
    /// HTTP status; 0 when none came.
    pub http: u16,
    /// `ok` or `degraded`.
    pub status: Option<String>,
    /// `blue` or `green`.
    pub colour: Option<String>,
    /// `1.0.0` or `2.0.0`.
    pub version: Option<String>,
    /// Agents at work.
    pub agents: Option<u64>,
}

impl Inhabitants {
    /// Looks at everything.
    pub async fn status(&self) -> Result<Status, SandboxError> {
        let info = self.info();
        let (mut containers, mut images) = (BTreeMap::<String, States>::new(), BTreeMap::new());
        for container in self.engine().containers() {
            let project = container.config.label("com.docker.compose.project").unwrap_or("none");
            let states = containers.entry(project.to_owned()).or_default();
            *states.entry(container.state.status.word().to_owned()).or_default() += 1;
            if container.serves() {
                *states.entry("healthy".to_owned()).or_default() += 1;
            }
            if container.is_running() {
                *images.entry(container.config.image.unwrap_or_default()).or_default() += 1;
            }
        }
        let effects = self.ledger().effects();
        Ok(Status {
            containers,
            images,
            load_balancer: health(WorldInfo::host_of(&info.load_balancer)).await,
            blue: health(&info.blue).await,
            green: health(&info.green).await,
            orchestrators: orchestrators(info).await,
            proof: proof(info).await,
            files: digests(&info.root)?,
            redis: self.redis().groups(),
            metrics: self.prometheus().shown(),
            deployments: cluster::status(self.cluster()),
            account: account::status(self.account()),
            database: self.database().await,
            chat: self.chat().messages().into_iter().map(|message| message.text).collect(),
            pages: self
                .messengers()
                .pager
                .alerts()
                .into_iter()
                .map(|alert| format!("{}: {}", alert.status, alert.summary))
                .collect(),
            texts: self
                .messengers()
                .texts
                .messages()
                .into_iter()
                .map(|message| format!("{}: {}", message.to, message.body))
                .collect(),
            mails: self
                .messengers()
                .mail
                .mails()
                .into_iter()
                .map(|mail| format!("{}: {}", mail.to.join(", "), mail.subject))
                .collect(),
            tracker: self.messengers().tracker.entries().into_iter().map(|e| e.body).collect(),
            faults: self.faults().list(),
            effects_total: effects.values().sum(),
            effects,
        })
    }
}

async fn health(address: &str) -> Answer {
    let Ok((status, body)) = ask(Method::GET, address, "/health", String::new()).await else {
        return Answer::default();
    };
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    Answer {
        http: status.as_u16(),
        status: text("status"),
        colour: text("colour"),
        version: text("version"),
        agents: body.get("agents").and_then(Value::as_u64),
    }
}

async fn orchestrators(info: &WorldInfo) -> BTreeMap<String, Answer> {
    let mut answers = BTreeMap::new();
    for (name, address) in [
        ("old", &info.orchestrator_old),
        ("new", &info.orchestrator_new),
        ("front", &info.orchestrator_front),
    ] {
        answers.insert(name.to_owned(), health(address).await);
    }
    answers
}

async fn proof(info: &WorldInfo) -> Option<String> {
    let answer = ask(Method::GET, WorldInfo::host_of(&info.proof), "/", String::new()).await;
    answer.ok().map(|(_, body)| body)
}

fn digests(root: &Path) -> Result<BTreeMap<String, String>, SandboxError> {
    let mut digests = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(SandboxError::file("read", &folder))? {
            let path = entry.map_err(SandboxError::file("read", &folder))?.path();
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            if matches!(name.as_str(), "run" | "var") {
                continue;
            }
            let kind = fs::symlink_metadata(&path).map_err(SandboxError::file("look at", &path))?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let content = fs::read(&path).map_err(SandboxError::file("read", &path))?;
                let mut digest = crate::digest::sha256(&content);
                digest.truncate(16);
                digests.insert(name, digest);
            }
        }
    }
    Ok(digests)
}
