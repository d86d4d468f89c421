//! DigitalOcean: apps are paused, resumed, rolled back, restarted and asked about; agents lose a route and get it back.
//!
//! - [`connection`] is the block `digitalocean` of the environment; [`client`] speaks to the API over the client of `http`, and
//!   [`errors`] turns what comes back into the port's kinds.

mod client;
mod connection;
mod errors;

use crate::action::{Connection, System};
pub(in crate::adapters) use client::{DigitalOcean, segment};
use connection::DigitalOceanConnection;

/// The system `digitalocean` and its verbs.
pub(super) fn system() -> System {
    let account = Connection::of::<DigitalOceanConnection>("A DigitalOcean account")
        .reached_by(|connections| Box::pin(client::reach(connections)));
    System {
        name: "digitalocean",
        summary: "Apps and agents of a DigitalOcean account",
        connections: vec![account],
        verbs: Vec::new(),
    }
}
