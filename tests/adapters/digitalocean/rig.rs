//! The double under test, every exchange with which is held against the API's description, and the port through which the adapter is driven.
//!
//! With `ROLLBACK_CONTRACT_PROXY` a validating proxy stands before it, as `scripts/contract` starts one: it passes everything on to one
//! address, where the token of a request says which double it is for.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash as _, Hasher as _};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use async_trait::async_trait;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Response};
use rollback::action::{
    Action, ActionError, Connections, Evidence, Gathering, Item, Piece, Readiness, Recorder,
    ResolveContext, Saved, StepContext, Verdict, Work,
};
use rollback::adapters;
use rollback::sandbox::digitalocean::{Account, Seed, Setup};
use rollback::sandbox::faults::Faults;
use rollback::sandbox::ledger::Ledger;
use rollback::sandbox::wire::{Door, Front, Handler, open_tcp, plain_refusal};
use rollback::secret::Secrets;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::contract::{Exchange, violations};
use crate::support::back;
use crate::support::{HANG, install_tls};

/// How many apps there are: more than one page.
pub(super) const APPS: usize = 230;
/// How many where that does not matter: the specialists and those with names like theirs.
const SMALL: usize = 16;
/// How many times as fast as in the sandbox deployments run.
const SPEED: f64 = 20.0;
/// The most of a body that is held against the description, in bytes.
const MOST_BYTES: usize = 16 << 20;

type Found = Arc<Mutex<Vec<String>>>;

/// An account under test.
pub(super) struct Rig {
    pub(super) account: Account,
    pub(super) ledger: Ledger,
    pub(super) faults: Faults,
    /// Where the adapter is told that the API is.
    pub(super) url: String,
    token: String,
    found: Found,
    _door: Door,
    _folder: TempDir,
}

impl Rig {
    /// The orchestrator's account, behind the validating proxy if there is one.
    pub(super) fn new() -> Self {
        Self::with(
            None,
            std::env::var("ROLLBACK_CONTRACT_PROXY").ok().as_deref(),
            Seed::orchestrator(APPS),
        )
    }

    /// The same without any proxy: for faults of the wire, which a proxy would turn into answers of its own.
    pub(super) fn direct() -> Self {
        Self::with(None, None, Seed::orchestrator(APPS))
    }

    /// The same with few apps, for programs that are started again and again.
    pub(super) fn small() -> Self {
        Self::with(None, None, Seed::orchestrator(SMALL))
    }

    /// With links to next pages that lead there.
    pub(super) fn linking(public: String) -> Self {
        Self::with(Some(public), None, Seed::orchestrator(APPS))
    }

    fn with(public: Option<String>, proxy: Option<&str>, seed: Seed) -> Self {
        install_tls();
        let folder = TempDir::new().expect("the temporary folder is writable");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("it can be shared");
        let here = format!("http://{}", listener.local_addr().expect("it is bound"));
        let url = proxy.map_or_else(|| here.clone(), str::to_owned);
        let ledger = Ledger::open(&folder.path().join("effects.log")).expect("it is writable");
        let token = format!("dop_v1_{}", uuid::Uuid::new_v4().simple());
        let account = Account::open(Setup {
            path: folder.path().join("account.json"),
            token: token.clone(),
            speed: SPEED,
            ledger: ledger.clone(),
            public: Some(public.unwrap_or_else(|| url.clone())),
            logs: Some(here),
        });
        let account = account.expect("the double opens");
        account.seed(seed).expect("it is writable");
        let (faults, found) = (Faults::default(), Found::default());
        let front = account.front(Some(faults.clone()));
        let front = Front { handler: watched(front.handler.clone(), found.clone()), ..front };
        if proxy.is_some() {
            switchboard()
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(format!("Bearer {token}"), front.handler.clone());
        }
        let listener = TcpListener::from_std(listener).expect("it is a listener");
        let door = open_tcp(listener, front);
        Self { account, ledger, faults, url, token, found, _door: door, _folder: folder }
    }

    /// The port, with this account as the environment's.
    pub(super) fn port(&self) -> Port {
        self.port_with(&self.token)
    }

    /// The port of somebody with this token.
    pub(super) fn port_with(&self, token: &str) -> Port {
        let mut secrets = Secrets::default();
        let marker = secrets.insert("token", token.into());
        let settings = json!({"url": self.url, "token": marker});
        let settings = HashMap::from([("digitalocean".to_owned(), settings)]);
        let connections = Connections::new("test", settings, Arc::new(secrets));
        let registry = Arc::new(adapters::registry());
        let resolve = ResolveContext { connections: Arc::new(connections), registry };
        Port { resolve, notes: Arc::default() }
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// How often an effect happened.
    pub(super) fn count(&self, effect: &str) -> u64 {
        self.ledger.effects().get(&format!("digitalocean {effect}")).copied().unwrap_or(0)
    }

    /// How many effects there were.
    pub(super) fn total(&self) -> u64 {
        self.ledger.effects().values().sum()
    }

    /// Injects a fault.
    pub(super) fn fault(&self, text: &str) {
        self.faults.add(text.parse().expect("a fault"));
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::thread::panicking() {
            assert!(found.is_empty(), "against the API's description: {found:#?}");
        }
    }
}

/// The handler, with every exchange held against the description. Hosts of logs are not part of it.
fn watched(handler: Handler, found: Found) -> Handler {
    let known: Arc<Mutex<HashSet<u64>>> = Arc::default();
    Arc::new(move |request: Request<Body>| {
        let (handler, found, known) = (handler.clone(), found.clone(), known.clone());
        Box::pin(async move {
            if request.uri().path().starts_with("/logs/") {
                return handler(request).await;
            }
            let (head, body) = request.into_parts();
            let body = to_bytes(body, MOST_BYTES).await.unwrap_or_default();
            let mut exchange = Exchange {
                method: head.method.to_string(),
                path: head.uri.path().to_owned(),
                query: head.uri.query().unwrap_or_default().to_owned(),
                request: body.to_vec(),
                status: 0,
                answer: Vec::new(),
            };
            let (head, body) =
                handler(Request::from_parts(head, Body::from(body))).await.into_parts();
            let answer: Bytes = to_bytes(body, MOST_BYTES).await.unwrap_or_default();
            (exchange.status, exchange.answer) = (head.status.as_u16(), answer.to_vec());
            // A long list is asked for often, and is the same again.
            let mut hasher = DefaultHasher::new();
            exchange.hash(&mut hasher);
            let new = known.lock().unwrap_or_else(PoisonError::into_inner).insert(hasher.finish());
            if !new {
                return Response::from_parts(head, Body::from(answer));
            }
            let mut problems = found.lock().unwrap_or_else(PoisonError::into_inner);
            problems.extend(violations(&exchange));
            Response::from_parts(head, Body::from(answer))
        })
    })
}

type Switchboard = Arc<Mutex<HashMap<String, Handler>>>;

/// The one address behind the validating proxy, and the doubles behind it, by what authorizes for them.
fn switchboard() -> &'static Switchboard {
    static BOARD: LazyLock<Switchboard> = LazyLock::new(|| {
        let board = Switchboard::default();
        let behind = std::env::var("ROLLBACK_CONTRACT_UPSTREAM").expect("where the proxy looks");
        let listener = std::net::TcpListener::bind(behind).expect("the address is free");
        listener.set_nonblocking(true).expect("it can be shared");
        let (doubles, serving) = (board.clone(), std::sync::mpsc::channel());
        let ready = serving.0;
        // In a thread of its own, since it outlives the runtime of every test.
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(2).enable_all().build();
            runtime.expect("a runtime starts").block_on(async move {
                let listener = TcpListener::from_std(listener).expect("it is a listener");
                let handler: Handler = Arc::new(move |request: Request<Body>| {
                    let token = request.headers().get("authorization");
                    let token = token.and_then(|token| token.to_str().ok()).unwrap_or_default();
                    let doubles = doubles.lock().unwrap_or_else(PoisonError::into_inner);
                    match doubles.get(token).or(doubles.values().next()) {
                        Some(double) => double(request),
                        None => panic!("a double is registered before it is asked"),
                    }
                });
                let door =
                    open_tcp(listener, Front { faults: None, handler, refuse: plain_refusal });
                ready.send(()).expect("somebody waits");
                std::future::pending::<()>().await;
                drop(door);
            });
        });
        serving.1.recv().expect("it serves");
        board
    });
    &BOARD
}

/// Notes of one item, as a journal keeps them.
#[derive(Default)]
pub(super) struct Notes(Mutex<Vec<Value>>);

#[async_trait]
impl Recorder for Notes {
    async fn note(&self, note: Value) -> Result<(), ActionError> {
        self.jot(note);
        Ok(())
    }

    fn jot(&self, note: Value) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }
}

/// The port of the adapter, and the notes of the one item that is at work.
pub(super) struct Port {
    pub(super) resolve: ResolveContext,
    notes: Arc<Notes>,
}

impl Port {
    /// Whether the account answers.
    pub(super) async fn reach(&self) -> Result<String, ActionError> {
        let system = self.resolve.registry.system("digitalocean").expect("the adapter is listed");
        let reach = system.connections[0].reach.expect("it can be reached");
        reach(&self.resolve.connections).await
    }

    /// What it gathers as evidence.
    pub(super) async fn gather(&self, settings: Value, most: usize) -> Vec<Piece> {
        let system = self.resolve.registry.system("digitalocean").expect("the adapter is listed");
        let gather = system.connections[0].gather.expect("it can be gathered from");
        let now: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let (since, until, rollback) = (now, now, (now, now));
        let deadline = Instant::now() + HANG;
        let gathering = Gathering { settings, since, until, rollback, most, deadline };
        gather(&self.resolve.connections, &gathering).await.expect("something is gathered")
    }

    /// The context of a new attempt, with the notes of those before.
    pub(super) fn cx(&self) -> StepContext {
        self.cx_until(Instant::now() + HANG)
    }

    /// The same with an end.
    pub(super) fn cx_until(&self, deadline: Instant) -> StepContext {
        let notes = self.notes.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let cancel = CancellationToken::new();
        StepContext::new(deadline, cancel, std::env::temp_dir(), "20261127-0000-test")
            .recording(self.notes.clone(), notes)
    }

    /// Forgets the notes, for another item.
    pub(super) fn forget(&self) {
        self.notes.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The items that a plan makes of a step.
    pub(super) async fn items(&self, verb: &str, args: Value) -> Result<Vec<Item>, ActionError> {
        let found = self.resolve.registry.verb(verb).expect("a verb of this adapter");
        (found.validate)(args.clone()).expect("valid arguments");
        found.expand(args, &self.resolve).await
    }

    /// What an inventory lists.
    pub(super) async fn list(&self, verb: &str, args: Value) -> Vec<Value> {
        let found = self.resolve.registry.verb(verb).expect("a verb of this adapter");
        found.list(args, &self.resolve).await.expect("it can be listed")
    }

    /// The action of an item.
    pub(super) fn action(&self, verb: &str, item: &Item) -> Box<dyn Action> {
        let found = self.resolve.registry.verb(verb).expect("a verb of this adapter");
        match found.make(&item.args, &self.resolve).expect("an item of this verb") {
            Work::Action(action) => action,
            _ => panic!("{verb} is no action"),
        }
    }

    /// The action of a step with one item.
    pub(super) async fn planned(&self, verb: &str, args: Value) -> Box<dyn Action> {
        self.forget();
        let items = self.items(verb, args).await.expect("it can be planned");
        assert_eq!(items.len(), 1, "one item");
        self.action(verb, &items[0])
    }

    /// Asks a probe once.
    pub(super) async fn ask(&self, verb: &str, args: Value) -> Result<Verdict, ActionError> {
        let items = self.items(verb, args).await?;
        let found = self.resolve.registry.verb(verb).expect("a verb of this adapter");
        match found.make(&items[0].args, &self.resolve)? {
            Work::Probe(probe) => probe.observe(&self.cx()).await,
            _ => panic!("{verb} is no probe"),
        }
    }

    /// What an action that is needed has saved, after its way through a journal.
    pub(super) async fn needed(&self, action: &dyn Action) -> Saved {
        match action.inspect(&self.cx()).await.expect("it can be looked at") {
            Readiness::Needed { saved, .. } => {
                let text = serde_json::to_string(&saved).expect("a saved state is JSON");
                serde_json::from_str(&text).expect("and reads back")
            }
            Readiness::AlreadyDone { evidence } => panic!("already done: {}", evidence.summary),
        }
    }

    /// Why there is nothing to do.
    pub(super) async fn already_done(&self, action: &dyn Action) -> String {
        match action.inspect(&self.cx()).await.expect("it can be looked at") {
            Readiness::AlreadyDone { evidence } => evidence.summary,
            Readiness::Needed { saved, .. } => panic!("still needed: {saved:?}"),
        }
    }

    /// Why it cannot be done.
    pub(super) async fn refused(&self, action: &dyn Action) -> ActionError {
        action
            .inspect(&self.cx())
            .await
            .map(|found| panic!("{found:?}"))
            .expect_err("it is refused")
    }

    /// Looks, applies and verifies.
    pub(super) async fn apply(&self, action: &dyn Action) -> (Saved, Evidence) {
        let saved = self.needed(action).await;
        let evidence = action.apply(&self.cx(), &saved).await.expect("it can be applied");
        let verdict = action.verify(&self.cx(), &evidence).await.expect("it can be verified");
        assert!(matches!(verdict, Verdict::Holds { .. }), "{verdict:?}");
        (saved, evidence)
    }

    /// Undoes twice, without knowing what `apply` returned: the second time changes nothing.
    pub(super) async fn undo(&self, action: &dyn Action, saved: &Saved) {
        back::undo_twice(action, saved, None, || self.cx()).await;
    }
}

/// Whether a verdict holds, and what was seen.
pub(super) fn told(verdict: Verdict) -> (bool, String) {
    match verdict {
        Verdict::Holds { evidence } => (true, evidence.summary),
        Verdict::NotYet { observed } => (false, observed),
    }
}
