//! Where the engine is: the settings, Docker's environment variables and contexts become one address.
//!
//! The order is that of the `docker` command, with the environment file before it: `host`, `context`, `DOCKER_HOST`,
//! `DOCKER_CONTEXT`, `currentContext` in `config.json`, the default socket. Contexts live in files named after the SHA-256 of
//! the context's name (`docker/cli`, `cli/context/store`); the client library does not read them.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::connection::{DockerConnection, TlsFiles};
use crate::action::{ActionError, ErrorKind};
use crate::digest::sha256;

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// An engine's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// A socket on this machine.
    Unix(PathBuf),
    /// `host:port` without protection.
    Plain(String),
    /// `host:port` with TLS in both directions.
    Tls(String, TlsFiles),
}

/// What the machine says about Docker, apart from the environment file.
pub(super) struct Surroundings<'a> {
    /// Reads an environment variable; empty ones count as unset.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    /// Whether a socket is there.
    pub(super) exists: &'a dyn Fn(&Path) -> bool,
}

/// The variables and files of this process.
pub(super) fn of_this_process(settings: &DockerConnection) -> Result<Endpoint, ActionError> {
    let around = Surroundings {
        variable: &|name| std::env::var(name).ok().filter(|value| !value.is_empty()),
        exists: &Path::exists,
    };
    find(settings, &around)
}

/// Finds the engine.
pub(super) fn find(
    settings: &DockerConnection,
    around: &Surroundings<'_>,
) -> Result<Endpoint, ActionError> {
    if let Some(host) = &settings.host {
        return address(host, settings.tls.clone());
    }
    if let Some(name) = &settings.context {
        return context(name, settings, around);
    }
    if let Some(host) = (around.variable)("DOCKER_HOST") {
        return address(&host, settings.tls.clone().or_else(|| variable_tls(settings, around)));
    }
    if let Some(name) = (around.variable)("DOCKER_CONTEXT") {
        return context(&name, settings, around);
    }
    match current_context(settings, around)? {
        Some(name) => context(&name, settings, around),
        None => Ok(default_socket(around)),
    }
}

/// The rootless engine's socket counts when the usual one is absent.
fn default_socket(around: &Surroundings<'_>) -> Endpoint {
    let usual = PathBuf::from(DEFAULT_SOCKET);
    let rootless =
        (around.variable)("XDG_RUNTIME_DIR").map(|folder| Path::new(&folder).join("docker.sock"));
    match rootless {
        Some(rootless) if !(around.exists)(&usual) && (around.exists)(&rootless) => {
            Endpoint::Unix(rootless)
        }
        _ => Endpoint::Unix(usual),
    }
}

/// The ports of `tcp://` addresses that name none, as the `docker` command has them; registered with IANA as `docker` and `docker-s`.
const PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

/// `host:port`, also of an address in brackets.
fn with_port(place: &str, usual: u16) -> String {
    let behind_brackets = place.rsplit(']').next().unwrap_or(place);
    if behind_brackets.contains(':') { place.to_owned() } else { format!("{place}:{usual}") }
}

fn address(host: &str, tls: Option<TlsFiles>) -> Result<Endpoint, ActionError> {
    let (scheme, rest) = host.split_once("://").ok_or_else(|| {
        invalid(format!("use `{host}` as the engine's address: it has no scheme"))
            .hint("Write `unix:///path/to/docker.sock` or `tcp://host:port`.")
    })?;
    let rest = rest.trim_end_matches('/');
    match (scheme, tls) {
        _ if rest.is_empty() => Err(invalid(format!("use `{host}`: nothing follows the scheme"))),
        ("unix", None) => Ok(Endpoint::Unix(PathBuf::from(rest))),
        ("unix" | "http", Some(_)) => {
            Err(invalid(format!("use TLS with `{host}`: `{scheme}` has none"))
                .hint("Write `tcp://host:2376`, or remove `tls`."))
        }
        ("tcp", None) => Ok(Endpoint::Plain(with_port(rest, PORT))),
        ("tcp", Some(files)) => Ok(Endpoint::Tls(with_port(rest, TLS_PORT), files)),
        ("http", None) => Ok(Endpoint::Plain(rest.to_owned())),
        ("https", Some(files)) => Ok(Endpoint::Tls(rest.to_owned(), files)),
        ("https", None) => Err(invalid(format!("use `{host}` without certificates"))
            .hint("Add `tls: {ca: …, cert: …, key: …}` to `connections: {docker: …}`.")),
        ("ssh", _) => Err(invalid(format!("use `{host}`: addresses over SSH are not supported"))
            .hint(
                "Forward the socket, for instance `ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock USER@HOST`, and set `host: unix:///tmp/docker.sock`.",
            )),
        _ => Err(invalid(format!("use `{host}`: the scheme `{scheme}` is unknown"))
            .hint("Write `unix:///path/to/docker.sock` or `tcp://host:port`.")),
    }
}

/// `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH`, which belong to `DOCKER_HOST`.
fn variable_tls(settings: &DockerConnection, around: &Surroundings<'_>) -> Option<TlsFiles> {
    (around.variable)("DOCKER_TLS_VERIFY")?;
    let folder = (around.variable)("DOCKER_CERT_PATH")
        .map(PathBuf::from)
        .or_else(|| config_dir(settings, around))?;
    Some(TlsFiles::in_folder(&folder))
}

fn config_dir(settings: &DockerConnection, around: &Surroundings<'_>) -> Option<PathBuf> {
    settings
        .config_dir
        .clone()
        .or_else(|| (around.variable)("DOCKER_CONFIG").map(PathBuf::from))
        .or_else(|| (around.variable)("HOME").map(|home| Path::new(&home).join(".docker")))
}

/// The part of the Docker client's `config.json` that matters here.
#[derive(Deserialize)]
struct ClientConfig {
    #[serde(default, rename = "currentContext")]
    current_context: Option<String>,
}

fn current_context(
    settings: &DockerConnection,
    around: &Surroundings<'_>,
) -> Result<Option<String>, ActionError> {
    let Some(path) = config_dir(settings, around).map(|folder| folder.join("config.json")) else {
        return Ok(None);
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(invalid(format!("read {}", path.display())).caused_by(&error));
        }
    };
    let config: ClientConfig = serde_json::from_str(&text)
        .map_err(|error| invalid(format!("read {}", path.display())).caused_by(&error))?;
    Ok(config.current_context.filter(|name| !name.is_empty()))
}

/// A context's `meta.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContextFile {
    endpoints: ContextEndpoints,
}

#[derive(Deserialize)]
struct ContextEndpoints {
    docker: ContextEndpoint,
}

#[derive(Deserialize)]
struct ContextEndpoint {
    #[serde(rename = "Host")]
    host: String,
    #[serde(default, rename = "SkipTLSVerify")]
    skip_verification: bool,
}

fn context(
    name: &str,
    settings: &DockerConnection,
    around: &Surroundings<'_>,
) -> Result<Endpoint, ActionError> {
    if name == "default" {
        return match (around.variable)("DOCKER_HOST") {
            Some(host) => {
                address(&host, settings.tls.clone().or_else(|| variable_tls(settings, around)))
            }
            None => Ok(default_socket(around)),
        };
    }
    let folder = config_dir(settings, around)
        .ok_or_else(|| invalid(format!("find the Docker context `{name}`: HOME is not set")))?
        .join("contexts");
    let id = sha256(name);
    let path = folder.join("meta").join(&id).join("meta.json");
    let text = std::fs::read_to_string(&path).map_err(|error| {
        invalid(format!("find the Docker context `{name}`"))
            .caused_by(&error)
            .hint("`docker context ls` shows the contexts of this machine.")
    })?;
    let file: ContextFile = serde_json::from_str(&text).map_err(|error| {
        invalid(format!("read the Docker context `{name}` in {}", path.display())).caused_by(&error)
    })?;
    if file.endpoints.docker.skip_verification {
        return Err(invalid(format!(
            "use the Docker context `{name}`: it asks not to verify the engine's certificate"
        ))
        .hint("Recreate the context without `skip-tls-verify`."));
    }
    let certificates = folder.join("tls").join(&id).join("docker");
    let stored = certificates.join("ca.pem").exists();
    let tls = settings.tls.clone().or_else(|| stored.then(|| TlsFiles::in_folder(&certificates)));
    address(&file.endpoints.docker.host, tls)
}

fn invalid(message: impl Into<String>) -> ActionError {
    ActionError::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// The SHA-256 of `staging`, as `docker context create staging` names its folder.
    const STAGING: &str = "e919a75364398a449f860aeadddc57fa0502145a4e63959ddb33c417a48dc0da";

    fn found(
        settings: &DockerConnection,
        variables: &[(&str, &str)],
        sockets: &[&str],
    ) -> Result<Endpoint, ActionError> {
        let variables: HashMap<&str, &str> = variables.iter().copied().collect();
        let around = Surroundings {
            variable: &|name| variables.get(name).map(|value| (*value).to_owned()),
            exists: &|path| sockets.iter().any(|socket| Path::new(socket) == path),
        };
        find(settings, &around)
    }

    fn unix(path: &str) -> Endpoint {
        Endpoint::Unix(PathBuf::from(path))
    }

    fn config_with_context(host: &str, certificates: bool) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let meta = folder.path().join("contexts/meta").join(STAGING);
        std::fs::create_dir_all(&meta).unwrap();
        let text = serde_json::json!({
            "Name": "staging", "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": false}}
        });
        std::fs::write(meta.join("meta.json"), text.to_string()).unwrap();
        std::fs::write(folder.path().join("config.json"), r#"{"currentContext":"staging"}"#)
            .unwrap();
        if certificates {
            let tls = folder.path().join("contexts/tls").join(STAGING).join("docker");
            std::fs::create_dir_all(&tls).unwrap();
            std::fs::write(tls.join("ca.pem"), "").unwrap();
        }
        folder
    }

    #[test]
    fn the_settings_come_before_everything_else() {
        let settings = DockerConnection {
            host: Some("unix:///run/blue.sock".into()),
            context: Some("absent".into()),
            ..DockerConnection::default()
        };
        let variables = [("DOCKER_HOST", "tcp://other:1"), ("DOCKER_CONTEXT", "absent")];
        assert_eq!(found(&settings, &variables, &[]).unwrap(), unix("/run/blue.sock"));
    }

    #[test]
    fn each_source_is_used_when_those_before_it_are_absent() {
        let folder = config_with_context("tcp://staging:2375", false);
        let home = folder.path().to_str().unwrap();
        let named = DockerConnection { context: Some("staging".into()), ..Default::default() };
        let nothing = DockerConnection::default();
        let config = ("DOCKER_CONFIG", home);
        let staging = Endpoint::Plain("staging:2375".into());

        let from_settings = found(&named, &[config, ("DOCKER_HOST", "tcp://other:1")], &[]);
        assert_eq!(from_settings.unwrap(), staging);
        let from_host = found(&nothing, &[config, ("DOCKER_HOST", "tcp://other:1")], &[]);
        assert_eq!(from_host.unwrap(), Endpoint::Plain("other:1".into()));
        let from_current = found(&nothing, &[config], &[]);
        assert_eq!(from_current.unwrap(), staging);
        let from_variable = found(&nothing, &[config, ("DOCKER_CONTEXT", "default")], &[]);
        assert_eq!(from_variable.unwrap(), unix(DEFAULT_SOCKET));
    }

    #[test]
    fn an_address_without_a_port_gets_the_one_of_the_docker_command() {
        let of = |host: &str| address(host, None).unwrap();
        assert_eq!(of("tcp://10.0.0.5"), Endpoint::Plain("10.0.0.5:2375".into()));
        assert_eq!(of("tcp://10.0.0.5:1"), Endpoint::Plain("10.0.0.5:1".into()));
        assert_eq!(of("tcp://[::1]"), Endpoint::Plain("[::1]:2375".into()));
        assert_eq!(of("tcp://[::1]:1"), Endpoint::Plain("[::1]:1".into()));
        let files = TlsFiles::in_folder(Path::new("/certificates"));
        let secure = address("tcp://engine", Some(files.clone())).unwrap();
        assert_eq!(secure, Endpoint::Tls("engine:2376".into(), files));
    }

    #[test]
    fn the_rootless_socket_is_used_when_it_is_the_only_one() {
        let nothing = DockerConnection::default();
        let runtime = [("XDG_RUNTIME_DIR", "/run/user/7")];
        let rootless = "/run/user/7/docker.sock";
        assert_eq!(found(&nothing, &runtime, &[rootless]).unwrap(), unix(rootless));
        let both = found(&nothing, &runtime, &[rootless, DEFAULT_SOCKET]).unwrap();
        assert_eq!(both, unix(DEFAULT_SOCKET));
    }

    #[test]
    fn certificates_come_from_the_context_or_from_the_variables() {
        let folder = config_with_context("tcp://staging:2376", true);
        let home = folder.path().to_str().unwrap();
        let nothing = DockerConnection::default();
        let stored = folder.path().join("contexts/tls").join(STAGING).join("docker");
        assert_eq!(
            found(&nothing, &[("DOCKER_CONFIG", home)], &[]).unwrap(),
            Endpoint::Tls("staging:2376".into(), TlsFiles::in_folder(&stored))
        );
        let variables = [
            ("DOCKER_HOST", "tcp://other:2376"),
            ("DOCKER_TLS_VERIFY", "1"),
            ("DOCKER_CERT_PATH", "/certs"),
        ];
        assert_eq!(
            found(&nothing, &variables, &[]).unwrap(),
            Endpoint::Tls("other:2376".into(), TlsFiles::in_folder(Path::new("/certs")))
        );
    }

    #[test]
    fn addresses_that_cannot_work_are_refused_with_a_way_out() {
        let cases = [
            ("ssh://root@host", "over SSH"),
            ("npipe:////./pipe/docker_engine", "unknown"),
            ("https://host:2376", "without certificates"),
            ("/var/run/docker.sock", "no scheme"),
            ("unix://", "nothing follows"),
        ];
        for (host, reason) in cases {
            let settings = DockerConnection { host: Some(host.into()), ..Default::default() };
            let error = found(&settings, &[], &[]).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{host}");
            assert!(error.message.contains(reason), "{host}: {}", error.message);
        }
        let ssh = DockerConnection { host: Some("ssh://host".into()), ..Default::default() };
        let error = found(&ssh, &[], &[]).unwrap_err();
        assert!(error.hints[0].contains("ssh -nNT -L"), "{:?}", error.hints);
    }

    #[test]
    fn an_unknown_context_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let settings = DockerConnection {
            context: Some("nowhere".into()),
            config_dir: Some(folder.path().to_owned()),
            ..Default::default()
        };
        let error = found(&settings, &[], &[]).unwrap_err();
        assert!(error.message.contains("`nowhere`"), "{}", error.message);
        assert!(error.hints[0].contains("docker context ls"));
    }
}
