//! DigitalOcean's domains: read, compared, changed by id, read again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rollback::action::{ErrorKind, Evidence, Readiness};
use rollback::sandbox::digitalocean::{Account, Seed, Setup};
use rollback::sandbox::dns::{Key, NameServers, Sockets, Start, Zone};
use rollback::sandbox::faults::Faults;
use rollback::sandbox::ledger::Ledger;
use rollback::sandbox::wire::open_tcp;
use rollback::secret::Secrets;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::oracle;
use super::rig::{Notes, Port};

const ZONE: &str = "insightpulseai.net";
const TOKEN: &str = "cAn4ry-of-the-token";

struct Domains {
    api: SocketAddr,
    primary: SocketAddr,
    secondary: SocketAddr,
    account: Account,
    faults: Faults,
    folder: TempDir,
    serving: JoinHandle<()>,
    _doors: Box<dyn std::any::Any + Send + Sync>,
}

impl Drop for Domains {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Domains {
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
        let path = folder.path().join("account.json");
        let token = TOKEN.to_owned();
        let setup = Setup { path, token, speed: 100.0, ledger, public: None, logs: None };
        let account = Account::open(setup).expect("it opens");
        account.seed(Seed::orchestrator(1)).expect("it is writable");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let api = listener.local_addr().expect("it is bound");
        let door = open_tcp(listener, account.front(Some(faults.clone())));
        let serving = tokio::spawn(publish(account.clone(), names.clone()));
        let doors = Box::new((names.serve(sockets), door));
        let (primary, secondary) = (at.primary, at.secondary);
        Self { api, primary, secondary, account, faults, folder, serving, _doors: doors }
    }

    /// The records of a name below the domain, `TTL DATA`.
    fn kept(&self, name: &str) -> Vec<String> {
        let domains = self.account.domains();
        let domain = domains.iter().find(|domain| domain.name == ZONE).expect("the domain");
        let own = domain.records.iter().filter(|record| record.name == name);
        let mut lines: Vec<String> = own.map(|r| format!("{} {}", r.ttl, r.data)).collect();
        lines.sort();
        lines
    }

    fn port(&self) -> Port {
        let mut secrets = Secrets::default();
        let token = secrets.insert("connections.dns.digitalocean.token", TOKEN.to_owned().into());
        let settings = json!({
            "digitalocean": {"token": token, "url": format!("http://{}", self.api)},
            "nameservers": [self.primary.to_string(), self.secondary.to_string()],
        });
        Port::new(settings, secrets, self.folder.path().to_owned())
    }
}

/// Has the name servers serve what the account holds, moments later, as the provider does.
async fn publish(account: Account, names: NameServers) {
    let mut served = Vec::new();
    loop {
        let domains = account.domains();
        let domain = domains.iter().find(|domain| domain.name == ZONE).expect("the domain");
        if domain.records != served {
            for record in served.iter().chain(&domain.records) {
                let (name, kind) = (format!("{}.{ZONE}.", record.name), record.kind.as_str());
                if record.name == "@" || !matches!(kind, "A" | "CNAME") {
                    continue;
                }
                let own = domain.records.iter().filter(|r| r.name == record.name && r.kind == kind);
                let dot = if kind == "CNAME" { "." } else { "" };
                let data: Vec<String> = own.clone().map(|r| format!("{}{dot}", r.data)).collect();
                let ttl = own.clone().next().map_or(60, |record| record.ttl);
                let ttl = u32::try_from(ttl).expect("a TTL");
                names.publish(&name, ttl, kind, &data).expect("it is writable");
            }
            served.clone_from(&domain.records);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agents_name_is_moved_and_brought_back_with_its_ttl() {
    let domains = Domains::start().await;
    let before = domains.kept("agent");
    assert_eq!(before.len(), 1, "{before:?}");
    let port = domains.port();
    let old = "wr2azp5dsl6mu6xvxtpglk5v.agents.do-ai.run";
    let args = json!({"name": format!("agent.{ZONE}"), "type": "CNAME", "to": old, "ttl": "45s"});
    let action = port.point(args).await;
    let (saved, applied) = port.carry_out(action.as_ref()).await;
    assert_eq!(domains.kept("agent"), [format!("45 {old}")]);
    let seen = oracle::records(domains.secondary, &format!("agent.{ZONE}"), "CNAME");
    assert_eq!(seen, [format!("45 {old}.")]);
    port.already_done(action.as_ref()).await;
    port.undo(action.as_ref(), &saved, Some(&applied)).await;
    assert_eq!(domains.kept("agent"), before);
    let shorter = json!({"name": format!("agent.{ZONE}"), "type": "CNAME", "to": old, "ttl": "5s"});
    let shorter = port.point(shorter).await;
    let error = shorter.apply(&port.cx(), &saved).await.expect_err("30 s at least");
    assert!(error.message.contains("greater than or equal to 30"), "{error:?}");
    assert_eq!(domains.kept("agent"), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_that_was_cut_off_half_way_is_finished_or_taken_back() {
    for back in [false, true] {
        let domains = Domains::start().await;
        let port = domains.port();
        let name = format!("set.{ZONE}");
        let first = json!({"name": name, "type": "A", "to": ["192.0.2.1", "192.0.2.2"]});
        let first = port.point(first).await;
        let (created, _) = port.carry_out(first.as_ref()).await;
        let to = json!(["192.0.2.3", "192.0.2.4", "192.0.2.5"]);
        let from = json!(["192.0.2.1", "192.0.2.2"]);
        let action = json!({"name": name, "type": "A", "to": to, "from": from});
        let action = port.point(action).await;
        let saved = port.needed(action.as_ref()).await;
        // Two records are rewritten, and the third is not added: some of both.
        domains
            .faults
            .add("digitalocean:error=422,path=POST /v2,times=1".parse().expect("a fault"));
        let notes = Arc::<Notes>::default();
        let error = action.apply(&port.cx_noting(&notes), &saved).await.expect_err("refused");
        assert!(!error.outcome_unknown(), "{error:?}");
        assert_eq!(notes.taken().len(), 1, "before the first request");
        assert_eq!(domains.kept("set"), ["60 192.0.2.3", "60 192.0.2.4"]);
        if back {
            action.undo(&port.cx_noting(&notes), &saved, None).await.expect("it was left by this");
            assert_eq!(domains.kept("set"), ["60 192.0.2.1", "60 192.0.2.2"]);
            port.undo(first.as_ref(), &created, None).await;
            assert!(domains.kept("set").is_empty());
        } else {
            assert_eq!(port.refused(action.as_ref()).await.kind, ErrorKind::Conflict);
            let fresh = action.apply(&port.cx(), &saved).await.expect_err("nobody tried before");
            assert_eq!(fresh.kind, ErrorKind::Conflict, "{fresh:?}");
            let found = action.inspect(&port.cx_noting(&notes)).await;
            assert!(matches!(found, Ok(Readiness::Needed { .. })), "{found:?}");
            action.apply(&port.cx_noting(&notes), &saved).await.expect("it is finished");
            port.proved(action.as_ref(), &Evidence::default()).await;
            assert_eq!(domains.kept("set").len(), 3);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_looked_for_and_theirs_is_left_alone() {
    let domains = Domains::start().await;
    let port = domains.port();
    let name = format!("agent.{ZONE}");
    let args = json!({"name": name, "type": "CNAME", "to": "old.example", "ttl": "30s"});
    let action = port.point(args).await;
    let saved = port.needed(action.as_ref()).await;
    let id = domains.account.domains().iter().find(|domain| domain.name == ZONE).and_then(|d| {
        d.records.iter().find(|record| record.name == "agent").map(|record| record.id)
    });
    let path = format!("/records/{}", id.expect("the record"));
    domains.faults.add(format!("digitalocean:lost,path={path},times=1").parse().expect("a fault"));
    let error = action.apply(&port.cx(), &saved).await.expect_err("the answer is lost");
    assert_eq!(error.kind, ErrorKind::Unknown, "{error:?}");
    port.already_done(action.as_ref()).await;
    let again = action.apply(&port.cx(), &saved).await.expect("it is there");
    assert_eq!(again.facts["sent"], json!(false));

    let theirs = json!({"name": name, "type": "CNAME", "to": "theirs.example", "ttl": "30s"});
    port.carry_out(port.point(theirs).await.as_ref()).await;
    let error = action.undo(&port.cx(), &saved, None).await.expect_err("not ours");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
    assert_eq!(domains.kept("agent"), ["30 theirs.example"]);
    let beside = port.point(json!({"name": name, "type": "A", "to": "192.0.2.1"})).await;
    assert!(port.refused(beside.as_ref()).await.message.contains("has CNAME"));
}
