//! `postgres.restore`: a table gets the rows of a snapshot back, and only what differs is written.
//!
//! Everything happens in one transaction under `SHARE ROW EXCLUSIVE`: other writers wait, readers see the rows from before until
//! the commit, and never a table in between. `TRUNCATE` would show them an empty one.

use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::belongings::Belongings;
use super::change::{Change, Once, Outcome};
use super::errors::conflict;
use super::exchange::{Exchange, exchange};
use super::kept::{Counts, Kept, Triggers, find_differing};
use super::ledger::Mark;
use super::name::ours;
use super::run::two_seconds;
use super::session::{Patience, Tx};
use super::snapshots::{Taken, check_name, foreseen, see_every_row};
use super::swap::{Swapped, swap};
use super::table::Table;
use super::unless::Unless;
use crate::action::{
    ActionError, Description, Evidence, ProbeCall, ResolveContext, VerbArgs, VerbKind, Work,
};
use crate::value::{Count, Lasting};

/// Brings the rows of a snapshot back.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PostgresRestore")]
pub(super) struct Restore {
    /// The snapshot's name. The table and the rows are those that the snapshot was taken of.
    snapshot: String,
    /// How: `differential`, or `swap` for a snapshot of a whole table, to exchange the table itself.
    #[serde(default)]
    strategy: Strategy,
    /// How many rows may change, be added and be removed in all; otherwise nothing is changed.
    #[serde(default)]
    expect_rows: Option<Count>,
    /// What the table's own triggers do: `fire`, or `skip` (the role must own the table).
    #[serde(default)]
    triggers: Triggers,
    /// The longest wait for one lock; `2s` unless given. `strategy: swap` exchanges the tables in tries of 400 ms at most.
    #[serde(default = "two_seconds")]
    lock_timeout: Lasting,
    /// The longest time for one statement; what the step has left unless given.
    #[serde(default)]
    statement_timeout: Option<Lasting>,
    /// A probe that makes the restore needless when it holds, such as a gate on what the rows are good for. Where it cannot tell, nothing
    /// is restored, and the step fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-rollback" = "probe-call", "minProperties" = 1, "maxProperties" = 1))]
    unless: Option<IndexMap<String, Value>>,
}

/// A restore with its resolved probe.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RestoreItem {
    restore: Restore,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unless: Option<ProbeCall>,
}

/// How rows come back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "PostgresStrategy")]
enum Strategy {
    /// Only the rows that differ are written.
    #[default]
    Differential,
    /// A twin with the snapshot's rows takes the table's place. The role must own the table.
    Swap,
}

#[async_trait]
impl VerbArgs for Restore {
    const NAME: &'static str = "postgres.restore";
    const SUMMARY: &'static str = "bring the rows of a snapshot back, without an empty moment";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(300);
    type Item = RestoreItem;

    fn validate(&self) -> Result<(), String> {
        let differing = self.expect_rows.is_some() || self.triggers != Triggers::Fire;
        if self.strategy == Strategy::Swap && differing {
            return Err("`expect_rows` and `triggers` are about rows that differ, and `strategy: swap` looks for none".into());
        }
        if self.unless.as_ref().is_some_and(|call| call.len() != 1) {
            return Err("`unless` must be exactly one probe".into());
        }
        check_name(&self.snapshot)
    }

    async fn expand(
        mut self,
        cx: &ResolveContext,
    ) -> Result<Vec<(String, RestoreItem)>, ActionError> {
        let unless = match self.unless.take() {
            Some(call) => Some(ProbeCall::resolve(call, cx).await?),
            None => None,
        };
        Ok(vec![(String::new(), RestoreItem { restore: self, unless })])
    }

    fn make(item: RestoreItem, cx: &ResolveContext) -> Result<Work, ActionError> {
        let change = RestoreSnapshot { item: item.restore };
        let action = Once { connections: cx.connections.clone(), change };
        Ok(Work::Action(match item.unless {
            None => Box::new(action),
            Some(call) => Box::new(Unless { probes: call.probes(cx)?, action }),
        }))
    }
}

struct RestoreSnapshot {
    item: Restore,
}

impl RestoreSnapshot {
    /// `strategy: differential`.
    async fn exchange_rows(
        &self,
        tx: &Tx<'_>,
        mark: &Mark,
        table: &Table,
        taken: &Taken,
    ) -> Result<Outcome, ActionError> {
        let with = (&*taken.table(), &*format!("the snapshot `{}`", taken.name));
        find_differing(tx, table, with, &taken.scope).await?;
        let found = Kept::keep(tx, table, (mark, 1), (&table.sql, &taken.table())).await?;
        let kept = Kept { triggers: self.item.triggers, ..found };
        let counts = kept.counts(tx, table).await?;
        self.check_bounds(counts)?;
        let (from, to) = (ours(&kept.was), ours(&kept.now));
        exchange(tx, &[Exchange { table, from, to, triggers: kept.triggers }]).await?;
        let summary = format!("{} is as in `{}`: {counts}", table.shown, taken.name);
        let more = json!({ "counts": counts });
        Ok(Outcome { summary, kept: vec![kept], more })
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

/// Refuses to exchange a table for a part of its rows.
fn check_whole(table: &Table, taken: &Taken) -> Result<(), ActionError> {
    if taken.scope.is_whole() {
        return Ok(());
    }
    let text = format!("swap {}: `{}` holds only a part of it", table.shown, taken.name);
    Err(conflict(text).hint("Use `strategy: differential`."))
}

/// `strategy: swap`.
async fn exchange_table(
    tx: &Tx<'_>,
    mark: &Mark,
    table: &Table,
    taken: &Taken,
    patience: Duration,
) -> Result<Outcome, ActionError> {
    check_whole(table, taken)?;
    let swapped = swap(tx, table, taken, mark, patience).await?;
    let summary = format!(
        "{} has the {} rows of `{}`; the former table is {}",
        table.shown,
        swapped.content.rows,
        taken.name,
        ours(&swapped.parked)
    );
    Ok(Outcome { summary, more: json!({ "swapped": swapped }), ..Outcome::default() })
}

#[async_trait]
impl Change for RestoreSnapshot {
    fn verb(&self) -> &'static str {
        Restore::NAME
    }

    fn describe(&self) -> Description {
        let name = &self.item.snapshot;
        Description::new(
            match self.item.strategy {
                Strategy::Differential => {
                    format!("bring the rows of the snapshot {name} back: only what differs")
                }
                Strategy::Swap => {
                    format!("put a table with the rows of the snapshot {name} in place")
                }
            },
            format!("put the rows back that the snapshot {name} has replaced"),
        )
    }

    fn patience(&self) -> Patience {
        let statement = self.item.statement_timeout.map(|time| time.0);
        Patience { lock: Some(self.item.lock_timeout.0), statement }
    }

    async fn look(&self, tx: &Tx<'_>, _: &Mark) -> Result<Option<Evidence>, ActionError> {
        let taken = Taken::named(tx, &self.item.snapshot).await?;
        let table = Table::read(tx, &taken.source).await?;
        table.check_columns(tx, &taken.table()).await?;
        if self.item.strategy == Strategy::Swap {
            check_whole(&table, &taken)?;
            let _exchangeable = Belongings::of(tx, &table).await?;
        }
        Ok(None)
    }

    fn needs(&self) -> Option<String> {
        Some(foreseen(&self.item.snapshot))
    }

    async fn make(&self, tx: &Tx<'_>, mark: &Mark) -> Result<Outcome, ActionError> {
        let taken = Taken::named(tx, &self.item.snapshot).await?;
        let table = Table::read(tx, &taken.source).await?;
        see_every_row(tx).await?;
        match self.item.strategy {
            Strategy::Differential => table.lock(tx).await?,
            Strategy::Swap => table.hold(tx).await?,
        }
        table.check_columns(tx, &taken.table()).await?;
        taken.check_content(tx).await?;
        match self.item.strategy {
            Strategy::Differential => self.exchange_rows(tx, mark, &table, &taken).await,
            Strategy::Swap => {
                exchange_table(tx, mark, &table, &taken, self.item.lock_timeout.0).await
            }
        }
    }

    async fn unmake(&self, tx: &Tx<'_>, outcome: &Outcome) -> Result<(), ActionError> {
        let Some(swapped) = outcome.more.get("swapped") else { return Ok(()) };
        let swapped: Swapped = serde_json::from_value(swapped.clone())
            .map_err(|error| conflict("read what was swapped").caused_by(&error))?;
        swapped.put_back(tx, self.item.lock_timeout.0).await
    }
}
