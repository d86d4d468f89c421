//! `notify.pagerduty`, against a stub and against the sandbox's pager.

use super::*;
use crate::sandbox::ledger::Ledger;
use crate::sandbox::pager::Pager;

#[tokio::test]
async fn an_event_is_as_the_documentation_wants_it() {
    let stub = Stub::answering(202, "{}").await;
    let args = json!({
        "summary": "Rollback\nstarted", "severity": "error", "details": {"reason": "errors"},
    });
    let _evidence = send_args("pagerduty", &stub.url, args, AMPLE).await.expect("taken");
    let asked = stub.only();
    assert_eq!(asked.path, "/v2/enqueue");
    let sent: Value = serde_json::from_str(&asked.body).expect("JSON");
    let expected = json!({
        "routing_key": KEY,
        "event_action": "trigger",
        "dedup_key": "run-1",
        "payload": {
            "summary": "Rollback started",
            "source": "test",
            "severity": "error",
            "custom_details": {"reason": "errors"},
        },
    });
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn a_run_has_one_alert_however_often_it_is_raised() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = Ledger::open(&dir.path().join("effects.log")).expect("a ledger");
    let pager = Pager::open(&dir.path().join("pager.json"), KEY, ledger).expect("a pager");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = address_of(&listener);
    let router = pager.router();
    let _server = tokio::spawn(async move { axum::serve(listener, router).await });
    for (args, status) in [
        (json!({"summary": "one"}), "triggered"),
        (json!({"summary": "two", "severity": "warning"}), "triggered"),
        (json!({"event": "acknowledge"}), "acknowledged"),
        (json!({"event": "resolve"}), "resolved"),
    ] {
        let _evidence = send_args("pagerduty", &url, args, AMPLE).await.expect("taken");
        let alerts = pager.alerts();
        assert_eq!((alerts.len(), alerts[0].status.as_str()), (1, status));
        assert_eq!(alerts[0].key, "run-1");
    }
    assert_eq!(pager.alerts()[0].summary, "two");
}

#[tokio::test]
async fn a_wrong_key_is_refused_for_good_and_not_shown() {
    let body = r#"{"status":"invalid event","errors":["'routing_key' is not known"]}"#;
    let stub = Stub::answering(400, body).await;
    let error = send("pagerduty", &stub.url, AMPLE).await.expect_err("refused");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Failed, false));
    assert!(error.hints[0].contains("integration key"), "{:?}", error.hints);
    without_secret(&error);
}

#[tokio::test]
async fn events_that_pagerduty_would_not_take_are_refused() {
    for (args, part) in [
        (json!({}), "needs a `summary`"),
        (json!({"summary": " "}), "empty"),
        (json!({"summary": "x".repeat(1025)}), "longer"),
        (json!({"event": "resolve", "summary": "x"}), "only `trigger`"),
        (json!({"summary": "\u{E000}token\u{E001}"}), "secret"),
        (json!({"summary": "x", "details": {"token": "\u{E000}token\u{E001}"}}), "secret"),
        (json!({"summary": "x", "details": {"log": "x".repeat(512 * 1024)}}), "512 KB"),
    ] {
        let error = make("pagerduty", "http://127.0.0.1:1", args).await.err().expect("refused");
        assert!(error.message.contains(part), "{error}");
    }
}
