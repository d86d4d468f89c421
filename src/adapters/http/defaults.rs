//! What every HTTP client of this program starts from: each default that `reqwest` hides is set, since the engine
//! owns retries and deadlines, and a redirect may lead a secret to a foreign host.

use reqwest::{Client, ClientBuilder, redirect, retry};
use url::{Host, Url};

/// A client that follows no redirect, repeats no request and tells nobody where it comes from. Its time limits are the
/// caller's to set.
pub(in crate::adapters) fn builder() -> ClientBuilder {
    Client::builder()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .user_agent(concat!("rollback/", env!("CARGO_PKG_VERSION")))
}

/// Whether the address is this machine's own, which no proxy can reach.
pub(in crate::adapters) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}
