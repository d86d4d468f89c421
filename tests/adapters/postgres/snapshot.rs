//! `postgres.snapshot`.

use rollback::action::ErrorKind;
use serde_json::json;

use super::rig::Database;

const SNAPSHOT: &str = "postgres.snapshot";

#[tokio::test]
async fn rows_are_set_aside_with_count_and_hash_and_removed_again() {
    let database = Database::of_agents().await;
    let port = database.port();
    let action = port.action(SNAPSHOT, json!({"table": "agents", "where": {"version": "2"}})).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    assert_eq!(evidence.facts["more"]["content"]["rows"], 3);
    assert_eq!(database.left().await, ["20261121-run_step_snapshot"]);
    let copied =
        database.rows("SELECT id FROM rollback.\"20261121-run_step_snapshot\" ORDER BY 1").await;
    assert_eq!(copied, ["3", "4", "5"]);
    port.done(action.as_ref()).await;
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.left().await, [""; 0]);
    assert_eq!(database.rows("SELECT count(*) FROM rollback.snapshots").await, ["0"]);
}

#[tokio::test]
async fn a_table_that_others_inherit_from_is_refused() {
    let database = Database::of_agents().await;
    database.run("CREATE TABLE more_agents () INHERITS (agents)").await;
    let port = database.port();
    let args = json!({"table": "agents"});
    let error = port.action(SNAPSHOT, args).await.inspect(&port.cx()).await.expect_err("a parent");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.message.contains("other tables inherit from it"), "{error}");

    // What was changed before can be taken back.
    database.run("DROP TABLE more_agents").await;
    let before = database.agents().await;
    let args =
        json!({"statements": [{"sql": "DELETE FROM agents WHERE id = 1"}], "changes": ["agents"]});
    port.step("delete");
    let action = port.action("postgres.run", args).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    database.run("CREATE TABLE more_agents () INHERITS (agents)").await;
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.agents().await, before);
}

#[tokio::test]
async fn a_name_is_taken_once_unless_the_rows_are_the_same() {
    let database = Database::of_agents().await;
    let port = database.port();
    let args = json!({"table": "agents", "name": "before"});
    let action = port.action(SNAPSHOT, args.clone()).await;
    port.apply(action.as_ref()).await;

    port.step("later");
    let later = port.action(SNAPSHOT, args).await;
    let evidence = port.done(later.as_ref()).await;
    assert!(evidence.summary.contains("the same 5 rows"), "{}", evidence.summary);
    database.run("UPDATE agents SET note = 'other' WHERE id = 1").await;
    let error = later.inspect(&port.cx()).await.expect_err("other rows");
    assert_eq!(error.kind, ErrorKind::Conflict);
    let part = json!({"table": "agents", "name": "before", "where": {"version": "1"}});
    let error = port.action(SNAPSHOT, part).await.inspect(&port.cx()).await.expect_err("a part");
    assert!(error.message.contains("it exists"), "{error}");
}

#[tokio::test]
async fn an_empty_snapshot_is_an_error_unless_it_is_expected() {
    let database = Database::of_agents().await;
    let port = database.port();
    let none = json!({"table": "agents", "where": {"version": "9"}});
    let error = port.refused(port.action(SNAPSHOT, none).await.as_ref()).await;
    assert!(error.message.contains("0 rows, expected at least 1"), "{error}");
    assert_eq!(database.left().await, [""; 0]);
    let none = json!({"table": "agents", "where": {"version": "9"}, "expect_rows": 0});
    port.apply(port.action(SNAPSHOT, none).await.as_ref()).await;
}
