//! The only file that names the template engine: one expression, evaluated within bounds.

use std::sync::LazyLock;

use minijinja::value::{Rest, Serde, ValueKind};
use minijinja::{
    Environment, Error, ErrorKind, Expression, UndefinedBehavior, Value as Engine, filters,
};
use serde_json::{Map, Number, Value};

use super::{Scope, TemplateError, Use, fault, syntax};
use crate::runbook::node::Span;
use crate::runbook::suggest;

/// Steps of the engine for one expression.
const FUEL: u64 = 50_000;
/// A longer expression is a program, and belongs elsewhere.
const LONGEST_EXPRESSION: usize = 1000;
/// The longest text that a template may produce.
pub(super) const LONGEST_TEXT: usize = 1024 * 1024;
/// The most values that a template may produce.
const MOST_VALUES: usize = 100_000;

/// All filters, for hints and the guide.
pub(crate) const FILTERS: [&str; 17] = [
    "default", "first", "float", "int", "join", "last", "length", "lower", "max", "min", "sort",
    "string", "times", "tojson", "trim", "unique", "upper",
];

static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(engine);

fn engine() -> Environment<'static> {
    let mut engine = Environment::empty();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_fuel(Some(FUEL));
    engine.add_filter("default", filters::default);
    engine.add_filter("first", filters::first);
    engine.add_filter("float", filters::float);
    engine.add_filter("int", filters::int);
    engine.add_filter("join", join);
    engine.add_filter("last", filters::last);
    engine.add_filter("length", filters::length);
    engine.add_filter("lower", filters::lower);
    engine.add_filter("max", filters::max);
    engine.add_filter("min", filters::min);
    engine.add_filter("sort", filters::sort);
    engine.add_filter("string", filters::string);
    engine.add_filter("times", times);
    engine.add_filter("tojson", tojson);
    engine.add_filter("trim", filters::trim);
    engine.add_filter("unique", filters::unique);
    engine.add_filter("upper", filters::upper);
    engine.add_test("defined", minijinja::tests::is_defined);
    engine.add_test("none", minijinja::tests::is_none);
    engine
}

fn too_long() -> Error {
    Error::new(ErrorKind::OutOfFuel, "the text becomes longer than 1 MiB")
}

/// Joins the elements of a list. The engine's own filter has no bound.
#[expect(clippy::needless_pass_by_value, reason = "the engine hands over its arguments")]
fn join(list: &Engine, separator: Rest<String>) -> Result<String, Error> {
    if list.kind() != ValueKind::Seq {
        return Err(Error::new(ErrorKind::InvalidOperation, "only a list can be joined"));
    }
    let separator = separator.first().map_or("", String::as_str);
    let mut joined = String::new();
    for (index, element) in list.try_iter()?.enumerate() {
        if index > 0 {
            joined.push_str(separator);
        }
        joined.push_str(&element.to_string());
        if joined.len() > LONGEST_TEXT {
            return Err(too_long());
        }
    }
    Ok(joined)
}

/// Compact JSON. The engine's own filter has no bound, and each use can double a text.
fn tojson(value: &Engine) -> Result<String, Error> {
    let json = convert(value, &mut 0)
        .map_err(|message| Error::new(ErrorKind::InvalidOperation, message))?;
    let text = json.to_string();
    if text.len() > LONGEST_TEXT { Err(too_long()) } else { Ok(text) }
}

/// Multiplication of numbers. The operator `*` also repeats texts and lists, up to 100 million times.
fn times(value: &Engine, factor: &Engine) -> Result<Engine, Error> {
    let wrong = || Error::new(ErrorKind::InvalidOperation, "only numbers can be multiplied");
    if let (Some(value), Some(factor)) = (value.as_i64(), factor.as_i64()) {
        return value
            .checked_mul(factor)
            .map(Engine::from)
            .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "the product is too large"));
    }
    let number = |value: &Engine| {
        value.is_number().then(|| f64::try_from(value.clone()).ok()).flatten().ok_or_else(wrong)
    };
    Ok(Engine::from(number(value)? * number(factor)?))
}

/// The names that an expression reads.
pub(super) fn uses(expression: &str, span: Span) -> Result<Use, TemplateError> {
    compile(expression, span).map(|(_, found)| found)
}

/// Reads an expression. The engine computes constants while it compiles, so what cannot be bounded is refused first.
fn compile(
    expression: &str,
    span: Span,
) -> Result<(Expression<'static, 'static>, Use), TemplateError> {
    bounded(expression, span)?;
    syntax::check(expression, span)?;
    let compiled = ENGINE
        .compile_expression_owned(expression.to_owned())
        .map_err(|error| explain(&error, expression, span))?;
    let mut names: Vec<String> = compiled.undeclared_variables(true).into_iter().collect();
    names.sort();
    Ok((compiled, Use { expression: expression.to_owned(), names, span }))
}

/// The value of an expression.
pub(super) fn evaluate(
    expression: &str,
    scope: &Scope,
    span: Span,
) -> Result<Value, TemplateError> {
    let (compiled, found) = compile(expression, span)?;
    let unknown = scope.unknown_of(&found.names);
    if !unknown.is_empty() {
        let message = format!("{} is not known before a run", suggest::listed(&refs(&unknown)));
        let mut error = fault("unevaluated", message, span).about(expression);
        error.unknown = unknown;
        return Err(error);
    }
    let value = compiled.eval(visible_to(&found, scope)).map_err(|error| match error.kind() {
        ErrorKind::UndefinedError => undefined(&found, scope),
        _ => explain(&error, expression, span),
    })?;
    if value.is_undefined() {
        return Err(undefined(&found, scope));
    }
    convert(&value, &mut 0)
        .map_err(|message| fault("template-type", message, span).about(expression))
}

/// The part of the scope that an expression names: handing over everything each time would be slow.
fn visible_to(found: &Use, scope: &Scope) -> Engine {
    let roots = found.names.iter().map(|name| name.split('.').next().unwrap_or(name));
    Engine::from_pairs(roots.filter_map(|root| {
        scope.values().get(root).map(|value| (root, Engine::from(Serde(value))))
    }))
}

fn refs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn undefined(found: &Use, scope: &Scope) -> TemplateError {
    let missing = found.names.iter().find(|name| !scope.knows(name));
    let message = match missing {
        Some(name) => format!("`{name}` is not defined"),
        None => format!("`{}` is not defined", found.expression),
    };
    let mut error = fault("unknown-name", message, found.span).about(&found.expression);
    if let Some(name) = missing {
        let (prefix, last) = name.rsplit_once('.').map_or(("", name.as_str()), |(p, l)| (p, l));
        if let Some(meant) = suggest::closest(last, scope.siblings(name)) {
            let dot = if prefix.is_empty() { "" } else { "." };
            error.hints.push(format!("did you mean `{prefix}{dot}{meant}`?"));
        }
    }
    error
}

/// Refuses what cannot be bounded while it runs.
fn bounded(expression: &str, span: Span) -> Result<(), TemplateError> {
    if expression.is_empty() {
        return Err(fault("template-syntax", "an empty `{{ }}`", span)
            .hint("Write a name between the braces, such as `{{ inputs.reason }}`."));
    }
    if expression.len() > LONGEST_EXPRESSION {
        let message = format!("an expression has at most {LONGEST_EXPRESSION} characters");
        return Err(fault("template-too-costly", message, span));
    }
    Ok(())
}

fn explain(error: &Error, expression: &str, span: Span) -> TemplateError {
    let detail = error.detail().unwrap_or_default();
    let (code, message) = match error.kind() {
        ErrorKind::OutOfFuel if detail.is_empty() => {
            ("template-too-costly", "the template takes too long".to_owned())
        }
        ErrorKind::OutOfFuel => ("template-too-costly", detail.to_owned()),
        ErrorKind::SyntaxError => {
            ("template-syntax", format!("the expression cannot be read: {detail}"))
        }
        kind if detail.is_empty() => ("template-type", kind.to_string()),
        _ => ("template-type", detail.to_owned()),
    };
    fault(code, message, span).about(expression)
}

/// The engine's value as JSON, refused where JSON would lie (infinite numbers) or grow without bound.
fn convert(value: &Engine, count: &mut usize) -> Result<Value, String> {
    *count += 1;
    if *count > MOST_VALUES {
        return Err(format!("the template produces more than {MOST_VALUES} values"));
    }
    Ok(match value.kind() {
        ValueKind::Undefined | ValueKind::None => Value::Null,
        ValueKind::Bool => Value::Bool(value.is_true()),
        ValueKind::Number => Value::Number(number(value)?),
        ValueKind::String => Value::String(value.as_str().unwrap_or_default().to_owned()),
        ValueKind::Seq | ValueKind::Iterable => {
            let mut list = Vec::new();
            for element in value.try_iter().map_err(|error| error.to_string())? {
                list.push(convert(&element, count)?);
            }
            Value::Array(list)
        }
        ValueKind::Map => {
            let mut map = Map::new();
            for key in value.try_iter().map_err(|error| error.to_string())? {
                let inner = value.get_item(&key).map_err(|error| error.to_string())?;
                let _none = map.insert(key.to_string(), convert(&inner, count)?);
            }
            Value::Object(map)
        }
        kind => return Err(format!("the template gives {kind}, which is not a value")),
    })
}

fn number(value: &Engine) -> Result<Number, String> {
    let too_large = || "the number is too large".to_owned();
    if value.is_integer() {
        return match (i64::try_from(value.clone()), u64::try_from(value.clone())) {
            (Ok(number), _) => Ok(number.into()),
            (_, Ok(number)) => Ok(number.into()),
            _ => Err(too_large()),
        };
    }
    let float = f64::try_from(value.clone()).map_err(|_| too_large())?;
    Number::from_f64(float).ok_or_else(too_large)
}
