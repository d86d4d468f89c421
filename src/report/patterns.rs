//! Patterns of failures: what is looked for in logs, and how often it is found.

use std::collections::BTreeMap;

use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::Value;

/// The most memory that one expression may take.
const LARGEST: usize = 1 << 20;

/// What a failure looks like.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Look {
    /// This text, whatever its case.
    Text(String),
    /// This regular expression.
    Expression(Expression),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expression {
    regex: String,
}

/// Named patterns.
#[derive(Debug, Default)]
pub struct Patterns(BTreeMap<String, Regex>);

impl Patterns {
    /// Patterns as an environment declares them: `{name: text}`, or `{name: {regex: …}}`.
    ///
    /// # Errors
    /// What is no pattern, as a sentence.
    pub fn read(declared: Value) -> Result<Self, String> {
        if declared.is_null() {
            return Ok(Self::default());
        }
        let declared: BTreeMap<String, Look> = serde_json::from_value(declared)
            .map_err(|error| format!("failed to read the patterns: {error}"))?;
        let compiled = declared.into_iter().map(|(name, look)| {
            let text = match look {
                Look::Text(text) => format!("(?i){}", regex::escape(&text)),
                Look::Expression(Expression { regex }) => regex,
            };
            let expression = RegexBuilder::new(&text).size_limit(LARGEST).build();
            let expression = expression
                .map_err(|error| format!("failed to read the pattern `{name}`: {error}"))?;
            Ok((name, expression))
        });
        compiled.collect::<Result<_, _>>().map(Self)
    }

    /// How many lines of each piece each pattern is found in. What is found nowhere is left out.
    pub fn count<'a>(
        &self,
        pieces: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> BTreeMap<String, BTreeMap<String, u64>> {
        let mut found: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for (piece, content) in pieces.filter(|(piece, _)| !piece.starts_with("run/")) {
            for (name, expression) in &self.0 {
                let lines = content.split(|byte| *byte == b'\n');
                let count = lines.filter(|line| expression.is_match(line)).count() as u64;
                if count > 0 {
                    let _new =
                        found.entry(name.clone()).or_default().insert(piece.to_owned(), count);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_counted_by_pattern_and_piece() {
        let patterns = json!({"refused": "connection refused", "oom": {"regex": "OOM|out of memory"}, "no": "x"});
        let patterns = Patterns::read(patterns).expect("patterns");
        let log: &[u8] = b"Connection REFUSED, connection refused\nOOM\n\xff out of memory\nfine\n";
        let pieces = [("docker/a.log", log), ("docker/b.log", b"OOM"), ("run/journal.jsonl", log)];
        let found = patterns.count(pieces.into_iter());
        let wanted = json!({
            "oom": {"docker/a.log": 2, "docker/b.log": 1},
            "refused": {"docker/a.log": 1},
        });
        assert_eq!(json!(found), wanted);
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        for wrong in [
            json!(["a"]),
            json!({"a": 1}),
            json!({"a": {"regex": "("}}),
            json!({"a": {"regx": "b"}}),
        ] {
            let problem = Patterns::read(wrong).expect_err("no pattern");
            assert!(problem.starts_with("failed to read the pattern"), "{problem}");
        }
        let huge = json!({"a": {"regex": "(?:a{1000}){1000}"}});
        assert!(Patterns::read(huge).is_err());
    }
}
