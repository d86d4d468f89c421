//! Templates: expressions in `{{ }}`, evaluated after the YAML is parsed, value by value.
//!
//! A text that is exactly one `{{ }}` keeps the type of its expression; mixed text is a text. Undefined names are
//! errors. There are no statements, loops, loaders or functions, every evaluation has a fuel limit, and what a filter
//! may produce is bounded, so that evaluation always ends, quickly and in little memory. Secrets are opaque
//! [markers](crate::secret) here.

mod engine;
mod scope;
mod syntax;
mod text;

use serde_json::{Map, Value};

use super::diagnostic::Diagnostic;
use super::node::{Node, NodeValue, Span};
use text::Part;

#[cfg(test)]
pub(crate) use engine::FILTERS;
pub use scope::Scope;

/// Why a template has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// A stable name, as in [`Diagnostic::code`].
    pub code: &'static str,
    /// A lower-case fragment.
    pub message: String,
    /// The place of the text that holds the template.
    pub span: Span,
    /// The expression, for a more exact place; empty for the whole text.
    pub expression: Box<str>,
    /// What to do.
    pub hints: Vec<String>,
    /// The names whose values are not known yet, when that is the only reason.
    pub unknown: Vec<String>,
}

impl TemplateError {
    /// Whether the template is fine and only waits for values that a run will have.
    pub fn is_unevaluated(&self) -> bool {
        !self.unknown.is_empty()
    }
}

impl From<TemplateError> for Diagnostic {
    fn from(error: TemplateError) -> Self {
        let mut found = Self::error(error.code, error.message).at(error.span);
        found.hints = error.hints;
        found
    }
}

/// An expression inside `{{ }}` (or a bare one, of `when`), with the names it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The expression.
    pub expression: String,
    /// Dotted names, such as `inputs.agents`, sorted.
    pub names: Vec<String>,
    /// The place of the text that holds it.
    pub span: Span,
}

/// Evaluates every template in a value.
///
/// # Errors
/// The first template that has no value, with its place.
pub fn evaluate(node: &Node, scope: &Scope) -> Result<Value, TemplateError> {
    Ok(match &node.value {
        NodeValue::Text(text) => evaluate_text(text, node.span, scope)?,
        NodeValue::List(items) => {
            items.iter().map(|item| evaluate(item, scope)).collect::<Result<_, _>>()?
        }
        NodeValue::Map(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let _none = map.insert(key.name.clone(), evaluate(value, scope)?);
            }
            Value::Object(map)
        }
        _ => node.to_json(),
    })
}

/// Evaluates the condition of a `when`: a truth value, a bare expression, or one `{{ }}`.
///
/// # Errors
/// As [`evaluate`], and a value that is neither true nor false.
pub fn condition(node: &Node, scope: &Scope) -> Result<bool, TemplateError> {
    let value = match &node.value {
        NodeValue::Bool(value) => return Ok(*value),
        NodeValue::Text(text) if !text::has_template(text) => {
            engine::evaluate(text, scope, node.span)?
        }
        _ => evaluate(node, scope)?,
    };
    value.as_bool().ok_or_else(|| {
        let message = format!("a condition must give true or false, not {}", kind_of(&value));
        fault("condition-not-boolean", message, node.span)
            .hint("Compare it, as in `inputs.stage == \"canary\"` or `inputs.agents | length > 0`.")
    })
}

/// The expressions of every template in a value.
///
/// # Errors
/// Every template whose syntax is wrong.
pub fn uses(node: &Node) -> Result<Vec<Use>, Vec<TemplateError>> {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    collect(node, &mut found, &mut problems);
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

/// The expressions of a `when`.
///
/// # Errors
/// As [`uses`].
pub fn condition_uses(node: &Node) -> Result<Vec<Use>, Vec<TemplateError>> {
    match node.as_text() {
        Some(text) if !text::has_template(text) => {
            engine::uses(text, node.span).map(|found| vec![found]).map_err(|error| vec![error])
        }
        _ => uses(node),
    }
}

/// Whether a text holds a template.
pub fn is_template(text: &str) -> bool {
    text::has_template(text)
}

fn collect(node: &Node, found: &mut Vec<Use>, problems: &mut Vec<TemplateError>) {
    match &node.value {
        NodeValue::Text(text) if text::has_template(text) => match text::split(text, node.span) {
            Err(error) => problems.push(error),
            Ok(parts) => {
                for part in parts {
                    if let Part::Expression(expression) = part {
                        match engine::uses(expression, node.span) {
                            Ok(one) => found.push(one),
                            Err(error) => problems.push(error),
                        }
                    }
                }
            }
        },
        NodeValue::List(items) => items.iter().for_each(|item| collect(item, found, problems)),
        NodeValue::Map(entries) => {
            for (_, value) in entries {
                collect(value, found, problems);
            }
        }
        _ => {}
    }
}

fn evaluate_text(text: &str, span: Span, scope: &Scope) -> Result<Value, TemplateError> {
    if !text::has_template(text) {
        return Ok(Value::String(text.to_owned()));
    }
    let parts = text::split(text, span)?;
    if let [Part::Expression(expression)] = parts.as_slice() {
        return engine::evaluate(expression, scope, span);
    }
    let mut whole = String::new();
    for part in parts {
        match part {
            Part::Literal(text) => whole.push_str(text),
            Part::Expression(expression) => {
                whole.push_str(&as_text(
                    engine::evaluate(expression, scope, span)?,
                    expression,
                    span,
                )?);
            }
        }
        if whole.len() > engine::LONGEST_TEXT {
            return Err(fault("template-too-costly", "the text becomes longer than 1 MiB", span));
        }
    }
    Ok(Value::String(whole))
}

/// A value inside a longer text. Lists have no obvious spelling there, and nothing is not a text.
fn as_text(value: Value, expression: &str, span: Span) -> Result<String, TemplateError> {
    match value {
        Value::String(text) => Ok(text),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            let message = format!("{} cannot stand inside a text", kind_of(&value));
            Err(fault("template-type", message, span)
                .about(expression)
                .hint("Give it a spelling with `| join(\", \")` or `| tojson`."))
        }
    }
}

/// A value's kind as people say it.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn fault(code: &'static str, message: impl Into<String>, span: Span) -> TemplateError {
    TemplateError {
        code,
        message: message.into(),
        span,
        expression: Box::default(),
        hints: Vec::new(),
        unknown: Vec::new(),
    }
}

impl TemplateError {
    fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(text.into());
        self
    }

    fn about(mut self, expression: &str) -> Self {
        self.expression = expression.into();
        self
    }
}

#[cfg(test)]
mod tests;
