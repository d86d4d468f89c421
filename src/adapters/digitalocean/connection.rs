//! The block `digitalocean` of an environment file.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::action::{ActionError, ErrorKind, SystemConnection};
use crate::adapters::http::{is_loopback, parse_url};
use crate::secret::has_marker;

/// Where the public API is (<https://docs.digitalocean.com/reference/api/>).
const PUBLIC: &str = "https://api.digitalocean.com";

/// The account.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DigitalOceanConnection")]
pub(in crate::adapters) struct DigitalOceanConnection {
    /// A personal access token, as a reference to a secret. It needs the scopes `app:read` and `app:update`, `domain:read` and
    /// `domain:update` for records, and `genai:read`, `genai:update`, `genai:create` and `genai:delete` for the routes of agents.
    #[serde(default)]
    token: Option<String>,
    /// The API's address, by default `https://api.digitalocean.com`. `http://` is for this machine alone.
    #[serde(default)]
    url: Option<String>,
    /// A PEM file with certificate authorities that are trusted beside those of the system.
    #[serde(default)]
    ca_file: Option<PathBuf>,
}

impl SystemConnection for DigitalOceanConnection {
    const KEY: &'static str = "digitalocean";
}

/// A checked block.
#[derive(Debug)]
pub(super) struct Account {
    /// The API's address without a slash at its end.
    pub(super) base: Url,
    /// The marker of the token.
    pub(super) token: String,
    pub(super) ca_file: Option<PathBuf>,
}

impl DigitalOceanConnection {
    /// Checks the block; contacts nothing.
    pub(super) fn account(self) -> Result<Account, ActionError> {
        let token = self.token.filter(|token| has_marker(token)).ok_or_else(|| {
            invalid("`token` is no reference to a secret").hint(
                "Write `token: {variable: NAME}` or `token: {file: PATH}` in the environment file.",
            )
        })?;
        let written = self.url.as_deref().unwrap_or(PUBLIC);
        if has_marker(written) {
            return Err(invalid("`url` is a secret, and addresses are shown"));
        }
        let base = parse_url(written.trim_end_matches('/')).map_err(invalid)?;
        if !base.username().is_empty() || base.password().is_some() {
            return Err(invalid("`url` holds a user or a password"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(invalid("`url` has a part behind `?` or `#`, which means nothing here"));
        }
        if base.scheme() != "https" && !is_loopback(&base) {
            return Err(invalid("`url` would send the token in the open")
                .hint("Write `https://…`; `http://` is for an address of this machine."));
        }
        Ok(Account { base, token, ca_file: self.ca_file })
    }
}

fn invalid(problem: impl fmt::Display) -> ActionError {
    ActionError::new(ErrorKind::Invalid, format!("use the connection `digitalocean`: {problem}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::secret::Secrets;

    fn base(url: Option<&str>) -> Result<String, String> {
        let token = Secrets::default().insert("token", "t".into());
        let connection: DigitalOceanConnection =
            serde_json::from_value(json!({"token": token, "url": url})).unwrap();
        connection.account().map(|found| found.base.to_string()).map_err(|error| error.message)
    }

    #[test]
    fn the_token_is_a_reference_and_travels_hidden() {
        assert_eq!(base(None).unwrap(), "https://api.digitalocean.com/");
        assert_eq!(base(Some("http://127.0.0.1:1/")).unwrap(), "http://127.0.0.1:1/");
        assert_eq!(
            base(Some("https://proxy.example.com/do")).unwrap(),
            "https://proxy.example.com/do"
        );
        for bad in [
            "http://api.digitalocean.com",
            "https://u:p@api.digitalocean.com",
            "https://api.digitalocean.com/?x=1",
            "ftp://127.0.0.1",
            "",
        ] {
            assert!(base(Some(bad)).is_err(), "{bad}");
        }
        let open: DigitalOceanConnection = serde_json::from_value(json!({"token": "t"})).unwrap();
        assert_eq!(open.account().unwrap_err().kind, ErrorKind::Invalid);
    }
}
