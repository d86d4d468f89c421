//! The control endpoint of a world: how its status is asked for and its faults are set while it runs.
//!
//! `GET /ping`, `GET /status`, `GET|POST|DELETE /faults` (one fault per line in, see [`faults`](super::faults)),
//! `GET /messages`, `GET|POST /metrics` (one sample per line in, see [`prometheus`](super::prometheus)), `POST /reset`, and in a detached world `POST /down`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;

use super::SandboxError;
use super::faults::{Double, Fault, FaultError};
use super::wire::{Handler, routed};
use super::world::Inhabitants;

type Shared = State<Arc<Inhabitants>>;

/// The endpoint as a handler for the wire.
pub fn handler(world: Arc<Inhabitants>) -> Handler {
    let router = axum::Router::new()
        .route("/ping", get(ping))
        .route("/status", get(status))
        .route("/messages", get(messages))
        .route("/metrics", get(metrics).post(set_metrics))
        .route("/faults", get(faults).post(add_faults).delete(clear_faults))
        .route("/reset", post(reset))
        .route("/down", post(down))
        .with_state(world);
    routed(router)
}

impl IntoResponse for SandboxError {
    fn into_response(self) -> Response {
        let cause = std::error::Error::source(&self).map(|cause| format!(": {cause}"));
        let text = format!("failed to {self}{}", cause.unwrap_or_default());
        (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
    }
}

async fn ping(State(world): Shared) -> Response {
    Json(json!({"pid": world.info().pid})).into_response()
}

async fn status(State(world): Shared) -> Result<Response, SandboxError> {
    Ok(Json(world.status().await?).into_response())
}

async fn messages(State(world): Shared) -> Response {
    Json(world.chat().messages()).into_response()
}

async fn metrics(State(world): Shared) -> String {
    world.prometheus().shown().join("\n")
}

async fn set_metrics(State(world): Shared, body: String) -> Result<Response, SandboxError> {
    match world.prometheus().set(&body) {
        Ok(()) => Ok(metrics(State(world)).await.into_response()),
        // A line that is no sample, of whoever asks.
        Err(SandboxError::Process(why)) => Ok((StatusCode::BAD_REQUEST, why).into_response()),
        Err(error) => Err(error),
    }
}

async fn faults(State(world): Shared) -> Response {
    Json(world.faults().list()).into_response()
}

async fn add_faults(State(world): Shared, body: String) -> Response {
    let lines = body.lines().map(str::trim).filter(|line| !line.is_empty());
    // All or none, so that a typing error leaves nothing half set.
    let parsed: Result<Vec<Fault>, FaultError> = lines.map(str::parse).collect();
    match parsed {
        Ok(parsed) => {
            for fault in parsed {
                world.faults().add(fault);
            }
            faults(State(world)).await
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

#[derive(serde::Deserialize)]
struct Which {
    double: Option<Double>,
}

async fn clear_faults(State(world): Shared, Query(which): Query<Which>) -> Response {
    world.faults().clear(which.double);
    faults(State(world)).await
}

async fn reset(State(world): Shared) -> Result<Response, SandboxError> {
    world.reset().await?;
    Ok(Json(world.status().await?).into_response())
}

async fn down(State(world): Shared) -> Response {
    world.end();
    (StatusCode::ACCEPTED, "ending").into_response()
}
