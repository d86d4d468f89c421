//! The block `loadbalancer` under `connections` of an environment file.

use std::net::SocketAddr;
use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::upstream::{check_name, check_server};
use crate::action::{ActionError, ErrorKind, SystemConnection};

/// The load balancer of this environment.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadbalancerConnection {
    /// The nginx that serves it.
    #[serde(default)]
    pub nginx: NginxSettings,
    /// The upstreams that can be switched, by name.
    #[serde(default)]
    pub upstreams: IndexMap<String, UpstreamSettings>,
}

/// How nginx is commanded and observed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NginxSettings {
    /// The program and its arguments, to which `-t` and `-s reload` are appended; `[nginx]` unless given.
    #[serde(default = "default_command")]
    pub command: Vec<String>,
    /// The error log, where nginx writes why it kept the old configuration.
    #[serde(default)]
    pub error_log: Option<PathBuf>,
    /// The file with the master's process id, such as `/run/nginx.pid`. With it, a change is done when the former workers
    /// have stopped accepting; without it, half a second after the first proof. A file without a proof address needs it.
    #[serde(default)]
    pub pid_file: Option<PathBuf>,
}

fn default_command() -> Vec<String> {
    vec!["nginx".to_owned()]
}

impl Default for NginxSettings {
    fn default() -> Self {
        Self { command: default_command(), error_log: None, pid_file: None }
    }
}

/// One upstream with its sides.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamSettings {
    /// The file that defines the upstream and nothing else; nginx includes it inside `http`. It is replaced by a switch.
    pub file: PathBuf,
    /// The servers of each side, as `host:port`.
    pub sides: IndexMap<String, Vec<String>>,
    /// A free address on loopback, where the written configuration answers with its hash.
    pub proof: SocketAddr,
}

impl SystemConnection for LoadbalancerConnection {
    const KEY: &'static str = "loadbalancer";
}

impl LoadbalancerConnection {
    /// Checks what the schema cannot say.
    pub(super) fn check(&self) -> Result<(), ActionError> {
        let invalid = |problem: String| {
            ActionError::new(
                ErrorKind::Invalid,
                format!("use the connection `loadbalancer`: {problem}"),
            )
        };
        if self.nginx.command.first().is_none_or(String::is_empty) {
            return Err(invalid("`nginx.command` is empty".to_owned()));
        }
        for (name, upstream) in &self.upstreams {
            check_name(name).map_err(invalid)?;
            check_proof(upstream.proof).map_err(invalid)?;
            for (side, servers) in &upstream.sides {
                check_name(side).map_err(invalid)?;
                if servers.is_empty() {
                    return Err(invalid(format!("side `{side}` of `{name}` has no servers")));
                }
                servers.iter().try_for_each(|server| check_server(server)).map_err(invalid)?;
            }
        }
        Ok(())
    }

    /// The upstream of this name.
    pub(super) fn upstream(&self, name: &str) -> Result<&UpstreamSettings, ActionError> {
        self.upstreams.get(name).ok_or_else(|| {
            ActionError::new(ErrorKind::NotFound, format!("find upstream `{name}`"))
                .hint(known("upstreams", self.upstreams.keys()))
        })
    }
}

impl UpstreamSettings {
    /// The servers of a side of the upstream `name`.
    pub(super) fn side(&self, name: &str, side: &str) -> Result<&[String], ActionError> {
        self.sides.get(side).map(Vec::as_slice).ok_or_else(|| {
            ActionError::new(
                ErrorKind::NotFound,
                format!("find side `{side}` of upstream `{name}`"),
            )
            .hint(known("sides", self.sides.keys()))
        })
    }
}

/// The proof answers to whoever can reach it, so it stays on loopback.
pub(super) fn check_proof(address: SocketAddr) -> Result<(), String> {
    if address.ip().is_loopback() && address.port() != 0 {
        Ok(())
    } else {
        Err(format!("the proof address {address} is not a port on loopback"))
    }
}

fn known<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => format!("The connection `loadbalancer` of this environment has no {what}."),
        _ => format!("This environment has the {what} {}.", names.join(", ")),
    }
}
