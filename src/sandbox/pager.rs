//! A pager double: PagerDuty's Events API v2.
//!
//! It checks an event as the vendor's documentation describes one, and keeps the alerts that come of them: one for each
//! deduplication key, however often it is raised. What acknowledges or resolves an alert that is not there is taken and
//! forgotten, as by the real one.

use std::path::Path;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::SandboxError;
use super::kept::Kept;
use super::ledger::Ledger;

/// The largest event, in bytes.
const LARGEST: usize = 512 * 1024;
/// The length of a routing key.
const KEY: usize = 32;
/// The longest deduplication key and the longest summary, in characters.
const LONGEST: [usize; 2] = [255, 1024];

/// An alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What all its events have in common.
    pub key: String,
    /// `triggered`, `acknowledged` or `resolved`.
    pub status: String,
    /// The last summary.
    pub summary: String,
    /// The last severity.
    pub severity: String,
    /// How many events it had.
    pub events: u32,
}

/// The pager of a world.
#[derive(Debug, Clone)]
pub struct Pager {
    ledger: Ledger,
    /// The key of its only service.
    routing_key: String,
    alerts: Kept<Alert>,
}

impl Pager {
    /// Opens the pager with the alerts that its file holds.
    pub fn open(path: &Path, routing_key: &str, ledger: Ledger) -> Result<Self, SandboxError> {
        Ok(Self { ledger, routing_key: routing_key.to_owned(), alerts: Kept::open(path)? })
    }

    /// All alerts, oldest first.
    pub fn alerts(&self) -> Vec<Alert> {
        self.alerts.all()
    }

    /// Forgets all alerts.
    pub fn clear(&self) -> Result<(), SandboxError> {
        self.alerts.clear()
    }

    /// The API.
    pub fn router(&self) -> axum::Router {
        axum::Router::new()
            .route("/v2/enqueue", post(receive))
            .layer(DefaultBodyLimit::max(LARGEST))
            .with_state(self.clone())
    }

    fn take(&self, event: &Event) -> Result<(), SandboxError> {
        self.alerts.change(|alerts| {
            let known = alerts
                .iter_mut()
                .find(|alert| alert.key == event.key && alert.status != "resolved");
            match (known, event.action) {
                (Some(alert), Action::Trigger) => {
                    alert.summary.clone_from(&event.summary);
                    alert.severity.clone_from(&event.severity);
                    alert.events += 1;
                }
                (Some(alert), after) => {
                    after.status().clone_into(&mut alert.status);
                    alert.events += 1;
                }
                (None, Action::Trigger) => alerts.push(Alert {
                    key: event.key.clone(),
                    status: Action::Trigger.status().to_owned(),
                    summary: event.summary.clone(),
                    severity: event.severity.clone(),
                    events: 1,
                }),
                (None, _) => {}
            }
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Trigger,
    Acknowledge,
    Resolve,
}

impl Action {
    fn read(word: &str) -> Option<Self> {
        match word {
            "trigger" => Some(Self::Trigger),
            "acknowledge" => Some(Self::Acknowledge),
            "resolve" => Some(Self::Resolve),
            _ => None,
        }
    }

    /// The status of an alert after it.
    fn status(self) -> &'static str {
        match self {
            Self::Trigger => "triggered",
            Self::Acknowledge => "acknowledged",
            Self::Resolve => "resolved",
        }
    }
}

/// An event that keeps to the documentation.
struct Event {
    action: Action,
    key: String,
    summary: String,
    severity: String,
}

/// Reads an event, or tells everything that is wrong with it.
fn read(body: &Value, routing_key: &str) -> Result<Event, Vec<String>> {
    let mut wrong = Vec::new();
    let text = |of: &Value, name: &str| of[name].as_str().unwrap_or_default().to_owned();
    match text(body, "routing_key") {
        key if key.len() != KEY => {
            wrong.push("Length of 'routing_key' is incorrect (should be 32 characters)".to_owned());
        }
        key if key != routing_key => wrong.push("'routing_key' is not known".to_owned()),
        _ => {}
    }
    let action = Action::read(&text(body, "event_action"));
    if action.is_none() {
        wrong.push("'event_action' must be one of trigger, acknowledge, resolve".to_owned());
    }
    let payload = &body["payload"];
    let (key, summary) = (text(body, "dedup_key"), text(payload, "summary"));
    let severity = text(payload, "severity");
    for (name, text, longest) in
        [("dedup_key", &key, LONGEST[0]), ("summary", &summary, LONGEST[1])]
    {
        if text.chars().count() > longest {
            wrong.push(format!("'{name}' is longer than {longest} characters"));
        }
    }
    if action == Some(Action::Trigger) {
        for name in ["summary", "source", "severity"] {
            if text(payload, name).is_empty() {
                wrong.push(format!("'payload.{name}' is missing or blank"));
            }
        }
        if !["critical", "error", "warning", "info"].contains(&severity.as_str()) {
            wrong.push("'severity' must be one of critical, error, warning, info".to_owned());
        }
    } else if key.is_empty() {
        wrong.push("'dedup_key' is missing or blank".to_owned());
    }
    match action {
        Some(action) if wrong.is_empty() => Ok(Event { action, key, summary, severity }),
        _ => Err(wrong),
    }
}

async fn receive(State(pager): State<Pager>, body: Bytes) -> Response {
    let answer = |status: StatusCode, body: Value| (status, Json(body)).into_response();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut event = match read(&body, &pager.routing_key) {
        Ok(event) => event,
        Err(wrong) => {
            let told = json!({
                "status": "invalid event",
                "message": "Event object is invalid",
                "errors": wrong,
            });
            return answer(StatusCode::BAD_REQUEST, told);
        }
    };
    if event.key.is_empty() {
        event.key = uuid::Uuid::new_v4().simple().to_string();
    }
    if let Err(error) = pager.take(&event) {
        tracing::error!(%error, "failed to keep an alert");
        return answer(StatusCode::INTERNAL_SERVER_ERROR, json!({}));
    }
    pager.ledger.record(&format!("pager {}", event.action.status()));
    let told = json!({"status": "success", "message": "Event processed", "dedup_key": event.key});
    answer(StatusCode::ACCEPTED, told)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn event(change: impl FnOnce(&mut Value)) -> Value {
        let mut event = json!({
            "routing_key": KEY, "event_action": "trigger", "dedup_key": "run-1",
            "payload": {"summary": "Rollback", "source": "sandbox", "severity": "critical"},
        });
        change(&mut event);
        event
    }

    async fn send(pager: &Pager, event: &Value) -> (u16, Value) {
        let request = Request::post("/v2/enqueue").body(Body::from(event.to_string())).unwrap();
        let answer = pager.router().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = axum::body::to_bytes(answer.into_body(), 1 << 16).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    #[tokio::test]
    async fn events_of_one_key_are_one_alert_and_wrong_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("effects.log")).unwrap();
        let pager = Pager::open(&dir.path().join("pager.json"), KEY, ledger).unwrap();
        let act = |action: &str| event(|event| event["event_action"] = action.into());
        // What is not there is neither acknowledged nor resolved.
        assert_eq!(send(&pager, &act("resolve")).await.0, 202);
        assert!(pager.alerts().is_empty());
        for _ in 0..2 {
            let (status, answer) = send(&pager, &act("trigger")).await;
            assert_eq!((status, &answer["dedup_key"]), (202, &json!("run-1")));
        }
        let statuses =
            || pager.alerts().iter().map(|alert| alert.status.clone()).collect::<Vec<_>>();
        assert_eq!(statuses(), ["triggered"]);
        assert_eq!(send(&pager, &act("acknowledge")).await.0, 202);
        assert_eq!(statuses(), ["acknowledged"]);
        assert_eq!(send(&pager, &act("resolve")).await.0, 202);
        assert_eq!(statuses(), ["resolved"]);
        assert_eq!(send(&pager, &act("trigger")).await.0, 202);
        assert_eq!(statuses(), ["resolved", "triggered"]);

        for wrong in [
            event(|event| event["routing_key"] = "short".into()),
            event(|event| event["routing_key"] = "f".repeat(32).into()),
            event(|event| event["event_action"] = "close".into()),
            event(|event| event["dedup_key"] = "k".repeat(256).into()),
            event(|event| event["payload"]["summary"] = "s".repeat(1025).into()),
            event(|event| event["payload"]["summary"] = "".into()),
            event(|event| event["payload"]["source"] = Value::Null),
            event(|event| event["payload"]["severity"] = "bad".into()),
            Value::Null,
        ] {
            let (status, answer) = send(&pager, &wrong).await;
            assert_eq!((status, &answer["status"]), (400, &json!("invalid event")), "{wrong}");
        }
        let large = event(|event| event["payload"]["custom_details"] = "x".repeat(LARGEST).into());
        assert_eq!(send(&pager, &large).await.0, 413);
    }
}
