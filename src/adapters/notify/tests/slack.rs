//! `notify.slack`.

use super::*;

#[tokio::test]
async fn a_message_is_posted_as_json() {
    let stub = Stub::answering(200, "ok").await;
    let text = "Rollback started: \"quotes\", 🚨 and\u{1b}[31m a line\nbreak";
    let _evidence =
        send_args("slack", &stub.url, json!({"text": text}), AMPLE).await.expect("posted");
    let asked = stub.only();
    assert_eq!(asked.path, "/services/CANARY");
    assert_eq!(asked.headers["content-type"], "application/json");
    let sent: Value = serde_json::from_str(&asked.body).expect("JSON");
    assert_eq!(sent, json!({"text": "Rollback started: \"quotes\", 🚨 and[31m a line\nbreak"}));
}

#[tokio::test]
async fn each_refusal_has_its_kind_and_its_hint() {
    for (status, body, kind, hint) in [
        (400, "invalid_payload", ErrorKind::Failed, "change the step's `text`"),
        (403, "action_prohibited", ErrorKind::Denied, "administrator"),
        (404, "no_service", ErrorKind::NotFound, "create a new one"),
        (410, "channel_is_archived", ErrorKind::NotFound, "another channel"),
    ] {
        let stub = Stub::answering(status, body).await;
        let error = send("slack", &stub.url, AMPLE).await.expect_err("refused");
        assert_eq!(error.kind, kind, "{error}");
        assert!(!error.retryable);
        assert!(error.message.contains(body), "{error}");
        assert!(error.hints[0].contains(hint), "{:?}", error.hints);
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
        let made = make("slack", "http://127.0.0.1:1/", json!({"text": text})).await;
        let error = made.err().expect("refused");
        assert!(error.message.contains(part), "{error}");
    }
}
