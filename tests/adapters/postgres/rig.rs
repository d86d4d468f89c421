//! A database of the test's own on the real server, and the port through which the adapter is driven.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rollback::action::{
    Action, ActionError, Connections, Evidence, Probe, Readiness, Recorder, ResolveContext, Saved,
    StepContext, Verdict, Work,
};
use rollback::adapters;
use rollback::secret::Secrets;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{HANG, server_variable};

/// Five agents, two of them of version 1.
const AGENTS: &str = "
    CREATE TABLE agents (id int PRIMARY KEY, version text NOT NULL, note text, tries int NOT NULL DEFAULT 0);
    INSERT INTO agents SELECT n, CASE WHEN n < 3 THEN '1' ELSE '2' END, 'note ' || n FROM generate_series(1, 5) AS n";

/// The superuser's address on the server for tests.
fn address() -> String {
    server_variable(&["ROLLBACK_TEST_POSTGRES"])
}

/// Connects; the connection ends with the client.
pub(crate) async fn connect(url: &str) -> Client {
    let config: Config = url.parse().expect("the address is sound");
    let (client, connection) = config.connect(NoTls).await.expect("the server answers");
    tokio::spawn(connection);
    client
}

/// A database; removed when it is dropped.
pub(crate) struct Database {
    name: String,
    pub(crate) url: String,
}

impl Database {
    /// A new database with these tables.
    pub(crate) async fn with(sql: &str) -> Self {
        let name = format!("rollback_test_{}", Uuid::new_v4().simple());
        let server = address();
        connect(&server)
            .await
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .expect("a database is created");
        let (start, _) = server.rsplit_once('/').expect("an address names a database");
        let database = Self { url: format!("{start}/{name}"), name };
        database.run(sql).await;
        database
    }

    /// Five agents, two of them of version 1.
    pub(crate) async fn of_agents() -> Self {
        Self::with(AGENTS).await
    }

    /// The five agents again, and nothing of the adapter's.
    pub(crate) async fn reset(&self) {
        let anew = format!("DROP SCHEMA IF EXISTS rollback CASCADE; DROP TABLE agents; {AGENTS}");
        self.run(&anew).await;
    }

    /// A client of the test's own.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.url).await
    }

    /// Runs statements.
    pub(crate) async fn run(&self, sql: &str) {
        let done = self.client().await.batch_execute(sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The rows of a query as text, columns with `|`.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        rows(&self.client().await, sql).await
    }

    /// All agents, in order.
    pub(crate) async fn agents(&self) -> Vec<String> {
        self.rows("SELECT * FROM agents ORDER BY id").await
    }

    /// The tables that the adapter has left, beside its ledger.
    pub(crate) async fn left(&self) -> Vec<String> {
        self.rows(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'rollback'
             AND tablename NOT IN ('ledger', 'snapshots') ORDER BY 1",
        )
        .await
    }

    /// The port with this database as the environment's.
    pub(crate) fn port(&self) -> Port {
        self.port_with(&json!({}))
    }

    /// The same, with more settings.
    pub(crate) fn port_with(&self, more: &Value) -> Port {
        let (settings, secrets) = self.settings(more);
        Port::with_secrets(settings, secrets)
    }

    /// The block `postgres` for this database, and the secrets that it refers to.
    pub(crate) fn settings(&self, more: &Value) -> (Value, Secrets) {
        let address = url::Url::parse(&self.url).expect("the address is sound");
        let mut settings = json!({
            "host": address.host_str(), "port": address.port(), "database": self.name, "user": address.username(),
        });
        let settings_of = settings.as_object_mut().expect("a block");
        settings_of.extend(more.as_object().expect("a block").clone());
        let mut secrets = Secrets::default();
        if let Some(password) = address.password() {
            let marker = secrets.insert("password", password.into());
            settings_of.insert("password".to_owned(), marker.into());
        }
        (settings, secrets)
    }
}

/// The rows of a query as text, columns with `|`.
pub(crate) async fn rows(client: &Client, sql: &str) -> Vec<String> {
    let answer = client.simple_query(sql).await;
    let answer = answer.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let rows = answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let columns = (0..row.len()).map(|column| row.get(column).unwrap_or("NULL"));
            Some(columns.collect::<Vec<_>>().join("|"))
        }
        _ => None,
    });
    rows.collect()
}

impl Drop for Database {
    /// On a thread of its own, since the test's runtime cannot be waited for from here.
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime starts");
            runtime.block_on(async {
                connect(&address()).await.batch_execute(&sql).await.expect("it is removed");
            });
        });
        let end = cleaner.join();
        // A second panic would hide why the test failed.
        assert!(end.is_ok() || std::thread::panicking(), "failed to remove {}", self.name);
    }
}

/// Keeps no notes: this adapter's marks are in the database.
struct NoNotes;

#[async_trait]
impl Recorder for NoNotes {
    async fn note(&self, note: Value) -> Result<(), ActionError> {
        panic!("the adapter notes nothing, not {note}")
    }

    fn jot(&self, note: Value) {
        panic!("the adapter notes nothing, not {note}")
    }
}

/// The port of the adapter.
pub(crate) struct Port {
    resolve: ResolveContext,
    step: Mutex<String>,
}

impl Port {
    /// With this address, which has the superuser's password in it, as a reference.
    pub(crate) fn of(url: &str) -> Self {
        let mut secrets = Secrets::default();
        let url = secrets.insert("url", url.into());
        Self::with_secrets(json!({ "url": url }), secrets)
    }

    /// With these settings under `connections: {postgres: …}`, and the secrets that they refer to.
    pub(crate) fn with_secrets(settings: Value, secrets: Secrets) -> Self {
        Self::with_connections(HashMap::from([("postgres".to_owned(), settings)]), secrets)
    }

    /// With these connections, and the secrets that they refer to.
    pub(crate) fn with_connections(settings: HashMap<String, Value>, secrets: Secrets) -> Self {
        let connections = Connections::new("test", settings, Arc::new(secrets));
        let registry = Arc::new(adapters::registry());
        let resolve = ResolveContext { connections: Arc::new(connections), registry };
        Self { resolve, step: Mutex::new("step".to_owned()) }
    }

    /// Works on another step from now on.
    pub(crate) fn step(&self, name: &str) {
        name.clone_into(&mut self.step.lock().expect("nobody panicked"));
    }

    /// Whether the server answers.
    pub(crate) async fn reach(&self) -> Result<String, ActionError> {
        let mut blocks =
            self.resolve.registry.connections().filter(|block| block.key == "postgres");
        let reach = blocks.next().and_then(|block| block.reach).expect("it can be reached");
        reach(&self.resolve.connections).await
    }

    async fn work(&self, verb: &str, args: Value) -> Work {
        let verb = self.resolve.registry.verb(verb).expect("the verb exists");
        (verb.validate)(args.clone()).expect("the arguments are sound");
        let items = verb.expand(args, &self.resolve).await.expect("the step is expanded");
        verb.make(&items[0].args, &self.resolve).expect("the item is sound")
    }

    /// The action of a step.
    pub(crate) async fn action(&self, verb: &str, args: Value) -> Box<dyn Action> {
        match self.work(verb, args).await {
            Work::Action(action) => action,
            _ => panic!("{verb} is an action"),
        }
    }

    /// The probe of a step.
    pub(crate) async fn probe(&self, args: Value) -> Box<dyn Probe> {
        self.probe_of("postgres.expect", args).await
    }

    /// The probe of a step with this verb.
    pub(crate) async fn probe_of(&self, verb: &str, args: Value) -> Box<dyn Probe> {
        match self.work(verb, args).await {
            Work::Probe(probe) => probe,
            _ => panic!("{verb} is a probe"),
        }
    }

    /// A context with time enough.
    pub(crate) fn cx(&self) -> StepContext {
        self.cx_until(Instant::now() + HANG)
    }

    /// A context with an end.
    pub(crate) fn cx_until(&self, deadline: Instant) -> StepContext {
        let step = self.step.lock().expect("nobody panicked").clone();
        StepContext::new(deadline, CancellationToken::new(), std::env::temp_dir(), "20261121-run")
            .at(step.as_str())
            .recording(Arc::new(NoNotes), Vec::new())
    }

    /// Inspects, which must find that something is to be done.
    pub(crate) async fn needed(&self, action: &dyn Action) -> Saved {
        match action.inspect(&self.cx()).await.expect("the state can be inspected") {
            Readiness::Needed { saved, .. } => saved,
            Readiness::AlreadyDone { evidence } => {
                panic!("it is needed, not: {}", evidence.summary)
            }
        }
    }

    /// Inspects, which must find that nothing is to be done.
    pub(crate) async fn done(&self, action: &dyn Action) -> Evidence {
        match action.inspect(&self.cx()).await.expect("the state can be inspected") {
            Readiness::AlreadyDone { evidence } => evidence,
            Readiness::Needed { saved, .. } => panic!("it is done, not needed: {saved:?}"),
        }
    }

    /// Inspects, applies and verifies.
    pub(crate) async fn apply(&self, action: &dyn Action) -> (Saved, Evidence) {
        let saved = self.needed(action).await;
        let evidence = action.apply(&self.cx(), &saved).await.expect("it can be applied");
        let verdict = action.verify(&self.cx(), &evidence).await.expect("it can be verified");
        assert!(matches!(verdict, Verdict::Holds { .. }), "{verdict:?}");
        (saved, evidence)
    }

    /// Inspects and applies, which must fail.
    pub(crate) async fn refused(&self, action: &dyn Action) -> ActionError {
        let saved = self.needed(action).await;
        match action.apply(&self.cx(), &saved).await {
            Err(error) => error,
            Ok(evidence) => panic!("it is refused, not: {}", evidence.summary),
        }
    }

    /// Takes back, twice; the second time there is nothing to do.
    pub(crate) async fn undo(
        &self,
        action: &dyn Action,
        saved: &Saved,
        applied: Option<&Evidence>,
    ) {
        for attempt in ["undo", "undo again"] {
            action.undo(&self.cx(), saved, applied).await.expect(attempt);
        }
    }
}
