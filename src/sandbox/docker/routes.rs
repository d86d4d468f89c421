//! The engine's HTTP API: paths with or without a version, parameters, statuses and error bodies.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{Request, Response, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use serde_json::{Map, Value, json};
use tower::ServiceExt as _;

use super::create::CreateBody;
use super::engine::{Engine, EngineError};
use super::filters::Filters;
use super::lifecycle::Changed;
use super::view;
use crate::sandbox::wire::Handler;

/// The API version that is spoken.
const API: (u32, u32) = (1, 41);
/// The oldest that is accepted.
const OLDEST: (u32, u32) = (1, 12);
/// The engine whose behaviour this is.
const ENGINE: &str = "20.10.24";

type Answer = Result<axum::response::Response, EngineError>;
type Shared = State<Arc<Engine>>;
type Parameters = Query<HashMap<String, String>>;

impl IntoResponse for EngineError {
    fn into_response(self) -> axum::response::Response {
        (self.status, Json(json!({"message": self.message}))).into_response()
    }
}

/// The API as a handler for the wire.
pub fn handler(engine: Arc<Engine>) -> Handler {
    let router = router(engine);
    Arc::new(move |request| {
        let router = router.clone();
        Box::pin(async move {
            let mut answer = match without_version(request) {
                Ok(request) => router.oneshot(request).await.unwrap_or_else(|never| match never {}),
                Err(error) => error.into_response(),
            };
            let headers = answer.headers_mut();
            for (name, value) in [
                ("api-version", "1.41"),
                ("docker-experimental", "false"),
                ("ostype", "linux"),
                ("server", "Docker/20.10.24 (linux)"),
            ] {
                headers.insert(name, axum::http::HeaderValue::from_static(value));
            }
            answer
        })
    })
}

/// An injected error in the engine's own form.
pub fn refuse(status: StatusCode) -> Response<Body> {
    EngineError::new(status, "an error was injected into the sandbox").into_response()
}

fn router(engine: Arc<Engine>) -> axum::Router {
    axum::Router::new()
        .route("/_ping", get(async || "OK"))
        .route("/version", get(version))
        .route("/info", get(info))
        .route("/containers/json", get(list))
        .route("/containers/create", post(create))
        .route("/containers/{id}", delete(remove))
        .route("/containers/{id}/json", get(inspect))
        .route("/containers/{id}/logs", get(logs))
        .route("/containers/{id}/start", post(start))
        .route("/containers/{id}/stop", post(stop))
        .route("/containers/{id}/kill", post(kill))
        .route("/containers/{id}/restart", post(restart))
        .route("/containers/{id}/rename", post(rename))
        .route("/containers/{id}/update", post(update))
        .route("/images/json", get(images))
        .route("/images/{*name}", get(image))
        .route("/networks", get(networks))
        .route("/networks/{id}", get(network))
        .route("/networks/{id}/connect", post(connect))
        .route("/networks/{id}/disconnect", post(disconnect))
        .method_not_allowed_fallback(async || EngineError::not_found("page not found"))
        .fallback(async || EngineError::not_found("page not found"))
        .with_state(engine)
}

/// Takes `/v1.NN` off the path, and refuses a version that is not spoken (moby `api/server/middleware/version.go`).
fn without_version(mut request: Request<Body>) -> Result<Request<Body>, EngineError> {
    let uri = request.uri();
    let Some((version, rest)) = uri.path().strip_prefix("/v").and_then(split_version) else {
        return Ok(request);
    };
    let (major, minor) = version;
    if version > API {
        return Err(EngineError::bad_request(format!(
            "client version {major}.{minor} is too new. Maximum supported API version is {}.{}",
            API.0, API.1
        )));
    }
    if version < OLDEST {
        return Err(EngineError::bad_request(format!(
            "client version {major}.{minor} is too old. Minimum supported API version is {}.{}, \
             please upgrade your client to a newer version",
            OLDEST.0, OLDEST.1
        )));
    }
    let target = uri.query().map_or_else(|| rest.to_owned(), |query| format!("{rest}?{query}"));
    *request.uri_mut() = target
        .parse::<Uri>()
        .map_err(|error| EngineError::bad_request(format!("invalid path: {error}")))?;
    Ok(request)
}

fn split_version(path: &str) -> Option<((u32, u32), &str)> {
    let (version, _) = path.split_once('/')?;
    let (major, minor) = version.split_once('.')?;
    Some(((major.parse().ok()?, minor.parse().ok()?), &path[version.len()..]))
}

async fn version() -> Json<Value> {
    Json(json!({
        "Platform": {"Name": "rollback sandbox"},
        "Components": [{"Name": "Engine", "Version": ENGINE, "Details": {
            "ApiVersion": "1.41", "MinAPIVersion": "1.12", "Os": "linux", "Arch": "amd64",
            "GitCommit": "sandbox", "GoVersion": "none", "BuildTime": ""}}],
        "Version": ENGINE,
        "ApiVersion": "1.41",
        "MinAPIVersion": "1.12",
        "GitCommit": "sandbox",
        "GoVersion": "none",
        "Os": "linux",
        "Arch": "amd64",
        "KernelVersion": "sandbox",
    }))
}

async fn info(State(engine): Shared) -> Json<Value> {
    let containers = engine.containers();
    let running = containers.iter().filter(|container| container.is_running()).count();
    Json(json!({
        "ID": "SANDBOX",
        "Name": "sandbox",
        "Containers": containers.len(),
        "ContainersRunning": running,
        "ContainersPaused": 0,
        "ContainersStopped": containers.len() - running,
        "Images": engine.images().len(),
        "Driver": "overlay2",
        "NCPU": 2,
        "MemTotal": 8_589_934_592_u64,
        "OperatingSystem": "rollback sandbox",
        "OSType": "linux",
        "Architecture": "x86_64",
        "ServerVersion": ENGINE,
        "Swarm": {"LocalNodeState": "inactive"},
    }))
}

/// moby's `httputils.BoolValue`.
fn truth(parameters: &HashMap<String, String>, name: &str) -> bool {
    let given = parameters.get(name).map(|value| value.trim().to_lowercase());
    given.is_some_and(|value| !matches!(value.as_str(), "" | "0" | "no" | "false" | "none"))
}

fn seconds(parameters: &HashMap<String, String>) -> Result<Option<i64>, EngineError> {
    let given = parameters.get("t").filter(|value| !value.is_empty());
    given
        .map(|value| {
            value.parse().map_err(|_| {
                EngineError::bad_request(format!(
                    "strconv.Atoi: parsing \"{value}\": invalid syntax"
                ))
            })
        })
        .transpose()
}

async fn list(State(engine): Shared, Query(parameters): Parameters) -> Answer {
    let known = ["label", "name", "id", "status", "network", "health"];
    let filters = Filters::parse(parameters.get("filters").map(String::as_str), &known)?;
    let all = truth(&parameters, "all") || filters.has("status");
    let networks = engine.networks();
    let mut containers = engine.containers();
    containers.reverse();
    let shown: Vec<Value> = containers
        .iter()
        .filter(|container| (all || container.is_running()) && filters.container(container))
        .map(|container| view::summary(container, &networks))
        .collect();
    Ok(Json(shown).into_response())
}

async fn inspect(State(engine): Shared, Path(id): Path<String>) -> Answer {
    let container = engine.find(&id)?;
    Ok(Json(view::inspect(&container, &engine.networks())).into_response())
}

/// What a container has written, as the engine sends it where there is no terminal.
async fn logs(
    State(engine): Shared,
    Path(id): Path<String>,
    Query(parameters): Parameters,
) -> Answer {
    let container = engine.find(&id)?;
    let time = |name: &str| parameters.get(name).and_then(|text| text.parse().ok());
    let until = time("until").filter(|until| *until > 0).unwrap_or(i64::MAX);
    Ok(view::log(&container, time("since").unwrap_or(0)..=until).into_response())
}

fn body<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, EngineError> {
    serde_json::from_slice(bytes)
        .map_err(|error| EngineError::bad_request(format!("invalid JSON: {error}")))
}

async fn create(
    State(engine): Shared,
    Query(parameters): Parameters,
    bytes: axum::body::Bytes,
) -> Answer {
    let name = parameters.get("name").filter(|name| !name.is_empty());
    let body: CreateBody = body(&bytes)?;
    let id = engine.create(name.map(|name| name.trim_start_matches('/')), body).await?;
    Ok((StatusCode::CREATED, Json(json!({"Id": id, "Warnings": []}))).into_response())
}

fn changed(changed: Changed) -> axum::response::Response {
    match changed {
        Changed::Yes => StatusCode::NO_CONTENT.into_response(),
        Changed::NotModified => StatusCode::NOT_MODIFIED.into_response(),
    }
}

async fn start(State(engine): Shared, Path(id): Path<String>) -> Answer {
    Ok(changed(engine.start(&id).await?))
}

async fn stop(
    State(engine): Shared,
    Path(id): Path<String>,
    Query(parameters): Parameters,
) -> Answer {
    Ok(changed(engine.stop(&id, seconds(&parameters)?).await?))
}

async fn kill(
    State(engine): Shared,
    Path(id): Path<String>,
    Query(parameters): Parameters,
) -> Answer {
    engine.kill(&id, parameters.get("signal").map_or("KILL", String::as_str)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn restart(
    State(engine): Shared,
    Path(id): Path<String>,
    Query(parameters): Parameters,
) -> Answer {
    engine.restart(&id, seconds(&parameters)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn rename(
    State(engine): Shared,
    Path(id): Path<String>,
    Query(parameters): Parameters,
) -> Answer {
    engine.rename(&id, parameters.get("name").map_or("", String::as_str))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn update(State(engine): Shared, Path(id): Path<String>, bytes: axum::body::Bytes) -> Answer {
    engine.change(&id, body(&bytes)?)?;
    Ok(Json(json!({"Warnings": null})).into_response())
}

async fn remove(
    State(engine): Shared,
    Path(id): Path<String>,
    Query(parameters): Parameters,
) -> Answer {
    engine.remove(&id, truth(&parameters, "force")).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn images(State(engine): Shared, Query(parameters): Parameters) -> Answer {
    let known = ["label", "reference", "dangling"];
    let filters = Filters::parse(parameters.get("filters").map(String::as_str), &known)?;
    let images = engine.images();
    let passing = images.iter().filter(|image| {
        filters.labels(image.config.labels.as_ref())
            && filters.any("reference", |reference| {
                image.tags.iter().any(|tag| {
                    tag == reference
                        || tag.rsplit_once(':').is_some_and(|(name, _)| name == reference)
                })
            })
    });
    Ok(Json(passing.map(view::image_summary).collect::<Vec<_>>()).into_response())
}

async fn image(State(engine): Shared, Path(path): Path<String>) -> Answer {
    let name =
        path.strip_suffix("/json").ok_or_else(|| EngineError::not_found("page not found"))?;
    Ok(Json(view::image(&engine.find_image(name)?)).into_response())
}

async fn networks(State(engine): Shared, Query(parameters): Parameters) -> Answer {
    let known = ["label", "name", "id", "driver", "scope", "type"];
    let filters = Filters::parse(parameters.get("filters").map(String::as_str), &known)?;
    let networks = engine.networks();
    let passing = networks.iter().filter(|network| {
        filters.labels(Some(&network.labels))
            && filters.any("name", |name| network.name.contains(name))
            && filters.any("id", |id| network.id.starts_with(id))
    });
    let shown: Vec<Value> = passing.map(|network| view::network(network, None)).collect();
    Ok(Json(shown).into_response())
}

async fn network(State(engine): Shared, Path(id): Path<String>) -> Answer {
    let network = engine.find_network(&id)?;
    Ok(Json(view::network(&network, Some(&engine.containers()))).into_response())
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Connection {
    container: String,
    #[serde(default)]
    endpoint_config: Option<Map<String, Value>>,
}

async fn connect(
    State(engine): Shared,
    Path(id): Path<String>,
    bytes: axum::body::Bytes,
) -> Answer {
    let connection: Connection = body(&bytes)?;
    let network = engine.find_network(&id)?;
    engine.connect(
        &network.name,
        &connection.container,
        connection.endpoint_config.unwrap_or_default(),
    )?;
    Ok(StatusCode::OK.into_response())
}

async fn disconnect(
    State(engine): Shared,
    Path(id): Path<String>,
    bytes: axum::body::Bytes,
) -> Answer {
    let connection: Connection = body(&bytes)?;
    engine.disconnect(&id, &connection.container)?;
    Ok(StatusCode::OK.into_response())
}
