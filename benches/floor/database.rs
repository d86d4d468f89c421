//! A table with 384 numbers in each row, on the real PostgreSQL server, in a database of its own; damaged and brought back by
//! plain SQL.

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls};

use super::place::server;
use super::series::timed;

/// The table as people make one for embeddings: `real[]` stands in for a vector.
const TABLE: &str = "CREATE TABLE embeddings (
    id bigserial PRIMARY KEY, agent_domain text NOT NULL, title text NOT NULL, content text NOT NULL,
    embedding real[] NOT NULL, created_at timestamptz NOT NULL DEFAULT now(), UNIQUE (agent_domain, title));
    CREATE INDEX ON embeddings (agent_domain)";

/// Row `i` has numbers of its own, and 383 that it shares, which are quick to make and as long as any.
const ROWS: &str = "INSERT INTO embeddings (agent_domain, title, content, embedding)
    SELECT (ARRAY['orders', 'billing', 'reports', 'devops'])[1 + i % 4], 'doc ' || i, repeat(md5(i::text), 8), ARRAY[i::real] || shared
    FROM generate_series(1, $1::int) AS i, (SELECT array_agg(sin(g)::real) AS shared FROM generate_series(1, 383) AS g) AS numbers";

/// Half a percent of the rows changes, half goes, and half comes.
const DAMAGE: &str =
    "UPDATE embeddings SET content = 'damaged', embedding[3] = 9 WHERE id % 200 = 1;
    DELETE FROM embeddings WHERE id % 200 = 2;
    INSERT INTO embeddings (agent_domain, title, content, embedding)
        SELECT agent_domain, 'new ' || id, content, embedding FROM embeddings WHERE id % 200 = 3";

/// The snapshot that the program takes, and all sides restore from.
pub(crate) const SNAPSHOT: &str = "before";

/// How a person would write the restore.
#[derive(Clone, Copy)]
pub(crate) enum Plain {
    /// Only what differs, as one compares rows: `IS DISTINCT FROM`.
    Differential,
    /// Only what differs, as an expert compares rows: by their bytes.
    Bytes,
    /// Everything, as the document has it.
    Truncate,
}

impl Plain {
    fn sql(self) -> String {
        let from = format!("rollback.\"{SNAPSHOT}\"");
        let differs = match self {
            Self::Differential => "t.* IS DISTINCT FROM s.*",
            Self::Bytes => "t.* *<> s.*",
            Self::Truncate => {
                return format!(
                    "BEGIN; TRUNCATE embeddings; INSERT INTO embeddings SELECT * FROM {from}; COMMIT"
                );
            }
        };
        format!(
            "BEGIN; LOCK TABLE embeddings IN SHARE ROW EXCLUSIVE MODE;
             DELETE FROM embeddings AS t WHERE NOT EXISTS (SELECT FROM {from} AS s WHERE s.id = t.id);
             UPDATE embeddings AS t SET agent_domain = s.agent_domain, title = s.title, content = s.content, embedding = s.embedding,
                 created_at = s.created_at FROM {from} AS s WHERE s.id = t.id AND {differs};
             INSERT INTO embeddings SELECT s.* FROM {from} AS s WHERE NOT EXISTS (SELECT FROM embeddings AS t WHERE t.id = s.id);
             COMMIT"
        )
    }
}

/// The database; dropped with this.
pub(crate) struct Database {
    runtime: Runtime,
    client: Option<Client>,
    admin: String,
    name: String,
}

impl Database {
    /// A database with a table of so many rows.
    pub(crate) fn create(rows: usize) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime can be started");
        let (admin, name) =
            (server("ROLLBACK_TEST_POSTGRES"), format!("rollback_bench_{}", std::process::id()));
        let creating = connect(&runtime, &admin);
        runtime
            .block_on(creating.batch_execute(&format!("CREATE DATABASE {name}")))
            .expect("a database can be created");
        let mut database = Self { runtime, client: None, admin, name };
        database.client = Some(connect(&database.runtime, &database.url()));
        database.execute(TABLE);
        let rows = i32::try_from(rows).expect("a number of rows");
        let parameters: [&(dyn ToSql + Sync); 1] = [&rows];
        let filling = database.client().execute(ROWS, &parameters);
        let _rows = database.runtime.block_on(filling).expect("the table takes rows");
        database.tidy();
        database
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        let (server, _) = self.admin.rsplit_once('/').expect("an address ends in a database");
        format!("{server}/{}", self.name)
    }

    /// The size of the table with its indexes, in MB.
    pub(crate) fn megabytes(&self) -> i64 {
        let asking =
            self.client().query_one("SELECT pg_total_relation_size('embeddings') / 1000000", &[]);
        self.runtime.block_on(asking).expect("the server answers").get(0)
    }

    /// Damages the table, and lets the server tidy up before anybody is measured.
    pub(crate) fn damage(&self) {
        self.execute(DAMAGE);
        self.tidy();
    }

    /// What the server would do by itself sooner or later, and must not do in the middle of a measurement. Statistics of the numbers
    /// would take longest and serve no query here.
    fn tidy(&self) {
        for sql in
            ["VACUUM embeddings", "ANALYZE embeddings (id, agent_domain, title)", "CHECKPOINT"]
        {
            self.execute(sql);
        }
    }

    /// Restores the table by plain SQL.
    pub(crate) fn restore(&self, plain: Plain) -> Duration {
        let sql = plain.sql();
        timed(|| self.execute(&sql))
    }

    /// Fails unless the table is as in the snapshot.
    pub(crate) fn expect_restored(&self) {
        let sql = format!(
            "SELECT count(*) FROM embeddings AS t FULL JOIN rollback.\"{SNAPSHOT}\" AS s ON t.id = s.id
             WHERE t.id IS NULL OR s.id IS NULL OR t.* *<> s.*"
        );
        let differing: i64 = self
            .runtime
            .block_on(self.client().query_one(&sql, &[]))
            .expect("the server answers")
            .get(0);
        assert_eq!(differing, 0, "rows that differ from the snapshot");
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("a database that exists is connected to")
    }

    fn execute(&self, sql: &str) {
        self.runtime
            .block_on(self.client().batch_execute(sql))
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        drop(self.client.take());
        let admin = connect(&self.runtime, &self.admin);
        let dropping = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        if let Err(error) = self.runtime.block_on(admin.batch_execute(&dropping)) {
            eprintln!("bench: the database {} is left behind: {error}", self.name);
        }
    }
}

/// A connection that works on the runtime until it is dropped.
pub(crate) fn connect(runtime: &Runtime, url: &str) -> Client {
    let (client, connection) =
        runtime.block_on(tokio_postgres::connect(url, NoTls)).expect("the server answers");
    let _detached = runtime.spawn(async move { drop(connection.await) });
    client
}
