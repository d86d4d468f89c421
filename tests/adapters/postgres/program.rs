//! The program as a whole: killed at every point, with its server killed, and with its secrets looked for everywhere.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use super::rig::{Database, connect, rows};
use crate::support::desk::Desk;
use crate::support::postgres::Postgres;
use crate::support::wait_until;
use crate::support::world::{Running, finish};

/// Not idempotent, so that a second time would show; in two statements and two steps.
const COUNT_UP: &str = r#"
      - id: count-up
        retry: {attempts: 2, delay: 10ms}
        postgres.run:
          statements:
            - {sql: "UPDATE agents SET tries = tries + $1 WHERE id < 3", parameters: [1], expect_rows: 2}
            - {sql: "UPDATE agents SET tries = tries + 1 WHERE id = 5"}
          changes: [agents]
          lock_timeout: 60s
      - id: counted
        postgres.expect: {sql: "SELECT sum(tries) AS tries FROM agents", row: {tries: 3}}
"#;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts")
}

/// A desk whose database is at this address, which has a password in it.
fn desk(steps: &str, url: &str) -> Desk {
    let desk = Desk::new(steps);
    let path = desk.world.path("url");
    std::fs::write(&path, url).expect("the world is writable");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    desk.environment(&format!(
        "connections:\n  postgres: {{url: {{file: \"{}\"}}}}\n",
        path.display()
    ));
    desk
}

#[test]
fn a_run_that_is_killed_anywhere_changes_the_rows_once() {
    let runtime = runtime();
    let database = runtime.block_on(Database::of_agents());
    let mut point = 1;
    loop {
        runtime.block_on(database.reset());
        let desk = desk(COUNT_UP, &database.url);
        let mut command = desk.command();
        let report = desk.world.path("report");
        command.env("ROLLBACK_CRASH_AT", point.to_string()).env("ROLLBACK_CRASH_REPORT", &report);
        let output = finish(&mut command);
        let survived = output.code() == Some(0);
        if !survived
            && desk.state().join("runs").read_dir().is_ok_and(|mut runs| runs.next().is_some())
        {
            let resumed = desk.resume();
            // A run that was cut off before its first record leaves nothing to resume.
            if resumed.code() != Some(0) {
                assert!(desk.run().code() == Some(0), "point {point}: {}", resumed.stderr);
            }
        } else if !survived {
            assert_eq!(desk.run().code(), Some(0), "point {point}");
        }
        let tries = runtime.block_on(database.rows("SELECT tries FROM agents ORDER BY id"));
        assert_eq!(tries, ["1", "1", "0", "0", "1"], "point {point}");
        if survived {
            break;
        }
        point += 1;
        assert!(point < 300, "the run comes to an end");
    }
    assert!(point > 10, "the run passes some points, not {point}");
}

/// Starts a run that comes to wait for a lock which this statement takes, kills the server in that moment, starts it again, and goes on.
fn killed_while_it_waits(server: &mut Postgres, desk: &Desk, lock: &str) {
    let runtime = runtime();
    let url = server.url();
    let client = runtime.block_on(async {
        let client = connect(&url).await;
        client.batch_execute(&format!("BEGIN; {lock}")).await.expect("a lock");
        client
    });
    let run = Running::start(&mut desk.command());
    runtime.block_on(async {
        let waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'rollback %'";
        let end = tokio::time::Instant::now() + crate::support::HANG;
        let watch = connect(&url).await;
        while rows(&watch, waiting).await.is_empty() {
            assert!(tokio::time::Instant::now() < end, "the run never waits");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    server.kill();
    drop(client);
    let output = run.finish();
    assert_ne!(output.code(), Some(0), "{}", output.stdout);
    server.up();
    let resumed = desk.resume();
    assert_eq!(resumed.code(), Some(0), "{}{}", resumed.stdout, resumed.stderr);
}

#[test]
fn a_server_that_is_killed_in_the_middle_leaves_a_run_that_resumes() {
    let mut server = Postgres::start();
    let runtime = runtime();
    let url = server.url();
    let setup = "CREATE TABLE agents (id int PRIMARY KEY, tries int NOT NULL DEFAULT 0); INSERT INTO agents VALUES (1), (2), (5)";
    runtime.block_on(async { connect(&url).await.batch_execute(setup).await.expect("tables") });
    let desk = desk(COUNT_UP, &url);
    // The second statement waits for this lock, with the first one done.
    killed_while_it_waits(&mut server, &desk, "SELECT * FROM agents WHERE id = 5 FOR UPDATE");
    let tries = runtime.block_on(async {
        rows(&connect(&url).await, "SELECT tries FROM agents ORDER BY id").await
    });
    assert_eq!(tries, ["1", "1", "1"]);
}

#[test]
fn a_server_that_is_killed_in_the_middle_of_a_restore_leaves_a_run_that_resumes() {
    let mut server = Postgres::start();
    let runtime = runtime();
    let url = server.url();
    let execute = |sql: &str| {
        runtime
            .block_on(async { connect(&url).await.batch_execute(sql).await.expect("sound SQL") });
    };
    execute(
        "CREATE TABLE agents (id int PRIMARY KEY, note text NOT NULL); INSERT INTO agents SELECT id, 'good' FROM generate_series(1, 100) AS id",
    );
    let snapshot = "
      - id: keep
        postgres.snapshot: {table: agents, name: good}
";
    let kept = desk(snapshot, &url).run();
    assert_eq!(kept.code(), Some(0), "{kept}");
    execute(
        "DELETE FROM agents WHERE id < 10; UPDATE agents SET note = 'bad' WHERE id > 90; INSERT INTO agents VALUES (101, 'bad')",
    );
    let restore = "
      - id: back
        retry: {attempts: 2, delay: 10ms}
        postgres.restore: {snapshot: good, lock_timeout: 60s}
      - id: restored
        postgres.expect: {sql: \"SELECT count(*) AS bad FROM agents WHERE note = 'bad'\", row: {bad: 0}}
";
    let desk = desk(restore, &url);
    // What is too many is removed already when the change of this row waits.
    killed_while_it_waits(&mut server, &desk, "SELECT * FROM agents WHERE id = 95 FOR UPDATE");
    let rows = runtime.block_on(async {
        let sql = "SELECT count(*) || ' ' || count(*) FILTER (WHERE note = 'good') || ' ' || max(id) FROM agents";
        rows(&connect(&url).await, sql).await
    });
    assert_eq!(rows, ["100 100 100"]);
}

#[test]
fn a_template_in_sql_is_refused_before_anything_runs() {
    let desk =
        desk(&COUNT_UP.replace("id = 5", "id = {{ inputs.x }}"), "postgresql://app@127.0.0.1/none");
    let output = desk.world.rollback(["check", "book.yaml"]);
    assert_ne!(output.code(), Some(0));
    let text = format!("{}{}", output.stdout, output.stderr);
    assert!(text.contains("`sql` cannot hold a template"), "{text}");
}

#[test]
fn passwords_and_rows_are_in_no_output() {
    const PASSWORD: &str = "cAn4ry-pass/wörd&1";
    const ROW: &str = "cAn4ry-in-a-row";
    let mut server = Postgres::start();
    let runtime = runtime();
    let role = format!("CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'; GRANT CREATE ON DATABASE postgres TO app;
        CREATE TABLE agents (id int PRIMARY KEY, tries int NOT NULL DEFAULT 0, note text UNIQUE); ALTER TABLE agents OWNER TO app;
        INSERT INTO agents VALUES (1, 0, '{ROW}'), (2, 0, NULL), (5, 0, NULL)");
    runtime.block_on(async {
        connect(&server.url()).await.batch_execute(&role).await.expect("a role");
    });
    let parts = format!(
        "connections:\n  postgres: {{host: 127.0.0.1, port: {}, database: postgres, user: app, password: {{variable: APP_PASSWORD}}}}\n",
        server.port()
    );
    let whole = "connections:\n  postgres: {url: {variable: APP_URL}}\n";
    let url = format!(
        "postgresql://app:cAn4ry-pass%2Fw%C3%B6rd%261@127.0.0.1:{}/postgres",
        server.port()
    );
    let bad_rows = COUNT_UP.replace(
        "SET tries = tries + 1 WHERE id = 5",
        "SET note = (SELECT note FROM agents WHERE id = 1)",
    );
    let mut outcomes = Vec::new();
    for (steps, connection, password) in [
        (COUNT_UP, parts.as_str(), PASSWORD),
        (bad_rows.as_str(), whole, PASSWORD),
        (COUNT_UP, &parts, "cAn4ry-wrong-one"),
    ] {
        let desk = Desk::new(steps);
        desk.environment(connection);
        let mut command = desk.command();
        command.env("APP_PASSWORD", password).env("APP_URL", &url).env("RUST_LOG", "trace");
        let output = finish(&mut command);
        outcomes.push(output.code());
        let mut text = format!("{}{}", output.stdout, output.stderr);
        let state =
            finish(Command::new("grep").args(["-rah", "", "--"]).arg(desk.world.path("state")));
        text.push_str(&state.stdout);
        let found = text.lines().find(|line| line.to_lowercase().contains("can4ry"));
        assert_eq!(found, None, "{connection}");
    }
    assert_eq!(outcomes.first(), Some(&Some(0)), "{outcomes:?}");
    assert!(outcomes[1..].iter().all(|code| *code != Some(0)), "{outcomes:?}");
    server.kill();
}

#[test]
fn the_plan_and_the_journal_name_what_is_kept() {
    let runtime = runtime();
    let database = runtime.block_on(Database::of_agents());
    let desk = desk(COUNT_UP, &database.url);
    let plan = desk.world.rollback(["plan", "book.yaml", "--env", "local"]);
    assert!(plan.stdout.contains("run 2 statements in one transaction"), "{}", plan.stdout);
    assert_eq!(desk.run().code(), Some(0));
    let applied = desk.events("applied");
    let kept: Vec<&Value> =
        applied.iter().filter_map(|event| event["evidence"]["facts"].get("kept")).collect();
    let was = kept[0][0]["was"].as_str().expect("a name");
    assert!(was.contains("_work/count-up_") && was.starts_with(&desk.run_id()), "{was}");
    wait_until("the former rows", || {
        let sql = format!("SELECT count(*) FROM rollback.\"{was}\"");
        runtime.block_on(database.rows(&sql)) == ["3"]
    });
}
