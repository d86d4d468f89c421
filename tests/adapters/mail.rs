//! `notify.email` against the sandbox's mail server and against aiosmtpd, with the same assertions; TLS against the real one.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rollback::action::{
    ActionError, Connections, ErrorKind, Evidence, ResolveContext, Saved, StepContext, Work,
};
use rollback::adapters;
use rollback::sandbox::ledger::Ledger;
use rollback::sandbox::mail::PostOffice;
use rollback::sandbox::wire::Door;
use rollback::secret::Secrets;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::certificates::Certificates;
use crate::support::{install_tls, server_variable, wait_until};

const PASSWORD: &str = "cAn4ry-pa55";

/// A mail as a server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mail {
    from: String,
    to: Vec<String>,
    text: String,
}

/// A mail server.
enum Server {
    Double { office: PostOffice, address: String, _door: Door, _folder: TempDir },
    Real { child: Child, port: u16, mails: Arc<Mutex<Vec<Mail>>> },
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Self::Real { child, .. } = self {
            // It may have ended already, and then there is nothing to wait for either.
            let _ended = child.kill().and_then(|()| child.wait());
        }
    }
}

impl Server {
    async fn double() -> Self {
        let folder = TempDir::new().expect("the temporary folder is writable");
        let ledger = Ledger::open(&folder.path().join("effects.log")).expect("a ledger");
        let path = folder.path().join("mail.json");
        let office = PostOffice::open(&path, PASSWORD, ledger, None).expect("a mail server");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        Self::Double { _door: office.serve(listener), office, address, _folder: folder }
    }

    fn real(security: &str, pem: &[&Path]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/smtp-server.py");
        let mut child = Command::new(server_variable(&["ROLLBACK_TEST_SMTP_PYTHON"]))
            .arg(script)
            .args([security, PASSWORD])
            .args(pem)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a Python");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let port = lines.next().expect("the port").expect("text").parse().expect("a number");
        let mails = Arc::new(Mutex::new(Vec::new()));
        let kept = mails.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mail: Value = serde_json::from_str(&line).expect("a mail");
                let text = |value: &Value| value.as_str().expect("text").replace("\r\n", "\n");
                kept.lock().expect("no thread has panicked").push(Mail {
                    from: text(&mail["from"]),
                    to: mail["to"].as_array().expect("a list").iter().map(text).collect(),
                    text: text(&mail["text"]),
                });
            }
        });
        Self::Real { child, port, mails }
    }

    fn address(&self) -> String {
        match self {
            Self::Double { address, .. } => address.clone(),
            Self::Real { port, .. } => format!("127.0.0.1:{port}"),
        }
    }

    fn mails(&self) -> Vec<Mail> {
        match self {
            Self::Double { office, .. } => office
                .mails()
                .into_iter()
                .map(|mail| Mail { from: mail.from, to: mail.to, text: mail.text })
                .collect(),
            Self::Real { mails, .. } => mails.lock().expect("no thread has panicked").clone(),
        }
    }

    /// The only mail.
    fn mail(&self) -> Mail {
        wait_until("the mail", || !self.mails().is_empty());
        let mut mails = self.mails();
        assert_eq!(mails.len(), 1, "{mails:?}");
        mails.remove(0)
    }

    /// Sends one mail with these settings beside the usual ones.
    async fn send(&self, settings: Value, args: Value) -> Result<Evidence, ActionError> {
        install_tls();
        let mut secrets = Secrets::default();
        let password = settings["password"].as_str().unwrap_or(PASSWORD).to_owned();
        let mut all = json!({
            "server": self.address(), "security": "none", "username": "rollback",
            "from": "Rollback <rollback@example.com>", "to": ["oncall@example.com"],
        });
        for (key, value) in settings.as_object().expect("settings") {
            all[key] = value.clone();
        }
        all["password"] = secrets.insert("password", password.into()).into();
        let settings = HashMap::from([("email".to_owned(), all)]);
        let connections = Connections::new("mail", settings, Arc::new(secrets));
        let registry = adapters::registry();
        let verb = *registry.verb("notify.email").expect("a verb of this program");
        let cx =
            ResolveContext { connections: Arc::new(connections), registry: Arc::new(registry) };
        let item = verb.expand(args, &cx).await?.remove(0);
        let Work::Action(action) = verb.make(&item.args, &cx)? else { panic!("an action") };
        let deadline = Instant::now() + Duration::from_secs(20);
        let step =
            StepContext::new(deadline, CancellationToken::new(), std::env::temp_dir(), "run-1");
        action.apply(&step.at("stop/tell"), &Saved::default()).await
    }
}

fn mail() -> Value {
    json!({"subject": "Rückbau begonnen", "text": "Because of errors.\n.\n..\nÄnd."})
}

/// The bodies of both kinds: as they are, and in base64.
fn has_text(mail: &Mail, text: &str) -> bool {
    use base64::Engine as _;
    let (head, body) = mail.text.split_once("\n\n").expect("a head and a body");
    let body = if head.contains("base64") {
        let bytes = base64::prelude::BASE64_STANDARD.decode(body.replace('\n', ""));
        String::from_utf8(bytes.expect("base64")).expect("text").replace("\r\n", "\n")
    } else {
        body.replace("=\n", "").replace("=C3=84", "Ä")
    };
    body.trim_end() == text
}

async fn suite(server: Server) {
    let error = server.send(json!({"password": "cAn4ry-wrong"}), mail()).await;
    let error = error.expect_err("a wrong password");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Denied, false), "{error:?}");
    assert!(!format!("{error:?}").contains("cAn4ry"), "{error:?}");

    let nobody = json!({"subject": "x", "text": "x", "to": ["gone@nowhere.example"]});
    let error = server.send(json!({}), nobody).await.expect_err("nobody wants it");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Failed, false), "{error:?}");
    assert!(error.message.contains("550 5.1.1 no such recipient"), "{error}");
    assert!(server.mails().is_empty());

    let both = json!(["gone@nowhere.example", "oncall@example.com"]);
    let mut args = mail();
    args["to"] = both;
    let evidence = server.send(json!({}), args).await.expect("taken for one");
    assert!(evidence.summary.contains("gone@nowhere.example (550"), "{}", evidence.summary);
    let sent = server.mail();
    assert_eq!((sent.from.as_str(), sent.to.len()), ("rollback@example.com", 1));
    assert_eq!(sent.to, ["oncall@example.com"]);
    assert!(sent.text.contains("Message-ID: <run-1.stop/tell@example.com>\n"), "{}", sent.text);
    assert!(sent.text.contains("Subject: =?utf-8?b?"), "{}", sent.text);
    assert!(has_text(&sent, "Because of errors.\n.\n..\nÄnd."), "{}", sent.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_double_is_a_mail_server() {
    suite(Server::double().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_one_says_the_same() {
    suite(Server::real("plain", &[])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_and_mails_go_only_to_a_server_that_is_known() {
    let certificates = Certificates::of("127.0.0.1");
    let (cert, key) = (certificates.file("cert.pem"), certificates.file("key.pem"));
    for security in ["starttls", "tls"] {
        let server = Server::real(security, &[&cert, &key]);
        let stranger = server.send(json!({"security": security}), mail()).await;
        let stranger = stranger.expect_err("nobody vouches for it");
        assert_eq!((stranger.kind, stranger.retryable), (ErrorKind::Unreachable, false));
        assert!(stranger.hints[0].contains("email: {ca: "), "{stranger:?}");

        let settings = json!({"security": security, "ca": certificates.file("ca.pem")});
        let _evidence = server.send(settings, mail()).await.expect("the authority is named");
        assert_eq!(server.mail().to, ["oncall@example.com"]);
    }
}
