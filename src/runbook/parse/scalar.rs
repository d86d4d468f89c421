//! What an unquoted scalar means: the core schema of YAML 1.2 (section 10.3.2), narrowed where it surprises.
//!
//! `on`, `yes` and `012` are texts, and so are `0x1F` and `0o17`. Numbers that no type here can hold are refused rather than rounded.

use serde_json::Number;

use crate::runbook::node::NodeValue;

/// The value of an unquoted scalar.
pub(super) fn resolve(text: &str) -> Result<NodeValue, String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => NodeValue::Null,
        "true" | "True" | "TRUE" => NodeValue::Bool(true),
        "false" | "False" | "FALSE" => NodeValue::Bool(false),
        _ if is_special_float(text) => {
            return Err(format!("`{text}` is not a number to count with"));
        }
        _ => match kind(text) {
            Kind::Text => NodeValue::Text(text.to_owned()),
            Kind::Integer => NodeValue::Number(integer(text)?),
            Kind::Float => NodeValue::Number(float(text)?),
        },
    })
}

enum Kind {
    Text,
    Integer,
    Float,
}

fn is_special_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN")
}

/// `[-+]? [0-9]+` or `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`, without leading zeros.
fn kind(text: &str) -> Kind {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        let unsigned = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !unsigned.is_empty() && digits(unsigned)
    });
    let some_digit = !whole.is_empty() || fraction.is_some_and(|fraction| !fraction.is_empty());
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    let numeric = digits(whole) && fraction.is_none_or(digits) && exponent_fits && some_digit;
    match (numeric && !leading_zero, fraction.is_some() || exponent.is_some()) {
        (false, _) => Kind::Text,
        (true, false) => Kind::Integer,
        (true, true) => Kind::Float,
    }
}

fn integer(text: &str) -> Result<Number, String> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    unsigned
        .parse::<u64>()
        .map(Number::from)
        .or_else(|_| unsigned.parse::<i64>().map(Number::from))
        .map_err(|_| "the number is too large".to_owned())
}

fn float(text: &str) -> Result<Number, String> {
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    Number::from_f64(value).ok_or_else(|| "the number is too large".to_owned())
}
