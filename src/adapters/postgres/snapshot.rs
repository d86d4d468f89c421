//! `postgres.snapshot`: the rows of a table, or a part of it, set aside in the same database.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::change::{Change, Once, Outcome};
use super::errors::conflict;
use super::fingerprint::{Fingerprint, Rows};
use super::ledger::Mark;
use super::name::{TableName, of_run, ours};
use super::parameter::bound;
use super::run::two_seconds;
use super::scope::Scope;
use super::session::{Patience, Tx};
use super::snapshots::{Taken, check_name, foreseen, see_every_row};
use super::table::Table;
use crate::action::{
    ActionError, Description, ErrorKind, Evidence, ResolveContext, VerbArgs, VerbKind, Work,
};
use crate::value::{Bounds, Count, Lasting};

/// Sets rows of a table aside.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PostgresSnapshot")]
pub(super) struct Snapshot {
    /// The table, `table` or `schema.table`.
    table: String,
    /// Only these rows: each column must have this value, a list means any of its values.
    #[serde(default, rename = "where")]
    scope: Scope,
    /// The snapshot's name, in lower-case letters, digits, `-` and `_`; the run and the step unless given.
    #[serde(default)]
    name: Option<String>,
    /// How many rows there must be; at least one unless given.
    #[serde(default = "at_least_one")]
    expect_rows: Count,
    /// The longest wait for one lock; `2s` unless given.
    #[serde(default = "two_seconds")]
    lock_timeout: Lasting,
}

fn at_least_one() -> Count {
    Count::Between(Bounds { at_least: Some(1), at_most: None })
}

#[async_trait]
impl VerbArgs for Snapshot {
    const NAME: &'static str = "postgres.snapshot";
    const SUMMARY: &'static str = "set the rows of a table aside, with their count and hash";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(300);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        let _name = TableName::parse(&self.table)?;
        self.scope.validate()?;
        self.name.as_deref().map_or(Ok(()), check_name)
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        let source = TableName::parse(&item.table)
            .map_err(|problem| ActionError::new(ErrorKind::Invalid, problem))?;
        Ok(Once::work(TakeSnapshot { item, source }, cx))
    }
}

struct TakeSnapshot {
    item: Snapshot,
    source: TableName,
}

impl TakeSnapshot {
    /// Whether the rows of the table are those of a snapshot that is there already.
    async fn same_as(&self, tx: &Tx<'_>, taken: &Taken) -> Result<bool, ActionError> {
        let table = Table::read(tx, &self.source).await?;
        if taken.source.as_str() != table.shown || taken.scope != self.item.scope {
            return Ok(false);
        }
        see_every_row(tx).await?;
        let condition = self.item.scope.condition("t", &tx.server().secrets);
        let list = table.list("t");
        let from = format!("(SELECT {list} FROM {} AS t WHERE {})", table.sql, condition.sql);
        let parameters = bound(&condition.parameters);
        let rows = Rows { from: &from, parameters: &parameters, shown: &table.shown };
        Ok(taken.content.holds(tx, rows).await?
            && taken.content.holds(tx, Rows::all(&taken.table())).await?)
    }
}

#[async_trait]
impl Change for TakeSnapshot {
    fn verb(&self) -> &'static str {
        Snapshot::NAME
    }

    fn describe(&self) -> Description {
        let what = self.item.scope.of(&self.item.table);
        let name = self.item.name.as_deref().unwrap_or("a snapshot of this run");
        Description::new(format!("copy {what} to {name}"), format!("remove {name}"))
    }

    fn patience(&self) -> Patience {
        Patience { lock: Some(self.item.lock_timeout.0), statement: None }
    }

    async fn look(&self, tx: &Tx<'_>, _: &Mark) -> Result<Option<Evidence>, ActionError> {
        let _table = Table::read(tx, &self.source).await?;
        let Some(name) = &self.item.name else { return Ok(None) };
        let Some(taken) = Taken::find(tx, name).await? else { return Ok(None) };
        if self.same_as(tx, &taken).await? {
            let summary =
                format!("`{name}` of run {} has the same {} rows", taken.run, taken.content.rows);
            return Ok(Some(Evidence::with(summary, json!({ "content": taken.content }))));
        }
        let text = format!(
            "take the snapshot `{name}`: it exists, by run {}, with other rows of {}",
            taken.run,
            taken.source.as_str()
        );
        Err(conflict(text).hint(format!(
            "Choose another name, or remove it: `DROP TABLE {}; DELETE FROM rollback.snapshots WHERE name = '{name}'`.",
            ours(name)
        )))
    }

    fn makes(&self) -> Option<String> {
        self.item.name.as_deref().map(foreseen)
    }

    async fn make(&self, tx: &Tx<'_>, mark: &Mark) -> Result<Outcome, ActionError> {
        let table = Table::read(tx, &self.source).await?;
        see_every_row(tx).await?;
        let name = self.item.name.clone();
        let name = name.unwrap_or_else(|| of_run(&mark.run, &mark.place, "snapshot"));
        let copy = ours(&name);
        let condition = self.item.scope.condition("t", &tx.server().secrets);
        let sql = format!(
            "CREATE TABLE {copy} AS SELECT {} FROM {} AS t WHERE {}",
            table.list("t"),
            table.sql,
            condition.sql
        );
        let doing = format!("copy {}", self.item.scope.of(&table.shown));
        let _rows = tx.execute(&doing, &sql, &bound(&condition.parameters)).await?;
        table.make_joinable(tx, &copy).await?;
        let content = Fingerprint::of(tx, Rows::all(&copy)).await?;
        let rows = u64::try_from(content.rows).unwrap_or_default();
        if !self.item.expect_rows.admits(rows) {
            let wanted = self.item.expect_rows;
            return Err(conflict(format!("{doing}: there are {rows} rows, expected {wanted}")));
        }
        let source = TableName::parse(&table.shown).map_err(conflict)?;
        let scope = self.item.scope.clone();
        let run = mark.run.clone();
        let taken = Taken { name: name.clone(), source, scope, content, run };
        taken.record(tx, mark).await?;
        let summary = format!("{rows} rows of {} are in {copy}", table.shown);
        let more = json!({ "name": name, "content": taken.content });
        Ok(Outcome { summary, more, ..Outcome::default() })
    }

    async fn unmake(&self, tx: &Tx<'_>, outcome: &Outcome) -> Result<(), ActionError> {
        match outcome.more["name"].as_str() {
            Some(name) => Taken::remove(tx, name).await,
            None => Err(conflict("find the name of the snapshot in the ledger")),
        }
    }
}
