//! The block `kubernetes` of an environment file.
//!
//! No cluster and no namespace is ever assumed: the current context of somebody's kubeconfig is whatever they looked at last.

use std::fmt;
use std::path::PathBuf;

use hyper::Uri;
use kube::Config;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use crate::action::{ActionError, ErrorKind, SystemConnection};
use crate::secret::{Secrets, has_marker};

/// Which cluster, and which namespace of it. Either a `context` of a kubeconfig, or a `server` with a token.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KubernetesConnection")]
pub(super) struct KubernetesConnection {
    /// The kubeconfig; by default the files in `KUBECONFIG`, then `~/.kube/config`.
    #[serde(default)]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig. It must be named: the file's current one is never used.
    #[serde(default)]
    context: Option<String>,
    /// The namespace of all workloads that do not name their own.
    #[serde(default)]
    namespace: Option<String>,
    /// Without a kubeconfig: the API server's address, `https://host:6443`. `http://` is for this machine alone.
    #[serde(default)]
    server: Option<String>,
    /// The bearer token for `server`, as a reference to a secret.
    #[serde(default)]
    token: Option<String>,
    /// A PEM file with the certificate authorities that are trusted for `server`; by default those of the system.
    #[serde(default)]
    ca_file: Option<PathBuf>,
}

impl SystemConnection for KubernetesConnection {
    const KEY: &'static str = "kubernetes";
}

/// Where the API server is, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// By a context of a kubeconfig.
    Context { kubeconfig: Option<PathBuf>, context: String },
    /// By its address.
    Server { server: Uri, token: String, ca_file: Option<PathBuf> },
}

/// A checked block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cluster {
    place: Place,
    /// The namespace of workloads that do not name their own.
    pub(super) namespace: String,
}

impl KubernetesConnection {
    /// Checks the block; contacts nothing and reads no file.
    pub(super) fn cluster(self) -> Result<Cluster, ActionError> {
        let namespace = self.namespace.ok_or_else(|| {
            invalid("no `namespace` says where its workloads are")
                .hint("Add `connections: {kubernetes: {namespace: …}}` to the environment file.")
        })?;
        let place = match (self.context, self.server) {
            (Some(_), Some(_)) => return Err(invalid("`context` and `server` exclude each other")),
            (None, None) => {
                return Err(invalid("neither `context` nor `server` says which cluster it is")
                    .hint("Add `context: NAME`; `kubectl config get-contexts` lists them. The current one is never assumed."));
            }
            (Some(_), None) if self.token.is_some() || self.ca_file.is_some() => {
                return Err(invalid(
                    "`token` and `ca_file` go with `server`; a context has its own",
                ));
            }
            (Some(context), None) => Place::Context { kubeconfig: self.kubeconfig, context },
            (None, Some(_)) if self.kubeconfig.is_some() => {
                return Err(invalid("`kubeconfig` goes with `context`, not with `server`"));
            }
            (None, Some(server)) => {
                let token = self.token.filter(|token| has_marker(token)).ok_or_else(|| {
                    invalid("`token` is no reference to a secret").hint(
                        "Write `token: {variable: NAME}` or `token: {file: PATH}` in the environment file.",
                    )
                })?;
                Place::Server { server: address(&server)?, token, ca_file: self.ca_file }
            }
        };
        Ok(Cluster { place, namespace })
    }
}

fn address(server: &str) -> Result<Uri, ActionError> {
    let uri: Uri =
        server.parse().map_err(|error| invalid("`server` is not an address").caused_by(&error))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let here = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if here => Ok(uri),
        Some("http") => Err(invalid("`server` would send its token in the open")
            .hint("Write `https://…`; `http://` is for an address of this machine.")),
        _ => Err(invalid("`server` is no `https://` address")),
    }
}

impl Cluster {
    /// How the server is reached. Reads the kubeconfig; may wait for the disk.
    pub(super) async fn config(&self, secrets: &Secrets) -> Result<Config, ActionError> {
        let mut config = match &self.place {
            Place::Context { kubeconfig, context } => {
                let read = match kubeconfig {
                    Some(path) => Kubeconfig::read_from(path),
                    None => Kubeconfig::read(),
                };
                let file = read.map_err(|error| unreadable(&error))?;
                let options =
                    KubeConfigOptions { context: Some(context.clone()), ..Default::default() };
                let known: Vec<String> =
                    file.contexts.iter().map(|known| known.name.clone()).collect();
                let found = Config::from_custom_kubeconfig(file, &options).await;
                found.map_err(|error| no_context(context, &known, &error))?
            }
            Place::Server { server, token, ca_file } => {
                let mut config = Config::new(server.clone());
                config.root_cert_file.clone_from(ca_file);
                let token = secrets.reveal(token).expose_secret().trim().to_owned();
                config.auth_info = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
                config
            }
        };
        config.default_namespace.clone_from(&self.namespace);
        Ok(config)
    }

    /// What is named in the environment: `context prod-eu`, or the server's host.
    pub(super) fn shown(&self) -> String {
        match &self.place {
            Place::Context { context, .. } => format!("context {context}"),
            Place::Server { server, .. } => {
                server.authority().map_or_else(String::new, ToString::to_string)
            }
        }
    }
}

fn unreadable(error: &KubeconfigError) -> ActionError {
    invalid("the kubeconfig cannot be read")
        .caused_by(error)
        .hint("Name the file: `connections: {kubernetes: {kubeconfig: PATH}}`, or set KUBECONFIG.")
}

fn no_context(context: &str, known: &[String], error: &KubeconfigError) -> ActionError {
    if known.iter().any(|known| known == context) {
        return invalid(format!("the context `{context}` cannot be used")).caused_by(error);
    }
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    invalid(format!("the kubeconfig has no context `{context}`")).hint(format!("It has: {known}."))
}

fn invalid(problem: impl fmt::Display) -> ActionError {
    ActionError::new(ErrorKind::Invalid, format!("use the connection `kubernetes`: {problem}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cluster(settings: &Value) -> Result<Cluster, ActionError> {
        let marker = Secrets::default().insert("token", "hidden".into());
        let text = settings.to_string().replace("TOKEN", &marker);
        serde_json::from_str::<KubernetesConnection>(&text).unwrap().cluster()
    }

    #[test]
    fn a_cluster_and_a_namespace_are_named() {
        let context = cluster(&json!({"context": "prod-eu", "namespace": "ollama"})).unwrap();
        assert_eq!(
            (context.shown().as_str(), context.namespace.as_str()),
            ("context prod-eu", "ollama")
        );
        let server = "https://kubernetes.example.com:6443";
        let server =
            cluster(&json!({"server": server, "token": "TOKEN", "namespace": "a"})).unwrap();
        assert_eq!(server.shown(), "kubernetes.example.com:6443");
        for local in ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"] {
            let _reached =
                cluster(&json!({"server": local, "token": "TOKEN", "namespace": "a"})).unwrap();
        }
    }

    #[test]
    fn what_leaves_room_for_a_mistake_is_refused() {
        for (settings, why) in [
            (json!({}), "namespace"),
            (json!({"namespace": "a"}), "neither"),
            (json!({"context": "a"}), "namespace"),
            (json!({"context": "a", "server": "https://b", "namespace": "a"}), "exclude"),
            (json!({"context": "a", "token": "TOKEN", "namespace": "a"}), "go with `server`"),
            (
                json!({"server": "https://b", "kubeconfig": "/c", "token": "TOKEN", "namespace": "a"}),
                "goes with `context`",
            ),
            (json!({"server": "https://b", "namespace": "a"}), "reference"),
            (json!({"server": "https://b", "token": "in the open", "namespace": "a"}), "reference"),
            (json!({"server": "http://b", "token": "TOKEN", "namespace": "a"}), "in the open"),
            (json!({"server": "b:6443", "token": "TOKEN", "namespace": "a"}), "https"),
        ] {
            let error = cluster(&settings).expect_err("not a cluster");
            assert!(error.message.contains(why), "{settings}: {}", error.message);
        }
    }

    #[tokio::test]
    async fn the_current_context_is_never_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(
            &path,
            json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "wrong",
                "clusters": [{"name": "c", "cluster": {"server": "https://right.example.com"}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "right", "context": {"cluster": "c", "user": "u", "namespace": "other"}}],
            })
            .to_string(),
        )
        .unwrap();
        let block =
            |context| json!({"kubeconfig": path, "context": context, "namespace": "ollama"});
        let config = cluster(&block("right")).unwrap().config(&Secrets::default()).await.unwrap();
        assert_eq!(config.cluster_url.host(), Some("right.example.com"));
        assert_eq!(config.default_namespace, "ollama");
        let error = cluster(&block("wrong")).unwrap().config(&Secrets::default()).await;
        assert_eq!(error.expect_err("no such context").hints, ["It has: right."]);
    }
}
