//! `postgres.restore` with `strategy: swap`: what hangs on a table goes along, or is named.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rollback::action::ErrorKind;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::restore::{DAMAGE, RESTORE, damaged, snapshot};
use super::rig::Database;
use crate::support::HANG;

fn swap() -> Value {
    json!({"snapshot": "good", "strategy": "swap", "lock_timeout": "100ms"})
}

/// Everything that the catalogue says of the agents, by name.
const BELONGINGS: &str = "
    SELECT 'policy ' || policyname || permissive || roles::text || cmd || qual FROM pg_policies WHERE schemaname = 'public'
    UNION ALL SELECT 'trigger ' || pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'public.agents'::regclass AND NOT tgisinternal
    UNION ALL SELECT 'constraint ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'public.agents'::regclass
    UNION ALL SELECT 'table ' || (SELECT string_agg(one::text, ',' ORDER BY one::text) FROM unnest(relacl) AS one) || relrowsecurity || coalesce(reloptions::text, '') FROM pg_class WHERE oid = 'public.agents'::regclass
    UNION ALL SELECT 'comment ' || obj_description('public.agents'::regclass, 'pg_class')
    UNION ALL SELECT 'view ' || pg_get_viewdef('public.newer'::regclass) || (SELECT reloptions::text FROM pg_class WHERE oid = 'public.newer'::regclass)
    UNION ALL SELECT 'function ' || pg_get_functiondef('public.newest'::regproc)
    UNION ALL SELECT 'sequence ' || pg_get_serial_sequence('public.agents', 'n') || pg_get_serial_sequence('public.agents', 'm')
    UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = 'agents'
    UNION ALL SELECT 'constraint ' || conname FROM pg_constraint WHERE conrelid = 'public.agents'::regclass
    ORDER BY 1";

#[tokio::test]
async fn what_hangs_on_a_table_goes_along_and_comes_back() {
    let database = Database::of_agents().await;
    database
        .run(
            "CREATE TABLE versions (version text PRIMARY KEY); INSERT INTO versions VALUES ('1'), ('2');
            ALTER TABLE agents ADD FOREIGN KEY (version) REFERENCES versions, ADD CHECK (tries >= 0), ADD n serial, ADD m int GENERATED ALWAYS AS IDENTITY;
            CREATE INDEX ON agents (version) WHERE tries = 0; CREATE INDEX \"Odd INDEX x ON y USING\" ON agents (note DESC, version);
            CREATE INDEX ON agents (lower(note)); CREATE INDEX twice ON agents (lower(note)); ALTER TABLE agents ADD UNIQUE (id, note);
            ALTER TABLE agents SET (fillfactor = 70); COMMENT ON TABLE agents IS 'who''s who';
            CREATE VIEW newer WITH (security_barrier = true) AS SELECT id, note FROM agents WHERE version = '2';
            CREATE VIEW newest_of_all AS SELECT max(id) FROM newer;
            CREATE FUNCTION newest() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT max(note) FROM agents; END;
            CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
            CREATE TRIGGER pass BEFORE UPDATE ON agents FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION pass();
            ALTER TABLE agents ENABLE ROW LEVEL SECURITY;
            CREATE POLICY few ON agents FOR SELECT TO PUBLIC USING (tries < 100);
            GRANT SELECT, UPDATE ON agents TO PUBLIC; GRANT INSERT ON agents TO pg_monitor WITH GRANT OPTION;
            ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO pg_read_all_stats; REVOKE TRUNCATE ON agents FROM CURRENT_USER",
        )
        .await;
    let good = database.agents().await;
    let belongings = database.rows(BELONGINGS).await;
    let port = database.port();
    snapshot(&port, json!({})).await;
    database.run(&DAMAGE.replace("'extra'", "'zzz'")).await;
    let damaged = database.agents().await;

    let action = port.action(RESTORE, swap()).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    assert_eq!(database.agents().await, good);
    assert_eq!(database.rows(BELONGINGS).await, belongings);
    assert_eq!(
        database.rows("SELECT note FROM newer ORDER BY id").await,
        ["note 3", "note 4", "note 5"]
    );
    assert_eq!(database.rows("SELECT max || newest() FROM newest_of_all").await, ["5note 5"]);
    // The numbers go on where they stood, also those that the snapshot has not seen.
    let client = database.client().await;
    let next = "BEGIN; INSERT INTO agents (id, version) VALUES (9, '1'); SELECT n, m FROM agents WHERE id = 9; ROLLBACK";
    assert_eq!(super::rig::rows(&client, next).await, ["7|7"]);

    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.agents().await, damaged);
    assert_eq!(database.rows(BELONGINGS).await, belongings);
    assert_eq!(database.rows("SELECT max || newest() FROM newest_of_all").await, ["6zzz"]);
    // A number that was given out meanwhile is not given out again.
    assert_eq!(super::rig::rows(&client, next).await, ["8|8"]);
    assert_eq!(database.left().await, ["good"]);
    port.apply(action.as_ref()).await;
}

#[tokio::test]
async fn what_would_stay_behind_is_named_and_nothing_is_changed() {
    let database = Database::of_agents().await;
    database
        .run(
            "CREATE TABLE tasks (agent int REFERENCES agents); CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM agents;
            CREATE FUNCTION first() RETURNS agents LANGUAGE sql AS 'SELECT * FROM agents LIMIT 1';
            CREATE PUBLICATION changes FOR TABLE agents;
            CREATE TABLE documents (agent int); ALTER TABLE documents ENABLE ROW LEVEL SECURITY;
            CREATE POLICY theirs ON documents USING (EXISTS (SELECT FROM agents WHERE id = agent AND version = '2'));
            CREATE RULE touch AS ON INSERT TO documents DO ALSO UPDATE agents SET tries = tries + 1 WHERE id = NEW.agent;
            CREATE VIEW newer AS SELECT id, version FROM agents; CREATE RULE add AS ON INSERT TO newer DO INSTEAD INSERT INTO agents VALUES (NEW.id, NEW.version);
            CREATE RULE keep AS ON DELETE TO agents WHERE OLD.id = 5 DO INSTEAD NOTHING",
        )
        .await;
    let port = database.port();
    snapshot(&port, json!({})).await;
    database.run("DELETE FROM agents WHERE id = 1").await;
    let before = database.rows("SELECT 'agents'::regclass::oid, count(*) FROM agents").await;
    let error = port.action(RESTORE, swap()).await.inspect(&port.cx()).await;
    let error = error.expect_err("it cannot be exchanged");
    assert_eq!(error.kind, ErrorKind::Conflict);
    let named = [
        "tasks_agent_fkey of public.tasks",
        "materialized view public.counted",
        "publication changes",
        "row type used by function public.first()",
        "policy theirs of public.documents",
        "rule touch of public.documents",
        "rule add of public.newer",
        "rule keep of public.agents",
    ];
    for name in named {
        assert!(error.message.contains(name), "{name}: {error}");
    }
    assert_eq!(database.rows("SELECT 'agents'::regclass::oid, count(*) FROM agents").await, before);

    let part = json!({"table": "agents", "name": "part", "where": {"version": "2"}});
    port.apply(port.action("postgres.snapshot", part).await.as_ref()).await;
    port.step("part");
    let part = json!({"snapshot": "part", "strategy": "swap"});
    let error = port.action(RESTORE, part).await.inspect(&port.cx()).await.expect_err("a part");
    assert!(error.message.contains("only a part"), "{error}");
}

#[tokio::test]
async fn a_reader_that_never_ends_ends_the_attempt_and_not_the_restore() {
    let database = Database::of_agents().await;
    let good = database.agents().await;
    let port = damaged(&database).await;
    let reader = database.client().await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM agents").await.expect("a long look");
    let action = port.action(RESTORE, swap()).await;
    let saved = port.needed(action.as_ref()).await;
    let cx = port.cx_until(Instant::now() + Duration::from_secs(15));
    let error = action.apply(&cx, &saved).await.expect_err("a reader is in the way");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Failed, true), "{error}");
    assert!(error.message.contains("55P03"), "{error}");
    assert_eq!(database.left().await, ["good"]);
    assert_eq!(
        database.rows("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").await,
        ["1"]
    );
    reader.batch_execute("COMMIT").await.expect("it ends");
    port.apply(action.as_ref()).await;
    assert_eq!(database.agents().await, good);
}

#[tokio::test]
async fn a_view_that_comes_while_the_twin_waits_does_not_stay_behind() {
    let database = Database::of_agents().await;
    let good = database.agents().await;
    let port = damaged(&database).await;
    let damaged = database.agents().await;
    let reader = database.client().await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM agents").await.expect("a long look");
    let action = port.action(RESTORE, swap()).await;
    let waits = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted AND relation = 'agents'::regclass";
    let meddle = async {
        let watch = database.client().await;
        let end = Instant::now() + HANG;
        while super::rig::rows(&watch, waits).await == ["0"] {
            assert!(Instant::now() < end, "the swap never waits");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        database.run("CREATE VIEW late AS SELECT id, note FROM agents").await;
        reader.batch_execute("COMMIT").await.expect("it ends");
    };
    let (error, ()) = tokio::join!(port.refused(action.as_ref()), meddle);
    assert_eq!((error.kind, error.retryable), (ErrorKind::Conflict, true), "{error}");
    assert!(error.message.contains("were changed meanwhile"), "{error}");
    assert_eq!(database.agents().await, damaged);

    port.apply(action.as_ref()).await;
    assert_eq!(database.agents().await, good);
    let seen = "SELECT count(*) FROM late JOIN agents USING (id, note)";
    assert_eq!(database.rows(seen).await, ["5"]);
}

/// A look that takes six seconds, begun before this returns. It holds the table until it ends.
async fn six_seconds(database: &Database, table: &str) -> tokio::task::JoinHandle<()> {
    let reader = database.client().await;
    let look = format!("BEGIN; SELECT count(*) FROM {table}");
    reader.batch_execute(&look).await.expect("a long look");
    tokio::spawn(async move {
        reader.batch_execute("SELECT pg_sleep(6); COMMIT").await.expect("it ends");
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_long_reader_makes_no_other_wait_for_a_second() {
    tokio::join!(no_other_waits_beside("agents"), no_other_waits_beside("versions"));
}

/// A swap of the agents and its undo, each behind a long reader of this table.
#[expect(clippy::print_stdout, reason = "the slowest look is the figure that is promised")]
async fn no_other_waits_beside(held: &str) {
    let database = with_versions("").await;
    let good = database.agents().await;
    database.run("CREATE VIEW newer AS SELECT id, note FROM agents WHERE version = '2'").await;
    let port = damaged(&database).await;
    let damaged = database.agents().await;
    let over = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for table in ["agents", "newer", "versions"] {
        let (client, over) = (database.client().await, over.clone());
        readers.push(tokio::spawn(async move {
            let (mut slowest, mut looks) = (Duration::ZERO, 0);
            while !over.load(Ordering::SeqCst) {
                let begin = Instant::now();
                let look = format!("SELECT count(*) FROM {table}");
                client.query_one(&look, &[]).await.expect("a reader is never refused");
                slowest = slowest.max(begin.elapsed());
                looks += 1;
            }
            (slowest, looks)
        }));
    }
    let action = port.action(RESTORE, json!({"snapshot": "good", "strategy": "swap"})).await;
    let long = six_seconds(&database, held).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    long.await.expect("the long reader is not refused");
    assert_eq!(database.agents().await, good);
    let long = six_seconds(&database, held).await;
    action.undo(&port.cx(), &saved, Some(&evidence)).await.expect("it is taken back");
    long.await.expect("the long reader is not refused");
    assert_eq!(database.agents().await, damaged);
    over.store(true, Ordering::SeqCst);
    for reader in readers {
        let (slowest, looks) = reader.await.expect("a reader ends");
        println!(
            "a swap and its undo, each behind a reader of {held} for 6 s: {looks} looks, the slowest {slowest:?}"
        );
        assert!(slowest < Duration::from_secs(1), "one of {looks} looks took {slowest:?}");
    }
}

#[tokio::test]
async fn a_table_can_be_swapped_again_and_again() {
    let database = Database::of_agents().await;
    let names = "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1";
    database.run("CREATE INDEX newer ON agents (version)").await;
    let port = database.port();
    snapshot(&port, json!({})).await;
    let mut swaps = Vec::new();
    for step in ["one", "two"] {
        port.step(step);
        let action = port.action(RESTORE, swap()).await;
        let (saved, evidence) = port.apply(action.as_ref()).await;
        assert_eq!(database.rows(names).await, ["agents_pkey", "newer"]);
        swaps.push((step, action, saved, evidence));
    }
    for (step, action, saved, evidence) in swaps.into_iter().rev() {
        port.step(step);
        port.undo(action.as_ref(), &saved, Some(&evidence)).await;
        assert_eq!(database.rows(names).await, ["agents_pkey", "newer"]);
    }
    assert_eq!(database.left().await, ["good"]);
}

#[tokio::test]
async fn undo_refuses_a_table_that_others_have_written_to() {
    let database = Database::of_agents().await;
    let port = damaged(&database).await;
    let action = port.action(RESTORE, swap()).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    database.run("UPDATE agents SET note = 'mine' WHERE id = 1").await;
    let error = action.undo(&port.cx(), &saved, Some(&evidence)).await.expect_err("it was changed");
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.message.contains("have been changed since"), "{error}");
}

/// Versions that agents refer to.
pub(super) async fn with_versions(then: &str) -> Database {
    let database = Database::of_agents().await;
    database
        .run(&format!(
            "CREATE TABLE versions (version text PRIMARY KEY); INSERT INTO versions VALUES ('1'), ('2'), ('3');
            ALTER TABLE agents ADD CONSTRAINT \"Of version\" FOREIGN KEY (version) REFERENCES versions {then}"
        ))
        .await;
    database
}

#[tokio::test]
async fn a_parked_table_neither_follows_deletes_nor_stops_them() {
    for then in ["ON DELETE CASCADE", "ON DELETE NO ACTION DEFERRABLE INITIALLY DEFERRED"] {
        let database = with_versions(then).await;
        let port = database.port();
        snapshot(&port, json!({})).await;
        database.run("INSERT INTO agents VALUES (6, '3', 'newest')").await;
        let former = database.agents().await;
        let belongings = database.rows(KEYS).await;
        let action = port.action(RESTORE, swap()).await;
        let (saved, evidence) = port.apply(action.as_ref()).await;
        let swapped = database.agents().await;
        assert_eq!(database.rows(KEYS).await, belongings, "{then}");

        database.run("DELETE FROM versions WHERE version = '3'").await;
        let undo = action.undo(&port.cx(), &saved, Some(&evidence)).await;
        let error = undo.expect_err("a row has lost its version");
        assert_eq!((error.kind, error.retryable), (ErrorKind::Conflict, false), "{error}");
        assert!(error.message.contains("Of version"), "{error}");
        assert!(error.hints.iter().any(|hint| hint.contains("deleted since")), "{error:?}");
        assert_eq!(database.agents().await, swapped, "{then}: nothing is half undone");

        database.run("INSERT INTO versions VALUES ('3')").await;
        port.undo(action.as_ref(), &saved, None).await;
        assert_eq!(database.agents().await, former, "{then}");
        assert_eq!(database.rows(KEYS).await, belongings, "{then}");
        assert_eq!(database.left().await, ["good"]);
    }
}

/// The foreign keys of the agents.
const KEYS: &str = "SELECT conname, convalidated, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = 'agents'::regclass AND contype = 'f' AND conparentid = 0 ORDER BY 1";

#[tokio::test]
async fn a_key_that_is_not_validated_and_one_to_partitions_come_back_as_they_were() {
    let database = with_versions("NOT VALID").await;
    database
        .run(
            "CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE parts_1 PARTITION OF parts DEFAULT;
            INSERT INTO parts SELECT id FROM agents; ALTER TABLE agents ADD FOREIGN KEY (id) REFERENCES parts;
            SET session_replication_role = replica; UPDATE agents SET version = 'unknown' WHERE id = 5",
        )
        .await;
    let keys = database.rows(KEYS).await;
    let port = database.port();
    snapshot(&port, json!({})).await;
    database.run("DELETE FROM agents WHERE id = 1").await;
    let former = database.agents().await;
    let action = port.action(RESTORE, swap()).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    assert_eq!(database.rows(KEYS).await, keys);
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.agents().await, former);
    assert_eq!(database.rows(KEYS).await, keys);
}
