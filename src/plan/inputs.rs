//! Inputs: where their values come from, and whether they are what the runbook declares.
//!
//! The first of these that has a value wins: `--set`, an input file, the environment's `inputs`, the inventory of a system
//! (`from`), the declared default. What is needed and missing becomes a [`Question`] for the caller: asked on a
//! terminal, else an error.

use std::str::FromStr as _;
use std::time::Duration;

use futures_util::future::join_all;
use indexmap::IndexMap;
use serde_json::Value;
use tokio::time::Instant;

use super::Concern;
use crate::action::{ActionError, ErrorKind, ResolveContext};
use crate::runbook::template::{self, Scope};
use crate::runbook::{Input, InputType, Runbook};
use crate::secret::has_marker;
use crate::value::Lasting;

/// How long the inventories may take together.
const INVENTORY_TIMEOUT: Duration = Duration::from_secs(5);

/// What people gave.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// `--set KEY=VALUE`, as text; the last of a key wins.
    pub flags: Vec<(String, String)>,
    /// The values of an input file.
    pub file: IndexMap<String, Value>,
    /// The environment's `inputs`.
    pub environment: IndexMap<String, Value>,
    /// The environment's `values`, for templates in defaults and inventories.
    pub values: Value,
}

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `--set`, or an answer on the terminal.
    Flag,
    /// The input file.
    File,
    /// The environment.
    Environment,
    /// A live system.
    Inventory,
    /// The declared default.
    Default,
}

/// A value that only a person can give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The input's name.
    pub input: String,
    /// The question.
    pub prompt: String,
    /// The type of the answer.
    pub kind: InputType,
    /// The allowed answers, when there are only some.
    pub choices: Vec<String>,
}

/// The inputs of a run, as far as they could be resolved.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The values, in the order of the runbook.
    pub values: IndexMap<String, Value>,
    /// Where each value came from.
    pub origins: IndexMap<String, Origin>,
    /// What has to be asked.
    pub questions: Vec<Question>,
    /// Inputs whose inventory could not be read, and why. A step that needs one cannot be planned.
    pub unread: IndexMap<String, ActionError>,
    /// What is wrong with given values: exit code 2.
    pub problems: Vec<Concern>,
}

impl Inputs {
    /// Takes an answer to a question.
    ///
    /// # Errors
    /// The answer is not what the runbook declares; a fragment such as "`x` is not a whole number".
    pub fn answer(&mut self, runbook: &Runbook, name: &str, answer: &str) -> Result<(), String> {
        let input = runbook.inputs.get(name).ok_or_else(|| format!("`{name}` is not an input"))?;
        let value = parse(input.kind, answer).and_then(|value| check(input, value))?;
        self.questions.retain(|question| question.input != name);
        self.keep(name, value, Origin::Flag);
        // Whatever depends on the order of the runbook sees it.
        self.values.sort_by_key(|name, _| runbook.inputs.get_index_of(name));
        Ok(())
    }

    fn keep(&mut self, name: &str, value: Value, origin: Origin) {
        let _former = self.values.insert(name.to_owned(), value);
        let _former = self.origins.insert(name.to_owned(), origin);
    }
}

/// Splits `KEY=VALUE`.
///
/// # Errors
/// There is no `=`, or nothing before it.
pub fn split_flag(flag: &str) -> Result<(String, String), String> {
    match flag.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err(format!("`{flag}` is not KEY=VALUE")),
    }
}

/// Resolves all inputs of a runbook; inventories are read at the same time.
pub async fn resolve(runbook: &Runbook, given: &Given, cx: &ResolveContext) -> Inputs {
    let mut inputs = Inputs::default();
    unknown_names(runbook, given, &mut inputs);
    let scope = Scope::new().with_environment(given.values.clone());
    let deadline = Instant::now() + INVENTORY_TIMEOUT;
    let live = runbook.inputs.iter().map(|(name, input)| {
        let needed = input.from.is_some() && direct(name, given).is_none();
        let scope = &scope;
        async move { if needed { Some(list(input, scope, cx, deadline).await) } else { None } }
    });
    let live = join_all(live).await;
    for ((name, input), live) in runbook.inputs.iter().zip(live) {
        one(name, input, given, &scope, live, &mut inputs);
    }
    inputs
}

/// A name that the runbook does not declare is a typing error when a person gave it. The environment serves
/// several runbooks, so what one of them does not know is fine there.
fn unknown_names(runbook: &Runbook, given: &Given, inputs: &mut Inputs) {
    let names = given.flags.iter().map(|(name, _)| name).chain(given.file.keys());
    for name in names.filter(|name| !runbook.inputs.contains_key(*name)) {
        let mut error = invalid(format!("set `{name}`: the runbook has no such input"));
        error
            .hints
            .extend(crate::runbook::suggest::hint(name, runbook.inputs.keys().map(String::as_str)));
        inputs.problems.push(Concern::input(name, error));
    }
}

fn direct(name: &str, given: &Given) -> Option<Origin> {
    if given.flags.iter().any(|(key, _)| key == name) {
        Some(Origin::Flag)
    } else if given.file.contains_key(name) {
        Some(Origin::File)
    } else if given.environment.contains_key(name) {
        Some(Origin::Environment)
    } else {
        None
    }
}

fn one(
    name: &str,
    input: &Input,
    given: &Given,
    scope: &Scope,
    live: Option<Result<Vec<Value>, ActionError>>,
    inputs: &mut Inputs,
) {
    let flag = given.flags.iter().rev().find(|(key, _)| key == name).map(|(_, text)| text);
    let (value, origin) = match (direct(name, given), live) {
        (Some(Origin::Flag), _) => {
            (parse(input.kind, flag.map_or("", String::as_str)), Origin::Flag)
        }
        (Some(Origin::File), _) => (Ok(given.file[name].clone()), Origin::File),
        (Some(_), _) => (Ok(given.environment[name].clone()), Origin::Environment),
        (None, Some(Ok(list))) => (Ok(Value::Array(list)), Origin::Inventory),
        (None, Some(Err(error))) => {
            let _former = inputs.unread.insert(name.to_owned(), error);
            return;
        }
        (None, None) => match &input.default {
            Some(default) => {
                let value = template::evaluate(default, scope).map_err(|error| error.message);
                (value, Origin::Default)
            }
            None => return ask(name, input, inputs),
        },
    };
    match value.and_then(|value| check(input, value)) {
        Ok(value) => inputs.keep(name, value, origin),
        // An inventory that is too short is the system's state, not a person's mistake.
        Err(message) if origin == Origin::Inventory => {
            let error =
                ActionError::new(ErrorKind::NotFound, format!("use the inventory: {message}"))
                    .hint(format!("Look at the system, or give the list with `--set {name}=a,b`."));
            let _former = inputs.unread.insert(name.to_owned(), error);
        }
        Err(message) => {
            let error = invalid(format!("set `{name}`: {message}"));
            inputs.problems.push(Concern::input(name, error));
        }
    }
}

fn ask(name: &str, input: &Input, inputs: &mut Inputs) {
    if !input.required {
        // It stays undefined: templates that read it need `| default(…)`.
        return;
    }
    inputs.questions.push(Question {
        input: name.to_owned(),
        prompt: input.prompt.clone().unwrap_or_else(|| format!("Value for `{name}`?")),
        kind: input.kind,
        choices: input.one_of.iter().flatten().map(shown).collect(),
    });
}

async fn list(
    input: &Input,
    scope: &Scope,
    cx: &ResolveContext,
    deadline: Instant,
) -> Result<Vec<Value>, ActionError> {
    let Some((verb, args)) = &input.from else { return Ok(Vec::new()) };
    let inventory = cx
        .registry
        .verb(verb)
        .ok_or_else(|| invalid(format!("read the inventory `{verb}`: there is no such verb")))?;
    let args = template::evaluate(args, scope).map_err(|error| invalid(error.message))?;
    if let Some(missing) = cx.connections.secrets().missing_in(&args) {
        return Err(invalid(format!("read the secret `{}`: {}", missing.name, missing.reason)));
    }
    let read = tokio::time::timeout_at(deadline, inventory.list(args, cx)).await;
    let list = read.unwrap_or_else(|_| {
        let message =
            format!("read the inventory `{verb}` within {} s", INVENTORY_TIMEOUT.as_secs());
        Err(ActionError::new(ErrorKind::TimedOut, message))
    })?;
    if list.is_empty() {
        return Err(ActionError::new(
            ErrorKind::NotFound,
            format!("find anything in the inventory `{verb}`: it is empty"),
        )
        .hint("Check its selection, and that the environment is the right one."));
    }
    Ok(list)
}

/// Reads a text as a value of a type.
///
/// # Errors
/// A fragment that says what the text is not.
pub fn parse(kind: InputType, text: &str) -> Result<Value, String> {
    let not = |what: &str| format!("`{text}` is not {what}");
    match kind {
        InputType::String => Ok(text.into()),
        InputType::Integer => {
            text.trim().parse::<i64>().map(Value::from).map_err(|_| not("a whole number"))
        }
        InputType::Number => text
            .trim()
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map(Value::Number)
            .ok_or_else(|| not("a number")),
        InputType::Boolean => match text.trim() {
            "true" => Ok(true.into()),
            "false" => Ok(false.into()),
            _ => Err(not("`true` or `false`")),
        },
        InputType::Duration => {
            Lasting::from_str(text).map(|_| text.trim().into()).map_err(|error| error.to_string())
        }
        InputType::List if text.trim_start().starts_with('[') => {
            serde_json::from_str(text).map_err(|error| format!("{}: {error}", not("a JSON list")))
        }
        InputType::List => Ok(text
            .split(',')
            .map(str::trim)
            .filter(|element| !element.is_empty())
            .map(Value::from)
            .collect()),
    }
}

/// Whether a value is what an input declares.
fn check(input: &Input, value: Value) -> Result<Value, String> {
    let fits = match (input.kind, &value) {
        (InputType::String, Value::String(_))
        | (InputType::Number, Value::Number(_))
        | (InputType::Boolean, Value::Bool(_)) => true,
        (InputType::Integer, Value::Number(number)) => number.is_i64() || number.is_u64(),
        (InputType::List, Value::Array(elements)) => {
            if let Some(element) = elements.iter().find(|element| !element.is_string()) {
                return Err(format!("the element {element} of the list is not a text"));
            }
            true
        }
        (InputType::Duration, Value::String(text)) => {
            let _duration = Lasting::from_str(text).map_err(|error| error.to_string())?;
            true
        }
        _ => false,
    };
    if !fits {
        return Err(format!("{} is not {}", shown(&value), described(input.kind)));
    }
    if let (Some(least), Value::Array(elements)) = (input.at_least, &value)
        && elements.len() < least
    {
        return Err(format!(
            "the list has {} elements, at least {least} are needed",
            elements.len()
        ));
    }
    let allowed = input.one_of.as_deref().unwrap_or_default();
    if !allowed.is_empty() && !allowed.contains(&value) {
        let allowed: Vec<String> = allowed.iter().map(shown).collect();
        return Err(format!("{} is not one of {}", shown(&value), allowed.join(", ")));
    }
    Ok(value)
}

fn described(kind: InputType) -> &'static str {
    match kind {
        InputType::String => "a text",
        InputType::Integer => "a whole number",
        InputType::Number => "a number",
        InputType::Boolean => "`true` or `false`",
        InputType::List => "a list",
        InputType::Duration => "a duration such as `30s`",
    }
}

/// A value as people write it; secrets stay hidden.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if has_marker(text) => crate::secret::hide_markers(text),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn invalid(message: String) -> ActionError {
    ActionError::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests;
