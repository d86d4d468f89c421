//! The sandbox's PostgreSQL as a whole process: it never outlives its world, and its data outlive a killed one.

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;
use tokio_postgres::{Config, NoTls};

use super::stage::{Stage, serve};
use crate::support::wait_until;
use crate::support::world::World;

/// The folder of the socket that the world tells.
fn sockets(world: &World) -> PathBuf {
    let text = std::fs::read_to_string(world.path("state/rollback/sandbox/world.json"));
    let info: Value = serde_json::from_str(&text.expect("the world runs")).expect("JSON");
    PathBuf::from(info["postgres"].as_str().expect("a PostgreSQL is on this machine"))
}

/// The first column of the first row.
fn ask(world: &World, sql: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut config = Config::new();
        config.host_path(sockets(world)).user("postgres").dbname("sutazai");
        let (client, connection) = config.connect(NoTls).await.expect("it answers");
        let _carrier = tokio::spawn(connection);
        client.query_one(sql, &[]).await.expect("an answer").get(0)
    })
}

/// The server's process, as the kernel shows it while it runs.
fn process_of(data: &Path) -> PathBuf {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).expect("it runs");
    let pid = text.lines().next().expect("a process id").trim();
    let process = PathBuf::from(format!("/proc/{pid}/cwd"));
    assert_eq!(std::fs::read_link(&process).expect("it runs"), data);
    process
}

#[test]
fn the_database_ends_with_its_world_and_keeps_its_data() {
    let world = World::new();
    let dir = world.path("state/rollback/sandbox");
    let killed = serve(&world, "auto");
    let data = PathBuf::from(ask(&world, "SHOW data_directory"));
    assert_eq!(ask(&world, "SELECT count(*)::text FROM agents WHERE base_version = '2.0.0'"), "3");
    let status = ask(&world, "UPDATE agents SET status = 'paused' WHERE id = 1 RETURNING status");
    assert_eq!(status, "paused");
    let server = process_of(&data);

    killed.signal(Signal::KILL);
    let _ended = killed.finish();
    wait_until("the server's end", || std::fs::read_link(&server).is_err());
    let _down = world.rollback(["sandbox", "down"]).expect_code(0);
    assert!(data.starts_with(&dir) || !data.parent().expect("its home").exists());

    let again = serve(&world, "auto");
    assert_eq!(ask(&world, "SELECT status FROM agents WHERE id = 1"), "paused");
    let shown = world.rollback(["sandbox", "reset"]).expect_code(0).stdout;
    assert!(shown.contains("3 2.0.0 active; 3 not as before the deployment"), "{shown}");
    let server = process_of(&data);
    let _down = world.rollback(["sandbox", "down"]).expect_code(0);
    let ended = again.finish();
    assert_eq!(ended.code(), Some(0), "{ended}");
    assert!(std::fs::read_link(&server).is_err(), "the server outlives its world");
    assert!(data.starts_with(&dir) || !data.parent().expect("its home").exists());
}

const METRICS: &str = "metrics:base-agent-v2";
const EMERGENCY: &str = "--emergency --env sandbox --reason 'more errors' --yes";

#[test]
fn the_emergency_brings_the_register_back() {
    let stage = Stage::shipped_with("auto");
    let run = stage.rollback(EMERGENCY).expect_code(0);
    for step in ["restore-registration", "registration-restored"] {
        assert!(run.stderr.contains(&format!("✓ {step}")), "{run}");
    }
    // One agent was paused before the deployment; "active" for all would have woken it.
    let database = &stage.status()["database"];
    let former = serde_json::json!({"1.0.0 active": 2, "1.0.0 paused": 1});
    assert_eq!((&database["registered"], &database["unlike_before"]), (&former, &0.into()));
    assert_eq!(stage.status()["redis"].get(METRICS), None, "the register is right, so they go");
    let reverted = stage.rollback("sandbox reset").expect_code(0).stdout;
    assert!(reverted.contains("3 2.0.0 active; 3 not as before the deployment"), "{reverted}");
    let _leaves_nothing_behind = stage.rollback("sandbox down").expect_code(0);
}

#[test]
fn a_register_that_is_not_as_before_keeps_the_metrics() {
    let stage = Stage::shipped_with("auto");
    // Nobody has the former state of an agent that the deployment added.
    let added =
        "INSERT INTO agents VALUES (99, 'agent-099', '2.0.0', 'active', now()) RETURNING name";
    assert_eq!(ask(&stage.world, added), "agent-099");
    let run = stage.rollback(EMERGENCY).expect_code(0);
    for said in [
        "TARGET MET: recovered",
        "✗ registration-restored",
        "clear-metrics            not started: registration-restored did not succeed",
    ] {
        assert!(run.stderr.contains(said), "{said}: {run}");
    }
    assert_eq!(stage.status()["redis"][METRICS], 15, "what cannot be undone is not done");
    let _leaves_nothing_behind = stage.rollback("sandbox down").expect_code(0);
}

#[test]
fn without_a_database_the_emergency_runs_and_says_what_is_missing() {
    let stage = Stage::shipped_with("/nowhere");
    let run = stage.rollback(EMERGENCY).expect_code(0);
    let said = "there are no `postgres` and `initdb` in /nowhere";
    assert!(run.stderr.contains(said), "{run}");
    assert!(run.stdout.contains("RECOVERED"), "{run}");
    assert!(!run.stderr.contains("✓ restore-registration"), "{run}");
    assert!(stage.rollback("sandbox status").stdout.contains(said));
}
