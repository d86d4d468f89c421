//! `postgres.run`: statements in one transaction, which can be taken back.
//!
//! What a statement replaces is found by comparison, so that it works for every text: the tables in `changes` are copied before,
//! in the same `REPEATABLE READ` transaction, and compared after. The server's counters and locks then tell whether another table was changed.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::IsolationLevel;

use super::change::{Change, Once, Outcome};
use super::errors::conflict;
use super::kept::{CHANGED, Counts, Kept};
use super::ledger::Mark;
use super::name::TableName;
use super::parameter::{Parameter, bound};
use super::scope::Scope;
use super::session::{Patience, Tx};
use super::statement::{self, Statement};
use super::table::Table;
use super::touched::Touched;
use crate::action::{
    ActionError, Description, ErrorKind, Evidence, ResolveContext, Reversal, VerbArgs, VerbKind,
    Work,
};
use crate::value::Lasting;

/// A table that the statements change.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "PostgresChanged")]
pub(super) enum Changed {
    /// The whole table may change.
    Table(String),
    /// Only these rows may change.
    Part(Part),
}

/// A part of a table.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PostgresPart")]
pub(super) struct Part {
    /// The table, `table` or `schema.table`.
    table: String,
    /// Only these rows: each column must have this value, a list means any of its values.
    #[serde(default, rename = "where")]
    scope: Scope,
}

impl Changed {
    fn part(&self) -> Part {
        match self {
            Self::Table(table) => Part { table: table.clone(), scope: Scope::default() },
            Self::Part(part) => part.clone(),
        }
    }
}

/// Runs statements in one transaction.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PostgresRun")]
pub(super) struct Run {
    /// The statements, in order.
    #[schemars(length(min = 1))]
    statements: Vec<Statement>,
    /// The tables that the statements change, whole or by `{table, where}`. The rows that are replaced there are kept in the
    /// database, and a change of any other table is refused, also when a trigger or a function makes it. Without it, the step needs
    /// `irreversible: true`.
    #[serde(default)]
    changes: Vec<Changed>,
    /// The longest wait for one lock; `2s` unless given.
    #[serde(default = "two_seconds")]
    lock_timeout: Lasting,
    /// The longest time for one statement; what the step has left unless given.
    #[serde(default)]
    statement_timeout: Option<Lasting>,
}

/// The longest wait for a lock unless a runbook gives another.
pub(super) fn two_seconds() -> Lasting {
    Lasting(Duration::from_secs(2))
}

#[async_trait]
impl VerbArgs for Run {
    const NAME: &'static str = "postgres.run";
    const SUMMARY: &'static str =
        "run SQL statements in one transaction and keep what they replace";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        for statement in &self.statements {
            statement::validate(&statement.sql)?;
        }
        let mut tables = Vec::new();
        for part in self.changes.iter().map(Changed::part) {
            let _name = TableName::parse(&part.table)?;
            part.scope.validate()?;
            if tables.contains(&part.table) {
                return Err(format!("`changes` names {} twice", part.table));
            }
            tables.push(part.table);
        }
        Ok(())
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Once::work(RunStatements { item }, cx))
    }
}

struct RunStatements {
    item: Run,
}

/// A table at work: what it is, which rows may change, and the copy from before.
struct Watched {
    table: Table,
    scope: Scope,
    before: String,
    /// How many rows there were in all, where only a part is copied.
    rows: Option<i64>,
}

#[async_trait]
impl Change for RunStatements {
    fn verb(&self) -> &'static str {
        Run::NAME
    }

    fn describe(&self) -> Description {
        let statements = &self.item.statements;
        let first = statement::brief(&statements[0].sql);
        let apply = match statements.len() {
            1 => format!("run `{first}`"),
            more => format!("run {more} statements in one transaction, first `{first}`"),
        };
        let tables: Vec<String> = self
            .item
            .changes
            .iter()
            .map(|changed| {
                let part = changed.part();
                part.scope.of(&part.table)
            })
            .collect();
        let undo = match tables.as_slice() {
            [] => String::new(),
            tables => format!("put the replaced rows of {} back", tables.join(" and ")),
        };
        Description::new(apply, undo)
    }

    fn reversal(&self) -> Reversal {
        if self.item.changes.is_empty() {
            let reason = "the step does not name the tables that it changes (`changes`)".to_owned();
            return Reversal::Irreversible { reason };
        }
        Reversal::Automatic
    }

    fn patience(&self) -> Patience {
        let statement = self.item.statement_timeout.map(|time| time.0);
        Patience { lock: Some(self.item.lock_timeout.0), statement }
    }

    /// One state of the tables from the first statement to the last: what differs then is ours.
    fn isolation(&self) -> IsolationLevel {
        IsolationLevel::RepeatableRead
    }

    async fn look(&self, tx: &Tx<'_>, _: &Mark) -> Result<Option<Evidence>, ActionError> {
        for part in self.item.changes.iter().map(Changed::part) {
            let _table = Table::read(tx, &named(&part.table)?).await?;
        }
        for statement in &self.item.statements {
            tx.prepare(&format!("read `{}`", statement::brief(&statement.sql)), &statement.sql)
                .await?;
        }
        Ok(None)
    }

    async fn make(&self, tx: &Tx<'_>, mark: &Mark) -> Result<Outcome, ActionError> {
        let mut watched = Vec::new();
        for (index, part) in self.item.changes.iter().map(Changed::part).enumerate() {
            watched.push(copy(tx, index, part).await?);
        }
        let before = Touched::read(tx).await?;
        let mut concerned = Vec::new();
        for statement in &self.item.statements {
            concerned.push(run(tx, statement).await?.to_string());
        }
        tx.settle().await?;
        let touched = Touched::read(tx).await?.since(&before);
        let mut kept = Vec::new();
        let mut told = Vec::new();
        if !watched.is_empty() {
            refuse_others(&watched, &touched)?;
            note_last_write(tx).await?;
        }
        for (index, watched) in watched.iter().enumerate() {
            let found = watched.keep(tx, (mark, index + 1)).await?;
            let counts = found.counts(tx, &watched.table).await?;
            watched.refuse_beyond_scope(tx, counts).await?;
            told.push(format!("{}: {counts}", watched.table.shown));
            kept.push(found);
        }
        let mut summary = format!("rows by statement: {}", concerned.join(", "));
        if !told.is_empty() {
            summary = format!("{summary}; {}", told.join("; "));
        }
        Ok(Outcome { summary, kept, ..Outcome::default() })
    }
}

fn named(table: &str) -> Result<TableName, ActionError> {
    TableName::parse(table).map_err(|problem| ActionError::new(ErrorKind::Invalid, problem))
}

/// Copies the rows that may change.
async fn copy(tx: &Tx<'_>, index: usize, part: Part) -> Result<Watched, ActionError> {
    let table = Table::read(tx, &named(&part.table)?).await?;
    let condition = part.scope.condition("t", &tx.server().secrets);
    let name = format!("rollback_before_{index}");
    let sql = format!(
        "CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS SELECT {} FROM {} AS t WHERE {}",
        table.list("t"),
        table.sql,
        condition.sql
    );
    let doing = format!("copy {} before it changes", part.scope.of(&table.shown));
    let _rows = tx.execute(&doing, &sql, &bound(&condition.parameters)).await?;
    let before = format!("pg_temp.{name}");
    tx.batch(&doing, &format!("ANALYZE {before}")).await?;
    let rows = if part.scope.is_whole() { None } else { Some(number_of_rows(tx, &table).await?) };
    Ok(Watched { table, scope: part.scope, before, rows })
}

async fn number_of_rows(tx: &Tx<'_>, table: &Table) -> Result<i64, ActionError> {
    let doing = format!("count the rows of {}", table.shown);
    Ok(tx.one(&doing, &format!("SELECT count(*) FROM {}", table.sql), &[]).await?.get(0))
}

/// Writes a row in a subtransaction of its own, whose number is the last one of the transaction so far. Functions that handle
/// exceptions write in subtransactions, too.
async fn note_last_write(tx: &Tx<'_>) -> Result<(), ActionError> {
    let sql = "SAVEPOINT rollback_last; CREATE TEMPORARY TABLE rollback_last ON COMMIT DROP AS SELECT 1 AS one; RELEASE rollback_last";
    tx.batch("note which rows are new", sql).await
}

/// Whether a row was written by this transaction or one of its subtransactions: they are numbered from its beginning to the note above.
const NEW: &str =
    "pg_catalog.age(t.xmin) BETWEEN (SELECT pg_catalog.age(xmin) FROM pg_temp.rollback_last)
    AND pg_catalog.age(pg_catalog.pg_current_xact_id()::xid)";

/// Runs one statement and holds it to its bounds.
async fn run(tx: &Tx<'_>, statement: &Statement) -> Result<u64, ActionError> {
    let parameters = Parameter::all(&statement.parameters, &tx.server().secrets);
    let doing = format!("run `{}`", statement::brief(&statement.sql));
    let rows = tx.execute(&doing, &statement.sql, &bound(&parameters)).await?;
    match statement.expect_rows {
        Some(wanted) if !wanted.admits(rows) => Err(conflict(format!(
            "{doing}: it concerned {rows} rows, expected {wanted}; nothing was changed"
        ))),
        _ => Ok(rows),
    }
}

fn refuse_others(watched: &[Watched], touched: &Touched) -> Result<(), ActionError> {
    let known: Vec<u32> = watched.iter().map(|watched| watched.table.oid).collect();
    let whole = touched.others_whole(&known);
    if !whole.is_empty() {
        let whole = whole.join(", ");
        return Err(conflict(format!(
            "keep what was replaced: {whole} would be emptied or altered by a trigger or a function, which has locked it as TRUNCATE does; nothing was changed"
        ))
        .hint(format!(
            "Add {whole} to `changes` if only its rows change: they are copied before, and come back. Otherwise run the statements without `changes` and with `irreversible: true`."
        )));
    }
    let others = touched.others(&known);
    if others.is_empty() {
        return Ok(());
    }
    let others = others.join(", ");
    Err(conflict(format!(
        "keep what was replaced: {others} would change, too, by a statement, a trigger or a foreign key; nothing was changed"
    ))
    .hint(format!("Add {others} to `changes`.")))
}

impl Watched {
    /// Keeps the rows that differ from the copy.
    async fn keep(&self, tx: &Tx<'_>, number: (&Mark, usize)) -> Result<Kept, ActionError> {
        let (table, before) = (&self.table, &self.before);
        // Beyond the scope there is no copy to compare with.
        let new = if self.scope.is_whole() { "TRUE" } else { NEW };
        let sql = format!(
            "CREATE TEMPORARY TABLE rollback_changed ON COMMIT DROP AS
             SELECT {key} FROM {t} AS t FULL JOIN {before} AS b ON {same}
             WHERE {t_absent} OR (NOT {b_absent} AND {differ}) OR ({b_absent} AND {new})",
            key = table.key_of_either("t", "b"),
            t = table.sql,
            same = table.same("t", "b"),
            t_absent = table.absent("t"),
            b_absent = table.absent("b"),
            differ = table.differ("t", "b"),
        );
        let doing = format!("find what changed in {}", table.shown);
        tx.batch(&doing, &format!("{sql}; ANALYZE {CHANGED}")).await?;
        Kept::keep(tx, table, number, (before, &table.sql)).await
    }

    /// Refuses writes beyond the scope. A row that changes there looks like a new one, a row that goes there is not missed: so the number
    /// of rows has to agree with what was seen.
    async fn refuse_beyond_scope(&self, tx: &Tx<'_>, seen: Counts) -> Result<(), ActionError> {
        let Some(before) = self.rows else { return Ok(()) };
        let after = number_of_rows(tx, &self.table).await?;
        if i128::from(seen.added) - i128::from(seen.removed) == i128::from(after - before) {
            return Ok(());
        }
        let table = &self.table.shown;
        Err(conflict(format!(
            "keep what was replaced: rows of {table} beyond `where` would change, too; nothing was changed"
        ))
        .hint(format!("Widen `where` under `changes`, or name {table} without one.")))
    }
}
