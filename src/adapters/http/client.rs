//! The one client of an environment: how requests travel, and in which class their failures fall.
//!
//! Requests to loopback, requests with `resolve`, and hosts that the connection's `nameservers` resolve connect directly. Others take the connection's `proxy`, or that of the
//! process's environment. Plain HTTP never loads certificates, which keeps the first request of a run quick.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Certificate, Proxy};
use secrecy::ExposeSecret;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::answer::{Answer, MOST_BYTES};
use super::connection::HttpConnection;
use super::defaults::{builder, is_loopback};
use super::message::{Message, Resolved, header};
use super::names::Names;
use super::progress::{NoteConnecting, Progress};
use crate::action::{ActionError, Connections, ErrorKind};
use crate::secret::Secrets;

/// The longest wait for a connection; the deadline is usually nearer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How a host is found and reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Way {
    /// By the connection's proxy, or that of the process's environment.
    Usual,
    /// Without a proxy.
    Direct,
    /// Without a proxy, at the address that the connection's name servers tell.
    Asking,
}

/// What makes a client of its own necessary.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Route {
    tls: bool,
    fresh: bool,
    way: Way,
    resolved: Resolved,
}

/// The shared client. Cheap to make; connections and certificates are loaded with the first request that needs them.
pub(in crate::adapters) struct Client {
    settings: HttpConnection,
    secrets: Arc<Secrets>,
    /// Where the certificate authorities are named, for hints.
    authorities_setting: &'static str,
    /// The most that is read of an answer, in bytes.
    most: usize,
    routes: Mutex<HashMap<Route, reqwest::Client>>,
}

/// How much of a body is read, and how long.
#[derive(Clone, Copy)]
struct Reading {
    /// In bytes.
    most: usize,
    /// What is kept of a longer one.
    keeps: Part,
    /// When what has come is enough; without it, all of it is waited for.
    until: Option<Instant>,
}

/// A part of an answer.
#[derive(Clone, Copy)]
enum Part {
    Beginning,
    End,
}

impl Reading {
    /// Cuts an answer that is too long.
    fn cut(self, answer: &mut Answer) {
        let over = answer.body.len().saturating_sub(self.most);
        if over == 0 {
            return;
        }
        answer.cut = true;
        match self.keeps {
            Part::Beginning => answer.body.truncate(self.most),
            Part::End => drop(answer.body.drain(..over)),
        }
    }
}

impl Client {
    /// The client of these connections.
    pub(super) fn shared(connections: &Connections) -> Result<Arc<Self>, ActionError> {
        let secrets = connections.secrets().clone();
        connections.client::<HttpConnection, Self, _>(|settings, _| {
            Ok(Self::new(settings, secrets, "{http: {ca_file: …}}"))
        })
    }

    /// A client with these settings, for an adapter whose system speaks HTTP; `authorities_setting` is where a person names
    /// the certificate authorities.
    pub(in crate::adapters) fn new(
        settings: HttpConnection,
        secrets: Arc<Secrets>,
        authorities_setting: &'static str,
    ) -> Self {
        Self { settings, secrets, authorities_setting, most: MOST_BYTES, routes: Mutex::default() }
    }

    /// The same, reading answers of up to `most` bytes.
    #[must_use]
    pub(in crate::adapters) fn reading(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// The secrets, for judging what came back.
    pub(in crate::adapters) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Sends one request once and reads one answer, until `deadline`.
    ///
    /// Fails with [`Unknown`](ErrorKind::Unknown) when the request may have left and no complete answer came,
    /// with `Unreachable`, `TimedOut` or `Cancelled` when it certainly has not.
    pub(in crate::adapters) async fn exchange(
        &self,
        message: &Message,
        deadline: Instant,
        cancelled: &CancellationToken,
    ) -> Result<Answer, ActionError> {
        let reading = Reading { most: self.most, keeps: Part::Beginning, until: None };
        self.converse(message, reading, deadline, cancelled).await
    }

    /// The same for a log: of a long answer the end is kept. One that is still written never ends; of that, what has come until `enough`
    /// counts. An answer of which something is missing is marked as cut.
    pub(in crate::adapters) async fn tail(
        &self,
        message: &Message,
        enough: Option<Instant>,
        deadline: Instant,
        cancelled: &CancellationToken,
    ) -> Result<Answer, ActionError> {
        let reading = Reading { most: self.most, keeps: Part::End, until: enough };
        self.converse(message, reading, deadline, cancelled).await
    }

    async fn converse(
        &self,
        message: &Message,
        reading: Reading,
        deadline: Instant,
        cancelled: &CancellationToken,
    ) -> Result<Answer, ActionError> {
        let url = message.target(&self.secrets)?;
        let client = self.client_for(&url, message)?;
        let mut request = message.request(url, &self.secrets)?;
        for (name, value) in self.settings.headers_for(&request.url().clone()) {
            let (name, value) = header(name, self.secrets.reveal(value).expose_secret())
                .map_err(|problem| message.invalid(&problem))?;
            if !request.headers().contains_key(&name) {
                let _none = request.headers_mut().insert(name, value);
            }
        }
        let progress = Progress::default();
        let exchange = progress.track(converse(client, request, reading));
        tokio::select! {
            biased;
            answer = exchange => answer.map_err(|error| self.classify(message, error)),
            () = cancelled.cancelled() => Err(interrupted(message, &progress, ErrorKind::Cancelled)),
            () = tokio::time::sleep_until(deadline) => {
                Err(interrupted(message, &progress, ErrorKind::TimedOut))
            }
        }
    }

    fn client_for(&self, url: &Url, message: &Message) -> Result<reqwest::Client, ActionError> {
        let local = is_loopback(url) || !message.resolved.is_empty();
        let way = if local {
            Way::Direct
        } else if !self.settings.nameservers.is_empty() && url.domain().is_some() {
            Way::Asking
        } else {
            Way::Usual
        };
        let route = Route {
            tls: url.scheme() == "https",
            // A kept connection would lead to where the name pointed before.
            fresh: message.fresh || way == Way::Asking,
            way,
            resolved: message.resolved.clone(),
        };
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = routes.get(&route) {
            return Ok(client.clone());
        }
        let client = self.build(&route)?;
        let _none = routes.insert(route, client.clone());
        Ok(client)
    }

    fn build(&self, route: &Route) -> Result<reqwest::Client, ActionError> {
        let mut builder =
            builder().connect_timeout(CONNECT_TIMEOUT).connector_layer(NoteConnecting);
        if route.fresh {
            builder = builder.pool_max_idle_per_host(0);
        }
        if route.way == Way::Asking {
            builder =
                builder.dns_resolver(Arc::new(Names(self.settings.nameservers.as_slice().into())));
        }
        for (host, address) in &route.resolved {
            builder = builder.resolve(host, *address);
        }
        builder = match (&self.settings.proxy, route.way != Way::Usual) {
            (_, true) => builder.no_proxy(),
            (Some(proxy), false) => builder.proxy(self.proxy(proxy)?),
            (None, false) => builder,
        };
        builder = if route.tls {
            builder.tls_certs_merge(self.authorities()?)
        } else {
            builder.tls_certs_only([])
        };
        builder
            .build()
            .map_err(|error| setup("prepare the HTTP client").caused_by(&error.without_url()))
    }

    fn proxy(&self, proxy: &str) -> Result<Proxy, ActionError> {
        // The source error would repeat the URL and so the proxy's password.
        Proxy::all(self.secrets.reveal(proxy).expose_secret())
            .map_err(|_| setup("read `proxy` of the connection `http` as a URL"))
    }

    fn authorities(&self) -> Result<Vec<Certificate>, ActionError> {
        let Some(path) = &self.settings.ca_file else { return Ok(Vec::new()) };
        let complain = || setup(&format!("read the certificate authorities in {}", path.display()));
        let pem = std::fs::read(path).map_err(|error| complain().caused_by(&error))?;
        let authorities =
            Certificate::from_pem_bundle(&pem).map_err(|error| complain().caused_by(&error))?;
        if authorities.is_empty() {
            return Err(complain().hint("The file has no PEM certificate."));
        }
        Ok(authorities)
    }

    fn classify(&self, message: &Message, error: reqwest::Error) -> ActionError {
        let kind = if error.is_connect() {
            ErrorKind::Unreachable
        } else if error.is_builder() {
            ErrorKind::Invalid
        } else {
            ErrorKind::Unknown
        };
        let text = match kind {
            ErrorKind::Unreachable => format!("connect to send {}", message.line()),
            ErrorKind::Invalid => format!("send {}", message.line()),
            _ => format!("learn what became of {}", message.line()),
        };
        let mut failure = ActionError::new(kind, text).caused_by(&error.without_url());
        for cause in &mut failure.causes {
            *cause = self.secrets.redact(cause);
        }
        failure.unless_refused_by_tls(Some(self.authorities_setting))
    }
}

/// One request and one answer, as far as it is read.
async fn converse(
    client: reqwest::Client,
    request: reqwest::Request,
    reading: Reading,
) -> Result<Answer, reqwest::Error> {
    let mut response = client.execute(request).await?;
    let mut answer = Answer {
        status: response.status().as_u16(),
        headers: std::mem::take(response.headers_mut()),
        body: Vec::new(),
        cut: false,
    };
    loop {
        let next = response.chunk();
        let next = match reading.until {
            None => next.await?,
            Some(enough) => {
                let Ok(chunk) = tokio::time::timeout_at(enough, next).await else {
                    answer.cut = true;
                    break;
                };
                chunk?
            }
        };
        let Some(chunk) = next else { break };
        answer.body.extend_from_slice(&chunk);
        match reading.keeps {
            Part::Beginning if answer.body.len() > reading.most => break,
            // Seldom enough that moving the rest costs nothing.
            Part::End if answer.body.len() > 2 * reading.most => reading.cut(&mut answer),
            _ => {}
        }
    }
    reading.cut(&mut answer);
    Ok(answer)
}

/// The error of a request that was given up. Before it can have left, `early` says why it was.
fn interrupted(message: &Message, progress: &Progress, early: ErrorKind) -> ActionError {
    let reason = match early {
        ErrorKind::Cancelled => "the run was told to stop",
        _ => "no complete answer came in time",
    };
    if progress.may_be_sent() {
        let line = message.line();
        ActionError::new(ErrorKind::Unknown, format!("learn what became of {line}: {reason}"))
    } else {
        ActionError::new(early, format!("connect to send {}: {reason}", message.line()))
    }
}

fn setup(text: &str) -> ActionError {
    ActionError::new(ErrorKind::Invalid, text)
}
