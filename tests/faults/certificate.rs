//! Certificates that must not be trusted, over every adapter that speaks TLS: told at once, as a failure that waiting does not mend.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::subject::{Subject, Told};
use crate::support::certificates::{Certificates, Flaw};
use crate::support::{HANG, install_tls};

/// A server with a flawed certificate, and the files that a client is given.
struct Impostor {
    address: SocketAddr,
    certificates: Certificates,
    /// How many requests came through.
    trusted: Arc<AtomicUsize>,
}

impl Impostor {
    fn start(flaw: Flaw, greets_as_postgres: bool) -> Self {
        let certificates = Certificates::with("localhost", Some(flaw));
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
            Subject::DockerStart => (
                json!({"host": format!("tcp://{at}"), "tls": {"ca": ca, "cert": self.certificates.file("cert.pem"), "key": self.certificates.file("key.pem")}}),
                json!({"project": "p", "short_name": "agent-1", "container": "p-agent-1"}),
            ),
            Subject::RedisGreeting => {
                (json!({"url": format!("rediss://{at}"), "ca_file": ca}), json!({"pattern": "f:*"}))
            }
            Subject::Postgres => (
                json!({"url": format!("postgresql://app@{at}/app?sslmode=require"), "ca": ca}),
                json!({"statements": [{"sql": "SELECT 1"}]}),
            ),
            _ => return None,
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_adapter_speaks_to_a_server_whose_certificate_is_wrong() {
    install_tls();
    let mut wrong = Vec::new();
    for flaw in Flaw::ALL {
        for subject in Subject::OVER_HTTP.into_iter().chain(Subject::OTHERS) {
            let impostor = Impostor::start(flaw, subject == Subject::Postgres);
            let Some((settings, item)) = impostor.case(subject) else { continue };
            let attempt = subject.attempt_with(settings, item, Duration::from_secs(20));
            let outcome = tokio::time::timeout(HANG, attempt).await.expect("it ends");
            let wanted = if subject == Subject::Expect { Told::NotYet } else { Told::Failed };
            if Told::of(&outcome) != wanted {
                wrong.push(format!("{subject:?} of {flaw:?}: {outcome:?}"));
            }
            if impostor.trusted.load(Ordering::SeqCst) != 0 {
                wrong.push(format!("{subject:?} trusted {flaw:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
