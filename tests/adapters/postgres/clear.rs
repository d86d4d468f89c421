//! `postgres.clear`: nothing is deleted that is not in a snapshot of this run.

use rollback::action::{ActionError, ErrorKind};
use serde_json::{Value, json};

use super::rig::{Database, Port};

const CLEAR: &str = "postgres.clear";

fn clear() -> Value {
    json!({"table": "agents", "snapshot": "backup"})
}

async fn backed_up(database: &Database, more: Value) -> Port {
    let port = database.port();
    port.step("backup");
    let mut args = json!({"table": "agents", "name": "backup"});
    args.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
    port.apply(port.action("postgres.snapshot", args).await.as_ref()).await;
    port.step("clear");
    port
}

async fn refused(database: &Database, port: &Port) -> ActionError {
    let before = database.agents().await;
    let error = port.refused(port.action(CLEAR, clear()).await.as_ref()).await;
    assert_eq!(database.agents().await, before, "nothing was changed");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    error
}

#[tokio::test]
async fn what_is_backed_up_goes_and_comes_back() {
    let database = Database::of_agents().await;
    let good = database.agents().await;
    let port = backed_up(&database, json!({})).await;
    let action = port.action(CLEAR, clear()).await;
    let (saved, evidence) = port.apply(action.as_ref()).await;
    assert_eq!(evidence.summary, "public.agents is empty: 5 rows are in `backup`");
    assert_eq!(database.agents().await, [""; 0]);
    port.done(action.as_ref()).await;
    port.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.agents().await, good);
    assert_eq!(database.left().await, ["backup"]);

    let (saved, _) = port.apply(action.as_ref()).await;
    database.run("INSERT INTO agents VALUES (9, '3', 'mine')").await;
    let error = action.undo(&port.cx(), &saved, None).await.expect_err("it has rows again");
    assert!(error.message.contains("has rows again, by others"), "{error}");
    assert_eq!(database.agents().await, ["9|3|mine|0"]);
}

#[tokio::test]
async fn without_a_backup_that_holds_exactly_these_rows_nothing_goes() {
    let database = Database::of_agents().await;
    let port = database.port();
    let error = port.action(CLEAR, clear()).await.inspect(&port.cx()).await.expect_err("no backup");
    assert_eq!(error.kind, ErrorKind::NotFound);

    let port = backed_up(&database, json!({})).await;
    database.run("UPDATE agents SET note = 'newer' WHERE id = 1").await;
    assert!(refused(&database, &port).await.message.contains("no longer those of the snapshot"));
    database.reset().await;

    let port = backed_up(&database, json!({})).await;
    database.run("DELETE FROM rollback.backup WHERE id = 1").await;
    assert!(refused(&database, &port).await.message.contains("are not the 5 that were set aside"));
    database.reset().await;

    let port = backed_up(&database, json!({"where": {"version": "2"}})).await;
    let error = port.action(CLEAR, clear()).await.inspect(&port.cx()).await.expect_err("a part");
    assert!(error.message.contains("holds only a part"), "{error}");
    database.reset().await;

    let port = backed_up(&database, json!({})).await;
    database.run("UPDATE rollback.snapshots SET run = 'yesterday'").await;
    let error =
        port.action(CLEAR, clear()).await.inspect(&port.cx()).await.expect_err("another run's");
    assert!(error.message.contains("is of another run, yesterday"), "{error}");
}

#[tokio::test]
async fn rows_that_are_equal_and_not_the_same_do_not_count() {
    let database = Database::of_agents().await;
    database.run("ALTER TABLE agents ADD price numeric; UPDATE agents SET price = 1.0").await;
    let port = backed_up(&database, json!({})).await;
    database.run("UPDATE agents SET price = 1.00 WHERE id = 1").await;
    assert!(refused(&database, &port).await.message.contains("no longer those of the snapshot"));
    database.reset().await;

    database
        .run(
            "CREATE COLLATION careless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
            ALTER TABLE agents ADD name text COLLATE careless; UPDATE agents SET name = 'Ann'",
        )
        .await;
    let port = backed_up(&database, json!({})).await;
    database.run("UPDATE agents SET name = 'ann' WHERE id = 1").await;
    assert!(refused(&database, &port).await.message.contains("no longer those of the snapshot"));
}

#[tokio::test]
async fn rows_of_others_that_would_go_along_are_refused() {
    let database = Database::of_agents().await;
    database
        .run("CREATE TABLE tasks (id int PRIMARY KEY, agent int REFERENCES agents ON DELETE CASCADE); INSERT INTO tasks VALUES (1, 1)")
        .await;
    let port = backed_up(&database, json!({})).await;
    let error = refused(&database, &port).await;
    assert!(error.message.contains("rows of public.tasks would change along"), "{error}");
    assert_eq!(database.rows("SELECT count(*) FROM tasks").await, ["1"]);
}
