//! An engine behind TLS in both directions.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rollback::action::ErrorKind;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::rig::Port;

/// A certificate authority and what it signed for the engine and for us.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are sound names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key is made");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("it signs itself") }
    }

    /// A certificate and its key, as PEM.
    fn sign(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a sound name");
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key is made");
        let signed = params.signed_by(&key, &self.issuer).expect("it is signed");
        (signed.pem(), key.serialize_pem())
    }

    /// Settings whose files are in `folder`.
    fn settings(&self, folder: &Path, port: u16) -> Value {
        let (cert, key) = self.sign("client", ExtendedKeyUsagePurpose::ClientAuth);
        for (name, text) in [("ca.pem", self.issuer.pem()), ("cert.pem", cert), ("key.pem", key)] {
            std::fs::write(folder.join(name), text).expect("the folder is writable");
        }
        let file = |name: &str| folder.join(name).display().to_string();
        json!({
            "host": format!("tcp://localhost:{port}"),
            "tls": {"ca": file("ca.pem"), "cert": file("cert.pem"), "key": file("key.pem")},
        })
    }
}

/// Answers `requests` connections with a version, to clients that `trusted` signed for only. Returns the port.
fn serve(trusted: &Authority, signer: &Authority, requests: usize) -> u16 {
    let body = r#"{"Version":"29.0.0","ApiVersion":"1.52"}"#;
    serve_with(trusted, signer, requests, body.as_bytes().to_vec())
}

/// The same, with another body.
fn serve_with(trusted: &Authority, signer: &Authority, requests: usize, body: Vec<u8>) -> u16 {
    let (cert, key) = signer.sign("localhost", ExtendedKeyUsagePurpose::ServerAuth);
    let certificate = CertificateDer::from_pem_slice(cert.as_bytes()).expect("it is PEM");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("it is PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(trusted.issuer.der().clone()).expect("it is a certificate");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .expect("the verifier is sound");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key)
        .expect("the certificate fits its key");
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for _ in 0..requests {
            let (stream, _) = listener.accept().expect("a client comes");
            let connection = ServerConnection::new(config.clone()).expect("the settings are sound");
            let mut stream = StreamOwned::new(connection, stream);
            let mut request = [0; 4096];
            // A client that is refused, or refuses, ends here.
            if stream.read(&mut request).is_ok_and(|read| read > 0) {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                // A client that has had enough hangs up.
                let _sent =
                    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
                let _flushed = stream.flush();
            }
        }
    });
    port
}

#[tokio::test]
async fn an_engine_behind_tls_is_reached_with_certificates_only() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let port = serve(&ours, &ours, 1);
    let line = Port::with(ours.settings(folder.path(), port)).reach().await.unwrap();
    assert_eq!(line, format!("docker 29.0.0 (API 1.52) at tcp://localhost:{port}"));

    // An engine that another authority signed for, and one that does not know us.
    let port = serve(&ours, &foreign, 1);
    let error = Port::with(ours.settings(folder.path(), port)).reach().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}: {:?}", error.causes);
    let port = serve(&foreign, &ours, 1);
    Port::with(ours.settings(folder.path(), port)).reach().await.unwrap_err();
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_off_for_good() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let port = serve_with(&authority, &authority, 1, vec![b' '; 9 << 20]);
    let error = Port::with(authority.settings(folder.path(), port)).reach().await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::Failed, false), "{error:?}");
    assert!(format!("{error:?}").contains("longer than 8 MiB"), "{error:?}");
}

#[tokio::test]
async fn missing_certificates_are_named() {
    let settings = json!({
        "host": "tcp://localhost:2376",
        "tls": {"ca": "/nowhere/ca.pem", "cert": "/nowhere/cert.pem", "key": "/nowhere/key.pem"},
    });
    let error = Port::with(settings).reach().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(
        error.causes.iter().any(|cause| cause.contains("/nowhere/ca.pem")),
        "{:?}",
        error.causes
    );
}
