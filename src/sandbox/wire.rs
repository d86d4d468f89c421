//! The one way into every double: an accept loop that consults the faults before each request is handled.
//!
//! A double is a function from request to answer behind a [`Front`]; this module carries it over TCP or a Unix socket.
//! A [`Door`] is an open listener, closed with all its connections when it is dropped.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use futures_util::future::BoxFuture;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::SandboxError;
use super::faults::{Double, Effect, Faults, Verdict};

/// What a double does with a request.
pub type Handler = Arc<dyn Fn(Request<Body>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// A double with the faults that stand before it.
#[derive(Clone)]
pub struct Front {
    /// Which one it is and the faults of its world; none for what cannot be harmed.
    pub faults: Option<(Double, Faults)>,
    /// What it does.
    pub handler: Handler,
    /// How it words an injected error.
    pub refuse: fn(StatusCode) -> Response<Body>,
}

/// A handler from a router.
pub fn routed(router: axum::Router) -> Handler {
    Arc::new(move |request| {
        let router = router.clone();
        Box::pin(async move {
            let answer: Result<_, Infallible> = router.oneshot(request).await;
            answer.unwrap_or_else(|never| match never {})
        })
    })
}

/// An injected error as plain text; a 429 says when to come back.
pub fn plain_refusal(status: StatusCode) -> Response<Body> {
    let text = status.canonical_reason().unwrap_or("error").to_lowercase().replace(' ', "_");
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = status;
    if status == StatusCode::TOO_MANY_REQUESTS {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

/// The connection is cut instead of answered.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut by an injected fault")]
struct Cut;

impl Front {
    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, Cut> {
        let verdict = match &self.faults {
            Some((double, faults)) => {
                faults.decide(*double, &format!("{} {}", request.method(), request.uri().path()))
            }
            None => Verdict::default(),
        };
        if !verdict.latency.is_zero() {
            tokio::time::sleep(verdict.latency).await;
        }
        match verdict.end {
            None | Some(Effect::Latency(_)) => Ok((self.handler)(request).await),
            Some(Effect::Error(status)) => Ok((self.refuse)(
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            )),
            Some(Effect::Reset) => Err(Cut),
            Some(Effect::Silence) => std::future::pending().await,
            Some(Effect::Lost) => {
                drop((self.handler)(request).await);
                Err(Cut)
            }
        }
    }
}

/// An open listener; dropping it closes it and its connections.
#[derive(Debug)]
pub struct Door {
    stop: CancellationToken,
    accepting: JoinHandle<()>,
}

impl Door {
    fn open<F: Future<Output = ()> + Send + 'static>(
        accepting: impl FnOnce(CancellationToken) -> F,
    ) -> Self {
        let stop = CancellationToken::new();
        let accepting = tokio::spawn(accepting(stop.clone()));
        Self { stop, accepting }
    }

    /// Closes the listener and its connections, and waits until the address is free.
    pub async fn close(mut self) {
        self.stop.cancel();
        // The task ends by itself and does not panic.
        drop((&mut self.accepting).await);
    }

    /// Closes the listener alone; connections end in their own time.
    pub fn retire(mut self) {
        self.accepting.abort();
        self.stop = CancellationToken::new();
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Serves `front` on a TCP listener.
pub fn open_tcp(listener: TcpListener, front: Front) -> Door {
    let never = CancellationToken::new();
    open_tcp_with(listener, move || (front.clone(), never.clone()))
}

/// Serves on a TCP listener what `front` returns for each new connection: the front, and the signal to answer what
/// is in flight and close.
pub fn open_tcp_with(
    listener: TcpListener,
    front: impl Fn() -> (Front, CancellationToken) + Send + 'static,
) -> Door {
    Door::open(|stopped| async move {
        while let Some(accepted) = stopped.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    let (front, drain) = front();
                    tokio::spawn(serve(Stream::Tcp(stream), front, stopped.clone(), drain));
                }
                Err(error) => pause_after(&error).await,
            }
        }
    })
}

/// Serves on a TCP listener a protocol that is not HTTP: `serve` gets each new connection. It asks the faults itself.
pub fn open_stream<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> Door {
    Door::open(|stopped| async move {
        while let Some(accepted) = stopped.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    let (serving, stopped) = (serve(stream), stopped.clone());
                    tokio::spawn(async move { stopped.run_until_cancelled(serving).await });
                }
                Err(error) => pause_after(&error).await,
            }
        }
    })
}

/// Hands every datagram to `answer`, and sends what it gives back to where it came from.
pub fn open_datagrams<F: Future<Output = Option<Vec<u8>>> + Send + 'static>(
    socket: UdpSocket,
    answer: impl Fn(Vec<u8>) -> F + Send + 'static,
) -> Door {
    Door::open(|stopped| async move {
        let socket = Arc::new(socket);
        let mut buffer = vec![0; usize::from(u16::MAX)];
        while let Some(received) = stopped.run_until_cancelled(socket.recv_from(&mut buffer)).await
        {
            // An earlier answer may have met a client that has gone, which the socket tells here.
            let Ok((length, from)) = received else { continue };
            let (answering, socket) = (answer(buffer[..length].to_vec()), socket.clone());
            let stopped = stopped.clone();
            tokio::spawn(async move {
                if let Some(Some(bytes)) = stopped.run_until_cancelled(answering).await
                    && let Err(error) = socket.send_to(&bytes, from).await
                {
                    tracing::debug!(%error, "failed to answer a datagram");
                }
            });
        }
    })
}

/// Serves `front` on a Unix socket at `path`, replacing a socket that a former process left.
pub fn open_unix(path: &Path, front: Front) -> Result<Door, SandboxError> {
    open_unix_with(path, move |stream, stopped| {
        serve(Stream::Unix(stream), front.clone(), stopped, CancellationToken::new())
    })
}

/// Hands every connection to a Unix socket at `path` to `carry`, with the signal to drop it.
pub fn open_unix_with<F: Future<Output = ()> + Send + 'static>(
    path: &Path,
    carry: impl Fn(UnixStream, CancellationToken) -> F + Send + 'static,
) -> Result<Door, SandboxError> {
    let listener = bind_unix(path)
        .map_err(|source| SandboxError::Listen { address: path.display().to_string(), source })?;
    Ok(Door::open(|stopped| async move {
        while let Some(accepted) = stopped.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(carry(stream, stopped.clone()));
                }
                Err(error) => pause_after(&error).await,
            }
        }
    }))
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Out of file descriptors, most likely: connections that end will free some.
async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "failed to accept a connection");
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
}

async fn serve(stream: Stream, front: Front, stop: CancellationToken, drain: CancellationToken) {
    let cut = Arc::new(AtomicBool::new(false));
    let io = TokioIo::new(Wire { stream, cut: cut.clone() });
    let asked = CancellationToken::new();
    let told = asked.clone();
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        told.cancel();
        let (front, cut) = (front.clone(), cut.clone());
        async move {
            let answer = front.answer(request.map(Body::new)).await;
            cut.fetch_or(answer.is_err(), Ordering::Relaxed);
            answer
        }
    });
    let mut connection = std::pin::pin!(http1::Builder::new().serve_connection(io, service));
    // A worker of nginx that drains still answers the first request of a connection that it took.
    let mut drained = std::pin::pin!(async {
        drain.cancelled().await;
        asked.cancelled().await;
    });
    let mut draining = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = stop.cancelled() => return,
            () = drained.as_mut(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A stream that can be cut: dropped without goodbye, which TCP shows as a reset.
struct Wire {
    stream: Stream,
    cut: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Stream::Tcp(stream) = &self.stream
            && self.cut.load(Ordering::Relaxed)
            && let Err(error) = stream.set_zero_linger()
        {
            tracing::debug!(%error, "failed to reset a connection, closing it");
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.cut.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        match &mut this.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::{Instant, timeout};

    use super::*;

    struct Rig {
        faults: Faults,
        handled: Arc<AtomicUsize>,
        address: std::net::SocketAddr,
        _door: Door,
    }

    async fn rig() -> Rig {
        let faults = Faults::default();
        let count = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counting = count.clone();
        let handler: Handler = Arc::new(move |_| {
            counting.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Response::new(Body::from("ok")) })
        });
        let front =
            Front { faults: Some((Double::Chat, faults.clone())), handler, refuse: plain_refusal };
        Rig { faults, handled: count, address, _door: open_tcp(listener, front) }
    }

    impl Rig {
        async fn ask(&self) -> io::Result<String> {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            Ok(text)
        }
    }

    #[tokio::test]
    async fn without_faults_requests_are_answered() {
        let rig = rig().await;
        assert!(rig.ask().await.unwrap().starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn an_error_is_answered_without_handling() {
        let rig = rig().await;
        rig.faults.add("chat:error=429,times=1".parse().unwrap());
        let answer = rig.ask().await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
        assert!(answer.contains("retry-after: 1"), "{answer}");
        assert_eq!(rig.handled.load(Ordering::Relaxed), 0);
        assert!(rig.ask().await.unwrap().starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn a_reset_shows_as_one_and_nothing_was_handled() {
        let rig = rig().await;
        rig.faults.add("chat:reset".parse().unwrap());
        assert_eq!(rig.ask().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(rig.handled.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_lost_answer_was_handled() {
        let rig = rig().await;
        rig.faults.add("chat:lost".parse().unwrap());
        assert_eq!(rig.ask().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(rig.handled.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn silence_lasts_until_the_client_gives_up() {
        let rig = rig().await;
        rig.faults.add("chat:silence".parse().unwrap());
        assert!(timeout(Duration::from_millis(300), rig.ask()).await.is_err());
        assert_eq!(rig.handled.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn latency_delays_the_answer() {
        let rig = rig().await;
        rig.faults.add("chat:latency=200ms".parse().unwrap());
        let start = Instant::now();
        assert!(rig.ask().await.unwrap().starts_with("HTTP/1.1 200"));
        assert!(start.elapsed() >= Duration::from_millis(200));
    }
}
