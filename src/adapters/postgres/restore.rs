//! `postgres.restore`: a table gets the rows of a snapshot back, and only what differs is written.
//!
//! Everything happens in one transaction under `SHARE ROW EXCLUSIVE`: other writers wait, readers see the rows from before until
//! the commit, and never a table in between. `TRUNCATE` would show them an empty one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::change::{self, Change, Outcome};
use super::errors::conflict;
use super::fingerprint::Rows;
use super::kept::{CHANGED, Counts, Kept, Triggers, exchange};
use super::ledger::Mark;
use super::name::ours;
use super::parameter::bound;
use super::run::two_seconds;
use super::session::{Patience, Tx};
use super::snapshots::{Taken, check_name, see_every_row};
use super::table::Table;
use super::touched::Touched;
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Readiness, Repeat,
    ResolveContext, Saved, StepContext, VerbArgs, VerbKind, Verdict, Work,
};
use crate::value::{Count, Lasting};

/// Brings the rows of a snapshot back.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PostgresRestore")]
pub(super) struct Restore {
    /// The snapshot's name. The table and the rows are those that the snapshot was taken of.
    snapshot: String,
    /// How many rows may change, be added and be removed in all; otherwise nothing is changed.
    #[serde(default)]
    expect_rows: Option<Count>,
    /// What the table's own triggers do: `fire`, or `skip` (the role must own the table).
    #[serde(default)]
    triggers: Triggers,
    /// The longest wait for one lock; `2s` unless given.
    #[serde(default = "two_seconds")]
    lock_timeout: Lasting,
    /// The longest time for one statement; what the step has left unless given.
    #[serde(default)]
    statement_timeout: Option<Lasting>,
}

#[async_trait]
impl VerbArgs for Restore {
    const NAME: &'static str = "postgres.restore";
    const SUMMARY: &'static str = "bring the rows of a snapshot back, without an empty moment";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(300);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        check_name(&self.snapshot)
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        let connections = cx.connections.clone();
        Ok(Work::Action(Box::new(RestoreSnapshot { connections, item })))
    }
}

struct RestoreSnapshot {
    connections: Arc<Connections>,
    item: Restore,
}

impl RestoreSnapshot {
    async fn snapshot(&self, tx: &Tx<'_>) -> Result<Taken, ActionError> {
        let name = &self.item.snapshot;
        Taken::find(tx, name).await?.ok_or_else(|| {
            ActionError::new(ErrorKind::NotFound, format!("find the snapshot `{name}`"))
                .hint("See which there are: `SELECT name, source, at FROM rollback.snapshots`.")
        })
    }

    /// Refuses a snapshot whose rows are not those that were set aside.
    async fn check_content(&self, tx: &Tx<'_>, taken: &Taken) -> Result<(), ActionError> {
        let table = taken.table();
        if taken.content.holds(tx, Rows::all(&table)).await? {
            return Ok(());
        }
        let text = format!(
            "use the snapshot `{}`: its rows are not the {} that were set aside (count and hash differ)",
            taken.name, taken.content.rows
        );
        Err(conflict(text)
            .hint("Somebody has changed it. Take the rows from a backup that is whole."))
    }

    /// Holds the number of rows to its bounds.
    fn check_bounds(&self, counts: Counts) -> Result<(), ActionError> {
        match self.item.expect_rows {
            Some(wanted) if !wanted.admits(counts.total()) => Err(conflict(format!(
                "restore `{}`: {counts} would be {} rows, expected {wanted}; nothing was changed",
                self.item.snapshot,
                counts.total()
            ))),
            _ => Ok(()),
        }
    }
}

/// Finds the rows that differ between a table and a snapshot, by the snapshot's scope.
async fn compare(tx: &Tx<'_>, table: &Table, taken: &Taken) -> Result<(), ActionError> {
    let condition = taken.scope.condition("t", &tx.server().secrets);
    let sql = format!(
        "CREATE TEMPORARY TABLE rollback_changed ON COMMIT DROP AS
         SELECT {key} FROM {t} AS t FULL JOIN {s} AS s ON {same}
         WHERE {t_absent} OR (NOT {s_absent} AND {differ}) OR ({s_absent} AND {scope})",
        key = table.key_of_either("t", "s"),
        t = table.sql,
        s = taken.table(),
        same = table.same("t", "s"),
        t_absent = table.absent("t"),
        s_absent = table.absent("s"),
        differ = table.differ("t", "s"),
        scope = condition.sql,
    );
    let doing = format!("compare {} with the snapshot `{}`", table.shown, taken.name);
    let _rows = tx.execute(&doing, &sql, &bound(&condition.parameters)).await?;
    tx.batch(&doing, &format!("ANALYZE {CHANGED}")).await
}

#[async_trait]
impl Change for RestoreSnapshot {
    fn verb(&self) -> &'static str {
        Restore::NAME
    }

    fn patience(&self) -> Patience {
        let statement = self.item.statement_timeout.map(|time| time.0);
        Patience { lock: Some(self.item.lock_timeout.0), statement }
    }

    async fn look(&self, tx: &Tx<'_>) -> Result<Option<Evidence>, ActionError> {
        let taken = self.snapshot(tx).await?;
        let table = Table::read(tx, &taken.source).await?;
        table.check_columns(tx, &taken.table()).await?;
        Ok(None)
    }

    async fn make(&self, tx: &Tx<'_>, mark: &Mark) -> Result<Outcome, ActionError> {
        let taken = self.snapshot(tx).await?;
        let table = Table::read(tx, &taken.source).await?;
        see_every_row(tx).await?;
        table.lock(tx).await?;
        table.check_columns(tx, &taken.table()).await?;
        self.check_content(tx, &taken).await?;
        compare(tx, &table, &taken).await?;
        let found = Kept::keep(tx, &table, (mark, 1), (&table.sql, &taken.table())).await?;
        let kept = Kept { triggers: self.item.triggers, ..found };
        let counts = kept.counts(tx, &table).await?;
        self.check_bounds(counts)?;
        let before = Touched::read(tx).await?;
        let (was, now) = (ours(&kept.was), ours(&kept.now));
        exchange(tx, &table, (&was, &now), kept.triggers).await?;
        refuse_cascades(&table, &Touched::read(tx).await?.since(&before))?;
        let summary = format!("{} is as in `{}`: {counts}", table.shown, taken.name);
        let more = json!({ "counts": counts });
        Ok(Outcome { summary, kept: vec![kept], more })
    }
}

/// Rows of other tables must not go or change along, since they would not come back. New ones (of an audit trigger) may stay.
fn refuse_cascades(table: &Table, touched: &Touched) -> Result<(), ActionError> {
    let others = touched.others(&[table.oid], |writes| writes.updated + writes.deleted > 0);
    if others.is_empty() {
        return Ok(());
    }
    let text = format!(
        "bring rows of {} back: rows of {} would change along, by a foreign key or a trigger; nothing was changed",
        table.shown,
        others.join(", ")
    );
    Err(conflict(text)
        .hint("Restore those tables first, so that nothing refers to the rows that go; or say `triggers: skip`."))
}

#[async_trait]
impl Action for RestoreSnapshot {
    fn describe(&self) -> Description {
        let name = &self.item.snapshot;
        Description::new(
            format!("bring the rows of the snapshot {name} back: only what differs"),
            format!("put the rows back that the snapshot {name} has replaced"),
        )
    }

    fn repeat(&self) -> Repeat {
        Repeat::AfterInspect
    }

    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        change::inspect(&self.connections, cx, self).await
    }

    async fn apply(&self, cx: &StepContext, _: &Saved) -> Result<Evidence, ActionError> {
        change::apply(&self.connections, cx, self).await
    }

    async fn verify(&self, cx: &StepContext, applied: &Evidence) -> Result<Verdict, ActionError> {
        change::verify(&self.connections, cx, self, applied).await
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        applied: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        change::undo(&self.connections, cx, self, (saved, applied)).await
    }
}
