//! `postgres.clear`: all rows of a table, deleted only when a snapshot of this run holds exactly them.
//!
//! `TRUNCATE` would lock readers out, and show an empty table to transactions that began before; this is a `DELETE`.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::change::{Change, Once, Outcome};
use super::errors::conflict;
use super::exchange::{Exchange, exchange};
use super::fingerprint::Rows;
use super::kept::{Counts, Triggers};
use super::ledger::Mark;
use super::name::TableName;
use super::run::two_seconds;
use super::session::{Patience, Tx};
use super::snapshots::{Taken, check_name, foreseen, see_every_row};
use super::table::Table;
use super::touched::Touched;
use crate::action::{
    ActionError, Description, ErrorKind, Evidence, ResolveContext, VerbArgs, VerbKind, Work,
};
use crate::value::Lasting;

/// Deletes all rows of a table that is backed up.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PostgresClear")]
pub(super) struct Clear {
    /// The table, `table` or `schema.table`.
    table: String,
    /// The snapshot of the whole table that this run has taken. Its rows must be those of the table now; otherwise nothing is deleted.
    snapshot: String,
    /// The longest wait for one lock; `2s` unless given.
    #[serde(default = "two_seconds")]
    lock_timeout: Lasting,
    /// The longest time for one statement; what the step has left unless given.
    #[serde(default)]
    statement_timeout: Option<Lasting>,
}

#[async_trait]
impl VerbArgs for Clear {
    const NAME: &'static str = "postgres.clear";
    const SUMMARY: &'static str = "delete all rows of a table that this run has a snapshot of";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(300);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        let _name = TableName::parse(&self.table)?;
        check_name(&self.snapshot)
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        let source = TableName::parse(&item.table)
            .map_err(|problem| ActionError::new(ErrorKind::Invalid, problem))?;
        Ok(Once::work(ClearTable { item, source }, cx))
    }
}

struct ClearTable {
    item: Clear,
    source: TableName,
}

impl ClearTable {
    /// The snapshot, when it is one that may stand for the table.
    async fn backup(&self, tx: &Tx<'_>, table: &Table, run: &str) -> Result<Taken, ActionError> {
        let taken = Taken::named(tx, &self.item.snapshot).await?;
        let why = if taken.source.as_str() != table.shown {
            format!("is one of {}", taken.source.as_str())
        } else if !taken.scope.is_whole() {
            "holds only a part of it".to_owned()
        } else if taken.run != run {
            format!("is of another run, {}", taken.run)
        } else {
            return Ok(taken);
        };
        let text = format!("clear {}: the snapshot `{}` {why}", table.shown, taken.name);
        Err(conflict(text)
            .hint("Take one of the whole table in a step before: `postgres.snapshot`."))
    }

    /// Refuses a table with other rows than the snapshot's.
    async fn check_rows(
        &self,
        tx: &Tx<'_>,
        table: &Table,
        taken: &Taken,
    ) -> Result<(), ActionError> {
        table.check_columns(tx, &taken.table()).await?;
        taken.check_content(tx).await?;
        let from = format!("(SELECT {} FROM {} AS t)", table.list("t"), table.sql);
        let rows = Rows { from: &from, parameters: &[], shown: &table.shown };
        if taken.content.holds(tx, rows).await? {
            return Ok(());
        }
        let text = format!(
            "clear {}: its rows are no longer those of the snapshot `{}`; nothing was changed",
            table.shown, taken.name
        );
        Err(conflict(text).hint("Somebody writes to it. Stop that, and take another snapshot."))
    }
}

#[async_trait]
impl Change for ClearTable {
    fn verb(&self) -> &'static str {
        Clear::NAME
    }

    fn describe(&self) -> Description {
        let Clear { table, snapshot, .. } = &self.item;
        Description::new(
            format!("delete all rows of {table}, if the snapshot {snapshot} has them"),
            format!("bring the rows of the snapshot {snapshot} back"),
        )
    }

    fn patience(&self) -> Patience {
        let statement = self.item.statement_timeout.map(|time| time.0);
        Patience { lock: Some(self.item.lock_timeout.0), statement }
    }

    fn needs(&self) -> Option<String> {
        Some(foreseen(&self.item.snapshot))
    }

    async fn look(&self, tx: &Tx<'_>, mark: &Mark) -> Result<Option<Evidence>, ActionError> {
        let table = Table::read(tx, &self.source).await?;
        self.backup(tx, &table, &mark.run).await.map(|_| None)
    }

    async fn make(&self, tx: &Tx<'_>, mark: &Mark) -> Result<Outcome, ActionError> {
        let table = Table::read(tx, &self.source).await?;
        see_every_row(tx).await?;
        table.lock(tx).await?;
        let taken = self.backup(tx, &table, &mark.run).await?;
        self.check_rows(tx, &table, &taken).await?;
        let doing = format!("delete all rows of {}", table.shown);
        let before = Touched::read(tx).await?;
        let removed = tx.execute(&doing, &format!("DELETE FROM {}", table.sql), &[]).await?;
        tx.settle().await?;
        let touched = Touched::read(tx).await?.since(&before);
        let along = !touched.agrees(&table, Counts { removed, ..Counts::default() });
        let more = [&table];
        touched.refuse_along(&[&table], if along { &more } else { &[] })?;
        let summary = format!("{} is empty: {removed} rows are in `{}`", table.shown, taken.name);
        Ok(Outcome { summary, more: json!({ "removed": removed }), ..Outcome::default() })
    }

    async fn unmake(&self, tx: &Tx<'_>, _: &Outcome) -> Result<(), ActionError> {
        let table = Table::read_changed(tx, &self.source).await?;
        see_every_row(tx).await?;
        table.lock(tx).await?;
        let taken = Taken::named(tx, &self.item.snapshot).await?;
        table.check_columns(tx, &taken.table()).await?;
        taken.check_content(tx).await?;
        let doing = format!("bring the rows of {} back", table.shown);
        let any = format!("SELECT EXISTS (SELECT FROM {})", table.sql);
        if tx.one(&doing, &any, &[]).await?.get(0) {
            return Err(conflict(format!("{doing}: it has rows again, by others")));
        }
        let nothing = format!(
            "CREATE TEMPORARY TABLE rollback_nothing ON COMMIT DROP AS SELECT {} FROM {} AS t",
            table.list("t"),
            table.sql
        );
        tx.batch(&doing, &nothing).await?;
        let (from, to) = ("pg_temp.rollback_nothing".to_owned(), taken.table());
        exchange(tx, &[Exchange { table: &table, from, to, triggers: Triggers::Fire }]).await
    }
}
