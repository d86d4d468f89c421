//! A table exchanged for a twin with a snapshot's rows (`strategy: swap`), or for a shadow that others have filled (`postgres.promote`), and
//! the way back.
//!
//! The twin is built and proved beside the table; only then come the renames, under `ACCESS EXCLUSIVE`, in short tries ([`super::tries`]).
//! The former table moves into our schema with its indexes, triggers and policies, where undo finds it. Its foreign keys are taken off for
//! that time: by them, what is deleted elsewhere would go along in a table that nobody sees, or be refused because of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::belongings::{Belongings, Names, at, strangers};
use super::errors::conflict;
use super::fingerprint::{Fingerprint, Rows};
use super::ledger::Mark;
use super::name::{SCHEMA, TableName, of_run, ours, quoted};
use super::session::Tx;
use super::snapshots::Taken;
use super::table::Table;
use super::tries::Tries;
use crate::action::ActionError;

/// What a swap did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Swapped {
    /// The table, as `schema.table`.
    pub(super) table: TableName,
    /// The former table, in our schema.
    pub(super) parked: String,
    /// Statements that give it the foreign keys again that were taken off. What earlier versions have parked has kept its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) foreign_keys: Vec<String>,
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
    patience: Duration,
) -> Result<Swapped, ActionError> {
    let belongings = Belongings::of(tx, table).await?;
    let twin = Twin {
        name: of_run(&mark.run, &mark.place, "twin"),
        parked: of_run(&mark.run, &mark.place, "old"),
        mark,
        table,
        belongings,
    };
    let content = twin.build(tx, taken).await?;
    twin.exchange(tx, content, patience).await
}

/// Exchanges a table for another one of its schema, which is prepared and locked.
pub(super) async fn promote(
    tx: &Tx<'_>,
    table: &Table,
    name: &str,
    mark: &Mark,
    patience: Duration,
) -> Result<Swapped, ActionError> {
    let belongings = Belongings::of(tx, table).await?;
    let parked = of_run(&mark.run, &mark.place, "old");
    let twin = Twin { name: name.to_owned(), parked, mark, table, belongings };
    let from = format!("(SELECT {} FROM {} AS t)", table.list("t"), twin.sql());
    let rows = Rows { from: &from, parameters: &[], shown: name };
    let content = Fingerprint::of(tx, rows).await?;
    twin.exchange(tx, content, patience).await
}

/// The table that takes another one's place.
struct Twin<'a> {
    name: String,
    /// What the former table will be called in our schema.
    parked: String,
    mark: &'a Mark,
    table: &'a Table,
    belongings: Belongings,
}

impl Twin<'_> {
    /// `"schema"."name"`.
    fn sql(&self) -> String {
        format!("{}.{}", quoted(&self.table.schema), quoted(&self.name))
    }

    /// Makes it beside the table, and proves its rows.
    async fn build(&self, tx: &Tx<'_>, taken: &Taken) -> Result<Fingerprint, ActionError> {
        let (table, twin) = (self.table, self.sql());
        let doing = format!("build a twin of {}", table.shown);
        tx.batch(&doing, &format!("CREATE TABLE {twin} (LIKE {} INCLUDING ALL)", table.sql))
            .await?;
        let (names, list, rows) = (table.names(), table.list("s"), taken.table());
        let fill = format!(
            "INSERT INTO {twin} ({names}) OVERRIDING SYSTEM VALUE SELECT {list} FROM {rows} AS s; ANALYZE {twin}"
        );
        tx.batch(&doing, &fill).await?;
        let strangers = strangers(tx, &twin).await?;
        for statement in strangers.iter().chain(&self.belongings.at_twin) {
            tx.batch(&doing, &at(statement, &twin)).await?;
        }
        let content = content(tx, table, &twin, &taken.content).await?;
        if content != taken.content {
            return Err(conflict(format!("{doing}: its rows are not those of `{}`", taken.name)));
        }
        Ok(content)
    }

    /// Takes the table's place, in as many tries as it needs.
    async fn exchange(
        self,
        tx: &Tx<'_>,
        content: Fingerprint,
        patience: Duration,
    ) -> Result<Swapped, ActionError> {
        self.pass_the_comment_on(tx).await?;
        let doing = format!("put the twin in the place of {}", self.table.shown);
        let mut tries = Tries::begin(tx, &doing, patience).await?;
        while let Err(error) = self.take_the_place(tx, &mut tries).await {
            tries.again(tx, error).await?;
        }
        let table = TableName::parse(&self.table.shown).map_err(conflict)?;
        let foreign_keys = self.belongings.foreign_keys;
        Ok(Swapped { table, parked: self.parked, foreign_keys, content })
    }

    /// `LIKE` leaves the table's comment out, and a shadow's own says what it is no longer.
    async fn pass_the_comment_on(&self, tx: &Tx<'_>) -> Result<(), ActionError> {
        let doing = format!("keep the comment of {}", self.table.shown);
        let sql = "SELECT pg_catalog.quote_nullable(pg_catalog.obj_description($1, 'pg_class'))";
        let comment: String = tx.one(&doing, sql, &[&self.table.oid]).await?.get(0);
        tx.batch(&doing, &format!("COMMENT ON TABLE {} IS {comment}", self.sql())).await
    }

    /// One try at the exchange.
    async fn take_the_place(&self, tx: &Tx<'_>, tries: &mut Tries<'_>) -> Result<(), ActionError> {
        let (table, twin) = (self.table, self.sql());
        for statement in &self.belongings.foreign_keys {
            tries.hurry();
            tries.batch(tx, &at(statement, &twin)).await?;
        }
        let aside =
            |number: usize| of_run(&self.mark.run, &self.mark.place, &format!("{number}_name"));
        let names = Names::of(tx, (&table.sql, &twin), &table.schema, aside).await?;
        tries.hurry();
        self.belongings.lock(tx, tries, table).await?;
        self.belongings.take_keys_off(tx, tries, table).await?;
        let schema = quoted(&table.schema);
        let mut statements: Vec<String> =
            self.belongings.counters.iter().map(|statement| at(statement, &twin)).collect();
        statements.extend(names.away);
        statements.push(format!(
            "ALTER TABLE {schema}.{name} RENAME TO {parked};
            ALTER TABLE {schema}.{parked} SET SCHEMA {SCHEMA};
            ALTER TABLE {twin} RENAME TO {name}",
            name = quoted(&table.name),
            parked = quoted(&self.parked),
        ));
        statements.extend(names.here);
        statements
            .extend(self.belongings.triggers.iter().chain(&self.belongings.referrers).cloned());
        tries.batch(tx, &statements.join(";\n")).await
    }
}

impl Swapped {
    /// Puts the former table back, if nobody has changed the one that took its place.
    pub(super) async fn put_back(
        &self,
        tx: &Tx<'_>,
        patience: Duration,
    ) -> Result<(), ActionError> {
        let doing = format!("put the former {} back", self.table.as_str());
        let mut tries = Tries::begin(tx, &doing, patience).await?;
        while let Err(error) = self.return_to_its_place(tx, &mut tries).await {
            tries.again(tx, error).await?;
        }
        Ok(())
    }

    /// One try at the way back. Other writers are locked out anew by each, so that they get on in between.
    async fn return_to_its_place(
        &self,
        tx: &Tx<'_>,
        tries: &mut Tries<'_>,
    ) -> Result<(), ActionError> {
        let table = Table::read_changed(tx, &self.table).await?;
        table.lock(tx).await?;
        let parked = ours(&self.parked);
        table.check_columns(tx, &parked).await?;
        if content(tx, &table, &table.sql, &self.content).await? != self.content {
            let text =
                format!("put the former {} back: its rows have been changed since", table.shown);
            return Err(conflict(text).hint(format!("The former table is {parked}.")));
        }
        let belongings = Belongings::of(tx, &table).await?;
        self.give_keys_back(tx, tries, &parked).await?;
        let schema = quoted(&table.schema);
        let hash = &crate::digest::sha256(&self.parked)[..12];
        let aside = |number: usize| of_run(hash, "aside", &format!("{number}_name"));
        let names = Names::of(tx, (&table.sql, &parked), &table.schema, aside).await?;
        let twin = quoted(&of_run(hash, "aside", "twin"));
        let (name, old) = (quoted(&table.name), quoted(&self.parked));
        tries.hurry();
        belongings.lock(tx, tries, &table).await?;
        belongings.take_keys_off(tx, tries, &table).await?;
        // The counters are carried over while the sequences still have the names that were read.
        let mut statements = vec![format!(
            "ALTER TABLE {schema}.{name} RENAME TO {twin};
            ALTER TABLE {parked} SET SCHEMA {schema};
            ALTER TABLE {schema}.{old} RENAME TO {name}"
        )];
        statements.extend(belongings.counters.iter().map(|statement| at(statement, &table.sql)));
        statements.extend(names.away);
        statements.extend(names.here);
        statements.extend(belongings.referrers);
        statements.push(format!("DROP TABLE {schema}.{twin}"));
        tries.batch(tx, &statements.join(";\n")).await
    }

    /// Gives the former table its foreign keys again, which proves its rows while readers get on, each in a time of its own.
    async fn give_keys_back(
        &self,
        tx: &Tx<'_>,
        tries: &mut Tries<'_>,
        parked: &str,
    ) -> Result<(), ActionError> {
        for statement in &self.foreign_keys {
            tries.hurry();
            tries.batch(tx, &at(statement, parked)).await.map_err(|error| {
                // Foreign key violation.
                if !error.message.ends_with("(23503)") {
                    return error;
                }
                conflict(error.message).hint(format!(
                    "Rows of the former table, {parked}, refer to rows that were deleted since. Bring those back first, or delete from {parked} what refers to them."
                ))
            })?;
        }
        Ok(())
    }
}
