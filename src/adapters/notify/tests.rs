//! The services as small real HTTP servers, and the mail server of the sandbox.
//!
//! Here is what holds for every service that is asked by HTTP; each has a file for what is its own.

mod email;
mod pagerduty;
mod slack;
mod sms;
mod webhook;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::system;
use crate::action::contract::{self, World, action};
use crate::action::{
    ActionError, Connections, Ending, ErrorKind, Evidence, Registry, Repeat, Reversal, Saved, Work,
};
use crate::secret::Secrets;

const AMPLE: Duration = Duration::from_secs(30);
/// Stands in every secret.
const CANARY: &str = "CANARY";
/// A routing key is as long as this.
const KEY: &str = "CANARY0123456789abcdef0123456789";

/// The services that are asked by HTTP.
const SERVICES: [&str; 4] = ["slack", "pagerduty", "sms", "webhook"];

/// A request as it came.
#[derive(Clone)]
struct Asked {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: String,
}

/// A server that answers everything alike.
#[derive(Clone)]
struct Stub {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Stub {
    async fn answering(status: u16, body: &'static str) -> Self {
        Self::answering_later(status, None, body).await
    }

    async fn answering_later(
        status: u16,
        retry_after: Option<&'static str>,
        body: &'static str,
    ) -> Self {
        type Shared = Arc<Mutex<Vec<Asked>>>;
        let asked = Shared::default();
        let answer = move |State(asked): State<Shared>,
                           method: Method,
                           path: Uri,
                           headers: HeaderMap,
                           body_sent: String| async move {
            let path = path.path().to_owned();
            asked.lock().expect("a lock").push(Asked { method, path, headers, body: body_sent });
            let mut headers = HeaderMap::new();
            if let Some(seconds) = retry_after {
                let _former = headers.insert("retry-after", seconds.parse().expect("a header"));
            }
            (StatusCode::from_u16(status).expect("a status"), headers, body)
        };
        let routes = Router::new().fallback(answer).with_state(asked.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = address_of(&listener);
        let _server = tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("a lock").clone()
    }

    /// The only request.
    fn only(&self) -> Asked {
        let mut asked = self.asked();
        assert_eq!(asked.len(), 1, "sent once");
        asked.remove(0)
    }
}

fn address_of(listener: &TcpListener) -> String {
    format!("http://{}", listener.local_addr().expect("an address"))
}

/// The connection of a service, with secrets that hold the [`CANARY`].
fn connection(service: &str, url: &str) -> Connections {
    // Another test may have installed it already.
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut secrets = Secrets::default();
    let settings = match service {
        "slack" => {
            let hook = format!("{url}/services/{CANARY}");
            json!({"webhook": secrets.insert("webhook", hook.into())})
        }
        "pagerduty" => {
            let key = secrets.insert("key", KEY.to_owned().into());
            json!({"routing_key": key, "url": url})
        }
        "sms" => {
            let token = secrets.insert("token", format!("{CANARY}-token").into());
            json!({"account": "AC1", "token": token, "from": "+14155550199",
                "to": ["+14155550100"], "url": url})
        }
        _ => {
            let url = secrets.insert("url", format!("{url}/hooks/{CANARY}").into());
            let bearer = secrets.insert("bearer", format!("Bearer {CANARY}").into());
            json!({"url": url, "headers": {"Authorization": bearer}})
        }
    };
    let settings = HashMap::from([(service.to_owned(), settings)]);
    Connections::new("test", settings, Arc::new(secrets))
}

/// A plain message of a service.
fn message(service: &str) -> Value {
    match service {
        "pagerduty" => json!({"summary": "Rollback started"}),
        "webhook" => json!({"body": {"title": "Rollback started"}}),
        _ => json!({"text": "Rollback started"}),
    }
}

async fn make(service: &str, url: &str, args: Value) -> Result<Vec<(String, Work)>, ActionError> {
    make_with(connection(service, url), service, args).await
}

async fn make_with(
    connections: Connections,
    service: &str,
    args: Value,
) -> Result<Vec<(String, Work)>, ActionError> {
    let verb = format!("notify.{service}");
    contract::make(Registry::new(vec![system()]), connections, &verb, args).await
}

async fn send(service: &str, url: &str, time: Duration) -> Result<Evidence, ActionError> {
    send_args(service, url, message(service), time).await
}

async fn send_args(
    service: &str,
    url: &str,
    args: Value,
    time: Duration,
) -> Result<Evidence, ActionError> {
    let message = action(make(service, url, args).await.expect("valid"));
    message.apply(&World::new("run-1").context(time).at("stop/tell"), &Saved::default()).await
}

/// Asks a connection whether it works.
async fn reach(service: &str, connections: &Connections) -> Result<String, ActionError> {
    let registry = Registry::new(vec![system()]);
    let block = registry.connections().find(|block| block.key == service).expect("a connection");
    block.reach.expect("it can be asked")(connections).await
}

fn without_secret(error: &ActionError) {
    let told = format!("{error:?} {error}");
    assert!(!told.contains(CANARY), "{told}");
}

#[tokio::test]
async fn a_message_is_sent_once_and_cannot_be_taken_back() {
    for service in SERVICES {
        let stub = Stub::answering(200, "{}").await;
        let message = action(make(service, &stub.url, message(service)).await.expect("valid"));
        let world = World::new("run-1");
        let (saved, evidence) = contract::applied(&*message, &world).await;
        assert_eq!(stub.only().method, Method::POST, "{service}");
        assert!(matches!(message.reversal(), Reversal::Irreversible { .. }));
        let undone = message.undo(&world.context(AMPLE), &saved, Some(&evidence)).await;
        assert_eq!(undone.expect_err("it cannot be unsent").kind, ErrorKind::Invalid, "{service}");
        let expected = if service == "pagerduty" { Repeat::Safe } else { Repeat::Never };
        assert_eq!(message.repeat(), expected, "{service}");
    }
}

#[tokio::test]
async fn too_many_messages_are_tried_again_only_when_there_is_time() {
    for service in SERVICES {
        let stub = Stub::answering_later(429, Some("2"), "rate_limited").await;
        let error = send(service, &stub.url, AMPLE).await.expect_err("too many");
        assert!(error.retryable, "{service}: {error}");
        assert!(error.message.contains("try again in 2s"), "{error}");

        let stub = Stub::answering_later(429, Some("120"), "rate_limited").await;
        assert!(!send(service, &stub.url, AMPLE).await.expect_err("too many").retryable);
    }
}

#[tokio::test]
async fn a_server_error_leaves_it_open_whether_the_message_was_sent_where_that_matters() {
    for service in SERVICES {
        for status in [500, 503] {
            let stub = Stub::answering(status, "rollup_error").await;
            let error = send(service, &stub.url, AMPLE).await.expect_err("a server error");
            let expected = match service {
                "pagerduty" => (ErrorKind::Failed, true),
                _ => (ErrorKind::Unknown, false),
            };
            assert_eq!((error.kind, error.retryable), expected, "{service}: {error}");
        }
    }
}

#[tokio::test]
async fn credentials_that_are_refused_are_told_without_them() {
    for service in SERVICES {
        // A server may echo what it was sent.
        let echo = match service {
            "pagerduty" => KEY,
            "sms" => "the token CANARY-token is wrong",
            "webhook" => "the header Bearer CANARY is wrong",
            _ => "invalid_token",
        };
        for (status, kind) in [(401, ErrorKind::Denied), (404, ErrorKind::NotFound)] {
            let stub = Stub::answering(status, echo).await;
            let error = send(service, &stub.url, AMPLE).await.expect_err("refused");
            assert_eq!((error.kind, error.retryable), (kind, false), "{service}: {error}");
            without_secret(&error);
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for service in SERVICES {
        let stub = Stub::answering(302, "").await;
        let error = send(service, &stub.url, AMPLE).await.expect_err("a redirect");
        assert!(error.message.contains("302"), "{error}");
    }
}

#[tokio::test]
async fn nothing_listening_is_unreachable_and_was_not_sent() {
    for service in SERVICES {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = address_of(&listener);
        drop(listener);
        let error = send(service, &url, AMPLE).await.expect_err("nobody there");
        assert_eq!(error.kind, ErrorKind::Unreachable, "{service}");
        assert!(error.retryable);
        without_secret(&error);
    }
}

#[tokio::test]
async fn silence_ends_at_the_deadline_with_an_unknown_outcome() {
    for service in SERVICES {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let started = Instant::now();
        let sent = send(service, &address_of(&listener), Duration::from_millis(300)).await;
        let error = sent.expect_err("silence");
        assert_eq!(error.kind, ErrorKind::Unknown, "{service}");
        assert!(started.elapsed() < Duration::from_secs(10), "a hang guard");
        without_secret(&error);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_leaves_the_outcome_unknown() {
    for service in SERVICES {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = address_of(&listener);
        let _server = tokio::spawn(async move {
            use tokio::io::AsyncReadExt as _;
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut head = [0; 64];
            let _read = stream.read(&mut head).await;
        });
        let error = send(service, &url, AMPLE).await.expect_err("broken off");
        assert_eq!(error.kind, ErrorKind::Unknown, "{service}");
        without_secret(&error);
    }
}

#[tokio::test]
async fn a_run_that_is_told_to_stop_sends_nothing_more() {
    for service in SERVICES {
        let stub = Stub::answering(200, "ok").await;
        let message = action(make(service, &stub.url, message(service)).await.expect("valid"));
        let world = World::new("run-1");
        world.cancel();
        let sent = message.apply(&world.context(AMPLE), &Saved::default()).await;
        assert_eq!(sent.expect_err("stopped").kind, ErrorKind::Cancelled);
        assert!(stub.asked().is_empty(), "{service}");
    }
}

#[tokio::test]
async fn a_missing_or_broken_connection_is_told_before_the_run() {
    for service in SERVICES.into_iter().chain(["email"]) {
        let none = Connections::new("test", HashMap::new(), Arc::new(Secrets::default()));
        let args = match service {
            "email" => json!({"subject": "Rollback", "text": "Rollback started"}),
            service => message(service),
        };
        let error = make_with(none, service, args).await.err().expect("no connection");
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(error.hints[0].contains(&format!("connections: {{{service}: ")), "{error:?}");
    }
    for service in SERVICES {
        for url in ["CANARY is no URL", "file:///CANARY"] {
            let error = make(service, url, message(service)).await.err().expect("no address");
            assert_eq!(error.kind, ErrorKind::Invalid, "{service}");
            without_secret(&error);
        }
    }
}

#[tokio::test]
async fn the_host_can_be_reached_without_sending() {
    for service in SERVICES {
        let stub = Stub::answering(200, "{}").await;
        let connections = connection(service, &stub.url);
        let _told = reach(service, &connections).await.expect("it listens");
        // Twilio's account is looked up, and that is all.
        assert!(stub.asked().iter().all(|asked| asked.method == Method::GET), "{service}");
    }
}

#[tokio::test]
async fn every_verb_can_tell_how_a_run_ended() {
    for succeeded in [true, false] {
        let ending = Ending {
            run: "run-1".into(),
            title: "Ollama".into(),
            environment: "test".into(),
            succeeded,
            headline: "x".repeat(2000),
            text: "RECOVERED\nin 45 s".into(),
            journal_head: "00ff".into(),
        };
        for verb in Registry::new(vec![system()]).verbs() {
            let args = verb.last_word.expect("it carries messages")(&ending);
            (verb.validate)(args).unwrap_or_else(|why| panic!("{}: {why}", verb.name));
        }
    }
}
