//! Asks the conditions of a table, all at once.
//!
//! Each is a probe of the registry, asked once and by a deadline. What cannot be asked, errs or is late is *no data*: it neither fires nor
//! is quiet, and a decision says so.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lint::LOOKING_BACK;
use super::model::{Table, Trigger};
use crate::action::{ActionError, Answer, ErrorKind, Probe, ResolveContext, StepContext, Work};
use crate::runbook::template::{self, Scope};
use crate::value::{Lasting, brief};

/// The longest name that is taken from an answer.
const LONGEST_NAME: usize = 100;
/// The id that stands for a run while there is none.
const NO_RUN: &str = "decide";

/// What was found of a trigger.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reading {
    /// The trigger's id.
    pub trigger: String,
    /// What was asked, in words; empty when it could not even be put.
    pub asked: String,
    /// What was answered.
    #[serde(flatten)]
    pub state: State,
}

/// Whether a trigger fires.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// Its condition holds.
    Firing {
        /// The values that show it.
        observed: String,
        /// What its runbook is for, where the trigger says how the answer tells it.
        #[serde(skip_serializing_if = "Option::is_none")]
        argument: Option<String>,
    },
    /// Its condition does not hold.
    Quiet {
        /// The values that show it.
        observed: String,
    },
    /// Nobody knows.
    NoData {
        /// Why not.
        reason: String,
        /// What a person can do about it, in sentences.
        hints: Vec<String>,
    },
}

impl State {
    fn unknown(error: ActionError) -> Self {
        let texts: Vec<&str> =
            std::iter::once(&error.message).chain(&error.causes).map(String::as_str).collect();
        Self::NoData { reason: format!("failed to {}", texts.join(": ")), hints: error.hints }
    }
}

/// Reads every trigger of a table; `environment` is what its templates read as `environment.…`, and `patience` the time for all of them.
pub async fn evaluate(
    table: &Table,
    environment: &Value,
    resolve: &Arc<ResolveContext>,
    patience: Duration,
) -> Vec<Reading> {
    let scope = Scope::new().with_environment(environment.clone());
    let asker = Asker { scope, resolve, deadline: Instant::now() + patience, patience };
    join_all(table.triggers.iter().map(|trigger| asker.read(trigger))).await
}

struct Asker<'a> {
    scope: Scope,
    resolve: &'a Arc<ResolveContext>,
    deadline: Instant,
    patience: Duration,
}

impl Asker<'_> {
    async fn read(&self, trigger: &Trigger) -> Reading {
        let reading = async {
            let probes = self.probes(trigger).await?;
            let asked: Vec<String> = probes.iter().map(|probe| probe.describe().apply).collect();
            let cx = StepContext::new(
                self.deadline,
                CancellationToken::new(),
                std::env::temp_dir(),
                NO_RUN,
            );
            let answers = join_all(probes.iter().map(|probe| probe.answer(&cx))).await;
            Ok((asked.join(", "), combined(answers, trigger.argument.as_deref())))
        };
        let late = || {
            let time = brief(self.patience);
            Err(ActionError::new(ErrorKind::TimedOut, format!("get an answer within {time}")))
        };
        let read = tokio::time::timeout_at(self.deadline, reading).await;
        let (asked, state) = read
            .unwrap_or_else(|_| late())
            .unwrap_or_else(|error: ActionError| (String::new(), State::unknown(error)));
        Reading { trigger: trigger.id.clone(), asked, state }
    }

    /// The probes of a condition: one, or one for each thing that its verb finds.
    async fn probes(&self, trigger: &Trigger) -> Result<Vec<Box<dyn Probe>>, ActionError> {
        let call = &trigger.condition;
        let invalid = |text: String| ActionError::new(ErrorKind::Invalid, text);
        let verb = self
            .resolve
            .registry
            .verb(&call.verb)
            .ok_or_else(|| invalid(format!("find the probe `{}`", call.verb)))?;
        let mut args = template::evaluate(&call.args, &self.scope).map_err(|error| {
            let mut told = invalid(format!("evaluate the condition: {error}"));
            told.hints = error.hints;
            told.hint("The environment file has what is read as `environment.…` under `values:`.")
        })?;
        if let Some(missing) = self.resolve.connections.secrets().missing_in(&args) {
            return Err(invalid(format!("read the secret `{}`: {}", missing.name, missing.reason)));
        }
        if let (Some(time), Value::Object(args)) = (trigger.sustained_for, &mut args) {
            let time = serde_json::to_value(Lasting(time)).unwrap_or_default();
            let _none = args.insert(LOOKING_BACK.to_owned(), time);
        }
        (verb.validate)(args.clone())
            .map_err(|problem| invalid(format!("use `{}`: {problem}", verb.name)))?;
        let items = verb.expand(args, self.resolve).await?;
        let made = items.iter().map(|item| match verb.make(&item.args, self.resolve)? {
            Work::Probe(probe) => Ok(probe),
            Work::Action(_) | Work::Manual(_) | Work::Later(_) | Work::Hold(_) => {
                Err(invalid(format!("use `{}` as a question to a system", verb.name)))
            }
        });
        made.collect()
    }
}

/// What the answers of one condition come to: it fires where any of them does, and is quiet where all are. `label` is that of the answer which
/// says what a runbook is for.
fn combined(answers: Vec<Result<Answer, ActionError>>, label: Option<&str>) -> State {
    let (mut firing, mut quiet, mut unknown) = (Vec::new(), Vec::new(), None);
    let mut named = Vec::new();
    for answer in answers {
        match answer {
            Ok(Answer::Yes { evidence }) => {
                let name = label.and_then(|label| evidence.facts["labels"][label].as_str());
                named.push(name.filter(|name| is_plain(name)).map(str::to_owned));
                firing.push(evidence.summary);
            }
            Ok(Answer::No { observed }) => quiet.push(observed),
            Ok(Answer::NoData { reason }) => {
                let state = State::NoData { reason, hints: Vec::new() };
                unknown = unknown.or(Some(state));
            }
            Err(error) => unknown = unknown.or(Some(State::unknown(error))),
        }
    }
    // A command for one of two would hide the other: a person chooses.
    named.dedup();
    let argument = match named.as_slice() {
        [one] => one.clone(),
        _ => None,
    };
    match (firing.is_empty(), unknown) {
        (false, _) => State::Firing { observed: firing.join(", "), argument },
        (true, Some(unknown)) => unknown,
        (true, None) if quiet.is_empty() => {
            let reason = "the condition asks about nothing".to_owned();
            State::NoData { reason, hints: Vec::new() }
        }
        (true, None) => State::Quiet { observed: quiet.join(", ") },
    }
}

/// Whether a name that a remote system gave may stand in a command that is pasted into a shell: no option, nothing to be quoted.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.len() <= LONGEST_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::action::Evidence;

    #[test]
    fn a_name_in_the_answer_is_taken_when_it_is_nothing_but_a_name() {
        let named = |name: Value| {
            let evidence = Evidence::with("it is down", json!({"labels": {"part": name}}));
            match combined(vec![Ok(Answer::Yes { evidence })], Some("part")) {
                State::Firing { argument, .. } => argument,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(named(json!("finance-ssc-expert")).as_deref(), Some("finance-ssc-expert"));
        let long = "x".repeat(LONGEST_NAME + 1);
        for bad in
            ["", "-x", "--yes", "a b", "$(id)", "a;b", "a'b", "a\u{1b}[2J", "\u{202e}a", &long]
        {
            assert_eq!(named(json!(bad)), None, "{bad:?}");
        }
        assert_eq!(named(json!(7)), None);
    }

    #[test]
    fn of_two_names_none_is_taken() {
        let named = |names: &[&str]| {
            let answer = |name: &&str| {
                let facts = json!({"labels": {"part": name}});
                Ok(Answer::Yes { evidence: Evidence::with("it is down", facts) })
            };
            match combined(names.iter().map(answer).collect(), Some("part")) {
                State::Firing { argument, .. } => argument,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(named(&["a", "a"]).as_deref(), Some("a"));
        assert_eq!(named(&["a", "b"]), None);
        assert_eq!(named(&["$(id)", "b"]), None);
    }

    #[test]
    fn one_firing_part_is_enough_and_silence_needs_all() {
        let yes = || Ok(Answer::Yes { evidence: Evidence::new("a is down") });
        let no = || Ok(Answer::No { observed: "b is up".into() });
        let unknown = || Ok(Answer::NoData { reason: "c is gone".into() });
        let failed = || Err(ActionError::new(ErrorKind::Unreachable, "reach d"));
        let state = |answers| match combined(answers, None) {
            State::Firing { observed, .. } => ('f', observed),
            State::Quiet { observed } => ('q', observed),
            State::NoData { reason, .. } => ('?', reason),
        };
        assert_eq!(state(vec![no(), yes(), unknown(), failed()]), ('f', "a is down".into()));
        assert_eq!(state(vec![no(), unknown(), failed()]), ('?', "c is gone".into()));
        assert_eq!(state(vec![no(), failed()]), ('?', "failed to reach d".into()));
        assert_eq!(state(vec![no(), no()]), ('q', "b is up, b is up".into()));
        assert_eq!(state(vec![]).0, '?');
    }
}
