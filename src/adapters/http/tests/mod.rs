//! Tests against local servers that answer well, badly, or not at all.

mod call;
mod expect;
mod secrets;
mod server;
mod tls;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::action::{
    Action, ActionError, Connections, Evidence, Probe, Registry, ResolveContext, Saved,
    StepContext, VerbArgs, Verdict, Work,
};
use crate::secret::Secrets;

/// Long enough for any machine; a test that needs it has found a hang.
pub(super) const HANG: Duration = Duration::from_secs(20);

pub(super) fn connect(settings: Value, secrets: Secrets) -> ResolveContext {
    // Only the first test of the process installs it.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let settings = HashMap::from([("http".to_owned(), settings)]);
    ResolveContext {
        connections: Arc::new(Connections::new("test", settings, Arc::new(secrets))),
        registry: Arc::new(Registry::default()),
    }
}

pub(super) fn plain() -> ResolveContext {
    connect(json!({}), Secrets::default())
}

pub(super) fn for_millis(millis: u64) -> StepContext {
    let deadline = Instant::now() + Duration::from_millis(millis);
    StepContext::new(deadline, CancellationToken::new(), std::env::temp_dir(), "run-1")
}

async fn work<A: VerbArgs>(cx: &ResolveContext, args: Value) -> Work {
    let args: A = serde_json::from_value(args).unwrap();
    args.validate().unwrap();
    let (_, item) = args.expand(cx).await.unwrap().remove(0);
    A::make(item, cx).unwrap()
}

pub(super) async fn action(cx: &ResolveContext, args: Value) -> Box<dyn Action> {
    match work::<super::Call>(cx, args).await {
        Work::Action(action) => action,
        _ => panic!("http.call made no action"),
    }
}

pub(super) async fn probe(cx: &ResolveContext, args: Value) -> Box<dyn Probe> {
    match work::<super::Expect>(cx, args).await {
        Work::Probe(probe) => probe,
        _ => panic!("http.expect made no probe"),
    }
}

/// Applies within `millis`; a hang fails the test.
pub(super) async fn apply(action: &dyn Action, millis: u64) -> Result<Evidence, ActionError> {
    let cx = for_millis(millis);
    let saved = Saved::default();
    tokio::time::timeout(HANG, action.apply(&cx, &saved)).await.expect("apply hangs")
}

/// Observes within `millis`; a hang fails the test.
pub(super) async fn observe(probe: &dyn Probe, millis: u64) -> Result<Verdict, ActionError> {
    let cx = for_millis(millis);
    tokio::time::timeout(HANG, probe.observe(&cx)).await.expect("observe hangs")
}

pub(super) fn seen(verdict: Verdict) -> String {
    match verdict {
        Verdict::NotYet { observed } => observed,
        Verdict::Holds { evidence } => panic!("it holds: {}", evidence.summary),
    }
}
