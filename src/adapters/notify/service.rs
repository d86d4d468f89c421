//! A service that is asked by HTTP, with a time limit for each phase.

use reqwest::{Client, Method, RequestBuilder, Url};
use secrecy::ExposeSecret as _;
use tokio::net::TcpStream;

use super::delivery::PATIENCE;
use super::refusal::Refusal;
use crate::action::{ActionError, ErrorKind};
use crate::adapters::http::{self, Progress};
use crate::clock;
use crate::secret::Secrets;

/// The most that is read of an answer, in bytes. Services answer in a line or two.
const LONGEST_ANSWER: usize = 2048;

/// A client for one address. The engine owns the deadline, so its limits are only the outer bound.
pub(super) struct Service {
    client: Client,
    address: Url,
}

impl Service {
    /// The service `name` at an address that may be a secret.
    pub(super) fn at(address: &str, name: &str, secrets: &Secrets) -> Result<Self, ActionError> {
        let address = secrets.reveal(address);
        // The parser's error does not quote the text, so it may be shown.
        let address = Url::parse(address.expose_secret().trim()).map_err(|error| {
            ActionError::new(ErrorKind::Invalid, format!("read the URL of {name}"))
                .caused_by(&error)
        })?;
        if !matches!(address.scheme(), "https" | "http") || address.host().is_none() {
            let message = format!("use the URL of {name}: it is not an HTTP address");
            return Err(ActionError::new(ErrorKind::Invalid, message));
        }
        Ok(Self { client: client(&address)?, address })
    }

    /// A request to the address itself.
    pub(super) fn post(&self) -> RequestBuilder {
        self.client.post(self.address.clone())
    }

    /// A request to a path below the address.
    pub(super) fn request(&self, method: Method, below: &[&str]) -> RequestBuilder {
        let mut url = self.address.clone();
        // An HTTP address always has a path.
        if let Ok(mut path) = url.path_segments_mut() {
            let _longer = path.pop_if_empty().extend(below);
        }
        self.client.request(method, url)
    }

    /// Sends one request once. Gives the beginning of the answer's body, if the answer is a success.
    pub(super) async fn ask(
        request: RequestBuilder,
        progress: &Progress,
    ) -> Result<String, Refusal> {
        let answer = progress.track(request.send()).await?;
        let status = answer.status();
        let retry_after = http::retry_after(answer.headers(), clock::now());
        // The status has decided already; a body that breaks off changes nothing.
        let body = text(answer).await.unwrap_or_default();
        if status.is_success() {
            return Ok(body);
        }
        Err(Refusal::Answered { status, retry_after, body })
    }

    /// Whether the host accepts connections. Sending nothing, it cannot tell whether the credentials are valid.
    pub(super) async fn accepts(&self) -> Result<String, ActionError> {
        let host = self.address.host_str().unwrap_or_default();
        let port = self.address.port_or_known_default().unwrap_or(443);
        let unreachable = ActionError::new(ErrorKind::Unreachable, format!("reach {host}:{port}"));
        match tokio::time::timeout(PATIENCE, TcpStream::connect((host, port))).await {
            Ok(Ok(_)) => Ok(format!("{host}:{port} accepts connections")),
            Ok(Err(error)) => Err(unreachable.caused_by(&error)),
            Err(elapsed) => Err(unreachable.caused_by(&elapsed)),
        }
    }
}

fn client(address: &Url) -> Result<Client, ActionError> {
    let mut builder = http::builder()
        .connect_timeout(PATIENCE)
        .read_timeout(PATIENCE)
        .timeout(PATIENCE)
        // A connection that waited may be closed in the instant in which it is used again, and then nobody knows.
        .pool_max_idle_per_host(0)
        .connector_layer(http::NoteConnecting);
    if http::is_loopback(address) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| {
        ActionError::new(ErrorKind::Invalid, "set up the HTTP client")
            .caused_by(&error.without_url())
    })
}

/// The beginning of an answer's body.
async fn text(mut answer: reqwest::Response) -> Result<String, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk[..chunk.len().min(LONGEST_ANSWER - body.len())]);
        if body.len() == LONGEST_ANSWER {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}
