//! `http.call`: classes of failure, and how often a request is sent.

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::server::{Reply, Server, reply};
use super::{HANG, action, apply, for_millis, plain};
use crate::action::{ErrorKind, Present, Repeat, Reversal, Saved, StepContext, VerbArgs};
use crate::adapters::http::Call;

fn refused_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}

#[tokio::test]
async fn success_is_told_with_its_status() {
    let server = Server::start(vec![reply(201, "", "made")]).await;
    let call =
        action(&plain(), json!({"method": "PUT", "url": server.url("/a"), "json": {"on": true}}))
            .await;
    let evidence = apply(&*call, 5000).await.unwrap();
    assert_eq!(evidence.facts, json!({"status": 201}));
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].starts_with("PUT /a HTTP/1.1"), "{}", requests[0]);
    assert!(requests[0].ends_with("{\"on\":true}"), "{}", requests[0]);
    assert!(requests[0].contains("content-type: application/json"), "{}", requests[0]);
}

#[test]
fn methods_say_whether_they_may_be_repeated() {
    let repeat = |args: Value| {
        let cx = plain();
        let call: Call = serde_json::from_value(args).unwrap();
        match Call::make(call, &cx).unwrap() {
            crate::action::Work::Action(action) => action.repeat(),
            _ => panic!("no action"),
        }
    };
    let url = "http://localhost/";
    assert_eq!(repeat(json!({"method": "PUT", "url": url})), Repeat::Safe);
    assert_eq!(repeat(json!({"method": "DELETE", "url": url})), Repeat::Safe);
    assert_eq!(repeat(json!({"method": "POST", "url": url})), Repeat::Never);
    assert_eq!(repeat(json!({"method": "PATCH", "url": url})), Repeat::Never);
    assert_eq!(repeat(json!({"method": "POST", "url": url, "repeat": "safe"})), Repeat::Safe);
    assert_eq!(repeat(json!({"method": "PUT", "url": url, "repeat": "never"})), Repeat::Never);
    assert_eq!(
        repeat(json!({"method": "POST", "url": url, "idempotency_key": true})),
        Repeat::Safe
    );
}

#[tokio::test]
async fn a_refused_connection_is_unreachable_and_nothing_was_sent() {
    for method in ["PUT", "POST"] {
        let call = action(&plain(), json!({"method": method, "url": refused_port()})).await;
        let error = apply(&*call, 5000).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error:?}");
        assert!(error.retryable);
    }
}

#[tokio::test]
async fn whatever_happens_after_sending_is_unknown_and_a_post_is_sent_once() {
    let garbage = Reply::Raw("\u{1}\u{2} this is not HTTP \r\n\r\n".to_owned());
    for fault in [Reply::Silence, Reply::Reset, Reply::HalfBody, Reply::Drip, garbage] {
        let server = Server::start(vec![fault.clone()]).await;
        let call =
            action(&plain(), json!({"method": "POST", "url": server.url("/"), "body": "x"})).await;
        let error = apply(&*call, 400).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unknown, "{fault:?}: {error:?}");
        assert!(!error.retryable, "{fault:?}");
        assert_eq!(server.requests().len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_connection_that_is_never_accepted_times_out_as_not_sent() {
    // A listening socket whose queue is full: the kernel answers no further connection.
    let listener = tokio::net::TcpSocket::new_v4().unwrap();
    listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listener.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(
        std::time::Duration::from_millis(200),
        tokio::net::TcpStream::connect(address),
    )
    .await
    {
        held.push(stream);
    }
    let call =
        action(&plain(), json!({"method": "POST", "url": format!("http://{address}/")})).await;
    let error = apply(&*call, 300).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TimedOut, "{error:?}");
    assert!(error.message.starts_with("connect to send POST"), "{error:?}");
}

#[tokio::test]
async fn a_flood_is_not_read_to_its_end() {
    let server = Server::start(vec![Reply::Flood]).await;
    let call = action(&plain(), json!({"method": "PUT", "url": server.url("/")})).await;
    assert!(apply(&*call, 10_000).await.is_ok());
}

#[tokio::test]
async fn a_server_error_leaves_it_open_whether_it_was_done_unless_it_may_be_done_again() {
    for status in [500, 502, 503, 504] {
        let server = Server::start(vec![reply(status, "", "because")]).await;
        for (method, expected) in
            [("PUT", (ErrorKind::Failed, true)), ("POST", (ErrorKind::Unknown, false))]
        {
            let call = action(&plain(), json!({"method": method, "url": server.url("/")})).await;
            let error = apply(&*call, 5000).await.unwrap_err();
            assert_eq!((error.kind, error.retryable), expected, "{method} {status}");
        }
    }
}

#[tokio::test]
async fn statuses_have_their_classes() {
    let cases = [
        (400, ErrorKind::Failed, false),
        (401, ErrorKind::Denied, false),
        (403, ErrorKind::Denied, false),
        (404, ErrorKind::NotFound, false),
        (409, ErrorKind::Conflict, false),
        (501, ErrorKind::Failed, true),
    ];
    for (status, kind, retryable) in cases {
        let server = Server::start(vec![reply(status, "", "because")]).await;
        for (method, may_repeat) in [("PUT", true), ("POST", false)] {
            let call = action(&plain(), json!({"method": method, "url": server.url("/")})).await;
            let error = apply(&*call, 5000).await.unwrap_err();
            assert_eq!((error.kind, error.retryable), (kind, retryable && may_repeat), "{status}");
            assert!(error.message.contains(&format!("{status} with `because`")), "{error:?}");
        }
        assert_eq!(server.requests().len(), 2, "{status}");
    }
}

#[tokio::test]
async fn an_asked_wait_is_kept_inside_the_deadline() {
    for status in [429, 503] {
        let server =
            Server::start(vec![reply(status, "Retry-After: 1\r\n", ""), reply(200, "", "")]).await;
        let call = action(&plain(), json!({"method": "PUT", "url": server.url("/")})).await;
        assert!(apply(&*call, 10_000).await.is_ok(), "{status}");
        assert_eq!(server.requests().len(), 2, "{status}");
    }
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_is_told_at_once() {
    let waits = ["1000000000", "99999999999999999999999", "Fri, 31 Dec 2199 23:59:59 GMT"];
    for wait in waits {
        let server = Server::start(vec![reply(429, &format!("Retry-After: {wait}\r\n"), "")]).await;
        let call = action(&plain(), json!({"method": "PUT", "url": server.url("/")})).await;
        let error = apply(&*call, 60_000).await.unwrap_err();
        assert_eq!((error.kind, error.retryable), (ErrorKind::Failed, false), "{wait}");
        assert!(error.hints[0].contains("asks to wait"), "{error:?}");
        assert_eq!(server.requests().len(), 1, "{wait}");
    }
}

#[tokio::test]
async fn a_wait_that_cannot_be_read_is_left_to_the_engine() {
    for wait in ["soon", "", "-1", "1.5", "\u{9f}"] {
        let server = Server::start(vec![reply(429, &format!("Retry-After: {wait}\r\n"), "")]).await;
        let call = action(&plain(), json!({"method": "PUT", "url": server.url("/")})).await;
        let error = apply(&*call, 5000).await.unwrap_err();
        assert_eq!((error.kind, error.retryable), (ErrorKind::Failed, true), "{wait:?}");
        assert_eq!(server.requests().len(), 1, "{wait:?}");
    }
}

#[tokio::test]
async fn a_post_is_not_sent_again_by_itself_even_when_asked_to() {
    let server = Server::start(vec![reply(429, "Retry-After: 1\r\n", "")]).await;
    let call = action(&plain(), json!({"method": "POST", "url": server.url("/")})).await;
    let error = apply(&*call, 5000).await.unwrap_err();
    assert!(error.retryable, "{error:?}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Server::start(vec![reply(200, "", "")]).await;
    for target in [other.url("/"), "file:///etc/passwd".to_owned()] {
        let server = Server::start(vec![reply(302, &format!("Location: {target}\r\n"), "")]).await;
        let headers = json!({"Authorization": "Bearer abc"});
        let args = json!({"method": "PUT", "url": server.url("/"), "headers": headers});
        let error = apply(&*action(&plain(), args).await, 5000).await.unwrap_err();
        assert!(error.message.contains(&target), "{error:?}");
        assert_eq!(server.requests().len(), 1);
    }
    assert_eq!(other.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn cancelling_before_an_answer_is_unknown() {
    let server = Server::start(vec![Reply::Silence]).await;
    let call = action(&plain(), json!({"method": "POST", "url": server.url("/")})).await;
    let cancel = CancellationToken::new();
    let far = for_millis(60_000).deadline();
    let cx = StepContext::new(far, cancel.clone(), std::env::temp_dir(), "run-1");
    let stop = async {
        while server.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let saved = Saved::default();
    let both = async { tokio::join!(call.apply(&cx, &saved), stop) };
    let (result, ()) = tokio::time::timeout(HANG, both).await.expect("cancelling hangs");
    assert_eq!(result.unwrap_err().kind, ErrorKind::Unknown);
}

/// Notes that are kept nowhere.
struct Nowhere;

#[async_trait::async_trait]
impl crate::action::Recorder for Nowhere {
    async fn note(&self, _: Value) -> Result<(), crate::action::ActionError> {
        Ok(())
    }

    fn jot(&self, _: Value) {}
}

#[tokio::test]
async fn an_idempotency_key_is_the_same_for_every_attempt() {
    let server =
        Server::start(vec![reply(503, "Retry-After: 0\r\n", ""), reply(200, "", "")]).await;
    let args = json!({"method": "POST", "url": server.url("/"), "idempotency_key": true});
    let _evidence = apply(&*action(&plain(), args.clone()).await, 10_000).await.unwrap();
    let key = |request: &str| {
        let line = request.lines().find(|line| line.starts_with("idempotency-key: "));
        line.expect("no key was sent").to_owned()
    };
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(key(&requests[0]), key(&requests[1]));
    assert!(key(&requests[0]).starts_with("idempotency-key: run-1-"));

    let noted = json!({"idempotency-key": "noted-before-the-crash"});
    let cx = for_millis(5000).recording(std::sync::Arc::new(Nowhere), vec![noted]);
    let _evidence = action(&plain(), args).await.apply(&cx, &Saved::default()).await.unwrap();
    assert_eq!(key(&server.requests()[2]), "idempotency-key: noted-before-the-crash");
}

#[tokio::test]
async fn undo_sends_its_own_request_and_accepts_what_is_gone() {
    let server = Server::start(vec![reply(404, "", "")]).await;
    let url = server.url("/flags/green");
    let args = json!({
        "method": "PUT", "url": url, "undo": {"method": "DELETE", "url": url},
    });
    let call = action(&plain(), args).await;
    assert_eq!(call.reversal(), Reversal::Automatic);
    call.undo(&for_millis(5000), &Saved::default(), None).await.unwrap();
    assert!(server.requests()[0].starts_with("DELETE /flags/green"));

    let without = action(&plain(), json!({"method": "PUT", "url": url})).await;
    assert!(matches!(without.reversal(), Reversal::Irreversible { .. }));
    assert!(without.undo(&for_millis(5000), &Saved::default(), None).await.is_err());
}

#[tokio::test]
async fn an_undo_is_repeated_as_its_own_method_allows() {
    let server = Server::start(vec![reply(200, "", "")]).await;
    let url = server.url("/flags/green");
    for (method, wanted) in
        [("POST", Repeat::Never), ("PUT", Repeat::Safe), ("DELETE", Repeat::Safe)]
    {
        let undo = json!({"method": method, "url": url});
        let call = action(&plain(), json!({"method": "PUT", "url": url, "undo": undo})).await;
        assert_eq!(call.repeat_of_undo(), wanted, "{method}");
        // What was accepted is known, though the run was killed right after it.
        let look = async |notes: Vec<Value>| {
            let cx = for_millis(5000).recording(std::sync::Arc::new(Nowhere), notes);
            call.present(&cx, &Saved::default(), None).await.unwrap()
        };
        assert_eq!(look(Vec::new()).await, Present::Unseen);
        assert_eq!(look(vec![json!({"undone": true})]).await, Present::AsBefore);
    }
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn bad_arguments_are_told_offline() {
    let check =
        |args: Value| serde_json::from_value::<Call>(args).map_err(|e| e.to_string())?.validate();
    let url = "http://localhost/";
    assert_eq!(check(json!({"method": "PUT", "url": url})), Ok(()));
    for bad in [
        json!({"method": "PUT", "url": "localhost"}),
        json!({"method": "PUT", "url": "ftp://localhost/"}),
        json!({"method": "put", "url": url}),
        json!({"method": "PUT", "url": url, "json": {}, "body": "x"}),
        json!({"method": "PUT", "url": url, "expect_status": []}),
        json!({"method": "PUT", "url": url, "expect_status": [99]}),
        json!({"method": "PUT", "url": url, "expect_status": "299..200"}),
        json!({"method": "POST", "url": url, "idempotency_key": true, "repeat": "never"}),
        json!({"method": "PUT", "url": url, "undo": {"method": "PUT", "url": "/relative"}}),
        json!({"method": "PUT", "url": url, "unknown": 1}),
    ] {
        assert!(check(bad.clone()).is_err(), "{bad} was accepted");
    }
}
