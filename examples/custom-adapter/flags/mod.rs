//! Feature flags of one service: `flags.set` and `flags.expect`.
//!
//! [`service`] is the client and its connection, [`set`] and [`expect`] are the verbs, one file each.

mod expect;
mod service;
mod set;

use rollback::action::{System, Verb};
use schemars::SchemaGenerator;

/// The system `flags`.
pub(super) fn system() -> System {
    System {
        name: "flags",
        summary: "Feature flags of one service",
        connection: Some(SchemaGenerator::subschema_for::<service::FlagsConnection>),
        reach: None,
        verbs: vec![Verb::of::<set::SetArgs>(), Verb::of::<expect::ExpectArgs>()],
    }
}
