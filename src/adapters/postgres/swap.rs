//! A table exchanged for a twin with a snapshot's rows (`strategy: swap`), and the way back.
//!
//! The twin is built and proved beside the table; only then come the renames, under `ACCESS EXCLUSIVE`. Readers queue behind that lock
//! while a long one is in the way, so that `lock_timeout` ends the attempt, and with it everything that it built. The former table
//! moves into our schema with its indexes, triggers and policies, where undo finds it.

use serde::{Deserialize, Serialize};

use super::belongings::{Belongings, at};
use super::errors::conflict;
use super::fingerprint::{Fingerprint, Rows};
use super::ledger::Mark;
use super::name::{SCHEMA, TableName, of_run, ours, quoted};
use super::session::Tx;
use super::snapshots::Taken;
use super::table::Table;
use crate::action::ActionError;

/// What a swap did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Swapped {
    /// The table, as `schema.table`.
    pub(super) table: TableName,
    /// The former table, in our schema.
    pub(super) parked: String,
    /// The rows of the table that took its place.
    pub(super) content: Fingerprint,
}

/// The rows of a table, by the columns that can be written.
async fn content(
    tx: &Tx<'_>,
    table: &Table,
    sql: &str,
    like: &Fingerprint,
) -> Result<Fingerprint, ActionError> {
    let from = format!("(SELECT {} FROM {sql} AS t)", table.list("t"));
    let rows = Rows { from: &from, parameters: &[], shown: &table.shown };
    Fingerprint::by(tx, rows, like.method).await
}

/// Exchanges a table for a twin with the rows of a snapshot.
pub(super) async fn swap(
    tx: &Tx<'_>,
    table: &Table,
    taken: &Taken,
    mark: &Mark,
) -> Result<Swapped, ActionError> {
    let shown = &table.shown;
    let belongings = Belongings::of(tx, table).await?;
    let name = of_run(&mark.run, &mark.place, "twin");
    let twin = format!("{}.{}", quoted(&table.schema), quoted(&name));
    let doing = format!("build a twin of {shown}");
    tx.batch(&doing, &format!("CREATE TABLE {twin} (LIKE {} INCLUDING ALL)", table.sql)).await?;
    let (names, list, rows) = (table.names(), table.list("s"), taken.table());
    let fill = format!(
        "INSERT INTO {twin} ({names}) OVERRIDING SYSTEM VALUE SELECT {list} FROM {rows} AS s; ANALYZE {twin}"
    );
    tx.batch(&doing, &fill).await?;
    for statement in belongings.at_twin.iter().chain(&belongings.counters) {
        tx.batch(&doing, &at(statement, &twin)).await?;
    }
    let content = content(tx, table, &twin, &taken.content).await?;
    if content != taken.content {
        return Err(conflict(format!("{doing}: its rows are not those of `{}`", taken.name)));
    }
    let parked = of_run(&mark.run, &mark.place, "old");
    let doing = format!("put the twin in the place of {shown}");
    exchange(tx, &doing, (&table.schema, &table.name), (&name, &parked)).await?;
    for statement in belongings.triggers.iter().chain(&belongings.referrers) {
        tx.batch(&doing, statement).await?;
    }
    let table = TableName::parse(shown).map_err(conflict)?;
    Ok(Swapped { table, parked, content })
}

/// Moves the table into our schema as `parked`, and gives its name to `twin`.
async fn exchange(
    tx: &Tx<'_>,
    doing: &str,
    (schema, name): (&str, &str),
    (twin, parked): (&str, &str),
) -> Result<(), ActionError> {
    let schema = quoted(schema);
    let sql = format!(
        "ALTER TABLE {schema}.{name} RENAME TO {parked};
        ALTER TABLE {schema}.{parked} SET SCHEMA {SCHEMA};
        ALTER TABLE {schema}.{twin} RENAME TO {name}",
        name = quoted(name),
        parked = quoted(parked),
        twin = quoted(twin),
    );
    tx.batch(doing, &sql).await
}

impl Swapped {
    /// Puts the former table back, if nobody has changed the one that took its place.
    pub(super) async fn put_back(&self, tx: &Tx<'_>) -> Result<(), ActionError> {
        let table = Table::read(tx, &self.table).await?;
        table.lock(tx).await?;
        let parked = ours(&self.parked);
        table.check_columns(tx, &parked).await?;
        if content(tx, &table, &table.sql, &self.content).await? != self.content {
            let text =
                format!("put the former {} back: its rows have been changed since", table.shown);
            return Err(conflict(text).hint(format!("The former table is {parked}.")));
        }
        let belongings = Belongings::of(tx, &table).await?;
        let doing = format!("put the former {} back", table.shown);
        let schema = quoted(&table.schema);
        let aside = of_run(&crate::digest::sha256(&self.parked)[..12], "aside", "twin");
        let twin = quoted(&aside);
        let (name, old) = (quoted(&table.name), quoted(&self.parked));
        let sql = format!(
            "ALTER TABLE {schema}.{name} RENAME TO {twin};
            ALTER TABLE {parked} SET SCHEMA {schema};
            ALTER TABLE {schema}.{old} RENAME TO {name}"
        );
        tx.batch(&doing, &sql).await?;
        for statement in &belongings.counters {
            tx.batch(&doing, &at(statement, &table.sql)).await?;
        }
        for statement in &belongings.referrers {
            tx.batch(&doing, statement).await?;
        }
        tx.batch(&doing, &format!("DROP TABLE {schema}.{twin}")).await
    }
}
