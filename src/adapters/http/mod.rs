//! HTTP: one request as a change (`http.call`), and questions to a service's answers (`http.expect`, `http.sample`).
//!
//! - [`connection`] is the block `http` of the environment, [`client`] the one shared client: it decides proxy, TLS and
//!   addresses, sends one request and reads one bounded answer. [`progress`] tells whether a request can have left.
//!   [`names`] resolves hosts by the environment's own name servers. [`defaults`] is what any client starts from, also that of a webhook (`notify`).
//! - [`message`] is a request as a runbook writes it; secrets in it are markers until the moment of sending.
//! - [`call`], [`expect`] and [`sample`] are the verbs; [`answer`] and [`fields`] judge what came back.
//!
//! Redirects are never followed: the verbs show where they point. Nothing is sent twice behind the engine's
//! back, answers are read up to 1 MiB and never decompressed, and every wait ends at the step's deadline.

mod answer;
mod call;
mod client;
mod connection;
mod defaults;
mod expect;
mod fields;
mod message;
mod names;
mod progress;
mod sample;
mod status;
#[cfg(test)]
mod tests;

use crate::action::{Connection, System, Verb};

pub(in crate::adapters) use answer::{Answer, quoted, retry_after};
pub use call::{Call, RepeatChoice};
pub(in crate::adapters) use client::Client;
pub use connection::HttpConnection;
pub(in crate::adapters) use defaults::{builder, is_loopback};
pub use expect::Expect;
pub(in crate::adapters) use message::{Content, Message, Method, Resolved, header, parse_url};
pub(in crate::adapters) use progress::{NoteConnecting, Progress};
pub use sample::Sample;

/// The system `http`. It has nothing of its own to reach: each step names its URL.
pub fn system() -> System {
    System {
        name: "http",
        summary: "Web services, by request and answer",
        connections: vec![Connection::of::<HttpConnection>("How web services are reached")],
        verbs: vec![Verb::of::<Call>(), Verb::of::<Expect>(), Verb::of::<Sample>()],
    }
}
