//! Rows of one or several tables exchanged for others, and for nothing else.
//!
//! What a foreign key or a trigger would change along is found by the server's own counters and refused, since nobody has kept it. Tables
//! that refer to each other want an order: rows come before those that refer to them, and go after those. Triggers may write what we write, too,
//! so where there are any, the counters do not have the last word: the rows beside ours do.

use super::errors::{self, conflict};
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
    /// Rows may have exchanged unique values, which no `UPDATE` can take back: what differs goes, and comes anew.
    Anew,
}

/// What tells that no other row of these tables has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// The server has counted as many writes as there were meant to be.
    Counters,
    /// All other rows are as in a copy from before. Triggers may have written ours, which are straightened until they are as wanted.
    Copies,
}

/// Exchanges the rows, and fails when they are not exactly as wanted afterwards, or when anything else has changed.
pub(super) async fn exchange(tx: &Tx<'_>, exchanges: &[Exchange<'_>]) -> Result<(), ActionError> {
    const TRY: &str = "SAVEPOINT rollback_order";
    let doing = "bring rows back in the right order";
    let tables: Vec<u32> = exchanges.iter().map(|one| one.table.oid).collect();
    let references = references(tx, &tables).await?;
    let order = parents_first(&tables, &references);
    let sorted: Vec<&Exchange<'_>> = order.into_iter().map(|place| &exchanges[place]).collect();
    let orders = [Order::RemoveLast, Order::RemoveFirst];
    let orders = if references.is_empty() { &orders[1..] } else { &orders };
    let proofs = [Proof::Counters, Proof::Copies];
    let proofs = if triggers_fire(tx, exchanges).await? { &proofs } else { &proofs[..1] };
    let mut ways = Vec::new();
    for proof in proofs {
        ways.extend(orders.iter().map(|order| (*order, *proof)));
    }
    tx.batch(doing, TRY).await?;
    let (mut outcome, mut taken) = (Ok(()), false);
    for (order, proof) in ways {
        if outcome.is_err() {
            tx.batch(doing, &format!("ROLLBACK TO {TRY}")).await?;
        }
        outcome = attempt(tx, &sorted, order, proof).await;
        if !matches!(&outcome, Err(error) if error.kind == ErrorKind::Conflict) {
            return outcome;
        }
        taken |= outcome.as_ref().is_err_and(errors::is_taken);
    }
    if !taken {
        return outcome;
    }
    for proof in proofs {
        tx.batch(doing, &format!("ROLLBACK TO {TRY}")).await?;
        let anew = attempt(tx, &sorted, Order::Anew, *proof).await;
        if !matches!(&anew, Err(error) if error.kind == ErrorKind::Conflict) {
            return anew;
        }
    }
    // Why the rows could not be changed says more than why they could not be removed.
    outcome
}

/// Whether one of the tables has a trigger of its own that will fire.
async fn triggers_fire(tx: &Tx<'_>, exchanges: &[Exchange<'_>]) -> Result<bool, ActionError> {
    let tables = exchanges.iter().filter(|one| one.triggers == Triggers::Fire);
    let tables: Vec<u32> = tables.map(|one| one.table.oid).collect();
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger
        WHERE tgrelid = ANY ($1) AND NOT tgisinternal AND tgenabled <> 'D')";
    Ok(tx.one("ask for triggers", sql, &[&tables]).await?.get(0))
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
    proof: Proof,
) -> Result<(), ActionError> {
    let before = Touched::read(tx).await?;
    let mut others = Vec::new();
    if proof == Proof::Copies {
        for one in exchanges {
            others.push(one.copy_others(tx).await?);
        }
    }
    let mut silenced = Vec::new();
    for one in exchanges.iter().filter(|one| one.triggers == Triggers::Skip) {
        silenced.extend(one.table.silence_triggers(tx).await?);
    }
    let counts = write(tx, exchanges, order).await?;
    tx.settle().await?;
    if proof == Proof::Copies {
        straighten(tx, exchanges, order).await?;
    }
    for awake in silenced {
        tx.batch("switch triggers on again", &awake).await?;
    }
    for one in exchanges {
        one.check(tx).await?;
    }
    let touched = Touched::read(tx).await?.since(&before);
    let tables: Vec<&Table> = exchanges.iter().map(|one| one.table).collect();
    let mut more = Vec::new();
    for (place, table) in tables.iter().enumerate() {
        let untouched = match others.get(place) {
            Some(others) => strangers(tx, table, others, others).await? == 0,
            None => touched.agrees(table, counts[place]),
        };
        if !untouched {
            more.push(*table);
        }
    }
    touched.refuse_along(&tables, &more)
}

/// Writes again what triggers have written over, as often as one table can have changed the next one.
async fn straighten(
    tx: &Tx<'_>,
    exchanges: &[&Exchange<'_>],
    order: Order,
) -> Result<(), ActionError> {
    for _ in exchanges {
        let mut as_wanted = true;
        for one in exchanges {
            as_wanted &= strangers(tx, one.table, &one.to, &one.from).await? == 0;
        }
        if as_wanted {
            break;
        }
        let _rows = write(tx, exchanges, order).await?;
        tx.settle().await?;
    }
    Ok(())
}

/// Writes all rows; how many, by table.
async fn write(
    tx: &Tx<'_>,
    exchanges: &[&Exchange<'_>],
    order: Order,
) -> Result<Vec<Counts>, ActionError> {
    let mut counts = vec![Counts::default(); exchanges.len()];
    if order != Order::RemoveLast {
        for (one, count) in exchanges.iter().zip(&mut counts).rev() {
            count.removed = one.remove(tx, order).await?;
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
        count.removed = one.remove(tx, order).await?;
    }
    Ok(counts)
}

impl Exchange<'_> {
    /// Removes the extra rows, and those that are to be added anew: which no change can make as wanted, or, in that order, all that differ.
    async fn remove(&self, tx: &Tx<'_>, order: Order) -> Result<u64, ActionError> {
        let Self { table, from, to, .. } = self;
        let stays = match order {
            Order::Anew => format!("{} AND NOT {}", table.same("t", "n"), table.differ("t", "n")),
            Order::RemoveFirst | Order::RemoveLast => table.can_become("t", "n"),
        };
        let sql = format!(
            "DELETE FROM {} AS t USING {from} AS f WHERE {} AND NOT EXISTS (SELECT FROM {to} AS n WHERE {stays})",
            table.sql,
            table.same("t", "f"),
        );
        tx.execute(&format!("remove extra rows of {}", table.shown), &sql, &[]).await
    }

    /// Copies the rows that are neither to come nor to go, and returns the copy's name.
    async fn copy_others(&self, tx: &Tx<'_>) -> Result<String, ActionError> {
        let Self { table, from, to, .. } = self;
        let copy = format!("rollback_others_{}", table.oid);
        let sql = format!(
            "CREATE TEMPORARY TABLE {copy} ON COMMIT DROP AS SELECT {} FROM {} AS t
             WHERE NOT EXISTS (SELECT FROM {from} AS f WHERE {}) AND NOT EXISTS (SELECT FROM {to} AS n WHERE {});
             ANALYZE pg_temp.{copy}",
            table.list("t"),
            table.sql,
            table.same("f", "t"),
            table.same("n", "t"),
        );
        tx.batch(&format!("copy the other rows of {}", table.shown), &sql).await?;
        Ok(format!("pg_temp.{copy}"))
    }

    /// Changes the differing rows.
    async fn change(&self, tx: &Tx<'_>) -> Result<u64, ActionError> {
        let Self { table, to, .. } = self;
        let set = table.assignments("n");
        if set.is_empty() {
            return Ok(0);
        }
        let sql = format!(
            "UPDATE {} AS t SET {set} FROM {to} AS n WHERE {} AND {}",
            table.sql,
            table.same("t", "n"),
            table.differ("t", "n"),
        );
        tx.execute(&format!("change differing rows of {}", table.shown), &sql, &[]).await
    }

    /// Adds the missing rows.
    async fn add(&self, tx: &Tx<'_>) -> Result<u64, ActionError> {
        let Self { table, to, .. } = self;
        let sql = format!(
            "INSERT INTO {0} ({1}) OVERRIDING SYSTEM VALUE SELECT {2} FROM {to} AS n
             WHERE NOT EXISTS (SELECT FROM {0} AS t WHERE {3})",
            table.sql,
            table.names(),
            table.list("n"),
            table.same("n", "t"),
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
