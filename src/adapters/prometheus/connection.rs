//! The block `prometheus` of an environment file.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Deserialize;

use crate::action::{ActionError, ErrorKind, SystemConnection};
use crate::adapters::http::parse_url;
use crate::secret::{REDACTED, Secrets, has_marker};

/// Where Prometheus is.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PrometheusConnection")]
pub(super) struct PrometheusConnection {
    /// `http://host:9090` or `https://…`, with the path behind which the API lies if it has one.
    #[serde(default)]
    pub(super) url: Option<String>,
    /// A bearer token, as a reference to a secret.
    #[serde(default)]
    pub(super) token: Option<String>,
    /// A PEM file with certificate authorities that are trusted beside those of the system.
    #[serde(default)]
    pub(super) ca_file: Option<PathBuf>,
}

impl SystemConnection for PrometheusConnection {
    const KEY: &'static str = "prometheus";
}

/// The address of a server.
pub(super) struct Address {
    /// The URL without a slash at its end, perhaps with the marker of a secret.
    pub(super) base: String,
    /// How people see it: `metrics.example.com:9090`.
    pub(super) shown: String,
}

impl PrometheusConnection {
    /// Checks the block, and gives the server's address.
    pub(super) fn address(&self, secrets: &Secrets) -> Result<Address, ActionError> {
        if self.token.as_deref().is_some_and(|token| !has_marker(token)) {
            return Err(invalid("`token` is no reference to a secret").hint(
                "Write `token: {variable: NAME}` or `token: {file: PATH}` in the environment file.",
            ));
        }
        let written = self.url.as_deref().ok_or_else(|| {
            invalid("no `url` says where it is")
                .hint("Add `connections: {prometheus: {url: …}}` to the environment file.")
        })?;
        let url = parse_url(secrets.reveal(written).expose_secret()).map_err(invalid)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("`url` holds a user or a password")
                .hint("Give the server a token instead: `token: {variable: NAME}`."));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("`url` has a part behind `?` or `#`, which means nothing here"));
        }
        let shown = match (has_marker(written), url.host_str(), url.port()) {
            (true, ..) | (_, None, _) => REDACTED.to_owned(),
            (false, Some(host), Some(port)) => format!("{host}:{port}"),
            (false, Some(host), None) => host.to_owned(),
        };
        Ok(Address { base: written.trim_end_matches('/').to_owned(), shown })
    }
}

fn invalid(problem: impl fmt::Display) -> ActionError {
    ActionError::new(ErrorKind::Invalid, format!("use the connection `prometheus`: {problem}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn address(settings: &Value) -> Result<String, String> {
        let mut secrets = Secrets::default();
        let marker = secrets.insert("hidden", "https://secret.example.com/x".into());
        let text = settings.to_string().replace("HIDDEN", &marker);
        let connection: PrometheusConnection = serde_json::from_str(&text).unwrap();
        let found = connection.address(&secrets);
        found.map(|address| address.shown).map_err(|error| error.message)
    }

    #[test]
    fn addresses_are_read_and_secret_ones_are_not_shown() {
        let good = |url: &str| address(&json!({ "url": url })).unwrap();
        assert_eq!(good("http://metrics.example.com:9090"), "metrics.example.com:9090");
        assert_eq!(good("https://metrics.example.com/prometheus/"), "metrics.example.com");
        assert_eq!(good("http://[::1]:9090"), "[::1]:9090");
        assert_eq!(good("HIDDEN"), "[secret]");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for settings in [
            json!({}),
            json!({"url": "metrics.example.com"}),
            json!({"url": "redis://a"}),
            json!({"url": "http://me:pw@a"}),
            json!({"url": "http://a/?x=1"}),
            json!({"url": "http://a", "token": "in the open"}),
        ] {
            let problem = address(&settings).expect_err("not an address");
            assert!(
                problem.starts_with("use the connection `prometheus`"),
                "{settings}: {problem}"
            );
            assert!(!problem.contains("pw") && !problem.contains("in the open"), "{problem}");
        }
    }
}
