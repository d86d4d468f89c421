//! `postgres.shadow` and `postgres.promote`: rows that are made anew beside a table and take the place of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rollback::action::{ActionError, ErrorKind, Readiness};
use serde_json::{Value, json};

use super::rig::{Database, Port, rows};

const SHADOW: &str = "postgres.shadow";
const PROMOTE: &str = "postgres.promote";
/// The run of the port, as a part of a name.
const NAME: &str = "\"kb\".\"rows_20261121-run\"";

/// Three rows of each of two agents, numbered by the table, with a view and somebody who may read.
const KNOWLEDGE: &str = "
    CREATE SCHEMA kb;
    CREATE TABLE kb.rows (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, agent text NOT NULL, body text NOT NULL, UNIQUE (agent, body));
    COMMENT ON TABLE kb.rows IS 'what agents know';
    CREATE VIEW kb.stats AS SELECT agent, count(*) AS rows FROM kb.rows GROUP BY agent;
    GRANT SELECT ON kb.rows TO pg_monitor;
    INSERT INTO kb.rows (agent, body) SELECT agent, agent || ' ' || n FROM generate_series(1, 3) AS n, unnest(ARRAY['a', 'b']) AS agent";

fn whole() -> Value {
    json!({"table": "kb.rows", "lock_timeout": "1s"})
}

fn part() -> Value {
    json!({"table": "kb.rows", "where": {"agent": "a"}})
}

/// A database with a shadow that is filled by these statements, and the port at the next step.
async fn filled(args: &Value, fill: &str) -> (Database, Port) {
    let database = Database::with(KNOWLEDGE).await;
    let port = database.port();
    port.step("shadow");
    port.apply(port.action(SHADOW, args.clone()).await.as_ref()).await;
    database.run(&fill.replace("SHADOW", NAME)).await;
    port.step("promote");
    (database, port)
}

async fn all(database: &Database) -> Vec<String> {
    database.rows("SELECT id, agent, body FROM kb.rows ORDER BY id").await
}

async fn refused(database: &Database, port: &Port, args: Value) -> ActionError {
    let before = all(database).await;
    let error = port.refused(port.action(PROMOTE, args).await.as_ref()).await;
    assert_eq!(all(database).await, before, "nothing was changed");
    error
}

#[tokio::test]
async fn a_shadow_is_called_by_its_run_and_goes_with_an_undo() {
    let database = Database::with(KNOWLEDGE).await;
    let port = database.port();
    let action = port.action(SHADOW, whole()).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    assert_eq!(evidence.summary, "kb.rows_20261121-run is there, and empty");
    let comment = "SELECT obj_description('\"kb\".\"rows_20261121-run\"'::regclass)";
    assert_eq!(database.rows(comment).await, ["rollback 20261121-run: shadow of kb.rows"]);
    // Whoever may read the table may read it, and nobody else; it has the same indexes.
    let grants = "SELECT count(DISTINCT relacl::text), count(*) FROM pg_class WHERE relname LIKE 'rows%' AND relkind = 'r'";
    assert_eq!(database.rows(grants).await, ["1|2"]);
    let indexes =
        "SELECT tablename, count(*) FROM pg_indexes WHERE schemaname = 'kb' GROUP BY 1 ORDER BY 1";
    assert_eq!(database.rows(indexes).await, ["rows|2", "rows_20261121-run|2"]);
    port.done(action.as_ref()).await;
    database.run(&format!("INSERT INTO {NAME} (agent, body) VALUES ('a', 'new')")).await;
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(
        database.rows("SELECT count(*) FROM pg_tables WHERE schemaname = 'kb'").await,
        ["1"]
    );
    port.apply(action.as_ref()).await;
}

#[tokio::test]
async fn a_shadow_shows_nobody_what_row_security_hides() {
    let database = Database::with(KNOWLEDGE).await;
    database
        .run("ALTER TABLE kb.rows ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON kb.rows FOR SELECT TO PUBLIC USING (agent = current_user)")
        .await;
    for args in [whole(), part()] {
        let port = database.port();
        let action = port.action(SHADOW, args).await;
        let (saved, _) = port.apply(action.as_ref()).await;
        let guarded = "SELECT relrowsecurity, (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid) FROM pg_class c WHERE relname = 'rows_20261121-run'";
        assert_eq!(database.rows(guarded).await, ["t|1"]);
        port.undo(action.as_ref(), &saved, None).await;
    }
}

#[tokio::test]
async fn a_part_is_replaced_and_what_others_did_beyond_it_stays() {
    let fill = "INSERT INTO SHADOW (agent, body) VALUES ('a', 'new 1'), ('a', 'new 2')";
    let (database, port) = filled(&part(), fill).await;
    // Somebody goes on writing meanwhile.
    database.run("INSERT INTO kb.rows (agent, body) VALUES ('b', 'later')").await;
    let before = all(&database).await;
    let action = port.action(PROMOTE, part()).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    assert!(evidence.summary.ends_with("0 changed, 2 added, 3 removed"), "{}", evidence.summary);
    // Numbers came from the table itself, so that none was given twice.
    let wanted = ["4|b|b 1", "5|b|b 2", "6|b|b 3", "7|a|new 1", "8|a|new 2", "9|b|later"];
    assert_eq!(all(&database).await, wanted);
    assert_eq!(database.rows("SELECT * FROM kb.stats ORDER BY 1").await, ["a|2", "b|4"]);
    assert_eq!(
        database.rows("SELECT count(*) FROM pg_tables WHERE schemaname = 'kb'").await,
        ["1"]
    );
    port.done(action.as_ref()).await;
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(all(&database).await, before);
    assert_eq!(database.left().await, [""; 0]);
}

#[tokio::test]
async fn a_part_is_replaced_where_the_table_numbers_rows_beside_their_key() {
    let database = Database::with(KNOWLEDGE).await;
    database
        .run("ALTER TABLE kb.rows DROP COLUMN id CASCADE; ALTER TABLE kb.rows ADD PRIMARY KEY (agent, body); ALTER TABLE kb.rows ADD n int GENERATED ALWAYS AS IDENTITY")
        .await;
    let rows = "SELECT * FROM kb.rows ORDER BY agent, body";
    let before = database.rows(rows).await;
    let port = database.port();
    port.step("shadow");
    port.apply(port.action(SHADOW, part()).await.as_ref()).await;
    database
        .run(&format!("INSERT INTO {NAME} (agent, body) VALUES ('a', 'a 1'), ('a', 'new')"))
        .await;
    port.step("promote");
    let action = port.action(PROMOTE, part()).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    assert_eq!(database.rows(rows).await, ["a|a 1|7", "a|new|8", "b|b 1|4", "b|b 2|5", "b|b 3|6"]);
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.rows(rows).await, before);
}

#[tokio::test]
async fn the_whole_is_exchanged_and_comes_back() {
    let fill =
        "INSERT INTO SHADOW (agent, body) SELECT 'c', n::text FROM generate_series(1, 9) AS n";
    let (database, port) = filled(&whole(), fill).await;
    let before = all(&database).await;
    let belongings = "SELECT obj_description('kb.rows'::regclass), relacl, (SELECT string_agg(indexname, ',' ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'kb') FROM pg_class WHERE oid = 'kb.rows'::regclass";
    let action = port.action(PROMOTE, whole()).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    // The shadow's numbers went on where the table's stood, and the table's go on where the shadow's stand.
    assert_eq!(database.rows("SELECT min(id), max(id) FROM kb.rows").await, ["7|15"]);
    let client = database.client().await;
    let next = "BEGIN; INSERT INTO kb.rows (agent, body) VALUES ('c', 'x') RETURNING id; ROLLBACK";
    assert_eq!(rows(&client, next).await, ["16"]);
    assert_eq!(database.rows("SELECT * FROM kb.stats").await, ["c|9"]);
    let seen = database.rows(belongings).await;
    assert!(seen[0].starts_with("what agents know|"), "{seen:?}");
    assert!(seen[0].ends_with("|rows_agent_body_key,rows_pkey"), "{seen:?}");
    port.done(action.as_ref()).await;
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(all(&database).await, before);
    assert_eq!(database.rows(belongings).await, seen);
    assert_eq!(database.rows("SELECT * FROM kb.stats ORDER BY 1").await, ["a|3", "b|3"]);
    assert_eq!(database.left().await, [""; 0]);
}

#[tokio::test]
async fn a_shadow_that_is_not_what_it_should_be_is_refused() {
    let stray = "INSERT INTO SHADOW (agent, body) VALUES ('a', 'new'), ('b', 'stray')";
    let (database, port) = filled(&part(), stray).await;
    let error = refused(&database, &port, part()).await;
    assert!(error.message.contains("1 of its rows are beyond `where`"), "{error}");

    let taken = "INSERT INTO SHADOW (id, agent, body) VALUES (4, 'a', 'new')";
    let (database, port) = filled(&part(), taken).await;
    let error = refused(&database, &port, part()).await;
    assert!(
        error.message.contains("1 of its rows have the key of a row beyond `where`"),
        "{error}"
    );

    let (database, port) = filled(&whole(), "SELECT 1").await;
    let error = refused(&database, &port, whole()).await;
    assert!(error.message.contains("it has 0 rows, expected at least 1"), "{error}");

    let fill = "INSERT INTO SHADOW (agent, body) VALUES ('a', 'new'); GRANT SELECT ON kb.rows TO pg_read_all_stats";
    let (database, port) = filled(&whole(), fill).await;
    let error = refused(&database, &port, whole()).await;
    assert!(error.message.contains("have been changed since it was made"), "{error}");

    let fill =
        "INSERT INTO SHADOW (agent, body) VALUES ('a', 'new'); ALTER TABLE kb.rows ADD more int";
    let (_database, port) = filled(&whole(), fill).await;
    let error = port.refused(port.action(PROMOTE, whole()).await.as_ref()).await;
    assert!(error.message.contains("has other columns by now (`more`)"), "{error}");
}

#[tokio::test]
async fn what_is_not_there_is_missed_before_anything_begins() {
    let database = Database::with(KNOWLEDGE).await;
    let port = database.port();
    let error =
        port.action(PROMOTE, whole()).await.inspect(&port.cx()).await.expect_err("no shadow");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    // A plan knows that an earlier step makes it.
    let shadow = port.action(SHADOW, whole()).await.inspect(&port.cx()).await.expect("a look");
    let Readiness::Needed { predicted, .. } = shadow else { panic!("it is not there") };
    assert_eq!(predicted[0].resource, "postgres:shadow/kb.rows");
    let known = predicted[0].resource.clone();
    let cx =
        port.cx().predicting(Arc::new(move |asked| (asked == known).then_some(Value::from(true))));
    let promote = port.action(PROMOTE, whole()).await.inspect(&cx).await.expect("it is foreseen");
    assert!(matches!(promote, Readiness::Needed { .. }));
    // What would stand in the way of the exchange is told before an hour of filling.
    database.run("CREATE TABLE kb.notes (row bigint REFERENCES kb.rows)").await;
    let error = port.refused(port.action(SHADOW, whole()).await.as_ref()).await;
    assert!(error.message.contains("notes_row_fkey"), "{error}");
    port.apply(port.action(SHADOW, part()).await.as_ref()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_find_the_former_rows_or_the_new_ones() {
    for args in [part(), whole()] {
        let fill = "INSERT INTO SHADOW (agent, body) SELECT 'a', 'new ' || n FROM generate_series(1, 5000) AS n";
        let (database, port) = filled(&args, fill).await;
        let (over, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut readers = Vec::new();
        for _ in 0..2 {
            let (client, over, looks) = (database.client().await, over.clone(), looks.clone());
            readers.push(tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    let look = "SELECT count(*) FROM kb.rows WHERE agent = 'a'";
                    let found =
                        client.query_one(look, &[]).await.expect("a reader is never refused");
                    let found: i64 = found.get(0);
                    assert!([3, 5000].contains(&found), "a reader found {found} rows");
                    let _before = looks.fetch_add(1, Ordering::SeqCst);
                }
            }));
        }
        let action = port.action(PROMOTE, args).await;
        let (saved, evidence) = port.apply(action.as_ref()).await;
        action.undo(&port.cx(), &saved, Some(&evidence)).await.expect("it is taken back");
        over.store(true, Ordering::SeqCst);
        for reader in readers {
            reader.await.expect("a reader is content");
        }
        assert!(looks.load(Ordering::SeqCst) > 10, "readers have looked");
    }
}
