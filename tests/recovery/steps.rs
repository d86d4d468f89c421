//! Promise P30: every step of every shipped runbook by itself. Done twice it is as done once, failing it leaves a run
//! that says the truth, undone twice it leaves the world as it was.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rollback::action::{
    Action, ActionError, Evidence, Item, Readiness, Recorder, Registry, Repeat, ResolveContext,
    Reversal, Saved, StepContext, VerbKind, Verdict, Work,
};
use rollback::clock::{self, Boot};
use rollback::engine::{Ended, Engine, MemoryVault, Vault};
use rollback::environment::{Environment, EnvironmentFile};
use rollback::event::{Actor, Header, Outcome};
use rollback::journal::Journal;
use rollback::plan::inputs::{self, Given};
use rollback::plan::{self, Items, Plan, PlannedItem, PlannedStep, StepId};
use rollback::runbook::{OnFailure, Scenario, load};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::rig::Rig;

pub(super) const RUN: &str = "20261121-0000-test";

/// Every runbook that is shipped.
pub(super) fn shipped() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("runbooks"), root.join("examples")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a shipped folder") {
            let path = entry.expect("a shipped file").path();
            let text = || std::fs::read_to_string(&path).expect("a shipped file is text");
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "yaml")
                && text().contains("\nphases:")
            {
                found.push(path);
            }
        }
    }
    assert!(found.len() >= 2, "the shipped runbooks are found: {found:?}");
    found
}

/// A world and the program's own way into it.
pub(super) struct Bench {
    pub(super) rig: Rig,
    environment: Environment,
    pub(super) resolve: Arc<ResolveContext>,
    pub(super) scratch: TempDir,
}

impl Bench {
    pub(super) async fn new() -> Self {
        // As `main` does; whoever comes second finds it done.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let rig = Rig::start();
        let scratch = tempfile::tempdir().expect("the temporary folder is writable");
        let (environment, resolve) = enter(&rig, &rig.path("home/environments/sandbox.yaml")).await;
        Self { rig, environment, resolve, scratch }
    }

    /// A world as this runbook meets it, and connections that know nothing of the former one: whether a rollback holds is asked
    /// after one.
    pub(super) async fn reset(&mut self, path: &Path) {
        self.rig.reset();
        let file = path.with_file_name("environments").join("sandbox.yaml");
        (self.environment, self.resolve) = enter(&self.rig, &file).await;
        let scenario =
            load(path, self.registry()).expect("a shipped runbook is valid").runbook.scenario;
        if scenario == Scenario::Validation {
            let emergency = path.with_file_name("emergency.yaml");
            let ended = self.run(self.plan(&emergency).await).await;
            assert_eq!(ended.state.ended.map(|(_, code)| code), Some(0), "the rollback before it");
        }
    }

    fn registry(&self) -> &Registry {
        &self.resolve.registry
    }

    pub(super) async fn plan(&self, path: &Path) -> Plan {
        let loaded = load(path, self.registry()).expect("a shipped runbook is valid");
        let mut given = Given {
            environment: self.environment.inputs.clone(),
            values: self.environment.values.clone(),
            ..Given::default()
        };
        if loaded.runbook.inputs.contains_key("reason") {
            given.flags.push(("reason".into(), "a test".into()));
        }
        // Holds that are long enough to be looked into.
        for (name, value) in [("hold", "200ms"), ("every", "50ms")] {
            if loaded.runbook.inputs.contains_key(name) {
                given.flags.push((name.into(), value.into()));
            }
        }
        // What a person would name behind the scenario's flag.
        let named = loaded.runbook.argument().filter(|name| !given.environment.contains_key(*name));
        if let Some(name) = named
            && let Some(sample) = &loaded.runbook.inputs[name].sample
        {
            let sample = sample.as_text().expect("a name is a text");
            given.flags.push((name.to_owned(), sample.to_owned()));
        }
        let folder = path.parent().expect("a runbook lies in a folder");
        let inputs = inputs::resolve(&loaded.runbook, &given, &self.resolve).await;
        let request = plan::Request {
            runbook: &loaded.runbook,
            source: &loaded.source,
            environment: &self.environment,
            inputs: &inputs,
            run: &json!({"id": RUN, "severity": "high", "drill": false, "folder": folder}),
            cx: &self.resolve,
            history: &|_| None,
        };
        let built = plan::build(request, loaded.runbook.phases.clone());
        built.await.expect("a shipped runbook can be planned").plan
    }

    fn work(&self, step: &PlannedStep, item: &PlannedItem) -> Work {
        let verb = self.registry().verb(&step.verb).expect("a planned verb exists");
        verb.make(&item.args, &self.resolve).expect("a planned item can be made")
    }

    /// The world, without what a change parks until it may be undone.
    pub(super) fn state(&self) -> Value {
        let mut state = self.rig.state(&[RUN.to_owned()]);
        let files = state["files"].as_object_mut().expect("files by name");
        files.retain(|name, _| !name.contains(".rollback-RUN"));
        // Those who are divided answer by turns; the file says how.
        let answers = state["orchestrators"].as_object_mut().expect("answers by name");
        let _front = answers.remove("front");
        // A route that comes back stands at the end.
        let routes = state["account"]["routes"].as_array_mut().expect("a list");
        routes.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        // A pod template that comes back is a revision of its own, and its pods take their time.
        for deployment in state["deployments"].as_array_mut().expect("deployments") {
            let deployment = deployment.as_object_mut().expect("what is known of it");
            deployment.retain(|name, _| !["revision", "updated", "available"].contains(&&**name));
        }
        for states in state["containers"].as_object_mut().expect("projects by name").values_mut() {
            // A container that has run once is never merely created again.
            let stopped =
                ["created", "exited"].iter().filter_map(|name| states[name].as_u64()).sum::<u64>();
            let states = states.as_object_mut().expect("states by name");
            states.retain(|name, _| name != "created" && name != "exited");
            states.insert("stopped".into(), stopped.into());
        }
        state
    }

    pub(super) fn becomes(&self, wanted: &Value, what: &str) {
        Rig::becomes(wanted, what, || self.state());
    }

    async fn run(&self, plan: Plan) -> Ended {
        let header = Arc::new(header(plan));
        let (journal, _log) = Journal::in_memory(header.clone());
        self.engine(journal, Arc::new(MemoryVault::default())).run(header).await
    }

    /// An engine for a run in this world, whose private saved states lie in `vault`.
    pub(super) fn engine(&self, journal: Journal, vault: Arc<dyn Vault>) -> Engine {
        let (_signals, signals) = mpsc::unbounded_channel();
        let (_requests, requests) = mpsc::unbounded_channel();
        Engine {
            resolve: self.resolve.clone(),
            journal,
            vault,
            scratch: self.scratch.path().to_owned(),
            signals,
            requests,
            attended: false,
            custody: Arc::new(rollback::engine::custody::Kept),
        }
    }
}

pub(super) fn header(plan: Plan) -> Header {
    Header {
        run: RUN.into(),
        program: "test".into(),
        runbook_path: String::new(),
        runbook_text: "".into(),
        runbook_sha256: String::new(),
        environment_path: String::new(),
        environment_sha256: String::new(),
        plan,
        reason: None,
        by: Actor { user: "tester".into(), host: "here".into(), pid: 1 },
        since: None,
        started: clock::now(),
        boot: Boot::now(),
        left_out: std::collections::BTreeMap::default(),
        drill: None,
        log: None,
    }
}

/// The sandbox as the runbooks beside `environments/sandbox.yaml` see it.
async fn enter(rig: &Rig, file: &Path) -> (Environment, Arc<ResolveContext>) {
    let registry = Arc::new(rollback::adapters::registry());
    let file = EnvironmentFile::read(file, &registry).expect("the sandbox's environment is valid");
    let environment = file.resolve(Some(rig.info())).await.expect("the sandbox is there");
    let connections = environment.connections.clone();
    (environment, Arc::new(ResolveContext { connections, registry }))
}

/// One item's context: its notes last from attempt to attempt.
pub(super) struct Attempts<'a> {
    bench: &'a Bench,
    notes: Arc<Notes>,
    /// Where in the run it is, by which adapters know their own work again.
    place: String,
    timeout: Duration,
}

#[derive(Default)]
struct Notes(Mutex<Vec<Value>>);

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

impl<'a> Attempts<'a> {
    pub(super) fn new(bench: &'a Bench, step: &PlannedStep) -> Self {
        let (place, timeout) = (step.id.to_string(), step.policy.timeout);
        Self { bench, notes: Arc::default(), place, timeout }
    }

    pub(super) fn context(&self) -> StepContext {
        let scratch = self.bench.scratch.path().to_owned();
        let deadline = Instant::now() + self.timeout;
        let notes = self.notes.0.lock().expect("nobody panicked").clone();
        StepContext::new(deadline, CancellationToken::new(), scratch, RUN)
            .recording(self.notes.clone(), notes)
            .at(self.place.as_str())
    }

    /// Looks, and changes what needs a change.
    async fn forward(&self, action: &dyn Action) -> Option<(Saved, Evidence)> {
        let saved = match action.inspect(&self.context()).await.expect("it can be looked at") {
            Readiness::Needed { saved, .. } => saved,
            Readiness::AlreadyDone { .. } => return None,
        };
        let applied = action.apply(&self.context(), &saved).await.expect("it can be changed");
        self.verified(action, &applied).await;
        Some((saved, applied))
    }

    pub(super) async fn verified(&self, action: &dyn Action, applied: &Evidence) {
        let cx = self.context();
        while let Verdict::NotYet { observed } =
            action.verify(&cx, applied).await.expect("it can be verified")
        {
            assert!(!cx.remaining().is_zero(), "not in time: {observed}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn every_step_is_harmless_a_second_time_and_can_be_undone_twice() {
    let mut bench = Bench::new().await;
    let mut undone = 0;
    for path in shipped() {
        bench.reset(&path).await;
        let plan = bench.plan(&path).await;
        for step in plan.steps() {
            for item in step.items.resolved() {
                match bench.work(step, item) {
                    Work::Action(action) => {
                        undone += twice(&bench, step, item, action.as_ref()).await;
                    }
                    Work::Probe(probe) => holds(&bench, step, probe.as_ref()).await,
                    Work::Manual(_) | Work::Later(_) | Work::Hold(_) => {}
                }
            }
        }
    }
    assert!(undone > 10, "only {undone} changes were undone");
}

/// Makes a change twice, takes it back twice, makes it again. Returns how many changes were taken back.
async fn twice(
    bench: &Bench,
    step: &PlannedStep,
    item: &PlannedItem,
    action: &dyn Action,
) -> usize {
    let name = format!("{} [{}]", step.id, item.name);
    let attempts = Attempts::new(bench, step);
    let before = Rig::at_rest(|| bench.state());
    let Some((saved, applied)) = attempts.forward(action).await else {
        return 0;
    };
    let after = Rig::at_rest(|| bench.state());
    if action.repeat() != Repeat::Never {
        let _again = attempts.forward(action).await;
        bench.becomes(&after, &format!("{name} the second time"));
    }
    if action.reversal() != Reversal::Automatic {
        return 0;
    }
    for time in ["once", "twice"] {
        action
            .undo(&attempts.context(), &saved, Some(&applied))
            .await
            .unwrap_or_else(|error| panic!("{name} undone {time}: {error:?}"));
        bench.becomes(&before, &format!("{name} undone {time}"));
    }
    let fresh = Attempts::new(bench, step);
    let _forward = fresh.forward(action).await;
    1
}

async fn holds(bench: &Bench, step: &PlannedStep, probe: &dyn rollback::action::Probe) {
    let attempts = Attempts::new(bench, step);
    let cx = attempts.context();
    while let Verdict::NotYet { observed } = probe.observe(&cx).await.expect("it can be asked") {
        assert!(!cx.remaining().is_zero(), "{} does not hold: {observed}", step.id);
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_failure_at_any_step_of_the_orchestrator_leaves_a_run_that_says_the_truth() {
    fails_anywhere(shipped().into_iter().filter(|path| is_of_the_orchestrator(path))).await;
}

#[tokio::test]
async fn a_failure_at_any_other_step_leaves_a_run_that_says_the_truth() {
    fails_anywhere(shipped().into_iter().filter(|path| !is_of_the_orchestrator(path))).await;
}

/// Whether a runbook is of the procedure whose runs take longest: it waits for caches.
fn is_of_the_orchestrator(path: &Path) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with("orchestrator"))
}

async fn fails_anywhere(runbooks: impl Iterator<Item = PathBuf>) {
    let mut bench = Bench::new().await;
    for path in runbooks {
        bench.reset(&path).await;
        // What stands aside in a world without a database cannot fail there, and a runbook whose proof does has nothing to do there: its run
        // is refused before it begins.
        let plan = bench.plan(&path).await;
        let stands_aside = |id: &StepId| plan.step(id).is_some_and(|step| step.skip.is_some());
        if plan.targets.iter().any(|target| stands_aside(&target.reached_by)) {
            continue;
        }
        let concerned = plan.steps().filter(|step| step.skip.is_none());
        let ids: Vec<StepId> = concerned.map(|step| step.id.clone()).collect();
        let changes: Vec<StepId> = plan
            .steps()
            .filter(|step| {
                let verb = bench.registry().verb(&step.verb);
                verb.is_some_and(|verb| verb.kind == VerbKind::Action)
            })
            .map(|step| step.id.clone())
            .collect();
        for id in ids {
            if !changes.is_empty() {
                bench.reset(&path).await;
            }
            let before = bench.state();
            let mut plan = bench.plan(&path).await;
            let policy = fail(&bench, &mut plan, &id).await;
            let ended = bench.run(plan).await;
            let (_, code) = ended.state.ended.expect("the run ended");
            let context = || format!("{id} of {} failed, exit {code}", path.display());
            assert_eq!(ended.state.steps[&id].outcome, Some(Outcome::Failed), "{}", context());
            // A change counts although a later step has made up for it, and so does a message; nobody knows how far one came that has failed.
            let changed = changes
                .iter()
                .any(|step| *step == id || ended.state.steps[step].outcome == Some(Outcome::Done));
            let untouched = !changed && bench.state() == before;
            match (policy.optional, policy.on_failure) {
                (true, _) => assert!(matches!(code, 0 | 5), "{}", context()),
                (false, OnFailure::Continue) => assert!(matches!(code, 0 | 5 | 7), "{}", context()),
                _ if untouched => assert_eq!(code, 6, "{}", context()),
                _ => assert_eq!(code, 7, "{}", context()),
            }
        }
    }
}

/// Puts a command that fails into the place of a step: a change for a change, a question for a question.
pub(super) async fn fail(
    bench: &Bench,
    plan: &mut Plan,
    id: &StepId,
) -> rollback::plan::StepPolicy {
    let former = &plan.step(id).expect("a step of the plan").verb;
    let changes = bench.registry().verb(former).is_some_and(|verb| verb.kind == VerbKind::Action);
    let name = if changes { "script.run" } else { "script.expect" };
    let verb = bench.registry().verb(name).expect("there are scripts");
    let args = json!({"argv": ["/bin/false"]});
    let items = verb.expand(args, &bench.resolve).await.expect("there is a /bin/false");
    let planned = |item: Item| PlannedItem {
        name: item.name,
        args: item.args,
        does: "".into(),
        undo: String::new(),
    };
    let step = plan
        .phases
        .iter_mut()
        .flat_map(|phase| &mut phase.steps)
        .find(|step| step.id == *id)
        .expect("a step of the plan");
    step.verb = name.into();
    if !changes {
        // It is asked again until its time is up.
        step.policy.timeout = Duration::from_millis(300);
    }
    step.items = Items::Resolved(items.into_iter().map(planned).collect());
    (*step.policy).clone()
}
