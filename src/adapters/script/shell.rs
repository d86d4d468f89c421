//! `script.shell`: the same as `script.run`, for lines that need a shell.
//!
//! The text runs as `/bin/sh -euc TEXT` and is fixed in the runbook: values reach it only as variables, so that no
//! input can become code.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::action::ScriptItem;
use super::run::RunArgs;
use crate::action::{ActionError, ResolveContext, VerbArgs, VerbKind, Work};

const SHELL: [&str; 2] = ["/bin/sh", "-euc"];

/// The keys of `script.run` that make no sense with a shell.
const NOT_HERE: [&str; 2] = ["argv", "sha256"];

/// Runs lines in a shell.
#[derive(Debug)]
pub(super) struct ShellArgs(RunArgs);

impl<'de> Deserialize<'de> for ShellArgs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut args = Map::<String, Value>::deserialize(from)?;
        if let Some(key) = NOT_HERE.into_iter().find(|key| args.contains_key(*key)) {
            return Err(D::Error::custom(format!("unknown field `{key}`")));
        }
        let run = match args.remove("run") {
            Some(Value::String(run)) => run,
            Some(_) => return Err(D::Error::custom("`run` must be text")),
            None => return Err(D::Error::missing_field("run")),
        };
        let _former = args.insert("argv".into(), json!([SHELL[0], SHELL[1], run]));
        serde_json::from_value(Value::Object(args)).map(Self).map_err(D::Error::custom)
    }
}

impl JsonSchema for ShellArgs {
    fn schema_name() -> Cow<'static, str> {
        "ShellArgs".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = RunArgs::json_schema(generator);
        let _former = schema.insert("description".into(), "Runs lines in a shell".into());
        let _former = schema.insert("required".into(), json!(["run"]));
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            for key in NOT_HERE {
                let _former = properties.remove(key);
            }
            let run = json!({
                "type": "string",
                "minLength": 1,
                "description": "The lines for `/bin/sh -eu`. No templates: values come as variables from `env`.",
                "x-rollback": "no-template"
            });
            let _former = properties.insert("run".into(), run);
        }
        schema
    }
}

#[async_trait]
impl VerbArgs for ShellArgs {
    const NAME: &'static str = "script.shell";
    const SUMMARY: &'static str = "Runs lines in a shell; values only through `env`";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = RunArgs::TIMEOUT;
    type Item = ScriptItem;

    fn validate(&self) -> Result<(), String> {
        let run = self.0.argv.last().map_or("", String::as_str);
        if run.trim().is_empty() {
            return Err("`run` is empty".into());
        }
        if ["{{", "{%", "{#"].iter().any(|open| run.contains(open)) {
            return Err("`run` holds a template; pass the value as a variable: `env: {NAME: \"{{ … }}\"}`, \
                        then write \"$NAME\""
                .into());
        }
        self.0.validate().map_err(|problem| problem.replace("`argv`", "`run`"))
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, ScriptItem)>, ActionError> {
        self.0.expand(cx).await
    }

    fn make(item: ScriptItem, cx: &ResolveContext) -> Result<Work, ActionError> {
        RunArgs::make(item, cx)
    }
}
