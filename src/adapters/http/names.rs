//! Host names by the name servers of the environment instead of the system's resolver, and never from a cache.
//!
//! A check right behind a change of DNS must not ask what this machine or its network remembers of the former address.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::adapters::dns::{NameServer, addresses};

/// Resolves by these servers.
pub(super) struct Names(pub(super) Arc<[NameServer]>);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let servers = self.0.clone();
        Box::pin(async move {
            let found = addresses(&servers, name.as_str()).await?;
            // The port is the URL's.
            let found = found.into_iter().map(|ip| SocketAddr::new(ip, 0));
            let found: Addrs = Box::new(found.collect::<Vec<_>>().into_iter());
            Ok(found)
        })
    }
}
