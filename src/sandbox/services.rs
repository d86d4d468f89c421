//! The services behind the load balancer: one per colour, answering with what the engine's containers can do.
//!
//! Blue is the legacy service 1.0.0, green the new one 2.0.0. Each is as healthy as the agents of its Compose project: no
//! process that runs and passes its check, no service. A task takes a while, and is lost when its side is stopped meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, Request, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::docker::Engine;
use super::docker::model::Container;
use super::faults::Double;

/// The label of an image that says which version it is.
pub const VERSION: &str = "org.opencontainers.image.version";

/// A side of the deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// The legacy agents.
    Blue,
    /// The agents that were deployed last.
    Green,
}

impl Colour {
    /// `blue` or `green`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }

    /// Its Compose project.
    pub fn project(self) -> &'static str {
        match self {
            Self::Blue => "legacy",
            Self::Green => "ollama-optimized",
        }
    }

    /// The version that it was deployed with.
    pub fn version(self) -> &'static str {
        match self {
            Self::Blue => "1.0.0",
            Self::Green => "2.0.0",
        }
    }

    /// Its name as a double.
    pub fn double(self) -> Double {
        match self {
            Self::Blue => Double::Blue,
            Self::Green => Double::Green,
        }
    }
}

/// The service of one colour.
pub fn router(engine: Arc<Engine>, colour: Colour) -> axum::Router {
    let name = HeaderValue::from_static(colour.name());
    axum::Router::new()
        .route("/", get(health))
        .route("/health", get(health))
        .route("/health-check", get(health))
        .route("/version", get(version))
        .route("/api/system/health", get(system))
        .route("/api/tasks", get(tasks).post(work))
        .with_state(Side { engine, colour, in_flight: Arc::default() })
        .layer(axum::middleware::from_fn(move |request: Request<axum::body::Body>, next: Next| {
            let name = name.clone();
            async move {
                let mut answer = next.run(request).await;
                answer.headers_mut().insert("x-served-by", name);
                answer
            }
        }))
}

#[derive(Clone)]
struct Side {
    engine: Arc<Engine>,
    colour: Colour,
    /// How many tasks are being worked on.
    in_flight: Arc<AtomicUsize>,
}

type Service = State<Side>;

/// The longest that a task may take.
const LONGEST_TASK: Duration = Duration::from_secs(60);

/// A task.
#[derive(Debug, Deserialize)]
struct Task {
    /// How long it takes, in milliseconds.
    ms: u64,
}

async fn tasks(State(side): Service) -> Response {
    Json(json!({"in_flight": side.in_flight.load(Ordering::SeqCst)})).into_response()
}

async fn work(State(side): Service, Query(task): Query<Task>) -> Response {
    /// Counts a task until it ends, also when whoever wanted it has gone.
    struct InFlight(Arc<AtomicUsize>);
    impl Drop for InFlight {
        fn drop(&mut self) {
            let _before = self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let _before = side.in_flight.fetch_add(1, Ordering::SeqCst);
    let counted = InFlight(side.in_flight.clone());
    tokio::time::sleep(Duration::from_millis(task.ms).min(LONGEST_TASK)).await;
    drop(counted);
    if members(&side.engine, side.colour).iter().any(Container::serves) {
        Json(json!({"done": true})).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the agent was stopped in the middle of it")
            .into_response()
    }
}

fn members(engine: &Engine, colour: Colour) -> Vec<Container> {
    let mut containers = engine.containers();
    containers.retain(|container| {
        container.config.label("com.docker.compose.project") == Some(colour.project())
    });
    containers
}

async fn health(State(Side { engine, colour, .. }): Service) -> Response {
    let members = members(&engine, colour);
    let agents = members.iter().filter(|container| container.serves()).count();
    let (status, word) = match agents {
        0 => (StatusCode::SERVICE_UNAVAILABLE, "degraded"),
        _ => (StatusCode::OK, "ok"),
    };
    let body = json!({
        "status": word,
        "version": version_of(&members, colour),
        "colour": colour.name(),
        "agents": agents,
    });
    (status, Json(body)).into_response()
}

async fn version(State(Side { engine, colour, .. }): Service) -> Response {
    let version = version_of(&members(&engine, colour), colour);
    Json(json!({"version": version, "colour": colour.name()})).into_response()
}

async fn system(State(Side { engine, colour, .. }): Service) -> Response {
    let members = members(&engine, colour);
    let running = members.iter().filter(|container| container.state.process).count();
    let healthy = members.iter().filter(|container| container.serves()).count();
    let (status, word) = match healthy {
        0 => (StatusCode::SERVICE_UNAVAILABLE, "down"),
        healthy if healthy < members.len() => (StatusCode::OK, "degraded"),
        _ => (StatusCode::OK, "healthy"),
    };
    let body = json!({
        "status": word,
        "version": version_of(&members, colour),
        "colour": colour.name(),
        "agents": {"expected": members.len(), "running": running, "healthy": healthy},
    });
    (status, Json(body)).into_response()
}

/// The version that most of the agents at work have; the deployed one when none is at work.
fn version_of(members: &[Container], colour: Colour) -> String {
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    for container in members.iter().filter(|container| container.serves()) {
        if let Some(version) = container.config.label(VERSION) {
            *votes.entry(version).or_default() += 1;
        }
    }
    let most = votes.into_iter().max_by_key(|(_, count)| *count);
    most.map_or(colour.version(), |(version, _)| version).to_owned()
}
