//! A plain HTTP/1.1 client for loopback, one connection per request.
//!
//! The load balancer uses it towards its upstreams, and the world to ask its own services what a user would see.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response, StatusCode};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::SandboxError;

/// How long a question to one's own world may take, unless injected faults make it longer.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes.
const LONGEST: usize = 8 << 20;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection: nothing was sent.
    #[error("connect: {0}")]
    Connect(std::io::Error),
    /// The request was sent and the answer never came whole.
    #[error("exchange: {0}")]
    Exchange(hyper::Error),
}

/// Sends a request to `address` (`127.0.0.1:8080`) as it is and returns the answer with its body still to come.
pub async fn send(address: &str, request: Request<Body>) -> Result<Response<Body>, ClientError> {
    let stream = TcpStream::connect(address).await.map_err(ClientError::Connect)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::Exchange)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a service ended early");
        }
    });
    let answer = sender.send_request(request).await.map_err(ClientError::Exchange)?;
    Ok(answer.map(Body::new))
}

/// Asks `address` and reads the whole answer, within [`PATIENCE`].
pub async fn ask(
    method: Method,
    address: &str,
    path: &str,
    body: impl Into<Body>,
) -> Result<(StatusCode, String), SandboxError> {
    let what = format!("{method} http://{address}{path}");
    let failed = |why: String| SandboxError::Request { what: what.clone(), why };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address)
        .header("connection", "close")
        .body(body.into())
        .map_err(|error| failed(error.to_string()))?;
    let exchange = async {
        let answer = send(address, request).await.map_err(|error| failed(error.to_string()))?;
        let status = answer.status();
        let bytes = to_bytes(answer.into_body(), LONGEST)
            .await
            .map_err(|error| failed(error.to_string()))?;
        Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
    };
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .unwrap_or_else(|_| Err(failed(format!("no answer within {} s", PATIENCE.as_secs()))))
}
