//! Where the database is: from the environment's block to what a connection is opened with.
//!
//! The client library's hidden defaults are set here: it would wait for a connection for ever, and would accept a
//! connection without TLS. See <https://www.postgresql.org/docs/current/libpq-connect.html> for the meaning of the keys.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::ExposeSecret;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode as WireMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connection::{PostgresConnection, SslMode};
use super::session::{Limits, Session};
use crate::action::{ActionError, Connections, ErrorKind};
use crate::secret::{Secrets, has_marker, hide_markers};

/// How long sent data may stay unacknowledged before the connection counts as lost, and how soon silence is probed.
const SILENCE: Duration = Duration::from_secs(10);
/// The longest wait for one address of the server; the deadline is usually nearer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time for the question whether the server answers; pre-flight has five seconds in all.
const REACHING: Duration = Duration::from_secs(4);

/// A database, without a connection to it.
pub(in crate::adapters) struct Server {
    pub(super) config: Config,
    pub(super) tls: Option<MakeRustlsConnect>,
    /// The address as people may see it.
    pub(super) at: String,
    pub(in crate::adapters) secrets: Arc<Secrets>,
}

/// Asks the server who it is: `postgres 15.18 at db.example:5432/agents`.
pub(super) async fn reach(connections: &Connections) -> Result<String, ActionError> {
    let server = Server::of(connections)?;
    let limits = Limits::lasting(REACHING);
    let session = Session::open(&server, &limits, "pre-flight").await?;
    let version = session.version().await?;
    Ok(format!("postgres {version} at {}", server.at))
}

impl Server {
    /// The database of an environment.
    pub(in crate::adapters) fn of(connections: &Connections) -> Result<Arc<Self>, ActionError> {
        let secrets = connections.secrets().clone();
        connections
            .client::<PostgresConnection, Self, _>(|settings, _| Self::new(&settings, secrets))
    }

    fn new(settings: &PostgresConnection, secrets: Arc<Secrets>) -> Result<Self, ActionError> {
        let mut config = match &settings.url {
            Some(url) => from_url(settings, url, &secrets)?,
            None => from_parts(settings, &secrets)?,
        };
        config.connect_timeout(CONNECT_TIMEOUT);
        config.tcp_user_timeout(SILENCE);
        config.keepalives_idle(SILENCE);
        let at = match &settings.url {
            Some(url) if has_marker(url) => hide_markers(url),
            _ => address(&config),
        };
        let encrypted = match (settings.sslmode, config.get_ssl_mode()) {
            (Some(mode), _) => mode == SslMode::Require,
            (None, WireMode::Require) => true,
            (None, WireMode::Disable) => false,
            (None, _) => !on_this_machine(&config),
        };
        config.ssl_mode(if encrypted { WireMode::Require } else { WireMode::Disable });
        let tls = if encrypted { Some(verifying(settings)?) } else { None };
        Ok(Self { config, tls, at, secrets })
    }
}

fn from_url(
    settings: &PostgresConnection,
    url: &str,
    secrets: &Secrets,
) -> Result<Config, ActionError> {
    let parts = [&settings.host, &settings.database, &settings.user, &settings.password];
    if settings.port.is_some() || parts.iter().any(|part| part.is_some()) {
        return Err(invalid(
            "use the connection `postgres`: it has `url` and also parts of an address",
        ));
    }
    // The parser's error could repeat a part of the URL, and so of the password.
    let config: Config = secrets
        .reveal(url)
        .expose_secret()
        .parse()
        .map_err(|_| invalid("read `url` of the connection `postgres`").hint(
            "Write it as `postgresql://user@host:5432/database?sslmode=require`; certificates are always verified.",
        ))?;
    if config.get_password().is_some() && !has_marker(url) {
        return Err(invalid("use the connection `postgres`: its `url` holds a password").hint(
            "Name the parts instead, with `password: {variable: NAME}`, or make the whole `url` a reference.",
        ));
    }
    Ok(config)
}

fn from_parts(settings: &PostgresConnection, secrets: &Secrets) -> Result<Config, ActionError> {
    if settings.password.as_deref().is_some_and(|password| !has_marker(password)) {
        return Err(invalid("use the connection `postgres`: `password` is no reference to a secret").hint(
            "Write `password: {variable: NAME}` or `password: {file: PATH}` in the environment file.",
        ));
    }
    let reveal = |text: &str| secrets.reveal(text).expose_secret().to_owned();
    let mut config = Config::new();
    config.host(reveal(settings.host.as_deref().unwrap_or("localhost")));
    config.port(settings.port.unwrap_or(5432));
    if let Some(user) = &settings.user {
        config.user(reveal(user));
    }
    if let Some(database) = &settings.database {
        config.dbname(reveal(database));
    }
    if let Some(password) = &settings.password {
        config.password(reveal(password));
    }
    Ok(config)
}

/// `host:port/database`, several hosts with commas.
fn address(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(index, host)| {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(folder) => format!("{}:{port}", folder.display()),
            }
        })
        .collect();
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("{}/{database}", hosts.join(","))
}

/// Whether nothing leaves this machine. Where addresses are given (`hostaddr`), they are what is connected to, and not the names.
fn on_this_machine(config: &Config) -> bool {
    let addresses = config.get_hostaddrs();
    if !addresses.is_empty() {
        return addresses.iter().all(std::net::IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost"
                || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    })
}

/// TLS that verifies the server's certificate and name.
fn verifying(settings: &PostgresConnection) -> Result<MakeRustlsConnect, ActionError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Whoever came first in the meantime has installed one, which is all that is needed.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
    let Some(path) = &settings.ca else {
        return match MakeRustlsConnect::with_native_certs() {
            Ok((connector, _unreadable)) => Ok(connector),
            Err(_) => Err(invalid("find the system's certificate authorities")
                .hint("Name a PEM file in `connections: {postgres: {ca: …}}`.")),
        };
    };
    let complain = || invalid(&format!("read the certificate authorities in {}", path.display()));
    let mut roots = rustls::RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(path).map_err(|error| complain().caused_by(&error))?
    {
        let certificate = certificate.map_err(|error| complain().caused_by(&error))?;
        roots.add(certificate).map_err(|error| complain().caused_by(&error))?;
    }
    if roots.is_empty() {
        return Err(complain().hint("The file has no PEM certificate."));
    }
    let config =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn invalid(text: &str) -> ActionError {
    ActionError::new(ErrorKind::Invalid, text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn server(settings: Value) -> Result<Server, ActionError> {
        let settings = serde_json::from_value(settings).expect("a block");
        Server::new(&settings, Arc::default())
    }

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        let parts =
            json!({"host": "10.0.0.7", "user": "app", "database": "agents", "sslmode": "disable"});
        assert_eq!(server(parts).map(|server| server.at), Ok("10.0.0.7:5432/agents".into()));
        let socket = server(json!({"host": "/run/postgresql", "user": "app"}));
        assert_eq!(socket.map(|server| server.at), Ok("/run/postgresql:5432/app".into()));

        let mut secrets = Secrets::default();
        let marker = secrets.insert("url", "postgresql://app:hush@127.0.0.1/agents".into());
        let settings = PostgresConnection { url: Some(marker), ..PostgresConnection::default() };
        let whole = Server::new(&settings, Arc::new(secrets)).expect("a secret URL");
        assert_eq!(whole.at, "[secret]");
        assert_eq!(whole.config.get_password(), Some("hush".as_bytes()));
    }

    #[test]
    fn a_password_in_the_open_is_refused_and_never_repeated() {
        for settings in [
            json!({"url": "postgresql://app:hush@127.0.0.1/agents"}),
            json!({"url": "postgresql://app:hush@127.0.0.1:x/"}),
            json!({"host": "127.0.0.1", "password": "hush"}),
        ] {
            let Err(error) = server(settings.clone()) else { panic!("{settings} is accepted") };
            assert_eq!(error.kind, ErrorKind::Invalid);
            assert!(!format!("{error:?}").contains("hush"), "{error:?}");
        }
    }

    #[test]
    fn only_this_machine_is_talked_to_in_the_open() {
        let open = |url: &str| server(json!({"url": url})).expect(url).tls.is_none();
        assert!(open("postgresql://app@localhost/agents"));
        assert!(open("postgresql://app@[::1]/agents"));
        assert!(open("postgresql:///agents?host=/run/postgresql&user=app"));
        assert!(open("postgresql://app@10.0.0.7/agents?sslmode=disable"));
        assert!(open("postgresql://app@db.example/agents?hostaddr=127.0.0.1"));
        let settings = json!({
            "url": "postgresql://app@localhost/agents?hostaddr=10.0.0.7", "ca": "/does/not/exist.pem",
        });
        assert!(server(settings).is_err(), "another machine by its address wants TLS");
        let settings = json!({"host": "db.example", "ca": "/does/not/exist.pem"});
        let Err(error) = server(settings) else { panic!("TLS needs its authorities") };
        assert!(error.message.contains("/does/not/exist.pem"), "{error}");
    }
}
