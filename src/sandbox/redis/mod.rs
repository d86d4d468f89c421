//! A Redis double: one server, as much of the protocol as clients of this program and `redis-cli` speak.
//!
//! [`resp`] reads commands and writes answers, [`session`] serves one connection behind the world's faults, [`commands`]
//! does what is asked with the [`keyspace`], whose file is written before an answer leaves. Answers and errors are those of
//! Redis 7.0; `tests/adapters/redis` holds them against a real server. No expiry, no types but strings, no cluster.

mod commands;
mod glob;
mod info;
mod keyspace;
mod resp;
mod server;
mod session;

pub use server::Redis;
