//! Slack as a small real HTTP server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::system;
use crate::action::contract::{self, World, action, applied};
use crate::action::{
    ActionError, Connections, ErrorKind, Evidence, Registry, Repeat, Reversal, Saved, Work,
};
use crate::secret::Secrets;

const AMPLE: Duration = Duration::from_secs(30);
const TOKEN: &str = "CANARY/T000/B000/XXXXXXXX";

type Posted = Arc<Mutex<Vec<(HeaderMap, Value)>>>;

/// A webhook that answers with this status, header and body; what it was sent; its address.
async fn webhook(
    status: u16,
    retry_after: Option<&'static str>,
    body: &'static str,
) -> (String, Posted) {
    let posted = Posted::default();
    let answer = move |State(posted): State<Posted>, headers: HeaderMap, sent: String| async move {
        let sent = serde_json::from_str(&sent).expect("JSON");
        posted.lock().expect("a lock").push((headers, sent));
        let mut headers = HeaderMap::new();
        if let Some(seconds) = retry_after {
            let _former = headers.insert("retry-after", seconds.parse().expect("a header"));
        }
        (StatusCode::from_u16(status).expect("a status"), headers, body)
    };
    let routes = Router::new().route("/services/{*token}", post(answer)).with_state(posted.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let _server = tokio::spawn(async move { axum::serve(listener, routes).await });
    (format!("http://{address}/services/{TOKEN}"), posted)
}

async fn make(url: &str, text: &str) -> Result<Vec<(String, Work)>, ActionError> {
    // Another test may have installed it already.
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut secrets = Secrets::default();
    let marker = secrets.insert("webhook", url.to_owned().into());
    let settings = HashMap::from([("slack".to_owned(), json!({"webhook": marker}))]);
    let connections = Connections::new("test", settings, Arc::new(secrets));
    let registry = Registry::new(vec![system()]);
    contract::make(registry, connections, "notify.slack", json!({"text": text})).await
}

async fn post_to(url: &str, time: Duration) -> Result<Evidence, ActionError> {
    let message = action(make(url, "Rollback started").await.expect("valid"));
    message.apply(&World::new("run-1").context(time), &Saved::default()).await
}

fn without_secret(error: &ActionError) {
    let told = format!("{error:?} {error}");
    assert!(!told.contains("CANARY") && !told.contains("XXXXXXXX"), "{told}");
}

#[tokio::test]
async fn a_message_is_posted_as_json() {
    let (url, posted) = webhook(200, None, "ok").await;
    let text = "Rollback started: \"quotes\", 🚨 and\u{1b}[31m a line\nbreak";
    let message = action(make(&url, text).await.expect("valid"));
    let (saved, evidence) = applied(&*message, &World::new("run-1")).await;
    let posted = posted.lock().expect("a lock").clone();
    assert_eq!(posted.len(), 1);
    let (headers, sent) = &posted[0];
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(*sent, json!({"text": "Rollback started: \"quotes\", 🚨 and[31m a line\nbreak"}));

    assert_eq!(message.repeat(), Repeat::Never);
    assert!(matches!(message.reversal(), Reversal::Irreversible { .. }));
    let undone = message.undo(&World::new("run-1").context(AMPLE), &saved, Some(&evidence)).await;
    assert_eq!(undone.expect_err("a message cannot be unsent").kind, ErrorKind::Invalid);
}

#[tokio::test]
async fn each_refusal_has_its_kind_and_its_hint() {
    for (status, body, kind, hint) in [
        (400, "invalid_payload", ErrorKind::Failed, "change the step's `text`"),
        (403, "action_prohibited", ErrorKind::Denied, "administrator"),
        (404, "no_service", ErrorKind::NotFound, "create a new one"),
        (410, "channel_is_archived", ErrorKind::NotFound, "another channel"),
    ] {
        let (url, _) = webhook(status, None, body).await;
        let error = post_to(&url, AMPLE).await.expect_err("refused");
        assert_eq!(error.kind, kind, "{error}");
        assert!(!error.retryable);
        assert!(error.message.contains(body), "{error}");
        assert!(error.hints[0].contains(hint), "{:?}", error.hints);
        without_secret(&error);
    }
}

#[tokio::test]
async fn too_many_messages_are_tried_again_only_when_there_is_time() {
    let (url, _) = webhook(429, Some("2"), "rate_limited").await;
    let error = post_to(&url, AMPLE).await.expect_err("too many");
    assert!(error.retryable);
    assert!(error.message.contains("try again in 2s"), "{error}");

    let (url, _) = webhook(429, Some("120"), "rate_limited").await;
    assert!(!post_to(&url, AMPLE).await.expect_err("too many").retryable);
}

#[tokio::test]
async fn a_server_error_leaves_it_open_whether_the_message_was_posted() {
    for status in [500, 503] {
        let (url, _) = webhook(status, None, "rollup_error").await;
        let error = post_to(&url, AMPLE).await.expect_err("a server error");
        assert_eq!((error.kind, error.retryable), (ErrorKind::Unknown, false));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (url, _) = webhook(302, None, "").await;
    let error = post_to(&url, AMPLE).await.expect_err("a redirect");
    assert!(error.message.contains("302"), "{error}");
}

#[tokio::test]
async fn nothing_listening_is_unreachable_and_was_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/services/{TOKEN}", listener.local_addr().expect("an address"));
    drop(listener);
    let error = post_to(&url, AMPLE).await.expect_err("nobody there");
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.retryable);
    without_secret(&error);
}

#[tokio::test]
async fn silence_ends_at_the_deadline_with_an_unknown_outcome() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/services/{TOKEN}", listener.local_addr().expect("an address"));
    let started = Instant::now();
    let error = post_to(&url, Duration::from_millis(300)).await.expect_err("silence");
    assert_eq!(error.kind, ErrorKind::Unknown);
    assert!(started.elapsed() < Duration::from_secs(10), "a hang guard");
    without_secret(&error);
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_leaves_the_outcome_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/services/{TOKEN}", listener.local_addr().expect("an address"));
    let _server = tokio::spawn(async move {
        use tokio::io::AsyncReadExt as _;
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut head = [0; 64];
        let _read = stream.read(&mut head).await;
    });
    let error = post_to(&url, AMPLE).await.expect_err("broken off");
    assert_eq!(error.kind, ErrorKind::Unknown);
    without_secret(&error);
}

#[tokio::test]
async fn a_missing_or_broken_connection_is_told_before_the_run() {
    let connections = Connections::new("test", HashMap::new(), Arc::new(Secrets::default()));
    let registry = Registry::new(vec![system()]);
    let made = contract::make(registry, connections, "notify.slack", json!({"text": "x"})).await;
    let error = made.err().expect("no connection");
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.hints[0].contains("SLACK_WEBHOOK_URL"));

    for url in ["CANARY is no URL", "file:///CANARY"] {
        let error = make(url, "x").await.err().expect("no address");
        assert_eq!(error.kind, ErrorKind::Invalid);
        without_secret(&error);
    }
}

#[tokio::test]
async fn texts_that_should_not_be_posted_are_refused() {
    for (text, part) in [
        (String::new(), "empty"),
        ("x".repeat(40_001), "longer"),
        ("\u{E000}token\u{E001}".to_owned(), "secret"),
    ] {
        let error = make("http://127.0.0.1:1/", &text).await.err().expect("refused");
        assert!(error.message.contains(part), "{error}");
    }
}

#[tokio::test]
async fn the_host_can_be_reached_without_posting() {
    let (url, posted) = webhook(200, None, "ok").await;
    let settings = HashMap::from([("slack".to_owned(), json!({"webhook": url}))]);
    let connections = Connections::new("test", settings, Arc::new(Secrets::default()));
    rustls::crypto::ring::default_provider().install_default().ok();
    let told = super::slack::reach(&connections).await.expect("it listens");
    assert!(told.contains("accepts connections"), "{told}");
    assert!(posted.lock().expect("a lock").is_empty());
}
