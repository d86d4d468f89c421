//! How requests reach the engine without TLS: one connection for each, on which no more is read than an answer may hold.
//!
//! The client library collects whole answers in memory, however long they are; a broken engine, or something else that listens
//! at its address, must not fill the memory of a recovery. Connections are not kept, as in the library's own transports.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tower::Layer as _;

use crate::adapters::http::NoteConnecting;

/// The most that is read of an answer, its head included: the engine lists a container in about 2 KiB, so thousands of them fit.
pub(super) const MOST_BYTES: usize = 8 << 20;

/// The port of an address that names none.
const STANDARD_PORT: u16 = 80;

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
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(STANDARD_PORT))).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
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
            return Poll::Ready(Err(io::Error::other("the answer is longer than 8 MiB")));
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
