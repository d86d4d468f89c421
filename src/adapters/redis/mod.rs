//! Redis, one server or a cluster: keys are deleted by pattern (`redis.delete`) and asked about (`redis.expect`).
//!
//! - [`connection`] is the block `redis` of the environment; [`client`] opens the servers behind it, which for a cluster are
//!   the masters that [`topology`] reads. Every look and every change opens connections of its own, so that neither a broken
//!   one nor a cluster of yesterday is ever used.
//! - [`sweep`] walks all keys of a [`pattern`] with SCAN, and removes them with UNLINK.
//! - [`errors`] turns what the client library says into the port's kinds.
//!
//! The library's own time limit is switched off: every wait ends at the step's deadline, and nothing is sent twice behind the
//! engine's back. Twice is the same as once for all that is sent here.

mod client;
mod connection;
mod delete;
mod errors;
mod expect;
mod pattern;
mod sweep;
mod topology;

use crate::action::{Connection, System, Verb};
use connection::RedisConnection;

/// The system `redis` and its verbs.
pub(super) fn system() -> System {
    let servers = Connection::of::<RedisConnection>("A Redis server, or a cluster")
        .reached_by(|connections| Box::pin(client::reach(connections)));
    System {
        name: "redis",
        summary: "Keys of a Redis server or cluster",
        connections: vec![servers],
        verbs: vec![Verb::of::<delete::Delete>(), Verb::of::<expect::Expect>()],
    }
}
