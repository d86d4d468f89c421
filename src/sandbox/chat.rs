//! A chat double: an incoming webhook as Slack's.
//!
//! Answers are plain strings with Slack's words (`ok`, `invalid_payload`, `no_text`, `no_service`). Being told to slow down
//! (429 with `Retry-After`) is the fault `chat:error=429`.

use std::path::Path;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SandboxError;
use super::kept::Kept;
use super::ledger::Ledger;
use crate::clock;

/// A message that was posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// RFC 3339.
    pub at: String,
    /// The text; empty when there were only blocks or attachments.
    pub text: String,
    /// The whole payload.
    pub payload: Value,
}

/// The chat of a world.
#[derive(Debug, Clone)]
pub struct Chat {
    ledger: Ledger,
    messages: Kept<Message>,
}

impl Chat {
    /// Opens the chat with the messages that its file holds.
    pub fn open(path: &Path, ledger: Ledger) -> Result<Self, SandboxError> {
        Ok(Self { ledger, messages: Kept::open(path)? })
    }

    /// All messages, oldest first.
    pub fn messages(&self) -> Vec<Message> {
        self.messages.all()
    }

    /// Forgets all messages.
    pub fn clear(&self) -> Result<(), SandboxError> {
        self.messages.clear()
    }

    /// The webhook, at the path of its secret URL.
    pub fn router(&self, webhook: &str) -> axum::Router {
        axum::Router::new()
            .route(webhook, post(receive))
            .fallback(async || (StatusCode::NOT_FOUND, "no_service"))
            .with_state(self.clone())
    }
}

async fn receive(
    State(chat): State<Chat>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let answer = |status, text: &str| (status, text.to_owned());
    let media = headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok());
    if !media.is_some_and(|media| media.starts_with("application/json")) {
        return answer(StatusCode::BAD_REQUEST, "invalid_payload");
    }
    let Ok(payload @ Value::Object(_)) = serde_json::from_slice::<Value>(&body) else {
        return answer(StatusCode::BAD_REQUEST, "invalid_payload");
    };
    let text = payload.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
    let filled = |name: &str| {
        payload.get(name).and_then(Value::as_array).is_some_and(|list| !list.is_empty())
    };
    if text.is_empty() && !filled("blocks") && !filled("attachments") {
        return answer(StatusCode::BAD_REQUEST, "no_text");
    }
    let message = Message { at: clock::now().to_string(), text, payload };
    match chat.messages.add(message) {
        Ok(()) => {
            chat.ledger.record("chat post");
            answer(StatusCode::OK, "ok")
        }
        Err(error) => {
            tracing::error!(%error, "failed to keep a message");
            answer(StatusCode::INTERNAL_SERVER_ERROR, "rollup_error")
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    const HOOK: &str = "/services/T0/B0/secret";

    async fn post_to(chat: &Chat, path: &str, body: &str) -> (StatusCode, String) {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let answer = chat.router(HOOK).oneshot(request).await.unwrap();
        let status = answer.status();
        let bytes = axum::body::to_bytes(answer.into_body(), 1 << 16).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn messages_are_kept_and_refusals_are_in_slacks_words() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("effects.log")).unwrap();
        let path = dir.path().join("chat.json");
        let chat = Chat::open(&path, ledger.clone()).unwrap();
        let ok = post_to(&chat, HOOK, r#"{"text": "Rollback started: drill"}"#).await;
        assert_eq!(ok, (StatusCode::OK, "ok".to_owned()));
        for (path, body, status, text) in [
            (HOOK, "text=hello", 400, "invalid_payload"),
            (HOOK, r#"["text"]"#, 400, "invalid_payload"),
            (HOOK, r#"{"channel": "a"}"#, 400, "no_text"),
            ("/services/T0/B0/other", r#"{"text": "a"}"#, 404, "no_service"),
        ] {
            let (found, word) = post_to(&chat, path, body).await;
            assert_eq!((found.as_u16(), word.as_str()), (status, text), "{body}");
        }
        let again = Chat::open(&path, ledger.clone()).unwrap();
        let messages = again.messages();
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].text, "Rollback started: drill");
        assert_eq!(ledger.effects().get("chat post"), Some(&1));
        again.clear().unwrap();
        assert!(Chat::open(&path, ledger).unwrap().messages().is_empty());
    }
}
