//! Secrets reach the wire and nothing else.

use serde_json::json;

use super::server::{Reply, Server, reply};
use super::{apply, connect, for_millis, observe, probe};
use crate::secret::Secrets;

const CANARY: &str = "c4n\"ary/with spaces+";
const ENCODED: [&str; 4] = ["c4n\"ary", "c4n\\\"ary", "c4n%22ary", "YzRuImFyeS93aXRoIHNwYWNlcys"];

fn secrets() -> (Secrets, String) {
    let mut secrets = Secrets::default();
    let marker = secrets.insert("key", CANARY.into());
    (secrets, marker)
}

fn assert_clean(text: &str) {
    for form in ENCODED {
        assert!(!text.contains(form), "the secret is in: {text}");
    }
}

#[tokio::test]
async fn a_secret_is_sent_and_never_told_even_when_it_is_echoed() {
    let echo = format!("you sent {CANARY} and {:?}", CANARY);
    let redirect = format!("Location: https://x/?key={CANARY}\r\n");
    let replies = [
        reply(200, "", &echo),
        reply(500, "", &echo),
        reply(302, &redirect, ""),
        Reply::HalfBody,
        Reply::Raw(format!("{echo}\r\n\r\n")),
    ];
    for answer in replies {
        let server = Server::start(vec![answer]).await;
        let (secrets, marker) = secrets();
        let cx = connect(json!({}), secrets);
        let call = super::action(
            &cx,
            json!({
                "method": "POST",
                "url": server.url(&format!("/hook?key={marker}")),
                "headers": {"Authorization": format!("Bearer {marker}")},
                "json": {"token": marker},
            }),
        )
        .await;
        assert_clean(&format!("{:?}", call.describe()));
        assert_clean(&format!("{:?}", apply(&*call, 5000).await));
        let asked = probe(
            &cx,
            json!({
                "url": server.url(&format!("/{marker}")),
                "header": {"X-Key": marker},
                "json": {"token": marker},
                "body": {"equals": marker, "contains": marker},
            }),
        )
        .await;
        assert_clean(&format!("{:?}", asked.describe()));
        assert_clean(&format!("{:?}", observe(&*asked, 5000).await));
        let sent = server.requests().remove(0);
        assert!(sent.contains(&format!("authorization: Bearer {CANARY}")), "{sent}");
        assert!(sent.ends_with(&json!({"token": CANARY}).to_string()), "{sent}");
    }
}

#[tokio::test]
async fn an_unreachable_secret_host_is_not_named() {
    let mut secrets = Secrets::default();
    let marker = secrets.insert("hook", "http://127.0.0.1:9/services/T0/B0/c4nary".into());
    let cx = connect(json!({}), secrets);
    let call = super::action(&cx, json!({"method": "POST", "url": marker})).await;
    let error = call.apply(&for_millis(5000), &crate::action::Saved::default()).await.unwrap_err();
    assert!(!format!("{error:?}").contains("c4nary"), "{error:?}");
}

#[tokio::test]
async fn headers_of_the_connection_go_to_their_host_alone() {
    let (secrets, marker) = secrets();
    let (own, other) = (
        Server::start(vec![reply(200, "", "")]).await,
        Server::start(vec![reply(200, "", "")]).await,
    );
    let headers = json!({own.address.to_string(): {"X-Key": marker}});
    let cx = connect(json!({"headers": headers}), secrets);
    for server in [&own, &other] {
        let verdict = observe(&*probe(&cx, json!({"url": server.url("/")})).await, 5000).await;
        assert!(verdict.is_ok(), "{verdict:?}");
    }
    assert!(own.requests()[0].contains(&format!("x-key: {CANARY}")));
    assert!(!other.requests()[0].contains("x-key"));
}
