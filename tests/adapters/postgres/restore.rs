//! `postgres.restore`: what readers see meanwhile, and what stands in the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rollback::action::{ActionError, ErrorKind};
use serde_json::{Value, json};

use super::rig::{Database, Port};

pub(super) const RESTORE: &str = "postgres.restore";

/// Takes the snapshot `good` of the agents.
pub(super) async fn snapshot(port: &Port, more: Value) {
    let mut args = json!({"table": "agents", "name": "good"});
    args.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
    port.step("snapshot");
    port.apply(port.action("postgres.snapshot", args).await.as_ref()).await;
    port.step("restore");
}

/// One row differs, one is missing, one is too many.
pub(super) const DAMAGE: &str =
    "UPDATE agents SET note = 'bad' WHERE id = 3; DELETE FROM agents WHERE id = 4;
    INSERT INTO agents VALUES (6, '2', 'extra')";

/// Takes the snapshot `good` of the agents and damages them after it.
pub(super) async fn damaged(database: &Database) -> Port {
    let port = database.port();
    snapshot(&port, json!({})).await;
    database.run(DAMAGE).await;
    port
}

/// Restores `good`, which must fail and change nothing.
async fn refused(database: &Database, port: &Port, more: Value) -> ActionError {
    let before = database.agents().await;
    let mut args = json!({"snapshot": "good"});
    args.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
    let error = port.refused(port.action(RESTORE, args).await.as_ref()).await;
    assert_eq!(database.agents().await, before, "nothing was changed");
    error
}

#[tokio::test]
async fn only_what_differs_is_written_and_can_be_taken_back() {
    let database = Database::of_agents().await;
    let good = database.agents().await;
    let port = damaged(&database).await;
    let damaged = database.agents().await;
    let writers = database.rows("SELECT xmin FROM agents WHERE id IN (1, 2, 5) ORDER BY id").await;

    let action = port.action(RESTORE, json!({"snapshot": "good", "expect_rows": 3})).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    assert_eq!(database.agents().await, good);
    assert!(evidence.summary.ends_with("1 changed, 1 added, 1 removed"), "{}", evidence.summary);
    let untouched =
        database.rows("SELECT xmin FROM agents WHERE id IN (1, 2, 5) ORDER BY id").await;
    assert_eq!(untouched, writers, "rows that are right are not written");
    port.done(action.as_ref()).await;
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.agents().await, damaged);
    port.apply(action.as_ref()).await;
    assert_eq!(database.agents().await, good);
}

#[tokio::test]
async fn what_others_did_beyond_the_scope_stays() {
    let database = Database::of_agents().await;
    let port = database.port();
    snapshot(&port, json!({"where": {"version": "2"}})).await;
    database.run(DAMAGE).await;
    database
        .run("UPDATE agents SET note = 'newer' WHERE id = 1; INSERT INTO agents VALUES (7, '1', 'new');
              UPDATE agents SET version = '1' WHERE id = 5")
        .await;
    port.apply(port.action(RESTORE, json!({"snapshot": "good"})).await.as_ref()).await;
    let wanted = [
        "1|1|newer|0",
        "2|1|note 2|0",
        "3|2|note 3|0",
        "4|2|note 4|0",
        "5|2|note 5|0",
        "7|1|new|0",
    ];
    assert_eq!(database.agents().await, wanted);
}

#[tokio::test]
async fn more_rows_than_expected_are_refused() {
    let database = Database::of_agents().await;
    let port = damaged(&database).await;
    let error = refused(&database, &port, json!({"expect_rows": {"at_most": 2}})).await;
    assert!(error.message.contains("would be 3 rows, expected at most 2"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_see_the_table_whole_all_the_time() {
    for strategy in ["differential", "swap"] {
        readers_see_the_table_whole(strategy).await;
    }
}

async fn readers_see_the_table_whole(strategy: &str) {
    let database = Database::with(
        "CREATE TABLE agents (id int PRIMARY KEY, version text, body text);
        INSERT INTO agents SELECT n, '1', repeat(md5(n::text), 8) FROM generate_series(1, 20000) AS n",
    )
    .await;
    let port = database.port();
    snapshot(&port, json!({})).await;
    // As many rows go as come, so that the right count is the same before and after.
    database
        .run(
            "UPDATE agents SET body = 'bad' WHERE id % 3 = 0; DELETE FROM agents WHERE id <= 2000;
              INSERT INTO agents SELECT n, '2', 'extra' FROM generate_series(20001, 22000) AS n",
        )
        .await;
    let over = Arc::new(AtomicBool::new(false));
    let looks = Arc::new(AtomicU64::new(0));
    let mut readers = Vec::new();
    for _ in 0..3 {
        let (client, over, looks) = (database.client().await, over.clone(), looks.clone());
        readers.push(tokio::spawn(async move {
            let mut counts = Vec::new();
            while !over.load(Ordering::SeqCst) {
                let row = client.query_one(
                    "SELECT count(*), count(*) FILTER (WHERE version = '2') FROM agents",
                    &[],
                );
                let row = row.await.expect("a reader is never refused");
                counts.push((row.get::<_, i64>(0), row.get::<_, i64>(1)));
                looks.fetch_add(1, Ordering::SeqCst);
            }
            counts
        }));
    }
    while looks.load(Ordering::SeqCst) < 6 {
        tokio::task::yield_now().await;
    }
    port.apply(
        port.action(
            RESTORE,
            json!({"snapshot": "good", "strategy": strategy, "lock_timeout": "60s"}),
        )
        .await
        .as_ref(),
    )
    .await;
    let then = looks.load(Ordering::SeqCst);
    while looks.load(Ordering::SeqCst) < then + 6 {
        tokio::task::yield_now().await;
    }
    over.store(true, Ordering::SeqCst);
    for reader in readers {
        let counts = reader.await.expect("a reader ends");
        for seen in &counts {
            assert!([(20000, 2000), (20000, 0)].contains(seen), "{seen:?} of {}", counts.len());
        }
        assert_eq!(counts.last(), Some(&(20000, 0)));
    }
}

#[tokio::test]
async fn rows_that_others_refer_to_do_not_vanish() {
    let database = Database::of_agents().await;
    database.run("CREATE TABLE tasks (id int PRIMARY KEY, agent int REFERENCES agents)").await;
    let port = damaged(&database).await;
    database.run("INSERT INTO tasks VALUES (1, 3), (2, 6)").await;
    let error = refused(&database, &port, json!({})).await;
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert!(error.message.contains("23503") && error.message.contains("tasks"), "{error}");

    database
        .run(
            "ALTER TABLE tasks DROP CONSTRAINT tasks_agent_fkey;
        ALTER TABLE tasks ADD FOREIGN KEY (agent) REFERENCES agents ON DELETE CASCADE",
        )
        .await;
    let error = refused(&database, &port, json!({})).await;
    assert!(error.message.contains("rows of public.tasks would change along"), "{error}");
    assert_eq!(database.rows("SELECT * FROM tasks ORDER BY 1").await, ["1|3", "2|6"]);

    // A row that stays may be referred to.
    database.run("DELETE FROM tasks WHERE id = 2").await;
    port.apply(port.action(RESTORE, json!({"snapshot": "good"})).await.as_ref()).await;
    assert_eq!(database.rows("SELECT * FROM tasks").await, ["1|3"]);
}

#[tokio::test]
async fn a_role_that_sees_only_some_rows_is_refused() {
    let database = Database::of_agents().await;
    let port = database.port();
    let role = format!("rollback_test_{}", uuid::Uuid::new_v4().simple());
    database
        .run(&format!(
            "CREATE ROLE {role}; GRANT ALL ON agents TO {role}; GRANT CREATE ON DATABASE {} TO {role};
            ALTER TABLE agents ENABLE ROW LEVEL SECURITY;
            CREATE POLICY theirs ON agents TO {role} USING (version = '2')",
            database.url.rsplit('/').next().expect("a database")
        ))
        .await;
    // The superuser of the tests works as that role.
    let as_role = Port::of(&format!("{}?options=-c%20role%3D{role}", database.url));
    let error = as_role
        .refused(
            as_role
                .action("postgres.snapshot", json!({"table": "agents", "name": "part"}))
                .await
                .as_ref(),
        )
        .await;
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert!(error.message.contains("row-level security"), "{error}");

    snapshot(&port, json!({})).await;
    database.run(DAMAGE).await;
    port.apply(port.action(RESTORE, json!({"snapshot": "good"})).await.as_ref()).await;
    assert_eq!(database.rows("SELECT count(*) FROM agents WHERE note LIKE 'note%'").await, ["5"]);
    let policies =
        "SELECT relrowsecurity, polname FROM pg_policy JOIN pg_class c ON c.oid = polrelid";
    assert_eq!(database.rows(policies).await, ["t|theirs"]);
    database
        .run(&format!("DROP SCHEMA rollback CASCADE; DROP OWNED BY {role}; DROP ROLE {role}"))
        .await;
}

#[tokio::test]
async fn views_and_functions_see_the_restored_rows() {
    let database = Database::of_agents().await;
    database
        .run(
            "CREATE VIEW newer AS SELECT id, note FROM agents WHERE version = '2';
            CREATE FUNCTION newest() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT note FROM agents WHERE id = 4; END;
            GRANT SELECT ON agents TO PUBLIC",
        )
        .await;
    let port = damaged(&database).await;
    port.apply(port.action(RESTORE, json!({"snapshot": "good"})).await.as_ref()).await;
    assert_eq!(
        database.rows("SELECT note FROM newer ORDER BY id").await,
        ["note 3", "note 4", "note 5"]
    );
    assert_eq!(database.rows("SELECT newest()").await, ["note 4"]);
    let granted = "SELECT has_table_privilege('public', 'agents', 'SELECT')";
    assert_eq!(database.rows(granted).await, ["t"]);
}

#[tokio::test]
async fn a_trigger_that_changes_rows_is_noticed_and_can_be_skipped() {
    let database = Database::of_agents().await;
    database
        .run(
            "CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.tries := NEW.tries + 1; RETURN NEW; END $$;
            CREATE TRIGGER count_up BEFORE UPDATE ON agents FOR EACH ROW EXECUTE FUNCTION count_up();
            CREATE TRIGGER asleep BEFORE UPDATE ON agents FOR EACH ROW EXECUTE FUNCTION count_up();
            ALTER TABLE agents DISABLE TRIGGER asleep",
        )
        .await;
    let good = database.agents().await;
    let port = damaged(&database).await;
    let damaged = database.agents().await;
    let error = refused(&database, &port, json!({})).await;
    assert!(error.message.contains("1 of them are not as wanted afterwards"), "{error}");

    let action = port.action(RESTORE, json!({"snapshot": "good", "triggers": "skip"})).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    assert_eq!(database.agents().await, good);
    let triggers =
        "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'agents'::regclass ORDER BY 1";
    assert_eq!(database.rows(triggers).await, ["asleep|D", "count_up|O"]);
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.agents().await, damaged);
}

#[tokio::test]
async fn an_audit_trigger_may_write_beside() {
    let database = Database::of_agents().await;
    database
        .run(
            "CREATE TABLE audit (n serial PRIMARY KEY, what text);
            CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM agents;
            CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit (what) VALUES (TG_OP); RETURN NULL; END $$;
            CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN REFRESH MATERIALIZED VIEW counted; RETURN NULL; END $$",
        )
        .await;
    let port = damaged(&database).await;
    database
        .run(
            "CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON agents FOR EACH ROW EXECUTE FUNCTION tell();
            CREATE TRIGGER again AFTER INSERT OR UPDATE OR DELETE ON agents FOR EACH STATEMENT EXECUTE FUNCTION again()",
        )
        .await;
    let damaged = database.agents().await;
    let action = port.action(RESTORE, json!({"snapshot": "good"})).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    assert_eq!(
        database.rows("SELECT what FROM audit ORDER BY 1").await,
        ["DELETE", "INSERT", "UPDATE"]
    );
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.agents().await, damaged);
}

#[tokio::test]
async fn a_long_reader_is_not_in_the_way_and_a_writer_is_waited_for() {
    let database = Database::of_agents().await;
    let good = database.agents().await;
    let port = damaged(&database).await;
    let reader = database.client().await;
    reader
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM agents")
        .await
        .expect("a long look");
    let writer = database.client().await;
    writer
        .batch_execute("BEGIN; UPDATE agents SET tries = 9 WHERE id = 1")
        .await
        .expect("a writer");
    let action = port.action(RESTORE, json!({"snapshot": "good", "lock_timeout": "100ms"})).await;
    let error = port.refused(action.as_ref()).await;
    assert_eq!((error.kind, error.retryable), (ErrorKind::Failed, true), "{error}");
    assert!(error.message.contains("55P03"), "{error}");
    writer.batch_execute("ROLLBACK").await.expect("it ends");
    port.apply(action.as_ref()).await;
    assert_eq!(database.agents().await, good);
    let seen =
        reader.query("SELECT note FROM agents WHERE id = 3", &[]).await.expect("it reads on");
    assert_eq!(seen[0].get::<_, &str>(0), "bad", "an old look still sees the old rows");
}

#[tokio::test]
async fn a_snapshot_that_was_changed_is_refused() {
    let database = Database::of_agents().await;
    let port = damaged(&database).await;
    for forgery in [
        "UPDATE rollback.good SET note = 'forged' WHERE id = 1",
        "DELETE FROM rollback.good WHERE id = 2",
    ] {
        database.run(forgery).await;
        let error = refused(&database, &port, json!({})).await;
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert!(error.message.contains("count and hash differ"), "{forgery}: {error}");
    }
    database.run("ALTER TABLE agents ADD COLUMN more int").await;
    let action = port.action(RESTORE, json!({"snapshot": "good"})).await;
    let error = action.inspect(&port.cx()).await.expect_err("a new column");
    assert!(error.message.contains("other columns by now (`more`)"), "{error}");
    let action = port.action(RESTORE, json!({"snapshot": "missing"})).await;
    let error = action.inspect(&port.cx()).await.expect_err("no snapshot");
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn every_kind_of_column_comes_back() {
    let database = Database::with(
        "CREATE TABLE agents (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tag text, doc json, place point, vector real[], at timestamptz,
            twice int GENERATED ALWAYS AS (length(tag) * 2) STORED);
        INSERT INTO agents (tag, doc, place, vector, at)
            SELECT 'tag ' || n, '{\"a\": 1}', point(n, n), ARRAY[n, n / 3.0], now() FROM generate_series(1, 4) AS n",
    )
    .await;
    let good = database.agents().await;
    let port = database.port();
    snapshot(&port, json!({})).await;
    database
        .run("UPDATE agents SET doc = '{\"a\":  1}' WHERE id = 1; UPDATE agents SET vector[2] = 5, tag = 'x' WHERE id = 2;
              DELETE FROM agents WHERE id = 3; INSERT INTO agents (tag) VALUES ('more')")
        .await;
    let damaged = database.agents().await;
    let action = port.action(RESTORE, json!({"snapshot": "good"})).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    assert_eq!(database.agents().await, good);
    assert!(evidence.summary.ends_with("2 changed, 1 added, 1 removed"), "{}", evidence.summary);
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.agents().await, damaged);
}
