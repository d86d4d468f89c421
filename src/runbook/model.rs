//! A runbook as plain data. Values that may hold templates stay [`Node`]s until a plan is made.

use std::time::Duration;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Severity;
use super::node::{Node, Span};

/// The kind of a runbook; each has its flag (`--emergency`).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Everything back, as fast as possible.
    Emergency,
    /// In stages, over hours.
    Graceful,
    /// One part of the system.
    Partial,
    /// A knowledge base.
    KnowledgeBase,
    /// Whether a rollback holds. Asks, and changes nothing.
    Validation,
    /// Whether a deployment may begin. Asks, and changes nothing; `rollback check --env` asks it, too.
    Prevention,
}

impl Scenario {
    /// Whether its runbooks only ask.
    pub fn asks_only(self) -> bool {
        matches!(self, Self::Validation | Self::Prevention)
    }

    /// Whether its runbooks go in stages, and are measured at each.
    pub fn is_gradual(self) -> bool {
        self == Self::Graceful
    }

    /// Its name in a title.
    pub fn title(self) -> &'static str {
        match self {
            Self::Emergency => "Emergency",
            Self::Graceful => "Graceful",
            Self::Partial => "Partial",
            Self::KnowledgeBase => "Knowledge Base",
            Self::Validation => "Validation",
            Self::Prevention => "Prevention",
        }
    }
}

/// What a step's failure means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Start nothing more, keep what was achieved.
    #[default]
    Stop,
    /// Go on; those who wait for this step's success are not started.
    Continue,
    /// Ask a person; without a terminal like `stop`.
    Ask,
    /// Take back this step's own changes, then stop.
    Undo,
}

/// A runbook whose form is valid.
#[derive(Debug, Clone)]
pub struct Runbook {
    /// The version of the language.
    pub version: u32,
    /// A short name, unique among the runbooks of a project.
    pub name: String,
    /// A title for people.
    pub title: String,
    /// The kind, when a scenario's flag should find it.
    pub scenario: Scenario,
    /// What a run holds alone, together with the environment.
    pub subject: String,
    /// How bad the incident is that it is for: who is told, and by which channel, depends on it.
    pub severity: Severity,
    /// What has to be known before a run.
    pub inputs: IndexMap<String, Input>,
    /// The recovery targets.
    pub targets: IndexMap<String, Target>,
    /// When the whole run is cancelled, if ever.
    pub give_up: Option<Duration>,
    /// Whose approval the whole run needs before its first change.
    pub approval: Option<Approval>,
    /// Who is told, one after the other, until somebody acknowledges the run.
    pub escalation: Vec<Rung>,
    /// The verbs of the messages that tell how the run ended.
    pub closing: Vec<String>,
    /// The phases.
    pub phases: Vec<Phase>,
    /// What a drill does before it: the steps that bring an environment into the state from which one rolls back. Called `prepare`.
    pub prepare: Option<Phase>,
    /// What a drill does after it, to bring the environment back. Called `restore`.
    pub restore: Option<Phase>,
}

impl Runbook {
    /// What only a drill does.
    pub fn drill_phases(&self) -> impl Iterator<Item = &Phase> {
        self.prepare.iter().chain(&self.restore)
    }

    /// Every step, those that only a drill runs at the end.
    pub fn all_steps(&self) -> impl Iterator<Item = &Step> {
        self.phases.iter().chain(self.drill_phases()).flat_map(|phase| &phase.steps)
    }

    /// The name of the input whose value the scenario's flag carries, if there is one.
    pub fn argument(&self) -> Option<&str> {
        self.inputs.iter().find(|(_, input)| input.argument).map(|(name, _)| name.as_str())
    }
}

/// An input's declaration.
#[derive(Debug, Clone)]
pub struct Input {
    /// The type of its value.
    pub kind: InputType,
    /// Whether a run needs it and nothing but a flag, a file, the environment or a person can give it.
    pub required: bool,
    /// Whether the scenario's flag carries its value.
    pub argument: bool,
    /// The question to ask on a terminal.
    pub prompt: Option<String>,
    /// The value when nothing else gives one; may hold templates over `environment`.
    pub default: Option<Node>,
    /// The inventory verb (`docker.services`) and its arguments.
    pub from: Option<(String, Node)>,
    /// A list's least length.
    pub at_least: Option<usize>,
    /// The allowed values.
    pub one_of: Option<Vec<serde_json::Value>>,
    /// A stand-in with which `rollback check` evaluates offline.
    pub sample: Option<Node>,
    /// Where it stands.
    pub span: Span,
}

/// The type of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InputType {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list of texts.
    List,
    /// A duration such as `30s`.
    Duration,
}

/// A recovery target.
#[derive(Debug, Clone)]
pub struct Target {
    /// The time, from the start, from `--since`, or from the end of the step `from`.
    pub within: Duration,
    /// `phase/step` of the step with whose end its time begins.
    pub from: Option<String>,
    /// `phase/step` of the step that proves it.
    pub reached_by: String,
    /// Where `reached_by` stands.
    pub span: Span,
    /// Where `from` stands.
    pub from_span: Span,
}

/// A rung of the escalation ladder.
#[derive(Debug, Clone)]
pub struct Rung {
    /// Its name.
    pub level: String,
    /// Who is told.
    pub who: String,
    /// How long after the start of the run.
    pub after: Duration,
    /// How bad the incident has to be for it, if not every one is.
    pub severity: Option<Severity>,
    /// The number to call, not evaluated.
    pub phone: Option<Node>,
    /// The messages.
    pub tell: Vec<VerbCall>,
    /// Where it stands.
    pub span: Span,
}

/// A phase.
#[derive(Debug, Clone)]
pub struct Phase {
    /// Its id.
    pub id: String,
    /// A title for people.
    pub title: Option<String>,
    /// The time it should take; never cancels anything.
    pub budget: Option<Duration>,
    /// Its steps.
    pub steps: Vec<Step>,
    /// Where it stands.
    pub span: Span,
}

/// A step: one action or probe, and the policy around it.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its id, unique in the phase.
    pub id: String,
    /// A title for people.
    pub title: Option<String>,
    /// `<system>.<verb>`.
    pub verb: String,
    /// The verb's arguments, not evaluated.
    pub args: Node,
    /// Holds nobody up, is dropped when time is short, never fails the run.
    pub optional: bool,
    /// What it waits for; `None` waits for the nearest required step above.
    pub after: Option<Vec<After>>,
    /// The condition under which it runs.
    pub when: Option<Box<Node>>,
    /// The time of one attempt.
    pub timeout: Option<Duration>,
    /// What the planner assumes until it has measured.
    pub expected: Option<Duration>,
    /// Attempts after retryable errors.
    pub retry: Option<Box<Retry>>,
    /// What a failure means.
    pub on_failure: OnFailure,
    /// How success is verified.
    pub verify: Option<Box<Verify>>,
    /// Declares that it cannot be undone.
    pub irreversible: bool,
    /// Whose approval it needs before its first change.
    pub approval: Option<Box<Approval>>,
    /// Repeats the step for each element of a list.
    pub for_each: Option<Box<ForEach>>,
    /// The most items at the same time.
    pub parallel: Option<usize>,
    /// Where it stands.
    pub span: Span,
    /// Where the verb's key stands.
    pub verb_span: Span,
}

/// An approval that somebody with a role has to give before anything is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// The role.
    pub role: String,
    /// How long the answer may take.
    pub within: Duration,
    /// Why somebody has to be asked, for whoever is.
    pub reason: Option<String>,
    /// Where it stands.
    pub span: Span,
}

/// A wait for another step of the same phase.
#[derive(Debug, Clone, PartialEq)]
pub struct After {
    /// That step's id.
    pub step: String,
    /// Any end will do (`is: settled`), not only success.
    pub settled: bool,
    /// Where it stands.
    pub span: Span,
}

/// Attempts after retryable errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// All attempts together.
    pub attempts: u32,
    /// The wait before the second, doubled after each further one.
    pub delay: Duration,
    /// The longest wait.
    pub max_delay: Duration,
}

/// How success is verified.
#[derive(Debug, Clone, Default)]
pub struct Verify {
    /// How long the system may take to show the change.
    pub within: Option<Duration>,
    /// The pause between two looks.
    pub every: Option<Duration>,
    /// A probe asked in addition.
    pub probe: Option<VerbCall>,
}

/// A verb inside another construct: a probe that verifies, a message.
#[derive(Debug, Clone)]
pub struct VerbCall {
    /// `<system>.<verb>`.
    pub verb: String,
    /// Its arguments, not evaluated.
    pub args: Node,
    /// Where its key stands.
    pub span: Span,
}

/// A repetition over a list; the element is `item` in templates, its position `index` (from 0).
#[derive(Debug, Clone)]
pub struct ForEach {
    /// The list, usually one template: `"{{ inputs.agents }}"`.
    pub list: Node,
}
