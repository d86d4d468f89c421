//! `postgres.promote`: what a program has put into a shadow takes the place of a table's rows, in one transaction.
//!
//! For all rows the tables are exchanged, as `postgres.restore` does with `strategy: swap`. For a part of them the rows that differ are
//! written under `SHARE ROW EXCLUSIVE`, and everything beyond that part stays. Readers see the former rows until the commit, and then
//! the new ones.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::belongings::Belongings;
use super::change::{Change, Once, Outcome};
use super::errors::conflict;
use super::exchange::{Exchange, exchange};
use super::kept::{Kept, Triggers, find_differing};
use super::ledger::Mark;
use super::name::{TableName, ours};
use super::parameter::bound;
use super::run::two_seconds;
use super::scope::Scope;
use super::session::{Patience, Tx};
use super::shadow::{foreseen, shadow_of};
use super::snapshots::see_every_row;
use super::swap::{Swapped, promote};
use super::table::Table;
use crate::action::{
    ActionError, Description, ErrorKind, Evidence, ResolveContext, VerbArgs, VerbKind, Work,
};
use crate::value::{Bounds, Count, Lasting};

/// Puts the rows of a shadow in the place of a table's.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PostgresPromote")]
pub(super) struct Promote {
    /// The table, `table` or `schema.table`. Its shadow is the one that `postgres.shadow` has made in this run; it is gone afterwards.
    table: String,
    /// Only these rows are replaced: each column must have this value, a list means any of its values. The shadow must hold no others.
    #[serde(default, rename = "where")]
    scope: Scope,
    /// How many rows the shadow must have; at least one unless given.
    #[serde(default = "at_least_one")]
    expect_rows: Count,
    /// What the table's own triggers do when only a part of the rows is replaced: `fire`, or `skip` (the role must own the table).
    #[serde(default)]
    triggers: Triggers,
    /// The longest wait for one lock; `2s` unless given. Whole tables are exchanged in tries of 400 ms at most.
    #[serde(default = "two_seconds")]
    lock_timeout: Lasting,
}

fn at_least_one() -> Count {
    Count::Between(Bounds { at_least: Some(1), at_most: None })
}

#[async_trait]
impl VerbArgs for Promote {
    const NAME: &'static str = "postgres.promote";
    const SUMMARY: &'static str = "put the rows of a shadow in the place of a table's, at once";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(300);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        let _name = TableName::parse(&self.table)?;
        self.scope.validate()
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        let source = TableName::parse(&item.table)
            .map_err(|problem| ActionError::new(ErrorKind::Invalid, problem))?;
        Ok(Once::work(PromoteShadow { item, source }, cx))
    }
}

struct PromoteShadow {
    item: Promote,
    source: TableName,
}

/// A shadow that is there and holds still.
struct Filled {
    name: String,
    sql: String,
    rows: u64,
}

impl PromoteShadow {
    /// Finds the shadow and locks it against whoever still writes to it.
    async fn shadow(&self, tx: &Tx<'_>, table: &Table, run: &str) -> Result<Filled, ActionError> {
        let (name, sql) = self.find(tx, table, run).await?;
        let doing = format!("lock the shadow of {}", table.shown);
        tx.batch(&doing, &format!("LOCK TABLE {sql} IN SHARE ROW EXCLUSIVE MODE")).await?;
        table.check_columns(tx, &sql).await?;
        let rows = tx.one(&doing, &format!("SELECT count(*) FROM {sql}"), &[]).await?;
        let rows = u64::try_from(rows.get::<_, i64>(0)).unwrap_or_default();
        if !self.item.expect_rows.admits(rows) {
            return Err(conflict(format!(
                "promote {}.{name}: it has {rows} rows, expected {}; nothing was changed",
                table.schema, self.item.expect_rows
            )));
        }
        Ok(Filled { name, sql, rows })
    }

    async fn find(
        &self,
        tx: &Tx<'_>,
        table: &Table,
        run: &str,
    ) -> Result<(String, String), ActionError> {
        let (name, sql) = shadow_of(table, run)?;
        let there = "SELECT pg_catalog.to_regclass($1) IS NOT NULL";
        if tx.one("look for the shadow", there, &[&sql]).await?.get(0) {
            return Ok((name, sql));
        }
        let text = format!("find the shadow {}.{name}", table.schema);
        Err(ActionError::new(ErrorKind::NotFound, text)
            .hint("`postgres.shadow` makes it, in a step before this one."))
    }

    /// All rows: the table is exchanged.
    async fn whole(&self, tx: &Tx<'_>, mark: &Mark, table: &Table) -> Result<Outcome, ActionError> {
        table.hold(tx).await?;
        let shadow = self.shadow(tx, table, &mark.run).await?;
        let twin =
            TableName::parse(&format!("{}.{}", table.schema, shadow.name)).map_err(conflict)?;
        let twin = Table::read(tx, &twin).await?;
        if Belongings::own(tx, table).await? != Belongings::own(tx, &twin).await? {
            return Err(conflict(format!(
                "promote {}: owner, grants, policies or settings of {} have been changed since it was made",
                twin.shown, table.shown
            ))
            .hint("Make and fill the shadow again."));
        }
        let swapped = promote(tx, table, &shadow.name, mark, self.item.lock_timeout.0).await?;
        let summary = format!(
            "{} has the {} rows of its shadow; the former table is {}",
            table.shown,
            shadow.rows,
            ours(&swapped.parked)
        );
        Ok(Outcome { summary, more: json!({ "swapped": swapped }), ..Outcome::default() })
    }

    /// A part of the rows: those that differ are written.
    async fn part(&self, tx: &Tx<'_>, mark: &Mark, table: &Table) -> Result<Outcome, ActionError> {
        table.lock(tx).await?;
        let shadow = self.shadow(tx, table, &mark.run).await?;
        self.refuse_others(tx, table, &shadow).await?;
        let with = (&*shadow.sql, &*format!("its shadow {}", shadow.name));
        find_differing(tx, table, with, &self.item.scope).await?;
        let found = Kept::keep(tx, table, (mark, 1), (&table.sql, &shadow.sql)).await?;
        let kept = Kept { triggers: self.item.triggers, ..found };
        let counts = kept.counts(tx, table).await?;
        let (from, to) = (ours(&kept.was), ours(&kept.now));
        exchange(tx, &[Exchange { table, from, to, triggers: kept.triggers }]).await?;
        tx.batch("remove the shadow", &format!("DROP TABLE {}", shadow.sql)).await?;
        let what = self.item.scope.of(&table.shown);
        let summary = format!("{what} has the {} rows of its shadow: {counts}", shadow.rows);
        Ok(Outcome { summary, kept: vec![kept], more: json!({ "counts": counts }) })
    }

    /// Refuses rows in the shadow that are beyond the part, or have the key of a row that is.
    async fn refuse_others(
        &self,
        tx: &Tx<'_>,
        table: &Table,
        shadow: &Filled,
    ) -> Result<(), ActionError> {
        let doing = format!("promote {}.{}", table.schema, shadow.name);
        let condition = self.item.scope.condition("s", &tx.server().secrets);
        let sql = format!(
            "SELECT count(*) FROM {} AS s WHERE ({}) IS NOT TRUE",
            shadow.sql, condition.sql
        );
        let strange = tx.one(&doing, &sql, &bound(&condition.parameters)).await?;
        if let strange @ 1.. = strange.get::<_, i64>(0) {
            let text =
                format!("{doing}: {strange} of its rows are beyond `where`; nothing was changed");
            return Err(conflict(text).hint("Whoever fills it writes rows of another part, too."));
        }
        let condition = self.item.scope.condition("t", &tx.server().secrets);
        let sql = format!(
            "SELECT count(*) FROM {} AS s JOIN {} AS t ON {} WHERE ({}) IS NOT TRUE",
            shadow.sql,
            table.sql,
            table.same("s", "t"),
            condition.sql
        );
        let taken = tx.one(&doing, &sql, &bound(&condition.parameters)).await?;
        match taken.get::<_, i64>(0) {
            0 => Ok(()),
            taken => Err(conflict(format!(
                "{doing}: {taken} of its rows have the key of a row beyond `where`; nothing was changed"
            ))
            .hint("Let the column's default give the keys: it takes them from the table's own sequence.")),
        }
    }
}

#[async_trait]
impl Change for PromoteShadow {
    fn verb(&self) -> &'static str {
        Promote::NAME
    }

    fn describe(&self) -> Description {
        let what = self.item.scope.of(&self.item.table);
        Description::new(
            format!("put the rows of this run's shadow in the place of {what}"),
            format!("put the former rows of {what} back"),
        )
    }

    fn patience(&self) -> Patience {
        Patience { lock: Some(self.item.lock_timeout.0), statement: None }
    }

    fn needs(&self) -> Option<String> {
        Some(foreseen(&self.source))
    }

    async fn look(&self, tx: &Tx<'_>, mark: &Mark) -> Result<Option<Evidence>, ActionError> {
        let table = Table::read(tx, &self.source).await?;
        self.find(tx, &table, &mark.run).await.map(|_| None)
    }

    async fn make(&self, tx: &Tx<'_>, mark: &Mark) -> Result<Outcome, ActionError> {
        let table = Table::read(tx, &self.source).await?;
        see_every_row(tx).await?;
        if self.item.scope.is_whole() {
            self.whole(tx, mark, &table).await
        } else {
            self.part(tx, mark, &table).await
        }
    }

    async fn unmake(&self, tx: &Tx<'_>, outcome: &Outcome) -> Result<(), ActionError> {
        let Some(swapped) = outcome.more.get("swapped") else { return Ok(()) };
        let swapped: Swapped = serde_json::from_value(swapped.clone())
            .map_err(|error| conflict("read what was swapped").caused_by(&error))?;
        swapped.put_back(tx, self.item.lock_timeout.0).await
    }
}
