//! The HTTP client for webhooks, with every hidden default set: no redirects, no retries, a time-out for each phase.

use std::time::Duration;

use reqwest::{Client, Url, redirect, retry};

use crate::action::{ActionError, ErrorKind};

/// The most that is read of an answer, in bytes. Webhooks answer in one line.
const LONGEST_ANSWER: usize = 2048;

/// A client for one address. The engine owns deadlines and retries, so the time-outs here are only the outer bound.
pub(super) fn build(address: &Url, bound: Duration) -> Result<Client, ActionError> {
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .connect_timeout(bound)
        .read_timeout(bound)
        .timeout(bound)
        .referer(false)
        .user_agent(concat!("rollback/", env!("CARGO_PKG_VERSION")));
    if is_loopback(address) {
        // A proxy from the environment cannot reach this machine's own loopback.
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| {
        ActionError::new(ErrorKind::Invalid, "set up the HTTP client")
            .caused_by(&error.without_url())
    })
}

fn is_loopback(address: &Url) -> bool {
    match address.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// The beginning of an answer's body.
pub(super) async fn text(mut answer: reqwest::Response) -> Result<String, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk[..chunk.len().min(LONGEST_ANSWER - body.len())]);
        if body.len() == LONGEST_ANSWER {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}
