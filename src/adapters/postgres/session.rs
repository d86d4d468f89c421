//! One connection to the database, and its transactions: each call bound to the step's deadline and cancellation.
//!
//! The server gets the same limits (`lock_timeout`, `statement_timeout`, `idle_in_transaction_session_timeout`, all by `SET
//! LOCAL`), so that nothing of ours holds a lock for longer than the step may live, whatever becomes of this process. Locks that readers
//! wait for are held more shortly ([`super::tries`]).

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use tokio_postgres::{
    CancelToken, Client, Config, IsolationLevel, NoTls, Row, SimpleQueryMessage, Statement,
    Transaction,
};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::sync::CancellationToken;

use super::errors::{self, Translate};
use super::server::Server;
use crate::action::{ActionError, StepContext};

/// How long the request to end a statement may take; nobody waits for it.
const CANCELLING: Duration = Duration::from_secs(2);
/// How much later than we ourselves the server gives an idle transaction up.
const BEYOND: Duration = Duration::from_secs(5);
/// The most that PostgreSQL takes as a time-out: its settings are 32-bit counts of milliseconds.
const LONGEST_MS: u128 = 2_147_483_647;

/// When a call must have ended.
#[derive(Clone)]
pub(in crate::adapters) struct Limits {
    deadline: Instant,
    cancel: CancellationToken,
}

impl Limits {
    /// For looks that no step gives a deadline.
    pub(super) fn lasting(time: Duration) -> Self {
        Self { deadline: Instant::now() + time, cancel: CancellationToken::new() }
    }

    /// The time left, zero when there is none.
    pub(super) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Runs a future within the limits. Only a commit can be cut off in a way that leaves doubt.
    async fn bound<T>(
        &self,
        doing: &str,
        call: impl Future<Output = Result<T, ActionError>>,
    ) -> Result<T, Cut> {
        tokio::select! {
            biased;
            outcome = call => outcome.map_err(Cut::Answered),
            () = self.cancel.cancelled() => Err(Cut::Silent(errors::cancelled(doing))),
            () = tokio::time::sleep_until(self.deadline) => Err(Cut::Silent(errors::late(doing))),
        }
    }
}

impl From<&StepContext> for Limits {
    fn from(cx: &StepContext) -> Self {
        Self { deadline: cx.deadline(), cancel: cx.cancelled().clone() }
    }
}

/// How a call failed.
enum Cut {
    /// The server or the wire said so.
    Answered(ActionError),
    /// Nobody waited for the answer.
    Silent(ActionError),
}

impl From<Cut> for ActionError {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Answered(error) | Cut::Silent(error) => error,
        }
    }
}

/// How long the server may wait for a lock, and work on one statement.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::adapters) struct Patience {
    pub(super) lock: Option<Duration>,
    pub(super) statement: Option<Duration>,
}

/// One connection.
pub(in crate::adapters) struct Session<'a> {
    server: &'a Server,
    client: Client,
    limits: Limits,
}

impl<'a> Session<'a> {
    /// Connects as `rollback RUN`.
    pub(in crate::adapters) async fn open(
        server: &'a Server,
        limits: &Limits,
        run: &str,
    ) -> Result<Self, ActionError> {
        let mut config = server.config.clone();
        config.application_name(format!("rollback {run}"));
        let doing = format!("connect to postgres at {}", server.at);
        let connecting = async {
            connect(&config, server.tls.as_ref()).await.map_err(|error| {
                Translate { doing: &doing, secrets: &server.secrets }.connecting(&error)
            })
        };
        let client = limits.bound(&doing, connecting).await?;
        Ok(Self { server, client, limits: limits.clone() })
    }

    /// The server's version.
    pub(super) async fn version(&self) -> Result<String, ActionError> {
        let doing = "ask postgres for its version";
        let rows = self.call(doing, self.client.query("SHOW server_version", &[])).await?;
        Ok(rows.first().map_or_else(|| "of unknown version".to_owned(), |row| row.get(0)))
    }

    /// Begins a transaction that may change something.
    pub(super) async fn change(
        &mut self,
        patience: Patience,
        isolation: IsolationLevel,
    ) -> Result<Tx<'_>, ActionError> {
        self.begin(patience, isolation, false).await
    }

    /// Begins a transaction that only reads.
    pub(in crate::adapters) async fn look(
        &mut self,
        patience: Patience,
    ) -> Result<Tx<'_>, ActionError> {
        self.begin(patience, IsolationLevel::RepeatableRead, true).await
    }

    async fn begin(
        &mut self,
        patience: Patience,
        isolation: IsolationLevel,
        read_only: bool,
    ) -> Result<Tx<'_>, ActionError> {
        let doing = "begin a transaction";
        let stop = self.client.cancel_token();
        let (server, limits) = (self.server, self.limits.clone());
        let translate = Translate { doing, secrets: &server.secrets };
        let starting =
            self.client.build_transaction().isolation_level(isolation).read_only(read_only).start();
        let starting = async { starting.await.map_err(|error| translate.working(&error)) };
        let inner = limits.bound(doing, starting).await?;
        let tx = Tx { inner, stop, server, limits };
        tx.batch("set the limits of a transaction", &limits_of(patience, tx.limits.remaining()))
            .await?;
        Ok(tx)
    }

    async fn call<T>(
        &self,
        doing: &str,
        call: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, ActionError> {
        let translate = Translate { doing, secrets: &self.server.secrets };
        let call = async { call.await.map_err(|error| translate.working(&error)) };
        Ok(self.limits.bound(doing, call).await?)
    }
}

/// Opens a connection, which works on a task of its own until the client is dropped.
async fn connect(
    config: &Config,
    tls: Option<&MakeRustlsConnect>,
) -> Result<Client, tokio_postgres::Error> {
    // The task's own error is that of every call on the client, where it is told.
    if let Some(tls) = tls {
        let (client, connection) = config.connect(tls.clone()).await?;
        let _detached = tokio::spawn(async move { drop(connection.await) });
        return Ok(client);
    }
    let (client, connection) = config.connect(NoTls).await?;
    let _detached = tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// What a transaction begins with. With `client_connection_check_interval` the server notices within a second that this process is gone,
/// also while a statement is at work; otherwise a killed run would hold its locks until the statement ends. Older servers than
/// PostgreSQL 14 have no such setting, and not every platform takes it; `statement_timeout` holds there as everywhere. All of it ends with the
/// transaction, so that nothing stays at a server that a pool hands on.
fn limits_of(patience: Patience, remaining: Duration) -> String {
    let ms = |time: Duration| time.as_millis().clamp(1, LONGEST_MS);
    let within = |time: Option<Duration>| ms(time.map_or(remaining, |time| time.min(remaining)));
    format!(
        "SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = {};
        SELECT CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 140000 AND pg_catalog.version() ~ 'linux'
            THEN pg_catalog.set_config('client_connection_check_interval', '1000', true) END",
        within(patience.lock),
        within(patience.statement),
        ms(remaining + BEYOND),
    )
}

/// A transaction; dropped without a commit, it changes nothing.
pub(in crate::adapters) struct Tx<'s> {
    inner: Transaction<'s>,
    stop: CancelToken,
    server: &'s Server,
    limits: Limits,
}

impl Tx<'_> {
    /// The secrets, for values that are about to be sent.
    pub(super) fn server(&self) -> &Server {
        self.server
    }

    /// Runs one statement; how many rows it concerned.
    pub(super) async fn execute(
        &self,
        doing: &str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, ActionError> {
        self.call(doing, self.inner.execute(sql, parameters)).await
    }

    /// Runs one statement and returns its rows.
    pub(in crate::adapters) async fn query(
        &self,
        doing: &str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, ActionError> {
        self.call(doing, self.inner.query(sql, parameters)).await
    }

    /// Runs one statement that returns at most one row.
    pub(in crate::adapters) async fn find(
        &self,
        doing: &str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, ActionError> {
        self.call(doing, self.inner.query_opt(sql, parameters)).await
    }

    /// Runs one statement that returns exactly one row.
    pub(in crate::adapters) async fn one(
        &self,
        doing: &str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, ActionError> {
        self.call(doing, self.inner.query_one(sql, parameters)).await
    }

    /// Lets the server read a statement without running it: what it takes and gives.
    pub(super) async fn prepare(&self, doing: &str, sql: &str) -> Result<Statement, ActionError> {
        self.call(doing, self.inner.prepare(sql)).await
    }

    /// Runs statements of our own making, without values.
    pub(super) async fn batch(&self, doing: &str, sql: &str) -> Result<(), ActionError> {
        self.call(doing, self.inner.batch_execute(sql)).await
    }

    /// Runs statements of our own making in one round trip; the rows of each by their last column, as text.
    pub(super) async fn lines(
        &self,
        doing: &str,
        sql: &str,
    ) -> Result<Vec<Vec<String>>, ActionError> {
        let (mut found, mut lines) = (Vec::new(), Vec::new());
        for message in self.call(doing, self.inner.simple_query(sql)).await? {
            match message {
                SimpleQueryMessage::Row(row) => {
                    lines.extend(row.get(row.len() - 1).map(str::to_owned));
                }
                SimpleQueryMessage::CommandComplete(_) => found.push(std::mem::take(&mut lines)),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Lets everything happen that waits for the commit: deferred triggers, and checks of foreign keys.
    pub(super) async fn settle(&self) -> Result<(), ActionError> {
        self.batch("do what waits for the commit", "SET CONSTRAINTS ALL IMMEDIATE").await
    }

    /// The time that is left for the transaction.
    pub(super) fn remaining(&self) -> Duration {
        self.limits.remaining()
    }

    /// Waits between two attempts.
    pub(super) async fn pause(&self, doing: &str, time: Duration) -> Result<(), ActionError> {
        let pausing = async {
            tokio::time::sleep(time).await;
            Ok(())
        };
        Ok(self.limits.bound(doing, pausing).await?)
    }

    /// Commits. When no answer comes, the change may have happened.
    pub(super) async fn commit(self, doing: &str) -> Result<(), ActionError> {
        let Self { inner, server, limits, .. } = self;
        let translate = Translate { doing, secrets: &server.secrets };
        let committing =
            async { inner.commit().await.map_err(|error| translate.committing(&error)) };
        limits.bound(doing, committing).await.map_err(|cut| match cut {
            Cut::Answered(error) => error,
            Cut::Silent(_) => errors::unknown(doing),
        })
    }

    /// Runs a call; when nobody waits for it any longer, the server is told to stop it.
    async fn call<T>(
        &self,
        doing: &str,
        call: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, ActionError> {
        let translate = Translate { doing, secrets: &self.server.secrets };
        let call = async { call.await.map_err(|error| translate.working(&error)) };
        let outcome = self.limits.bound(doing, call).await;
        if let Err(Cut::Silent(_)) = &outcome {
            cancel(self.stop.clone(), self.server.tls.clone());
        }
        Ok(outcome?)
    }
}

/// Asks the server to end what a connection works on. Without it, the statement would go on until its own time-out.
fn cancel(stop: CancelToken, tls: Option<MakeRustlsConnect>) {
    let _detached = tokio::spawn(tokio::time::timeout(CANCELLING, async move {
        // Best effort: the server's own limits end the statement as well.
        drop(match tls {
            Some(tls) => stop.cancel_query(tls).await,
            None => stop.cancel_query(NoTls).await,
        });
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_never_waits_longer_than_the_step_lives() {
        let patience = Patience {
            lock: Some(Duration::from_secs(2)),
            statement: Some(Duration::from_secs(600)),
        };
        let sql = limits_of(patience, Duration::from_secs(30));
        assert!(sql.contains("lock_timeout = 2000;"), "{sql}");
        assert!(sql.contains("statement_timeout = 30000;"), "{sql}");
        assert!(sql.contains("idle_in_transaction_session_timeout = 35000;"), "{sql}");
        // Zero would switch a limit off.
        let sql = limits_of(Patience::default(), Duration::ZERO);
        assert!(sql.contains("lock_timeout = 1;"), "{sql}");
    }
}
