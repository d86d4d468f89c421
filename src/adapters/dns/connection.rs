//! The block `dns` of an environment file.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::DomainName;
use crate::action::{ActionError, ErrorKind, SystemConnection};
use crate::adapters::digitalocean::DigitalOceanConnection;
use crate::secret::has_marker;

/// The port of name servers (RFC 1035 section 4.2).
const DNS: u16 = 53;

/// Where the records are kept, and who is asked about them. One of `rfc2136`, `digitalocean` and `cloudflare` is what records are
/// changed through.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DnsConnection")]
pub(super) struct DnsConnection {
    /// A server that takes dynamic updates (RFC 2136), such as BIND, Knot or PowerDNS.
    #[serde(default)]
    pub(super) rfc2136: Option<Rfc2136>,
    /// DigitalOcean's domains. The token needs the scopes `domain:read`, `domain:create`, `domain:update` and `domain:delete`.
    #[serde(default)]
    pub(super) digitalocean: Option<DigitalOceanConnection>,
    /// Cloudflare's zones.
    #[serde(default)]
    pub(super) cloudflare: Option<Cloudflare>,
    /// The authoritative servers, as `ADDRESS`, `ADDRESS:PORT` or by name. Without them they are found by the zone's NS records.
    #[serde(default)]
    pub(super) nameservers: Vec<Server>,
    /// Recursive servers, whose caches are asked how far a change has come. The first that answers also finds the
    /// authoritative servers; without any, those of `/etc/resolv.conf` do.
    #[serde(default)]
    pub(super) resolvers: Vec<Server>,
}

/// A server that takes dynamic updates.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rfc2136 {
    /// The primary server, `ADDRESS`, `ADDRESS:PORT` or its name.
    pub(super) server: Server,
    /// The zone; the server is asked for it otherwise.
    #[serde(default)]
    pub(super) zone: Option<DomainName>,
    /// The key that signs updates (TSIG, RFC 8945).
    pub(super) key: Key,
}

/// A TSIG key, as the server's configuration has it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    /// Its name.
    pub(super) name: DomainName,
    /// Its algorithm; `hmac-sha256` unless given.
    #[serde(default)]
    pub(super) algorithm: Algorithm,
    /// Its secret in base64, as a reference.
    pub(super) secret: String,
}

/// The algorithm of a TSIG key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub(super) enum Algorithm {
    /// HMAC with SHA-256.
    #[default]
    #[serde(rename = "hmac-sha256")]
    Sha256,
    /// HMAC with SHA-384.
    #[serde(rename = "hmac-sha384")]
    Sha384,
    /// HMAC with SHA-512.
    #[serde(rename = "hmac-sha512")]
    Sha512,
}

/// Cloudflare's zones.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Cloudflare {
    /// A token with `Zone:Read` and `DNS:Edit`, as a reference.
    pub(super) token: String,
    /// The API's address; `https://api.cloudflare.com/client/v4` unless given.
    #[serde(default)]
    pub(super) url: Option<String>,
    /// The zone's name; without it the token's zones are searched for the one that the record lies in.
    #[serde(default)]
    pub(super) zone: Option<DomainName>,
}

impl SystemConnection for DnsConnection {
    const KEY: &'static str = "dns";
}

impl DnsConnection {
    /// Checks what the schema cannot say.
    pub(super) fn check(&self) -> Result<(), ActionError> {
        let chosen =
            [self.rfc2136.is_some(), self.digitalocean.is_some(), self.cloudflare.is_some()];
        if chosen.iter().filter(|chosen| **chosen).count() > 1 {
            return Err(invalid("it names several places where records are kept")
                .hint("Keep one of `rfc2136`, `digitalocean` and `cloudflare`."));
        }
        let secrets = [
            ("rfc2136.key.secret", self.rfc2136.as_ref().map(|given| &given.key.secret)),
            ("cloudflare.token", self.cloudflare.as_ref().map(|given| &given.token)),
        ];
        for (key, secret) in secrets {
            if secret.is_some_and(|secret| !has_marker(secret)) {
                return Err(invalid(format!("`{key}` is no reference to a secret")).hint(
                    "Write `{variable: NAME}` or `{file: PATH}` there in the environment file.",
                ));
            }
        }
        Ok(())
    }
}

pub(super) fn invalid(problem: impl fmt::Display) -> ActionError {
    ActionError::new(ErrorKind::Invalid, format!("use the connection `dns`: {problem}"))
}

/// A server by address or name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(in crate::adapters) struct Server {
    host: String,
    port: u16,
}

impl JsonSchema for Server {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NameServer".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "minLength": 1,
            "description": "A name server: 192.0.2.53, 192.0.2.53:5353, [2001:db8::53]:5353 or ns1.example.net; port 53 unless given",
        })
    }
}

impl TryFrom<String> for Server {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { host: address.ip().to_string(), port: address.port() });
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { host: address.to_string(), port: DNS });
        }
        let (host, port) = match text.split_once(':') {
            None => (text.as_str(), DNS),
            Some((host, port)) => {
                let port = port.parse().ok().filter(|port| *port > 0);
                (host, port.ok_or_else(|| format!("`{text}` has no port behind the `:`"))?)
            }
        };
        Ok(Self { host: DomainName::parse(host)?.as_str().to_owned(), port })
    }
}

impl From<Server> for String {
    fn from(server: Server) -> Self {
        server.to_string()
    }
}

impl From<SocketAddr> for Server {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.port, self.host.contains(':')) {
            (DNS, _) => f.write_str(&self.host),
            (port, true) => write!(f, "[{}]:{port}", self.host),
            (port, false) => write!(f, "{}:{port}", self.host),
        }
    }
}

impl Server {
    /// A server of this name or address at the usual port.
    pub(super) fn usual(host: &str) -> Self {
        Self { host: host.to_owned(), port: DNS }
    }

    /// Its address, if it is one already.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.port))
    }

    /// The name or address, without the port.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl JsonSchema for DomainName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DomainName".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": 254,
            "description": "An absolute domain name, with or without the dot at its end: agent.example.net",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn servers_are_read_with_and_without_port() {
        for (written, shown) in [
            ("192.0.2.53", "192.0.2.53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("2001:db8::53", "2001:db8::53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
            ("NS1.example.net.", "ns1.example.net"),
            ("ns1.example.net:54", "ns1.example.net:54"),
        ] {
            assert_eq!(Server::try_from(written.to_owned()).unwrap().to_string(), shown);
        }
        for wrong in ["", "ns1:", "ns1:0", "ns1:x", "a b", "http://ns1"] {
            assert!(Server::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    fn checked(settings: &Value) -> Result<(), ActionError> {
        let marker = crate::secret::Secrets::default().insert("s", "x".into());
        let text = settings.to_string().replace("SECRET", &marker);
        serde_json::from_str::<DnsConnection>(&text).unwrap().check()
    }

    #[test]
    fn one_provider_and_no_secret_in_the_open() {
        let updates =
            |secret: &str| json!({"server": "192.0.2.1", "key": {"name": "k", "secret": secret}});
        assert!(checked(&json!({"nameservers": ["192.0.2.1"]})).is_ok());
        assert!(checked(&json!({"rfc2136": updates("SECRET")})).is_ok());
        let open = checked(&json!({"rfc2136": updates("c2VjcmV0")})).unwrap_err();
        assert!(open.message.contains("`rfc2136.key.secret`"), "{open}");
        let two = json!({"rfc2136": updates("SECRET"), "cloudflare": {"token": "SECRET"}});
        assert!(checked(&two).unwrap_err().message.contains("several"));
    }
}
