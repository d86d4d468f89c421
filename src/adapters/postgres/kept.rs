//! What a change replaced, and what it wrote instead, as two tables in our schema; and the way from one to the other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::errors::conflict;
use super::exchange::{Exchange, exchange, strangers};
use super::fingerprint::{Fingerprint, Rows};
use super::ledger::Mark;
use super::name::{TableName, of_run, ours};
use super::parameter::bound;
use super::scope::Scope;
use super::session::Tx;
use super::table::Table;
use crate::action::ActionError;

/// The temporary table with the keys of all rows that differ.
pub(super) const CHANGED: &str = "pg_temp.rollback_changed";

/// Finds the rows of a scope that differ between a table and another one (quoted, and as people know it) with rows of that scope.
pub(super) async fn find_differing(
    tx: &Tx<'_>,
    table: &Table,
    (other, shown): (&str, &str),
    scope: &Scope,
) -> Result<(), ActionError> {
    let condition = scope.condition("t", &tx.server().secrets);
    let sql = format!(
        "CREATE TEMPORARY TABLE rollback_changed ON COMMIT DROP AS
         SELECT {key} FROM {t} AS t FULL JOIN {other} AS s ON {same}
         WHERE {t_absent} OR (NOT {s_absent} AND {differ}) OR ({s_absent} AND {scope})",
        key = table.key_of_either("t", "s"),
        t = table.sql,
        same = table.same("t", "s"),
        t_absent = table.absent("t"),
        s_absent = table.absent("s"),
        differ = table.differ("t", "s"),
        scope = condition.sql,
    );
    let doing = format!("compare {} with {shown}", table.shown);
    let _rows = tx.execute(&doing, &sql, &bound(&condition.parameters)).await?;
    tx.batch(&doing, &format!("ANALYZE {CHANGED}")).await
}

/// One table's replaced rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The table, as `schema.table`.
    pub(super) table: TableName,
    /// Our table with the rows as they were.
    pub(super) was: String,
    pub(super) was_content: Fingerprint,
    /// Our table with the rows as they are now.
    pub(super) now: String,
    pub(super) now_content: Fingerprint,
    /// Whether triggers see the way back, too.
    #[serde(default)]
    pub(super) triggers: Triggers,
}

/// What the table's own triggers do while rows are exchanged. Those of foreign keys always work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "PostgresTriggers")]
pub(super) enum Triggers {
    /// They fire, as for any other client.
    #[default]
    Fire,
    /// They are switched off for the transaction, for which the role must own the table.
    Skip,
}

/// How many rows went, changed and came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) removed: u64,
    pub(super) changed: u64,
    pub(super) added: u64,
}

impl Counts {
    /// All of them.
    pub(super) fn total(self) -> u64 {
        self.removed + self.changed + self.added
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} changed, {} added, {} removed", self.changed, self.added, self.removed)
    }
}

impl Kept {
    /// Keeps the rows of [`CHANGED`]: as they are in `before`, and as they are in `after`. Names of tables are given quoted.
    pub(super) async fn keep(
        tx: &Tx<'_>,
        table: &Table,
        (mark, number): (&Mark, usize),
        (before, after): (&str, &str),
    ) -> Result<Self, ActionError> {
        let was = of_run(&mark.run, &mark.place, &format!("{number}_was"));
        let now = of_run(&mark.run, &mark.place, &format!("{number}_now"));
        let was_content = set_aside(tx, table, before, &ours(&was)).await?;
        let now_content = set_aside(tx, table, after, &ours(&now)).await?;
        tx.batch("forget which rows differ", &format!("DROP TABLE {CHANGED}")).await?;
        let table = TableName::parse(&table.shown).map_err(conflict)?;
        let triggers = Triggers::Fire;
        Ok(Self { table, was, was_content, now, now_content, triggers })
    }

    /// How many rows went, changed and came, between the two tables.
    pub(super) async fn counts(&self, tx: &Tx<'_>, table: &Table) -> Result<Counts, ActionError> {
        let doing = format!("count the rows of {} that changed", table.shown);
        let sql = format!(
            "SELECT count(*) FROM {} AS a JOIN {} AS b ON {}",
            ours(&self.was),
            ours(&self.now),
            table.same("a", "b")
        );
        let both: i64 = tx.one(&doing, &sql, &[]).await?.get(0);
        let number = |rows: i64| u64::try_from(rows).unwrap_or_default();
        Ok(Counts {
            changed: number(both),
            removed: number(self.was_content.rows - both),
            added: number(self.now_content.rows - both),
        })
    }

    /// Locks the table and looks whether the rows that were written are still there, and the former ones unharmed.
    async fn ready(&self, tx: &Tx<'_>) -> Result<Table, ActionError> {
        let table = Table::read_changed(tx, &self.table).await?;
        table.lock(tx).await?;
        let (was, now) = (ours(&self.was), ours(&self.now));
        for (name, content) in [(&was, &self.was_content), (&now, &self.now_content)] {
            table.check_columns(tx, name).await?;
            if !content.holds(tx, Rows::all(name)).await? {
                let text = format!("put rows of {} back: {name} is not what it was", table.shown);
                return Err(conflict(text));
            }
        }
        let others = strangers(tx, &table, &now, &was).await?;
        if others > 0 {
            return Err(conflict(format!(
                "put rows of {} back: {others} of them have been changed by others since",
                table.shown
            ))
            .hint(format!("The former rows are in {was}, those that were written in {now}.")));
        }
        Ok(table)
    }

    /// Removes both tables.
    pub(super) async fn discard(&self, tx: &Tx<'_>) -> Result<(), ActionError> {
        let sql = format!("DROP TABLE {}, {}", ours(&self.was), ours(&self.now));
        tx.batch("remove the kept rows", &sql).await
    }
}

/// Puts the former rows of all these tables back, if those that were written are still there.
pub(super) async fn put_back(tx: &Tx<'_>, all: &[Kept]) -> Result<(), ActionError> {
    if all.is_empty() {
        return Ok(());
    }
    let mut tables = Vec::new();
    for kept in all {
        tables.push(kept.ready(tx).await?);
    }
    let exchanges = tables.iter().zip(all).map(|(table, kept)| Exchange {
        table,
        from: ours(&kept.now),
        to: ours(&kept.was),
        triggers: kept.triggers,
    });
    exchange(tx, &exchanges.collect::<Vec<_>>()).await
}

/// Copies the rows of [`CHANGED`] from one table into a new one of ours.
async fn set_aside(
    tx: &Tx<'_>,
    table: &Table,
    from: &str,
    name: &str,
) -> Result<Fingerprint, ActionError> {
    let doing = format!("keep rows of {} in {name}", table.shown);
    let sql = format!(
        "CREATE TABLE {name} AS SELECT {} FROM {from} AS f JOIN {CHANGED} AS c ON {}",
        table.list("f"),
        table.same("f", "c"),
    );
    tx.batch(&doing, &sql).await?;
    table.make_joinable(tx, name).await?;
    Fingerprint::of(tx, Rows::all(name)).await
}
