//! Rows of one or several tables exchanged for others, and for nothing else.
//!
//! What a foreign key or a trigger would change along is found by the server's own counters and refused, since nobody has kept it. Tables
//! that refer to each other want an order: rows come before those that refer to them, and go after those.

use super::errors::conflict;
use super::kept::{Counts, Triggers};
use super::session::Tx;
use super::table::Table;
use super::touched::Touched;
use crate::action::{ActionError, ErrorKind};

/// One table's rows on their way. Names of tables are given quoted.
pub(super) struct Exchange<'a> {
    pub(super) table: &'a Table,
    /// The rows that are there.
    pub(super) from: String,
    /// The rows that shall be there.
    pub(super) to: String,
    pub(super) triggers: Triggers,
}

/// What a table goes through first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// A unique value may be taken over by another row.
    RemoveFirst,
    /// A row may be referred to until nothing does any more.
    RemoveLast,
}

/// Exchanges the rows, and fails when they are not exactly as wanted afterwards, or when anything else has changed.
pub(super) async fn exchange(tx: &Tx<'_>, exchanges: &[Exchange<'_>]) -> Result<(), ActionError> {
    const TRY: &str = "SAVEPOINT rollback_order";
    let doing = "bring rows back in the right order";
    let tables: Vec<u32> = exchanges.iter().map(|one| one.table.oid).collect();
    let references = references(tx, &tables).await?;
    let order = parents_first(&tables, &references);
    let sorted: Vec<&Exchange<'_>> = order.into_iter().map(|place| &exchanges[place]).collect();
    if !references.is_empty() {
        tx.batch(doing, TRY).await?;
        match attempt(tx, &sorted, Order::RemoveLast).await {
            Err(error) if error.kind == ErrorKind::Conflict => {
                tx.batch(doing, &format!("ROLLBACK TO {TRY}")).await?;
            }
            outcome => return outcome,
        }
    }
    attempt(tx, &sorted, Order::RemoveFirst).await
}

/// The foreign keys among these tables: who refers, and to whom.
async fn references(tx: &Tx<'_>, tables: &[u32]) -> Result<Vec<(u32, u32)>, ActionError> {
    let sql = "SELECT DISTINCT conrelid, confrelid FROM pg_catalog.pg_constraint
        WHERE contype = 'f' AND conrelid = ANY ($1) AND confrelid = ANY ($1)";
    let rows = tx.query("ask which tables refer to each other", sql, &[&tables]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// The places of the tables, each behind those that it refers to. Tables that refer to each other in a ring stay in their order.
fn parents_first(tables: &[u32], references: &[(u32, u32)]) -> Vec<usize> {
    let mut rest: Vec<usize> = (0..tables.len()).collect();
    let mut sorted = Vec::new();
    while !rest.is_empty() {
        let waits = |place: usize| {
            references.iter().any(|(child, parent)| {
                *child == tables[place]
                    && parent != child
                    && rest.iter().any(|other| tables[*other] == *parent)
            })
        };
        let next = rest.iter().position(|place| !waits(*place)).unwrap_or_default();
        sorted.push(rest.remove(next));
    }
    sorted
}

async fn attempt(
    tx: &Tx<'_>,
    exchanges: &[&Exchange<'_>],
    order: Order,
) -> Result<(), ActionError> {
    let before = Touched::read(tx).await?;
    let mut silenced = Vec::new();
    for one in exchanges.iter().filter(|one| one.triggers == Triggers::Skip) {
        silenced.extend(one.table.silence_triggers(tx).await?);
    }
    let counts = write(tx, exchanges, order).await?;
    tx.settle().await?;
    for awake in silenced {
        tx.batch("switch triggers on again", &awake).await?;
    }
    for one in exchanges {
        one.check(tx).await?;
    }
    let meant: Vec<(&Table, Counts)> = exchanges.iter().map(|one| one.table).zip(counts).collect();
    Touched::read(tx).await?.since(&before).refuse_along(&meant)
}

/// Writes all rows; how many, by table.
async fn write(
    tx: &Tx<'_>,
    exchanges: &[&Exchange<'_>],
    order: Order,
) -> Result<Vec<Counts>, ActionError> {
    let mut counts = vec![Counts::default(); exchanges.len()];
    if order == Order::RemoveFirst {
        for (one, count) in exchanges.iter().zip(&mut counts).rev() {
            count.removed = one.remove(tx).await?;
        }
        for (one, count) in exchanges.iter().zip(&mut counts) {
            count.changed = one.change(tx).await?;
            count.added = one.add(tx).await?;
        }
        return Ok(counts);
    }
    for (one, count) in exchanges.iter().zip(&mut counts) {
        count.added = one.add(tx).await?;
    }
    for (one, count) in exchanges.iter().zip(&mut counts) {
        count.changed = one.change(tx).await?;
    }
    for (one, count) in exchanges.iter().zip(&mut counts).rev() {
        count.removed = one.remove(tx).await?;
    }
    Ok(counts)
}

impl Exchange<'_> {
    /// Removes the extra rows.
    async fn remove(&self, tx: &Tx<'_>) -> Result<u64, ActionError> {
        let Self { table, from, to, .. } = self;
        let sql = format!(
            "DELETE FROM {} AS t USING {from} AS f WHERE {} AND NOT EXISTS (SELECT FROM {to} AS n WHERE {})",
            table.sql,
            table.same("t", "f"),
            table.same("n", "f"),
        );
        tx.execute(&format!("remove extra rows of {}", table.shown), &sql, &[]).await
    }

    /// Changes the differing rows.
    async fn change(&self, tx: &Tx<'_>) -> Result<u64, ActionError> {
        let Self { table, from, to, .. } = self;
        let set = table.assignments("n");
        if set.is_empty() {
            return Ok(0);
        }
        let sql = format!(
            "UPDATE {} AS t SET {set} FROM {to} AS n JOIN {from} AS f ON {} WHERE {}",
            table.sql,
            table.same("n", "f"),
            table.same("t", "n"),
        );
        tx.execute(&format!("change differing rows of {}", table.shown), &sql, &[]).await
    }

    /// Adds the missing rows.
    async fn add(&self, tx: &Tx<'_>) -> Result<u64, ActionError> {
        let Self { table, from, to, .. } = self;
        let sql = format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {to} AS n
             WHERE NOT EXISTS (SELECT FROM {from} AS f WHERE {})",
            table.sql,
            table.names(),
            table.list("n"),
            table.same("n", "f"),
        );
        tx.execute(&format!("add missing rows of {}", table.shown), &sql, &[]).await
    }

    /// Fails when the rows are not as wanted.
    async fn check(&self, tx: &Tx<'_>) -> Result<(), ActionError> {
        let shown = &self.table.shown;
        match strangers(tx, self.table, &self.to, &self.from).await? {
            0 => Ok(()),
            others => Err(conflict(format!(
                "bring rows of {shown} back: {others} of them are not as wanted afterwards"
            ))
            .hint(format!(
                "A trigger or a rule changes what is written: `\\d {shown}` shows it. Row security may hide rows, too."
            ))),
        }
    }
}

/// How many rows of a table are not as in `present`, among those that are in `present` or `other`.
pub(super) async fn strangers(
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

#[cfg(test)]
mod tests {
    use super::parents_first;

    #[test]
    fn a_table_comes_behind_those_that_it_refers_to() {
        assert_eq!(parents_first(&[7, 8, 9], &[]), [0, 1, 2]);
        // 7 refers to 8, 8 to 9 and to itself.
        assert_eq!(parents_first(&[7, 8, 9], &[(7, 8), (8, 9), (8, 8)]), [2, 1, 0]);
        assert_eq!(parents_first(&[7, 8, 9], &[(7, 8), (8, 7)]), [2, 0, 1]);
    }
}
