//! `postgres.expect`, and the connection.

use rollback::action::{ErrorKind, Verdict};
use rollback::secret::Secrets;
use serde_json::{Value, json};

use super::rig::{Database, Port};
use crate::support::free_port;

async fn verdict(port: &Port, args: Value) -> Verdict {
    port.probe(args).await.observe(&port.cx()).await.expect("the database answers")
}

#[tokio::test]
async fn answers_are_compared() {
    let database = Database::of_agents().await;
    let port = database.port();
    let counted = |row: Value| {
        json!({"sql": "SELECT count(*) AS n, min(note) AS note FROM agents WHERE version = $1; ".trim_end_matches("; "),
            "parameters": ["2"], "rows": 1, "row": row})
    };
    for row in [json!({"n": 3}), json!({"n": {"at_least": 3}, "note": "note 3"})] {
        let held = verdict(&port, counted(row)).await;
        assert!(matches!(held, Verdict::Holds { .. }), "{held:?}");
    }
    let not_yet = |observed: &str| Verdict::NotYet { observed: observed.to_owned() };
    assert_eq!(verdict(&port, counted(json!({"n": 4}))).await, not_yet("`n` is 3, wanted 4"));
    let share = |row: Value| json!({"sql": "SELECT avg(tries + 99.5) AS mean, 100.0 * count(*) FILTER (WHERE version = '2') / count(*) AS share, min(version) AS least FROM agents", "row": row});
    let held = verdict(
        &port,
        share(json!({"mean": {"at_least": 90}, "share": {"at_least": 60, "at_most": 60.5}})),
    )
    .await;
    assert!(matches!(held, Verdict::Holds { .. }), "{held:?}");
    assert_eq!(
        verdict(&port, share(json!({"least": {"at_least": 1}}))).await,
        not_yet("`least` is \"1\", which is no number; wanted at least 1")
    );
    let rows = json!({"sql": "SELECT * FROM agents -- all", "rows": {"at_most": 4}});
    assert_eq!(verdict(&port, rows).await, not_yet("5 rows, wanted at most 4"));
    let none = json!({"sql": "SELECT id FROM agents WHERE id = 99", "row": {"id": 1}});
    assert_eq!(verdict(&port, none).await, not_yet("no row"));
}

#[tokio::test]
async fn a_question_changes_nothing() {
    let database = Database::of_agents().await;
    let before = database.agents().await;
    let port = database.port();
    for sql in ["DELETE FROM agents RETURNING id", "SELECT setval('s', 5)"] {
        database.run("CREATE SEQUENCE IF NOT EXISTS s").await;
        let probe = port.probe(json!({"sql": sql, "rows": 1})).await;
        let error = probe.observe(&port.cx()).await.expect_err(sql);
        // 25006: cannot do this in a read-only transaction.
        assert!(error.message.contains("25006"), "{error}");
    }
    assert_eq!(database.agents().await, before);
}

#[tokio::test]
async fn who_answers_is_told_and_who_does_not_too() {
    let database = Database::of_agents().await;
    let line = database.port().reach().await.expect("the server answers");
    assert!(line.starts_with("postgres 1") && line.contains(" at 127.0.0.1:"), "{line}");

    let nobody = json!({"host": "127.0.0.1", "port": free_port(), "user": "app"});
    let nobody = Port::with_secrets(nobody, Secrets::default());
    let error = nobody.reach().await.expect_err("nobody listens there");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Unreachable, true), "{error}");

    let missing = database.url.replace("rollback_test_", "not_there_");
    let error = Port::of(&missing).reach().await.expect_err("no database");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");

    let encrypted = database.port_with(&json!({"sslmode": "require"}));
    let error = encrypted.reach().await.expect_err("the server speaks no TLS");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Unreachable, false), "{error:?}");
}

#[tokio::test]
async fn a_value_that_was_not_asked_for_is_not_told() {
    let database = Database::of_agents().await;
    database.run("UPDATE agents SET note = 'Ann \"A.\" Example' WHERE id = 1").await;
    let port = database.port();
    for sql in [
        "SELECT note::int AS n FROM agents WHERE id = 1",
        "SELECT note::inet AS n FROM agents WHERE id = 1",
    ] {
        let probe = port.probe(json!({"sql": sql, "row": {"n": 1}})).await;
        let error = probe.observe(&port.cx()).await.expect_err(sql);
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(!format!("{error:?}").contains("Example"), "{error:?}");
    }
}
