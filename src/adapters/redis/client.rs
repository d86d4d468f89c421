//! The servers behind a connection: opened, greeted, and for a cluster one for each master.
//!
//! The library's response time limit (500 ms by default) is off, since a slow answer is not a failure; its limit for
//! connecting stays, so that one dead node of a cluster costs seconds and not the step. It never retries.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{FutureExt as _, select_ok, try_join_all};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo,
    RedisError, TlsCertificates, Value,
};
use secrecy::ExposeSecret;

use super::connection::{Address, RedisConnection};
use super::errors;
use super::topology::Masters;
use crate::action::{ActionError, Connections, ErrorKind, StepContext};
use crate::secret::Secrets;

/// The longest wait for a connection with its greeting; the deadline is often nearer.
const CONNECTING: Duration = Duration::from_secs(3);
/// The time for the question whether Redis answers; pre-flight has five seconds in all.
const REACHING: Duration = Duration::from_secs(4);

/// What a server is to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It takes changes.
    Master,
    /// It repeats what its master does.
    Replica,
}

/// One server, connected.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) connection: MultiplexedConnection,
    /// Its address as people may see it.
    pub(super) at: String,
    pub(super) role: Role,
    version: String,
    mode: String,
    secrets: Arc<Secrets>,
}

impl Node {
    /// The error of a command that this server did not carry out; `changed` as in [`errors::asking`].
    pub(super) fn failed(&self, doing: &str, changed: bool, error: &RedisError) -> ActionError {
        errors::asking(&format!("{doing} at {}", self.at), changed, error, &self.secrets)
    }
}

/// All servers that hold keys.
pub(super) struct Servers {
    pub(super) nodes: Vec<Node>,
    cluster: bool,
}

impl Servers {
    /// What they are, in a few words: `redis 7.0.15 at cache:6379`.
    pub(super) fn describe(&self) -> String {
        match self.nodes.as_slice() {
            [only] if !self.cluster => format!("redis {} at {}", only.version, only.at),
            nodes => {
                let version = nodes.first().map_or("", |node| node.version.as_str());
                format!("redis {version}, a cluster of {} masters", nodes.len())
            }
        }
    }

    /// An error when a server does not take changes.
    pub(super) fn take_changes(&self) -> Result<(), ActionError> {
        match self.nodes.iter().find(|node| node.role == Role::Replica) {
            None => Ok(()),
            Some(replica) => Err(ActionError::new(
                ErrorKind::Conflict,
                format!("change keys at {}: it is a replica", replica.at),
            )
            .hint("Name its master in `connections: {redis: …}`.")),
        }
    }
}

/// The connection of an environment, read once.
pub(super) struct Redis {
    addresses: Vec<Address>,
    settings: RedisConnection,
    secrets: Arc<Secrets>,
}

impl Redis {
    /// The one of these connections.
    pub(super) fn of(connections: &Connections) -> Result<Arc<Self>, ActionError> {
        let secrets = connections.secrets().clone();
        connections.client::<RedisConnection, Self, _>(|settings, _| {
            Ok(Self { addresses: settings.addresses(&secrets)?, settings, secrets })
        })
    }

    /// The secrets, for judging what came back.
    pub(super) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Connects to every server that holds keys. The caller bounds the time.
    pub(super) async fn open(&self) -> Result<Servers, ActionError> {
        let seeds = self.addresses.iter().map(|address| {
            let connecting =
                async move { Ok::<_, ActionError>((self.connect(address).await?, address)) };
            connecting.boxed()
        });
        let ((mut seed, address), _) = select_ok(seeds).await?;
        if seed.mode == "cluster" {
            let nodes = self.masters(&mut seed, address).await?;
            return Ok(Servers { nodes, cluster: true });
        }
        if seed.mode.is_empty() {
            let text = format!("use {}: it does not tell whether it is one of a cluster", seed.at);
            return Err(ActionError::new(ErrorKind::Invalid, text)
                .hint("`INFO server` has neither `redis_mode` nor `server_mode` there; is it Redis or Valkey, and no proxy before it?"));
        }
        if seed.mode == "sentinel" || !self.settings.cluster.is_empty() {
            let wanted = if seed.mode == "sentinel" { "a server" } else { "a cluster" };
            let text = format!("use {} as {wanted}: it is a {} server", seed.at, seed.mode);
            return Err(ActionError::new(ErrorKind::Invalid, text)
                .hint("Mend `connections: {redis: …}` in the environment file."));
        }
        Ok(Servers { nodes: vec![seed], cluster: false })
    }

    async fn masters(&self, seed: &mut Node, asked: &Address) -> Result<Vec<Node>, ActionError> {
        let doing = "read the masters of the cluster";
        let answer: Value = redis::cmd("CLUSTER")
            .arg("SLOTS")
            .query_async(&mut seed.connection)
            .await
            .map_err(|error| seed.failed(doing, false, &error))?;
        let masters = Masters::read(&answer).map_err(|broken| {
            ActionError::new(ErrorKind::Failed, format!("{broken}, says {}", seed.at))
                .retryable(true)
        })?;
        let connecting = masters.0.into_iter().map(|(host, port)| {
            let host = if host.is_empty() { asked.host.clone() } else { host };
            let master = asked.sibling(host, port);
            async move { self.connect(&master).await }
        });
        try_join_all(connecting).await
    }

    /// Connects to one server and asks who it is.
    async fn connect(&self, address: &Address) -> Result<Node, ActionError> {
        let at = address.to_string();
        let complain = |error: &RedisError| errors::connecting(&at, error, &self.secrets);
        let client = self.client(address)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTING))
            .set_response_timeout(None);
        let greeted = async {
            let mut connection =
                client.get_multiplexed_async_connection_with_config(&config).await?;
            let (server, replication): (String, String) = redis::pipe()
                .cmd("INFO")
                .arg("server")
                .cmd("INFO")
                .arg("replication")
                .query_async(&mut connection)
                .await?;
            Ok((connection, server, replication))
        };
        let late = || {
            let text = format!("reach redis at {at}: no answer within {} s", CONNECTING.as_secs());
            ActionError::new(ErrorKind::Unreachable, text)
        };
        let (connection, server, replication) = tokio::time::timeout(CONNECTING, greeted)
            .await
            .map_err(|_| late())?
            .map_err(|error| complain(&error))?;
        let role =
            if field(&replication, "role") == "slave" { Role::Replica } else { Role::Master };
        let (version, mode) = (field(&server, "redis_version"), mode(&server));
        Ok(Node {
            connection,
            role,
            version: version.chars().take(20).collect(),
            mode: mode.chars().take(20).collect(),
            at,
            secrets: self.secrets.clone(),
        })
    }

    fn client(&self, address: &Address) -> Result<redis::Client, ActionError> {
        let complain =
            |error: RedisError| errors::connecting(&address.to_string(), &error, &self.secrets);
        let host = address.host.clone();
        let place = if address.tls {
            ConnectionAddr::TcpTls { host, port: address.port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, address.port)
        };
        let mut session =
            RedisConnectionInfo::default().set_db(address.database).set_skip_set_lib_name();
        if let Some(username) = &self.settings.username {
            session = session.set_username(self.secrets.reveal(username).expose_secret());
        }
        if let Some(password) = &self.settings.password {
            session = session.set_password(self.secrets.reveal(password).expose_secret());
        }
        let info = place.into_connection_info().map_err(complain)?.set_redis_settings(session);
        match &self.settings.ca_file {
            Some(path) if address.tls => {
                let certificates =
                    TlsCertificates { client_tls: None, root_cert: Some(authorities(path)?) };
                redis::Client::build_with_tls(info, certificates).map_err(complain)
            }
            _ => redis::Client::open(info).map_err(complain),
        }
    }
}

fn authorities(path: &Path) -> Result<Vec<u8>, ActionError> {
    std::fs::read(path).map_err(|error| {
        let text = format!("read the certificate authorities in {}", path.display());
        ActionError::new(ErrorKind::Invalid, text).caused_by(&error)
    })
}

/// A field of `INFO`: lines of `name:value`.
fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let mut fields = info.lines().filter_map(|line| line.trim_end().split_once(':'));
    fields.find(|(found, _)| *found == name).map_or("", |(_, value)| value)
}

/// How a server works: `standalone`, `cluster`, `sentinel`. Valkey, from 8 on, has a name of its own for it
/// (<https://valkey.io/commands/info/>).
fn mode(server: &str) -> &str {
    match field(server, "redis_mode") {
        "" => field(server, "server_mode"),
        mode => mode,
    }
}

/// Whether Redis answers: `redis 7.0.15 at cache:6379`.
pub(super) async fn reach(connections: &Connections) -> Result<String, ActionError> {
    let redis = Redis::of(connections)?;
    let cx = StepContext::looking(REACHING);
    let servers = within(&cx, "reach redis", redis.open()).await?;
    Ok(servers.describe())
}

/// Looks until the end of the attempt.
pub(super) async fn within<T>(
    cx: &StepContext,
    doing: &str,
    look: impl Future<Output = Result<T, ActionError>>,
) -> Result<T, ActionError> {
    tokio::select! {
        biased;
        outcome = look => outcome,
        (kind, reason) = end(cx) => Err(ActionError::new(kind, format!("{doing}: {reason}"))),
    }
}

/// Waits for the end of the attempt: why it ends.
pub(super) async fn end(cx: &StepContext) -> (ErrorKind, &'static str) {
    tokio::select! {
        () = cx.cancelled().cancelled() => (ErrorKind::Cancelled, "the run was told to stop"),
        () = tokio::time::sleep_until(cx.deadline()) => (ErrorKind::TimedOut, "no answer in time"),
    }
}

#[cfg(test)]
mod tests {
    use super::mode;

    #[test]
    fn a_cluster_is_known_by_either_name() {
        assert_eq!(mode("# Server\r\nredis_version:7.0.15\r\nredis_mode:cluster\r\n"), "cluster");
        let valkey = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0\r\nserver_mode:cluster\r\n";
        assert_eq!(mode(valkey), "cluster");
        assert_eq!(mode("redis_version:7.0.15\r\n"), "");
    }
}
