//! The block `redis` of an environment file, and the addresses in it.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Deserialize;
use url::Url;

use crate::action::{ActionError, ErrorKind, SystemConnection};
use crate::secret::{REDACTED, Secrets, has_marker};

/// The port of a URL that names none.
const STANDARD_PORT: u16 = 6379;

/// Where Redis is: one server by its `url`, or a cluster by some of its nodes.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RedisConnection")]
pub(super) struct RedisConnection {
    /// `redis://host:port`, with a database as `/3` behind it, or `rediss://…` for TLS. A server that turns out to be
    /// a node of a cluster stands for the whole cluster.
    #[serde(default)]
    pub(super) url: Option<String>,
    /// Instead of `url`: URLs of some nodes of a cluster. The first that answers names all masters.
    #[serde(default)]
    pub(super) cluster: Vec<String>,
    /// The user of an access control list; `default` without it.
    #[serde(default)]
    pub(super) username: Option<String>,
    /// The password, as a reference to a secret.
    #[serde(default)]
    pub(super) password: Option<String>,
    /// A PEM file with the certificate authorities for `rediss://`, instead of those of the system.
    #[serde(default)]
    pub(super) ca_file: Option<PathBuf>,
}

impl SystemConnection for RedisConnection {
    const KEY: &'static str = "redis";
}

/// The address of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
    pub(super) database: i64,
    /// Whether nobody may see it.
    secret: bool,
}

impl Address {
    /// The address of another server of the same cluster.
    pub(super) fn sibling(&self, host: String, port: u16) -> Self {
        Self { host, port, ..self.clone() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.secret, self.host.contains(':')) {
            (true, _) => f.write_str(REDACTED),
            (false, true) => write!(f, "[{}]:{}", self.host, self.port),
            (false, false) => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl RedisConnection {
    /// The servers to begin with; never none.
    pub(super) fn addresses(&self, secrets: &Secrets) -> Result<Vec<Address>, ActionError> {
        if self.password.as_deref().is_some_and(|password| !has_marker(password)) {
            return Err(invalid("`password` is no reference to a secret").hint(
                "Write `password: {variable: NAME}` or `password: {file: PATH}` in the environment file.",
            ));
        }
        let urls: Vec<&String> = self.url.iter().chain(&self.cluster).collect();
        match (&self.url, self.cluster.as_slice()) {
            (Some(_), [_, ..]) => Err(invalid("`url` and `cluster` exclude each other")),
            (None, []) => Err(invalid("neither `url` nor `cluster` says where it is")
                .hint("Add `connections: {redis: {url: …}}` to the environment file.")),
            _ => urls.into_iter().map(|url| read(url, secrets).map_err(invalid)).collect(),
        }
    }
}

fn invalid(problem: impl fmt::Display) -> ActionError {
    ActionError::new(ErrorKind::Invalid, format!("use the connection `redis`: {problem}"))
}

fn read(written: &str, secrets: &Secrets) -> Result<Address, String> {
    let revealed = secrets.reveal(written);
    // What the parser says could repeat a secret.
    let url = Url::parse(revealed.expose_secret()).map_err(|_| "a URL cannot be read")?;
    let tls = match url.scheme() {
        "redis" => false,
        "rediss" => true,
        _ => return Err("a URL begins neither with `redis://` nor with `rediss://`".to_owned()),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL holds a user or a password; they have keys of their own, `username` \
                    and `password`"
            .to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("a URL has a part behind `?` or `#`, which means nothing here".to_owned());
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("a URL names no host")?;
    let database = match url.path().trim_matches('/') {
        "" => 0,
        number => number.parse::<u16>().map_err(|_| "the path of a URL is no database number")?,
    };
    Ok(Address {
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: url.port().unwrap_or(STANDARD_PORT),
        tls,
        database: database.into(),
        secret: has_marker(written),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn addresses(settings: serde_json::Value) -> Result<Vec<Address>, ActionError> {
        let connection: RedisConnection = serde_json::from_value(settings).unwrap();
        let mut secrets = Secrets::default();
        let _marker = secrets.insert("url", "redis://hidden.example:1/2".into());
        connection.addresses(&secrets)
    }

    #[test]
    fn urls_are_read_with_their_defaults() {
        let found = addresses(json!({"url": "redis://cache.example"})).unwrap();
        assert_eq!((found[0].to_string().as_str(), found[0].tls), ("cache.example:6379", false));
        let found = addresses(json!({"url": "rediss://[::1]:7000/3"})).unwrap();
        assert_eq!((found[0].host.as_str(), found[0].tls, found[0].database), ("::1", true, 3));
        assert_eq!(found[0].to_string(), "[::1]:7000");
        let found = addresses(json!({"cluster": ["redis://a:1", "redis://b:2"]})).unwrap();
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_secret_url_is_used_and_not_shown() {
        let marker = Secrets::default().insert("url", "".into());
        let found = addresses(json!({"url": marker})).unwrap();
        assert_eq!((found[0].host.as_str(), found[0].database), ("hidden.example", 2));
        assert_eq!(found[0].to_string(), REDACTED);
    }

    #[test]
    fn wrong_settings_are_refused_without_repeating_them() {
        for (settings, problem) in [
            (json!({}), "neither"),
            (json!({"url": "redis://a", "cluster": ["redis://b"]}), "exclude"),
            (json!({"url": "http://a"}), "rediss://"),
            (json!({"url": "redis://:hunter2@a"}), "`password`"),
            (json!({"url": "redis://a/hunter2"}), "database"),
            (json!({"url": "redis://a?protocol=hunter2"}), "behind"),
            (json!({"url": "hunter2"}), "cannot be read"),
            (json!({"url": "redis://a", "password": "hunter2"}), "reference"),
        ] {
            let error = addresses(settings.clone()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{settings}");
            assert!(error.message.contains(problem), "{settings}: {error}");
            assert!(!error.message.contains("hunter2"), "{settings}: {error}");
        }
    }
}
