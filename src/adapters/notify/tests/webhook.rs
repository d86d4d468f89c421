//! `notify.webhook`.

use super::*;

#[tokio::test]
async fn an_object_is_sent_with_headers_and_a_key() {
    let stub = Stub::answering(201, "").await;
    let args = json!({"body": {"title": "Rollback", "labels": ["a"]}});
    let _evidence = send_args("webhook", &stub.url, args.clone(), AMPLE).await.expect("taken");
    let asked = stub.only();
    assert_eq!(asked.path, "/hooks/CANARY");
    assert_eq!(asked.headers["authorization"], "Bearer CANARY");
    assert_eq!(asked.headers["idempotency-key"], "run-1-stop/tell");
    assert_eq!(serde_json::from_str::<Value>(&asked.body).expect("JSON"), args["body"]);
}

#[tokio::test]
async fn a_server_that_heeds_the_key_may_be_sent_the_same_again() {
    let stub = Stub::answering(503, "").await;
    let args = json!({"body": {"title": "Rollback"}, "repeat": "safe"});
    let message = action(make("webhook", &stub.url, args.clone()).await.expect("valid"));
    assert_eq!(message.repeat(), Repeat::Safe);
    let error = send_args("webhook", &stub.url, args, AMPLE).await.expect_err("a server error");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Failed, true));
}

#[tokio::test]
async fn bodies_and_headers_that_cannot_be_sent_are_refused() {
    for (body, part) in [
        (json!({}), "empty"),
        (json!({"token": "\u{E000}token\u{E001}"}), "secret"),
        (json!({"log": "x".repeat(1 << 20)}), "larger"),
    ] {
        let made = make("webhook", "http://127.0.0.1:1", json!({"body": body})).await;
        assert!(made.err().expect("refused").message.contains(part));
    }
    let settings = json!({"url": "http://127.0.0.1:1", "headers": {"Authorization": "CANARY\n"}});
    let settings = HashMap::from([("webhook".to_owned(), settings)]);
    let connections = Connections::new("test", settings, Arc::new(Secrets::default()));
    let made = make_with(connections, "webhook", json!({"body": {"a": 1}})).await;
    let error = made.err().expect("refused");
    assert!(error.message.contains("`headers`"), "{error}");
    without_secret(&error);
}
