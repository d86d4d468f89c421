//! Whole runs and their reverses in virtual time, on cells in memory that keep a ledger of what was really done to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::*;
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Item, Prediction, Present,
    Readiness, Registry, Repeat, ResolveContext, Reversal, Saved, StepContext, System,
    SystemConnection, Verb, VerbArgs, VerbKind, Verdict, Work,
};
use crate::engine::custody::Kept;
use crate::engine::testing::{
    actor, from_environment, header, in_virtual_time, numbers, plan, step,
};
use crate::engine::{Ended, Engine, MemoryVault, RunState, Vault, recover};
use crate::event::{Header, RunVerdict};
use crate::journal::{Journal, MemoryLog};
use crate::plan::preview::Finding;
use crate::plan::{Plan, PlannedStep, StepId, Until, Wait};
use crate::runbook::OnFailure;
use crate::value::JsonText;

/// What is really so.
#[derive(Default)]
struct Cells(Mutex<Known>);

#[derive(Default)]
struct Known {
    values: BTreeMap<String, u64>,
    /// Every change, in its order.
    ledger: Vec<String>,
    /// The cells that cannot be set, and those that cannot be put back.
    fails: BTreeSet<String>,
    stuck: BTreeSet<String>,
    /// Those that are put back without an answer.
    mute: BTreeSet<String>,
}

impl Cells {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("nobody panicked")
    }

    fn values(&self) -> BTreeMap<String, u64> {
        let mut values = self.known().values.clone();
        values.retain(|_, value| *value != 0);
        values
    }

    fn put(&self, key: &str, value: u64) {
        let mut known = self.known();
        let _former = known.values.insert(key.to_owned(), value);
        known.ledger.push(format!("{key}={value}"));
    }
}

#[derive(Deserialize)]
struct Connected {}

impl SystemConnection for Connected {
    const KEY: &'static str = "cell";
}

/// Gives a cell a value.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Set {
    key: String,
    value: u64,
    takes_ms: u64,
    #[serde(default)]
    forever: bool,
    /// Nobody can see whether it was set, and it must not be unset twice.
    #[serde(default)]
    blind: bool,
}

#[async_trait]
impl VerbArgs for Set {
    const NAME: &'static str = "cell.set";
    const SUMMARY: &'static str = "gives a cell a value";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(5);
    type Item = Self;

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(Setting { args: item, cells: cells(cx) })))
    }
}

fn cells(cx: &ResolveContext) -> Arc<Cells> {
    cx.connections
        .client::<Connected, Cells, _>(|_, _| Ok(Cells::default()))
        .expect("cells in memory")
}

struct Setting {
    args: Set,
    cells: Arc<Cells>,
}

impl Setting {
    fn value(&self) -> u64 {
        self.cells.known().values.get(&self.args.key).copied().unwrap_or(0)
    }
}

#[async_trait]
impl Action for Setting {
    fn describe(&self) -> Description {
        Description::new(format!("set {}", self.args.key), format!("unset {}", self.args.key))
    }

    fn repeat(&self) -> Repeat {
        Repeat::AfterInspect
    }

    fn repeat_of_undo(&self) -> Repeat {
        if self.args.blind { Repeat::Never } else { Repeat::Safe }
    }

    fn reversal(&self) -> Reversal {
        if self.args.forever {
            return Reversal::Irreversible { reason: "it is for ever".into() };
        }
        Reversal::Automatic
    }

    async fn inspect(&self, _: &StepContext) -> Result<Readiness, ActionError> {
        let present = self.value();
        if self.args.blind {
            let private = Some(json!("secret"));
            return Ok(Readiness::needed(Saved { state: json!({"former": 0}), private }));
        }
        if present == self.args.value {
            return Ok(Readiness::AlreadyDone { evidence: Evidence::new("set") });
        }
        Ok(Readiness::Needed {
            saved: Saved { state: json!({"former": present}), private: Some(json!("secret")) },
            predicted: vec![Prediction {
                resource: format!("cell:{}", self.args.key),
                state: json!(self.args.value),
            }],
        })
    }

    async fn apply(&self, cx: &StepContext, _: &Saved) -> Result<Evidence, ActionError> {
        cx.note(json!({"run": cx.run()})).await?;
        sleep(Duration::from_millis(self.args.takes_ms)).await;
        if self.cells.known().fails.contains(&self.args.key) {
            return Err(ActionError::new(ErrorKind::Conflict, "set it"));
        }
        self.cells.put(&self.args.key, self.args.value);
        sleep(Duration::from_millis(self.args.takes_ms)).await;
        Ok(Evidence::with("set", json!({"value": self.args.value})))
    }

    async fn verify(&self, _: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        Ok(Verdict::holds("set"))
    }

    async fn present(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _: Option<&Evidence>,
    ) -> Result<Present, ActionError> {
        if self.args.blind {
            return Ok(Present::Unseen);
        }
        Ok(Present::of(self.inspect(cx).await?, saved, |now| now == saved))
    }

    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        applied: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        // As the run that made the change had it.
        assert_eq!(cx.run(), "test");
        assert!(cx.place().starts_with('p'), "{}", cx.place());
        assert_eq!(cx.notes()[0], json!({"run": "test"}));
        assert!(applied.is_none_or(|applied| applied.facts["value"] == self.args.value));
        assert_eq!(saved.private, Some(json!("secret")));
        let former = saved.state["former"].as_u64().expect("the former value");
        sleep(Duration::from_millis(self.args.takes_ms)).await;
        let present = self.value();
        if present == former && !self.args.blind {
            return Ok(());
        }
        if present != self.args.value && !self.args.blind {
            return Err(ActionError::new(ErrorKind::Conflict, "put it back: it is another"));
        }
        if self.cells.known().stuck.contains(&self.args.key) {
            return Err(ActionError::new(ErrorKind::Failed, "put it back"));
        }
        self.cells.put(&self.args.key, former);
        if self.cells.known().mute.contains(&self.args.key) {
            return Err(ActionError::new(ErrorKind::Unknown, "get an answer").retryable(true));
        }
        sleep(Duration::from_millis(self.args.takes_ms)).await;
        Ok(())
    }
}

struct Bench {
    resolve: Arc<ResolveContext>,
    vault: Arc<dyn Vault>,
    cells: Arc<Cells>,
}

impl Bench {
    fn new() -> Self {
        let registry = Registry::new(vec![System {
            name: "cell",
            summary: "cells in memory",
            connections: Vec::new(),
            verbs: vec![Verb::of::<Set>()],
        }]);
        let connections = Arc::new(Connections::new("memory", HashMap::new(), Arc::default()));
        let resolve = ResolveContext { connections, registry: Arc::new(registry) };
        Self {
            cells: cells(&resolve),
            resolve: Arc::new(resolve),
            vault: Arc::new(MemoryVault::default()),
        }
    }

    fn engine(&self, journal: Journal) -> Engine {
        Engine {
            resolve: self.resolve.clone(),
            journal,
            vault: self.vault.clone(),
            scratch: "/nonexistent".into(),
            signals: mpsc::unbounded_channel().1,
            requests: mpsc::unbounded_channel().1,
            attended: false,
            custody: Arc::new(Kept),
        }
    }

    fn start(&self, header: Header) -> (impl Future<Output = Ended> + use<>, MemoryLog) {
        let header = Arc::new(header);
        let (journal, log) = Journal::in_memory(header.clone());
        (self.engine(journal).run(header), log)
    }

    fn resume(&self, log: MemoryLog) -> (impl Future<Output = Ended> + use<>, MemoryLog) {
        let history = log.history().expect("it can be read");
        let (state, elapsed_ms) =
            recover::fold(&history.records, false).expect("it can be followed");
        let (journal, log) = Journal::continue_in_memory(log);
        (self.engine(journal).resume(state, elapsed_ms, actor(), None), log)
    }

    async fn run(&self, plan: Plan) -> (RunState, MemoryLog) {
        let (run, log) = self.start(header(plan));
        (run.await.state, log)
    }

    /// The plan that takes back what a log tells.
    fn reverse(&self, log: &MemoryLog) -> (Past, Plan) {
        let history = log.history().expect("it can be read");
        let past = Past::of(&history.records, history.head()).expect("it can be followed");
        let plan = super::plan(&past, &self.resolve, &|_| None).expect("it can be planned");
        (past, plan)
    }

    async fn look(&self, past: &Past, plan: &Plan) -> Looked {
        let (resolve, vault) = (self.resolve.clone(), self.vault.clone());
        look(plan, past, &LookContext { resolve, vault, scratch: "/nonexistent".into() }).await
    }

    /// The ledger since the last call.
    fn done(&self) -> Vec<String> {
        std::mem::take(&mut self.cells.known().ledger)
    }
}

fn back(plan: Plan) -> Header {
    Header { run: "back".into(), ..header(plan) }
}

fn set(key: &str, value: u64) -> Set {
    Set { key: key.into(), value, takes_ms: 10, forever: false, blind: false }
}

fn one(id: &str, args: &Set) -> PlannedStep {
    fleet(id, std::slice::from_ref(args))
}

fn fleet(id: &str, sets: &[Set]) -> PlannedStep {
    let name = |set: &Set| if sets.len() == 1 { String::new() } else { set.key.clone() };
    let item = |set: &Set| Item { name: name(set), args: JsonText::of(set).expect("JSON") };
    step(id, Set::NAME, sets.iter().map(item).collect())
}

fn after(mut step: PlannedStep, other: &str, until: Until) -> PlannedStep {
    step.waits.push(Wait { step: StepId(other.into()), until });
    step
}

fn verdict(state: &RunState) -> RunVerdict {
    state.ended.expect("it has ended").0
}

#[tokio::test(start_paused = true)]
async fn what_came_last_is_taken_back_first() {
    let bench = Bench::new();
    let slow = Set { takes_ms: 500, ..set("slow", 1) };
    let forward = plan(vec![
        vec![one("a", &set("x", 1)), after(one("b", &set("x", 2)), "a", Until::Success)],
        vec![
            one("slow", &slow),
            one("quick", &set("quick", 1)),
            after(one("again", &set("quick", 1)), "quick", Until::Success),
        ],
        vec![fleet("c", &[set("x", 3), set("y", 1)])],
    ]);
    let (state, log) = bench.run(forward).await;
    assert_eq!(verdict(&state), RunVerdict::Recovered);
    let _forward = bench.done();

    let (past, plan) = bench.reverse(&log);
    assert_eq!(plan.reverts.as_ref().expect("the plan of a revert").run, "test");
    let ids: Vec<_> = plan.steps().map(|step| step.id.as_str()).collect();
    assert_eq!(ids[0], "revert-p2/c");
    assert_eq!(ids[1..3], ["revert-p1/slow", "revert-p1/quick"]);
    assert_eq!(ids[3..], ["revert-p0/b", "revert-p0/a"]);
    assert!(plan.phases[1].steps.iter().all(|step| step.waits.is_empty()), "they ran together");
    assert_eq!(plan.phases[2].steps[1].waits.len(), 1);

    // Only the last change of a cell can be held against the present.
    let looked = bench.look(&past, &plan).await;
    assert!(looked.refusals.is_empty(), "{:?}", looked.refusals);
    let findings: Vec<_> = looked.preview.steps.iter().map(|step| &step.items[0].finding).collect();
    assert!(matches!(findings[0], Finding::WouldChange { .. }), "{findings:?}");
    assert!(matches!(findings[3], Finding::MayHold { .. }), "{findings:?}");

    let (run, _) = bench.start(back(plan));
    assert_eq!(verdict(&run.await.state), RunVerdict::Recovered);
    assert_eq!(bench.cells.values(), BTreeMap::new());
    let done = bench.done();
    let of_x: Vec<_> = done.iter().filter(|entry| entry.starts_with("x=")).collect();
    assert_eq!(of_x, ["x=2", "x=1", "x=0"]);
    assert_eq!(done.len(), 6, "what was there already is not taken back: {done:?}");
}

#[tokio::test(start_paused = true)]
async fn an_item_that_a_resumed_run_has_changed_later_is_taken_back_earlier() {
    let bench = Bench::new();
    let mut first = fleet("first", &[set("a", 1), set("b", 1)]);
    first.policy.on_failure = OnFailure::Continue;
    let second = after(one("second", &set("c", 1)), "first", Until::Settled);
    let slow = Set { takes_ms: 50, ..set("d", 1) };
    let third = after(one("third", &slow), "second", Until::Success);
    let fails = ["b", "d"].map(str::to_owned);
    bench.cells.known().fails.extend(fails);
    let (state, log) = bench.run(plan(vec![vec![first, second, third]])).await;
    assert_eq!(verdict(&state), RunVerdict::FailedPartial);
    bench.cells.known().fails.clear();
    let (run, log) = bench.resume(log);
    assert_eq!(verdict(&run.await.state), RunVerdict::Recovered);
    assert_eq!(bench.done(), ["a=1", "c=1", "b=1", "d=1"]);
    let (_, plan) = bench.reverse(&log);
    let (run, _) = bench.start(back(plan));
    assert_eq!(verdict(&run.await.state), RunVerdict::Recovered);
    // The two of the second session ran together, and are taken back together.
    let mut done = bench.done();
    done[..2].sort();
    assert_eq!(done, ["b=0", "d=0", "c=0", "a=0"]);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_has_changed_since_is_named_and_what_stays_is_announced() {
    let bench = Bench::new();
    let forever = Set { forever: true, ..set("f", 1) };
    let forward =
        plan(vec![vec![one("a", &set("x", 1))], vec![one("f", &forever), one("b", &set("y", 1))]]);
    let (_, log) = bench.run(forward).await;
    bench.cells.put("x", 7);
    let (past, plan) = bench.reverse(&log);
    let left = &plan.reverts.as_ref().expect("the plan of a revert").left;
    assert_eq!((left[0].step.as_str(), left[0].because.as_str()), ("p1/f", "it is for ever"));
    let looked = bench.look(&past, &plan).await;
    let about: Vec<_> = looked.refusals.iter().map(|refusal| refusal.about.as_str()).collect();
    assert_eq!(about, ["step p0/a"]);
    assert_eq!(looked.refusals[0].error.kind, ErrorKind::Conflict);

    // Put back by hand, it is as it was before: nothing is to be done to it.
    bench.cells.put("x", 0);
    let looked = bench.look(&past, &plan).await;
    assert!(looked.refusals.is_empty(), "{:?}", looked.refusals);
    let (run, _) = bench.start(back(plan));
    assert_eq!(verdict(&run.await.state), RunVerdict::Recovered);
    assert_eq!(bench.cells.values(), BTreeMap::from([("f".to_owned(), 1)]));
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_fails_stops_the_revert_and_resume_goes_on() {
    let bench = Bench::new();
    let forward = plan(["a", "b", "c"].map(|key| vec![one(key, &set(key, 1))]).to_vec());
    let (_, log) = bench.run(forward).await;
    let (_, plan) = bench.reverse(&log);
    let _stuck = bench.cells.known().stuck.insert("b".into());
    let _forward = bench.done();
    let (run, log) = bench.start(back(plan));
    assert_eq!(verdict(&run.await.state), RunVerdict::FailedPartial);
    assert_eq!(bench.done(), ["c=0"]);
    let _mended = bench.cells.known().stuck.remove("b");
    let (run, _) = bench.resume(log);
    assert_eq!(verdict(&run.await.state), RunVerdict::Recovered);
    assert_eq!(bench.done(), ["b=0", "a=0"]);
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_must_not_be_repeated_is_sent_once_whatever_became_of_its_answer() {
    let bench = Bench::new();
    let blind = Set { blind: true, ..set("b", 1) };
    let forward = plan(vec![vec![one("a", &set("a", 1))], vec![one("b", &blind)]]);
    let (_, log) = bench.run(forward).await;
    let (_, plan) = bench.reverse(&log);
    let _forward = bench.done();
    let _mute = bench.cells.known().mute.insert("b".into());
    let (run, mut log) = bench.start(back(plan));
    assert_eq!(verdict(&run.await.state), RunVerdict::FailedPartial);
    assert_eq!(bench.done(), ["b=0"]);
    for _ in 0..2 {
        let (run, resumed) = bench.resume(log);
        assert_eq!(verdict(&run.await.state), RunVerdict::FailedPartial);
        log = resumed;
    }
    assert_eq!(bench.done(), Vec::<String>::new(), "nobody knows, so nothing is sent");
}

#[tokio::test(start_paused = true)]
async fn an_undo_whose_answer_is_lost_is_found_done_where_it_can_be_seen() {
    let bench = Bench::new();
    let (_, log) = bench.run(plan(vec![vec![one("a", &set("a", 1))]])).await;
    let (_, plan) = bench.reverse(&log);
    let _forward = bench.done();
    let _mute = bench.cells.known().mute.insert("a".into());
    let (run, _) = bench.start(back(plan));
    assert_eq!(verdict(&run.await.state), RunVerdict::Recovered);
    assert_eq!(bench.done(), ["a=0"]);
}

#[tokio::test(start_paused = true)]
async fn names_that_end_in_numbers_make_no_id_twice() {
    let bench = Bench::new();
    let pair = |key: &str| {
        let first = one("stop", &set(&format!("{key}1"), 1));
        vec![first, after(one("stop-2", &set(&format!("{key}2"), 1)), "stop", Until::Success)]
    };
    let mut forward = plan(vec![pair("a"), pair("b"), pair("c")]);
    for (phase, name) in forward.phases.iter_mut().zip(["part", "probe", "part-2"]) {
        let renamed = |id: &StepId| StepId(id.0.replace(&phase.id, name).into());
        for step in &mut phase.steps {
            step.id = renamed(&step.id);
            step.waits.iter_mut().for_each(|wait| wait.step = renamed(&wait.step));
        }
        phase.id = name.into();
    }
    let (state, log) = bench.run(forward).await;
    assert_eq!(verdict(&state), RunVerdict::Recovered);
    let _forward = bench.done();

    let (_, plan) = bench.reverse(&log);
    let phases: Vec<_> = plan.phases.iter().map(|phase| phase.id.as_str()).collect();
    assert_eq!(phases, ["revert-part-2", "revert-probe", "revert-part"]);
    let steps: Vec<_> = plan.phases[0].steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(steps, ["revert-part-2/stop-2", "revert-part-2/stop"]);
    let run = bench.start(back(plan)).0;
    let ended = timeout(Duration::from_secs(60), run).await.expect("it ends");
    assert_eq!(verdict(&ended.state), RunVerdict::Recovered);
    assert_eq!(bench.done(), ["c2=0", "c1=0", "b2=0", "b1=0", "a2=0", "a1=0"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_numbered_for_a_second_session_takes_no_id_of_the_runbook() {
    let bench = Bench::new();
    let mut first = fleet("first", &[set("a", 1), set("b", 1)]);
    first.policy.on_failure = OnFailure::Continue;
    let second = after(one("first-2", &set("c", 1)), "first", Until::Settled);
    let third = after(one("third", &set("d", 1)), "first-2", Until::Success);
    bench.cells.known().fails.extend(["b", "d"].map(str::to_owned));
    let (_, log) = bench.run(plan(vec![vec![first, second, third]])).await;
    bench.cells.known().fails.clear();
    let (run, log) = bench.resume(log);
    assert_eq!(verdict(&run.await.state), RunVerdict::Recovered);
    let (_, plan) = bench.reverse(&log);
    let ids: BTreeSet<_> = plan.steps().map(|step| step.id.as_str()).collect();
    let p = ["first", "first-2", "first-3", "third"].map(|name| format!("revert-p0/{name}"));
    assert_eq!(ids, p.iter().map(String::as_str).collect());
    let run = bench.start(back(plan)).0;
    let ended = timeout(Duration::from_secs(60), run).await.expect("it ends");
    assert_eq!(verdict(&ended.state), RunVerdict::Recovered);
    assert_eq!(bench.cells.values(), BTreeMap::new());
}

/// Runs in which steps fail and that are killed and resumed, taken back by reverts that are killed and resumed.
#[test]
fn whatever_became_of_a_run_its_revert_brings_everything_back() {
    let first = from_environment("ROLLBACK_SIM_SEED", 0);
    let seeds = from_environment("ROLLBACK_SIM_SEEDS", 100);
    let kills = in_virtual_time(first..first + seeds, there_and_back);
    assert!(kills.iter().sum::<u64>() > seeds / 2, "hardly anything was killed: {kills:?}");
}

async fn there_and_back(seed: u64) -> u64 {
    let mut next = numbers(seed);
    let bench = Bench::new();
    for key in 0..next(3) {
        let _fails = bench.cells.known().fails.insert(format!("k{key}"));
    }
    let mut kills = 0;
    let (run, mut log) = bench.start(header(eventful(&mut next)));
    let mut ended = timeout(Duration::from_millis(next(1500)), run).await.is_ok();
    for _ in 0..next(3) {
        if !ended {
            kills += 1;
            let (run, more) = bench.resume(log);
            log = more;
            ended = timeout(Duration::from_millis(next(1500)), run).await.is_ok();
        }
    }
    // What became of it ends here, in the middle of something or not.
    let history = log.history().expect("it can be read");
    let log = log.cut_after(history.records.len());

    let (past, plan) = bench.reverse(&log);
    let looked = bench.look(&past, &plan).await;
    assert!(looked.refusals.is_empty(), "seed {seed}: {:?}", looked.refusals);
    let (run, mut log) = bench.start(back(plan));
    let mut ended = timeout(Duration::from_millis(next(400)), run).await.ok();
    while ended.is_none() {
        kills += 1;
        let patience = if kills < 6 { next(400) } else { 3_600_000 };
        let (run, more) = bench.resume(log);
        log = more;
        ended = timeout(Duration::from_millis(patience), run).await.ok();
    }
    let state = ended.expect("it has ended").state;
    assert_eq!(verdict(&state), RunVerdict::Recovered, "seed {seed}");
    assert_eq!(bench.cells.values(), BTreeMap::new(), "seed {seed}");
    kills
}

/// Three phases of steps that wait for each other or do not, over cells of which some are used twice.
fn eventful(next: &mut impl FnMut(u64) -> u64) -> Plan {
    let mut value = 0;
    let mut phases = Vec::new();
    for phase in 0..3 {
        let mut steps: Vec<PlannedStep> = Vec::new();
        for place in 0..=next(3) {
            let mut sets = Vec::new();
            for item in 0..=next(3) {
                value += 1;
                // Steps that may run at the same time have cells of their own.
                let key = format!("k{}", (place * 3 + item) % (3 + 3 * place));
                let takes_ms = next(60);
                sets.push(Set { takes_ms, ..set(&format!("{key}-{place}"), value) });
            }
            sets.dedup_by(|one, other| one.key == other.key);
            let mut made = fleet(&format!("s{phase}{place}"), &sets);
            made.policy.on_failure =
                if next(2) == 0 { OnFailure::Continue } else { OnFailure::Stop };
            if place > 0 && next(2) == 0 {
                let before = format!("s{phase}{}", place - 1);
                made = after(made, &before, Until::Settled);
            }
            steps.push(made);
        }
        phases.push(steps);
    }
    plan(phases)
}
