//! How requests reach the engine: one connection for each, on which no more is read than an answer may hold.
//!
//! The client library collects whole answers in memory, however long they are; a broken engine, or something else that listens
//! at its address, must not fill the memory of a recovery. Connections are not kept, as in the library's own transports.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tower::Layer as _;

use super::connection::TlsFiles;
use crate::adapters::http::NoteConnecting;

/// The most that is read of an answer, its head included: the engine lists a container in about 2 KiB, so thousands of them fit.
pub(super) const MOST_BYTES: usize = 8 << 20;

/// The ports of addresses that name none.
const STANDARD_PORT: u16 = 80;
const STANDARD_TLS_PORT: u16 = 443;

/// The engine began an answer that does not end in time to be one.
#[derive(Debug)]
pub(super) struct TooLong;

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer is longer than 8 MiB")
    }
}

impl std::error::Error for TooLong {}

/// The engine behind a socket of this machine.
pub(super) fn unix(path: PathBuf, timeout: u64) -> Result<Docker, Error> {
    if !path.exists() {
        return Err(Error::SocketNotFoundError(path.display().to_string()));
    }
    over("unix://docker", timeout, move |_| UnixStream::connect(path.clone()))
}

/// The engine at `host:port`.
pub(super) fn plain(address: &str, timeout: u64) -> Result<Docker, Error> {
    over(&format!("http://{address}"), timeout, |uri: Uri| async move {
        let (host, port) = place(&uri, STANDARD_PORT);
        tcp(&host, port).await
    })
}

/// The engine at `host:port` with TLS in both directions. Only the authority that is named is trusted.
pub(super) fn tls(address: &str, files: &TlsFiles, timeout: u64) -> Result<Docker, Error> {
    let connector = TlsConnector::from(Arc::new(client(files)?));
    over(&format!("https://{address}"), timeout, move |uri: Uri| {
        let connector = connector.clone();
        async move {
            let (host, port) = place(&uri, STANDARD_TLS_PORT);
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            connector.connect(name, tcp(&host, port).await?).await
        }
    })
}

/// Who we are, and whom we trust.
fn client(files: &TlsFiles) -> Result<ClientConfig, Error> {
    let unreadable = |path: &PathBuf| Error::CertPathError { path: path.clone() };
    let wrong = |path: &PathBuf| Error::CertParseError { path: path.clone() };
    let read = |path: &PathBuf| {
        let found = CertificateDer::pem_file_iter(path).map_err(|_| unreadable(path))?;
        found.collect::<Result<Vec<_>, _>>().map_err(|_| wrong(path))
    };
    let mut roots = RootCertStore::empty();
    for certificate in read(&files.ca)? {
        roots.add(certificate).map_err(|_| wrong(&files.ca))?;
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|_| unreadable(&files.key))?;
    ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(read(&files.cert)?, key)
        .map_err(|_| wrong(&files.cert))
}

fn place(uri: &Uri, standard: u16) -> (String, u16) {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    (host, uri.port_u16().unwrap_or(standard))
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn over<C, F, S>(address: &str, timeout: u64, connect: C) -> Result<Docker, Error>
where
    C: Fn(Uri) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connector = tower::service_fn(move |uri| {
        let connecting = connect(uri);
        Box::pin(async move {
            Ok::<_, io::Error>(TokioIo::new(Bounded { stream: connecting.await?, read: 0 }))
        })
    });
    let mut builder = Client::builder(TokioExecutor::new());
    let client = builder
        .pool_max_idle_per_host(0)
        .retry_canceled_requests(false)
        .build(NoteConnecting.layer(connector));
    let transport = move |request: BollardRequest| {
        let answer = client.request(request);
        async move { answer.await.map_err(Error::from) }
    };
    Docker::connect_with_custom_transport(transport, Some(address), timeout, API_DEFAULT_VERSION)
}

/// A connection that breaks rather than bring more than [`MOST_BYTES`].
struct Bounded<S> {
    stream: S,
    read: usize,
}

impl<S> Connection for Bounded<S> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.read += buffer.filled().len() - before;
        if self.read > MOST_BYTES {
            return Poll::Ready(Err(io::Error::other(TooLong)));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
