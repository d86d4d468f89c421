//! The sandbox's PostgreSQL as a whole process: it never outlives its world, and its data outlive a killed one.

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;
use tokio_postgres::{Config, NoTls};

use super::stage::serve;
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
        config.host_path(sockets(world)).user("sutazai").dbname("sutazai");
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

#[test]
fn a_world_that_wanted_a_database_and_has_none_says_so_at_every_start() {
    let world = World::new();
    let nowhere = world.path("nowhere");
    let _sandbox = serve(&world, nowhere.to_str().expect("a plain path"));
    let shown = world.rollback(["sandbox", "status"]).expect_code(0).stdout;
    let said = format!("there are no `postgres` and `initdb` in {}", nowhere.display());
    assert!(shown.contains(&said), "{shown}");
    let _made = world.rollback(["init"]).expect_code(0);
    let run = world.rollback(["run", "first", "--env", "sandbox", "--yes"]).expect_code(0);
    assert!(run.stderr.contains(&said), "{run}");
}
