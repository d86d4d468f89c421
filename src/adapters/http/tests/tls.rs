//! Certificates: whom a request trusts, and what it says of one that it does not.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;

use super::{apply, connect, observe, plain, probe, seen};
use crate::action::{ErrorKind, ResolveContext, Verdict};
use crate::secret::Secrets;

struct World {
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl World {
    /// A server whose certificate, for `name`, comes from an authority of its own.
    fn start(name: &str, expired: bool) -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = authority.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            leaf.not_before = date_time_ymd(2020, 1, 1);
            leaf.not_after = date_time_ymd(2020, 2, 1);
        }
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), root.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let config = Arc::new(config);
        let _serving = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = rustls::ServerConnection::new(config.clone()).unwrap();
                let mut tls = rustls::StreamOwned::new(connection, stream.unwrap());
                let mut request = [0; 4096];
                // A client that does not trust us leaves here.
                if matches!(tls.read(&mut request), Ok(1..)) {
                    let _gone = tls.write_all(
                        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                    );
                    tls.conn.send_close_notify();
                    let _gone = tls.flush();
                }
            }
        });
        Self { address, folder }
    }

    fn trusting(&self) -> ResolveContext {
        connect(json!({"ca_file": self.folder.path().join("ca.pem")}), Secrets::default())
    }

    fn url(&self, name: &str) -> String {
        format!("https://{name}:{}/", self.address.port())
    }
}

#[tokio::test]
async fn a_named_authority_is_trusted_and_sni_follows_the_name() {
    let world = World::start("lb.example.com", false);
    let args = json!({
        "url": world.url("lb.example.com"), "resolve": {"lb.example.com": "127.0.0.1"},
    });
    let verdict = observe(&*probe(&world.trusting(), args).await, 5000).await.unwrap();
    assert!(matches!(verdict, Verdict::Holds { .. }), "{verdict:?}");
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_told_and_not_retried() {
    let unknown = World::start("localhost", false);
    let wrong_host = World::start("elsewhere.example.com", false);
    let expired = World::start("localhost", true);
    let cases = [
        (plain(), &unknown, "UnknownIssuer"),
        (wrong_host.trusting(), &wrong_host, "not valid for name"),
        (expired.trusting(), &expired, "expired"),
    ];
    for (cx, world, reason) in cases {
        let url = world.url("localhost");
        let call = super::action(&cx, json!({"method": "POST", "url": url})).await;
        let error = apply(&*call, 5000).await.unwrap_err();
        assert_eq!((error.kind, error.retryable), (ErrorKind::Unreachable, false), "{error:?}");
        assert!(error.causes.iter().any(|cause| cause.contains(reason)), "{error:?}");
        assert!(error.hints[0].contains("ca_file"), "{error:?}");
        let observed = seen(observe(&*probe(&cx, json!({"url": url})).await, 5000).await.unwrap());
        assert!(observed.contains(reason), "{observed}");
    }
}

#[tokio::test]
async fn a_ca_file_without_certificates_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.pem");
    std::fs::write(&path, "nothing").unwrap();
    let cx = connect(json!({"ca_file": path}), Secrets::default());
    let call = super::action(&cx, json!({"method": "PUT", "url": "https://localhost:1/"})).await;
    let error = apply(&*call, 5000).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("empty.pem"), "{error:?}");
}
