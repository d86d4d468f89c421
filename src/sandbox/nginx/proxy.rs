//! What a request gets by a configuration: the virtual server, the location, and the answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};

use super::config::{Act, Config, Location, Scope, Server};
use crate::sandbox::client::{ClientError, send};

/// A configuration in service, with how far the round robin of each upstream has come.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) config: Config,
    /// The present weight of each server, by upstream.
    present: Mutex<BTreeMap<String, Vec<i64>>>,
}

impl Live {
    pub(super) fn new(config: Config) -> Self {
        Self { config, present: Mutex::default() }
    }

    /// Answers a request that came in at `address`.
    pub(super) async fn answer(
        self: Arc<Self>,
        address: SocketAddr,
        request: Request<Body>,
    ) -> Response<Body> {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let Some(server) = self.server(address, host.unwrap_or_default()) else {
            return page(StatusCode::NOT_FOUND);
        };
        let location = server.location(request.uri().path());
        let scope = location.map_or(&server.answer, |location| &location.answer);
        let act = server.answer.act.as_ref().or(scope.act.as_ref());
        let mut answer = match act {
            None => page(StatusCode::NOT_FOUND),
            Some(Act::Return(code, text)) => returned(*code, text, scope),
            Some(Act::Proxy { upstream, path }) => {
                let replaced = location.map_or("/", |location| &location.path);
                self.forward(upstream, replaced, path, request).await
            }
        };
        // The statuses that nginx adds a header to without `always`.
        let well =
            matches!(answer.status().as_u16(), 200 | 201 | 204 | 206 | 301..=304 | 307 | 308);
        for each in scope.headers.iter().filter(|each| well || each.always) {
            if let (Ok(name), Ok(value)) =
                (each.name.parse::<HeaderName>(), HeaderValue::from_str(&each.value))
            {
                answer.headers_mut().append(name, value);
            }
        }
        answer.headers_mut().insert(header::SERVER, HeaderValue::from_static("nginx/1.22.1"));
        answer
    }

    fn server(&self, address: SocketAddr, host: &str) -> Option<&Server> {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let here = || {
            self.config
                .servers
                .iter()
                .filter(|server| server.listen.iter().any(|(listen, _)| *listen == address))
        };
        let is_default = |server: &&Server| server.listen.contains(&(address, true));
        here()
            .find(|server| server.names.iter().any(|given| given.eq_ignore_ascii_case(name)))
            .or_else(|| here().find(is_default))
            .or_else(|| here().next())
    }

    async fn forward(
        &self,
        upstream: &str,
        replaced: &str,
        path: &str,
        request: Request<Body>,
    ) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        // A body can be sent once; it is read first, so that the next server can be tried.
        let Ok(body) = axum::body::to_bytes(body, 1 << 20).await else {
            return page(StatusCode::PAYLOAD_TOO_LARGE);
        };
        let Some(target) = rewritten(&parts.uri, replaced, path) else {
            return page(StatusCode::BAD_REQUEST);
        };
        parts.uri = target;
        for name in ["host", "connection", "keep-alive", "transfer-encoding", "upgrade", "te"] {
            parts.headers.remove(name);
        }
        let host = HeaderValue::from_str(upstream)
            .unwrap_or_else(|_| HeaderValue::from_static("upstream"));
        parts.headers.insert(header::HOST, host);
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        for address in self.order(upstream) {
            let request = Request::from_parts(parts.clone(), Body::from(body.clone()));
            match send(&address, request).await {
                Ok(mut answer) => {
                    answer.headers_mut().remove(header::CONNECTION);
                    return answer;
                }
                Err(error) => {
                    tracing::debug!(%address, %error, "an upstream did not answer");
                    // What may have arrived is sent again only when that does no harm.
                    let sent = matches!(error, ClientError::Exchange(_));
                    if sent && !parts.method.is_idempotent() {
                        break;
                    }
                }
            }
        }
        page(StatusCode::BAD_GATEWAY)
    }

    /// The servers of an upstream in the order in which to try them: nginx's smooth weighted round robin, then the backups.
    ///
    /// Each turn, every server gains its weight, the first of the heaviest is chosen, and loses what all have gained
    /// (`ngx_http_upstream_get_peer`). So three to one is `a a b a`, and not `a a a b`.
    fn order(&self, upstream: &str) -> Vec<String> {
        let Some(peers) = self.config.upstreams.get(upstream) else {
            let port = if upstream.contains(':') { "" } else { ":80" };
            return vec![format!("{upstream}{port}")];
        };
        let mut turn: Vec<usize> =
            (0..peers.len()).filter(|at| !peers[*at].down && !peers[*at].backup).collect();
        let mut all = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let present = all.entry(upstream.to_owned()).or_insert_with(|| vec![0; peers.len()]);
        let weight = |at: usize| i64::try_from(peers[at].weight).unwrap_or(i64::MAX);
        turn.iter().for_each(|at| present[*at] += weight(*at));
        // Stable, so that the first of equals comes first.
        turn.sort_by_key(|at| std::cmp::Reverse(present[*at]));
        if let Some(chosen) = turn.first() {
            present[*chosen] -= turn.iter().map(|at| weight(*at)).sum::<i64>();
        }
        let backups = peers.iter().filter(|peer| !peer.down && peer.backup);
        let mut order: Vec<String> = Vec::new();
        for peer in turn.into_iter().map(|at| &peers[at]).chain(backups) {
            if !order.contains(&peer.address) {
                order.push(peer.address.clone());
            }
        }
        order
    }
}

impl Server {
    /// An exact location, else the longest prefix.
    fn location(&self, path: &str) -> Option<&Location> {
        let exact = self.locations.iter().find(|location| location.exact && location.path == path);
        exact.or_else(|| {
            self.locations
                .iter()
                .filter(|location| !location.exact && path.starts_with(&location.path))
                .max_by_key(|location| location.path.len())
        })
    }
}

/// The path towards the upstream: with a path in `proxy_pass`, it stands for the location's.
fn rewritten(uri: &Uri, replaced: &str, path: &str) -> Option<Uri> {
    let own = match path {
        "" => uri.path().to_owned(),
        path => format!("{path}{}", uri.path().strip_prefix(replaced).unwrap_or_default()),
    };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{own}{query}").parse().ok()
}

fn returned(code: u16, text: &str, scope: &Scope) -> Response<Body> {
    let Ok(status) = StatusCode::from_u16(code) else {
        return page(StatusCode::INTERNAL_SERVER_ERROR);
    };
    if status.is_redirection() {
        let mut answer = page(status);
        if let Ok(target) = HeaderValue::from_str(text) {
            answer.headers_mut().insert(header::LOCATION, target);
        }
        return answer;
    }
    if text.is_empty() && code >= 400 {
        return page(status);
    }
    let mut answer = Response::new(Body::from(text.to_owned()));
    *answer.status_mut() = status;
    let media = scope.default_type.as_deref().unwrap_or("text/plain");
    if let Ok(media) = HeaderValue::from_str(media) {
        answer.headers_mut().insert(header::CONTENT_TYPE, media);
    }
    answer
}

/// nginx's own page for a status.
pub(super) fn page(status: StatusCode) -> Response<Body> {
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let html = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         <hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"
    );
    let mut answer = Response::new(Body::from(html));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    answer
}
