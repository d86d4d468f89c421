//! The shipped decision tables against a real Prometheus: every trigger fires, is quiet, and has no data.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rollback::action::{Answer, Connections, ResolveContext, StepContext, Work};
use rollback::adapters;
use rollback::environment::{Config, EnvironmentFile, runbooks};
use rollback::secret::Secrets;
use rollback::trigger::{self, Reading, State, Table, Trigger};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::prometheus::{now, own_label, steady, url, write};
use crate::support::{HANG, install_tls};

/// How much longer than a condition has to last it was so.
const MORE: Duration = Duration::from_secs(3 * 60);
/// How long ago response times were normal, in this environment.
const BASELINE: &str = "20m";

/// A trigger with the metric that it reads (the key under `metrics`), a value at which it fires, and one at which it does not by a hair.
type Tried = (&'static str, &'static str, f64, f64);

/// The tables, by their folder below `runbooks`, with all their triggers.
const TABLES: [(&str, &[Tried]); 2] = [("ollama", &OLLAMA), ("orchestrator", &ORCHESTRATOR)];

const OLLAMA: [Tried; 11] = [
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

const ORCHESTRATOR: [Tried; 18] = [
    ("unavailable", "up", 0.0, 1.0),
    ("error-rate-critical", "error_rate", 0.11, 0.1),
    ("response-time-critical", "response_time", 10.1, 10.0),
    ("security-vulnerability", "critical_vulnerabilities", 1.0, 0.0),
    ("error-rate-high", "error_rate", 0.051, 0.05),
    ("response-time-high", "response_time", 5.1, 5.0),
    ("cost-high", "cost_per_query", 0.21, 0.2),
    ("routing-accuracy-poor", "routing_accuracy", 0.89, 0.9),
    ("error-rate-raised", "error_rate", 0.011, 0.01),
    ("error-rate-persists", "error_rate", 0.011, 0.01),
    ("response-time-raised", "response_time", 3.1, 3.0),
    ("cost-raised", "cost_per_query", 0.11, 0.1),
    ("user-feedback", "user_feedback", 3.4, 3.5),
    ("specialist-failing", "specialist_error_rate", 0.051, 0.05),
    ("specialist-slow", "specialist_response_time", 5.1, 5.0),
    ("routing-accuracy-low", "routing_accuracy", 0.94, 0.95),
    ("routing-accuracy-persists", "routing_accuracy", 0.94, 0.95),
    ("knowledge-base-poor", "retrieval_accuracy", 0.89, 0.9),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn shipped(table: &str) -> Table {
    let config = Config { runbooks: vec![root().join("runbooks")], ..Config::default() };
    let (known, _) = runbooks::search(&root(), &config);
    let path = root().join("runbooks").join(table).join("decisions.yaml");
    let loaded = trigger::load(&path, &adapters::registry(), &known);
    loaded.unwrap_or_else(|problems| panic!("{}", problems.render(false))).table
}

/// A shipped table, asked of metrics that nobody else writes.
struct Desk {
    table: Table,
    tried: &'static [Tried],
    label: String,
    environment: Value,
    resolve: Arc<ResolveContext>,
}

impl Desk {
    fn new((table, tried): (&str, &'static [Tried])) -> Self {
        install_tls();
        let label = own_label();
        let mut metrics = json!({ "baseline": BASELINE });
        for (_, metric, ..) in tried {
            metrics[*metric] = format!("decide_{metric}{{test=\"{label}\"}}").into();
        }
        let settings = [("prometheus".to_owned(), json!({ "url": url() }))].into();
        let connections = Connections::new("test", settings, Arc::new(Secrets::default()));
        let resolve = ResolveContext {
            connections: Arc::new(connections),
            registry: Arc::new(adapters::registry()),
        };
        let environment = json!({ "metrics": metrics });
        Self { table: shipped(table), tried, label, environment, resolve: Arc::new(resolve) }
    }

    /// Writes samples of the metric of one thing, such as an agent.
    async fn write(&self, metric: &str, thing: &str, samples: &[(i64, f64)]) {
        let name = format!("decide_{metric}");
        let labels = [
            ("__name__", name.as_str()),
            ("specialist", thing),
            ("test", self.label.as_str()),
            ("thing", thing),
        ];
        write(&labels, samples).await;
    }

    /// The state of one trigger.
    async fn state(&self, trigger: &str) -> State {
        let readings = trigger::evaluate(&self.table, &self.environment, &self.resolve, HANG).await;
        assert_eq!(readings.len(), self.tried.len());
        let found = readings.into_iter().find(|reading| reading.trigger == trigger);
        let Reading { state, .. } = found.expect("a trigger of the table");
        state
    }
}

/// For how long samples of a trigger have to be there.
fn lasting(trigger: &Trigger) -> Duration {
    trigger.sustained_for.unwrap_or_default() + MORE
}

/// Of every trigger: without samples, with samples that are no number, at its bound, and behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_trigger_fires_stays_quiet_and_has_no_data() {
    for shelf in TABLES {
        let table = shipped(shelf.0);
        assert_eq!(table.triggers.len(), shelf.1.len());
        for trigger in &table.triggers {
            let tried = shelf.1.iter().find(|(id, ..)| *id == trigger.id);
            let (id, metric, fires, quiet) =
                *tried.unwrap_or_else(|| panic!("{} is not tried", trigger.id));
            let long = lasting(trigger);
            let desk = Desk::new(shelf);
            let state = desk.state(id).await;
            assert!(matches!(state, State::NoData { .. }), "{id} without samples: {state:?}");

            let desk = Desk::new(shelf);
            desk.write(metric, "a", &steady(f64::NAN, long)).await;
            let state = desk.state(id).await;
            assert!(matches!(state, State::NoData { .. }), "{id} without numbers: {state:?}");

            // What a baseline is taken of was 1, so that values are ratios, too.
            let past = (now() - 21 * 60 * 1000, 1.0);
            let with_past = |value: f64| {
                let mut samples = steady(value, long);
                if long < Duration::from_secs(20 * 60) {
                    samples.insert(0, past);
                }
                samples
            };
            let desk = Desk::new(shelf);
            desk.write(metric, "a", &with_past(quiet)).await;
            let state = desk.state(id).await;
            assert!(matches!(state, State::Quiet { .. }), "{id} at {quiet}: {state:?}");

            // One of several is enough, and is named with its value.
            desk.write(metric, "b", &with_past(fires)).await;
            let State::Firing { observed, argument } = desk.state(id).await else {
                panic!("{id} does not fire at {fires}");
            };
            let wanted = trigger.argument.is_some().then_some("b");
            assert_eq!(argument.as_deref(), wanted, "{id} names what its runbook is for");
            let named = format!("thing=\"b\"}} {fires}");
            assert!(observed.contains("1 of 2") && observed.contains(&named), "{id}: {observed}");
        }
    }
}

/// What has to last does not fire at once, and nobody can say that it is quiet before it has been seen for long enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_to_last_is_not_judged_by_one_sample() {
    let mut tried = 0;
    for shelf in TABLES {
        let table = shipped(shelf.0);
        for trigger in table.triggers.iter().filter(|trigger| trigger.sustained_for.is_some()) {
            let (_, metric, fires, quiet) =
                *shelf.1.iter().find(|(id, ..)| *id == trigger.id).expect("it is tried above");
            let desk = Desk::new(shelf);
            desk.write(metric, "a", &steady(fires, Duration::from_secs(60))).await;
            let state = desk.state(&trigger.id).await;
            assert!(
                matches!(state, State::NoData { .. }),
                "{} for a minute: {state:?}",
                trigger.id
            );

            // A window is looked at in sixty places, so a dip has to last from one to the next to be seen.
            let desk = Desk::new(shelf);
            let mut samples = steady(fires, lasting(trigger));
            let place = i64::try_from(lasting(trigger).as_millis()).expect("some days") / 60;
            let latest = now();
            for (at, value) in &mut samples {
                if (latest - 4 * place..latest - 2 * place).contains(at) {
                    *value = quiet;
                }
            }
            desk.write(metric, "a", &samples).await;
            let state = desk.state(&trigger.id).await;
            assert!(matches!(state, State::Quiet { .. }), "{} with a dip: {state:?}", trigger.id);
            tried += 1;
        }
    }
    assert_eq!(tried, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_is_no_data() {
    let desk = Desk::new(TABLES[0]);
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
    for shelf in TABLES {
        let desk = Desk::new(shelf);
        let path = root().join("runbooks").join(shelf.0);
        let path = path.join("environments/production.example.yaml");
        let file = EnvironmentFile::read(&path, &adapters::registry()).expect("it is sound");
        let environment = file.resolve(None).await.expect("secrets that are missing are no error");
        let metrics = environment.values["metrics"].as_object().expect("the metrics").clone();
        for (_, metric, ..) in shelf.1 {
            assert!(metrics.contains_key(*metric), "{metric}");
        }
        let verb = desk.resolve.registry.verb("prometheus.expect").expect("the verb");
        for (metric, query) in metrics.iter().filter(|(metric, _)| *metric != "baseline") {
            let args = json!({"query": query, "above": 1});
            let items = verb.expand(args, &desk.resolve).await.expect("it is expanded");
            let Ok(Work::Probe(probe)) = verb.make(&items[0].args, &desk.resolve) else {
                panic!("{metric} makes no probe");
            };
            let deadline = Instant::now() + HANG;
            let folder = std::env::temp_dir();
            let cx = StepContext::new(deadline, CancellationToken::new(), folder, "test");
            let answer =
                probe.answer(&cx).await.unwrap_or_else(|error| panic!("{metric}: {error:?}"));
            assert!(matches!(answer, Answer::NoData { .. }), "{metric}: {answer:?}");
        }
    }
}
