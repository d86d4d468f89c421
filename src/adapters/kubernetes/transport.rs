//! How requests reach the API server: the library's TLS and credentials, and nothing of its own will.
//!
//! The library's client retries fifteen times by itself, logs whole answers, and reads them however long they are. Here the
//! engine retries, nothing is logged, and an answer has a greatest length.

use http_body_util::Limited;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::{Response, Uri};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt as _};
use kube::{Client, Config, Error};
use tower::{BoxError, Layer as _, Service, ServiceBuilder};

use crate::adapters::http::NoteConnecting;

/// The most that is read of an answer. A workload's object has some 10 KiB, its history some hundred times that.
pub(super) const MOST_BYTES: usize = 16 << 20;

/// A client for the server of this configuration. May run the program that a kubeconfig names for its credentials, and waits
/// for it: call it where waiting blocks nobody.
pub(super) fn connect(config: &Config) -> Result<Client, Error> {
    let mut direct = HttpConnector::new();
    direct.enforce_http(false);
    direct.set_nodelay(true);
    match config.proxy_url.clone() {
        None => through(config, direct),
        Some(proxy) if proxy.scheme_str() == Some("http") => {
            through(config, Tunnel::new(proxy, direct))
        }
        Some(proxy) => Err(Error::ProxyProtocolUnsupported { proxy_url: Box::new(proxy) }),
    }
}

fn through<C>(config: &Config, connector: C) -> Result<Client, Error>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + Read + Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: std::error::Error + Send + Sync + 'static,
{
    let connector = NoteConnecting.layer(config.rustls_https_connector_with_connector(connector)?);
    let wire: HyperClient<_, Body> = HyperClient::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .map_response(|answer: Response<Incoming>| {
            answer.map(|body| Limited::new(body, MOST_BYTES))
        })
        .service(wire);
    Ok(Client::new(service, config.default_namespace.clone()))
}
