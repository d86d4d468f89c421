//! The shape that all changes share: one transaction that marks itself, happens once, and can be taken back.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_postgres::IsolationLevel;

use super::errors::conflict;
use super::kept::{Counts, Kept};
use super::ledger::{self, Mark};
use super::server::Server;
use super::session::{Limits, Patience, Session, Tx};
use crate::action::{
    ActionError, Connections, ErrorKind, Evidence, Readiness, Saved, StepContext, Verdict,
};

/// What a change amounted to: the facts of its evidence, the same in the ledger and in the journal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// One line for people.
    pub(super) summary: String,
    /// The rows that it replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) kept: Vec<Kept>,
    /// More that a verb wants to know when it is taken back.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(super) more: Value,
}

impl Outcome {
    fn read(facts: &Value) -> Result<Self, ActionError> {
        serde_json::from_value(facts.clone()).map_err(|error| {
            ActionError::new(ErrorKind::Invalid, "read what the ledger says").caused_by(&error)
        })
    }

    fn evidence(&self) -> Evidence {
        Evidence::with(self.summary.clone(), json!(self))
    }
}

/// What a verb does within the transaction.
#[async_trait]
pub(super) trait Change: Send + Sync {
    /// The verb.
    fn verb(&self) -> &'static str;

    /// How long the server may wait.
    fn patience(&self) -> Patience;

    /// What the transaction sees of others.
    fn isolation(&self) -> IsolationLevel {
        IsolationLevel::ReadCommitted
    }

    /// Looks, read only, whether it can work; evidence when there is nothing to do.
    async fn look(&self, tx: &Tx<'_>) -> Result<Option<Evidence>, ActionError>;

    /// Makes the change. An error takes everything back.
    async fn make(&self, tx: &Tx<'_>, mark: &Mark) -> Result<Outcome, ActionError>;

    /// Takes back what is not in `kept`.
    async fn unmake(&self, _tx: &Tx<'_>, _outcome: &Outcome) -> Result<(), ActionError> {
        Ok(())
    }
}

/// `Action::inspect`: the mark decides, then the change's own look.
pub(super) async fn inspect(
    connections: &Connections,
    cx: &StepContext,
    change: &dyn Change,
) -> Result<Readiness, ActionError> {
    let server = Server::of(connections)?;
    let mut session = Session::open(&server, &cx.into(), cx.run()).await?;
    let tx = session.look(change.patience()).await?;
    let mark = Mark::of(cx);
    if let Some(facts) = mark.facts(&tx).await? {
        return Ok(Readiness::AlreadyDone { evidence: Outcome::read(&facts)?.evidence() });
    }
    Ok(match change.look(&tx).await? {
        Some(evidence) => Readiness::AlreadyDone { evidence },
        None => Readiness::needed(Saved::public(json!({ "mark": mark }))),
    })
}

/// `Action::apply`: once, whatever happened to earlier attempts.
pub(super) async fn apply(
    connections: &Connections,
    cx: &StepContext,
    change: &dyn Change,
) -> Result<Evidence, ActionError> {
    let server = Server::of(connections)?;
    let mut session = Session::open(&server, &cx.into(), cx.run()).await?;
    ledger::prepare(&mut session, change.patience()).await?;
    let mark = Mark::of(cx);
    let tx = session.change(change.patience(), change.isolation()).await?;
    if !mark.set(&tx, change.verb()).await? {
        drop(tx);
        let tx = session.look(change.patience()).await?;
        // Between the two looks it can only have been undone, by another process.
        let facts =
            mark.facts(&tx).await?.ok_or_else(|| conflict("find the change that was marked"))?;
        return Ok(Outcome::read(&facts)?.evidence());
    }
    let outcome = change.make(&tx, &mark).await?;
    mark.fill(&tx, &json!(outcome)).await?;
    tx.commit(&format!("commit `{}`", change.verb())).await?;
    Ok(outcome.evidence())
}

/// `Action::verify`: whether the change is committed.
pub(super) async fn verify(
    connections: &Connections,
    cx: &StepContext,
    change: &dyn Change,
    applied: &Evidence,
) -> Result<Verdict, ActionError> {
    let server = Server::of(connections)?;
    let mut session = Session::open(&server, &cx.into(), cx.run()).await?;
    let tx = session.look(change.patience()).await?;
    Ok(match Mark::of(cx).facts(&tx).await? {
        Some(_) => Verdict::Holds { evidence: applied.clone() },
        None => Verdict::not_yet(format!("the ledger does not know `{}`", change.verb())),
    })
}

/// `Action::undo`: puts the former rows back in one transaction; nothing to do when the mark is not there.
pub(super) async fn undo(
    connections: &Connections,
    cx: &StepContext,
    change: &dyn Change,
    (saved, applied): (&Saved, Option<&Evidence>),
) -> Result<(), ActionError> {
    let server = Server::of(connections)?;
    let limits = Limits::from(cx);
    let mark = Mark::saved(saved)?;
    let mut session = Session::open(&server, &limits, cx.run()).await?;
    let tx = session.change(change.patience(), IsolationLevel::ReadCommitted).await?;
    let Some(facts) = mark.claim(&tx).await? else { return Ok(()) };
    let outcome = Outcome::read(&facts)?;
    if applied.is_some_and(|applied| applied.facts != facts) {
        return Err(conflict(
            "take the change back: the ledger and the journal tell different stories",
        ));
    }
    for kept in outcome.kept.iter().rev() {
        let _counts: Counts = kept.put_back(&tx).await?;
    }
    change.unmake(&tx, &outcome).await?;
    for kept in &outcome.kept {
        kept.discard(&tx).await?;
    }
    mark.clear(&tx).await?;
    tx.commit(&format!("commit the undo of `{}`", change.verb())).await
}
