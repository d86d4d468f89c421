//! A server in recovery answers questions, and takes no changes.

use rollback::action::ErrorKind;
use serde_json::json;

use super::rig::{Port, connect};
use crate::support::postgres::Postgres;

#[tokio::test]
async fn a_standby_is_refused_before_anything_is_changed() {
    let mut server = Postgres::start();
    let client = connect(&server.url()).await;
    client
        .batch_execute("CREATE TABLE agents (id int PRIMARY KEY)")
        .await
        .expect("a primary takes changes");
    drop(client);
    server.become_standby();
    let port = Port::of(&server.url());
    port.reach().await.expect("a standby answers");
    let args =
        json!({"statements": [{"sql": "INSERT INTO agents VALUES (1)"}], "changes": ["agents"]});
    let error =
        port.action("postgres.run", args).await.inspect(&port.cx()).await.expect_err("a standby");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert!(error.message.contains("it is a standby"), "{error}");
}
