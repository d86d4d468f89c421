//! The shipped decision table against a real Prometheus: every trigger fires, is quiet, and has no data.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rollback::action::{Answer, Connections, ResolveContext, StepContext, Work};
use rollback::adapters;
use rollback::environment::{Config, EnvironmentFile, runbooks};
use rollback::secret::Secrets;
use rollback::trigger::{self, Reading, State, Table};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::prometheus::{now, own_label, steady, url, write};
use crate::support::{HANG, install_tls};

/// Longer than any condition has to last.
const LONG: Duration = Duration::from_secs(8 * 60);
/// How long ago response times were normal, in this environment.
const BASELINE: &str = "20m";

/// Each trigger with the metric that it reads (the key under `metrics`), a value at which it fires, and one at which it does not by a hair.
const TRIGGERS: [(&str, &str, f64, f64); 11] = [
    ("memory-exhaustion", "memory_usage", 0.91, 0.9),
    ("high-error-rate", "error_rate", 0.051, 0.05),
    ("ollama-overload", "connection_failures", 0.11, 0.1),
    ("health-check-failures", "health_check_failures", 3.0, 2.0),
    ("circuit-breaker-cascade", "circuit_breaker_trips", 4.0, 3.0),
    ("unresponsive-agents", "silent_agents", 0.11, 0.1),
    ("elevated-response-time", "response_time", 5.1, 5.0),
    ("task-failure-rate", "task_failures", 0.011, 0.01),
    ("resource-contention", "cpu_usage", 0.91, 0.9),
    ("memory-pressure", "memory_usage", 0.76, 0.75),
    ("ollama-degradation", "query_success", 0.949, 0.95),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn shipped() -> Table {
    let folder = root().join("runbooks/ollama");
    let config = Config { runbooks: vec![folder.clone()], ..Config::default() };
    let (known, _) = runbooks::search(&root(), &config);
    let loaded = trigger::load(&folder.join("decisions.yaml"), &adapters::registry(), &known);
    loaded.unwrap_or_else(|problems| panic!("{}", problems.render(false))).table
}

/// The shipped table, asked of metrics that nobody else writes.
struct Desk {
    table: Table,
    label: String,
    environment: Value,
    resolve: Arc<ResolveContext>,
}

impl Desk {
    fn new() -> Self {
        install_tls();
        let label = own_label();
        let mut metrics = json!({ "baseline": BASELINE });
        for (_, metric, ..) in TRIGGERS {
            metrics[metric] = format!("decide_{metric}{{test=\"{label}\"}}").into();
        }
        let settings = [("prometheus".to_owned(), json!({ "url": url() }))].into();
        let connections = Connections::new("test", settings, Arc::new(Secrets::default()));
        let resolve = ResolveContext {
            connections: Arc::new(connections),
            registry: Arc::new(adapters::registry()),
        };
        let environment = json!({ "metrics": metrics });
        Self { table: shipped(), label, environment, resolve: Arc::new(resolve) }
    }

    /// Writes samples of the metric of one thing, such as an agent.
    async fn write(&self, metric: &str, thing: &str, samples: &[(i64, f64)]) {
        let name = format!("decide_{metric}");
        write(&[("__name__", &name), ("test", &self.label), ("thing", thing)], samples).await;
    }

    /// The state of one trigger.
    async fn state(&self, trigger: &str) -> State {
        let readings = trigger::evaluate(&self.table, &self.environment, &self.resolve, HANG).await;
        assert_eq!(readings.len(), TRIGGERS.len());
        let found = readings.into_iter().find(|reading| reading.trigger == trigger);
        let Reading { state, .. } = found.expect("a trigger of the table");
        state
    }
}

/// Of every trigger: without samples, with samples that are no number, at its bound, and behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_trigger_fires_stays_quiet_and_has_no_data() {
    let table = shipped();
    assert_eq!(table.triggers.len(), TRIGGERS.len());
    for trigger in &table.triggers {
        assert!(TRIGGERS.iter().any(|(id, ..)| *id == trigger.id), "{} is not tried", trigger.id);
    }
    for (trigger, metric, fires, quiet) in TRIGGERS {
        let desk = Desk::new();
        let state = desk.state(trigger).await;
        assert!(matches!(state, State::NoData { .. }), "{trigger} without samples: {state:?}");

        let desk = Desk::new();
        desk.write(metric, "a", &steady(f64::NAN, LONG)).await;
        let state = desk.state(trigger).await;
        assert!(matches!(state, State::NoData { .. }), "{trigger} without numbers: {state:?}");

        // What a baseline is taken of was 1, so that values are ratios, too.
        let past = (now() - 21 * 60 * 1000, 1.0);
        let desk = Desk::new();
        desk.write(metric, "a", &[&[past], &*steady(quiet, LONG)].concat()).await;
        let state = desk.state(trigger).await;
        assert!(matches!(state, State::Quiet { .. }), "{trigger} at {quiet}: {state:?}");

        // One of several is enough, and is named with its value.
        desk.write(metric, "b", &[&[past], &*steady(fires, LONG)].concat()).await;
        let State::Firing { observed } = desk.state(trigger).await else {
            panic!("{trigger} does not fire at {fires}");
        };
        let named = format!("thing=\"b\"}} {fires}");
        assert!(observed.contains("1 of 2") && observed.contains(&named), "{trigger}: {observed}");
    }
}

/// What has to last does not fire at once, and nobody can say that it is quiet before it has been seen for long enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_to_last_is_not_judged_by_one_sample() {
    let table = shipped();
    let lasting = table.triggers.iter().filter(|trigger| trigger.sustained_for.is_some());
    let mut tried = 0;
    for trigger in lasting {
        let (_, metric, fires, quiet) =
            TRIGGERS.into_iter().find(|(id, ..)| *id == trigger.id).expect("it is tried above");
        let desk = Desk::new();
        desk.write(metric, "a", &steady(fires, Duration::from_secs(60))).await;
        let state = desk.state(&trigger.id).await;
        assert!(matches!(state, State::NoData { .. }), "{} for a minute: {state:?}", trigger.id);

        let desk = Desk::new();
        let mut samples = steady(fires, LONG);
        let dip = samples.len() - 5;
        samples[dip].1 = quiet;
        desk.write(metric, "a", &samples).await;
        let state = desk.state(&trigger.id).await;
        assert!(matches!(state, State::Quiet { .. }), "{} with a dip: {state:?}", trigger.id);
        tried += 1;
    }
    assert_eq!(tried, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_is_no_data() {
    let desk = Desk::new();
    let settings = json!({ "url": format!("http://127.0.0.1:{}", crate::support::free_port()) });
    let connections = Connections::new(
        "test",
        [("prometheus".to_owned(), settings)].into(),
        Arc::new(Secrets::default()),
    );
    let registry = desk.resolve.registry.clone();
    let dead = Arc::new(ResolveContext { connections: Arc::new(connections), registry });
    for environment in [desk.environment.clone(), json!({})] {
        let readings = trigger::evaluate(&desk.table, &environment, &dead, HANG).await;
        for reading in readings {
            let State::NoData { reason, .. } = &reading.state else { panic!("{reading:?}") };
            assert!(reason.starts_with("failed to "), "{reading:?}");
        }
    }
    // A server that says nothing is late, and the others are not held up by it.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let settings = json!({ "url": format!("http://{}", silent.local_addr().expect("bound")) });
    let connections = Connections::new(
        "test",
        [("prometheus".to_owned(), settings)].into(),
        Arc::new(Secrets::default()),
    );
    let registry = desk.resolve.registry.clone();
    let mute = Arc::new(ResolveContext { connections: Arc::new(connections), registry });
    let time = Duration::from_millis(300);
    let asked = trigger::evaluate(&desk.table, &desk.environment, &mute, time);
    let readings = tokio::time::timeout(HANG, asked).await.expect("it ends");
    assert!(readings.iter().all(|reading| matches!(reading.state, State::NoData { .. })));
}

/// The queries of the production example are PromQL that a real server takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queries_of_the_production_example_are_understood() {
    let desk = Desk::new();
    let path = root().join("runbooks/ollama/environments/production.example.yaml");
    let file = EnvironmentFile::read(Path::new(&path), &adapters::registry()).expect("it is sound");
    let environment = file.resolve(None).await.expect("secrets that are missing are no error");
    let metrics = environment.values["metrics"].as_object().expect("the metrics").clone();
    for metric in TRIGGERS.map(|(_, metric, ..)| metric) {
        assert!(metrics.contains_key(metric), "{metric}");
    }
    let verb = desk.resolve.registry.verb("prometheus.expect").expect("the verb");
    for (metric, query) in metrics.iter().filter(|(metric, _)| *metric != "baseline") {
        let args = json!({"query": query, "above": 1});
        let items = verb.expand(args, &desk.resolve).await.expect("it is expanded");
        let Ok(Work::Probe(probe)) = verb.make(&items[0].args, &desk.resolve) else {
            panic!("{metric} makes no probe");
        };
        let deadline = Instant::now() + HANG;
        let cx = StepContext::new(deadline, CancellationToken::new(), std::env::temp_dir(), "test");
        let answer = probe.answer(&cx).await.unwrap_or_else(|error| panic!("{metric}: {error:?}"));
        assert!(matches!(answer, Answer::NoData { .. }), "{metric}: {answer:?}");
    }
}
