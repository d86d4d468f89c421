use std::collections::BTreeMap;
use std::path::Path;

use tokio_postgres::{Client, Config, NoTls};

use super::Choice;
use crate::sandbox::world::{Options, World, WorldInfo};

async fn world(dir: &Path, postgres: Choice) -> World {
    let options = Options { agents: 13, speed: 100.0, postgres, ..Options::default() };
    World::start(dir, options).await.unwrap()
}

/// As any client: by the address that the world tells.
async fn connect(info: &WorldInfo) -> Client {
    let mut config = Config::new();
    config.host_path(info.postgres.as_ref().unwrap()).user("postgres").dbname("sutazai");
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

const DEPLOYED: [(&str, u64); 1] = [("2.0.0 active", 13)];
const FORMER: [(&str, u64); 3] = [("0.9.4 active", 1), ("1.0.0 active", 10), ("1.0.0 paused", 2)];

fn counts(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    expected.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect()
}

const RESTORE: &str = "UPDATE agents SET base_version = former.base_version, status = former.status \
    FROM agents_before_deployment AS former WHERE agents.id = former.id";

/// Connects at once, changes, resets, closes and opens again.
async fn a_life(postgres: Choice) {
    let dir = tempfile::tempdir().unwrap();
    let first = world(dir.path(), postgres.clone()).await;
    assert!(first.info().lacks.is_empty(), "{:?}", first.info().lacks);
    // It has just begun to start; whoever comes is held back.
    let client = connect(first.info()).await;
    let row = client.query_one("SELECT count(*) FROM agents WHERE base_version = $1", &[&"2.0.0"]);
    assert_eq!(row.await.unwrap().get::<_, i64>(0), 13);
    drop(client);
    let before = first.status().await.unwrap().database;
    assert!(before.server.starts_with("PostgreSQL 1"), "{}", before.server);
    assert_eq!((before.registered, before.unlike_before), (counts(&DEPLOYED), Some(13)));

    let client = connect(first.info()).await;
    assert_eq!(client.execute(RESTORE, &[]).await.unwrap(), 13);
    client.batch_execute("CREATE SCHEMA kept; CREATE TABLE kept.rows (id int)").await.unwrap();
    drop(client);
    let after = first.status().await.unwrap().database;
    assert_eq!((after.registered, after.unlike_before), (counts(&FORMER), Some(0)));
    first.close().await;

    let again = world(dir.path(), postgres).await;
    let found = again.status().await.unwrap().database;
    assert_eq!((found.registered, found.unlike_before), (counts(&FORMER), Some(0)));
    again.reset().await.unwrap();
    let found = again.status().await.unwrap().database;
    assert_eq!((found.registered, found.unlike_before), (counts(&DEPLOYED), Some(13)));
    let client = connect(again.info()).await;
    let kept = client.query_one("SELECT to_regnamespace('kept') IS NULL", &[]).await.unwrap();
    assert!(kept.get::<_, bool>(0), "a reset leaves nothing of a run");
    drop(client);
    again.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installed_one_lives_with_its_world() {
    a_life(Choice::Auto).await;
}

#[cfg(feature = "embedded-postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_one_lives_with_its_world() {
    a_life(Choice::Embedded).await;
}

#[tokio::test]
async fn a_world_without_one_says_so_and_lives() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("nowhere");
    let world = world(&dir.path().join("world"), Choice::Folder(nowhere)).await;
    assert_eq!(world.info().postgres, None);
    assert!(world.info().lacks[0].contains("nowhere"), "{:?}", world.info().lacks);
    let status = world.status().await.unwrap();
    assert_eq!(status.database.server, world.info().lacks[0]);
    assert_eq!(status.database.unlike_before, None);
    assert_eq!(status.load_balancer.http, 200);
    world.reset().await.unwrap();
    world.close().await;
}

#[tokio::test]
async fn one_that_cannot_start_tells_its_clients_why() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for program in ["postgres", "initdb"] {
        std::fs::write(bin.join(program), "#!/bin/sh\necho no room for data >&2\nexit 3\n")
            .unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(bin.join(program), mode).unwrap();
    }
    let world = world(&dir.path().join("world"), Choice::Folder(bin)).await;
    let mut config = Config::new();
    config.host_path(world.info().postgres.as_ref().unwrap()).user("postgres").dbname("sutazai");
    let error = config.connect(NoTls).await.err().unwrap();
    let said = error.as_db_error().unwrap();
    assert_eq!(said.code(), &tokio_postgres::error::SqlState::CANNOT_CONNECT_NOW);
    assert!(said.message().contains("no room for data"), "{said}");
    let status = world.status().await.unwrap().database;
    assert!(status.server.contains("initdb"), "{}", status.server);
    world.close().await;
}
