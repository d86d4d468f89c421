//! A tracker double: an address that takes JSON objects, and knows by `Idempotency-Key` what it has already.

use std::path::Path;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SandboxError;
use super::kept::Kept;
use super::ledger::Ledger;

/// An entry of the tracker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What the sender calls it.
    pub key: Option<String>,
    /// What it says.
    pub body: Value,
}

/// The tracker of a world.
#[derive(Debug, Clone)]
pub struct Tracker {
    ledger: Ledger,
    entries: Kept<Entry>,
}

impl Tracker {
    /// Opens the tracker with the entries that its file holds.
    pub fn open(path: &Path, ledger: Ledger) -> Result<Self, SandboxError> {
        Ok(Self { ledger, entries: Kept::open(path)? })
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.all()
    }

    /// Forgets all entries.
    pub fn clear(&self) -> Result<(), SandboxError> {
        self.entries.clear()
    }

    /// The webhook, at the path of its secret URL.
    pub fn router(&self, webhook: &str) -> axum::Router {
        axum::Router::new().route(webhook, post(receive)).with_state(self.clone())
    }
}

async fn receive(State(tracker): State<Tracker>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Ok(body @ Value::Object(_)) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    if key.is_some() && tracker.entries().iter().any(|entry| entry.key == key) {
        return StatusCode::OK;
    }
    if let Err(error) = tracker.entries.add(Entry { key, body }) {
        tracing::error!(%error, "failed to keep an entry");
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    tracker.ledger.record("tracker entry");
    StatusCode::CREATED
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn what_comes_twice_under_one_key_is_one_entry() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("effects.log")).unwrap();
        let tracker = Tracker::open(&dir.path().join("tracker.json"), ledger.clone()).unwrap();
        for (key, body, status) in [
            (Some("a"), r#"{"title": "x"}"#, 201),
            (Some("a"), r#"{"title": "x"}"#, 200),
            (None, r#"{"title": "y"}"#, 201),
            (None, r#"{"title": "y"}"#, 201),
            (None, "[]", 400),
        ] {
            let mut request = Request::post("/hooks/secret");
            if let Some(key) = key {
                request = request.header("idempotency-key", key);
            }
            let request = request.body(Body::from(body)).unwrap();
            let answer = tracker.router("/hooks/secret").oneshot(request).await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{body}");
        }
        assert_eq!((tracker.entries().len(), ledger.effects()["tracker entry"]), (3, 3));
    }
}
