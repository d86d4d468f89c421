//! A server's certificate with its key and the authority to trust, as PEM files made for one test; sound, or with a flaw.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    Expired,
    WrongHost,
    /// The authority is not among those that are trusted.
    UnknownIssuer,
}

impl Flaw {
    pub(crate) const ALL: [Self; 3] = [Self::Expired, Self::WrongHost, Self::UnknownIssuer];
}

/// `cert.pem` and `key.pem` for the server, `ca.pem` for its clients.
pub(crate) struct Certificates {
    folder: TempDir,
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Certificates {
    /// For the host of this name or address.
    pub(crate) fn of(host: &str) -> Self {
        Self::with(host, None)
    }

    /// For this host, but for the flaw.
    pub(crate) fn with(host: &str, flaw: Option<Flaw>) -> Self {
        let authority = || {
            let key = KeyPair::generate().expect("a key");
            let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
            authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let root = authority.self_signed(&key).expect("a certificate");
            (root, Issuer::new(authority, key))
        };
        let (root, issuer) = authority();
        let (stranger, _) = authority();
        let name = if flaw == Some(Flaw::WrongHost) { "elsewhere.example" } else { host };
        let key = KeyPair::generate().expect("a key");
        let mut leaf = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        if flaw == Some(Flaw::Expired) {
            leaf.not_before = date_time_ymd(2020, 1, 1);
            leaf.not_after = date_time_ymd(2020, 2, 1);
        }
        let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
        let trusted = if flaw == Some(Flaw::UnknownIssuer) { stranger } else { root };
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let files =
            [("ca.pem", trusted.pem()), ("cert.pem", leaf.pem()), ("key.pem", key.serialize_pem())];
        for (file, text) in files {
            std::fs::write(folder.path().join(file), text).expect("it is writable");
        }
        Self { folder, certificate: leaf.der().clone(), key }
    }

    /// One of the files.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The chain and the key, for a server of the test's own.
    pub(crate) fn server(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        (vec![self.certificate.clone()], key)
    }
}
