//! What was done, marked in the database itself by the transaction that did it.
//!
//! The mark is what makes a change happen once: it is the first row that the transaction writes, so that an attempt meets its
//! predecessor there, whether that one has committed, is committing, or never will.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::name::SCHEMA;
use super::session::{Patience, Session, Tx};
use crate::action::{ActionError, ErrorKind, Saved, StepContext};

/// The tables of our schema. The advisory lock keeps two first runs from creating them at the same time. `CREATE SCHEMA IF NOT
/// EXISTS` would ask for `CREATE` on the database even where the schema is there, made for a role that may not have that.
fn layout() -> String {
    format!(
        "SELECT pg_advisory_xact_lock(hashtextextended('{SCHEMA}.layout', 0));
        DO $$ BEGIN IF to_regnamespace('{SCHEMA}') IS NULL THEN CREATE SCHEMA {SCHEMA}; END IF; END $$;
        CREATE TABLE IF NOT EXISTS {SCHEMA}.ledger (
            run text NOT NULL, place text NOT NULL, verb text NOT NULL,
            at timestamptz NOT NULL DEFAULT clock_timestamp(), facts jsonb,
            PRIMARY KEY (run, place));
        CREATE TABLE IF NOT EXISTS {SCHEMA}.snapshots (
            name text PRIMARY KEY, source text NOT NULL, scope jsonb NOT NULL, content jsonb NOT NULL,
            run text NOT NULL, place text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())"
    )
}

/// Makes sure that our schema is there. In a transaction of its own, so that nobody waits for it long.
pub(super) async fn prepare(
    session: &mut Session<'_>,
    patience: Patience,
) -> Result<(), ActionError> {
    let tx = session.look(patience).await?;
    let there = exists(&tx).await?;
    drop(tx);
    if there {
        return Ok(());
    }
    let doing = format!("create the schema `{SCHEMA}`");
    let tx = session.change(patience, tokio_postgres::IsolationLevel::ReadCommitted).await?;
    tx.batch(&doing, &layout()).await.map_err(|error| match error.kind {
        ErrorKind::Denied => error.hint(format!(
            "Let a role that may do so type `CREATE SCHEMA {SCHEMA} AUTHORIZATION` with this role's name."
        )),
        _ => error,
    })?;
    // Whether it is there is looked up anew by the next attempt, so nothing is in doubt.
    tx.commit(&doing).await.map_err(|error| ActionError {
        kind: ErrorKind::Failed,
        retryable: true,
        ..error
    })
}

/// Whether our tables are there.
pub(super) async fn exists(tx: &Tx<'_>) -> Result<bool, ActionError> {
    let sql = format!(
        "SELECT to_regclass('{SCHEMA}.ledger') IS NOT NULL AND to_regclass('{SCHEMA}.snapshots') IS NOT NULL"
    );
    Ok(tx.one("look for the ledger", &sql, &[]).await?.get(0))
}

/// Whose work it is: a run and its step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) run: String,
    pub(super) place: String,
}

impl Mark {
    /// The mark of the step at work.
    pub(super) fn of(cx: &StepContext) -> Self {
        Self { run: cx.run().to_owned(), place: cx.place().to_owned() }
    }

    /// The mark that an earlier look saved.
    pub(super) fn saved(saved: &Saved) -> Result<Self, ActionError> {
        serde_json::from_value(saved.state["mark"].clone()).map_err(|error| {
            ActionError::new(ErrorKind::Invalid, "read the saved mark of a change")
                .caused_by(&error)
        })
    }

    /// What the work amounted to, if it is done.
    pub(super) async fn facts(&self, tx: &Tx<'_>) -> Result<Option<Value>, ActionError> {
        if !exists(tx).await? {
            return Ok(None);
        }
        let sql = format!("SELECT facts::text FROM {SCHEMA}.ledger WHERE run = $1 AND place = $2");
        let row = tx.find("look into the ledger", &sql, &[&self.run, &self.place]).await?;
        row.map(|row| read(row.get(0))).transpose()
    }

    /// The same for whoever takes the work back, and for nobody else meanwhile. An attempt whose commit is still on its way is waited for,
    /// as by another attempt: by trying to set the mark. Without work, that mark must not be committed.
    pub(super) async fn claim(
        &self,
        tx: &Tx<'_>,
        verb: &str,
    ) -> Result<Option<Value>, ActionError> {
        if !exists(tx).await? || self.set(tx, verb).await? {
            return Ok(None);
        }
        let sql = format!(
            "SELECT facts::text FROM {SCHEMA}.ledger WHERE run = $1 AND place = $2 FOR UPDATE"
        );
        let row = tx.find("look into the ledger", &sql, &[&self.run, &self.place]).await?;
        row.map(|row| read(row.get(0))).transpose()
    }

    /// Marks the work as done if this transaction commits; false when it is done already.
    pub(super) async fn set(&self, tx: &Tx<'_>, verb: &str) -> Result<bool, ActionError> {
        let sql = format!(
            "INSERT INTO {SCHEMA}.ledger (run, place, verb) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
        );
        let set = tx.execute("mark the change", &sql, &[&self.run, &self.place, &verb]).await?;
        Ok(set == 1)
    }

    /// Writes down what the work amounted to.
    pub(super) async fn fill(&self, tx: &Tx<'_>, facts: &Value) -> Result<(), ActionError> {
        let sql = format!(
            "UPDATE {SCHEMA}.ledger SET facts = $3::text::jsonb WHERE run = $1 AND place = $2"
        );
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&self.run, &self.place, &facts.to_string()];
        tx.execute("mark the change", &sql, &parameters).await.map(drop)
    }

    /// Takes the mark away: the work is undone.
    pub(super) async fn clear(&self, tx: &Tx<'_>) -> Result<(), ActionError> {
        let sql = format!("DELETE FROM {SCHEMA}.ledger WHERE run = $1 AND place = $2");
        tx.execute("clear the mark of the change", &sql, &[&self.run, &self.place]).await.map(drop)
    }
}

/// JSON as the database returned it.
pub(super) fn read(text: Option<&str>) -> Result<Value, ActionError> {
    serde_json::from_str(text.unwrap_or("null")).map_err(|error| {
        ActionError::new(ErrorKind::Invalid, "read what the ledger says").caused_by(&error)
    })
}
