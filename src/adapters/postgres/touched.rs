//! Which tables a transaction has changed, by the server's own count (`pg_stat_xact_user_tables`).
//!
//! The counters may still hold what the same server session did shortly before, so they are read twice and subtracted.

use std::collections::BTreeMap;

use super::name::SCHEMA;
use super::session::Tx;
use crate::action::{ActionError, ErrorKind};

/// How many rows of one table were written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Writes {
    pub(super) inserted: i64,
    pub(super) updated: i64,
    pub(super) deleted: i64,
}

/// The writes of a transaction by table: object id, and `schema.table`.
#[derive(Debug, Default)]
pub(super) struct Touched(BTreeMap<u32, (String, Writes)>);

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
            "SELECT relid, schemaname || '.' || relname, n_tup_ins, n_tup_upd, n_tup_del
            FROM pg_catalog.pg_stat_xact_user_tables
            WHERE schemaname <> '{SCHEMA}' AND schemaname !~ '^pg_temp'
              AND n_tup_ins + n_tup_upd + n_tup_del > 0"
        );
        let rows = tx.query(doing, &sql, &[]).await?;
        let tables = rows.iter().map(|row| {
            let writes = Writes { inserted: row.get(2), updated: row.get(3), deleted: row.get(4) };
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
            }
        }
        self.0.retain(|_, (_, writes)| *writes != Writes::default());
        self
    }

    /// The writes of one table.
    pub(super) fn of(&self, table: u32) -> Writes {
        self.0.get(&table).map(|(_, writes)| *writes).unwrap_or_default()
    }

    /// The names of tables beside these, where the writes are such.
    pub(super) fn others(&self, tables: &[u32], such: fn(Writes) -> bool) -> Vec<&str> {
        let others =
            self.0.iter().filter(|(table, (_, writes))| !tables.contains(table) && such(*writes));
        others.map(|(_, (name, _))| name.as_str()).collect()
    }
}
