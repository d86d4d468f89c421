//! The way back: what others have attached since, a commit that is still on its way, and the order of several tables.

use std::sync::Arc;

use rollback::action::{ActionError, ErrorKind};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::restore::{RESTORE, snapshot};
use super::rig::{Database, Port, rows};
use crate::support::HANG;

const RUN: &str = "postgres.run";

/// Agent 6 comes.
fn one_more() -> Value {
    json!({"statements": [{"sql": "INSERT INTO agents VALUES (6, '2')"}], "changes": ["agents"]})
}

/// Runs statements as a step, lets others meddle, and takes the step back, which must fail and change nothing.
async fn undo_is_refused(
    database: &Database,
    args: Value,
    meddle: &str,
    look: &str,
) -> ActionError {
    let port = database.port();
    let action = port.action(RUN, args).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    database.run(meddle).await;
    let (agents, others) = (database.agents().await, database.rows(look).await);
    let error = action.undo(&port.cx(), &saved, Some(&evidence)).await.expect_err(meddle);
    assert_eq!(database.agents().await, agents, "{meddle}");
    assert_eq!(database.rows(look).await, others, "{meddle}");
    port.done(action.as_ref()).await;
    error
}

#[tokio::test]
async fn rows_that_others_have_attached_stay() {
    const TASKS: &str = "SELECT * FROM tasks ORDER BY 1";
    for follow in ["CASCADE", "SET NULL", "SET DEFAULT"] {
        let database = Database::of_agents().await;
        let tasks = format!(
            "CREATE TABLE tasks (id int PRIMARY KEY, agent int DEFAULT 1 REFERENCES agents ON DELETE {follow})"
        );
        database.run(&tasks).await;
        let attach = "INSERT INTO tasks VALUES (1, 6)";
        let error = undo_is_refused(&database, one_more(), attach, TASKS).await;
        assert_eq!((error.kind, error.retryable), (ErrorKind::Conflict, false), "{error}");
        let told = "rows of public.tasks would change along";
        assert!(error.message.contains(told), "{follow}: {error}");
        assert_eq!(database.rows(TASKS).await, ["1|6"]);
    }

    // The same where the step has changed the other table, too: it knows its own rows and no others.
    let database = Database::of_agents().await;
    database
        .run("CREATE TABLE tasks (id int PRIMARY KEY, agent int REFERENCES agents ON DELETE CASCADE)")
        .await;
    let both = json!({
        "statements": [{"sql": "INSERT INTO agents VALUES (6, '2')"}, {"sql": "INSERT INTO tasks VALUES (1, 6)"}],
        "changes": ["agents", "tasks"],
    });
    let attach = "INSERT INTO tasks VALUES (2, 6)";
    let error = undo_is_refused(&database, both, attach, TASKS).await;
    assert!(error.message.contains("more rows of public.tasks"), "{error}");
}

#[tokio::test]
async fn rows_that_a_trigger_changes_along_stay() {
    let database = Database::of_agents().await;
    database
        .run(
            "CREATE TABLE fleet (size int); INSERT INTO fleet VALUES (5); CREATE TABLE audit (what text);
            CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit VALUES (TG_OP); RETURN NULL; END $$;
            CREATE FUNCTION shrink() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE fleet SET size = size - 1; RETURN NULL; END $$",
        )
        .await;
    let shrink =
        "CREATE CONSTRAINT TRIGGER shrink AFTER DELETE ON agents DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION shrink()";
    let error = undo_is_refused(&database, one_more(), shrink, "SELECT * FROM fleet").await;
    assert!(error.message.contains("rows of public.fleet would change along"), "{error}");

    // New rows of an audit may come, and stay.
    database.run("DROP TRIGGER shrink ON agents").await;
    database
        .run("CREATE TRIGGER audit AFTER DELETE ON agents FOR EACH ROW EXECUTE FUNCTION audit()")
        .await;
    let port = database.port();
    let action = port.action(RUN, one_more()).await;
    let saved =
        rollback::action::Saved::public(json!({"mark": {"run": "20261121-run", "place": "step"}}));
    port.undo(action.as_ref(), &saved, None).await;
    assert_eq!(database.rows("SELECT * FROM audit").await, ["DELETE"]);
}

/// A trigger on the agents that counts them in another table and tells of it in a third one.
const COUNTING: &str = "
    CREATE TABLE fleet (id int PRIMARY KEY, size int); INSERT INTO fleet VALUES (1, 5), (2, 0);
    CREATE TABLE audit (n serial PRIMARY KEY, what text);
    CREATE FUNCTION counting() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO audit (what) VALUES (TG_OP);
        UPDATE fleet SET size = size + CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END WHERE id = 1;
        RETURN NULL;
    END $$;
    CREATE TRIGGER counting AFTER INSERT OR DELETE ON agents FOR EACH ROW EXECUTE FUNCTION counting()";
const FLEET: &str = "SELECT * FROM fleet ORDER BY id";

#[tokio::test]
async fn what_a_trigger_writes_in_a_named_table_comes_back() {
    let database = Database::of_agents().await;
    database.run(COUNTING).await;
    let before = (database.agents().await, database.rows(FLEET).await);
    let port = database.port();
    for changes in [json!(["agents", "fleet", "audit"]), json!(["audit", "fleet", "agents"])] {
        for sql in ["INSERT INTO agents VALUES (6, '2')", "DELETE FROM agents WHERE id = 5"] {
            database.run("DELETE FROM audit").await;
            let args = json!({"statements": [{"sql": sql}], "changes": changes});
            let action = port.action(RUN, args).await;
            let (saved, evidence) = port.apply(action.as_ref()).await;
            assert_ne!(database.rows(FLEET).await, before.1);
            port.undo(action.as_ref(), &saved, Some(&evidence)).await;
            assert_eq!((database.agents().await, database.rows(FLEET).await), before, "{changes}");
            // Of the step's own row nothing is left; that of the undo is another one, and stays.
            let told = if sql.starts_with("INSERT") { "DELETE" } else { "INSERT" };
            assert_eq!(database.rows("SELECT what FROM audit").await, [told]);
        }
    }

    // The trigger has come to write a row that the step has not: nobody has kept it.
    let other = "CREATE OR REPLACE FUNCTION counting() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE fleet SET size = size - 1; RETURN NULL; END $$";
    let args =
        json!({"statements": one_more()["statements"], "changes": ["agents", "fleet", "audit"]});
    let error = undo_is_refused(&database, args, other, FLEET).await;
    assert!(error.message.contains("more rows of public.fleet would change along"), "{error}");
}

#[tokio::test]
async fn what_a_trigger_writes_in_the_row_itself_comes_back() {
    let database = Database::of_agents().await;
    database
        .run(
            "CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                UPDATE agents SET tries = tries + 1 WHERE id = NEW.id; RETURN NULL; END $$;
            CREATE TRIGGER again AFTER UPDATE ON agents FOR EACH ROW
            WHEN (OLD.version IS DISTINCT FROM NEW.version) EXECUTE FUNCTION again()",
        )
        .await;
    let before = database.agents().await;
    let port = database.port();
    let update = json!([{"sql": "UPDATE agents SET version = '3' WHERE id < 3"}]);
    let args = json!({"statements": update, "changes": ["agents"]});
    let action = port.action(RUN, args).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    assert_eq!(database.agents().await[..2], ["1|3|note 1|1", "2|3|note 2|1"]);
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.agents().await, before);
}

/// A table whose rows refer to each other, with a row that others attach to the sixth.
const TREE: &str = "ALTER TABLE agents ADD parent int REFERENCES agents ON DELETE CASCADE";
const ATTACH: &str = "INSERT INTO agents (id, version, parent) VALUES (7, '2', 6)";

#[tokio::test]
async fn rows_of_the_same_table_that_others_have_attached_stay() {
    let database = Database::of_agents().await;
    database.run(TREE).await;
    let error = undo_is_refused(&database, one_more(), ATTACH, "SELECT 1").await;
    assert!(error.message.contains("more rows of public.agents"), "{error}");

    // The forward way of a restore, where row 7 is beyond the scope.
    let database = Database::of_agents().await;
    database.run(TREE).await;
    let port = database.port();
    snapshot(&port, json!({"where": {"version": "2"}})).await;
    database.run("INSERT INTO agents (id, version) VALUES (6, '2')").await;
    database.run(&ATTACH.replace("'2'", "'1'")).await;
    let before = database.agents().await;
    let action = port.action(RESTORE, json!({"snapshot": "good"})).await;
    let error = port.refused(action.as_ref()).await;
    assert!(error.message.contains("more rows of public.agents"), "{error}");
    assert_eq!(database.agents().await, before);
}

/// A proxy that holds the client's commit back until it is released.
struct Holding {
    address: String,
    held: Arc<Notify>,
    release: Arc<Notify>,
}

impl Holding {
    async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let holding = Self { address, held: Arc::default(), release: Arc::default() };
        let (held, release) = (holding.held.clone(), holding.release.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.expect("the server listens");
                let (held, release) = (held.clone(), release.clone());
                tokio::spawn(async move {
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let back = tokio::spawn(async move {
                        // Ends when either side is gone, which is no matter of this test.
                        let _bytes = tokio::io::copy(&mut from_server, &mut to_client).await;
                    });
                    let mut buffer = vec![0; 65_536];
                    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                        if buffer[..read].windows(7).any(|word| word == b"COMMIT\0") {
                            held.notify_one();
                            release.notified().await;
                        }
                        if to_server.write_all(&buffer[..read]).await.is_err() {
                            break;
                        }
                    }
                    drop(to_server);
                    let _ended = back.await;
                });
            }
        });
        holding
    }
}

#[tokio::test]
async fn undo_waits_for_a_commit_that_is_on_its_way() {
    let database = Database::of_agents().await;
    let port = database.port();
    // So that the schema is there, and the only commit is that of the change.
    port.step("first");
    let first =
        json!({"statements": [{"sql": "UPDATE agents SET tries = 0"}], "changes": ["agents"]});
    port.apply(port.action(RUN, first).await.as_ref()).await;
    let before = database.agents().await;

    let (user, rest) = database.url.split_once('@').expect("a URL");
    let (host, name) = rest.split_once('/').expect("a URL");
    let holding = Holding::start(host.to_owned()).await;
    let mortal = Port::of(&format!("{user}@{}/{name}", holding.address));
    let args = json!({
        "statements": [{"sql": "UPDATE agents SET tries = tries + 1"}], "changes": ["agents"], "lock_timeout": "60s",
    });
    port.step("step");
    let action = port.action(RUN, args.clone()).await;
    let saved = port.needed(action.as_ref()).await;
    let dying = mortal.action(RUN, args).await;
    let cx = mortal.cx();
    tokio::select! {
        outcome = dying.apply(&cx, &saved) => panic!("its commit is held back: {outcome:?}"),
        () = holding.held.notified() => {}
    }

    let watch = database.client().await;
    let count = async |sql: &str| rows(&watch, sql).await.len();
    let sessions = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'rollback %' AND datname = current_database()";
    let waiting = format!("{sessions} AND wait_event_type = 'Lock'");
    let end = Instant::now() + HANG;
    let releasing = async {
        while count(&waiting).await == 0 && Instant::now() < end {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        holding.release.notify_one();
    };
    let cx = port.cx();
    let undoing = async {
        let outcome = action.undo(&cx, &saved, None).await;
        // An undo that has not waited must not keep the commit from arriving.
        holding.release.notify_one();
        outcome
    };
    tokio::select! {
        outcome = undoing => outcome.expect("it is taken back"),
        () = async { releasing.await; std::future::pending().await } => {}
    }
    while count(sessions).await > 0 {
        assert!(Instant::now() < end, "the held session never ends");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(database.agents().await, before, "nothing arrives after the undo");
    port.needed(action.as_ref()).await;
}

#[tokio::test]
async fn tables_that_refer_to_each_other_come_back_in_any_order() {
    let database = Database::of_agents().await;
    database
        .run(
            "CREATE TABLE tasks (id int PRIMARY KEY, agent int NOT NULL REFERENCES agents, name text UNIQUE);
            INSERT INTO tasks VALUES (1, 1, 'a'), (2, 5, 'b'), (3, 5, 'c')",
        )
        .await;
    let statements = json!([
        {"sql": "INSERT INTO agents VALUES (6, '1')"},
        {"sql": "UPDATE tasks SET agent = 6 WHERE id IN (1, 2)"},
        {"sql": "DELETE FROM tasks WHERE id = 3"},
        {"sql": "INSERT INTO tasks VALUES (4, 6, 'd')"},
        {"sql": "DELETE FROM agents WHERE id = 5"},
    ]);
    let port = database.port();
    let tasks = "SELECT * FROM tasks ORDER BY id";
    let before = (database.agents().await, database.rows(tasks).await);
    for changes in [json!(["agents", "tasks"]), json!(["tasks", "agents"])] {
        let args = json!({"statements": statements, "changes": changes});
        let action = port.action(RUN, args).await;
        let (saved, evidence) = port.apply(action.as_ref()).await;
        assert_eq!(database.rows(tasks).await, ["1|6|a", "2|6|b", "4|6|d"]);
        port.undo(action.as_ref(), &saved, Some(&evidence)).await;
        assert_eq!((database.agents().await, database.rows(tasks).await), before, "{changes}");
    }

    // A unique value that one row takes over from another wants the other order.
    let handed_on = json!({
        "statements": [{"sql": "DELETE FROM tasks WHERE id = 3"}, {"sql": "INSERT INTO tasks VALUES (4, 5, 'c')"}],
        "changes": ["agents", "tasks"],
    });
    let action = port.action(RUN, handed_on).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!((database.agents().await, database.rows(tasks).await), before);
}

#[tokio::test]
async fn unique_values_that_rows_have_exchanged_come_back() {
    let database = Database::of_agents().await;
    database.run("ALTER TABLE agents ADD slot int UNIQUE; UPDATE agents SET slot = id").await;
    let slots = |slots: [(u32, &str); 3]| {
        slots.map(|(id, slot)| format!("UPDATE agents SET slot = {slot} WHERE id = {id}"))
    };
    let exchanged = slots([(1, "NULL"), (2, "1"), (1, "2")]);
    let statements = exchanged.each_ref().map(|sql| json!({ "sql": sql }));
    let port = database.port();
    let before = database.agents().await;
    let action = port.action(RUN, json!({"statements": statements, "changes": ["agents"]})).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    assert_eq!(database.agents().await[..2], ["1|1|note 1|0|2", "2|1|note 2|0|1"]);
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.agents().await, before);

    // The forward way.
    snapshot(&port, json!({})).await;
    database.run(&exchanged.join("; ")).await;
    let restore = port.action(RESTORE, json!({"snapshot": "good"})).await;
    port.apply(restore.as_ref()).await;
    assert_eq!(database.agents().await, before);

    // Somebody else's row has the value by now: that is the reason, and nothing is changed.
    let args = json!({"statements": [{"sql": "UPDATE agents SET slot = 7 WHERE id = 1"}], "changes": ["agents"]});
    let database = Database::of_agents().await;
    database.run("ALTER TABLE agents ADD slot int UNIQUE; UPDATE agents SET slot = id").await;
    let meddle = "UPDATE agents SET slot = 1 WHERE id = 5";
    let error = undo_is_refused(&database, args, meddle, "SELECT 1").await;
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert!(error.message.ends_with("(23505)"), "{error}");

    // The same while one more row has come that others are moved to.
    let database = Database::of_agents().await;
    database
        .run(
            "ALTER TABLE agents ADD slot int UNIQUE; UPDATE agents SET slot = id;
            CREATE TABLE tasks (id int PRIMARY KEY, agent int REFERENCES agents); INSERT INTO tasks VALUES (1, 5)",
        )
        .await;
    let mut statements = statements.to_vec();
    statements.push(json!({"sql": "INSERT INTO agents VALUES (6, '2')"}));
    statements.push(json!({"sql": "UPDATE tasks SET agent = 6"}));
    let port = database.port();
    let before = database.agents().await;
    let args = json!({"statements": statements, "changes": ["agents", "tasks"]});
    let action = port.action(RUN, args).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.agents().await, before);
    assert_eq!(database.rows("SELECT * FROM tasks").await, ["1|5"]);
}

#[tokio::test]
async fn numbers_that_no_update_may_write_come_back() {
    // One row gets another note, one another number, and one goes.
    const CHANGES: &str = "UPDATE agents SET note = 'other' WHERE id = 1; UPDATE agents SET n = DEFAULT, tries = 7 WHERE id = 2; DELETE FROM agents WHERE id = 3";
    let database = Database::of_agents().await;
    database.run("ALTER TABLE agents ADD n int GENERATED ALWAYS AS IDENTITY").await;
    let before = database.agents().await;
    let port = database.port();
    let statements: Vec<Value> = CHANGES.split("; ").map(|sql| json!({ "sql": sql })).collect();
    let action = port.action(RUN, json!({"statements": statements, "changes": ["agents"]})).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    assert_eq!(database.agents().await[..2], ["1|1|other|0|1", "2|1|note 2|7|6"]);
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.agents().await, before);

    // The forward way.
    snapshot(&port, json!({})).await;
    database.run(CHANGES).await;
    let damaged = database.agents().await;
    let action = port.action(RESTORE, json!({"snapshot": "good", "expect_rows": 3})).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    assert_eq!(database.agents().await, before);
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.agents().await, damaged);

    // The row with another number would have to go for a moment, which nothing that refers to it lets happen unseen.
    for follow in ["NO ACTION", "CASCADE"] {
        let tasks = format!(
            "CREATE TABLE tasks (agent int REFERENCES agents ON DELETE {follow}); INSERT INTO tasks VALUES (2)"
        );
        database.run(&tasks).await;
        let error = port.refused(action.as_ref()).await;
        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
        assert!(error.message.contains("tasks"), "{follow}: {error}");
        assert_eq!(database.agents().await, damaged);
        assert_eq!(database.rows("SELECT * FROM tasks").await, ["2"]);
        database.run("DROP TABLE tasks").await;
    }
}
