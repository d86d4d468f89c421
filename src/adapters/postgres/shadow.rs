//! `postgres.shadow`: an empty table like another one, for a program to fill before its rows take the other's place.
//!
//! It is called by table and run, so that a runbook can tell its name to that program. Nobody sees more of it than of the table: it
//! has the same row security, policies and grants.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::belongings::{Belongings, at, strangers};
use super::change::{Change, Once, Outcome};
use super::errors::conflict;
use super::ledger::Mark;
use super::name::{TableName, literal, quoted, shadow_name};
use super::run::two_seconds;
use super::scope::Scope;
use super::session::{Patience, Tx};
use super::table::Table;
use crate::action::{
    ActionError, Description, ErrorKind, Evidence, ResolveContext, VerbArgs, VerbKind, Work,
};
use crate::value::Lasting;

/// Makes an empty table like another one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PostgresShadow")]
pub(super) struct Shadow {
    /// The table, `table` or `schema.table`. The shadow is in the same schema, and called `TABLE_RUN`: `{{ run.id }}` is the second part.
    table: String,
    /// The rows that it is for, as `postgres.promote` says them: each column must have this value, a list means any of its values. Without it, for all.
    #[serde(default, rename = "where")]
    scope: Scope,
    /// The longest wait for one lock; `2s` unless given.
    #[serde(default = "two_seconds")]
    lock_timeout: Lasting,
}

/// The shadow of a table, as later steps of a plan know it.
pub(super) fn foreseen(table: &TableName) -> String {
    format!("postgres:shadow/{}", table.as_str())
}

/// The shadow of a table in this run, whether or not it is there: its name, and the same with its schema, quoted.
pub(super) fn shadow_of(table: &Table, run: &str) -> Result<(String, String), ActionError> {
    let name = shadow_name(&table.name, run).map_err(|problem| {
        ActionError::new(ErrorKind::Invalid, problem).hint("Give the table a shorter name.")
    })?;
    let sql = format!("{}.{}", quoted(&table.schema), quoted(&name));
    Ok((name, sql))
}

#[async_trait]
impl VerbArgs for Shadow {
    const NAME: &'static str = "postgres.shadow";
    const SUMMARY: &'static str = "make an empty table like another one, to be filled and promoted";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(30);
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
        Ok(Once::work(MakeShadow { item, source }, cx))
    }
}

struct MakeShadow {
    item: Shadow,
    source: TableName,
}

#[async_trait]
impl Change for MakeShadow {
    fn verb(&self) -> &'static str {
        Shadow::NAME
    }

    fn describe(&self) -> Description {
        let what = self.item.scope.of(&self.item.table);
        let apply = format!("make an empty shadow of {what}, called by this run");
        Description::new(apply, "remove the shadow and what is in it")
    }

    fn patience(&self) -> Patience {
        Patience { lock: Some(self.item.lock_timeout.0), statement: None }
    }

    fn makes(&self) -> Option<String> {
        Some(foreseen(&self.source))
    }

    async fn look(&self, tx: &Tx<'_>, mark: &Mark) -> Result<Option<Evidence>, ActionError> {
        let table = Table::read(tx, &self.source).await?;
        shadow_of(&table, &mark.run).map(|_| None)
    }

    async fn make(&self, tx: &Tx<'_>, mark: &Mark) -> Result<Outcome, ActionError> {
        let table = Table::read(tx, &self.source).await?;
        let (name, shadow) = shadow_of(&table, &mark.run)?;
        let doing = format!("make a shadow of {}", table.shown);
        let whole = self.item.scope.is_whole();
        // What stands in the way of an exchange later is better known before the hour that filling may take.
        let own = if whole {
            Belongings::of(tx, &table).await?.at_twin
        } else {
            Belongings::own(tx, &table).await?
        };
        let create = format!("CREATE TABLE {shadow} (LIKE {} INCLUDING ALL)", table.sql);
        tx.batch(&doing, &create).await?;
        // The owner of rows that only move stays who it is; another table's would have to be given away.
        let own = own.into_iter().filter(|statement| whole || !statement.contains("OWNER TO"));
        for statement in strangers(tx, &shadow).await?.into_iter().chain(own) {
            tx.batch(&doing, &at(&statement, &shadow)).await?;
        }
        number(tx, &table, &shadow, whole).await?;
        let comment = literal(&format!("rollback {}: shadow of {}", mark.run, table.shown));
        tx.batch(&doing, &format!("COMMENT ON TABLE {shadow} IS {comment}")).await?;
        let summary = format!("{}.{name} is there, and empty", table.schema);
        let more = json!({ "schema": table.schema, "shadow": name });
        Ok(Outcome { summary, more, ..Outcome::default() })
    }

    async fn unmake(&self, tx: &Tx<'_>, outcome: &Outcome) -> Result<(), ActionError> {
        let (Some(schema), Some(name)) =
            (outcome.more["schema"].as_str(), outcome.more["shadow"].as_str())
        else {
            return Err(conflict("find the name of the shadow in the ledger"));
        };
        // Promoted, it is gone already.
        let sql = format!("DROP TABLE IF EXISTS {}.{}", quoted(schema), quoted(name));
        tx.batch(&format!("remove the shadow {schema}.{name}"), &sql).await
    }
}

/// Identity columns of a table, with their sequences.
const IDENTITIES: &str = "SELECT attname::text, pg_get_serial_sequence($1::oid::regclass::text, attname)
    FROM pg_catalog.pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attidentity <> ''";

/// Lets identity columns of a shadow go on where the table's stand. A part of the rows takes its numbers from the table itself, so that they
/// are free there.
async fn number(tx: &Tx<'_>, table: &Table, shadow: &str, whole: bool) -> Result<(), ActionError> {
    let doing = format!("number the shadow of {}", table.shown);
    for row in tx.query(&doing, IDENTITIES, &[&table.oid]).await? {
        let (column, sequence): (&str, &str) = (row.get(0), row.get(1));
        let name = quoted(column);
        let sql = if whole {
            let (shadow, column) = (literal(shadow), literal(column));
            format!(
                "SELECT setval(pg_get_serial_sequence({shadow}, {column}), last_value, is_called) FROM {sequence}"
            )
        } else {
            format!(
                "ALTER TABLE {shadow} ALTER COLUMN {name} DROP IDENTITY;
                ALTER TABLE {shadow} ALTER COLUMN {name} SET DEFAULT nextval({}::regclass)",
                literal(sequence)
            )
        };
        tx.batch(&doing, &sql).await?;
    }
    Ok(())
}
