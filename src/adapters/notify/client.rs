//! The HTTP client for webhooks, with a time limit for each phase.

use std::time::Duration;

use reqwest::{Client, Url};

use crate::action::{ActionError, ErrorKind};
use crate::adapters::http;

/// The most that is read of an answer, in bytes. Webhooks answer in one line.
const LONGEST_ANSWER: usize = 2048;

/// A client for one address. The engine owns the deadline, so the limit here is only the outer bound.
pub(super) fn build(address: &Url, bound: Duration) -> Result<Client, ActionError> {
    let mut builder = http::builder()
        .connect_timeout(bound)
        .read_timeout(bound)
        .timeout(bound)
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
