//! Which tables a transaction has changed, by the server's own count (`pg_stat_xact_user_tables`), and by its locks (`pg_locks`): a
//! `TRUNCATE` counts no rows, and locks the table against everybody.
//!
//! The counters may still hold what the same server session did shortly before, so they are read twice and subtracted.

use std::collections::BTreeMap;

use super::errors::conflict;
use super::kept::Counts;
use super::name::SCHEMA;
use super::session::Tx;
use super::table::Table;
use crate::action::{ActionError, ErrorKind};

/// What was done to one table: how many rows were written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Writes {
    inserted: i64,
    updated: i64,
    deleted: i64,
    /// It is locked as by `TRUNCATE` or `ALTER TABLE`, which count no rows.
    whole: bool,
}

/// The writes of a transaction by table: object id, and `schema.table`.
#[derive(Debug, Default)]
pub(super) struct Touched(BTreeMap<u32, (String, Writes)>);

/// Whether this transaction has locked the table `relid` against everybody, and has not made it: a table's first columns have the number of
/// the transaction that made it, and a transaction's own numbers lie within a million behind its first. (`age` is negative for half of all
/// numbers.) A materialized view is made anew under that lock, and holds no rows of its own.
const WHOLE: &str = "(relid IN (SELECT relation FROM pg_catalog.pg_locks
        WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation' AND mode = 'AccessExclusiveLock' AND granted)
    AND EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = relid AND relkind <> 'm')
    AND EXISTS (SELECT FROM pg_catalog.pg_attribute AS a WHERE attrelid = relid AND attname = 'tableoid'
        AND (a.xmin::text::bigint - pg_catalog.txid_current() % 4294967296 + 4294967296) % 4294967296 >= 1000000))";

impl Touched {
    /// What the counters say now.
    pub(super) async fn read(tx: &Tx<'_>) -> Result<Self, ActionError> {
        let doing = "ask which tables were changed";
        let counting: String = tx.one(doing, "SHOW track_counts", &[]).await?.get(0);
        if counting != "on" {
            let text = format!("{doing}: the server does not count (`track_counts` is off)");
            return Err(ActionError::new(ErrorKind::Invalid, text));
        }
        let sql = format!(
            "SELECT relid, schemaname || '.' || relname, n_tup_ins, n_tup_upd, n_tup_del, {WHOLE}
            FROM pg_catalog.pg_stat_xact_user_tables
            WHERE schemaname <> '{SCHEMA}' AND schemaname !~ '^pg_temp'
              AND (n_tup_ins + n_tup_upd + n_tup_del > 0 OR {WHOLE})"
        );
        let rows = tx.query(doing, &sql, &[]).await?;
        let tables = rows.iter().map(|row| {
            let (inserted, updated, deleted) = (row.get(2), row.get(3), row.get(4));
            let writes = Writes { inserted, updated, deleted, whole: row.get(5) };
            (row.get(0), (row.get(1), writes))
        });
        Ok(Self(tables.collect()))
    }

    /// What was written since `before`.
    pub(super) fn since(mut self, before: &Self) -> Self {
        for (table, (_, writes)) in &mut self.0 {
            if let Some((_, former)) = before.0.get(table) {
                writes.inserted -= former.inserted;
                writes.updated -= former.updated;
                writes.deleted -= former.deleted;
                writes.whole &= !former.whole;
            }
        }
        self.0.retain(|_, (_, writes)| *writes != Writes::default());
        self
    }

    /// The names of tables beside these.
    pub(super) fn others(&self, tables: &[u32]) -> Vec<&str> {
        self.beside(tables).map(|(name, _)| name.as_str()).collect()
    }

    /// The names of tables beside these that may have been changed as a whole.
    pub(super) fn others_whole(&self, tables: &[u32]) -> Vec<&str> {
        let whole = self.beside(tables).filter(|(_, writes)| writes.whole);
        whole.map(|(name, _)| name.as_str()).collect()
    }

    fn beside(&self, tables: &[u32]) -> impl Iterator<Item = &(String, Writes)> {
        let others = self.0.iter().filter(move |(table, _)| !tables.contains(table));
        others.map(|(_, found)| found)
    }

    /// Whether as many rows of a table were written as were meant to be.
    pub(super) fn agrees(&self, table: &Table, meant: Counts) -> bool {
        let writes = self.0.get(&table.oid).map(|(_, writes)| *writes).unwrap_or_default();
        writes == Writes::from(meant)
    }

    /// Refuses writes beyond those that were meant, among them those of `more`: rows that go or change along would not come back. New rows of
    /// other tables, as an audit writes them, may stay.
    pub(super) fn refuse_along(
        &self,
        meant: &[&Table],
        more: &[&Table],
    ) -> Result<(), ActionError> {
        let tables: Vec<u32> = meant.iter().map(|table| table.oid).collect();
        let goes = |writes: &Writes| writes.whole || writes.updated + writes.deleted > 0;
        let others = self.beside(&tables).filter(|(_, writes)| goes(writes));
        let mut along: Vec<String> = others.map(|(name, _)| format!("rows of {name}")).collect();
        along.extend(more.iter().map(|table| format!("more rows of {}", table.shown)));
        if along.is_empty() {
            return Ok(());
        }
        let shown: Vec<&str> = meant.iter().map(|table| table.shown.as_str()).collect();
        Err(conflict(format!(
            "bring rows of {} back: {} would change along, by a foreign key or a trigger; nothing was changed",
            shown.join(" and "),
            along.join(", ")
        ))
        .hint("Detach or restore those rows first, so that nothing hangs on the rows that go. A restore leaves triggers out by `triggers: skip`."))
    }
}

impl From<Counts> for Writes {
    fn from(counts: Counts) -> Self {
        let number = |rows: u64| i64::try_from(rows).unwrap_or(i64::MAX);
        Self {
            inserted: number(counts.added),
            updated: number(counts.changed),
            deleted: number(counts.removed),
            whole: false,
        }
    }
}
