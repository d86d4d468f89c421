//! A small in-memory world and short constructors for the planner's tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    ExpectedFrom, Items, Plan, PlannedItem, PlannedPhase, PlannedStep, PlannedTarget, RetryPolicy,
    StepId, StepPolicy, Until, VerifyPolicy, Wait,
};
use crate::action::{
    Action, ActionError, Connection, Connections, Description, ErrorKind, Evidence, Inventory,
    LastWord, Prediction, Probe, Readiness, Registry, Repeat, ResolveContext, Saved, StepContext,
    System, SystemConnection, Verb, VerbArgs, VerbKind, Verdict, Work,
};
use crate::runbook::node::{Key, Node, NodeValue, Span};
use crate::runbook::{OnFailure, Phase, Runbook, Scenario, Step};

/// A node without a place.
pub(crate) fn node(value: &Value) -> Node {
    let value = match value {
        Value::Null => NodeValue::Null,
        Value::Bool(value) => NodeValue::Bool(*value),
        Value::Number(value) => NodeValue::Number(value.clone()),
        Value::String(value) => NodeValue::Text(value.clone()),
        Value::Array(values) => NodeValue::List(values.iter().map(node).collect()),
        Value::Object(entries) => NodeValue::Map(
            entries
                .iter()
                .map(|(name, value)| {
                    (Key { name: name.clone(), span: Span::default() }, node(value))
                })
                .collect(),
        ),
    };
    Node { value, span: Span::default() }
}

/// A step with nothing but a verb.
pub(crate) fn step(id: &str, verb: &str) -> Step {
    Step {
        id: id.into(),
        title: None,
        verb: verb.into(),
        args: node(&json!({})),
        optional: false,
        after: None,
        when: None,
        timeout: None,
        expected: None,
        retry: None,
        on_failure: OnFailure::Stop,
        verify: None,
        irreversible: false,
        approval: None,
        for_each: None,
        parallel: None,
        span: Span::default(),
        verb_span: Span::default(),
    }
}

/// A step with arguments.
pub(crate) fn step_with(id: &str, verb: &str, args: &Value) -> Step {
    Step { args: node(args), ..step(id, verb) }
}

/// A runbook of these phases, without targets and inputs.
pub(crate) fn runbook(phases: Vec<(&str, Vec<Step>)>) -> Runbook {
    Runbook {
        version: 1,
        name: "test".into(),
        title: "A test".into(),
        scenario: Scenario::Emergency,
        subject: "thing".into(),
        severity: crate::runbook::Severity::Critical,
        inputs: IndexMap::new(),
        targets: IndexMap::new(),
        give_up: None,
        approval: None,
        escalation: Vec::new(),
        closing: Vec::new(),
        phases: phases
            .into_iter()
            .map(|(id, steps)| Phase {
                id: id.into(),
                title: None,
                budget: None,
                steps,
                span: Span::default(),
            })
            .collect(),
        prepare: None,
        restore: None,
    }
}

/// A planned step that takes a second and waits for the success of others.
pub(crate) fn planned(id: &str, waits: &[&str]) -> PlannedStep {
    PlannedStep {
        id: StepId(id.into()),
        title: None,
        verb: "memory.set".into(),
        waits: waits
            .iter()
            .map(|step| Wait { step: StepId((*step).into()), until: Until::Success })
            .collect(),
        skip: None,
        items: Items::Resolved(vec![PlannedItem {
            name: String::new(),
            args: json!({"key": id, "to": "new"}).into(),
            does: format!("set {id} to new").into(),
            undo: format!("set {id} back"),
        }]),
        policy: StepPolicy {
            optional: false,
            timeout: Duration::from_secs(5),
            expected: Duration::from_secs(1),
            expected_from: ExpectedFrom::Assumed,
            retry: RetryPolicy {
                attempts: 1,
                delay: Duration::from_secs(1),
                max_delay: Duration::from_secs(10),
            },
            on_failure: OnFailure::Stop,
            parallel: None,
            verify: VerifyPolicy {
                within: Duration::from_secs(10),
                every: Duration::from_millis(250),
                probe: None,
            },
            irreversible: false,
            approval: None,
        }
        .into(),
    }
}

/// A planned step that takes this long.
pub(crate) fn lasting(id: &str, waits: &[&str], seconds: u64) -> PlannedStep {
    let mut step = planned(id, waits);
    step.policy.expected = Duration::from_secs(seconds);
    step
}

/// A planned phase without a budget.
pub(crate) fn planned_phase(id: &str, steps: Vec<PlannedStep>) -> PlannedPhase {
    PlannedPhase { id: id.into(), title: id.into(), budget: None, steps }
}

/// A plan of these phases and targets (name, seconds, step).
pub(crate) fn plan(phases: Vec<PlannedPhase>, targets: &[(&str, u64, &str)]) -> Plan {
    Plan {
        runbook: "test".into(),
        title: "A test".into(),
        scenario: Scenario::Emergency,
        subject: "thing".into(),
        severity: None,
        environment: "test".into(),
        inputs: IndexMap::new(),
        targets: targets
            .iter()
            .map(|(name, seconds, step)| PlannedTarget {
                from: None,
                name: (*name).into(),
                within: Duration::from_secs(*seconds),
                reached_by: StepId((*step).into()),
            })
            .collect(),
        give_up: None,
        approval: None,
        escalation: Vec::new(),
        closing: Vec::new(),
        reverts: None,
        phases,
    }
}

/// Everything that the system `memory` holds; `down` makes every call fail, `silent` makes it hang; to be
/// set, a key that begins with `slow` is thought about for a second.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) values: Mutex<BTreeMap<String, String>>,
}

#[derive(Deserialize, JsonSchema)]
struct MemoryConnection {
    #[serde(default)]
    down: bool,
    #[serde(default)]
    silent: bool,
    #[serde(default)]
    values: BTreeMap<String, String>,
}

impl SystemConnection for MemoryConnection {
    const KEY: &'static str = "memory";
}

async fn memory(connections: &Connections) -> Result<Arc<Memory>, ActionError> {
    let settings = connections.settings::<MemoryConnection>()?;
    if settings.silent {
        std::future::pending::<()>().await;
    }
    if settings.down {
        return Err(
            ActionError::new(ErrorKind::Unreachable, "reach memory").hint("Switch memory on.")
        );
    }
    connections.client::<MemoryConnection, Memory, _>(|settings, _| {
        Ok(Memory { values: Mutex::new(settings.values) })
    })
}

/// Looks a key up.
fn read(memory: &Memory, key: &str) -> Option<String> {
    memory.values.lock().expect("not poisoned").get(key).cloned()
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct SetArgs {
    key: String,
    to: String,
}

struct Set {
    args: SetArgs,
    connections: Arc<Connections>,
}

#[async_trait]
impl VerbArgs for SetArgs {
    const NAME: &'static str = "memory.set";
    const SUMMARY: &'static str = "Sets a key";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(7);
    type Item = Self;

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        if self.key.starts_with("slow") {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let _reached = memory(&cx.connections).await?;
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(Set { args: item, connections: cx.connections.clone() })))
    }
}

#[async_trait]
impl Action for Set {
    fn describe(&self) -> Description {
        let SetArgs { key, to } = &self.args;
        Description::new(format!("set {key} to {to}"), format!("set {key} back"))
    }

    fn repeat(&self) -> Repeat {
        Repeat::Safe
    }

    async fn inspect(&self, _: &StepContext) -> Result<Readiness, ActionError> {
        let present = read(&*memory(&self.connections).await?, &self.args.key);
        if present.as_ref() == Some(&self.args.to) {
            return Ok(Readiness::AlreadyDone { evidence: Evidence::new("it is so already") });
        }
        Ok(Readiness::Needed {
            saved: Saved::public(json!(present)),
            predicted: vec![Prediction {
                resource: format!("memory:{}", self.args.key),
                state: json!(self.args.to),
            }],
        })
    }

    async fn apply(&self, _: &StepContext, _: &Saved) -> Result<Evidence, ActionError> {
        let memory = memory(&self.connections).await?;
        let mut values = memory.values.lock().expect("not poisoned");
        let _former = values.insert(self.args.key.clone(), self.args.to.clone());
        Ok(Evidence::new("set"))
    }

    async fn verify(&self, _: &StepContext, _: &Evidence) -> Result<Verdict, ActionError> {
        Ok(Verdict::holds("set"))
    }

    async fn undo(
        &self,
        _: &StepContext,
        _: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        Ok(())
    }
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct ExpectArgs {
    key: String,
    is: String,
    /// Whether predictions are understood.
    #[serde(default)]
    predicts: bool,
}

struct Expect {
    args: ExpectArgs,
    connections: Arc<Connections>,
}

#[async_trait]
impl VerbArgs for ExpectArgs {
    const NAME: &'static str = "memory.expect";
    const SUMMARY: &'static str = "Expects a key's value";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(3);
    type Item = Self;

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Probe(Box::new(Expect { args: item, connections: cx.connections.clone() })))
    }
}

#[async_trait]
impl Probe for Expect {
    fn describe(&self) -> Description {
        Description::question(format!("{} is {}", self.args.key, self.args.is))
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        let present = read(&*memory(&self.connections).await?, &self.args.key);
        let resource = format!("memory:{}", self.args.key);
        let predicted = cx.predicted(&resource).filter(|_| self.args.predicts);
        let seen = match predicted {
            Some(state) => state.as_str().map(str::to_owned),
            None => present,
        };
        if seen.as_ref() == Some(&self.args.is) {
            Ok(Verdict::holds("it is"))
        } else {
            Ok(Verdict::not_yet(format!("{} is {}", self.args.key, seen.unwrap_or_default())))
        }
    }
}

/// A message: what is said becomes the value of `radio`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct SayArgs {
    text: String,
}

#[async_trait]
impl VerbArgs for SayArgs {
    const NAME: &'static str = "radio.say";
    const SUMMARY: &'static str = "Says something";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(3);
    const CONNECTION: Option<&'static str> = Some(RadioConnection::KEY);
    const LAST_WORD: Option<LastWord> = Some(|ending| json!({"text": ending.headline}));
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        if self.text.is_empty() { Err("`text` is empty".to_owned()) } else { Ok(()) }
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        let args = SetArgs { key: "radio".to_owned(), to: item.text };
        Ok(Work::Action(Box::new(Set { args, connections: cx.connections.clone() })))
    }
}

#[derive(Deserialize, JsonSchema)]
struct RadioConnection {}

impl SystemConnection for RadioConnection {
    const KEY: &'static str = "radio";
}

/// Of the same system, and never there.
#[derive(Deserialize, JsonSchema)]
struct SirenConnection {}

impl SystemConnection for SirenConnection {
    const KEY: &'static str = "siren";
}

#[derive(Deserialize, JsonSchema)]
struct Keys {}

#[async_trait]
impl Inventory for Keys {
    const NAME: &'static str = "memory.keys";
    const SUMMARY: &'static str = "Lists the keys";

    async fn list(self, cx: &ResolveContext) -> Result<Vec<Value>, ActionError> {
        let memory = memory(&cx.connections).await?;
        let values = memory.values.lock().expect("not poisoned");
        Ok(values.keys().map(|key| json!(key)).collect())
    }
}

/// A registry of the system `memory`.
pub(crate) fn registry() -> Arc<Registry> {
    let memory =
        Connection::of::<MemoryConnection>("Where values are held").reached_by(|connections| {
            Box::pin(async move { memory(connections).await.map(|_| "memory answers".into()) })
        });
    let radio = Connection::of::<RadioConnection>("Where something is said")
        .reached_by(|_| Box::pin(async { Ok("radio answers".to_owned()) }));
    let siren = Connection::of::<SirenConnection>("What nobody hears").reached_by(|_| {
        Box::pin(async { Err(ActionError::new(ErrorKind::Unreachable, "reach siren")) })
    });
    let memory = System {
        name: "memory",
        summary: "Holds values",
        connections: vec![memory],
        verbs: vec![Verb::of::<SetArgs>(), Verb::of::<ExpectArgs>(), Verb::inventory::<Keys>()],
    };
    let messages = System {
        name: "radio",
        summary: "Carries messages",
        connections: vec![radio, siren],
        verbs: vec![Verb::of::<SayArgs>()],
    };
    Arc::new(Registry::new(vec![memory, messages]))
}

/// Connections to `memory` with these settings, and to `radio` where they say so.
pub(crate) fn connections(mut settings: Value) -> Arc<Connections> {
    let radio = settings.as_object_mut().and_then(|settings| settings.remove("radio"));
    let radio = radio.map(|radio| ("radio".to_owned(), radio));
    let settings = [("memory".to_owned(), settings)].into_iter().chain(radio).collect();
    Arc::new(Connections::new("test", settings, Arc::default()))
}

/// What resolving may use, over these settings.
pub(crate) fn context(settings: Value) -> ResolveContext {
    ResolveContext { connections: connections(settings), registry: registry() }
}

/// An environment with these values around the connections of a context.
pub(crate) fn environment(cx: &ResolveContext, values: Value) -> crate::environment::Environment {
    crate::environment::Environment {
        name: "test".into(),
        path: "environments/test.yaml".into(),
        source: crate::runbook::diagnostic::Source::default(),
        sandbox: false,
        connections: cx.connections.clone(),
        values,
        inputs: IndexMap::new(),
        evidence: IndexMap::new(),
        approvers: BTreeMap::new(),
        absent: Vec::new(),
        drills: false,
        log: None,
        channels: BTreeMap::new(),
        lock_dir: None,
        warnings: Vec::new(),
    }
}
