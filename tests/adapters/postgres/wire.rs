//! The connection breaks at every message in turn, before and after the server got it: the change happens once, and can be taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rollback::action::Readiness;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::rig::{Database, Port};

/// How the wire breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    /// The message never arrives.
    Before,
    /// The message arrives, its answer does not.
    After,
}

/// Starts a proxy to `server` that breaks all connections at the client's `point`th message.
async fn proxy(server: String, point: usize, how: Break) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    let sent = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (server, sent) = (server.clone(), sent.clone());
            tokio::spawn(async move {
                let server = TcpStream::connect(server).await.expect("the server listens");
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let (broken, mut breaks) = tokio::sync::watch::channel(false);
                let back = async move {
                    let mut buffer = vec![0; 65_536];
                    loop {
                        let read = tokio::select! {
                            biased;
                            _ = breaks.changed() => break,
                            read = from_server.read(&mut buffer) => read.unwrap_or(0),
                        };
                        if read == 0 || to_client.write_all(&buffer[..read]).await.is_err() {
                            break;
                        }
                    }
                };
                let forth = async move {
                    let mut buffer = vec![0; 65_536];
                    loop {
                        let read = from_client.read(&mut buffer).await.unwrap_or(0);
                        let number = sent.fetch_add(1, Ordering::SeqCst) + 1;
                        let breaks = number >= point;
                        if read == 0 || (breaks && how == Break::Before) {
                            break;
                        }
                        if breaks {
                            // Nobody may answer before the client is cut off.
                            let _back_has_ended = broken.send(true);
                        }
                        if to_server.write_all(&buffer[..read]).await.is_err() || breaks {
                            break;
                        }
                    }
                };
                tokio::join!(back, async {
                    forth.await;
                });
            });
        }
    });
    address
}

/// Applies through a wire that breaks at `point`; whether it broke.
async fn dies_at(database: &Database, point: usize, how: Break) -> bool {
    database.reset().await;
    let before = database.agents().await;
    let args = json!({
        "statements": [{"sql": "UPDATE agents SET tries = tries + 1 WHERE version = $1", "parameters": ["2"]}], "changes": ["agents"],
        "lock_timeout": "60s",
    });
    let port = database.port();
    let action = port.action("postgres.run", args.clone()).await;
    let saved = port.needed(action.as_ref()).await;

    let (user, rest) = database.url.split_once('@').expect("a URL");
    let (host, name) = rest.split_once('/').expect("a URL");
    let broken = proxy(host.to_owned(), point, how).await;
    let mortal = Port::of(&format!("{user}@{broken}/{name}"));
    let dying = mortal.action("postgres.run", args).await;
    let outcome = dying.apply(&mortal.cx(), &saved).await;
    let at = format!("{how:?} message {point}");

    // A commit that is on its way holds the mark, and the next attempt waits for it: no sleep is needed here.
    match action.inspect(&port.cx()).await.unwrap_or_else(|error| panic!("{at}: {error}")) {
        Readiness::AlreadyDone { .. } => {}
        Readiness::Needed { saved: again, .. } => {
            assert_eq!(again, saved, "{at}");
            assert!(outcome.is_err(), "{at}: what was reported done is done");
            let applied = action.apply(&port.cx(), &again).await;
            if let Err(error) = applied {
                assert!(error.retryable, "{at}: {error}");
            }
        }
    }
    port.done(action.as_ref()).await;
    let tries = database.rows("SELECT id, tries FROM agents WHERE tries > 0 ORDER BY id").await;
    assert_eq!(tries, ["3|1", "4|1", "5|1"], "{at}: {outcome:?}");
    port.undo(action.as_ref(), &saved, None).await;
    assert_eq!(database.agents().await, before, "{at}");
    match outcome {
        Ok(_) => false,
        Err(error) => {
            assert!(error.retryable || error.outcome_unknown(), "{at}: {error:?}");
            true
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_may_lose_its_connection_at_any_message() {
    let database = Database::of_agents().await;
    for how in [Break::Before, Break::After] {
        let mut point = 1;
        while dies_at(&database, point, how).await {
            point += 1;
            assert!(point < 200, "the change comes to an end");
        }
        assert!(point > 10, "the change takes some messages, not {point}");
    }
}
