//! The block `docker` of an environment file.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::action::SystemConnection;

/// Where the Docker Engine is. Without settings, it is found as the `docker` command finds it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DockerConnection {
    /// The engine's address: `unix:///var/run/docker.sock`, `tcp://host:2376`, `https://host:2376`.
    #[serde(default)]
    pub(super) host: Option<String>,
    /// The name of a Docker context; `host` comes first.
    #[serde(default)]
    pub(super) context: Option<String>,
    /// The files for TLS in both directions; needs a `tcp://` or `https://` address.
    #[serde(default)]
    pub(super) tls: Option<TlsFiles>,
    /// The folder of the Docker client's settings; by default `DOCKER_CONFIG`, then `~/.docker`.
    #[serde(default)]
    pub(super) config_dir: Option<PathBuf>,
}

/// PEM files for TLS in both directions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DockerTlsFiles")]
pub(super) struct TlsFiles {
    /// The certificate authority that signed the engine's certificate.
    pub(super) ca: PathBuf,
    /// Our certificate.
    pub(super) cert: PathBuf,
    /// The key of our certificate.
    pub(super) key: PathBuf,
}

impl TlsFiles {
    /// The names that the Docker client uses in a folder of certificates.
    pub(super) fn in_folder(folder: &std::path::Path) -> Self {
        Self {
            ca: folder.join("ca.pem"),
            cert: folder.join("cert.pem"),
            key: folder.join("key.pem"),
        }
    }
}

impl SystemConnection for DockerConnection {
    const KEY: &'static str = "docker";
}
