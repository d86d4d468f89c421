//! The shape that all changes share: one transaction that marks itself, happens once, and can be taken back.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_postgres::IsolationLevel;

use super::errors::conflict;
use super::kept::{Kept, put_back};
use super::ledger::{self, Mark};
use super::server::Server;
use super::session::{Patience, Session, Tx};
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Prediction, Readiness,
    Repeat, ResolveContext, Reversal, Saved, StepContext, Verdict, Work,
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

    /// What it does and how it is taken back, for the plan.
    fn describe(&self) -> Description;

    /// Whether it can be taken back.
    fn reversal(&self) -> Reversal {
        Reversal::Automatic
    }

    /// How long the server may wait.
    fn patience(&self) -> Patience;

    /// What the transaction sees of others.
    fn isolation(&self) -> IsolationLevel {
        IsolationLevel::ReadCommitted
    }

    /// Looks, read only, whether it can work; evidence when there is nothing to do.
    async fn look(&self, tx: &Tx<'_>, mark: &Mark) -> Result<Option<Evidence>, ActionError>;

    /// What there will be, as later steps of a plan know it.
    fn makes(&self) -> Option<String> {
        None
    }

    /// What an earlier step of a plan may have to make before a look can find it.
    fn needs(&self) -> Option<String> {
        None
    }

    /// Makes the change. An error takes everything back.
    async fn make(&self, tx: &Tx<'_>, mark: &Mark) -> Result<Outcome, ActionError>;

    /// Takes back what is not in `kept`.
    async fn unmake(&self, _tx: &Tx<'_>, _outcome: &Outcome) -> Result<(), ActionError> {
        Ok(())
    }
}

/// A change as the engine drives it.
pub(super) struct Once<C> {
    pub(super) connections: Arc<Connections>,
    pub(super) change: C,
}

impl<C> Once<C> {
    /// The work of a step that makes this change.
    pub(super) fn work(change: C, cx: &ResolveContext) -> Work
    where
        C: Change + 'static,
    {
        Work::Action(Box::new(Self { connections: cx.connections.clone(), change }))
    }
}

/// Refuses a standby, which answers like any other server until it is told to change something.
async fn take_changes(tx: &Tx<'_>, at: &str) -> Result<(), ActionError> {
    let sql = "SELECT pg_catalog.pg_is_in_recovery()";
    if !tx.one("ask whether postgres is a standby", sql, &[]).await?.get::<_, bool>(0) {
        return Ok(());
    }
    Err(conflict(format!("change postgres at {at}: it is a standby")).hint(
        "Name the primary in `connections: {postgres: …}`; of several hosts in a `url` it is found with `target_session_attrs=read-write`.",
    ))
}

#[async_trait]
impl<C: Change> Action for Once<C> {
    fn describe(&self) -> Description {
        self.change.describe()
    }

    fn repeat(&self) -> Repeat {
        Repeat::AfterInspect
    }

    fn reversal(&self) -> Reversal {
        self.change.reversal()
    }

    /// The mark decides, then the change's own look.
    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError> {
        let server = Server::of(&self.connections)?;
        let mut session = Session::open(&server, &cx.into(), cx.run()).await?;
        let tx = session.look(self.change.patience()).await?;
        let mark = Mark::of(cx);
        if let Some(facts) = mark.facts(&tx).await? {
            return Ok(Readiness::AlreadyDone { evidence: Outcome::read(&facts)?.evidence() });
        }
        take_changes(&tx, &server.at).await?;
        let foreseen = self.change.needs().is_some_and(|needed| cx.predicted(&needed).is_some());
        if !foreseen && let Some(evidence) = self.change.look(&tx, &mark).await? {
            return Ok(Readiness::AlreadyDone { evidence });
        }
        let made = self.change.makes().map(|resource| Prediction { resource, state: true.into() });
        let saved = Saved::public(json!({ "mark": mark }));
        Ok(Readiness::Needed { saved, predicted: made.into_iter().collect() })
    }

    /// Once, whatever happened to earlier attempts.
    async fn apply(&self, cx: &StepContext, _: &Saved) -> Result<Evidence, ActionError> {
        let change = &self.change;
        let server = Server::of(&self.connections)?;
        let mut session = Session::open(&server, &cx.into(), cx.run()).await?;
        ledger::prepare(&mut session, change.patience()).await?;
        let mark = Mark::of(cx);
        let tx = session.change(change.patience(), change.isolation()).await?;
        if !mark.set(&tx, change.verb()).await? {
            drop(tx);
            let tx = session.look(change.patience()).await?;
            // Between the two looks it can only have been undone, by another process.
            let facts = mark.facts(&tx).await?;
            let facts = facts.ok_or_else(|| conflict("find the change that was marked"))?;
            return Ok(Outcome::read(&facts)?.evidence());
        }
        let outcome = change.make(&tx, &mark).await?;
        mark.fill(&tx, &json!(outcome)).await?;
        tx.commit(&format!("commit `{}`", change.verb())).await?;
        Ok(outcome.evidence())
    }

    /// Whether the change is committed.
    async fn verify(&self, cx: &StepContext, applied: &Evidence) -> Result<Verdict, ActionError> {
        let server = Server::of(&self.connections)?;
        let mut session = Session::open(&server, &cx.into(), cx.run()).await?;
        let tx = session.look(self.change.patience()).await?;
        Ok(match Mark::of(cx).facts(&tx).await? {
            Some(_) => Verdict::Holds { evidence: applied.clone() },
            None => Verdict::not_yet(format!("the ledger does not know `{}`", self.change.verb())),
        })
    }

    /// Puts the former rows back in one transaction; nothing is to be done when there is no mark, and none on its way.
    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        applied: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let server = Server::of(&self.connections)?;
        let mark = Mark::saved(saved)?;
        let mut session = Session::open(&server, &cx.into(), cx.run()).await?;
        let tx = session.change(self.change.patience(), IsolationLevel::ReadCommitted).await?;
        let Some(facts) = mark.claim(&tx, self.change.verb()).await? else { return Ok(()) };
        if applied.is_some_and(|applied| applied.facts != facts) {
            let text = "take the change back: the ledger and the journal tell different stories";
            return Err(conflict(text));
        }
        let outcome = Outcome::read(&facts)?;
        put_back(&tx, &outcome.kept).await?;
        self.change.unmake(&tx, &outcome).await?;
        for kept in &outcome.kept {
            kept.discard(&tx).await?;
        }
        mark.clear(&tx).await?;
        tx.commit(&format!("commit the undo of `{}`", self.change.verb())).await
    }
}
