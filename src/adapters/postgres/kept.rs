//! What a change replaced, and what it wrote instead, as two tables in our schema; and the way from one to the other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::errors::conflict;
use super::fingerprint::{Fingerprint, Rows};
use super::ledger::Mark;
use super::name::{TableName, of_run, ours};
use super::session::Tx;
use super::table::Table;
use crate::action::ActionError;

/// The temporary table with the keys of all rows that differ.
pub(super) const CHANGED: &str = "pg_temp.rollback_changed";

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

    /// Puts the former rows back, if those that were written are still there.
    pub(super) async fn put_back(&self, tx: &Tx<'_>) -> Result<Counts, ActionError> {
        let table = Table::read(tx, &self.table).await?;
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
        exchange(tx, &table, (&now, &was), self.triggers).await
    }

    /// Removes both tables.
    pub(super) async fn discard(&self, tx: &Tx<'_>) -> Result<(), ActionError> {
        let sql = format!("DROP TABLE {}, {}", ours(&self.was), ours(&self.now));
        tx.batch("remove the kept rows", &sql).await
    }
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

/// How many rows of a table are not as in `present`, among those that are in `present` or `other`.
async fn strangers(
    tx: &Tx<'_>,
    table: &Table,
    present: &str,
    other: &str,
) -> Result<i64, ActionError> {
    let sql = format!(
        "SELECT (SELECT count(*) FROM {present} AS p LEFT JOIN {t} AS t ON {same_pt} WHERE {absent} OR {differ})
              + (SELECT count(*) FROM {other} AS o JOIN {t} AS t ON {same_ot}
                 WHERE NOT EXISTS (SELECT FROM {present} AS p WHERE {same_op}))",
        t = table.sql,
        same_pt = table.same("p", "t"),
        same_ot = table.same("o", "t"),
        same_op = table.same("o", "p"),
        absent = table.absent("t"),
        differ = table.differ("p", "t"),
    );
    let doing = format!("compare the rows of {}", table.shown);
    Ok(tx.one(&doing, &sql, &[]).await?.get(0))
}

/// Replaces the rows `from` of a table by the rows `to`, and fails when the rows are not exactly `to` afterwards.
pub(super) async fn exchange(
    tx: &Tx<'_>,
    table: &Table,
    (from, to): (&str, &str),
    triggers: Triggers,
) -> Result<Counts, ActionError> {
    let shown = &table.shown;
    let silenced = match triggers {
        Triggers::Fire => Vec::new(),
        Triggers::Skip => table.silence_triggers(tx).await?,
    };
    let counts = write(tx, table, from, to).await?;
    for awake in silenced {
        tx.batch(&format!("switch the triggers of {shown} on again"), &awake).await?;
    }
    match strangers(tx, table, to, from).await? {
        0 => Ok(counts),
        others => Err(conflict(format!(
            "bring rows of {shown} back: {others} of them are not as wanted afterwards"
        ))
        .hint(format!(
            "A trigger or a rule changes what is written: `\\d {shown}` shows it. Row security may hide rows, too."
        ))),
    }
}

/// Removes the extra rows, changes the differing ones and adds the missing ones.
async fn write(tx: &Tx<'_>, table: &Table, from: &str, to: &str) -> Result<Counts, ActionError> {
    let (t, shown) = (&table.sql, &table.shown);
    let remove = format!(
        "DELETE FROM {t} AS t USING {from} AS f WHERE {} AND NOT EXISTS (SELECT FROM {to} AS n WHERE {})",
        table.same("t", "f"),
        table.same("n", "f"),
    );
    let removed = tx.execute(&format!("remove extra rows of {shown}"), &remove, &[]).await?;
    let set = table.assignments("n");
    let mut changed = 0;
    if !set.is_empty() {
        let change =
            format!("UPDATE {t} AS t SET {set} FROM {to} AS n WHERE {}", table.same("t", "n"));
        changed = tx.execute(&format!("change differing rows of {shown}"), &change, &[]).await?;
    }
    let add = format!(
        "INSERT INTO {t} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {to} AS n
         WHERE NOT EXISTS (SELECT FROM {from} AS f WHERE {})",
        table.names(),
        table.list("n"),
        table.same("n", "f"),
    );
    let added = tx.execute(&format!("add missing rows of {shown}"), &add, &[]).await?;
    Ok(Counts { removed, changed, added })
}
