//! A request as a runbook writes it, with secrets as markers, and its way to the wire.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use indexmap::IndexMap;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::action::{ActionError, ErrorKind};
use crate::secret::{Secrets, hide_markers};

/// A request method (RFC 9110 section 9.3, RFC 5789).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Reads.
    #[default]
    Get,
    /// Reads the headers.
    Head,
    /// Asks what is possible.
    Options,
    /// Sets the state of the resource.
    Put,
    /// Removes the resource.
    Delete,
    /// Has an effect of its own with every request.
    Post,
    /// Changes parts of the resource.
    Patch,
}

impl Method {
    /// Whether twice is the same as once (RFC 9110 section 9.2.2).
    pub(super) fn is_idempotent(self) -> bool {
        !matches!(self, Self::Post | Self::Patch)
    }

    /// The method's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Post => "POST",
            Self::Patch => "PATCH",
        }
    }

    fn on_the_wire(self) -> reqwest::Method {
        match self {
            Self::Get => reqwest::Method::GET,
            Self::Head => reqwest::Method::HEAD,
            Self::Options => reqwest::Method::OPTIONS,
            Self::Put => reqwest::Method::PUT,
            Self::Delete => reqwest::Method::DELETE,
            Self::Post => reqwest::Method::POST,
            Self::Patch => reqwest::Method::PATCH,
        }
    }
}

/// What a request carries.
#[derive(Debug, Clone, Default)]
pub(in crate::adapters) enum Content {
    /// Nothing.
    #[default]
    Empty,
    /// A JSON document.
    Json(Value),
    /// Text, with the content type that the headers say.
    Text(String),
    /// Text that came from a system and goes back as it is: what looks like a marker in it is none. The headers say its type.
    Verbatim(String),
}

impl Content {
    /// The content of a request with the keys `json` and `body`, of which one at most may be given.
    pub(super) fn of(json: Option<Value>, body: Option<String>) -> Result<Self, String> {
        match (json, body) {
            (Some(_), Some(_)) => Err("`json` and `body` exclude each other".to_owned()),
            (Some(json), None) => Ok(Self::Json(json)),
            (None, Some(text)) => Ok(Self::Text(text)),
            (None, None) => Ok(Self::Empty),
        }
    }
}

/// Addresses to connect to instead of those that the names resolve to.
pub(in crate::adapters) type Resolved = BTreeMap<String, SocketAddr>;

/// One request.
#[derive(Debug, Clone)]
pub(in crate::adapters) struct Message {
    pub(in crate::adapters) method: Method,
    pub(in crate::adapters) url: String,
    pub(in crate::adapters) headers: IndexMap<String, String>,
    pub(in crate::adapters) content: Content,
    pub(in crate::adapters) resolved: Resolved,
    /// Uses a connection of its own: a pooled one would ask the same process behind a load balancer
    /// again, and may be closed by the server in the instant in which it is reused.
    pub(in crate::adapters) fresh: bool,
}

impl Message {
    /// The request line for people: `PUT https://api.example.com/flags/green`.
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.method.name(), hide_markers(&self.url))
    }

    /// The URL with its secrets.
    pub(super) fn target(&self, secrets: &Secrets) -> Result<Url, ActionError> {
        parse_url(secrets.reveal(&self.url).expose_secret())
            .map_err(|problem| self.invalid(&problem))
    }

    /// The request with its secrets. They stand in headers that are marked as sensitive, so that no log shows them.
    pub(super) fn request(
        &self,
        url: Url,
        secrets: &Secrets,
    ) -> Result<reqwest::Request, ActionError> {
        let mut request = reqwest::Request::new(self.method.on_the_wire(), url);
        for (name, value) in &self.headers {
            let (name, value) = header(name, secrets.reveal(value).expose_secret())
                .map_err(|problem| self.invalid(&problem))?;
            let _former = request.headers_mut().insert(name, value);
        }
        match &self.content {
            Content::Empty => {}
            Content::Text(text) => {
                *request.body_mut() = Some(secrets.reveal(text).expose_secret().to_owned().into());
            }
            Content::Verbatim(text) => *request.body_mut() = Some(text.clone().into()),
            Content::Json(value) => {
                *request.body_mut() = Some(reveal_in(value, secrets).to_string().into());
                let _present = default_header(
                    request.headers_mut(),
                    CONTENT_TYPE,
                    HeaderValue::from_static("application/json"),
                );
            }
        }
        Ok(request)
    }

    /// An error about this request as it is written.
    pub(super) fn invalid(&self, problem: &str) -> ActionError {
        ActionError::new(ErrorKind::Invalid, format!("send {}: {problem}", self.line()))
    }
}

fn default_header(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) -> bool {
    let absent = !headers.contains_key(&name);
    if absent {
        let _none = headers.insert(name, value);
    }
    absent
}

/// A header, marked as sensitive. The problem never repeats the value.
pub(in crate::adapters) fn header(
    name: &str,
    value: &str,
) -> Result<(HeaderName, HeaderValue), String> {
    let header = name
        .parse::<HeaderName>()
        .map_err(|_| format!("`{}` is not a header name", hide_markers(name)))?;
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        format!("the value of header `{name}` has a line break or control character")
    })?;
    value.set_sensitive(true);
    Ok((header, value))
}

/// Replaces markers in the strings of a document, so that a secret cannot break out of its quotes.
pub(super) fn reveal_in(value: &Value, secrets: &Secrets) -> Value {
    match value {
        Value::String(text) => secrets.reveal(text).expose_secret().into(),
        Value::Array(items) => items.iter().map(|item| reveal_in(item, secrets)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, field)| (name.clone(), reveal_in(field, secrets))).collect()
        }
        plain => plain.clone(),
    }
}

/// Checks a URL; the problem never repeats it, since it may hold a secret.
pub(in crate::adapters) fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("the url cannot be read: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("the url's scheme is `{}`, not http or https", url.scheme()));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("the url has no host".to_owned());
    }
    Ok(url)
}

/// Reads `{host: address}` for a URL. The address may bring a port if the URL has none.
pub(super) fn resolve_map(
    resolve: &IndexMap<String, String>,
    url: &str,
) -> Result<Resolved, String> {
    // A URL with a secret in it is looked at when it is sent.
    let url = if crate::secret::has_marker(url) { None } else { Some(parse_url(url)?) };
    let mut resolved = Resolved::new();
    for (host, address) in resolve {
        let (ip, port) = match (address.parse::<IpAddr>(), address.parse::<SocketAddr>()) {
            (Ok(ip), _) => (ip, 0),
            (_, Ok(address)) => (address.ip(), address.port()),
            _ => {
                return Err(format!(
                    "`resolve` needs an IP address for `{host}`, and `{address}` is none"
                ));
            }
        };
        if let Some(url) = &url {
            if url.host_str() != Some(host.as_str()) {
                return Err(format!("`resolve` names `{host}`, which is not the url's host"));
            }
            if port != 0 && url.port().is_some_and(|explicit| explicit != port) {
                return Err(format!("`resolve` and the url name different ports for `{host}`"));
            }
        }
        let _former = resolved.insert(host.clone(), SocketAddr::new(ip, port));
    }
    Ok(resolved)
}
