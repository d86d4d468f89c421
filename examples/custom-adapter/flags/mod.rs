//! Feature flags of one service: `flags.set` and `flags.expect`.
//!
//! [`service`] is the client and its connection, [`set`] and [`expect`] are the verbs, one file each.

mod expect;
mod service;
mod set;

use rollback::action::{Connection, System, Verb};

/// The system `flags`.
pub(super) fn system() -> System {
    System {
        name: "flags",
        summary: "Feature flags of one service",
        connections: vec![Connection::of::<service::FlagsConnection>("Where the flags are")],
        verbs: vec![Verb::of::<set::SetArgs>(), Verb::of::<expect::ExpectArgs>()],
    }
}
