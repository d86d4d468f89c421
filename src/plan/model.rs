//! A plan as plain data.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Reverts;
use crate::action::Item;
use crate::runbook::{OnFailure, Scenario, Severity};
use crate::value::{JsonText, Shared};

/// A fully resolved plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The runbook's `name`.
    pub runbook: String,
    /// The runbook's title.
    pub title: String,
    /// The kind of runbook.
    pub scenario: Scenario,
    /// What a run of it holds alone, together with the environment.
    pub subject: String,
    /// How bad the incident is that the runbook is for. Unknown in journals of older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// The environment's name.
    pub environment: String,
    /// The values of all inputs, secrets as markers.
    pub inputs: IndexMap<String, Value>,
    /// The recovery targets, in the order of their times.
    pub targets: Vec<PlannedTarget>,
    /// When the run gives up, measured from its start, or from where another process has taken it up again.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis::option")]
    pub give_up: Option<Duration>,
    /// Whose approval the whole run needs before its first change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<PlannedApproval>,
    /// Who is told, one after the other, until somebody acknowledges the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalation: Vec<PlannedRung>,
    /// The verbs of the messages that tell how the run ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closing: Vec<String>,
    /// The run that this plan takes back, when it is no runbook's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverts: Option<Reverts>,
    /// The phases in their order.
    pub phases: Vec<PlannedPhase>,
}

/// An approval that somebody with a role has to give before anything is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedApproval {
    /// The role.
    pub role: String,
    /// How long the answer may take, from when it is first asked for.
    #[serde(with = "millis")]
    pub within: Duration,
    /// Why somebody has to be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who holds the role, as the environment lists it. Nobody is listed where anybody may answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
}

impl PlannedApproval {
    /// Whether this person may answer.
    pub fn may_answer(&self, name: &str) -> bool {
        self.approvers.is_empty() || self.approvers.iter().any(|approver| approver == name)
    }

    /// The role, and who holds it: `lead-engineer (alice, bob)`.
    pub fn who(&self) -> String {
        match self.approvers.as_slice() {
            [] => format!("{} (nobody is listed, anybody may answer)", self.role),
            names => format!("{} ({})", self.role, names.join(", ")),
        }
    }
}

/// A rung of the escalation ladder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedRung {
    /// Its name.
    pub level: String,
    /// Who is told.
    pub who: String,
    /// How long after the start of the run.
    #[serde(with = "millis")]
    pub after: Duration,
    /// The number to call, which is shown and not called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// The messages.
    pub messages: Vec<PlannedMessage>,
}

/// A message with evaluated arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedMessage {
    /// Tells the messages of a rung apart: its verb, with the recipient where it has one for each.
    pub name: String,
    /// `<system>.<verb>`.
    pub verb: String,
    /// What the verb makes its work from.
    pub args: JsonText,
}

/// A recovery target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedTarget {
    /// Its name.
    pub name: String,
    /// The time, measured from the start of the run, from `--since`, or from the end of the step `from`.
    #[serde(with = "millis")]
    pub within: Duration,
    /// The step with whose end its time begins; `--since` does not move such a target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<StepId>,
    /// The step whose success proves it.
    pub reached_by: StepId,
}

impl PlannedTarget {
    /// What puts targets into their order: those that count from the start, then those that count from a later step.
    pub fn rank(&self) -> (bool, Duration) {
        (self.from.is_some(), self.within)
    }

    /// Its time, for people: `1h`, or `1h from cutover/decided`.
    pub fn time(&self) -> String {
        let within = crate::value::brief(self.within);
        self.from.as_ref().map_or_else(|| within.clone(), |from| format!("{within} from {from}"))
    }
}

/// A phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedPhase {
    /// Its id.
    pub id: String,
    /// Its title, or its id.
    pub title: String,
    /// The time it should take.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis::option")]
    pub budget: Option<Duration>,
    /// Its steps, in the order of the file.
    pub steps: Vec<PlannedStep>,
}

/// `phase/step`: the name of a step in a run. Shared, since a plan, its state and its readers each name every step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub Arc<str>);

impl StepId {
    /// `phase/step`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for StepId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A step with everything that the engine needs to run it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// `phase/step`.
    pub id: StepId,
    /// A title for people, where the runbook gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<Box<str>>,
    /// `<system>.<verb>`.
    pub verb: Arc<str>,
    /// The steps of the same phase it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Wait>,
    /// Why the step is skipped, when its `when` said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<Box<str>>,
    /// What it works on.
    pub items: Items,
    /// How it is run. Neighbours of a new plan share it where they are run alike; a plan that is read back has one for each step.
    pub policy: Shared<StepPolicy>,
}

/// A step's wait for another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wait {
    /// The step waited for.
    pub step: StepId,
    /// What has to become of it.
    pub until: Until,
}

/// What a step waits for in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// It succeeded: `after: [a]`.
    Success,
    /// It came to any end: `after: [{step: a, is: settled}]`.
    Settled,
    /// The order of the file: it succeeded, or it failed and its policy says that the run goes on. A step that was never started
    /// holds up what stands below it.
    Passed,
}

/// The items of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Items {
    /// Resolved before the run.
    Resolved(Vec<PlannedItem>),
    /// The system could not be asked before the run, and the step does not stand on the path to the first
    /// target: it is resolved when its turn comes.
    Deferred(Box<Deferred>),
}

/// What is known before the run of items that are found later. Few steps have it, and it would be the largest part of all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deferred {
    /// The evaluated arguments of the verb, one per element of `for_each` (or just one), with their names;
    /// empty when they could not even be evaluated, so that the step fails with `reason` in its turn.
    pub args: Vec<Item>,
    /// Why it was deferred.
    pub reason: String,
}

/// One item of a resolved step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedItem {
    /// Tells the items of a step apart; empty when there is just one.
    pub name: String,
    /// What the verb makes its work from.
    pub args: JsonText,
    /// What it will do, in words.
    pub does: Arc<str>,
    /// What undo would do, in words; empty for probes and irreversible changes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub undo: String,
}

/// How a step is run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepPolicy {
    /// Holds nobody up, is dropped when time is short, never fails the run.
    #[serde(default)]
    pub optional: bool,
    /// The time of one attempt at one item.
    #[serde(with = "millis")]
    pub timeout: Duration,
    /// What the planner assumes the whole step takes.
    #[serde(with = "millis")]
    pub expected: Duration,
    /// How we know `expected`: declared, measured, or assumed.
    pub expected_from: ExpectedFrom,
    /// Attempts and their delays.
    pub retry: RetryPolicy,
    /// What a failure means.
    pub on_failure: OnFailure,
    /// The most items at the same time; `None` lets the engine find the system's own saturation point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<usize>,
    /// How long, how often and by what else success is verified.
    pub verify: VerifyPolicy,
    /// Declared as not undoable.
    #[serde(default)]
    pub irreversible: bool,
    /// Whose approval it needs before its first change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<PlannedApproval>,
}

/// How an expected duration is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpectedFrom {
    /// `expected:` in the runbook.
    Declared,
    /// The median of earlier runs.
    Measured,
    /// Neither: a small default.
    Assumed,
}

/// Attempts and their delays. Only retryable errors are retried, and only inside what is left of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// All attempts together, at least 1.
    pub attempts: u32,
    /// The wait before the second attempt; doubled after each further one.
    #[serde(with = "millis")]
    pub delay: Duration,
    /// The longest wait.
    #[serde(with = "millis")]
    pub max_delay: Duration,
}

/// How success is verified after a change, and how often a probe is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifyPolicy {
    /// How long the system may take to show the change.
    #[serde(with = "millis")]
    pub within: Duration,
    /// The pause between two looks.
    #[serde(with = "millis")]
    pub every: Duration,
    /// A probe asked in addition, once the action's own check holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<PlannedProbe>,
}

/// A probe with evaluated arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedProbe {
    /// `<system>.expect`.
    pub verb: String,
    /// Its item's arguments.
    pub args: JsonText,
}

impl PlannedRung {
    /// When it is raised, for people.
    pub fn when(&self) -> String {
        if self.after.is_zero() {
            return "at once".to_owned();
        }
        format!("after {}", crate::value::brief(self.after))
    }
}

impl Plan {
    /// Whether it brings everything back as fast as possible.
    pub fn is_emergency(&self) -> bool {
        self.scenario == Scenario::Emergency
    }

    /// All steps in the order of the file.
    pub fn steps(&self) -> impl Iterator<Item = &PlannedStep> {
        self.phases.iter().flat_map(|phase| &phase.steps)
    }

    /// The step at this place in the order of all steps.
    pub fn nth(&self, mut index: usize) -> Option<&PlannedStep> {
        for phase in &self.phases {
            match phase.steps.get(index) {
                Some(step) => return Some(step),
                None => index -= phase.steps.len(),
            }
        }
        None
    }

    /// The approval that a step needs, or the whole run where no step is named.
    pub fn approval_of(&self, step: Option<&StepId>) -> Option<&PlannedApproval> {
        match step {
            Some(id) => self.step(id)?.policy.approval.as_ref(),
            None => self.approval.as_ref(),
        }
    }

    /// Writes down who holds the roles that are asked.
    pub(crate) fn list_approvers(&mut self, approvers: &BTreeMap<String, Vec<String>>) {
        let steps = self.phases.iter_mut().flat_map(|phase| &mut phase.steps);
        // A policy that is touched is its step's own from then on, so only those that ask are.
        let asking = steps.filter(|step| step.policy.approval.is_some());
        let of_steps = asking.filter_map(|step| step.policy.approval.as_mut());
        for approval in self.approval.iter_mut().chain(of_steps) {
            if let Some(names) = approvers.get(&approval.role) {
                approval.approvers.clone_from(names);
            }
        }
    }

    /// The step of this id.
    pub fn step(&self, id: &StepId) -> Option<&PlannedStep> {
        self.steps().find(|step| step.id == *id)
    }
}

impl Items {
    /// The resolved items; none while the step is deferred.
    pub fn resolved(&self) -> &[PlannedItem] {
        match self {
            Self::Resolved(items) => items,
            Self::Deferred(_) => &[],
        }
    }
}

/// Durations as whole milliseconds.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }

    pub(crate) mod option {
        use std::time::Duration;

        use serde::{Deserialize, Deserializer, Serialize, Serializer};

        #[expect(clippy::ref_option, reason = "serde's `with` passes a reference to the field")]
        pub(crate) fn serialize<S: Serializer>(
            value: &Option<Duration>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            value.map(|value| u64::try_from(value.as_millis()).unwrap_or(u64::MAX)).serialize(to)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Duration>, D::Error> {
            Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
        }
    }
}
