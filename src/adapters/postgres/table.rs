//! A table as the catalogue describes it: its columns, its key, and the pieces of SQL that are made from them.

use tokio_postgres::Row;

use super::name::{TableName, quoted};
use super::session::Tx;
use crate::action::{ActionError, ErrorKind};

/// A column that can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// With its modifiers: `character varying(20)`.
    kind: String,
}

/// A table that exists.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) oid: u32,
    /// `schema.table`, as people write it.
    pub(super) shown: String,
    pub(super) schema: String,
    pub(super) name: String,
    /// `"schema"."table"`.
    pub(super) sql: String,
    /// The columns that can be written, in order; generated ones follow from them.
    pub(super) columns: Vec<Column>,
    /// The columns of the primary key.
    key: Vec<String>,
    /// Columns that no `UPDATE` may write, though an `INSERT` may: `GENERATED ALWAYS AS IDENTITY`.
    fixed: Vec<String>,
}

const FIND: &str = "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text,
        EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = pg_catalog.to_regclass($1)";

const COLUMNS: &str = "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod)
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    ORDER BY a.attnum";

const FIXED: &str = "SELECT attname::text FROM pg_catalog.pg_attribute
    WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attidentity = 'a' ORDER BY attnum";

const KEY: &str = "SELECT a.attname::text
    FROM pg_catalog.pg_index i
    CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indrelid = $1 AND i.indisprimary ORDER BY k.place";

impl Table {
    /// Reads a table that can be brought back row by row.
    pub(super) async fn read(tx: &Tx<'_>, name: &TableName) -> Result<Self, ActionError> {
        let (table, inherited) = Self::find(tx, name).await?;
        if inherited {
            // They would be written into it.
            return Err(invalid(format!(
                "use {}: other tables inherit from it, and their rows are read as its own",
                table.shown
            ))
            .hint("In `postgres.run`, leave `changes` out and say `irreversible: true`; keep such a table by other means, such as `pg_dump --table`."));
        }
        Ok(table)
    }

    /// Reads one that was changed, to take that back: somebody may have made a table since that inherits from it.
    pub(super) async fn read_changed(tx: &Tx<'_>, name: &TableName) -> Result<Self, ActionError> {
        Self::find(tx, name).await.map(|(table, _)| table)
    }

    /// The table, and whether others inherit from it.
    async fn find(tx: &Tx<'_>, name: &TableName) -> Result<(Self, bool), ActionError> {
        let shown = name.as_str();
        let doing = format!("read the table {shown}");
        let Some(found) = tx.find(&doing, FIND, &[&name.sql()]).await? else {
            return Err(ActionError::new(ErrorKind::NotFound, format!("find the table {shown}"))
                .hint("Names are taken exactly as written, and without a schema from the role's search_path."));
        };
        let (schema, name): (String, String) = (found.get(1), found.get(2));
        let shown = format!("{schema}.{name}");
        match found.get(3) {
            "r" => {}
            "p" => {
                return Err(invalid(format!("use {shown}: it is partitioned, and its rows are in its partitions"))
                    .hint(format!("Name the partitions instead: `SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = '{shown}'::regclass`.")));
            }
            _ => return Err(invalid(format!("use {shown}: it is not a table"))),
        }
        let oid: u32 = found.get(0);
        let columns = tx.query(&doing, COLUMNS, &[&oid]).await?;
        let columns = columns.iter().map(|row| Column { name: row.get(0), kind: row.get(1) });
        let columns: Vec<Column> = columns.collect();
        let names = |rows: &[Row]| rows.iter().map(|row| row.get(0)).collect::<Vec<String>>();
        let key = names(&tx.query(&doing, KEY, &[&oid]).await?);
        let fixed = names(&tx.query(&doing, FIXED, &[&oid]).await?);
        if key.is_empty() {
            return Err(invalid(format!("use {shown}: it has no primary key"))
                .hint("Rows are told apart by it. Add one, or run the statements without `changes` and with `irreversible: true`."));
        }
        let sql = format!("{}.{}", quoted(&schema), quoted(&name));
        Ok((Self { oid, shown, schema, name, sql, columns, key, fixed }, found.get(4)))
    }

    /// `t."a", t."b"`: the columns of what a statement calls `alias`.
    pub(super) fn list(&self, alias: &str) -> String {
        let names = self.columns.iter().map(|column| format!("{alias}.{}", quoted(&column.name)));
        names.collect::<Vec<_>>().join(", ")
    }

    /// `"a", "b"`: the columns by name.
    pub(super) fn names(&self) -> String {
        let names = self.columns.iter().map(|column| quoted(&column.name));
        names.collect::<Vec<_>>().join(", ")
    }

    /// `a."id" = b."id"`: the same row.
    pub(super) fn same(&self, a: &str, b: &str) -> String {
        equal(&self.key, a, b)
    }

    /// The same row, and an `UPDATE` can make the one of the other.
    pub(super) fn can_become(&self, a: &str, b: &str) -> String {
        equal(self.key.iter().chain(&self.fixed), a, b)
    }

    /// `b."id" IS NULL`: an outer join has found no row.
    pub(super) fn absent(&self, alias: &str) -> String {
        format!("{alias}.{} IS NULL", quoted(&self.key[0]))
    }

    /// The rows differ in a byte. Images can be compared whatever the types are (see "Composite Type Comparison"); the operator `*<>`
    /// between two `ROW(…)` would compare column by column.
    pub(super) fn differ(&self, a: &str, b: &str) -> String {
        format!("NOT pg_catalog.record_image_eq(ROW({}), ROW({}))", self.list(a), self.list(b))
    }

    /// `"a" = b."a", …` for all columns that an `UPDATE` writes, the key left out; empty when there are none.
    pub(super) fn assignments(&self, from: &str) -> String {
        let left_out = |name| self.key.contains(name) || self.fixed.contains(name);
        let others = self.columns.iter().filter(|column| !left_out(&column.name));
        let set = others.map(|column| format!("{0} = {from}.{0}", quoted(&column.name)));
        set.collect::<Vec<_>>().join(", ")
    }

    /// `coalesce(a."id", b."id") AS "id"`: the key of a row that one of two has.
    pub(super) fn key_of_either(&self, a: &str, b: &str) -> String {
        let either = |name: &String| format!("coalesce({a}.{0}, {b}.{0}) AS {0}", quoted(name));
        self.key.iter().map(either).collect::<Vec<_>>().join(", ")
    }

    /// Gives a copy of rows of this table the key, and the planner its numbers: those of the key alone, by which copies are joined.
    /// Statistics of a column of long arrays can take longer than the copy.
    pub(super) async fn make_joinable(&self, tx: &Tx<'_>, copy: &str) -> Result<(), ActionError> {
        let key = self.key.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let sql = format!("ALTER TABLE {copy} ADD PRIMARY KEY ({key}); ANALYZE {copy} ({key})");
        tx.batch(&format!("index {copy}"), &sql).await
    }

    /// Switches the table's own triggers off, and returns the statements that switch them on again.
    pub(super) async fn silence_triggers(&self, tx: &Tx<'_>) -> Result<Vec<String>, ActionError> {
        let doing = format!("switch the triggers of {} off", self.shown);
        let found = "SELECT tgname::text, tgenabled::text FROM pg_catalog.pg_trigger
            WHERE tgrelid = $1 AND NOT tgisinternal AND tgenabled IN ('O', 'A')";
        let mut awake = Vec::new();
        for row in tx.query(&doing, found, &[&self.oid]).await? {
            let name = quoted(row.get(0));
            let always = if row.get::<_, &str>(1) == "A" { "ALWAYS " } else { "" };
            tx.batch(&doing, &format!("ALTER TABLE {} DISABLE TRIGGER {name}", self.sql)).await?;
            awake.push(format!("ALTER TABLE {} ENABLE {always}TRIGGER {name}", self.sql));
        }
        Ok(awake)
    }

    /// Locks out other writers, and no reader, until the transaction ends.
    pub(super) async fn lock(&self, tx: &Tx<'_>) -> Result<(), ActionError> {
        let doing = format!("lock {} against other writers", self.shown);
        tx.batch(&doing, &format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", self.sql)).await
    }

    /// Locks out others who change what the table is, and neither readers nor writers, until the transaction ends.
    pub(super) async fn hold(&self, tx: &Tx<'_>) -> Result<(), ActionError> {
        let doing = format!("lock {} against changes of its definition", self.shown);
        tx.batch(&doing, &format!("LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE", self.sql)).await
    }

    /// Refuses a table of ours whose columns are no longer those of this one.
    pub(super) async fn check_columns(&self, tx: &Tx<'_>, ours: &str) -> Result<(), ActionError> {
        let doing = format!("compare the columns of {}", self.shown);
        let sql = "SELECT pg_catalog.to_regclass($1)::oid";
        let oid: Option<u32> = tx.one(&doing, sql, &[&ours]).await?.get(0);
        let Some(oid) = oid else {
            return Err(ActionError::new(
                ErrorKind::NotFound,
                format!("find {ours}: it was removed"),
            ));
        };
        let kept: Vec<Column> = tx
            .query(&doing, COLUMNS, &[&oid])
            .await?
            .iter()
            .map(|row| Column { name: row.get(0), kind: row.get(1) })
            .collect();
        if kept == self.columns {
            return Ok(());
        }
        let strange = kept.iter().find(|column| !self.columns.contains(column));
        let strange = strange.or(self.columns.iter().find(|column| !kept.contains(column)));
        let which = strange.map_or_else(String::new, |column| format!(" (`{}`)", column.name));
        Err(super::errors::conflict(format!(
            "use {ours}: {} has other columns by now{which}",
            self.shown
        ))
        .hint("Bring the table's former columns back first."))
    }
}

fn equal<'a>(names: impl IntoIterator<Item = &'a String>, a: &str, b: &str) -> String {
    let equal = names.into_iter().map(|name| format!("{a}.{0} = {b}.{0}", quoted(name)));
    equal.collect::<Vec<_>>().join(" AND ")
}

fn invalid(text: String) -> ActionError {
    ActionError::new(ErrorKind::Invalid, text)
}
