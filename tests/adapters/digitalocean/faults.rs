//! Limits, errors and a wire that breaks: what is waited for, what may be tried again, and where the token never goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rollback::action::ErrorKind;
use rollback::sandbox::wire::{Front, open_tcp, plain_refusal};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::rig::Rig;

const PAUSE: &str = "digitalocean.pause";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_is_waited_out_within_the_deadline_alone() {
    let rig = Rig::direct();
    let port = rig.port();
    let pause = port.planned(PAUSE, json!({"app": "bi-architect"})).await;
    // It says "in a second", to the look and to the change.
    rig.fault("digitalocean:error=429,times=2");
    let (saved, _) = port.apply(&*pause).await;
    assert_eq!(rig.count("update app bi-architect"), 1);
    rig.fault("digitalocean:error=429");
    let soon = port.cx_until(Instant::now() + Duration::from_millis(700));
    let error = pause.undo(&soon, &saved, None).await.expect_err("the second is too long");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Failed, true), "{error:?}");
    assert_eq!(error.hints, ["DigitalOcean asks to wait 1s."]);
    assert_eq!(rig.total(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_the_server_leaves_a_doubt_where_one_is() {
    let rig = Rig::direct();
    let port = rig.port();
    for (verb, path, status, kind, again) in [
        ("digitalocean.restart", "/restart", 503, ErrorKind::Unknown, false),
        ("digitalocean.restart", "/restart", 500, ErrorKind::Unknown, false),
        ("digitalocean.rollback", "/rollback", 503, ErrorKind::Unknown, false),
        ("digitalocean.rollback", "/rollback", 422, ErrorKind::Invalid, false),
        (PAUSE, "GET /v2/apps/", 503, ErrorKind::Failed, true),
        (PAUSE, "GET /v2/apps/", 401, ErrorKind::Denied, false),
        (PAUSE, "PUT /v2/apps/", 503, ErrorKind::Failed, true),
        (PAUSE, "PUT /v2/apps/", 500, ErrorKind::Unknown, true),
        (PAUSE, "PUT /v2/apps/", 401, ErrorKind::Denied, false),
    ] {
        let action = port.planned(verb, json!({"app": "bi-architect"})).await;
        let saved = port.needed(&*action).await;
        rig.fault(&format!("digitalocean:error={status},path={path}"));
        let error = action.apply(&port.cx(), &saved).await.expect_err("it is refused");
        assert_eq!((error.kind, error.retryable), (kind, again), "{verb} {status}: {error:?}");
        assert!(error.message.contains("(request "), "{error:?}");
        rig.faults.clear(None);
    }
    assert_eq!(rig.total(), 0, "nothing was done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_accepted_is_told() {
    // A proxy that prepares itself takes longer than pre-flight has.
    let rig = Rig::direct();
    let error = rig.port_with("another-token").reach().await.expect_err("it is refused");
    assert_eq!(error.kind, ErrorKind::Denied, "{error:?}");
    assert!(!format!("{error:?}").contains("another-token"));
    let told = rig.port().reach().await.expect("it answers");
    assert!(told.ends_with("4999 of 5000 requests left this hour"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_ends_at_the_deadline_and_changes_nothing() {
    let rig = Rig::direct();
    let port = rig.port();
    let pause = port.planned(PAUSE, json!({"app": "bi-architect"})).await;
    rig.fault("digitalocean:silence");
    let soon = port.cx_until(Instant::now() + Duration::from_millis(300));
    let error = pause.inspect(&soon).await.map(drop).expect_err("no answer");
    assert_eq!((error.kind, error.retryable), (ErrorKind::TimedOut, true), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_next_page_elsewhere_is_not_asked() {
    let asked = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let elsewhere = format!("http://{}", listener.local_addr().expect("it is bound"));
    let count = asked.clone();
    let handler = move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let answering: futures_util::future::BoxFuture<'static, _> =
            Box::pin(async { axum::http::Response::default() });
        answering
    };
    let front = Front { faults: None, handler: Arc::new(handler), refuse: plain_refusal };
    let _door = open_tcp(listener, front);
    let rig = Rig::linking(elsewhere);
    let error = rig.port().items(PAUSE, json!({"app": "nowhere"})).await.expect_err("refused");
    assert!(error.message.contains("lies elsewhere"), "{error:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 0, "the token stays");
}
