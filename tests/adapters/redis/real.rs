//! What only real servers have: access control, replicas, TLS, and slots of a cluster that move.

use std::process::{Command, Stdio};

use redis::Value;
use rollback::action::{ErrorKind, Readiness, Saved};
use rollback::secret::Secrets;
use serde_json::json;
use tempfile::TempDir;

use super::rig::{Port, Rig, carry_out, cx, needed};
use crate::support::certificates::Certificates;
use crate::support::world::Running;
use crate::support::{free_port, server_variable, wait_until};

const CANARY: &str = "cAn4ry-\"pass/word+";

/// The connection of a user with this password.
fn user(rig: &Rig, name: &str, password: &str) -> Port {
    let mut secrets = Secrets::default();
    let marker = secrets.insert("password", password.to_owned().into());
    Port::with(json!({"url": rig.urls[0], "username": name, "password": marker}), secrets)
}

#[tokio::test]
async fn a_password_reaches_the_wire_and_nothing_else() {
    let rig = Rig::real().await;
    rig.fill("acl", 3).await;
    let (name, pattern) = (rig.prefix.trim_end_matches(':').to_owned(), rig.key("acl:*"));
    let grant = async |commands: &str| {
        let mut words = vec!["ACL", "SETUSER", &name, "reset", "on"];
        let (secret, keys) = (format!(">{CANARY}"), format!("~{}*", rig.prefix));
        words.extend([secret.as_str(), keys.as_str()]);
        words.extend(commands.split(' '));
        let _ok: String = rig.ask(&words).await;
    };
    let mut said = Vec::new();

    grant("-@all +info +scan").await;
    let wrong = user(&rig, &name, "wrong-password").reach().await.expect_err("a wrong password");
    assert_eq!(wrong.kind, ErrorKind::Denied, "{wrong:?}");
    said.push(format!("{wrong:?}"));
    let port = user(&rig, &name, CANARY);
    said.push(port.reach().await.expect("the right password"));
    let action = port.delete(json!({"pattern": pattern})).await;
    let saved = needed(action.as_ref()).await;
    let denied = action.apply(&cx(), &saved).await.expect_err("UNLINK is not granted");
    assert_eq!((denied.kind, denied.retryable), (ErrorKind::Denied, false), "{denied:?}");
    assert!(denied.hints[0].contains("+unlink"), "{denied:?}");
    said.push(format!("{denied:?} {saved:?} {:?}", action.describe()));
    assert_eq!(rig.left("acl", 3).await, 3);

    // The rights that the guide names are enough.
    grant("-@all +info +scan +unlink +get +exists").await;
    said.push(format!("{:?}", carry_out(action.as_ref()).await));
    assert_eq!(rig.left("acl", 3).await, 0);
    let _one: u64 = rig.ask(&["ACL", "DELUSER", &name]).await;
    for text in said {
        assert!(!text.contains("cAn4ry") && !text.contains("wrong-password"), "{text}");
    }
}

/// A server of the test's own; ends with it.
struct Server {
    port: u16,
    _running: Running,
    folder: TempDir,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let folder = TempDir::new().expect("the temporary folder is writable");
        let port = free_port();
        let mut command = Command::new(server_variable(&["ROLLBACK_TEST_REDIS_SERVER"]));
        command.args(["--save", "", "--bind", "127.0.0.1"]).arg("--dir").arg(folder.path());
        if !arguments.contains(&"--port") {
            command.args(["--port", &port.to_string()]);
        }
        let tls = port.to_string();
        command
            .args(arguments.iter().map(|word| if *word == "PORT" { tls.as_str() } else { word }));
        let running = Running::start(command.stdin(Stdio::null()));
        wait_until("redis-server", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, _running: running, folder }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_recognized_and_left_alone() {
    let master = Server::start(&[]);
    let replica = Server::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    let port = Port::with(
        json!({"url": format!("redis://127.0.0.1:{}", replica.port)}),
        Secrets::default(),
    );
    assert!(port.observe(json!({"role": "replica"})).await.is_ok());
    assert!(port.observe(json!({"role": "master"})).await.is_err());
    let action = port.delete(json!({"pattern": "a:*"})).await;
    let error = action.inspect(&cx()).await.map(drop).expect_err("a replica takes no changes");
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.hints[0].contains("master"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_verified_against_the_authority_that_is_named() {
    let certificates = Certificates::of("127.0.0.1");
    let file = |name: &str| certificates.file(name).to_string_lossy().into_owned();
    let (cert, key, ca) = (file("cert.pem"), file("key.pem"), file("ca.pem"));
    let server = Server::start(&[
        "--port",
        "0",
        "--tls-port",
        "PORT",
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
    ]);
    let url = format!("rediss://127.0.0.1:{}", server.port);
    let trusted = Port::with(json!({"url": url, "ca_file": ca}), Secrets::default());
    assert!(trusted.reach().await.expect("it is trusted").starts_with("redis 7."));
    let stranger = Port::with(json!({ "url": url }), Secrets::default());
    let error = stranger.reach().await.expect_err("nobody vouches for it");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Unreachable, false), "{error:?}");
    assert!(error.hints[0].contains("ca_file"), "{error:?}");
    let missing = json!({"url": url, "ca_file": server.folder.path().join("none.pem")});
    let missing = Port::with(missing, Secrets::default()).reach().await.expect_err("no file");
    assert_eq!(missing.kind, ErrorKind::Invalid);
}

/// A client of one node of the cluster.
async fn node(url: &str, words: &[&str]) -> Value {
    let client = redis::Client::open(url).expect("sound");
    let mut connection = client.get_multiplexed_async_connection().await.expect("it answers");
    let mut command = redis::cmd(words[0]);
    for word in &words[1..] {
        command.arg(*word);
    }
    command.query_async(&mut connection).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    }
}

/// One slot is half way from one master to another: both have keys of it, and each sends clients to the other.
#[tokio::test]
async fn keys_of_a_slot_that_is_moving_go_too() {
    let rig = Rig::cluster_alone().await;
    let tag = format!("{{{}}}", rig.prefix);
    let keys: Vec<String> = (0..40).map(|index| rig.key(&format!("{tag}:{index}"))).collect();
    for key in &keys {
        let _ok: String = rig.ask(&["SET", key, "x"]).await;
    }
    let Value::Int(slot) = node(&rig.urls[0], &["CLUSTER", "KEYSLOT", &keys[0]]).await else {
        panic!("a slot is a number");
    };
    let slot = slot.to_string();
    let mut ids = Vec::new();
    let mut source = 0;
    for (index, url) in rig.urls.iter().enumerate() {
        ids.push(text(&node(url, &["CLUSTER", "MYID"]).await));
        if matches!(node(url, &["CLUSTER", "COUNTKEYSINSLOT", &slot]).await, Value::Int(1..)) {
            source = index;
        }
    }
    let target = (source + 1) % rig.urls.len();
    let (from, to) = (&rig.urls[source], &rig.urls[target]);
    node(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[source]]).await;
    node(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[target]]).await;
    let port = to.rsplit(':').next().expect("a port");
    let mut migrate = vec!["MIGRATE", "127.0.0.1", port, "", "0", "5000", "KEYS"];
    migrate.extend(keys.iter().take(20).map(String::as_str));
    node(from, &migrate).await;

    let action = rig.port().delete(json!({"pattern": rig.key("*")})).await;
    let found = action.inspect(&cx()).await;
    let applied = action.apply(&cx(), &Saved::default()).await;
    // Before anything is judged, so that the cluster is whole again for the other tests.
    for url in [from, to] {
        node(url, &["CLUSTER", "SETSLOT", &slot, "STABLE"]).await;
    }
    let Readiness::Needed { saved, .. } = found.expect("the keys can be counted") else {
        panic!("there are keys");
    };
    assert_eq!(saved.found(), Some("40 keys"));
    assert_eq!(applied.expect("the change is made").facts["unlinked"], 40);
    for url in &rig.urls {
        let Value::Array(left) = node(url, &["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]).await
        else {
            panic!("keys are a list");
        };
        // What other tests have left may lie in the same slot.
        let ours: Vec<_> = left.iter().map(text).filter(|key| keys.contains(key)).collect();
        assert!(ours.is_empty(), "{url} still has {ours:?}");
    }
}
