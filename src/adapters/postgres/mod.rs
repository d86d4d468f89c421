//! PostgreSQL: statements in one transaction (`postgres.run`), tables set aside and brought back (`postgres.snapshot`,
//! `postgres.restore`), rows made anew beside a table and put in its place (`postgres.shadow`, `postgres.promote`), a table emptied
//! (`postgres.clear`), and questions to it (`postgres.expect`).
//!
//! - [`connection`] is the block of the environment, [`server`] turns it into an address, [`session`] is one connection
//!   and its transactions, [`errors`] decides in which class a failure falls. [`statement`], [`parameter`], [`name`] and [`scope`] are what a
//!   runbook may say in SQL: values are bind parameters, names are quoted in one place.
//! - [`ledger`] marks what was done in the database itself, in the transaction that did it; [`change`] is the one shape that all
//!   changes share. [`table`] reads the catalogue, [`kept`] keeps what was replaced, [`exchange`] puts it back, [`fingerprint`] counts and hashes.
//!
//! Rows that a change replaced never leave the database: the journal holds names, counts and hashes. Only `postgres.expect` tells
//! values, of the columns that it asks for. The reasons stand in `docs/design/adapters-postgres.md`.

mod belongings;
mod change;
mod clear;
mod connection;
mod errors;
mod exchange;
mod expect;
mod fingerprint;
mod kept;
mod ledger;
mod name;
mod parameter;
mod promote;
mod restore;
mod run;
mod scope;
mod server;
mod session;
mod shadow;
mod snapshot;
mod snapshots;
mod statement;
mod swap;
mod table;
mod touched;
mod tries;
mod unless;

use crate::action::{Connection, System, Verb};
use connection::PostgresConnection;

pub(in crate::adapters) use name::{TableName, quoted, shadow_name};
pub(in crate::adapters) use parameter::{Parameter, bound};
pub(in crate::adapters) use server::Server;
pub(in crate::adapters) use session::{Patience, Session, Tx};
pub(in crate::adapters) use snapshots::Taken;

/// The system `postgres` and its verbs.
pub(super) fn system() -> System {
    let database = Connection::of::<PostgresConnection>("The PostgreSQL database")
        .reached_by(|connections| Box::pin(server::reach(connections)));
    System {
        name: "postgres",
        summary: "Rows and tables of a PostgreSQL database",
        connections: vec![database],
        verbs: vec![
            Verb::of::<run::Run>(),
            Verb::of::<snapshot::Snapshot>(),
            Verb::of::<restore::Restore>(),
            Verb::of::<shadow::Shadow>(),
            Verb::of::<promote::Promote>(),
            Verb::of::<clear::Clear>(),
            Verb::of::<expect::Expect>(),
        ],
    }
}
