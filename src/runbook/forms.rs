//! The shape of a runbook as Rust types, without what the verbs add.
//!
//! [`schema`](super::schema) makes the JSON Schema from these types, and [`validate`](super::validate) deserializes them: what the
//! editor accepts is what the program reads. Places that need more than a shape (a step, a call of a probe, a message,
//! a template) carry the extension [`MARK`] in their schema, by which the walk over the file recognises them.

#![expect(
    dead_code,
    reason = "fields that only shape the schema and the set of known keys; their values come from the tree"
)]

use std::marker::PhantomData;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::model::{InputType, OnFailure, Scenario};
use crate::value::Lasting;

/// The schema extension that names a special place. Adapters use `probe-call` for a mapping of one probe verb to
/// its arguments, and `no-template` for text that must stand in the runbook as it is.
pub(crate) const MARK: &str = "x-rollback";

/// The version of the language that this program reads.
pub(crate) const VERSION: u32 = 1;

/// A rollback runbook.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunbookForm {
    /// The version of the language.
    #[schemars(range(min = 1, max = 1))]
    pub(super) version: u32,
    /// A short name, unique among the runbooks of a project.
    pub(super) name: Id,
    /// A title for people; the name when it is missing.
    pub(super) title: Option<Text>,
    /// The kind of runbook; each has its flag, such as `--emergency`.
    pub(super) scenario: Scenario,
    /// What a run holds alone, together with the environment; the name when it is missing.
    pub(super) subject: Option<Id>,
    /// What has to be known before a run.
    #[serde(default)]
    pub(super) inputs: Nested<IndexMap<String, InputForm>>,
    /// Recovery targets, measured from the start of the run or from --since.
    #[serde(default)]
    pub(super) targets: Nested<IndexMap<String, TargetForm>>,
    /// When the whole run is cancelled.
    pub(super) give_up: Option<Lasting>,
    /// Whose approval the run needs before its first change.
    pub(super) approval: Option<ApprovalForm>,
    /// Who is told, one rung after the other, until somebody acknowledges the run. It runs beside the phases and holds nothing up.
    #[serde(default)]
    pub(super) escalation: Nested<Vec<RungForm>>,
    /// The messages that tell how the run ended, and its journal's last hash: their verbs.
    #[serde(default)]
    pub(super) closing: Nested<Vec<MessageName>>,
    /// The phases, which run in this order.
    #[schemars(length(min = 1))]
    pub(super) phases: Nested<Vec<PhaseForm>>,
}

/// Something that has to be known before a run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InputForm {
    /// The type of the value.
    #[serde(rename = "type")]
    pub(super) kind: InputType,
    /// Whether a run needs a value.
    #[serde(default)]
    pub(super) required: bool,
    /// Whether it is the NAME of the scenario's flag: `rollback --partial NAME`, `rollback --knowledge-base NAME`. One input of a runbook can be.
    #[serde(default)]
    pub(super) argument: bool,
    /// The question to ask on a terminal.
    pub(super) prompt: Option<Text>,
    /// The value when nothing else gives one; may hold templates over `environment`.
    #[serde(default)]
    pub(super) default: Anything,
    /// An inventory verb and its arguments, from which a list is read.
    pub(super) from: Option<InventoryCall>,
    /// The least length of a list.
    pub(super) at_least: Option<usize>,
    /// The allowed values.
    #[schemars(length(min = 1))]
    pub(super) one_of: Option<Vec<Scalar>>,
    /// A stand-in with which `rollback check` evaluates templates offline.
    #[serde(default)]
    pub(super) sample: Literal,
}

/// A recovery target.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetForm {
    /// The time in which it has to be reached.
    pub(super) within: Lasting,
    /// The step that proves it, as `phase/step`.
    pub(super) reached_by: Text,
}

/// A rung of the escalation ladder.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RungForm {
    /// Its name, such as `L1`.
    pub(super) level: Text,
    /// Who is told.
    pub(super) who: Text,
    /// How long after the start of the run, unless somebody has acknowledged it before; at once when it is missing.
    pub(super) after: Option<Lasting>,
    /// The number to call, which is shown and not called.
    #[serde(default)]
    pub(super) phone: Phrase,
    /// The messages.
    #[serde(default)]
    pub(super) tell: Nested<Vec<MessagePlace>>,
}

/// A phase: it ends when all its steps have settled.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PhaseForm {
    /// The id, unique in the runbook.
    pub(super) id: Id,
    /// A title for people.
    pub(super) title: Option<Text>,
    /// The time it should take; never cancels anything.
    pub(super) budget: Option<Lasting>,
    /// The steps.
    #[schemars(length(min = 1))]
    pub(super) steps: Nested<Vec<StepPlace>>,
}

/// What surrounds a step's action or probe.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StepForm {
    /// The id, unique in the phase.
    pub(super) id: Id,
    /// A title for people.
    pub(super) title: Option<Text>,
    /// Holds nobody up, is dropped when time is short, never fails the run.
    #[serde(default)]
    pub(super) optional: bool,
    /// What it waits for; the nearest required step above when it is missing. `[]` starts at once.
    pub(super) after: Option<Vec<AfterForm>>,
    /// The condition under which it runs: an expression that gives true or false.
    #[serde(default)]
    pub(super) when: Condition,
    /// The time of one attempt.
    pub(super) timeout: Option<Lasting>,
    /// What the planner assumes until it has measured.
    pub(super) expected: Option<Lasting>,
    /// Attempts after errors that may pass by themselves.
    pub(super) retry: Option<RetryForm>,
    /// What a failure means for the run.
    #[serde(default)]
    pub(super) on_failure: OnFailure,
    /// How success is verified.
    pub(super) verify: Option<VerifyForm>,
    /// Declares that this change cannot be undone.
    #[serde(default)]
    pub(super) irreversible: bool,
    /// Whose approval the step needs before its first change.
    pub(super) approval: Option<ApprovalForm>,
    /// Repeats the step for each element of a list, usually "{{ inputs.… }}"; the element is `item`.
    #[serde(default)]
    pub(super) for_each: ListOrTemplate,
    /// The most items at the same time.
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) parallel: Option<usize>,
}

/// An approval that somebody with a role has to give before anything is changed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApprovalForm {
    /// The role; the environment lists under `approvers` who holds it.
    pub(super) role: Id,
    /// How long the answer may take, from when it is asked for.
    pub(super) within: Lasting,
    /// Why somebody has to be asked, for whoever is.
    pub(super) reason: Option<Text>,
}

/// A wait for another step of the same phase.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum AfterForm {
    /// Its success.
    Success(Id),
    /// Any end.
    Settled(SettledForm),
}

/// A wait for any end of another step.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SettledForm {
    /// The other step's id.
    pub(super) step: Id,
    /// Which end.
    pub(super) is: End,
}

/// The end that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum End {
    /// Success, like the short form.
    Success,
    /// Any end.
    Settled,
}

/// Attempts after errors that may pass by themselves.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryForm {
    /// All attempts together.
    #[schemars(range(min = 1, max = 100))]
    pub(super) attempts: u32,
    /// The wait before the second attempt, doubled after each further one; 1s when it is missing.
    pub(super) delay: Option<Lasting>,
    /// The longest wait; 30s when it is missing.
    pub(super) max_delay: Option<Lasting>,
}

/// How success is verified.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyForm {
    /// How long the system may take to show the change.
    pub(super) within: Option<Lasting>,
    /// The pause between two looks.
    pub(super) every: Option<Lasting>,
    /// A probe asked in addition.
    pub(super) probe: Option<ProbePlace>,
}

/// A part that is deserialized by itself, where its place in the file is known; here only its schema counts.
#[derive(Debug)]
pub(crate) struct Nested<T>(PhantomData<T>);

impl<T> Default for Nested<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T> Deserialize<'de> for Nested<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(from).map(|_| Self::default())
    }
}

impl<T: JsonSchema> JsonSchema for Nested<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }

    fn inline_schema() -> bool {
        true
    }
}

/// A short name: lower-case letters, digits, `-` and `_`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Id(pub(crate) String);

/// A text that is not empty.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text(pub(crate) String);

/// A text, a number or a truth value.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct Scalar(pub(super) serde_json::Value);

macro_rules! described {
    ($($name:ident => $schema:tt),+ $(,)?) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }

            fn inline_schema() -> bool {
                true
            }
        }
    )+};
}

/// Places whose value is taken from the tree of nodes, not deserialized.
macro_rules! places {
    ($($(#[$doc:meta])* $name:ident => $schema:tt),+ $(,)?) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Default)]
            pub(crate) struct $name;

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                    IgnoredAny::deserialize(from).map(|_| Self)
                }
            }
        )+
        described! { $($name => $schema),+ }
    };
}

described! {
    Id => {"type": "string", "format": "rollback-id", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$"},
    Text => {"type": "string", "minLength": 1},
    Scalar => {"type": ["string", "number", "boolean"]},
}

places! {
    /// A whole step: policy and exactly one verb.
    StepPlace => {"x-rollback": "step"},
    /// One probe verb and its arguments.
    ProbePlace => {"x-rollback": "probe-call"},
    /// One verb that carries a message, and its arguments.
    MessagePlace => {"x-rollback": "message-call"},
    /// A verb that carries a message, which can tell how a run ended.
    MessageName => {"type": "string", "x-rollback": "message-name"},
    /// Text, perhaps with templates.
    Phrase => {"type": "string", "x-rollback": "templates"},
    /// One inventory verb and its arguments.
    InventoryCall => {"x-rollback": "inventory-call"},
    /// An expression or a truth value.
    Condition => {"type": ["string", "boolean"], "x-rollback": "condition"},
    /// A list, or a template that gives one.
    ListOrTemplate => {"type": ["string", "array"], "x-rollback": "templates"},
    /// Any value, perhaps with templates.
    Anything => {"x-rollback": "templates", "type": ["string", "number", "boolean", "array"]},
    /// Any value without templates.
    Literal => {"type": ["string", "number", "boolean", "array"]},
}
