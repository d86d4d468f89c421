//! `http.expect`: what holds, what does not yet, and how it is said.

use serde_json::{Value, json};

use super::server::{Reply, Server, reply};
use super::{for_millis, observe, plain, probe, seen};
use crate::action::{Answer, VerbArgs, Verdict};
use crate::adapters::http::Expect;

async fn ask(server: &Server, mut args: Value) -> Verdict {
    args["url"] = server.url("/health").into();
    observe(&*probe(&plain(), args).await, 5000).await.unwrap()
}

fn version(version: &str) -> Reply {
    reply(200, "", &json!({"version": version}).to_string())
}

#[tokio::test]
async fn fields_are_found_by_path_and_by_pointer() {
    let body = json!({"a": {"b": [{"c": 1.0}]}, "d.e": true, "f": null}).to_string();
    let server = Server::start(vec![reply(200, "X-Side: blue\r\n", &body)]).await;
    let verdict = ask(
        &server,
        json!({
            "json": {"a.b.0.c": 1, "/a/b/0/c": 1, "d.e": true, "f": null, "a": {"b": [{"c": 1}]}},
            "header": {"x-side": "blue"},
            "body": {"contains": "d.e"},
        }),
    )
    .await;
    assert!(matches!(verdict, Verdict::Holds { .. }), "{verdict:?}");
}

#[tokio::test]
async fn what_differs_is_named_with_what_was_seen() {
    let body = json!({"version": "1", "count": 2, "ok": true}).to_string();
    let server = Server::start(vec![reply(200, "X-Side: green\r\n", &body)]).await;
    let cases = [
        (
            json!({"status": "201..299"}),
            "200 with `{\"version\":\"1\",\"count\":2,\"ok\":true}`, wanted 201..299",
        ),
        (json!({"json": {"version": "2"}}), "`version` was \"1\", wanted \"2\""),
        (
            json!({"json": {"version": 1}}),
            "`version` was \"1\", wanted 1 (the answer has a string: put the expected value in quotes)",
        ),
        (
            json!({"json": {"count": "2"}}),
            "`count` was 2, wanted \"2\" (the answer has no string: write the expected value without quotes)",
        ),
        (json!({"json": {"versoin": 1}}), "the answer has no field `versoin`"),
        (json!({"header": {"X-Side": "blue"}}), "header `X-Side` was `green`, wanted `blue`"),
        (json!({"header": {"X-Other": "blue"}}), "header `X-Other` was absent, wanted `blue`"),
    ];
    for (args, wanted) in cases {
        assert_eq!(seen(ask(&server, args).await), wanted);
    }
    let text = Server::start(vec![reply(200, "", " all\n well ")]).await;
    assert!(matches!(
        ask(&text, json!({"body": {"equals": "all\n well"}})).await,
        Verdict::Holds { .. }
    ));
    let other = seen(ask(&text, json!({"body": {"equals": "ill"}})).await);
    assert_eq!(other, "the body was `all well`, wanted `ill`");
    let not_json = seen(ask(&text, json!({"json": {"a": 1}})).await);
    assert!(not_json.starts_with("the answer is not JSON"), "{not_json}");
}

#[tokio::test]
async fn consecutive_answers_are_counted_and_each_has_its_own_connection() {
    let server = Server::start(vec![version("1"), version("1"), version("2"), version("1")]).await;
    let args = json!({"json": {"version": "1"}, "consecutive": 5});
    let observed = seen(ask(&server, args.clone()).await);
    assert_eq!(observed, "answer 3 of 5: `version` was \"2\", wanted \"1\"");
    assert_eq!(server.requests().len(), 3, "it went on after the first miss");
    assert!(matches!(ask(&server, args).await, Verdict::Holds { .. }));
    assert_eq!(server.requests().len(), 8);
}

#[tokio::test]
async fn a_service_that_is_not_there_yet_is_no_error() {
    let garbage = Reply::Raw("SSH-2.0-OpenSSH_9.2\r\n".to_owned());
    let faults = [Reply::Silence, Reply::Reset, Reply::HalfBody, Reply::Drip, garbage];
    for fault in faults {
        let server = Server::start(vec![fault.clone()]).await;
        let observed = seen(ask(&server, json!({"answer_within": "300ms"})).await);
        assert!(observed.starts_with("no answer"), "{fault:?}: {observed}");
    }
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let args = json!({"url": format!("http://{gone}/")});
    let observed = seen(observe(&*probe(&plain(), args).await, 5000).await.unwrap());
    assert!(observed.contains("refused"), "{observed}");
}

#[tokio::test]
async fn for_a_decision_silence_is_no_data_and_another_answer_is_one() {
    let server = Server::start(vec![version("2"), Reply::Reset]).await;
    let args = json!({"url": server.url("/health"), "json": {"version": "1"}, "consecutive": 2});
    let probe = probe(&plain(), args).await;
    let differs = probe.answer(&for_millis(5000)).await.unwrap();
    let observed = r#"answer 1 of 2: `version` was "2", wanted "1""#.to_owned();
    assert_eq!(differs, Answer::No { observed });
    let silent = probe.answer(&for_millis(5000)).await.unwrap();
    assert!(
        matches!(&silent, Answer::NoData { reason } if reason.contains("no answer")),
        "{silent:?}"
    );
}

#[tokio::test]
async fn the_deadline_ends_a_silent_service() {
    let server = Server::start(vec![Reply::Silence]).await;
    let args = json!({"url": server.url("/"), "answer_within": "1h", "consecutive": 1000});
    let observed = seen(observe(&*probe(&plain(), args).await, 300).await.unwrap());
    assert!(observed.contains("no answer within"), "{observed}");
}

#[tokio::test]
async fn a_flood_is_cut_and_said_to_be() {
    let server = Server::start(vec![Reply::Flood]).await;
    let observed = seen(ask(&server, json!({"json": {"a": 1}})).await);
    assert_eq!(observed, "the answer is longer than 1 MiB");
    assert!(matches!(ask(&server, json!({})).await, Verdict::Holds { .. }));
}

#[tokio::test]
async fn a_redirect_shows_where_it_points() {
    let server = Server::start(vec![reply(301, "Location: https://elsewhere/\r\n", "")]).await;
    let observed = seen(ask(&server, json!({})).await);
    assert_eq!(observed, "301 to https://elsewhere/ (redirects are not followed), wanted 200");
}

#[tokio::test]
async fn a_custom_resolution_keeps_the_host() {
    let server = Server::start(vec![reply(200, "", "")]).await;
    let port = server.address.port();
    for (url, address) in [
        (format!("http://new.example.com:{port}/"), "127.0.0.1".to_owned()),
        ("http://new.example.com/".to_owned(), format!("127.0.0.1:{port}")),
    ] {
        let args = json!({"url": url, "resolve": {"new.example.com": address}});
        let verdict = observe(&*probe(&plain(), args).await, 5000).await.unwrap();
        assert!(matches!(verdict, Verdict::Holds { .. }), "{verdict:?}");
    }
    let requests = server.requests();
    assert!(requests[0].contains(&format!("host: new.example.com:{port}\r\n")), "{}", requests[0]);
    assert!(requests[1].contains("host: new.example.com\r\n"), "{}", requests[1]);
}

/// A chat is asked by POST and changes nothing by it, so it may be asked again.
#[tokio::test]
async fn a_question_may_carry_a_document() {
    let server = Server::start(vec![version("3.0.0"), version("2.0.0")]).await;
    let args = json!({
        "ask": {"message": "What is your version?", "conversation_id": "t"},
        "json": {"version": "2.0.0"},
    });
    assert_eq!(seen(ask(&server, args.clone()).await), "`version` was \"3.0.0\", wanted \"2.0.0\"");
    let verdict = ask(&server, args).await;
    assert!(matches!(verdict, Verdict::Holds { .. }), "{verdict:?}");
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert!(request.starts_with("POST /health "), "{request}");
        assert!(request.contains("content-type: application/json"), "{request}");
        assert!(request.ends_with(r#"{"message":"What is your version?","conversation_id":"t"}"#));
    }
}

#[test]
fn bad_arguments_are_told_offline() {
    let check =
        |args: Value| serde_json::from_value::<Expect>(args).map_err(|e| e.to_string())?.validate();
    let url = "http://lb.example.com/health";
    assert_eq!(check(json!({"url": url, "resolve": {"lb.example.com": "10.0.0.1"}})), Ok(()));
    for bad in [
        json!({"url": "http://"}),
        json!({"url": url, "method": "POST"}),
        json!({"url": url, "method": "DELETE"}),
        json!({"url": url, "method": "HEAD", "ask": {"a": 1}}),
        json!({"url": url, "consecutive": 0}),
        json!({"url": url, "answer_within": "5"}),
        json!({"url": url, "resolve": {"other.example.com": "10.0.0.1"}}),
        json!({"url": url, "resolve": {"lb.example.com": "blue.internal"}}),
        json!({"url": "http://a:8080/", "resolve": {"a": "10.0.0.1:81"}}),
    ] {
        assert!(check(bad.clone()).is_err(), "{bad} was accepted");
    }
}
