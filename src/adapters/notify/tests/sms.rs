//! `notify.sms`, against a stub and against the sandbox's double of Twilio.

use super::*;
use crate::sandbox::ledger::Ledger;
use crate::sandbox::texts::{ACCOUNT, Texts};

#[tokio::test]
async fn a_message_is_a_form_for_the_account() {
    let stub = Stub::answering(201, r#"{"sid": "SM1", "status": "queued"}"#).await;
    let args = json!({"text": "Rollback & more", "to": ["+4915112345678"]});
    let evidence = send_args("sms", &stub.url, args, AMPLE).await.expect("queued");
    let asked = stub.only();
    assert_eq!(asked.path, "/2010-04-01/Accounts/AC1/Messages.json");
    assert_eq!(asked.headers["content-type"], "application/x-www-form-urlencoded");
    let login = asked.headers["authorization"].to_str().expect("text");
    assert!(login.starts_with("Basic "), "{login}");
    assert_eq!(asked.body, "To=%2B4915112345678&From=%2B14155550199&Body=Rollback+%26+more");
    assert!(evidence.summary.contains("SM1") && evidence.summary.contains("not known"));
}

#[tokio::test]
async fn each_recipient_is_an_item_of_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = Ledger::open(&dir.path().join("effects.log")).expect("a ledger");
    let texts = Texts::open(&dir.path().join("texts.json"), "t0ken", ledger).expect("a double");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = address_of(&listener);
    let router = texts.router();
    let _server = tokio::spawn(async move { axum::serve(listener, router).await });
    let connections = |token: &str| {
        rustls::crypto::ring::default_provider().install_default().ok();
        let settings = json!({"account": ACCOUNT, "token": token, "messaging_service": "MG1",
            "to": ["+14155550100", "+14155550101"], "url": url});
        let settings = HashMap::from([("sms".to_owned(), settings)]);
        Connections::new("test", settings, Arc::new(Secrets::default()))
    };
    let work = make_with(connections("t0ken"), "sms", json!({"text": "hello"})).await;
    for (number, work) in work.expect("valid") {
        let Work::Action(message) = work else { panic!("an action") };
        let context = World::new("run-1").context(AMPLE);
        let _evidence = message.apply(&context, &Saved::default()).await.expect("queued");
        assert_eq!(texts.messages().last().expect("one").to, number);
    }
    assert_eq!(texts.messages().len(), 2);
    assert_eq!(texts.messages()[0].from, "MG1");

    assert!(reach("sms", &connections("t0ken")).await.is_ok());
    let error = reach("sms", &connections("wrong")).await.expect_err("a wrong token");
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(error.hints[0].contains("auth token"), "{:?}", error.hints);
}

#[tokio::test]
async fn messages_that_twilio_would_not_take_are_refused() {
    for (args, part) in [
        (json!({"text": ""}), "empty"),
        (json!({"text": "x".repeat(1601)}), "longer"),
        (json!({"text": "x", "to": ["0151 1234567"]}), "no number"),
        (json!({"text": "\u{E000}token\u{E001}"}), "secret"),
    ] {
        let error = make("sms", "http://127.0.0.1:1", args).await.err().expect("refused");
        assert!(error.message.contains(part), "{error}");
    }
    for (settings, part) in [
        (json!({"account": "AC1", "token": "t"}), "either `from`"),
        (json!({"account": "AC1", "token": "t", "from": "a", "messaging_service": "b"}), "either"),
        (json!({"account": "AC1", "token": "t", "from": "a", "to": ["b"]}), "no number"),
        (json!({"account": "AC1", "token": "t", "from": "a"}), "find whom"),
    ] {
        let settings = HashMap::from([("sms".to_owned(), settings)]);
        let connections = Connections::new("test", settings, Arc::new(Secrets::default()));
        let made = make_with(connections, "sms", json!({"text": "x"})).await;
        let error = made.err().expect("refused");
        assert!(error.message.contains(part), "{error}");
    }
}
