//! Secrets by reference: values that may be used on the wire and shown nowhere.
//!
//! A reference (`{variable: NAME}`, `{file: PATH}`, `{command: [argv]}`) is read once, when the environment is loaded.
//! From then on templates, arguments, plans and the journal carry only an opaque [marker](Secrets::insert);
//! an adapter turns it into the value with [`Secrets::reveal`] at the last moment. Whatever comes back from
//! a system passes through [`Secrets::redact`], since a server may echo what it was sent.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// Private-use characters that no runbook, URL or header contains by accident.
const OPEN: char = '\u{E000}';
const CLOSE: char = '\u{E001}';

/// What stands in place of a secret in anything that people read.
pub const REDACTED: &str = "[secret]";

/// The secrets of one environment, by name.
#[derive(Default)]
pub struct Secrets {
    values: BTreeMap<String, SecretString>,
    missing: BTreeMap<String, String>,
}

/// A secret that is used and could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingSecret<'a> {
    /// Where the environment file refers to it: `values.api_token`.
    pub name: &'a str,
    /// Why it could not be read, as a lower-case fragment: `the variable API_TOKEN is not set`.
    pub reason: &'a str,
}

impl Secrets {
    /// Keeps a secret and returns the marker that stands for it.
    pub fn insert(&mut self, name: &str, value: SecretString) -> String {
        let _former = self.values.insert(name.to_owned(), value);
        marker(name)
    }

    /// Notes that a secret could not be read, and returns the marker that stands for it. Whoever uses
    /// that marker has to ask [`missing_in`](Self::missing_in) first.
    pub fn insert_missing(&mut self, name: &str, reason: String) -> String {
        let _former = self.missing.insert(name.to_owned(), reason);
        marker(name)
    }

    /// The first secret in a value that could not be read.
    pub fn missing_in(&self, value: &Value) -> Option<MissingSecret<'_>> {
        if self.missing.is_empty() {
            return None;
        }
        match value {
            Value::String(text) => self
                .missing
                .iter()
                .find(|(name, _)| text.contains(&marker(name)))
                .map(|(name, reason)| MissingSecret { name, reason }),
            Value::Array(values) => values.iter().find_map(|value| self.missing_in(value)),
            Value::Object(entries) => entries.values().find_map(|value| self.missing_in(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => None,
        }
    }

    /// Replaces every marker in `text` by its value. Unknown markers stay as they are.
    pub fn reveal(&self, text: &str) -> SecretString {
        let mut revealed = text.to_owned();
        for (name, value) in &self.values {
            revealed = revealed.replace(&marker(name), value.expose_secret());
        }
        revealed.into()
    }

    /// Replaces every marker and every known secret value in `text`, also in its usual encodings
    /// (percent-encoded, base64, JSON-escaped), by `[secret]`.
    pub fn redact(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for (name, value) in &self.values {
            clean = clean.replace(&marker(name), REDACTED);
            for form in spellings(value.expose_secret()) {
                if clean.contains(&form) {
                    clean = clean.replace(&form, REDACTED);
                }
            }
        }
        clean
    }
}

fn marker(name: &str) -> String {
    format!("{OPEN}{name}{CLOSE}")
}

/// Whether the text holds a marker, and so may not be used before it is revealed.
pub fn has_marker(text: &str) -> bool {
    text.contains(OPEN)
}

/// Shows markers as `[secret]`, for text that was never revealed.
pub fn hide_markers(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        shown.push_str(before);
        shown.push_str(REDACTED);
        rest = after.split_once(CLOSE).map_or("", |(_, tail)| tail);
    }
    shown.push_str(rest);
    shown
}

/// A secret as it may come back. Values shorter than four bytes would redact ordinary words.
fn spellings(value: &str) -> Vec<String> {
    if value.len() < 4 {
        return Vec::new();
    }
    let json = Value::from(value).to_string();
    let mut forms = vec![
        value.to_owned(),
        json[1..json.len() - 1].to_owned(),
        percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC)
            .to_string(),
        BASE64_STANDARD_NO_PAD.encode(value),
    ];
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.dedup();
    forms
}
