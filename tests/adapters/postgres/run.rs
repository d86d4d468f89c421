//! `postgres.run`.

use std::time::Duration;

use rollback::action::{ErrorKind, Reversal};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::rig::{Database, Port, rows};
use crate::support::HANG;

const RUN: &str = "postgres.run";

/// The step of the shipped runbook, in small: one row changes, one goes, one comes.
fn three_ways() -> Value {
    json!({
        "statements": [
            {"sql": "UPDATE agents SET version = $1 WHERE version = $2 AND id < 5", "parameters": ["1", "2"], "expect_rows": 2},
            {"sql": "DELETE FROM agents WHERE id = $1", "parameters": [5], "expect_rows": {"at_most": 1}},
            {"sql": "INSERT INTO agents VALUES ($1, $2)", "parameters": [6, "1"]},
        ],
        "changes": ["agents"],
    })
}

#[tokio::test]
async fn what_was_replaced_comes_back() {
    let database = Database::of_agents().await;
    let before = database.agents().await;
    let port = database.port();
    let action = port.action(RUN, three_ways()).await;
    assert_eq!(action.reversal(), Reversal::Automatic);
    assert_eq!(action.describe().undo, "put the replaced rows of agents back");

    let (saved, evidence) = port.apply(action.as_ref()).await;
    let after = ["1|1|note 1|0", "2|1|note 2|0", "3|1|note 3|0", "4|1|note 4|0", "6|1|NULL|0"];
    assert_eq!(database.agents().await, after);
    assert!(evidence.summary.contains("2 changed, 1 added, 1 removed"), "{}", evidence.summary);
    assert_eq!(evidence.facts["kept"][0]["was_content"]["rows"], 3);
    assert!(!format!("{saved:?}{evidence:?}").contains("note 3"), "rows stay in the database");
    port.done(action.as_ref()).await;
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.agents().await, before);
    assert_eq!(database.left().await, [""; 0]);

    let (saved, _) = port.apply(action.as_ref()).await;
    port.undo(action.as_ref(), &saved, None).await;
    assert_eq!(database.agents().await, before);
    port.needed(action.as_ref()).await;
}

/// As production would have it: rights on one table, and a schema that somebody else has made for the role.
#[tokio::test]
async fn a_role_that_owns_nothing_but_the_schema_changes_and_takes_back() {
    let database = Database::of_agents().await;
    let before = database.agents().await;
    let role = format!("rollback_test_{}", uuid::Uuid::new_v4().simple());
    database
        .run(&format!(
            "CREATE ROLE {role}; GRANT SELECT, INSERT, UPDATE, DELETE ON agents TO {role};
            CREATE SCHEMA rollback AUTHORIZATION {role}"
        ))
        .await;
    // The superuser of the tests works as that role.
    let url = format!("{}?options=-c%20role%3D{role}", database.url);
    let port = Port::of(&url);
    let action = port.action(RUN, three_ways()).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    assert_ne!(database.agents().await, before);
    assert_eq!(database.rows("SELECT count(*) FROM rollback.ledger").await, ["1"]);
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.agents().await, before);
    database
        .run(&format!("DROP SCHEMA rollback CASCADE; DROP OWNED BY {role}; DROP ROLE {role}"))
        .await;
}

#[tokio::test]
async fn a_bound_that_does_not_hold_takes_everything_back() {
    let database = Database::of_agents().await;
    let before = database.agents().await;
    let port = database.port();
    let action = port
        .action(
            RUN,
            json!({
                "statements": [
                    {"sql": "UPDATE agents SET version = '0'"},
                    {"sql": "DELETE FROM agents WHERE version = $1", "parameters": ["9"], "expect_rows": {"at_least": 1}},
                ],
                "changes": ["agents"],
            }),
        )
        .await;
    let error = port.refused(action.as_ref()).await;
    assert_eq!((error.kind, error.retryable), (ErrorKind::Conflict, false));
    assert!(error.message.contains("0 rows, expected at least 1"), "{error}");
    assert_eq!(database.agents().await, before);
    assert_eq!(database.left().await, [""; 0]);
    port.needed(action.as_ref()).await;
}

#[tokio::test]
async fn a_change_happens_once_however_often_it_is_sent() {
    let database = Database::of_agents().await;
    let port = database.port();
    let args = json!({"statements": [{"sql": "UPDATE agents SET tries = tries + 1"}]});
    let action = port.action(RUN, args).await;
    assert!(matches!(action.reversal(), Reversal::Irreversible { .. }), "it names no `changes`");
    let (saved, first) = port.apply(action.as_ref()).await;
    let again = action.apply(&port.cx(), &saved).await.expect("it is done already");
    assert_eq!(again, first);
    assert_eq!(database.rows("SELECT DISTINCT tries FROM agents").await, ["1"]);

    // Another step of the same run is another change.
    port.step("another");
    port.apply(action.as_ref()).await;
    assert_eq!(database.rows("SELECT DISTINCT tries FROM agents").await, ["2"]);
}

#[tokio::test]
async fn two_attempts_at_the_same_time_make_one_change() {
    let database = Database::of_agents().await;
    let port = database.port();
    let args = json!({
        "statements": [{"sql": "UPDATE agents SET tries = tries + 1 WHERE id = 1"}], "changes": ["agents"], "lock_timeout": "60s",
    });
    let action = port.action(RUN, args).await;
    let saved = port.needed(action.as_ref()).await;
    let (cx, other) = (port.cx(), port.cx());
    let both = tokio::join!(action.apply(&cx, &saved), action.apply(&other, &saved));
    assert!(both.0.is_ok() || both.1.is_ok(), "{both:?}");
    for outcome in [both.0, both.1] {
        // The one that came second has either seen the mark, or was told to look again.
        assert!(outcome.as_ref().map_or_else(|error| error.retryable, |_| true), "{outcome:?}");
    }
    port.done(action.as_ref()).await;
    assert_eq!(database.rows("SELECT tries FROM agents WHERE id = 1").await, ["1"]);
}

#[tokio::test]
async fn a_change_of_another_table_is_refused_by_name() {
    let database = Database::of_agents().await;
    database
        .run(
            "CREATE TABLE tasks (id int PRIMARY KEY, agent int REFERENCES agents ON DELETE CASCADE);
            INSERT INTO tasks VALUES (1, 5)",
        )
        .await;
    let port = database.port();
    let delete = |changes: Value| json!({"statements": [{"sql": "DELETE FROM agents WHERE id = 5"}], "changes": changes});
    let action = port.action(RUN, delete(json!(["agents"]))).await;
    let error = port.refused(action.as_ref()).await;
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.message.contains("public.tasks would change, too"), "{error}");
    assert_eq!(database.rows("SELECT * FROM tasks").await, ["1|5"]);

    let action = port.action(RUN, delete(json!(["agents", "tasks"]))).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    assert_eq!(database.rows("SELECT * FROM tasks").await, [""; 0]);
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.rows("SELECT * FROM tasks").await, ["1|5"]);
}

/// Runs one statement as a subtransaction, and takes another one back.
const IN_A_SAVEPOINT: &str = "
    CREATE FUNCTION in_a_savepoint(kept text, undone text DEFAULT 'SELECT 1') RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        BEGIN EXECUTE undone; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END;
        BEGIN EXECUTE kept; EXCEPTION WHEN division_by_zero THEN NULL; END;
    END $$";

#[tokio::test]
async fn what_a_function_does_in_a_subtransaction_comes_back() {
    let database = Database::of_agents().await;
    database.run(IN_A_SAVEPOINT).await;
    let before = database.agents().await;
    let port = database.port();
    let args = json!({
        "statements": [
            {"sql": "SELECT in_a_savepoint('UPDATE agents SET note = $$x$$ WHERE id < 3', 'DELETE FROM agents')"},
            {"sql": "SELECT in_a_savepoint('INSERT INTO agents VALUES (9, $$1$$)', 'INSERT INTO agents VALUES (8, $$1$$)')"},
            {"sql": "SELECT in_a_savepoint('DELETE FROM agents WHERE id = 5')"},
        ],
        "changes": ["agents"],
    });
    let action = port.action(RUN, args).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    assert!(evidence.summary.contains("2 changed, 1 added, 1 removed"), "{}", evidence.summary);
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.agents().await, before);
}

#[tokio::test]
async fn what_waits_for_the_commit_is_seen() {
    let database = Database::of_agents().await;
    database
        .run(
            "CREATE TABLE fleet (size int); INSERT INTO fleet VALUES (5);
            CREATE FUNCTION shrink() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE fleet SET size = size - 1; RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER shrink AFTER DELETE ON agents DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION shrink()",
        )
        .await;
    let port = database.port();
    let args =
        json!({"statements": [{"sql": "DELETE FROM agents WHERE id = 5"}], "changes": ["agents"]});
    let error = port.refused(port.action(RUN, args).await.as_ref()).await;
    assert!(error.message.contains("public.fleet would change, too"), "{error}");
    assert_eq!(database.rows("SELECT * FROM fleet").await, ["5"]);
}

/// Notes, and a trigger that does this for every row of agents that goes.
async fn with_notes(what: &str) -> Database {
    let database = Database::of_agents().await;
    database
        .run(&format!(
            "CREATE TABLE notes (id int PRIMARY KEY); INSERT INTO notes VALUES (1), (2);
            CREATE FUNCTION also() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {what}; RETURN NULL; END $$;
            CREATE TRIGGER also AFTER DELETE ON agents FOR EACH ROW EXECUTE FUNCTION also()"
        ))
        .await;
    database
}

#[tokio::test]
async fn a_table_that_a_trigger_truncates_is_refused_by_name_or_comes_back() {
    let database = with_notes("TRUNCATE notes").await;
    let before = database.agents().await;
    let port = database.port();
    let delete = |changes: Value| json!({"statements": [{"sql": "DELETE FROM agents WHERE id = 5"}], "changes": changes});
    let error = port.refused(port.action(RUN, delete(json!(["agents"]))).await.as_ref()).await;
    assert_eq!((error.kind, error.retryable), (ErrorKind::Conflict, false), "{error}");
    assert!(error.message.contains("public.notes would be emptied or altered"), "{error}");
    assert!(error.hints.iter().any(|hint| hint.contains("irreversible: true")), "{error:?}");
    assert_eq!(database.rows("SELECT * FROM notes").await, ["1", "2"]);
    assert_eq!(database.agents().await, before);

    // Named, its rows are copied before.
    let action = port.action(RUN, delete(json!(["agents", "notes"]))).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    assert_eq!(database.rows("SELECT * FROM notes").await, [""; 0]);
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.rows("SELECT * FROM notes").await, ["1", "2"]);
    assert_eq!(database.agents().await, before);
}

#[tokio::test]
async fn a_trigger_that_makes_a_table_changes_no_other() {
    let database = with_notes("EXECUTE 'CREATE TABLE gone_' || OLD.id || ' ()'").await;
    let port = database.port();
    let args =
        json!({"statements": [{"sql": "DELETE FROM agents WHERE id = 5"}], "changes": ["agents"]});
    port.apply(port.action(RUN, args).await.as_ref()).await;
    assert_eq!(database.rows("SELECT count(*) FROM gone_5").await, ["0"]);
}

#[tokio::test]
async fn undo_is_refused_where_a_trigger_would_truncate() {
    for table in ["notes", "agents"] {
        let database = with_notes(&format!("TRUNCATE {table}")).await;
        database.run("ALTER TABLE agents DISABLE TRIGGER also").await;
        let port = database.port();
        let args = json!({"statements": [{"sql": "INSERT INTO agents VALUES (6, '1')"}], "changes": ["agents"]});
        let action = port.action(RUN, args).await;
        let (saved, evidence) = port.apply(action.as_ref()).await;
        let after = database.agents().await;
        database.run("ALTER TABLE agents ENABLE TRIGGER also").await;
        let undo = action.undo(&port.cx(), &saved, Some(&evidence)).await;
        let error = undo.expect_err("the trigger would empty a table");
        assert!(error.message.contains(&format!("rows of public.{table}")), "{error}");
        assert_eq!(database.rows("SELECT * FROM notes").await, ["1", "2"]);
        assert_eq!(database.agents().await, after);
    }
}

#[tokio::test]
async fn rows_beyond_the_scope_are_refused() {
    let database = Database::of_agents().await;
    database.run(IN_A_SAVEPOINT).await;
    let before = database.agents().await;
    let port = database.port();
    let update = |sql: &str| {
        json!({
            "statements": [{"sql": sql}],
            "changes": [{"table": "public.agents", "where": {"version": ["2", "3"]}}],
        })
    };
    for sql in [
        "UPDATE agents SET note = 'x'",
        "DELETE FROM agents WHERE id IN (1, 5)",
        "UPDATE agents SET note = 'x' WHERE version = '1'",
        // A row that comes and goes again must not hide one that changes.
        "WITH gone AS (DELETE FROM agents WHERE id = 5) UPDATE agents SET note = 'x' WHERE id = 1",
        "SELECT in_a_savepoint('UPDATE agents SET note = $$x$$ WHERE id = 1')",
        "SELECT in_a_savepoint('UPDATE agents SET note = $$x$$ WHERE id = 1', 'INSERT INTO agents VALUES (8, $$1$$)')",
        "SELECT in_a_savepoint('DELETE FROM agents WHERE id = 1')",
    ] {
        let action = port.action(RUN, update(sql)).await;
        let error = port.refused(action.as_ref()).await;
        assert!(error.message.contains("beyond `where`"), "{sql}: {error}");
        assert_eq!(database.agents().await, before, "{sql}");
    }
    for sql in [
        "UPDATE agents SET version = '1' WHERE version = '2'",
        "DELETE FROM agents WHERE id = 5",
        "INSERT INTO agents VALUES (9, '1')",
        "SELECT in_a_savepoint('INSERT INTO agents VALUES (9, $$1$$)')",
        "SELECT in_a_savepoint('UPDATE agents SET note = $$x$$ WHERE version = $$2$$', 'DELETE FROM agents')",
    ] {
        let action = port.action(RUN, update(sql)).await;
        let (saved, evidence) = port.apply(action.as_ref()).await;
        assert_ne!(database.agents().await, before, "{sql}");
        port.undo(action.as_ref(), &saved, Some(&evidence)).await;
        assert_eq!(database.agents().await, before, "{sql}");
    }
}

#[tokio::test]
async fn undo_refuses_rows_that_others_have_changed() {
    let database = Database::of_agents().await;
    let port = database.port();
    for meddle in [
        "UPDATE agents SET note = 'mine' WHERE id = 3",
        "DELETE FROM agents WHERE id = 3",
        "INSERT INTO agents VALUES (5, '7')",
    ] {
        let action = port.action(RUN, three_ways()).await;
        let (saved, evidence) = port.apply(action.as_ref()).await;
        database.run(meddle).await;
        let meddled = database.agents().await;
        let error = action.undo(&port.cx(), &saved, Some(&evidence)).await.expect_err(meddle);
        assert_eq!(error.kind, ErrorKind::Conflict, "{meddle}");
        assert!(error.message.contains("1 of them have been changed by others"), "{error}");
        assert_eq!(database.agents().await, meddled, "{meddle}: nothing is half undone");
        database.run("DROP SCHEMA rollback CASCADE; TRUNCATE agents").await;
        database
            .run("INSERT INTO agents SELECT n, CASE WHEN n < 3 THEN '1' ELSE '2' END FROM generate_series(1, 5) AS n")
            .await;
    }
}

#[tokio::test]
async fn undo_refuses_kept_rows_that_were_tampered_with() {
    let database = Database::of_agents().await;
    let port = database.port();
    let action = port.action(RUN, three_ways()).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    let left = database.left().await;
    let was = left.iter().find(|name| name.ends_with("_was")).expect("the former rows are kept");
    database.run(&format!("UPDATE rollback.\"{was}\" SET note = 'forged' WHERE id = 3")).await;
    let error = action.undo(&port.cx(), &saved, Some(&evidence)).await.expect_err("a forgery");
    assert!(error.message.contains("is not what it was"), "{error}");
    let forged = rollback::action::Evidence { facts: json!({}), ..evidence };
    let error = action.undo(&port.cx(), &saved, Some(&forged)).await.expect_err("a forgery");
    assert!(error.message.contains("different stories"), "{error}");
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "how many values were tried is a figure of the promise")]
async fn no_value_becomes_a_statement() {
    let database = Database::of_agents().await;
    database.run("CREATE TABLE seen (n serial PRIMARY KEY, value text)").await;
    let mut hostile: Vec<String> = [
        "'; DROP TABLE agents; --",
        "\\'; DROP TABLE agents; --",
        "$1",
        "\"",
        "{a,\"b\\\"",
        "NULL",
        "",
        "é\u{202e}\u{1b}[2J\n\t",
        "{{ inputs.x }}",
        "$$;DROP TABLE agents;$$",
    ]
    .map(str::to_owned)
    .into();
    let pieces = ["'", "\"", "\\", ";", "--", "/*", "*/", "{", "}", ",", "$1", "\n", "DROP", " "];
    let mut seed: usize = 7;
    for _ in 0..1000 {
        let mut text = String::new();
        for _ in 0..8 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            text.push_str(pieces[(seed >> 33) % pieces.len()]);
        }
        hostile.push(text);
    }
    let port = database.port();
    let args = json!({
        "statements": [
            {"sql": "INSERT INTO seen (value) SELECT unnest($1::text[])", "parameters": [hostile], "expect_rows": hostile.len()},
            {"sql": "INSERT INTO seen (value) VALUES ($1)", "parameters": [hostile[0]]},
            {"sql": "UPDATE agents SET note = $1, tries = $2 WHERE id = $3", "parameters": [null, "7", 1]},
        ],
        "changes": ["seen", "agents"],
    });
    let action = port.action(RUN, args).await;
    port.apply(action.as_ref()).await;
    let client = database.client().await;
    let stored =
        client.query("SELECT value FROM seen ORDER BY n", &[]).await.expect("they are stored");
    let stored: Vec<String> = stored.iter().map(|row| row.get(0)).collect();
    hostile.push(hostile[0].clone());
    assert_eq!(stored, hostile);
    println!(
        "P25: {} hostile values are stored as they are, by statements of constant text",
        stored.len()
    );
    assert_eq!(database.rows("SELECT note, tries FROM agents WHERE id = 1").await, ["NULL|7"]);
}

#[tokio::test]
async fn a_lock_in_the_way_may_be_tried_again() {
    let database = Database::of_agents().await;
    let port = database.port();
    let args = json!({
        "statements": [{"sql": "UPDATE agents SET tries = 1 WHERE id = 1"}], "changes": ["agents"], "lock_timeout": "100ms",
    });
    let action = port.action(RUN, args).await;
    let other = database.client().await;
    other.batch_execute("BEGIN; UPDATE agents SET tries = 2 WHERE id = 1").await.expect("a lock");
    let error = port.refused(action.as_ref()).await;
    assert_eq!((error.kind, error.retryable), (ErrorKind::Failed, true), "{error}");
    assert!(error.message.contains("55P03"), "{error}");
    other.batch_execute("ROLLBACK").await.expect("it is released");
    port.apply(action.as_ref()).await;
    assert_eq!(database.rows("SELECT tries FROM agents WHERE id = 1").await, ["1"]);
}

#[tokio::test]
async fn a_deadline_ends_the_statement_at_the_server_too() {
    let database = Database::of_agents().await;
    let port = database.port();
    let args = json!({"statements": [{"sql": "SELECT pg_sleep(600)"}]});
    let action = port.action(RUN, args).await;
    let saved = port.needed(action.as_ref()).await;
    let cx = port.cx_until(Instant::now() + Duration::from_millis(700));
    let error = action.apply(&cx, &saved).await.expect_err("it takes ten minutes");
    assert_eq!(error.kind, ErrorKind::TimedOut, "{error}");
    let client = database.client().await;
    let end = Instant::now() + HANG;
    let working = "SELECT query FROM pg_stat_activity WHERE application_name = 'rollback 20261121-run' AND datname = current_database()";
    while !rows(&client, working).await.is_empty() {
        assert!(Instant::now() < end, "the statement goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn mistakes_are_found_by_the_look() {
    let database = Database::of_agents().await;
    database
        .run(
            "CREATE TABLE loose (a int); CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
            CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10)",
        )
        .await;
    let port = database.port();
    let cases = [
        (
            json!({"statements": [{"sql": "UPDATE agents SET versoin = '1'"}]}),
            ErrorKind::Invalid,
            "42703",
        ),
        (
            json!({"statements": [{"sql": "UPDATE agent SET version = '1'"}]}),
            ErrorKind::NotFound,
            "42P01",
        ),
        (
            json!({"statements": [{"sql": "DELETE FROM loose"}], "changes": ["loose"]}),
            ErrorKind::Invalid,
            "no primary key",
        ),
        (
            json!({"statements": [{"sql": "DELETE FROM parts"}], "changes": ["parts"]}),
            ErrorKind::Invalid,
            "it is partitioned",
        ),
        (
            json!({"statements": [{"sql": "DELETE FROM loose"}], "changes": ["lose"]}),
            ErrorKind::NotFound,
            "find the table lose",
        ),
    ];
    for (args, kind, text) in cases {
        let action = port.action(RUN, args).await;
        let error = action.inspect(&port.cx()).await.expect_err(text);
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(text), "{error}");
    }
    let few = json!({"statements": [{"sql": "DELETE FROM agents WHERE id = $1"}]});
    let error = port.refused(port.action(RUN, few).await.as_ref()).await;
    assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
}
