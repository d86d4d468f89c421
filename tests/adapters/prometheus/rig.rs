//! A Prometheus under test, and the port through which the adapter is driven.
//!
//! Samples are written past the adapter: to the double directly, to the real server by remote write.

use std::collections::HashMap;
use std::sync::Arc;

use rollback::action::{
    ActionError, Answer, Connections, Probe, ResolveContext, StepContext, Verdict, Work,
};
use rollback::adapters;
use rollback::sandbox::faults::Faults;
use rollback::sandbox::prometheus::{Prometheus, Rule};
use rollback::sandbox::wire::{Door, open_tcp};
use rollback::secret::Secrets;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::{HANG, install_tls, prometheus};

/// Where samples go.
enum Server {
    Real,
    Double { server: Prometheus, _door: Door, _folder: TempDir },
}

/// A Prometheus under test.
pub(super) struct Rig {
    pub(super) url: String,
    /// The value of the label `test` of every series of this test.
    pub(super) label: String,
    server: Server,
}

impl Rig {
    /// The real server.
    pub(super) fn real() -> Self {
        install_tls();
        Self { url: prometheus::url(), label: prometheus::own_label(), server: Server::Real }
    }

    /// A double of its own.
    pub(super) fn double() -> Self {
        Self::behind(None)
    }

    /// A double of its own behind faults.
    pub(super) fn behind(faults: Option<Faults>) -> Self {
        install_tls();
        let folder = TempDir::new().expect("the temporary folder is writable");
        // As the real one's in `scripts/servers.d/prometheus.sh`.
        let rule =
            Rule { alert: "RollbackTest".to_owned(), metric: "rollback_test_alert".to_owned() };
        let server = Prometheus::open(&folder.path().join("metrics.prom"), vec![rule]);
        let server = server.expect("the double opens");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("it can be shared");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let listener = TcpListener::from_std(listener).expect("it is a listener");
        let door = open_tcp(listener, server.front(faults));
        let server = Server::Double { server, _door: door, _folder: folder };
        Self { url, label: prometheus::own_label(), server }
    }

    /// The series of this test: `name{test="…"}`, with another label if there is one.
    pub(super) fn query(&self, name: &str) -> String {
        format!("{name}{{test=\"{}\"}}", self.label)
    }

    /// Writes samples of `name{a="LETTER", test="…"}`, oldest first, each with its age in seconds.
    pub(super) async fn write(&self, name: &str, letter: &str, aged: &[(i64, f64)]) {
        let now = prometheus::now();
        let samples: Vec<(i64, f64)> =
            aged.iter().map(|(age, value)| (now - age * 1000, *value)).collect();
        match &self.server {
            Server::Real => {
                let labels = [("__name__", name), ("a", letter), ("test", &self.label)];
                prometheus::write(&labels, &samples).await;
            }
            Server::Double { server, .. } => {
                let series = format!("{name}{{a=\"{letter}\",test=\"{}\"}}", self.label);
                server.record(&series, &samples).expect("a series");
            }
        }
    }

    /// The port, with this Prometheus as the environment's.
    pub(super) fn port(&self) -> Port {
        Port::with(json!({ "url": self.url }), Secrets::default())
    }

    /// Asks `prometheus.expect` once.
    pub(super) async fn ask(&self, args: Value) -> (char, String) {
        self.port().ask("prometheus.expect", args).await
    }
}

/// The port of the adapter.
pub(super) struct Port {
    resolve: ResolveContext,
}

impl Port {
    /// With these settings under `connections: {prometheus: …}`.
    pub(super) fn with(settings: Value, secrets: Secrets) -> Self {
        install_tls();
        let settings = HashMap::from([("prometheus".to_owned(), settings)]);
        let connections = Connections::new("test", settings, Arc::new(secrets));
        let resolve = ResolveContext {
            connections: Arc::new(connections),
            registry: Arc::new(adapters::registry()),
        };
        Self { resolve }
    }

    /// Whether Prometheus answers.
    pub(super) async fn reach(&self) -> Result<String, ActionError> {
        let mut blocks =
            self.resolve.registry.connections().filter(|block| block.key == "prometheus");
        let reach = blocks.next().and_then(|block| block.reach).expect("it can be reached");
        reach(&self.resolve.connections).await
    }

    /// The probe of a verb with these arguments.
    pub(super) async fn probe(&self, verb: &str, args: Value) -> Box<dyn Probe> {
        let verb = self.resolve.registry.verb(verb).expect("the verb exists");
        (verb.validate)(args.clone()).expect("the arguments are good");
        let items = verb.expand(args, &self.resolve).await.expect("the step is expanded");
        match verb.make(&items[0].args, &self.resolve).expect("the item is sound") {
            Work::Probe(probe) => probe,
            _ => panic!("a probe"),
        }
    }

    /// Asks once: `y`es, `n`o or `?`, and what is told with it. As a step of a runbook it is told the same.
    pub(super) async fn ask(&self, verb: &str, args: Value) -> (char, String) {
        let probe = self.probe(verb, args).await;
        let answer = probe.answer(&cx()).await.expect("it can be asked");
        let verdict = Verdict::from(answer.clone());
        match (answer, verdict) {
            (Answer::Yes { evidence }, Verdict::Holds { .. }) => ('y', evidence.summary),
            (Answer::No { observed }, Verdict::NotYet { observed: told }) => {
                assert_eq!(observed, told);
                ('n', observed)
            }
            (Answer::NoData { reason }, Verdict::NotYet { observed }) => {
                assert_eq!(observed, format!("no data: {reason}"));
                ('?', reason)
            }
            other => panic!("{other:?}"),
        }
    }

    /// The error of a question that cannot be asked.
    pub(super) async fn refused(&self, args: Value, cx: &StepContext) -> ActionError {
        let probe = self.probe("prometheus.expect", args).await;
        let asked = tokio::time::timeout(HANG, probe.answer(cx)).await.expect("it ends");
        asked.expect_err("it is refused")
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
