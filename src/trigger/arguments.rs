//! What a probe says offline about the arguments of a condition.
//!
//! A text that only an environment knows, such as a query, is stood in for. Where another kind of value is not known yet, nothing can be said.

use serde_json::{Map, Value};

use super::lint::LOOKING_BACK;
use super::model::{Table, Trigger};
use crate::runbook::diagnostic::Diagnostic;
use crate::runbook::node::{Node, NodeValue};
use crate::runbook::schema::Catalog;
use crate::runbook::template::{self, Scope};
use crate::value::Lasting;

/// What stands for a text that is not known yet.
const STAND_IN: &str = "environment";

/// Lets each verb judge its arguments.
pub(super) fn check(table: &Table, catalog: &Catalog<'_>, problems: &mut Vec<Diagnostic>) {
    for trigger in &table.triggers {
        let verb = catalog.verb(&trigger.condition.verb);
        let Some((verb, arguments)) = verb.zip(known(trigger, catalog)) else { continue };
        if let Err(message) = (verb.validate)(arguments) {
            problems.push(
                Diagnostic::error("invalid-arguments", format!("`{}`: {message}", verb.name))
                    .at(trigger.condition.span),
            );
        }
    }
}

/// The arguments as far as they are known; `None` when too little is.
fn known(trigger: &Trigger, catalog: &Catalog<'_>) -> Option<Value> {
    let NodeValue::Map(entries) = &trigger.condition.args.value else { return None };
    let schema = catalog.resolve(catalog.arguments(&trigger.condition.verb)?);
    let mut arguments = Map::new();
    for (key, node) in entries {
        let schema = schema["properties"].get(&key.name).map(|schema| catalog.resolve(schema));
        let _none = arguments.insert(key.name.clone(), value(node, schema)?);
    }
    // That a verb has no such argument is told by another lint.
    if let (Some(time), Some(_)) = (trigger.sustained_for, schema["properties"].get(LOOKING_BACK)) {
        let _none =
            arguments.insert(LOOKING_BACK.to_owned(), serde_json::to_value(Lasting(time)).ok()?);
    }
    Some(Value::Object(arguments))
}

fn value(node: &Node, schema: Option<&Value>) -> Option<Value> {
    match template::evaluate(node, &Scope::new().with_unknown(STAND_IN)) {
        Ok(value) => Some(value),
        Err(error) => {
            let free_text = schema
                .is_some_and(|schema| schema["type"] == "string" && schema.get("format").is_none());
            (error.is_unevaluated() && free_text).then(|| STAND_IN.into())
        }
    }
}
