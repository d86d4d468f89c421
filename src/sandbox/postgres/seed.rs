//! The register of agents in the state "deployed-green", and looks at it from the world's own side.
//!
//! The deployment has written version 2.0.0 and "active" over whatever each agent was before, and kept the former rows
//! in a table beside. Those were not all alike: some ran an older version, some were paused on purpose. Whoever sets all
//! of them to one version and one status has not brought them back.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, Config, NoTls};

use super::{front, knowledge};
use crate::sandbox::SandboxError;

/// The only user, which both kinds of server have from the start.
pub(super) const USER: &str = "postgres";
/// The only database beside PostgreSQL's own.
pub(super) const DATABASE: &str = "sutazai";
/// How long a server may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Everything that is not PostgreSQL's own goes, then the register is made anew.
const SCHEMA: &str = "
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    LOOP EXECUTE format('DROP SCHEMA %I CASCADE', name); END LOOP;
END $$;
CREATE SCHEMA public;
CREATE TABLE agents (
    id bigint PRIMARY KEY,
    name text NOT NULL UNIQUE,
    base_version text NOT NULL,
    status text NOT NULL CHECK (status IN ('active', 'paused', 'retired')),
    updated_at timestamptz NOT NULL
);
";

/// `$1` is the number of agents.
const FORMER: &str = "
INSERT INTO agents
SELECT number, 'agent-' || to_char(number, 'FM000'),
    CASE number % 10 WHEN 7 THEN '0.9.4' ELSE '1.0.0' END,
    CASE number % 10 WHEN 3 THEN 'paused' ELSE 'active' END,
    timestamptz '2025-06-02 08:00:00+00' + number * interval '1 hour'
FROM generate_series(1, $1::bigint) AS number";

/// What the deployment did.
const DEPLOYED: &str = "
CREATE TABLE agents_before_deployment (LIKE agents INCLUDING ALL);
INSERT INTO agents_before_deployment SELECT * FROM agents;
UPDATE agents
SET base_version = '2.0.0', status = 'active', updated_at = timestamptz '2025-08-01 10:00:00+00';
ANALYZE;
";

const BY_VERSION: &str = "
SELECT base_version || ' ' || status, count(*) FROM agents GROUP BY 1 ORDER BY 1";

const CHANGED: &str = "
SELECT count(*) FROM agents AS agent FULL JOIN agents_before_deployment AS former USING (id)
WHERE (agent.base_version, agent.status) IS DISTINCT FROM (former.base_version, former.status)";

/// What clients connect with, by the address that they know.
pub fn clients_config(folder: &Path) -> Config {
    let mut config = Config::new();
    config.host_path(folder).port(front::PORT).user(USER).dbname(DATABASE);
    config
}

/// Connects to the server whose socket lies in `folder`.
pub(super) async fn connect(
    folder: &Path,
    database: &str,
) -> Result<Client, tokio_postgres::Error> {
    let mut config = Config::new();
    config.host_path(folder).port(front::INNER_PORT).user(USER).dbname(database);
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to PostgreSQL ended early");
        }
    });
    Ok(client)
}

/// Waits until the server answers at all.
pub(super) async fn answers(folder: &Path) -> Result<(), SandboxError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match connect(folder, "postgres").await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > until => return Err(failed("reach", &error)),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Makes the database if it is not there, and says whether it is new.
pub(super) async fn database(folder: &Path) -> Result<bool, SandboxError> {
    let made = async {
        let client = connect(folder, "postgres").await?;
        let found = "SELECT 1 FROM pg_database WHERE datname = $1";
        if client.query_opt(found, &[&DATABASE]).await?.is_some() {
            return Ok(false);
        }
        client.batch_execute(&format!("CREATE DATABASE {DATABASE}")).await?;
        Ok(true)
    };
    made.await.map_err(|error| failed("make a database in", &error))
}

/// Puts the register into the state "deployed-green"; whoever works with it is cut off.
pub(super) async fn seed(folder: &Path, agents: usize) -> Result<(), SandboxError> {
    let agents = i64::try_from(agents).unwrap_or(i64::MAX);
    let seeded = async {
        let mut client = connect(folder, DATABASE).await?;
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let _cut = client.query(others, &[]).await?;
        let change = client.transaction().await?;
        change.batch_execute(SCHEMA).await?;
        let _rows = change.execute(FORMER, &[&agents]).await?;
        change.batch_execute(DEPLOYED).await?;
        knowledge::seed(&change).await?;
        change.commit().await
    };
    seeded.await.map_err(|error| failed("seed", &error))
}

/// What a look at the tables finds.
pub(super) struct Seen {
    /// The version of the server.
    pub(super) version: String,
    /// How many agents are registered with each version and status.
    pub(super) registered: BTreeMap<String, u64>,
    /// How many are not as they were before the deployment.
    pub(super) unlike: u64,
    /// What each agent knows.
    pub(super) knowledge: BTreeMap<String, String>,
}

/// Looks at all tables.
pub(super) async fn look(folder: &Path) -> Result<Seen, tokio_postgres::Error> {
    let client = connect(folder, DATABASE).await?;
    let count = |found: i64| u64::try_from(found).unwrap_or_default();
    let version: String = client.query_one("SHOW server_version", &[]).await?.try_get(0)?;
    let mut registered = BTreeMap::new();
    for row in client.query(BY_VERSION, &[]).await? {
        let _none = registered.insert(row.try_get(0)?, count(row.try_get(1)?));
    }
    let changed = client.query_one(CHANGED, &[]).await?.try_get(0)?;
    let knowledge = knowledge::look(&client).await?;
    Ok(Seen { version, registered, unlike: count(changed), knowledge })
}

/// An error with what the server said about it.
pub(super) fn failed(doing: &str, error: &tokio_postgres::Error) -> SandboxError {
    let said = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
    SandboxError::Process(format!("{doing} the sandbox's PostgreSQL: {said}"))
}
