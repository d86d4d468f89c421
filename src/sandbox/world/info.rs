//! Where everything in a world is, as `world.json` says it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sandbox::{SandboxError, store};

/// The addresses of a world. The file that holds them is private: the chat's URL is a secret like a real one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldInfo {
    /// The Docker Engine, `unix:///…/docker.sock`.
    pub docker: String,
    /// What users reach, `http://127.0.0.1:PORT`.
    pub load_balancer: String,
    /// The server that proves which configuration is live, `127.0.0.1:PORT`.
    pub proof: String,
    /// The same for the service discovery's configuration, `127.0.0.1:PORT`.
    pub discovery_proof: String,
    /// The blue service, `127.0.0.1:PORT`.
    pub blue: String,
    /// The green service, `127.0.0.1:PORT`.
    pub green: String,
    /// The chat's webhook.
    pub chat: String,
    /// The cache, `redis://127.0.0.1:PORT`; empty in the file of a world from before there was one.
    #[serde(default)]
    pub redis: String,
    /// The metrics, `http://127.0.0.1:PORT`; empty in the file of a world from before there were any.
    #[serde(default)]
    pub prometheus: String,
    /// The cluster's API, `http://127.0.0.1:PORT`; empty in the file of a world from before there was one.
    #[serde(default)]
    pub kubernetes: String,
    /// The file with the token for it.
    #[serde(default)]
    pub kubernetes_token: PathBuf,
    /// The API of the DigitalOcean account, `http://127.0.0.1:PORT`; empty in the file of a world from before there was one.
    #[serde(default)]
    pub digitalocean: String,
    /// The file with the token for it.
    #[serde(default)]
    pub digitalocean_token: PathBuf,
    /// The pager, `http://127.0.0.1:PORT`; this and what follows is empty in the file of a world from before there was one.
    #[serde(default)]
    pub pager: String,
    /// The text messages, `http://127.0.0.1:PORT`.
    #[serde(default)]
    pub sms: String,
    /// The account of the text messages.
    #[serde(default)]
    pub sms_account: String,
    /// The mail server, `127.0.0.1:PORT`.
    #[serde(default)]
    pub mail: String,
    /// The tracker's webhook.
    #[serde(default)]
    pub tracker: String,
    /// What all of them are opened with: the pager's routing key, the auth token of the text messages, the password of the mail server.
    #[serde(default)]
    pub key: String,
    /// What the orchestrator's users reach, by the name that leads to the old one or the front of the new one.
    #[serde(default)]
    pub orchestrator: String,
    /// The old orchestrator, `127.0.0.2:PORT`.
    #[serde(default)]
    pub orchestrator_old: String,
    /// The load balancer before the new orchestrator, `127.0.0.3:PORT`.
    #[serde(default)]
    pub orchestrator_front: String,
    /// The new orchestrator itself, `127.0.0.1:PORT`.
    #[serde(default)]
    pub orchestrator_new: String,
    /// The server that proves which configuration of that load balancer is live, `127.0.0.1:PORT`.
    #[serde(default)]
    pub orchestrator_proof: String,
    /// The control endpoint, `http://127.0.0.1:PORT`.
    pub control: String,
    /// The folder of PostgreSQL's Unix socket; none when there is no PostgreSQL.
    #[serde(default)]
    pub postgres: Option<PathBuf>,
    /// Sentences about what this world has not, and what can be done.
    #[serde(default)]
    pub lacks: Vec<String>,
    /// The root of the world's files.
    pub root: PathBuf,
    /// The load balancer's main configuration file.
    pub nginx_conf: PathBuf,
    /// The program whose `sandbox nginx` is the load balancer's command line.
    pub program: PathBuf,
    /// The process that runs the world.
    pub pid: u32,
    /// How many agents each colour has.
    pub agents: usize,
}

impl WorldInfo {
    /// The file in a world's folder.
    pub fn path(dir: &Path) -> PathBuf {
        dir.join("world.json")
    }

    /// Reads the file of a world.
    pub fn read(dir: &Path) -> Result<Self, SandboxError> {
        store::read_json(&Self::path(dir))
    }

    /// The host and port of one of its URLs.
    pub fn host_of(url: &str) -> &str {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        rest.split('/').next().unwrap_or(rest)
    }
}
