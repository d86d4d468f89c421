//! `notify.email`, against the sandbox's mail server. The same assertions hold against a real one: `tests/adapters/mail.rs`.

use super::*;
use crate::action::StepContext;
use crate::sandbox::faults::Faults;
use crate::sandbox::ledger::Ledger;
use crate::sandbox::mail::{PostOffice, USER};
use crate::sandbox::wire::Door;

/// A mail server with its faults.
struct Rig {
    office: PostOffice,
    faults: Faults,
    address: String,
    _door: Door,
    _dir: tempfile::TempDir,
}

impl Rig {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::open(&dir.path().join("effects.log")).expect("a ledger");
        let faults = Faults::default();
        let path = dir.path().join("mail.json");
        let office = PostOffice::open(&path, "CANARY-pa55", ledger, Some(faults.clone()));
        let office = office.expect("a mail server");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        Self { _door: office.serve(listener), office, faults, address, _dir: dir }
    }

    fn connections(&self, password: &str) -> Connections {
        let mut secrets = Secrets::default();
        let password = secrets.insert("password", password.to_owned().into());
        let settings = json!({
            "server": self.address, "security": "none", "username": USER, "password": password,
            "from": "Rollback <rollback@example.com>", "to": ["oncall@example.com"],
        });
        let settings = HashMap::from([("email".to_owned(), settings)]);
        Connections::new("test", settings, Arc::new(secrets))
    }

    async fn send(&self, args: Value) -> Result<Evidence, ActionError> {
        self.send_as("CANARY-pa55", args, AMPLE).await
    }

    async fn send_as(
        &self,
        password: &str,
        args: Value,
        time: Duration,
    ) -> Result<Evidence, ActionError> {
        let work = make_with(self.connections(password), "email", args).await.expect("valid");
        action(work).apply(&context(time), &Saved::default()).await
    }
}

fn context(time: Duration) -> StepContext {
    World::new("run-1").context(time).at("stop/tell")
}

fn mail() -> Value {
    json!({"subject": "Rollback started", "text": "Because of errors.\n.\nEnd."})
}

#[tokio::test]
async fn a_mail_arrives_with_its_subject_its_text_and_its_name() {
    let rig = Rig::new().await;
    let evidence = rig.send(mail()).await.expect("taken");
    assert!(evidence.summary.contains("queued"), "{}", evidence.summary);
    let mails = rig.office.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].from, "rollback@example.com");
    assert_eq!(mails[0].to, ["oncall@example.com"]);
    assert_eq!(mails[0].subject, "Rollback started");
    let text = &mails[0].text;
    assert!(text.contains("Message-ID: <run-1.stop/tell@example.com>\n"), "{text}");
    assert!(text.ends_with("\n\nBecause of errors.\n.\nEnd.\n"), "{text}");
}

#[tokio::test]
async fn no_value_can_begin_another_header() {
    let rig = Rig::new().await;
    let args = json!({"subject": "one\r\nBcc: all@example.com", "text": "x"});
    let _evidence = rig.send(args).await.expect("taken");
    let mail = rig.office.mails().remove(0);
    assert_eq!(mail.to, ["oncall@example.com"]);
    assert!(!mail.text.contains("\nBcc:"), "{}", mail.text);
    for to in ["a@example.com\r\nBcc: b@example.com", "a", "ä@example.com", ""] {
        let args = json!({"subject": "x", "text": "x", "to": [to]});
        let made = make_with(rig.connections("x"), "email", args).await;
        assert!(made.err().expect("refused").message.contains("no mail address"), "{to}");
    }
}

#[tokio::test]
async fn a_recipient_that_is_refused_keeps_the_mail_from_no_other() {
    let rig = Rig::new().await;
    let to = json!(["gone@nowhere.example", "here@example.com"]);
    let args = json!({"subject": "x", "text": "x", "to": to});
    let evidence = rig.send(args).await.expect("taken for one");
    assert!(evidence.summary.contains("gone@nowhere.example (550"), "{}", evidence.summary);
    assert_eq!(rig.office.mails()[0].to, ["here@example.com"]);

    let args = json!({"subject": "x", "text": "x", "to": ["gone@nowhere.example"]});
    let error = rig.send(args).await.expect_err("for nobody");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Failed, false), "{error}");
    assert!(error.message.contains("550 5.1.1 no such recipient"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_shown() {
    let rig = Rig::new().await;
    let error = rig.send_as("CANARY-wrong", mail(), AMPLE).await.expect_err("a wrong password");
    assert_eq!(error.kind, ErrorKind::Denied, "{error:?}");
    without_secret(&error);
    let reached = reach("email", &rig.connections("CANARY-wrong")).await;
    assert_eq!(reached.expect_err("a wrong password").kind, ErrorKind::Denied);
    let told = reach("email", &rig.connections("CANARY-pa55")).await.expect("known");
    assert!(told.contains("speaks SMTP"), "{told}");
    assert!(rig.office.mails().is_empty());
}

#[tokio::test]
async fn what_is_known_depends_on_how_far_the_mail_had_come() {
    for (fault, kind, retryable, arrives) in [
        ("mail:error=451,path=MAIL", ErrorKind::Failed, true, 0),
        ("mail:error=554,path=DATA", ErrorKind::Failed, false, 0),
        ("mail:reset,path=RCPT", ErrorKind::Unreachable, true, 0),
        ("mail:silence,path=RCPT", ErrorKind::TimedOut, true, 0),
        ("mail:error=452,path=message", ErrorKind::Failed, true, 0),
        ("mail:error=554,path=message", ErrorKind::Failed, false, 0),
        ("mail:reset,path=message", ErrorKind::Unknown, false, 0),
        ("mail:silence,path=message", ErrorKind::Unknown, false, 0),
        ("mail:lost,path=message", ErrorKind::Unknown, false, 1),
    ] {
        let rig = Rig::new().await;
        rig.faults.add(fault.parse().expect("a fault"));
        let time = if fault.contains("silence") { Duration::from_millis(500) } else { AMPLE };
        let sent = rig.send_as("CANARY-pa55", mail(), time).await;
        let error = sent.expect_err(fault);
        assert_eq!((error.kind, error.retryable), (kind, retryable), "{fault}: {error:?}");
        assert_eq!(rig.office.mails().len(), arrives, "{fault}");
        without_secret(&error);
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told_nothing() {
    let rig = Rig::new().await;
    for security in ["starttls", "tls"] {
        rustls::crypto::ring::default_provider().install_default().ok();
        let settings = json!({"server": rig.address, "security": security,
            "from": "rollback@example.com", "to": ["oncall@example.com"]});
        let settings = HashMap::from([("email".to_owned(), settings)]);
        let connections = Connections::new("test", settings, Arc::new(Secrets::default()));
        let work = make_with(connections, "email", mail()).await.expect("valid");
        let sent = action(work).apply(&context(Duration::from_secs(2)), &Saved::default()).await;
        let error = sent.expect_err("no TLS there");
        assert!(!error.outcome_unknown(), "{security}: {error:?}");
    }
    assert!(rig.office.mails().is_empty());
}

#[tokio::test]
async fn connections_that_cannot_work_are_refused() {
    for (settings, part) in [
        (
            json!({"server": "smtp.example.com", "security": "none", "from": "a@b.c"}),
            "this machine",
        ),
        (json!({"server": "h", "from": "a@b.c", "username": "u"}), "belong together"),
        (json!({"server": "h", "from": "nobody"}), "no mail address"),
        (json!({"server": "h:smtp", "from": "a@b.c"}), "port"),
        (json!({"server": "[::1]:25", "security": "none", "from": "a@b.c"}), "find whom"),
        (json!({"server": "h", "from": "a@b.c", "ca": "/nowhere/ca.pem"}), "/nowhere/ca.pem"),
    ] {
        rustls::crypto::ring::default_provider().install_default().ok();
        let settings = HashMap::from([("email".to_owned(), settings)]);
        let connections = Connections::new("test", settings, Arc::new(Secrets::default()));
        let error = make_with(connections, "email", mail()).await.err().expect("refused");
        assert!(error.message.contains(part), "{part}: {error}");
    }
}
