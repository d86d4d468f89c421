//! Servers that TLS refuses, over every adapter that speaks it: a certificate that must not be trusted, a protocol of the last century.
//! Told at once, with the reason, as a failure that waiting does not mend.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::subject::{Subject, Told, token};
use crate::support::certificates::{Certificates, Flaw};
use crate::support::{HANG, install_tls};

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Certificate(Flaw),
    /// It speaks TLS 1.0 alone.
    OldProtocol,
}

const WRONGS: [Wrong; 4] = [
    Wrong::Certificate(Flaw::Expired),
    Wrong::Certificate(Flaw::WrongHost),
    Wrong::Certificate(Flaw::UnknownIssuer),
    Wrong::OldProtocol,
];

impl Wrong {
    /// What an error must say about it.
    fn named(self) -> &'static str {
        match self {
            Self::Certificate(_) => "certificate",
            Self::OldProtocol => "does not speak TLS 1.2",
        }
    }
}

/// The `ServerHello` of a server that has chosen TLS 1.0 (RFC 2246 section 7.4.1.3) with `TLS_RSA_WITH_AES_128_CBC_SHA`.
fn server_hello_of_1999() -> Vec<u8> {
    let mut hello = vec![3, 1];
    hello.extend([7; 32]);
    hello.extend([0, 0, 0x2f, 0]);
    let length = u8::try_from(hello.len()).expect("a short message");
    [&[22, 3, 1, 0, length + 4, 2, 0, 0, length], hello.as_slice()].concat()
}

/// A server with a flawed certificate, and the files that a client is given.
struct Impostor {
    address: SocketAddr,
    certificates: Certificates,
    /// How many requests came through.
    trusted: Arc<AtomicUsize>,
}

impl Impostor {
    fn start(flaw: Wrong, greets_as_postgres: bool) -> Self {
        let certificates = match flaw {
            Wrong::Certificate(flaw) => Certificates::with("localhost", Some(flaw)),
            Wrong::OldProtocol => Certificates::of("localhost"),
        };
        let (chain, key) = certificates.server();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a server's certificate");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (config, trusted) = (Arc::new(config), Arc::new(AtomicUsize::new(0)));
        let counter = trusted.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                // PostgreSQL asks for TLS in the open first (protocol 3.0, `SSLRequest`).
                if greets_as_postgres
                    && (stream.read_exact(&mut [0; 8]).is_err() || stream.write_all(b"S").is_err())
                {
                    continue;
                }
                if flaw == Wrong::OldProtocol {
                    // The client may have gone at the sight of it.
                    let _told = stream
                        .read(&mut [0; 4096])
                        .and_then(|_| stream.write_all(&server_hello_of_1999()))
                        .and_then(|()| stream.read(&mut [0; 4096]));
                    continue;
                }
                let connection = rustls::ServerConnection::new(config.clone()).expect("a session");
                let mut tls = rustls::StreamOwned::new(connection, stream);
                if matches!(tls.read(&mut [0; 4096]), Ok(1..)) {
                    counter.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Self { address, certificates, trusted }
    }

    /// The connection and the arguments of a subject; `None` when it has no TLS, or no authorities of its own to name.
    fn case(&self, subject: Subject) -> Option<(Value, Value)> {
        let at = format!("localhost:{}", self.address.port());
        let ca = self.certificates.file("ca.pem");
        let url = format!("https://{at}/");
        Some(match subject {
            Subject::Post => (json!({"ca_file": ca}), json!({"method": "POST", "url": url})),
            Subject::Expect => (json!({"ca_file": ca}), json!({"url": url})),
            Subject::Slack => (json!({"webhook": url}), json!({"text": "a drill"})),
            Subject::PagerDuty => {
                (json!({"routing_key": "k", "url": url}), json!({"summary": "a drill"}))
            }
            Subject::Sms => (
                json!({"account": "AC1", "token": "t", "from": "+14155550100", "url": url}),
                json!({"text": "a drill", "to": "+14155550101"}),
            ),
            Subject::Webhook => (json!({"url": url}), json!({"body": {"title": "a drill"}})),
            Subject::DockerStart => (
                json!({"host": format!("tcp://{at}"), "tls": {"ca": ca, "cert": self.certificates.file("cert.pem"), "key": self.certificates.file("key.pem")}}),
                json!({"project": "p", "short_name": "agent-1", "container": "p-agent-1"}),
            ),
            Subject::KubernetesLook => (
                json!({"server": url, "namespace": "n", "token": token().1, "ca_file": ca}),
                subject.item(&url),
            ),
            Subject::Prometheus => {
                (json!({"url": url, "ca_file": ca}), json!({"query": "up", "equals": 1}))
            }
            Subject::DigitalOceanLook => {
                (json!({"url": url, "token": token().1, "ca_file": ca}), subject.item(&url))
            }
            Subject::RedisGreeting => {
                (json!({"url": format!("rediss://{at}"), "ca_file": ca}), json!({"pattern": "f:*"}))
            }
            Subject::Postgres => (
                json!({"url": format!("postgresql://app@{at}/app?sslmode=require"), "ca": ca}),
                json!({"statements": [{"sql": "SELECT 1"}]}),
            ),
            Subject::SmtpGreeting => (
                json!({"server": at, "from": "a@example.com", "security": "tls", "ca": ca}),
                json!({"subject": "a drill", "text": "a drill", "to": ["b@example.com"]}),
            ),
            _ => return None,
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[expect(clippy::print_stdout, reason = "the figures are what the long form is run for")]
async fn no_adapter_speaks_to_a_server_that_tls_refuses() {
    install_tls();
    let mut wrong = Vec::new();
    let mut tried = 0;
    for flaw in WRONGS {
        for subject in Subject::OVER_HTTP.into_iter().chain(Subject::OTHERS) {
            let impostor = Impostor::start(flaw, subject == Subject::Postgres);
            let Some((settings, item)) = impostor.case(subject) else { continue };
            let attempt = subject.attempt_with(settings, item, Duration::from_secs(20));
            let outcome = tokio::time::timeout(HANG, attempt).await.expect("it ends");
            let wanted = if subject == Subject::Expect { Told::NotYet } else { Told::Failed };
            if Told::of(&outcome) != wanted {
                wrong.push(format!("{subject:?} of {flaw:?}: {outcome:?}"));
            }
            if outcome.as_ref().is_err_and(|error| !format!("{error:?}").contains(flaw.named())) {
                wrong.push(format!("{subject:?} does not name {flaw:?}: {outcome:?}"));
            }
            tried += 1;
            if impostor.trusted.load(Ordering::SeqCst) != 0 {
                wrong.push(format!("{subject:?} trusted {flaw:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} flaws of TLS: {tried} combinations; spoken to 0", WRONGS.len());
}
