//! The block `http` under `connections` of an environment file.

use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::action::SystemConnection;
use crate::adapters::dns::NameServer;

/// How web services of this environment are reached. Every key is optional, as is the whole block.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpConnection {
    /// A PEM file with certificate authorities that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Headers by host (`api.example.com` or `api.example.com:8443`), sent to that host alone, so that
    /// credentials never reach another one: `{api.example.com: {Authorization: …}}`.
    #[serde(default)]
    pub headers: IndexMap<String, IndexMap<String, String>>,
    /// Name servers that are asked for the addresses of hosts, `ADDRESS` or `ADDRESS:PORT`, instead of the system's resolver, for every
    /// connection anew: a check behind a change of DNS then sees it at once. What they resolve is connected to without a proxy.
    #[serde(default)]
    pub(in crate::adapters) nameservers: Vec<NameServer>,
    /// The proxy for everything but loopback, instead of that of `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
    pub proxy: Option<String>,
}

impl SystemConnection for HttpConnection {
    const KEY: &'static str = "http";
}

impl HttpConnection {
    /// The headers for a URL's host, with and without its port.
    pub(super) fn headers_for(&self, url: &url::Url) -> impl Iterator<Item = (&String, &String)> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let authority = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
        self.headers
            .iter()
            .filter(move |(name, _)| **name == host || **name == authority)
            .flat_map(|(_, headers)| headers)
    }
}
