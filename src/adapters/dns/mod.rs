//! Names: where they point (`dns.point`), and whether everybody has seen it (`dns.expect`).
//!
//! - [`name`] gives names and data one spelling each. [`wire`] is one question over UDP and TCP, [`lookup`] finds whom to ask, [`reading`]
//!   is what servers say about a record set at one moment.
//! - [`connection`] is the block `dns` of the environment, [`client`] what is shared by its steps. [`provider`] has the places where records
//!   are kept: dynamic updates, Cloudflare, DigitalOcean.
//! - [`point`] changes records by compare-and-set and reads them back from every authoritative server. [`expect`] asks those, and with
//!   [`propagation`] the caches of resolvers; [`mark`] is what a run knows about when it changed a record, by which it can tell that no
//!   cache holds the former one any more.

mod client;
mod connection;
mod expect;
mod lookup;
mod mark;
mod name;
mod point;
mod propagation;
mod provider;
mod reading;
mod wire;

use crate::action::{Connection, System, Verb};
use connection::DnsConnection;

pub(in crate::adapters) use connection::Server as NameServer;
pub(in crate::adapters) use lookup::addresses;

/// The system `dns` and its verbs.
pub(super) fn system() -> System {
    let servers = Connection::of::<DnsConnection>("Where DNS records are kept, and who is asked")
        .reached_by(|connections| Box::pin(client::reach(connections)));
    System {
        name: "dns",
        summary: "DNS records, changed by compare-and-set and read back everywhere",
        connections: vec![servers],
        verbs: vec![Verb::of::<point::Point>(), Verb::of::<expect::Expect>()],
    }
}
