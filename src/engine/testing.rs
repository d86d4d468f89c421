//! A world in memory for the engine's tests: switches that an action sets, with every kind of trouble on request,
//! and a ledger of effects that no journal can embellish.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;

use super::custody::{Custody, Kept};
use super::{Ended, Engine, MemoryVault, Request, RunState};
use crate::action::{
    Action, ActionError, Answer, Connections, Description, ErrorKind, Evidence, Gate, Hold, Item,
    Later, Present, Probe, Question, Readiness, Registry, Repeat, ResolveContext, Saved,
    StepContext, System, SystemConnection, Verb, VerbArgs, VerbKind, Verdict, Window, Work,
};
use crate::clock::{self, Boot};
use crate::event::{Actor, Header, Record};
use crate::journal::{Journal, MemoryLog};
use crate::plan::{
    ExpectedFrom, Items, Plan, PlannedItem, PlannedPhase, PlannedStep, PlannedTarget, RetryPolicy,
    StepId, StepPolicy, Until, VerifyPolicy, Wait,
};
use crate::runbook::{OnFailure, Scenario};
use crate::signal::Signal;
use crate::value::JsonText;

/// What is really so, whatever the journal says.
#[derive(Default)]
pub(super) struct World {
    pub(super) switches: Mutex<HashMap<String, bool>>,
    pub(super) effects: Mutex<HashMap<String, u32>>,
    pub(super) attempts: Mutex<HashMap<String, u32>>,
}

impl World {
    pub(super) fn is_on(&self, key: &str) -> bool {
        self.switches.lock().unwrap().get(key).copied().unwrap_or(false)
    }

    pub(super) fn effects(&self, key: &str) -> u32 {
        self.effects.lock().unwrap().get(key).copied().unwrap_or(0)
    }

    pub(super) fn turn(&self, key: &str, on: bool) {
        let _former = self.switches.lock().unwrap().insert(key.to_owned(), on);
        *self.effects.lock().unwrap().entry(key.to_owned()).or_default() += 1;
    }
}

#[derive(Deserialize)]
struct Connected {}

impl SystemConnection for Connected {
    const KEY: &'static str = "test";
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Trouble {
    #[default]
    None,
    /// Every attempt fails for good.
    Fails,
    /// The first two attempts fail in a way that passes.
    FailsTwice,
    /// Every attempt fails in a way that may pass.
    Unreachable,
    /// The change happens, the answer is lost.
    AnswerLost,
    /// Nothing happens and nobody can tell.
    RequestLost,
    /// Of the first attempt nobody can tell, and every further one is refused. None has anything to note.
    LostThenRefused,
    /// Of the first attempt nobody can tell, the second does not reach the system, and then looking fails.
    LostThenBlind,
    /// Never returns, and nothing happens.
    Hangs,
    /// A bug.
    Panics,
    /// The change never shows.
    NeverHolds,
    /// Looking fails.
    Blind,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Switch {
    pub(super) key: String,
    #[serde(default)]
    pub(super) takes_ms: u64,
    #[serde(default)]
    pub(super) trouble: Trouble,
    #[serde(default)]
    pub(super) never_twice: bool,
}

#[async_trait]
impl VerbArgs for Switch {
    const NAME: &'static str = "test.switch";
    const SUMMARY: &'static str = "turns a switch on";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(5);
    type Item = Self;

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        let world = world_of(cx)?;
        Ok(Work::Action(Box::new(Switching { args: item, world })))
    }
}

fn world_of(cx: &ResolveContext) -> Result<Arc<World>, ActionError> {
    cx.connections.client::<Connected, World, _>(|_, _| Ok(World::default()))
}

struct Switching {
    args: Switch,
    world: Arc<World>,
}

#[async_trait]
impl Action for Switching {
    fn describe(&self) -> Description {
        Description::new(
            format!("turn {} on", self.args.key),
            format!("turn {} off", self.args.key),
        )
    }

    fn repeat(&self) -> Repeat {
        if self.args.never_twice { Repeat::Never } else { Repeat::AfterInspect }
    }

    fn repeat_of_undo(&self) -> Repeat {
        if self.args.never_twice { Repeat::Never } else { Repeat::Safe }
    }

    async fn inspect(&self, _: &StepContext) -> Result<Readiness, ActionError> {
        if self.args.trouble == Trouble::Blind {
            return Err(ActionError::new(ErrorKind::Denied, "look"));
        }
        let attempts = self.world.attempts.lock().unwrap().get(&self.args.key).copied();
        if self.args.trouble == Trouble::LostThenBlind && attempts.is_some_and(|made| made > 1) {
            return Err(ActionError::new(ErrorKind::Unreachable, "look"));
        }
        // A change that must not be repeated is one whose effect cannot be seen.
        if self.world.is_on(&self.args.key) && !self.args.never_twice {
            return Ok(Readiness::AlreadyDone { evidence: Evidence::new("on") });
        }
        Ok(Readiness::needed(Saved {
            state: json!({"on": false}),
            private: Some(json!({"secret": self.args.key})),
        }))
    }

    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError> {
        assert!(saved.private.is_some(), "the private part comes back");
        let attempt = {
            let mut attempts = self.world.attempts.lock().unwrap();
            let attempt = attempts.entry(self.args.key.clone()).or_default();
            *attempt += 1;
            *attempt
        };
        if self.args.trouble != Trouble::LostThenRefused {
            cx.note(json!({"attempt": attempt})).await?;
        }
        tokio::time::sleep(Duration::from_millis(self.args.takes_ms)).await;
        match self.args.trouble {
            Trouble::Fails => Err(ActionError::new(ErrorKind::Failed, "turn it")),
            Trouble::FailsTwice if attempt <= 2 => {
                Err(ActionError::new(ErrorKind::Unreachable, "reach the switch"))
            }
            Trouble::LostThenBlind if attempt > 1 => {
                Err(ActionError::new(ErrorKind::Unreachable, "reach the switch"))
            }
            Trouble::Unreachable => {
                Err(ActionError::new(ErrorKind::Unreachable, "reach the switch"))
            }
            Trouble::AnswerLost => {
                self.world.turn(&self.args.key, true);
                Err(ActionError::new(ErrorKind::Unknown, "get an answer").retryable(true))
            }
            Trouble::LostThenRefused if cx.was_attempted() => {
                Err(ActionError::new(ErrorKind::Denied, "turn it"))
            }
            Trouble::RequestLost | Trouble::LostThenRefused | Trouble::LostThenBlind => {
                Err(ActionError::new(ErrorKind::Unknown, "get an answer").retryable(true))
            }
            Trouble::Hangs => std::future::pending().await,
            Trouble::Panics => panic!("a bug in the adapter"),
            _ => {
                self.world.turn(&self.args.key, true);
                Ok(Evidence::new("turned on"))
            }
        }
    }

    async fn verify(&self, _: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        if self.args.trouble == Trouble::NeverHolds {
            return Ok(Verdict::not_yet("still off"));
        }
        Ok(Verdict::holds("on"))
    }

    async fn present(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<Present, ActionError> {
        if self.args.never_twice {
            return Ok(Present::Unseen);
        }
        Ok(Present::of(self.inspect(cx).await?, saved, |now| now == saved))
    }

    async fn undo(
        &self,
        _: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        assert_eq!(saved.private, Some(json!({"secret": self.args.key})));
        if self.world.is_on(&format!("locked {}", self.args.key)) {
            return Err(ActionError::new(ErrorKind::Denied, "turn it off"));
        }
        tokio::time::sleep(Duration::from_millis(self.args.takes_ms)).await;
        if self.world.is_on(&self.args.key) {
            self.world.turn(&self.args.key, false);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Expect {
    pub(super) key: String,
}

#[async_trait]
impl VerbArgs for Expect {
    const NAME: &'static str = "test.expect";
    const SUMMARY: &'static str = "asks whether a switch is on";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(5);
    type Item = Self;

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        if item.key.starts_with("ask:") {
            let required = item.key.ends_with('!');
            return Ok(Work::Manual(Question { text: item.key, required, window: None }));
        }
        let (key, world) = (item.key, world_of(cx)?);
        if let Some(text) = key.strip_prefix("later:").map(str::to_owned) {
            let (window, hold) = (Window::Short, Duration::from_secs(60));
            let probe = Box::new(Expecting { key, world });
            return Ok(Work::Later(Later { text, window, hold, probe }));
        }
        Ok(Work::Probe(Box::new(Expecting { key, world })))
    }
}

/// A hold whose gates are switches. While `KEY:unknown` is on, nobody knows about `KEY`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Holding {
    pub(super) for_ms: u64,
    pub(super) every_ms: u64,
    pub(super) tolerate_ms: u64,
    pub(super) gates: Vec<String>,
}

#[async_trait]
impl VerbArgs for Holding {
    const NAME: &'static str = "test.hold";
    const SUMMARY: &'static str = "waits while switches are on";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(5);
    type Item = Self;

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        let world = world_of(cx)?;
        let gate = |key: String| {
            let probe = Box::new(Expecting { key: key.clone(), world: world.clone() });
            Gate { text: key, probe }
        };
        Ok(Work::Hold(Hold {
            lasting: Duration::from_millis(item.for_ms),
            every: Duration::from_millis(item.every_ms),
            tolerate: Duration::from_millis(item.tolerate_ms),
            gates: item.gates.into_iter().map(gate).collect(),
        }))
    }
}

struct Expecting {
    key: String,
    world: Arc<World>,
}

#[async_trait]
impl Probe for Expecting {
    fn describe(&self) -> Description {
        Description::question(format!("{} is on", self.key))
    }

    async fn observe(&self, _: &StepContext) -> Result<Verdict, ActionError> {
        Ok(if self.world.is_on(&self.key) { Verdict::holds("on") } else { Verdict::not_yet("off") })
    }

    async fn answer(&self, cx: &StepContext) -> Result<Answer, ActionError> {
        if self.world.is_on(&format!("{}:unknown", self.key)) {
            return Ok(Answer::NoData { reason: "it is dark".into() });
        }
        Ok(match self.observe(cx).await? {
            Verdict::Holds { evidence } => Answer::Yes { evidence },
            Verdict::NotYet { observed } => Answer::No { observed },
        })
    }
}

/// A runnable world: connections, journal, and the ends to talk to the engine.
pub(super) struct Bench {
    pub(super) resolve: Arc<ResolveContext>,
    pub(super) vault: Arc<MemoryVault>,
    pub(super) attended: bool,
    pub(super) custody: Arc<dyn Custody>,
}

/// The ends of a running engine.
pub(super) struct Handles {
    pub(super) signals: mpsc::UnboundedSender<Signal>,
    pub(super) requests: mpsc::UnboundedSender<Request>,
    pub(super) log: MemoryLog,
}

impl Bench {
    pub(super) fn new() -> Self {
        let registry = Registry::new(vec![System {
            name: "test",
            summary: "switches in memory",
            connections: Vec::new(),
            verbs: vec![Verb::of::<Switch>(), Verb::of::<Expect>(), Verb::of::<Holding>()],
        }]);
        let connections = Connections::new("memory", HashMap::new(), Arc::default());
        let resolve =
            ResolveContext { connections: Arc::new(connections), registry: Arc::new(registry) };
        Self {
            resolve: Arc::new(resolve),
            vault: Arc::default(),
            attended: false,
            custody: Arc::new(Kept),
        }
    }

    pub(super) fn world(&self) -> Arc<World> {
        world_of(&self.resolve).unwrap()
    }

    fn engine(&self, journal: Journal, log: MemoryLog) -> (Engine, Handles) {
        let (signals, signals_in) = mpsc::unbounded_channel();
        let (requests, requests_in) = mpsc::unbounded_channel();
        let engine = Engine {
            resolve: self.resolve.clone(),
            journal,
            vault: self.vault.clone(),
            scratch: "/nonexistent".into(),
            signals: signals_in,
            requests: requests_in,
            attended: self.attended,
            custody: self.custody.clone(),
        };
        (engine, Handles { signals, requests, log })
    }

    /// Starts a run; the future is the run.
    pub(super) fn start(&self, plan: Plan) -> (impl Future<Output = Ended> + use<>, Handles) {
        let header = Arc::new(header(plan));
        let (journal, log) = Journal::in_memory(header.clone());
        let (engine, handles) = self.engine(journal, log);
        (engine.run(header), handles)
    }

    pub(super) async fn run(&self, plan: Plan) -> (RunState, MemoryLog) {
        let (run, handles) = self.start(plan);
        (run.await.state, handles.log)
    }

    /// Takes a run up again from what its log holds.
    pub(super) fn resume(
        &self,
        log: MemoryLog,
        salvaged: Option<String>,
    ) -> (impl Future<Output = Ended> + use<>, Handles) {
        let history = log.history().unwrap();
        let (state, elapsed) = super::recover::fold(&history.records, salvaged.is_some()).unwrap();
        let (journal, log) = Journal::continue_in_memory(log);
        let (engine, handles) = self.engine(journal, log);
        (engine.resume(state, elapsed, actor(), salvaged), handles)
    }

    /// Takes a run up again when nobody has run it for `later`.
    pub(super) fn resume_later(
        &self,
        log: MemoryLog,
        later: Duration,
    ) -> (impl Future<Output = Ended> + use<>, Handles) {
        let history = log.history().unwrap();
        let (state, elapsed) = super::recover::fold(&history.records, false).unwrap();
        let (journal, log) = Journal::continue_in_memory(log);
        let (engine, handles) = self.engine(journal, log);
        let later = u64::try_from(later.as_millis()).unwrap();
        (engine.resume(state, elapsed + later, actor(), None), handles)
    }

    /// Takes a run up from what is left of its records.
    pub(super) async fn salvage(&self, records: &[Record]) -> RunState {
        let (state, elapsed) = super::recover::fold(records, true).unwrap();
        let (journal, log) = Journal::in_memory(state.header.clone());
        let (engine, _handles) = self.engine(journal, log);
        engine.resume(state, elapsed, actor(), Some("a test".into())).await.state
    }
}

pub(crate) fn actor() -> Actor {
    Actor { user: "ada".into(), host: "here".into(), pid: 1 }
}

pub(crate) fn header(plan: Plan) -> Header {
    Header {
        run: "test".into(),
        program: "0".into(),
        runbook_path: "memory".into(),
        runbook_text: "".into(),
        runbook_sha256: String::new(),
        environment_path: String::new(),
        environment_sha256: String::new(),
        plan,
        reason: None,
        by: actor(),
        since: None,
        started: clock::now(),
        boot: Boot { id: "boot".into(), elapsed_ms: 0 },
        left_out: std::collections::BTreeMap::default(),
        drill: None,
        log: None,
    }
}

/// A plan of phases; each phase is a list of steps.
pub(crate) fn plan(phases: Vec<Vec<PlannedStep>>) -> Plan {
    let phases = phases.into_iter().enumerate().map(|(index, steps)| PlannedPhase {
        id: format!("p{index}"),
        title: format!("phase {index}"),
        budget: None,
        steps: steps
            .into_iter()
            .map(|mut step| {
                let qualify = |id: &StepId| StepId(format!("p{index}/{id}").into());
                step.id = qualify(&step.id);
                step.waits.iter_mut().for_each(|wait| wait.step = qualify(&wait.step));
                step
            })
            .collect(),
    });
    Plan {
        runbook: "test".into(),
        title: "test".into(),
        scenario: Scenario::Emergency,
        subject: "test".into(),
        severity: None,
        environment: "memory".into(),
        inputs: indexmap::IndexMap::default(),
        targets: Vec::new(),
        give_up: None,
        approval: None,
        escalation: Vec::new(),
        closing: Vec::new(),
        reverts: None,
        phases: phases.collect(),
    }
}

pub(super) fn target(name: &str, within: Duration, step: &str) -> PlannedTarget {
    PlannedTarget { name: name.into(), within, from: None, reached_by: StepId(step.into()) }
}

fn policy() -> StepPolicy {
    StepPolicy {
        optional: false,
        timeout: Duration::from_secs(5),
        expected: Duration::from_secs(1),
        expected_from: ExpectedFrom::Assumed,
        retry: RetryPolicy {
            attempts: 1,
            delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(1),
        },
        on_failure: OnFailure::Stop,
        parallel: None,
        verify: VerifyPolicy {
            within: Duration::from_secs(2),
            every: Duration::from_millis(100),
            probe: None,
        },
        irreversible: false,
        approval: None,
    }
}

/// A step over these items.
pub(crate) fn step(id: &str, verb: &str, items: Vec<Item>) -> PlannedStep {
    let planned = |item: Item| PlannedItem {
        name: item.name,
        args: item.args,
        does: "".into(),
        undo: String::new(),
    };
    PlannedStep {
        id: StepId(id.into()),
        title: None,
        verb: verb.into(),
        waits: Vec::new(),
        skip: None,
        items: Items::Resolved(items.into_iter().map(planned).collect()),
        policy: policy().into(),
    }
}

/// A step that turns one switch on.
pub(super) fn switch(id: &str, args: Switch) -> PlannedStep {
    fleet(id, vec![(String::new(), args)])
}

/// A step over many switches.
pub(super) fn fleet(id: &str, switches: Vec<(String, Switch)>) -> PlannedStep {
    let items = switches
        .into_iter()
        .map(|(name, args)| Item { name, args: JsonText::of(&args).unwrap() })
        .collect();
    step(id, Switch::NAME, items)
}

/// A step that asks whether a switch is on (or a person, when the key begins with `ask:`).
pub(super) fn expect(id: &str, key: &str) -> PlannedStep {
    step(id, Expect::NAME, vec![Item { name: String::new(), args: json!({"key": key}).into() }])
}

/// A step that holds.
pub(super) fn hold(id: &str, holding: &Holding) -> PlannedStep {
    let args = JsonText::of(holding).unwrap();
    step(id, Holding::NAME, vec![Item { name: String::new(), args }])
}

/// A number from the environment, for the long form; `short` without it.
pub(crate) fn from_environment(variable: &str, short: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}

/// Numbers that a seed decides, each below the given limit.
pub(crate) fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    move |below| rng.next_u64() % below
}

/// Tries every seed in virtual time, each in a runtime of its own, on all processors. Returns what they came to, in no order.
pub(crate) fn in_virtual_time<T: Send>(
    seeds: std::ops::Range<u64>,
    one: impl AsyncFn(u64) -> T + Sync,
) -> Vec<T> {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut results = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return results;
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime in virtual time");
            results.push(runtime.block_on(one(seed)));
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.flatten().collect()
    })
}

/// A plain switch.
pub(super) fn on(key: &str) -> Switch {
    Switch { key: key.into(), takes_ms: 10, trouble: Trouble::None, never_twice: false }
}

/// A switch with trouble.
pub(super) fn bad(key: &str, trouble: Trouble) -> Switch {
    Switch { trouble, ..on(key) }
}

/// The step waits for another of its phase.
pub(super) fn after(mut step: PlannedStep, other: &str, until: Until) -> PlannedStep {
    step.waits.push(Wait { step: StepId(other.into()), until });
    step
}
