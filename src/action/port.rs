//! The two traits that an adapter implements, and the values that cross the border.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ActionError, Present, StepContext, Window};
use crate::value::brief;

/// Something that changes one thing in one system.
///
/// The engine drives the life cycle: `inspect`, a durable record, `apply`, `verify`; later perhaps `undo`.
/// `inspect` and `verify` only read. Every wait ends at `cx.deadline()`.
#[async_trait]
pub trait Action: Send + Sync {
    /// What `apply` and `undo` will do, one line each.
    fn describe(&self) -> Description;

    /// Whether `apply` may be sent again when nobody knows what became of the first one.
    fn repeat(&self) -> Repeat;

    /// Whether `undo` may be sent again when nobody knows what became of the first one.
    fn repeat_of_undo(&self) -> Repeat {
        Repeat::Safe
    }

    /// Whether `undo` can bring the former state back.
    fn reversal(&self) -> Reversal {
        Reversal::Automatic
    }

    /// What the change may touch, by which `rollback revert` knows whose present state a later step of the same run explains.
    fn touches(&self) -> Touches {
        Touches::System
    }

    /// Looks at the present state. After a crash it is called again for a step that was in flight:
    /// it must then tell from the system (and from `cx.notes()`) whether the change has happened.
    async fn inspect(&self, cx: &StepContext) -> Result<Readiness, ActionError>;

    /// Lets the system try the change without making it, where the system can: what it answered. Asked by a plan, after `inspect`
    /// has found that the change is needed.
    async fn dry_run(
        &self,
        _cx: &StepContext,
        _saved: &Saved,
    ) -> Result<Option<Evidence>, ActionError> {
        Ok(None)
    }

    /// Makes the change. An error of kind [`Unknown`](super::ErrorKind::Unknown) says that it may have happened.
    async fn apply(&self, cx: &StepContext, saved: &Saved) -> Result<Evidence, ActionError>;

    /// Asks the system whether the change is in force. The engine repeats it until it holds or time is up.
    async fn verify(&self, cx: &StepContext, applied: &Evidence) -> Result<Verdict, ActionError>;

    /// What there is now, beside the state that was `saved` and what `applied` told. Only reads. An action whose saved state also holds
    /// what changes by itself (a serial number, the id of a deployment) decides here by what its `undo` decides by.
    async fn present(
        &self,
        cx: &StepContext,
        saved: &Saved,
        _applied: Option<&Evidence>,
    ) -> Result<Present, ActionError> {
        // A saved state that is read back from a note is that of before, whatever there is now.
        let found = self.inspect(&cx.clone().afresh()).await?;
        Ok(Present::of(found, saved, |now| now == saved))
    }

    /// Brings back what `saved` recorded; a second undo succeeds and changes nothing.
    /// Refuses with kind [`Conflict`](super::ErrorKind::Conflict) when the present state is not what this action wrote.
    /// `applied` is `None` when the outcome of `apply` was never learnt.
    async fn undo(
        &self,
        cx: &StepContext,
        saved: &Saved,
        applied: Option<&Evidence>,
    ) -> Result<(), ActionError>;
}

/// A read-only question with an expected answer.
#[async_trait]
pub trait Probe: Send + Sync {
    /// The question in `apply`; `undo` stays empty.
    fn describe(&self) -> Description;

    /// Asks once. The engine repeats it until it holds or the step's time is up.
    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError>;

    /// Asks once, and tells what is not so apart from what cannot be known now. The engine repeats both; a decision
    /// must not take the second for the first. A probe whose `observe` makes no error of what it cannot know says it here.
    async fn answer(&self, cx: &StepContext) -> Result<Answer, ActionError> {
        Ok(match self.observe(cx).await? {
            Verdict::Holds { evidence } => Answer::Yes { evidence },
            Verdict::NotYet { observed } => Answer::No { observed },
        })
    }
}

/// A question that only a person can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The sentence to confirm.
    pub text: String,
    /// Whether the run waits for the answer; otherwise it is recorded as open and asked by `rollback confirm`.
    pub required: bool,
    /// When, after the run, it is asked.
    pub window: Option<Window>,
}

/// A question that a system answers, after the run.
pub struct Later {
    /// The sentence to confirm.
    pub text: String,
    /// When it is asked.
    pub window: Window,
    /// How long the answer has to hold.
    pub hold: Duration,
    /// What is asked.
    pub probe: Box<dyn Probe>,
}

/// A time for which things have to stay as they are.
pub struct Hold {
    /// How long, from when the step first began.
    pub lasting: Duration,
    /// The pause between two looks.
    pub every: Duration,
    /// How long a gate may fail until the hold has failed; zero when the first no decides.
    pub tolerate: Duration,
    /// What has to hold meanwhile; nothing where the time alone counts.
    pub gates: Vec<Gate>,
}

/// What has to hold during a [`Hold`].
pub struct Gate {
    /// Its name, for people.
    pub text: String,
    /// What is asked.
    pub probe: Box<dyn Probe>,
}

impl Hold {
    /// What it does, as a sentence without a period.
    pub fn describe(&self) -> String {
        let lasting = brief(self.lasting);
        let gates: Vec<String> =
            self.gates.iter().map(|gate| gate.probe.describe().apply).collect();
        if gates.is_empty() {
            return format!("wait for {lasting}");
        }
        let every = brief(self.every);
        format!("hold for {lasting}, and ask every {every}: {}", gates.join("; "))
    }
}

/// One piece of work: what a step does to one item.
pub enum Work {
    /// A change.
    Action(Box<dyn Action>),
    /// A read-only question to a system.
    Probe(Box<dyn Probe>),
    /// A question to a person.
    Manual(Question),
    /// A question to a system that is recorded as open, and asked by `rollback confirm`.
    Later(Later),
    /// A wait during which questions to systems have to keep their answers.
    Hold(Hold),
}

/// What a change will do, in words for the plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// What happens, as a sentence without a period: `stop container legacy-agent-001-1 (grace 3s)`.
    pub apply: String,
    /// What undo would do; empty for a probe.
    pub undo: String,
}

impl Description {
    /// The description of a change and of its reverse.
    pub fn new(apply: impl Into<String>, undo: impl Into<String>) -> Self {
        Self { apply: apply.into(), undo: undo.into() }
    }

    /// The description of a question.
    pub fn question(text: impl Into<String>) -> Self {
        Self { apply: text.into(), undo: String::new() }
    }
}

/// May a change be sent again when the outcome of the first attempt is unknown?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repeat {
    /// Yes: twice is the same as once.
    Safe,
    /// Only after `inspect` has found that it is still needed.
    AfterInspect,
    /// No: a person has to look.
    Never,
}

/// Can the change be taken back?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reversal {
    /// `undo` brings the former state back.
    Automatic,
    /// It cannot be taken back.
    Irreversible {
        /// Why not.
        reason: String,
    },
}

/// What a change may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touches {
    /// Only these resources, named like those of a [`Prediction`]; what lies below a name (`file:/a` and `file:/a/b`) counts.
    Only(Vec<String>),
    /// Anything of its own system. Where it predicts its effects, those resources alone.
    System,
    /// Anything anywhere, as a script may.
    Anything,
}

/// What `inspect` found.
#[derive(Debug, Clone)]
pub enum Readiness {
    /// The change is needed.
    Needed {
        /// What undo needs to know.
        saved: Saved,
        /// The effects, for later steps of a plan.
        predicted: Vec<Prediction>,
    },
    /// The wanted state is there already: a success.
    AlreadyDone {
        /// What shows it.
        evidence: Evidence,
    },
}

impl Readiness {
    /// A change that is needed and predicts nothing.
    pub fn needed(saved: Saved) -> Self {
        Self::Needed { saved, predicted: Vec::new() }
    }
}

/// The state before a change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Goes into the journal: must not hold secrets.
    pub state: Value,
    /// May hold secrets (a container's environment, a file's content): kept in a 0600 file beside the
    /// journal, which holds only its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<Value>,
}

impl Saved {
    /// A saved state without secrets.
    pub fn public(state: Value) -> Self {
        Self { state, private: None }
    }

    /// Whether the same is saved under all of these names.
    pub fn agrees(&self, other: &Self, names: &[&str]) -> bool {
        names.iter().all(|name| self.state.get(name) == other.state.get(name))
    }

    /// How much there is to change, in words for the plan, where the adapter says so under `found`: `655 keys`.
    pub fn found(&self) -> Option<&str> {
        self.state.get("found")?.as_str()
    }

    /// How long the change takes at most to reach everybody once it is made, for example because others may keep what was there before;
    /// where the adapter says so under `spreads_s`, in seconds.
    pub fn spreads(&self) -> Option<Duration> {
        self.state.get("spreads_s")?.as_u64().map(Duration::from_secs)
    }
}

/// What shows that something is so.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// One line for people.
    pub summary: String,
    /// The facts behind it, without secrets.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub facts: Value,
}

impl Evidence {
    /// Evidence in one line.
    pub fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), facts: Value::Null }
    }

    /// Evidence with the facts behind it.
    pub fn with(summary: impl Into<String>, facts: Value) -> Self {
        Self { summary: summary.into(), facts }
    }
}

/// The answer to a question at one moment.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is as expected.
    Holds {
        /// What shows it.
        evidence: Evidence,
    },
    /// Not as expected, perhaps later.
    NotYet {
        /// What was seen instead.
        observed: String,
    },
}

impl Verdict {
    /// It holds, with one line of evidence.
    pub fn holds(summary: impl Into<String>) -> Self {
        Self::Holds { evidence: Evidence::new(summary) }
    }

    /// It does not hold yet.
    pub fn not_yet(observed: impl Into<String>) -> Self {
        Self::NotYet { observed: observed.into() }
    }
}

/// The answer to a question where "nobody knows" is an answer of its own.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It is so.
    Yes {
        /// What shows it.
        evidence: Evidence,
    },
    /// It is not so.
    No {
        /// What was seen instead.
        observed: String,
    },
    /// There is nothing to tell it by.
    NoData {
        /// What is missing.
        reason: String,
    },
}

impl From<Answer> for Verdict {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Yes { evidence } => Self::Holds { evidence },
            Answer::No { observed } => Self::NotYet { observed },
            Answer::NoData { reason } => Self::NotYet { observed: format!("no data: {reason}") },
        }
    }
}

/// The expected effect of a change on one resource, carried to later steps of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The resource's name, prefixed by its system: `docker:ollama-optimized/agent-001-1`.
    pub resource: String,
    /// Its state after the change.
    pub state: Value,
}
