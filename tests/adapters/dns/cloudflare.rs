//! Cloudflare's API: read, compared, changed in one batch, read again; and name servers that serve it.

use std::net::SocketAddr;

use rollback::action::{ErrorKind, Evidence};
use rollback::sandbox::cloudflare::{Cloudflare, Record};
use rollback::sandbox::dns::{Key, NameServers, Sockets, Start, Zone};
use rollback::sandbox::faults::Faults;
use rollback::sandbox::ledger::Ledger;
use rollback::sandbox::wire::open_tcp;
use rollback::secret::Secrets;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::oracle;
use super::rig::Port;

const ZONE: &str = "cloud.test";
const TOKEN: &str = "cAn4ry-of-the-token";

struct Cloud {
    api: SocketAddr,
    primary: SocketAddr,
    secondary: SocketAddr,
    account: Cloudflare,
    faults: Faults,
    ledger: Ledger,
    folder: TempDir,
    _doors: Box<dyn std::any::Any + Send + Sync>,
}

impl Cloud {
    async fn start() -> Self {
        let folder = TempDir::new().expect("the temporary folder is writable");
        let ledger = Ledger::open(&folder.path().join("effects.log")).expect("it is writable");
        let faults = Faults::default();
        let key = Key::new("nobody.", b"nobody-has-it").expect("a key");
        let start = Start { dir: folder.path(), key, ledger: ledger.clone(), faults: None };
        let names = NameServers::open(start).expect("they open");
        names.seed(&[Zone::new(&format!("{ZONE}."), &[]).expect("a zone")]).expect("writable");
        let sockets = Sockets::bind(None).await.expect("ports are free");
        let at = sockets.addresses().expect("they are bound");
        let path = folder.path().join("cloudflare.json");
        let account = Cloudflare::open(&path, (ZONE, TOKEN), names.clone(), ledger.clone());
        let account = account.expect("it opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let api = listener.local_addr().expect("it is bound");
        let door = open_tcp(listener, account.front(Some(faults.clone())));
        let doors = Box::new((names.serve(sockets), door));
        let (primary, secondary) = (at.primary, at.secondary);
        Self { api, primary, secondary, account, faults, ledger, folder, _doors: doors }
    }

    fn put(&self, id: &str, (name, kind): (&str, &str), content: &str, ttl: u32, proxied: bool) {
        let [id, name, kind, content] = [id, name, kind, content].map(str::to_owned);
        self.account.put(Record { id, name, kind, content, ttl, proxied }).expect("it is writable");
    }

    /// The records of a name, `ID TTL CONTENT`.
    fn kept(&self, name: &str) -> Vec<String> {
        let records = self.account.records().into_iter().filter(|record| record.name == name);
        records.map(|r| format!("{} {} {}", r.id, r.ttl, r.content)).collect()
    }

    fn port(&self) -> Port {
        self.port_with(TOKEN, json!({}))
    }

    fn port_with(&self, token: &str, more: Value) -> Port {
        let mut secrets = Secrets::default();
        let token = secrets.insert("connections.dns.cloudflare.token", token.to_owned().into());
        let mut cloudflare =
            json!({"token": token, "url": format!("http://{}/client/v4/", self.api)});
        if let Value::Object(more) = more {
            cloudflare.as_object_mut().expect("an object").extend(more);
        }
        let nameservers = json!([self.primary.to_string(), self.secondary.to_string()]);
        let settings = json!({"cloudflare": cloudflare, "nameservers": nameservers});
        Port::new(settings, secrets, self.folder.path().to_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alias_is_rewritten_in_place_and_brought_back() {
    let cloud = Cloud::start().await;
    let name = "agent.cloud.test";
    cloud.put("r1", (name, "CNAME"), "new.example", 300, false);
    let port = cloud.port();
    let args = json!({"name": "Agent.Cloud.Test.", "type": "CNAME", "to": "old.example.", "from": "new.example"});
    let action = port.point(args).await;
    for applied in [true, false] {
        let (saved, evidence) = port.carry_out(action.as_ref()).await;
        assert_eq!(saved.found(), Some("now CNAME new.example (ttl 5m)"));
        assert_eq!(cloud.kept(name), ["r1 60 old.example"], "the same record, never without one");
        assert_eq!(oracle::records(cloud.secondary, name, "CNAME"), ["60 old.example."]);
        port.already_done(action.as_ref()).await;
        port.undo(action.as_ref(), &saved, applied.then_some(&evidence)).await;
        assert_eq!(cloud.kept(name), ["r1 300 new.example"]);
    }
    assert_eq!(cloud.ledger.effects()[&format!("dns change CNAME {name}")], 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sets_texts_and_what_was_not_there() {
    let cloud = Cloud::start().await;
    let port = cloud.port_with(TOKEN, json!({"zone": ZONE}));
    cloud.put("a1", ("set.cloud.test", "A"), "192.0.2.1", 120, false);
    cloud.put("a2", ("set.cloud.test", "A"), "192.0.2.2", 120, false);
    let to = json!(["192.0.2.2", "192.0.2.3", "192.0.2.4"]);
    let set = port.point(json!({"name": "set.cloud.test", "type": "A", "to": to})).await;
    let (saved, _) = port.carry_out(set.as_ref()).await;
    assert_eq!(oracle::records(cloud.primary, "set.cloud.test", "A").len(), 3);
    port.undo(set.as_ref(), &saved, None).await;
    assert_eq!(
        oracle::records(cloud.primary, "set.cloud.test", "A"),
        ["120 192.0.2.1", "120 192.0.2.2"]
    );
    let text = port
        .point(json!({"name": "txt.cloud.test", "type": "TXT", "to": "v=spf1 \"x\" -all"}))
        .await;
    let (saved, _) = port.carry_out(text.as_ref()).await;
    assert!(cloud.kept("txt.cloud.test")[0].ends_with(r#"60 "v=spf1 \"x\" -all""#));
    port.undo(text.as_ref(), &saved, None).await;
    assert!(cloud.kept("txt.cloud.test").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_else_changed_is_left_alone() {
    let cloud = Cloud::start().await;
    let name = "theirs.cloud.test";
    cloud.put("r1", (name, "CNAME"), "new.example", 300, false);
    let port = cloud.port();
    let action = port.point(json!({"name": name, "type": "CNAME", "to": "old.example"})).await;
    let saved = port.needed(action.as_ref()).await;
    cloud.put("r1", (name, "CNAME"), "theirs.example", 300, false);
    let error = action.apply(&port.cx(), &saved).await.expect_err("it has changed");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
    let error = action.undo(&port.cx(), &saved, None).await.expect_err("not ours");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
    assert_eq!(cloud.kept(name), ["r1 300 theirs.example"]);
    cloud.put("r2", ("beside.cloud.test", "A"), "192.0.2.1", 300, false);
    let beside = port
        .point(json!({"name": "beside.cloud.test", "type": "CNAME", "to": "old.example"}))
        .await;
    let error = port.refused(beside.as_ref()).await;
    assert!(error.message.contains("has A, and a CNAME stands beside nothing else"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxied_record_is_proved_by_the_api_alone() {
    let cloud = Cloud::start().await;
    let name = "proxied.cloud.test";
    cloud.put("r1", (name, "CNAME"), "new.example", 1, true);
    let port = cloud.port();
    let action =
        port.point(json!({"name": name, "type": "CNAME", "to": "old.example", "ttl": "1s"})).await;
    let (saved, _) = port.carry_out(action.as_ref()).await;
    assert_eq!(saved.spreads().map(|time| time.as_secs()), Some(300), "automatic");
    assert_eq!(cloud.kept(name), ["r1 1 old.example"]);
    assert!(oracle::records(cloud.primary, name, "CNAME").is_empty());
    let evidence = port.already_done(action.as_ref()).await;
    assert!(evidence.summary.contains("at the provider"), "{evidence:?}");
    let seen = port.observe(json!({"name": name, "type": "CNAME", "value": "old.example"})).await;
    assert_eq!(seen.expect("the API tells").facts["proxied"], json!(true));
    port.undo(action.as_ref(), &saved, None).await;
    assert_eq!(cloud.kept(name), ["r1 1 new.example"]);
}

/// Behind the proxy the TTL is Cloudflare's affair, and "automatic" is 1 to its API and 300 to name servers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ttl_is_what_cloudflare_makes_of_it() {
    let cloud = Cloud::start().await;
    let port = cloud.port();
    for (name, proxied, ttl, kept) in [
        ("proxied.cloud.test", true, "60s", "r1 1 old.example"),
        ("automatic.cloud.test", false, "1s", "r1 1 old.example"),
    ] {
        cloud.put("r1", (name, "CNAME"), "new.example", 1, proxied);
        let args = json!({"name": name, "type": "CNAME", "to": "old.example", "ttl": ttl});
        let action = port.point(args).await;
        let (saved, applied) = port.carry_out(action.as_ref()).await;
        assert_eq!(cloud.kept(name), [kept]);
        port.already_done(action.as_ref()).await;
        port.undo(action.as_ref(), &saved, Some(&applied)).await;
        assert_eq!(cloud.kept(name), ["r1 1 new.example"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_and_lost_answers_keep_their_meaning() {
    let cloud = Cloud::start().await;
    let name = "agent.cloud.test";
    cloud.put("r1", (name, "CNAME"), "new.example", 300, false);
    let args = json!({"name": name, "type": "CNAME", "to": "old.example"});
    let port = cloud.port();
    let action = port.point(args.clone()).await;
    let saved = port.needed(action.as_ref()).await;

    let wrong = cloud.port_with("wrong-token", json!({}));
    let error = wrong.refused(wrong.point(args.clone()).await.as_ref()).await;
    assert_eq!((error.kind, error.retryable), (ErrorKind::Denied, false), "{error:?}");
    assert!(error.hints[0].contains("DNS:Edit"), "{error:?}");
    assert!(!format!("{error:?}").contains("wrong-token"), "{error:?}");
    let short =
        port.point(json!({"name": name, "type": "CNAME", "to": "old.example", "ttl": "30s"})).await;
    let error = short.apply(&port.cx(), &saved).await.expect_err("too short");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
    assert!(error.hints[0].contains("60s"), "{error:?}");
    let elsewhere =
        port.point(json!({"name": "a.example.org", "type": "CNAME", "to": "b.example"})).await;
    assert_eq!(port.refused(elsewhere.as_ref()).await.kind, ErrorKind::NotFound);

    for (fault, path, kind, again) in [
        ("error=429", "batch", ErrorKind::Failed, true),
        ("error=503", "batch", ErrorKind::Unknown, true),
        ("error=503", "/zones", ErrorKind::Failed, true),
        ("reset", "batch", ErrorKind::Unknown, true),
        ("reset", "/zones", ErrorKind::Failed, true),
    ] {
        cloud.faults.add(format!("dns:{fault},path={path},times=1").parse().expect("a fault"));
        let error = action.apply(&port.cx(), &saved).await.expect_err(fault);
        assert_eq!((error.kind, error.retryable), (kind, again), "{fault} {path}: {error:?}");
        assert_eq!(cloud.kept(name), ["r1 300 new.example"]);
    }
    cloud.faults.add("dns:lost,path=batch,times=1".parse().expect("a fault"));
    let error = action.apply(&port.cx(), &saved).await.expect_err("the answer is lost");
    assert_eq!(error.kind, ErrorKind::Unknown, "{error:?}");
    port.already_done(action.as_ref()).await;
    action.apply(&port.cx(), &saved).await.expect("it is there");
    port.proved(action.as_ref(), &Evidence::default()).await;
    assert_eq!(cloud.ledger.effects()[&format!("dns change CNAME {name}")], 1, "never twice");
    assert!(port.reach().await.expect("they answer").contains("records are kept at cloudflare"));
}
