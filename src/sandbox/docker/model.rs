//! What the engine knows about containers, images and networks.
//!
//! Configurations keep the API's own names, and whatever the double does not interpret travels along in `other`,
//! so that a client gets back what it sent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Labels by name.
pub type Labels = BTreeMap<String, String>;

/// The label that makes a container behave badly; several words are separated by commas.
pub const BEHAVIOUR: &str = "sandbox.behaviour";

/// The part of a configuration that images and containers share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// Set by the engine to the short id when the client names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// User, with group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `NAME=value` each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// Command, or arguments of the entry point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Entry point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The image as the client named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Where the command starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// Health check: `Test`, `Interval`, `Timeout`, `Retries`, `StartPeriod`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Map<String, Value>>,
    /// Signal of a stop; SIGTERM without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Seconds between that signal and SIGKILL; ten without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Exposed ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<Map<String, Value>>,
    /// Anonymous volumes, by mount point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Map<String, Value>>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Config {
    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.as_ref()?.get(name).map(String::as_str)
    }

    /// Whether the label [`BEHAVIOUR`] has this word.
    pub fn behaves(&self, word: &str) -> bool {
        self.label(BEHAVIOUR)
            .is_some_and(|words| words.split(',').any(|given| given.trim() == word))
    }

    /// Whether there is a health check to run.
    pub fn has_healthcheck(&self) -> bool {
        let test = self.healthcheck.as_ref().and_then(|check| check.get("Test")?.as_array());
        test.and_then(|test| test.first()?.as_str()).is_some_and(|kind| kind != "NONE")
    }
}

/// What the health check has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// No verdict yet.
    Starting,
    /// It passes.
    Healthy,
    /// It fails.
    Unhealthy,
}

impl Health {
    /// The word of the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// Where a container is in its life, as the engine reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started.
    Created,
    /// Started.
    Running,
    /// Ended.
    Exited,
}

impl Status {
    /// The word of the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Exited => "exited",
        }
    }
}

/// The engine's zero time.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

/// State of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// As reported.
    pub status: Status,
    /// Whether the process is there. It is gone well before the engine reports the end, since the engine first
    /// takes the container's network down.
    pub process: bool,
    /// How it ended.
    pub exit_code: i64,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub finished_at: String,
    /// With a health check only.
    pub health: Option<Health>,
}

/// A container's place in a network.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Endpoint {
    /// Aliases, the short id included.
    pub aliases: Vec<String>,
    /// What the client asked for, as it asked.
    pub settings: Map<String, Value>,
    /// Number of the address in the network.
    pub address: u32,
}

/// A container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Without the leading slash.
    pub name: String,
    /// RFC 3339.
    pub created: String,
    /// `sha256:…`.
    pub image_id: String,
    /// Merged with the image's defaults.
    pub config: Config,
    /// As the client sent it.
    pub host_config: Map<String, Value>,
    /// By network name.
    pub networks: BTreeMap<String, Endpoint>,
    /// As reported under `Mounts`.
    pub mounts: Vec<Value>,
    /// State.
    pub state: State,
}

impl Container {
    /// The first twelve digits of the id.
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// `project/service` of a Compose container, else its name: the key in the ledger of effects.
    pub fn key(&self) -> String {
        let part = |name| self.config.label(name);
        match (part("com.docker.compose.project"), part("com.docker.compose.service")) {
            (Some(project), Some(service)) => format!("{project}/{service}"),
            _ => self.name.clone(),
        }
    }

    /// Whether the engine reports it as running.
    pub fn is_running(&self) -> bool {
        self.state.status == Status::Running
    }

    /// Whether it does its work: its process is there and its health check, if any, passes.
    pub fn serves(&self) -> bool {
        self.state.process && self.state.health.is_none_or(|health| health == Health::Healthy)
    }
}

/// An image that is present locally.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Image {
    /// `sha256:…`.
    pub id: String,
    /// `name:tag` each.
    pub tags: Vec<String>,
    /// `name@sha256:…` each.
    pub digests: Vec<String>,
    /// RFC 3339.
    pub created: String,
    /// The defaults of its containers.
    pub config: Config,
}

/// A network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// RFC 3339.
    pub created: String,
    /// Labels.
    pub labels: Labels,
    /// The second number of its addresses, `172.N.0.0/16`.
    pub subnet: u8,
}
