//! The orchestrators behind the agents' address: the old one, which does all itself, and the new one, which asks its specialists.
//!
//! `GET /health` says who answers, `POST /chat` takes a question. What the new one does with a question depends on the world: a specialist
//! whose route is attached and whose app runs answers; one that does not run breaks the answer; without a route the orchestrator
//! answers by its own means.

use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::faults::Double;

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Generation {
    /// The one before the deployment.
    Old,
    /// The one with specialists.
    New,
}

impl Generation {
    /// What it says it is.
    pub fn version(self) -> &'static str {
        match self {
            Self::Old => "2.0.0",
            Self::New => "3.0.0",
        }
    }

    /// Its name as a double.
    pub fn double(self) -> Double {
        match self {
            Self::Old => Double::OldOrchestrator,
            Self::New => Double::NewOrchestrator,
        }
    }
}

/// How the new orchestrator stands to one of its specialists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No route leads to it.
    Detached,
    /// A route leads to it, and its app runs.
    AtWork,
    /// A route leads to it, and nothing answers there.
    Down,
}

/// Who knows how the specialists stand.
pub trait Specialists: fmt::Debug + Send + Sync {
    /// How a specialist stands.
    fn standing(&self, specialist: &str) -> Standing;
}

/// The words by which a question is for a specialist.
const DOMAINS: [(&str, &[&str]); 4] = [
    ("finance-ssc-expert", &["bir", "tax", "invoice"]),
    ("odoo-developer-agent", &["oca", "odoo"]),
    ("bi-architect", &["dashboard", "report"]),
    ("devops-engineer", &["deploy", "cluster"]),
];

#[derive(Debug, Clone)]
struct Orchestrator {
    generation: Generation,
    specialists: Arc<dyn Specialists>,
}

/// A question.
#[derive(Debug, Deserialize)]
struct Question {
    message: String,
    conversation_id: String,
}

/// The service of one generation; the old one has no use for the specialists.
pub fn router(generation: Generation, specialists: Arc<dyn Specialists>) -> axum::Router {
    axum::Router::new()
        .route("/health", get(health))
        .route("/chat", post(chat))
        .with_state(Orchestrator { generation, specialists })
}

async fn health(State(orchestrator): State<Orchestrator>) -> Response {
    let version = orchestrator.generation.version();
    Json(json!({"status": "ok", "agent": "orchestrator", "version": version})).into_response()
}

async fn chat(
    State(orchestrator): State<Orchestrator>,
    question: Result<Json<Question>, JsonRejection>,
) -> Response {
    let Json(question) = match question {
        Ok(question) => question,
        Err(refused) => {
            return (refused.status(), Json(json!({"error": refused.body_text()}))).into_response();
        }
    };
    let (version, message) = (orchestrator.generation.version(), question.message.to_lowercase());
    let words = || message.split(|c: char| !c.is_ascii_alphanumeric());
    let specialist = DOMAINS.into_iter().find(|(_, keys)| words().any(|word| keys.contains(&word)));
    let standing = match (orchestrator.generation, specialist) {
        (Generation::New, Some((name, _))) => orchestrator.specialists.standing(name),
        _ => Standing::Detached,
    };
    let handled_by = match (standing, specialist) {
        (Standing::AtWork, Some((name, _))) => name,
        (Standing::Down, Some((name, _))) => {
            let error = format!("the specialist {name} does not answer");
            return (StatusCode::BAD_GATEWAY, Json(json!({ "error": error }))).into_response();
        }
        _ => "orchestrator",
    };
    let response = if message.contains("version") {
        format!("I am the orchestrator, version {version}.")
    } else {
        format!("{handled_by} has taken care of it.")
    };
    Json(json!({
        "conversation_id": question.conversation_id,
        "agent": "orchestrator",
        "version": version,
        "handled_by": handled_by,
        "response": response,
    }))
    .into_response()
}
