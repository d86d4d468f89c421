//! Name servers under test, names of its own for every test, and the port through which the adapter is driven.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rollback::action::{
    Action, ActionError, Connections, Evidence, Probe, Readiness, Recorder, ResolveContext, Saved,
    StepContext, Verdict, Work,
};
use rollback::adapters;
use rollback::sandbox::dns::{Key, NameServers, Sockets, Start, Zone};
use rollback::sandbox::faults::{Double, Faults};
use rollback::sandbox::ledger::Ledger;
use rollback::secret::Secrets;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::oracle::{self, SharedKey};
use crate::support::{HANG, back, install_tls, server_variable};

/// The zone whose secondary follows at once.
pub(super) const FOLLOWS: &str = "follows.test";
/// The zone whose secondary stays behind until it is told.
pub(super) const LAGS: &str = "lags.test";

/// Two authoritative servers and a resolver.
pub(super) struct Rig {
    pub(super) primary: SocketAddr,
    pub(super) secondary: SocketAddr,
    pub(super) resolver: SocketAddr,
    pub(super) key: SharedKey,
    /// What the names of this test begin with.
    id: String,
    folder: TempDir,
    /// Of a double: its faults, by which its secondary stays behind.
    pub(super) faults: Option<Faults>,
    /// Keeps a double alive.
    _world: Box<dyn std::any::Any + Send + Sync>,
}

impl Rig {
    /// BIND.
    #[expect(clippy::unused_async, reason = "one form for both servers")]
    pub(super) async fn bind() -> Self {
        let at = |name| server_variable(&[name]).parse().expect("an address");
        let key = server_variable(&["ROLLBACK_TEST_BIND_KEY"]);
        let (name, secret) = key.split_once(':').expect("a name and a secret");
        Self {
            primary: at("ROLLBACK_TEST_BIND_PRIMARY"),
            secondary: at("ROLLBACK_TEST_BIND_SECONDARY"),
            resolver: at("ROLLBACK_TEST_BIND_RESOLVER"),
            key: SharedKey { name: name.to_owned(), secret: secret.to_owned() },
            id: id(),
            folder: TempDir::new().expect("the temporary folder is writable"),
            faults: None,
            _world: Box::new(()),
        }
    }

    /// Doubles of its own.
    pub(super) async fn double() -> Self {
        let folder = TempDir::new().expect("the temporary folder is writable");
        let ledger = Ledger::open(&folder.path().join("effects.log")).expect("it is writable");
        let faults = Faults::default();
        faults.add(format!("dns:silence,path=TRANSFER {LAGS}").parse().expect("a fault"));
        let secret = b"0123456789abcdef0123456789abcdef";
        let key = Key::new("rollback-test.", secret).expect("a key");
        let start = Start { dir: folder.path(), key, ledger, faults: Some(faults.clone()) };
        let servers = NameServers::open(start).expect("they open");
        let zone = |origin: &str| {
            let server = format!("{origin}. 60 NS ns1.{FOLLOWS}.");
            Zone::new(&format!("{origin}."), &[&server]).expect("a zone")
        };
        servers.seed(&[zone(FOLLOWS), zone(LAGS)]).expect("they are writable");
        let sockets = Sockets::bind(None).await.expect("ports are free");
        let at = sockets.addresses().expect("they are bound");
        let doors = servers.serve(sockets);
        Self {
            primary: at.primary,
            secondary: at.secondary,
            resolver: at.resolver,
            key: SharedKey {
                name: "rollback-test".to_owned(),
                secret: BASE64_STANDARD.encode(secret),
            },
            id: id(),
            folder,
            faults: Some(faults),
            _world: Box::new((servers, doors)),
        }
    }

    /// A name of this test.
    pub(super) fn name(&self, first: &str, zone: &str) -> String {
        format!("{first}-{}.{zone}", self.id)
    }

    /// A name of this test in [`LAGS`], whose secondary is this test's alone until the guard goes: it takes the whole zone, whoever lets it.
    pub(super) async fn lagging(
        &self,
        first: &str,
    ) -> (String, tokio::sync::MutexGuard<'static, ()>) {
        static SECONDARY: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        (self.name(first, LAGS), SECONDARY.lock().await)
    }

    /// Replaces all records of a name and type, with the test's own client.
    pub(super) fn set(&self, (name, kind): (&str, &str), texts: &[&str], ttl: u32) {
        let zone = if name.ends_with(LAGS) { LAGS } else { FOLLOWS };
        let data = oracle::data(kind, texts);
        oracle::set(self.primary, &self.key, zone, (name, kind), &data, ttl);
    }

    /// The same, and waits until the secondary has it.
    pub(super) fn set_everywhere(&self, (name, kind): (&str, &str), texts: &[&str], ttl: u32) {
        self.set((name, kind), texts, ttl);
        crate::support::wait_until("the secondary follows", || {
            oracle::records(self.secondary, name, kind).len() == texts.len()
        });
    }

    /// The primary's records, `TTL DATA`.
    pub(super) fn records(&self, name: &str, kind: &str) -> Vec<String> {
        oracle::records(self.primary, name, kind)
    }

    /// Lets the secondary of [`LAGS`] hear of what has changed.
    pub(super) fn catch_up(&self) {
        match &self.faults {
            Some(faults) => faults.clear(Some(Double::Dns)),
            None => oracle::notify(self.secondary, LAGS),
        }
    }

    /// The block `dns` of an environment; the marker stands for the key's secret.
    pub(super) fn settings(&self, server: SocketAddr, key: &str, marker: &str) -> Value {
        json!({
            "rfc2136": {"server": server.to_string(), "key": {"name": key, "secret": marker}},
            // Where updates go is asked, too.
            "nameservers": [server.to_string(), self.secondary.to_string()],
            "resolvers": [self.resolver.to_string()],
        })
    }

    /// The port, with these servers as the environment's.
    pub(super) fn port(&self) -> Port {
        self.port_at(self.primary)
    }

    /// The same with the primary somewhere else.
    pub(super) fn port_at(&self, primary: SocketAddr) -> Port {
        self.port_with(primary, &self.key)
    }

    /// The same with another key.
    pub(super) fn port_with(&self, primary: SocketAddr, key: &SharedKey) -> Port {
        self.port_of(primary, key, &json!({}))
    }

    /// The port with these name servers and resolvers.
    pub(super) fn port_asking(&self, nameservers: &[&str], resolvers: &[&str]) -> Port {
        let asked = json!({"nameservers": nameservers, "resolvers": resolvers});
        self.port_of(self.primary, &self.key, &asked)
    }

    fn port_of(&self, primary: SocketAddr, key: &SharedKey, more: &Value) -> Port {
        let mut secrets = Secrets::default();
        let marker =
            secrets.insert("connections.dns.rfc2136.key.secret", key.secret.clone().into());
        let mut settings = self.settings(primary, &key.name, &marker);
        for (name, value) in more.as_object().expect("an object") {
            settings[name] = value.clone();
        }
        Port::new(settings, secrets, self.folder.path().to_owned())
    }

    /// Holds the secondary of [`LAGS`] back again.
    pub(super) fn hold_back(&self) {
        if let Some(faults) = &self.faults {
            faults.add(format!("dns:silence,path=TRANSFER {LAGS}").parse().expect("a fault"));
        }
    }
}

/// A name server that hangs: the kernel takes what is sent to it, and nobody reads it.
pub(super) struct Hung {
    pub(super) address: String,
    _sockets: (TcpListener, UdpSocket),
}

impl Hung {
    pub(super) fn start() -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = tcp.local_addr().expect("it is bound");
        let udp = UdpSocket::bind(address).expect("the port is free");
        Self { address: address.to_string(), _sockets: (tcp, udp) }
    }
}

/// Keeps what a step notes.
#[derive(Default)]
pub(super) struct Notes(Mutex<Vec<Value>>);

impl Notes {
    pub(super) fn taken(&self) -> Vec<Value> {
        self.0.lock().expect("nobody panicked").clone()
    }
}

#[async_trait]
impl Recorder for Notes {
    async fn note(&self, note: Value) -> Result<(), ActionError> {
        self.jot(note);
        Ok(())
    }

    fn jot(&self, note: Value) {
        self.0.lock().expect("nobody panicked").push(note);
    }
}

fn id() -> String {
    Uuid::new_v4().simple().to_string()[..10].to_owned()
}

/// The port of the adapter.
pub(super) struct Port {
    resolve: ResolveContext,
    scratch: PathBuf,
}

impl Port {
    /// With these settings under `connections: {dns: …}`.
    pub(super) fn new(settings: Value, secrets: Secrets, scratch: PathBuf) -> Self {
        install_tls();
        let settings = HashMap::from([("dns".to_owned(), settings)]);
        let connections = Connections::new("test", settings, Arc::new(secrets));
        let registry = Arc::new(adapters::registry());
        let resolve = ResolveContext { connections: Arc::new(connections), registry };
        Self { resolve, scratch }
    }

    /// A context of a run, with time enough.
    pub(super) fn cx(&self) -> StepContext {
        self.cx_for(HANG)
    }

    /// A context of a run that ends.
    pub(super) fn cx_for(&self, time: Duration) -> StepContext {
        let (deadline, cancel) = (Instant::now() + time, CancellationToken::new());
        StepContext::new(deadline, cancel, self.scratch.clone(), "run-1").at("traffic/point")
    }

    /// A context that knows what was noted, and keeps what is noted further.
    pub(super) fn cx_noting(&self, notes: &Arc<Notes>) -> StepContext {
        self.cx().recording(notes.clone(), notes.taken())
    }

    /// Whether the servers answer.
    pub(super) async fn reach(&self) -> Result<String, ActionError> {
        let mut blocks = self.resolve.registry.connections().filter(|block| block.key == "dns");
        let reach = blocks.next().and_then(|block| block.reach).expect("dns can be reached");
        reach(&self.resolve.connections).await
    }

    async fn work(&self, verb: &str, args: Value) -> Result<Work, ActionError> {
        let verb = self.resolve.registry.verb(verb).expect("the verb exists");
        assert_eq!((verb.validate)(args.clone()), Ok(()));
        let items = verb.expand(args, &self.resolve).await?;
        assert_eq!(items.len(), 1);
        verb.make(&items[0].args, &self.resolve)
    }

    /// The action of `dns.point`.
    pub(super) async fn point(&self, args: Value) -> Box<dyn Action> {
        match self.work("dns.point", args).await.expect("the step is sound") {
            Work::Action(action) => action,
            _ => panic!("dns.point is an action"),
        }
    }

    /// The probe of `dns.expect`.
    pub(super) async fn probe(&self, args: Value) -> Box<dyn Probe> {
        match self.work("dns.expect", args).await.expect("the step is sound") {
            Work::Probe(probe) => probe,
            _ => panic!("dns.expect is a probe"),
        }
    }

    /// Asks once: what holds, or what was seen instead.
    pub(super) async fn observe(&self, args: Value) -> Result<Evidence, String> {
        match self.probe(args).await.observe(&self.cx()).await.expect("it can be asked") {
            Verdict::Holds { evidence } => Ok(evidence),
            Verdict::NotYet { observed } => Err(observed),
        }
    }

    /// Inspects, which must find that something is to be done. What is saved goes through a journal.
    pub(super) async fn needed(&self, action: &dyn Action) -> Saved {
        match action.inspect(&self.cx()).await.expect("the state can be inspected") {
            Readiness::Needed { saved, .. } => {
                let text = serde_json::to_string(&saved).expect("a saved state is JSON");
                serde_json::from_str(&text).expect("and reads back")
            }
            Readiness::AlreadyDone { evidence } => {
                panic!("it is needed, not: {}", evidence.summary)
            }
        }
    }

    /// Inspects, which must find that nothing is to be done, as soon as the secondary has heard of it.
    pub(super) async fn already_done(&self, action: &dyn Action) -> Evidence {
        let until = Instant::now() + HANG;
        loop {
            match action.inspect(&self.cx()).await.expect("the state can be inspected") {
                Readiness::AlreadyDone { evidence } => return evidence,
                Readiness::Needed { saved, .. } => {
                    assert!(Instant::now() < until, "it is done already, not: {saved:?}");
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Inspects, which must fail.
    pub(super) async fn refused(&self, action: &dyn Action) -> ActionError {
        action.inspect(&self.cx()).await.map(drop).expect_err("it may not begin")
    }

    /// Verifies until it holds.
    pub(super) async fn proved(&self, action: &dyn Action, applied: &Evidence) -> Evidence {
        let until = Instant::now() + HANG;
        loop {
            match action.verify(&self.cx(), applied).await.expect("it can be verified") {
                Verdict::Holds { evidence } => return evidence,
                Verdict::NotYet { observed } => assert!(Instant::now() < until, "{observed}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Inspects, applies and verifies.
    pub(super) async fn carry_out(&self, action: &dyn Action) -> (Saved, Evidence) {
        let saved = self.needed(action).await;
        let applied = action.apply(&self.cx(), &saved).await.expect("the change is made");
        self.proved(action, &applied).await;
        (saved, applied)
    }

    /// Undoes, twice.
    pub(super) async fn undo(
        &self,
        action: &dyn Action,
        saved: &Saved,
        applied: Option<&Evidence>,
    ) {
        back::undo_twice(action, saved, applied, || self.cx()).await;
    }
}
