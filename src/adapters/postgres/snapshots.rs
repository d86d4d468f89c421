//! The snapshots in the database: where their rows are, what of, and what they amount to.

use serde_json::json;

use super::errors::conflict;
use super::fingerprint::{Fingerprint, Rows};
use super::ledger::{self, Mark};
use super::name::{SCHEMA, TableName, literal, ours};
use super::scope::Scope;
use super::session::Tx;
use crate::action::{ActionError, ErrorKind};

/// Tables of our schema that no snapshot may be called by.
const TAKEN: [&str; 2] = ["ledger", "snapshots"];

/// A snapshot as later steps of a plan know it.
pub(super) fn foreseen(name: &str) -> String {
    format!("postgres:snapshot/{name}")
}

/// A snapshot that exists.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::adapters) struct Taken {
    pub(super) name: String,
    pub(super) source: TableName,
    pub(super) scope: Scope,
    pub(super) content: Fingerprint,
    /// The run that took it.
    pub(super) run: String,
}

/// Checks the name of a snapshot.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    super::name::check("the name of a snapshot", name)?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if !name.chars().all(plain) || TAKEN.contains(&name) {
        return Err(format!(
            "`{name}` cannot be the name of a snapshot; use lower-case letters, digits, `-` and `_`"
        ));
    }
    Ok(())
}

impl Taken {
    /// The table with its rows, quoted.
    pub(in crate::adapters) fn table(&self) -> String {
        ours(&self.name)
    }

    /// The snapshot of this name, if there is one.
    pub(in crate::adapters) async fn find(
        tx: &Tx<'_>,
        name: &str,
    ) -> Result<Option<Self>, ActionError> {
        if !ledger::exists(tx).await? {
            return Ok(None);
        }
        let sql = format!(
            "SELECT source, scope::text, content::text, run FROM {SCHEMA}.snapshots WHERE name = $1"
        );
        let Some(row) = tx.find("look for a snapshot", &sql, &[&name]).await? else {
            return Ok(None);
        };
        let unreadable = |problem: &dyn std::fmt::Display| {
            let text = format!("read what is known of the snapshot `{name}`: {problem}");
            ActionError::new(ErrorKind::Invalid, text)
        };
        Ok(Some(Self {
            name: name.to_owned(),
            source: TableName::parse(row.get(0)).map_err(|problem| unreadable(&problem))?,
            scope: serde_json::from_value(ledger::read(row.get(1))?)
                .map_err(|error| unreadable(&error))?,
            content: serde_json::from_value(ledger::read(row.get(2))?)
                .map_err(|error| unreadable(&error))?,
            run: row.get(3),
        }))
    }

    /// Writes it down.
    pub(super) async fn record(&self, tx: &Tx<'_>, mark: &Mark) -> Result<(), ActionError> {
        let sql = format!(
            "INSERT INTO {SCHEMA}.snapshots (name, source, scope, content, run, place)
             VALUES ($1, $2, $3::text::jsonb, $4::text::jsonb, $5, $6)"
        );
        let (scope, content) = (json!(self.scope).to_string(), json!(self.content).to_string());
        let source = self.source.as_str();
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&self.name, &source, &scope, &content, &mark.run, &mark.place];
        let doing = "write the snapshot down";
        let _row = tx.execute(doing, &sql, &parameters).await?;
        // Whoever meets the table sees whose it is.
        let comment = literal(&format!("rollback {}: rows of {source}", mark.run));
        tx.batch(doing, &format!("COMMENT ON TABLE {} IS {comment}", self.table())).await
    }

    /// The snapshot of this name, which a step relies on.
    pub(super) async fn named(tx: &Tx<'_>, name: &str) -> Result<Self, ActionError> {
        Self::find(tx, name).await?.ok_or_else(|| {
            ActionError::new(ErrorKind::NotFound, format!("find the snapshot `{name}`"))
                .hint("See which there are: `SELECT name, source, at FROM rollback.snapshots`.")
        })
    }

    /// Refuses it when its rows are not those that were set aside.
    pub(super) async fn check_content(&self, tx: &Tx<'_>) -> Result<(), ActionError> {
        if self.content.holds(tx, Rows::all(&self.table())).await? {
            return Ok(());
        }
        let text = format!(
            "use the snapshot `{}`: its rows are not the {} that were set aside (count and hash differ)",
            self.name, self.content.rows
        );
        Err(conflict(text)
            .hint("Somebody has changed it. Take the rows from a backup that is whole."))
    }

    /// Removes it and its rows.
    pub(super) async fn remove(tx: &Tx<'_>, name: &str) -> Result<(), ActionError> {
        let doing = format!("remove the snapshot `{name}`");
        let sql = format!("DELETE FROM {SCHEMA}.snapshots WHERE name = $1");
        let _rows = tx.execute(&doing, &sql, &[&name]).await?;
        tx.batch(&doing, &format!("DROP TABLE IF EXISTS {}", ours(name))).await
    }
}

/// Lets statements fail where row security would hide rows from them: a copy without them would be no copy.
pub(super) async fn see_every_row(tx: &Tx<'_>) -> Result<(), ActionError> {
    tx.batch("insist on seeing every row", "SET LOCAL row_security = off").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_has_a_plain_name_that_is_free() {
        assert_eq!(check_name("before-reindex_2"), Ok(()));
        for bad in ["", "ledger", "snapshots", "Before", "a b", "a\"; drop", &"x".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
