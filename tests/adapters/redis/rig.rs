//! A Redis under test, keys of its own for every test, and the port through which the adapter is driven.
//!
//! Keys are set and looked for with a client of the test's own, never through the adapter.

use std::collections::HashMap;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, FromRedisValue};
use rollback::action::{
    Action, ActionError, Connections, Evidence, Probe, Readiness, ResolveContext, Saved,
    StepContext, Verdict, Work,
};
use rollback::adapters;
use rollback::sandbox::faults::Faults;
use rollback::sandbox::ledger::Ledger;
use rollback::sandbox::redis::Redis;
use rollback::secret::Secrets;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::RwLock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{HANG, server_variable};

/// The test's own client.
#[derive(Clone)]
enum Oracle {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Held for writing while slots of the cluster are on their way: what others keep there would be in two places.
static SLOTS: RwLock<()> = RwLock::const_new(());

/// A Redis under test.
pub(super) struct Rig {
    pub(super) urls: Vec<String>,
    /// What every key of this test begins with.
    pub(super) prefix: String,
    oracle: Oracle,
    /// Keeps a double alive, or a turn on the cluster.
    _world: Box<dyn std::any::Any + Send + Sync>,
}

impl Rig {
    /// The real server.
    pub(super) async fn real() -> Self {
        Self::at(server_variable(&["ROLLBACK_TEST_REDIS"]), Box::new(())).await
    }

    /// The real cluster.
    pub(super) async fn cluster() -> Self {
        Self::at_cluster(Box::new(SLOTS.read().await)).await
    }

    /// The real cluster, with nobody else on it, for a test that moves slots.
    pub(super) async fn cluster_alone() -> Self {
        Self::at_cluster(Box::new(SLOTS.write().await)).await
    }

    async fn at_cluster(turn: Box<dyn std::any::Any + Send + Sync>) -> Self {
        let urls: Vec<String> = server_variable(&["ROLLBACK_TEST_REDIS_CLUSTER"])
            .split(',')
            .map(str::to_owned)
            .collect();
        let client = ClusterClient::builder(urls.clone()).response_timeout(HANG).build();
        let client = client.expect("the cluster's URLs are sound");
        let oracle = client.get_async_connection().await.expect("the cluster answers");
        Self { urls, prefix: prefix(), oracle: Oracle::Cluster(oracle), _world: turn }
    }

    /// A double of its own.
    pub(super) async fn double() -> Self {
        Self::behind(None).await.0
    }

    /// A double of its own behind faults, and what really happened there.
    pub(super) async fn behind(faults: Option<Faults>) -> (Self, Ledger) {
        let folder = TempDir::new().expect("the temporary folder is writable");
        let ledger =
            Ledger::open(&folder.path().join("effects.log")).expect("the ledger is writable");
        let double = Redis::open(&folder.path().join("redis.resp"), ledger.clone(), faults)
            .expect("the double opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("redis://{}", listener.local_addr().expect("it is bound"));
        let door = double.serve(listener);
        (Self::at(url, Box::new((door, folder))).await, ledger)
    }

    /// A server at this address.
    pub(super) async fn at(url: String, world: Box<dyn std::any::Any + Send + Sync>) -> Self {
        let client = redis::Client::open(url.as_str()).expect("the server's URL is sound");
        let patient = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(HANG))
            .set_response_timeout(Some(HANG));
        let oracle = client.get_multiplexed_async_connection_with_config(&patient).await;
        let oracle = oracle.expect("the server answers");
        Self { urls: vec![url], prefix: prefix(), oracle: Oracle::Single(oracle), _world: world }
    }

    /// The port, with this Redis as the environment's.
    pub(super) fn port(&self) -> Port {
        match self.urls.as_slice() {
            [url] => Port::with(json!({ "url": url }), Secrets::default()),
            urls => Port::with(json!({ "cluster": urls }), Secrets::default()),
        }
    }

    /// A key or a pattern of this test.
    pub(super) fn key(&self, rest: &str) -> String {
        format!("{}{rest}", self.prefix)
    }

    /// Sends a command with a client of the test's own.
    pub(super) async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        let answer = match self.oracle.clone() {
            Oracle::Single(mut connection) => command.query_async(&mut connection).await,
            Oracle::Cluster(mut connection) => command.query_async(&mut connection).await,
        };
        answer.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Sets keys `PREFIXgroup:0` and so on.
    pub(super) async fn fill(&self, group: &str, number: usize) {
        let mut together = redis::pipe();
        for index in 0..number {
            let key = self.key(&format!("{group}:{index}"));
            // A cluster takes no pipeline over several slots.
            if let Oracle::Single(_) = self.oracle {
                together.cmd("SET").arg(key).arg("x").ignore();
            } else {
                let _ok: String = self.ask(&["SET", &key, "x"]).await;
            }
        }
        if let Oracle::Single(mut connection) = self.oracle.clone() {
            together.exec_async(&mut connection).await.expect("the keys are set");
        }
    }

    /// How many of the keys `PREFIXgroup:0` to `number` exist.
    pub(super) async fn left(&self, group: &str, number: usize) -> usize {
        let mut left = 0;
        for index in 0..number {
            let key = self.key(&format!("{group}:{index}"));
            left += self.ask::<usize>(&["EXISTS", &key]).await;
        }
        left
    }
}

fn prefix() -> String {
    let id = Uuid::new_v4().simple().to_string();
    format!("rollback-test-{}:", &id[..12])
}

/// The port of the adapter.
pub(super) struct Port {
    resolve: ResolveContext,
}

impl Port {
    /// With these settings under `connections: {redis: …}`.
    pub(super) fn with(settings: Value, secrets: Secrets) -> Self {
        // Only the first test of the process installs it.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let settings = HashMap::from([("redis".to_owned(), settings)]);
        let connections = Connections::new("test", settings, Arc::new(secrets));
        let resolve = ResolveContext {
            connections: Arc::new(connections),
            registry: Arc::new(adapters::registry()),
        };
        Self { resolve }
    }

    /// Whether Redis answers.
    pub(super) async fn reach(&self) -> Result<String, ActionError> {
        let mut blocks = self.resolve.registry.connections().filter(|block| block.key == "redis");
        let reach = blocks.next().and_then(|block| block.reach).expect("redis can be reached");
        reach(&self.resolve.connections).await
    }

    /// What is wrong with a step's arguments, offline.
    pub(super) fn refused(&self, verb: &str, args: Value) -> Option<String> {
        let verb = self.resolve.registry.verb(verb).expect("the verb exists");
        (verb.validate)(args).err()
    }

    async fn work(&self, verb: &str, args: Value) -> Work {
        assert_eq!(self.refused(verb, args.clone()), None);
        let verb = self.resolve.registry.verb(verb).expect("the verb exists");
        let items = verb.expand(args, &self.resolve).await.expect("the step is expanded");
        assert_eq!(items.len(), 1);
        verb.make(&items[0].args, &self.resolve).expect("the item is sound")
    }

    /// The action of `redis.delete`.
    pub(super) async fn delete(&self, args: Value) -> Box<dyn Action> {
        match self.work("redis.delete", args).await {
            Work::Action(action) => action,
            _ => panic!("redis.delete is an action"),
        }
    }

    /// The probe of `redis.expect`.
    pub(super) async fn probe(&self, args: Value) -> Box<dyn Probe> {
        match self.work("redis.expect", args).await {
            Work::Probe(probe) => probe,
            _ => panic!("redis.expect is a probe"),
        }
    }

    /// Asks once: what holds, or what was seen instead.
    pub(super) async fn observe(&self, args: Value) -> Result<String, String> {
        let verdict = self.probe(args).await.observe(&cx()).await.expect("it can be asked");
        match verdict {
            Verdict::Holds { evidence } => Ok(evidence.summary),
            Verdict::NotYet { observed } => Err(observed),
        }
    }
}

/// A context with time enough.
pub(super) fn cx() -> StepContext {
    cx_until(Instant::now() + HANG)
}

/// A context with an end.
pub(super) fn cx_until(deadline: Instant) -> StepContext {
    StepContext::new(deadline, CancellationToken::new(), std::env::temp_dir(), "test-run")
}

/// Inspects, which must find that something is to be done.
pub(super) async fn needed(action: &dyn Action) -> Saved {
    match action.inspect(&cx()).await.expect("the state can be inspected") {
        Readiness::Needed { saved, .. } => saved,
        Readiness::AlreadyDone { evidence } => panic!("it is needed, not: {}", evidence.summary),
    }
}

/// Inspects, which must find that nothing is to be done.
pub(super) async fn already_done(action: &dyn Action) -> Evidence {
    match action.inspect(&cx()).await.expect("the state can be inspected") {
        Readiness::AlreadyDone { evidence } => evidence,
        Readiness::Needed { saved, .. } => panic!("it is done already, not: {saved:?}"),
    }
}

/// Applies and verifies.
pub(super) async fn carry_out(action: &dyn Action) -> Evidence {
    let saved = needed(action).await;
    let applied = action.apply(&cx(), &saved).await.expect("the change is made");
    let verdict = action.verify(&cx(), &applied).await.expect("it can be verified");
    assert!(matches!(verdict, Verdict::Holds { .. }), "{verdict:?}");
    applied
}
