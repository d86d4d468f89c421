//! What meets the faults: one request of each adapter that goes over the network, made through the port as the engine makes it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rollback::action::{
    ActionError, Connections, ErrorKind, ResolveContext, Saved, StepContext, Verdict, Work,
};
use rollback::adapters;
use rollback::secret::Secrets;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::server::Wire;

/// One request of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// `http.call` with GET.
    Get,
    /// `http.call` with PUT.
    Put,
    /// `http.call` with POST.
    Post,
    /// `http.expect`.
    Expect,
    /// `notify.slack`.
    Slack,
    /// `notify.pagerduty`.
    PagerDuty,
    /// `notify.sms`.
    Sms,
    /// `notify.webhook`.
    Webhook,
    /// `docker.start` looks at a container.
    DockerLook,
    /// `docker.start` starts it.
    DockerStart,
    /// `loadbalancer.expect` asks for the proof of a configuration.
    Proof,
    /// `kubernetes.expect` reads a workload.
    KubernetesLook,
    /// `kubernetes.scale` changes one.
    KubernetesScale,
    /// `prometheus.expect` asks for the values of a query.
    Prometheus,
    /// Pre-flight asks the service of `knowledge` for a vector.
    Embeddings,
    /// `digitalocean.expect` reads an app.
    DigitalOceanLook,
    /// `digitalocean.commit` keeps a rollback, after it has looked.
    DigitalOceanCommit,
    /// `redis.delete` connects.
    RedisGreeting,
    /// `redis.delete` unlinks.
    RedisUnlink,
    /// `postgres.run` connects.
    Postgres,
    /// `notify.email` greets the mail server.
    SmtpGreeting,
    /// `notify.email` hands the text of a mail over.
    SmtpText,
    /// `dns.point` looks at a record.
    DnsLook,
    /// `dns.point` changes it.
    DnsUpdate,
}

/// What the engine is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Told {
    /// It worked.
    Done,
    /// A probe does not hold yet.
    NotYet,
    /// It failed, and the same may work a little later.
    Again,
    /// It failed.
    Failed,
    /// It may have happened.
    Unknown,
}

impl Subject {
    /// The ones that speak HTTP, in the order of the table's columns.
    pub(super) const OVER_HTTP: [Self; 17] = [
        Self::Get,
        Self::Put,
        Self::Post,
        Self::Expect,
        Self::Slack,
        Self::PagerDuty,
        Self::Sms,
        Self::Webhook,
        Self::DockerLook,
        Self::DockerStart,
        Self::Proof,
        Self::KubernetesLook,
        Self::KubernetesScale,
        Self::Prometheus,
        Self::Embeddings,
        Self::DigitalOceanLook,
        Self::DigitalOceanCommit,
    ];
    /// The others, in the order of their table's columns.
    pub(super) const OTHERS: [Self; 7] = [
        Self::RedisGreeting,
        Self::RedisUnlink,
        Self::Postgres,
        Self::SmtpGreeting,
        Self::SmtpText,
        Self::DnsLook,
        Self::DnsUpdate,
    ];

    /// What it speaks.
    pub(super) fn wire(self) -> Wire {
        match self {
            Self::RedisGreeting => Wire::Redis("INFO"),
            Self::RedisUnlink => Wire::Redis("UNLINK"),
            Self::Postgres => Wire::Postgres,
            Self::SmtpGreeting => Wire::Smtp("EHLO"),
            Self::SmtpText => Wire::Smtp("Subject: "),
            Self::DigitalOceanCommit => Wire::HttpFrom("POST"),
            Self::DnsLook => Wire::Dns("QUERY"),
            Self::DnsUpdate => Wire::Dns("UPDATE"),
            _ => Wire::Http,
        }
    }

    /// Whether sending it twice does harm.
    pub(super) fn is_once_only(self) -> bool {
        matches!(
            self,
            Self::Post
                | Self::Slack
                | Self::Sms
                | Self::Webhook
                | Self::DigitalOceanCommit
                | Self::SmtpText
        )
    }

    /// Whether it waits as it is told, and asks once more.
    pub(super) fn is_patient(self) -> bool {
        matches!(self, Self::DigitalOceanLook | Self::DigitalOceanCommit)
    }

    /// The most that it may read of an answer, in bytes.
    pub(super) fn most_read(self) -> usize {
        match self {
            Self::DockerLook | Self::DockerStart => 8 << 20,
            Self::KubernetesLook
            | Self::KubernetesScale
            | Self::DigitalOceanLook
            | Self::DigitalOceanCommit => 16 << 20,
            _ => 1 << 20,
        }
    }

    fn settings(self, address: &str) -> Value {
        match self {
            Self::Get | Self::Put | Self::Post | Self::Expect => json!({}),
            Self::Slack => json!({"webhook": format!("http://{address}/hook")}),
            Self::PagerDuty => json!({"routing_key": "k", "url": format!("http://{address}")}),
            Self::Sms => {
                json!({"account": "AC1", "token": "t", "from": "+14155550100", "url": format!("http://{address}")})
            }
            Self::Webhook => json!({"url": format!("http://{address}/hook")}),
            Self::DockerLook | Self::DockerStart => json!({"host": format!("tcp://{address}")}),
            Self::Proof => json!({"upstreams": {
                "agents": {"file": "/nowhere/agents.conf", "sides": {"blue": ["127.0.0.1:1"]}, "proof": address}
            }}),
            Self::KubernetesLook | Self::KubernetesScale => {
                // A token goes in the open to this machine alone.
                let scheme = if address.starts_with("127.") { "http" } else { "https" };
                let server = format!("{scheme}://{address}");
                json!({"server": server, "namespace": "n", "token": token().1})
            }
            Self::Prometheus => json!({"url": format!("http://{address}")}),
            Self::Embeddings => {
                json!({"embeddings": {"url": format!("http://{address}/v1"), "key": token().1, "model": "m"}})
            }
            Self::DigitalOceanLook | Self::DigitalOceanCommit => {
                // A token goes in the open to this machine alone.
                let scheme = if address.starts_with("127.") { "http" } else { "https" };
                json!({"url": format!("{scheme}://{address}"), "token": token().1})
            }
            Self::RedisGreeting | Self::RedisUnlink => json!({"url": format!("redis://{address}")}),
            Self::Postgres => {
                json!({"url": format!("postgresql://app@{address}/app?sslmode=disable")})
            }
            // Greeted in the open, at any name; a whole conversation in the open is for loopback.
            Self::SmtpGreeting => json!({"server": address, "from": "a@example.com"}),
            Self::SmtpText => {
                json!({"server": address, "from": "a@example.com", "security": "none"})
            }
            Self::DnsLook | Self::DnsUpdate => json!({
                "rfc2136": {"server": address, "zone": "example", "key": {"name": "k", "secret": key().1}},
                "nameservers": [address],
            }),
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Get | Self::Put | Self::Post => "http.call",
            Self::Expect => "http.expect",
            Self::Slack => "notify.slack",
            Self::PagerDuty => "notify.pagerduty",
            Self::Sms => "notify.sms",
            Self::Webhook => "notify.webhook",
            Self::DockerLook | Self::DockerStart => "docker.start",
            Self::Proof => "loadbalancer.expect",
            Self::KubernetesLook => "kubernetes.expect",
            Self::KubernetesScale => "kubernetes.scale",
            Self::Prometheus => "prometheus.expect",
            Self::Embeddings => "knowledge.expect",
            Self::DigitalOceanLook => "digitalocean.expect",
            Self::DigitalOceanCommit => "digitalocean.commit",
            Self::RedisGreeting | Self::RedisUnlink => "redis.delete",
            Self::Postgres => "postgres.run",
            Self::SmtpGreeting | Self::SmtpText => "notify.email",
            Self::DnsLook | Self::DnsUpdate => "dns.point",
        }
    }

    /// The arguments of one item, as a plan has them.
    pub(super) fn item(self, url: &str) -> Value {
        let call = |method: &str| json!({"method": method, "url": url, "headers": {"Authorization": super::CREDENTIAL}});
        match self {
            Self::Get => call("GET"),
            Self::Put => call("PUT"),
            Self::Post => call("POST"),
            Self::Expect => json!({"url": url, "headers": {"Authorization": super::CREDENTIAL}}),
            Self::Slack => json!({"text": "a drill"}),
            Self::PagerDuty => json!({"summary": "a drill"}),
            Self::Sms => json!({"text": "a drill", "to": "+14155550101"}),
            Self::Webhook => json!({"body": {"title": "a drill"}}),
            Self::DockerLook | Self::DockerStart => {
                json!({"project": "p", "short_name": "agent-1", "container": "p-agent-1"})
            }
            Self::Proof => json!({"upstream": "agents", "side": "blue"}),
            Self::KubernetesLook => json!({"target": workload(), "wanted": {"replicas": 1}}),
            Self::KubernetesScale => json!({"target": workload(), "replicas": 0}),
            Self::Prometheus => json!({"query": "up", "equals": 1}),
            Self::Embeddings => json!({}),
            Self::DigitalOceanLook => {
                json!({"target": {"id": "1", "name": "web"}, "wanted": {"pinned": false}})
            }
            Self::DigitalOceanCommit => json!({"id": "1", "name": "web"}),
            Self::RedisGreeting | Self::RedisUnlink => json!({"pattern": "f:*"}),
            Self::Postgres => json!({"statements": [{"sql": "SELECT 1"}]}),
            Self::SmtpGreeting | Self::SmtpText => {
                json!({"subject": "a drill", "text": "a drill", "to": ["b@example.com"]})
            }
            Self::DnsLook | Self::DnsUpdate => json!({
                "name": "a.example", "kind": "CNAME", "to": {"ttl": 30, "values": ["b.example"]}, "from": null,
            }),
        }
    }

    /// Makes one attempt against `address` (`host:port`), which ends within `time`.
    pub(super) async fn attempt(self, address: &str, time: Duration) -> Result<Told, ActionError> {
        let url = format!("http://{address}/");
        self.attempt_with(self.settings(address), self.item(&url), time).await
    }

    /// Makes one attempt with this connection and these arguments.
    pub(super) async fn attempt_with(
        self,
        settings: Value,
        item: Value,
        time: Duration,
    ) -> Result<Told, ActionError> {
        let registry = adapters::registry();
        let verb = *registry.verb(self.verb()).expect("a verb of this program");
        let key = verb.connection.unwrap_or(verb.system());
        let settings = HashMap::from([(key.to_owned(), settings)]);
        let secrets = if key == "dns" { self::key().0 } else { token().0 };
        let connections = Connections::new("faulty", settings, Arc::new(secrets));
        if self == Self::Embeddings {
            // The verb looks into its database before it asks.
            let mut blocks = registry.connections().filter(|block| block.key == key);
            let reach = blocks.next().and_then(|block| block.reach).expect("it can be reached");
            return reach(&connections).await.map(|_| Told::Done);
        }
        let cx =
            ResolveContext { connections: Arc::new(connections), registry: Arc::new(registry) };
        let item = match self {
            // The plan adds what the environment says about the side.
            Self::Proof => verb.expand(item, &cx).await?.remove(0).args,
            _ => item.into(),
        };
        let work = verb.make(&item, &cx)?;
        let deadline = Instant::now() + time;
        let cx =
            StepContext::new(deadline, CancellationToken::new(), std::env::temp_dir(), "run-1");
        let saved = Saved::public(json!({
            "id": "0123", "was_running": false, "uid": "0123", "replicas": 1, "deployment": "0123",
            "former": null, "kept_for": 5, "servers": [], "found": "", "spreads_s": 5,
        }));
        match work {
            Work::Probe(probe) => Ok(match probe.observe(&cx).await? {
                Verdict::Holds { .. } => Told::Done,
                Verdict::NotYet { .. } => Told::NotYet,
            }),
            Work::Action(action)
                if matches!(self, Self::DockerLook | Self::Postgres | Self::DnsLook) =>
            {
                action.inspect(&cx).await.map(|_| Told::Done)
            }
            Work::Action(action) => action.apply(&cx, &saved).await.map(|_| Told::Done),
            Work::Manual(_) | Work::Later(_) | Work::Hold(_) => panic!("nobody is asked"),
        }
    }
}

/// A secret, and the reference by which a connection names it.
pub(super) fn token() -> (Secrets, String) {
    let mut secrets = Secrets::default();
    let marker = secrets.insert("token", "canary-51d0".into());
    (secrets, marker)
}

/// A key of a name server, whose secret is base64.
pub(super) fn key() -> (Secrets, String) {
    let mut secrets = Secrets::default();
    let marker = secrets.insert("key", "Y2FuYXJ5LTUxZDA=".into());
    (secrets, marker)
}

fn workload() -> Value {
    json!({"kind": "deployment", "namespace": "n", "name": "web"})
}

impl Told {
    /// What an error comes to.
    pub(super) fn of(outcome: &Result<Self, ActionError>) -> Self {
        match outcome {
            Ok(told) => *told,
            Err(error) if error.kind == ErrorKind::Unknown => Self::Unknown,
            Err(error) if error.retryable => Self::Again,
            Err(_) => Self::Failed,
        }
    }

    /// The word of the table.
    pub(super) fn read(word: &str) -> Option<Self> {
        Some(match word {
            "done" => Self::Done,
            "not-yet" => Self::NotYet,
            "again" => Self::Again,
            "failed" => Self::Failed,
            "unknown" => Self::Unknown,
            "-" => return None,
            _ => panic!("`{word}` is no word of the table"),
        })
    }
}
