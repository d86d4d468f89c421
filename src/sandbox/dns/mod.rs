//! Name servers: a primary that takes updates, a secondary that copies it, and a resolver that keeps what it has heard.
//!
//! Messages and signatures are read and written by `hickory-proto`; what they do is here. [`zone`] holds the records and answers from them,
//! [`update`] changes them as RFC 2136 says, with the silence of real servers about what may not be stored, [`key`] checks and makes signatures
//! (RFC 8945). [`server`] is one of the three on the wire, over UDP and TCP, behind the world's faults; [`names`] puts them together, and has
//! the secondary fall behind where a fault holds `TRANSFER` back. [`resolver`] counts its TTLs down. `tests/adapters/dns` holds all of it against
//! BIND.

mod key;
mod names;
mod resolver;
mod server;
mod update;
mod zone;

pub use key::Key;
pub use names::{Addresses, NameServers, Sockets, Start};
pub use zone::Zone;
