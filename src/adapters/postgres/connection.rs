//! The block `postgres` of an environment file.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::action::SystemConnection;

/// Where the database is: `url`, or its parts.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PostgresConnection {
    /// The address, `postgresql://user@host:5432/database`; as a whole a reference, or without a password.
    #[serde(default)]
    pub(super) url: Option<String>,
    /// The server's host name or address, or the folder of its Unix socket (beginning with `/`); `localhost` unless given.
    #[serde(default)]
    pub(super) host: Option<String>,
    /// The server's port, 5432 unless given.
    #[serde(default)]
    pub(super) port: Option<u16>,
    /// The database; named like the user unless given.
    #[serde(default)]
    pub(super) database: Option<String>,
    /// The role to work as; the user of this process unless given.
    #[serde(default)]
    pub(super) user: Option<String>,
    /// Its password, as a reference: `{variable: NAME}`.
    #[serde(default)]
    pub(super) password: Option<String>,
    /// Whether the connection is encrypted. Certificates are always verified. `require`, unless the server is on this machine.
    #[serde(default)]
    pub(super) sslmode: Option<SslMode>,
    /// A PEM file with the certificate authorities to trust instead of the system's.
    #[serde(default)]
    pub(super) ca: Option<PathBuf>,
}

/// Whether a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "PostgresSslMode")]
pub(super) enum SslMode {
    /// Not encrypted.
    Disable,
    /// Encrypted, with a verified certificate.
    Require,
}

impl SystemConnection for PostgresConnection {
    const KEY: &'static str = "postgres";
}
