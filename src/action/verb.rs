//! Verbs: how an adapter publishes what it can do, and how a runbook's words find it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ActionError, Connections, ErrorKind, Registry, Work};
use crate::value::{JsonText, beginning};

/// What a verb is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerbKind {
    /// Changes something.
    Action,
    /// Asks something, read-only.
    Probe,
    /// Lists something, read-only, as the source of an input.
    Inventory,
}

/// One item of a step: a step over a fleet has many, most steps have one with an empty name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// The name that tells the items of a step apart; empty when there is just one.
    pub name: String,
    /// Everything `make` needs, fully resolved ("previous" is an absolute version here), without secrets.
    pub args: JsonText,
}

/// What resolving and making may use.
pub struct ResolveContext {
    /// The environment's connections.
    pub connections: Arc<Connections>,
    /// All verbs, for those that hold other verbs (`manual.confirm` with a probe).
    pub registry: Arc<Registry>,
}

/// How a run ended, for the verbs that carry it to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ending {
    /// The run's id.
    pub run: String,
    /// The runbook's title.
    pub title: String,
    /// The environment's name.
    pub environment: String,
    /// Whether nobody has to do anything more.
    pub succeeded: bool,
    /// What has happened, in one line.
    pub headline: String,
    /// The same with times and targets, several lines, without colours.
    pub text: String,
    /// The hash of the journal's last record, by which a changed journal is known.
    pub journal_head: String,
}

/// Makes the arguments with which a verb tells how a run ended.
pub type LastWord = fn(&Ending) -> Value;

/// The arguments of an action or probe verb: plain data whose schema is the language's own.
#[async_trait]
pub trait VerbArgs: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// `<system>.<verb>`.
    const NAME: &'static str;
    /// One sentence without a period, for help texts and the schema.
    const SUMMARY: &'static str;
    /// Action or probe.
    const KIND: VerbKind;
    /// The default time for one attempt.
    const TIMEOUT: Duration;
    /// Why it cannot be undone; the runbook must then say `irreversible: true`.
    const IRREVERSIBLE: Option<&'static str> = None;
    /// The one block under `connections` that it needs, where its system has several.
    const CONNECTION: Option<&'static str> = None;
    /// How it tells people that a run has ended, if it carries messages.
    const LAST_WORD: Option<LastWord> = None;
    /// How long it takes by its own arguments, if they say so: no plan has to assume or measure that.
    const LASTS: Option<fn(&Self) -> Duration> = None;
    /// What one item of the step needs; often the arguments themselves.
    type Item: Serialize + DeserializeOwned + Send;

    /// Checks what the schema cannot say, offline. Returns a fragment such as "`from` and `to` are the same".
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    /// Splits the step into named items, reading the live system where an inventory or a "previous"
    /// version has to be resolved. An empty result is an error of kind `NotFound`.
    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Self::Item)>, ActionError>;

    /// Makes the work for one item. Contacts nothing.
    fn make(item: Self::Item, cx: &ResolveContext) -> Result<Work, ActionError>;
}

/// A list that an input can be read from: `from: {docker.services: {project: legacy}}`.
#[async_trait]
pub trait Inventory: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// `<system>.<noun>`.
    const NAME: &'static str;
    /// One sentence without a period.
    const SUMMARY: &'static str;

    /// Reads the list from the live system.
    async fn list(self, cx: &ResolveContext) -> Result<Vec<Value>, ActionError>;
}

type ExpandFn =
    for<'a> fn(Value, &'a ResolveContext) -> BoxFuture<'a, Result<Vec<Item>, ActionError>>;
type ListFn =
    for<'a> fn(Value, &'a ResolveContext) -> BoxFuture<'a, Result<Vec<Value>, ActionError>>;
type MakeFn = fn(&JsonText, &ResolveContext) -> Result<Work, ActionError>;

/// The most that is told of why arguments cannot be read, in bytes.
const LONGEST_REASON: usize = 1000;

/// A verb with its type erased.
#[derive(Clone, Copy)]
pub struct Verb {
    /// `<system>.<verb>`.
    pub name: &'static str,
    /// One sentence without a period.
    pub summary: &'static str,
    /// What it is for.
    pub kind: VerbKind,
    /// The default time for one attempt.
    pub timeout: Duration,
    /// Why it cannot be undone, when it cannot.
    pub irreversible: Option<&'static str>,
    /// The one block under `connections` that it needs, where its system has several.
    pub connection: Option<&'static str>,
    /// How it tells people that a run has ended; only verbs that carry messages do.
    pub last_word: Option<LastWord>,
    /// How long it takes by its evaluated arguments; only verbs that wait for a given time tell that.
    pub lasts: Option<fn(Value) -> Option<Duration>>,
    /// The JSON Schema of its arguments.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Checks evaluated arguments offline, beyond the schema.
    pub validate: fn(Value) -> Result<(), String>,
    expand: ExpandFn,
    list: ListFn,
    make: MakeFn,
}

fn lasts<A: VerbArgs>(args: Value) -> Option<Duration> {
    let args: A = serde_json::from_value(args).ok()?;
    A::LASTS.map(|lasts| lasts(&args))
}

fn parse<A: DeserializeOwned>(verb: &str, args: Value) -> Result<A, ActionError> {
    serde_json::from_value(args).map_err(|error| unreadable(verb, &error))
}

fn unreadable(verb: &str, error: &serde_json::Error) -> ActionError {
    let reason = reason(error);
    ActionError::new(ErrorKind::Invalid, format!("read the arguments of `{verb}`: {reason}"))
}

/// Why a value cannot be read, which may repeat the value, however long that is.
fn reason(error: &serde_json::Error) -> String {
    beginning(&error.to_string(), LONGEST_REASON).to_owned()
}

fn wrong_kind(verb: &str, wanted: &str) -> ActionError {
    ActionError::new(ErrorKind::Invalid, format!("use `{verb}` as {wanted}"))
}

impl Verb {
    /// The verb of an action or a probe.
    pub fn of<A: VerbArgs>() -> Self {
        Self {
            name: A::NAME,
            summary: A::SUMMARY,
            kind: A::KIND,
            timeout: A::TIMEOUT,
            irreversible: A::IRREVERSIBLE,
            connection: A::CONNECTION,
            last_word: A::LAST_WORD,
            lasts: A::LASTS.map(|_| lasts::<A> as fn(Value) -> Option<Duration>),
            schema: |generator| generator.subschema_for::<A>(),
            validate: |args| {
                let args: A = serde_json::from_value(args).map_err(|error| reason(&error))?;
                args.validate()
            },
            expand: |args, cx| {
                Box::pin(async move {
                    let args: A = parse(A::NAME, args)?;
                    let mut items = Vec::new();
                    for (name, item) in args.expand(cx).await? {
                        let args = JsonText::of(&item).map_err(|error| {
                            ActionError::new(
                                ErrorKind::Invalid,
                                format!("record the arguments of `{}`", A::NAME),
                            )
                            .caused_by(&error)
                        })?;
                        items.push(Item { name, args });
                    }
                    Ok(items)
                })
            },
            list: |_, _| Box::pin(async { Err(wrong_kind(A::NAME, "the source of an input")) }),
            make: |args, cx| {
                let item = args.read().map_err(|error| unreadable(A::NAME, &error))?;
                A::make(item, cx)
            },
        }
    }

    /// The verb of an inventory.
    pub fn inventory<I: Inventory>() -> Self {
        Self {
            name: I::NAME,
            summary: I::SUMMARY,
            kind: VerbKind::Inventory,
            timeout: Duration::from_secs(5),
            irreversible: None,
            connection: None,
            last_word: None,
            lasts: None,
            schema: |generator| generator.subschema_for::<I>(),
            validate: |args| {
                serde_json::from_value::<I>(args).map(drop).map_err(|error| reason(&error))
            },
            expand: |_, _| Box::pin(async { Err(wrong_kind(I::NAME, "a step")) }),
            list: |args, cx| Box::pin(async move { parse::<I>(I::NAME, args)?.list(cx).await }),
            make: |_, _| Err(wrong_kind(I::NAME, "a step")),
        }
    }

    /// Whether it carries messages to people.
    pub fn is_message(&self) -> bool {
        self.last_word.is_some()
    }

    /// The part before the dot.
    pub fn system(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(system, _)| system)
    }

    /// Splits a step into items; may read the live system.
    pub async fn expand(&self, args: Value, cx: &ResolveContext) -> Result<Vec<Item>, ActionError> {
        (self.expand)(args, cx).await
    }

    /// Reads an inventory from the live system.
    pub async fn list(&self, args: Value, cx: &ResolveContext) -> Result<Vec<Value>, ActionError> {
        (self.list)(args, cx).await
    }

    /// Makes the work for one item; contacts nothing.
    pub fn make(&self, item: &JsonText, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(cx.registry.handed_out(self, (self.make)(item, cx)?))
    }
}
