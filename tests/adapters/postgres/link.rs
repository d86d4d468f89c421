//! A swap over a link: how often it asks while others wait, and how long they wait when it falls silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use super::restore::{RESTORE, damaged};
use super::rig::{Database, Port};
use super::swap::with_versions;

/// What a message says from which on readers wait, until the one that ends it.
const LOCK: &str = "IN ACCESS EXCLUSIVE MODE";
const COMMIT: &str = "COMMIT\0";

/// What lies between a client and the server.
#[derive(Clone)]
struct Link {
    /// How many messages of the client came between the last lock and the commit.
    under_lock: Arc<AtomicUsize>,
    /// The link falls silent behind a message with this text, and breaks nothing.
    silent_after: Option<&'static str>,
    /// Whether it has fallen silent.
    silent: watch::Sender<bool>,
}

impl Link {
    fn new(silent_after: Option<&'static str>) -> Self {
        Self { under_lock: Arc::default(), silent_after, silent: watch::Sender::new(false) }
    }

    /// A port whose connections go over this link.
    async fn port(&self, database: &Database) -> Port {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let here = listener.local_addr().expect("it is bound");
        let (user, rest) = database.url.split_once('@').expect("a URL");
        let (server, name) = rest.split_once('/').expect("a URL");
        let port = Port::of(&format!("{user}@{here}/{name}"));
        let (link, server) = (self.clone(), server.to_owned());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.expect("the server listens");
                tokio::spawn(link.clone().carry(client, server));
            }
        });
        port
    }

    async fn carry(self, client: TcpStream, server: TcpStream) {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let mut silent = self.silent.subscribe();
        let silence = async { drop(silent.wait_for(|silent| *silent).await) };
        let back = async {
            tokio::select! {
                () = silence => std::future::pending().await,
                _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
            }
        };
        let forth = async {
            let (mut buffer, mut locked) = (vec![0; 65_536], false);
            loop {
                let read = from_client.read(&mut buffer).await.unwrap_or(0);
                if read == 0 || to_server.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
                let said = String::from_utf8_lossy(&buffer[..read]);
                if said.contains(LOCK) {
                    locked = true;
                    self.under_lock.store(0, Ordering::Relaxed);
                }
                locked &= !said.contains(COMMIT);
                self.under_lock.fetch_add(locked.into(), Ordering::Relaxed);
                if self.silent_after.is_some_and(|text| said.contains(text)) {
                    self.silent.send_replace(true);
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::join!(back, forth);
    }
}

/// On a slow link each question is a part of the second that readers may have to wait.
#[tokio::test]
async fn little_is_asked_while_readers_wait() {
    let database = with_versions("").await;
    database.run("CREATE VIEW newer AS SELECT id, note FROM agents WHERE version = '2'").await;
    let near = damaged(&database).await;
    let link = Link::new(None);
    let far = link.port(&database).await;
    far.step("restore");
    let action = far.action(RESTORE, json!({"snapshot": "good", "strategy": "swap"})).await;
    let saved = near.needed(action.as_ref()).await;
    let asked = || link.under_lock.swap(0, Ordering::Relaxed);
    let evidence = action.apply(&far.cx(), &saved).await.expect("it can be applied");
    let swap = asked();
    assert!((4..=8).contains(&swap), "a swap with a view and a key says {swap} messages");
    action.undo(&far.cx(), &saved, Some(&evidence)).await.expect("it is taken back");
    let undo = asked();
    assert!((4..=8).contains(&undo), "its undo says {undo} messages");
}

/// The client is there, and says nothing more: a laptop that was shut, a cable that was pulled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_falls_silent_under_the_lock_lets_readers_go() {
    let database = Database::of_agents().await;
    let good = database.agents().await;
    let near = damaged(&database).await;
    let damaged = database.agents().await;
    let swap = json!({"snapshot": "good", "strategy": "swap"});
    let action = near.action(RESTORE, swap.clone()).await;
    let saved = near.needed(action.as_ref()).await;
    let falls_silent = |undo: bool| {
        let (database, swap, saved) = (&database, swap.clone(), &saved);
        async move {
            let link = Link::new(Some(LOCK));
            let far = link.port(database).await;
            far.step("restore");
            let action = far.action(RESTORE, swap).await;
            let (cx, mut silent) = (far.cx(), link.silent.subscribe());
            let doing = async {
                if undo {
                    action.undo(&cx, saved, None).await
                } else {
                    action.apply(&cx, saved).await.map(drop)
                }
            };
            let look = async {
                silent.wait_for(|silent| *silent).await.expect("it falls silent");
                let begin = Instant::now();
                let _agents = database.agents().await;
                begin.elapsed()
            };
            tokio::select! {
                outcome = doing => panic!("nobody answers, but: {outcome:?}"),
                waited = look => waited,
            }
        }
    };
    let waited = falls_silent(false).await;
    assert!(waited < Duration::from_secs(5), "a look waited for {waited:?} beside the swap");
    assert_eq!(database.agents().await, damaged);
    let (_, evidence) = near.apply(action.as_ref()).await;
    assert_eq!(database.agents().await, good);
    let waited = falls_silent(true).await;
    assert!(waited < Duration::from_secs(5), "a look waited for {waited:?} beside the undo");
    assert_eq!(database.agents().await, good);
    near.undo(action.as_ref(), &saved, Some(&evidence)).await;
    assert_eq!(database.agents().await, damaged);
}
