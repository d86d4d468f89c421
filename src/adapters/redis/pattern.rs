//! Patterns of keys, as `KEYS` and `SCAN MATCH` understand them: `*`, `?`, `[a-z]`, and `\` before a character that
//! stands for itself (<https://redis.io/docs/latest/commands/keys/>).

use crate::secret::has_marker;

/// What a pattern begins with before the first character that stands for others.
pub(super) fn literal_prefix(pattern: &str) -> String {
    let mut prefix = String::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '*' | '?' | '[' => break,
            '\\' => prefix.extend(letters.next()),
            plain => prefix.push(plain),
        }
    }
    prefix
}

/// Checks a pattern that is only asked about.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    if pattern.is_empty() {
        return Err("`pattern` is empty".to_owned());
    }
    if has_marker(pattern) {
        return Err("`pattern` holds a secret, and patterns are shown".to_owned());
    }
    Ok(())
}

/// Checks a pattern whose keys are to go.
pub(super) fn check_to_delete(pattern: &str) -> Result<(), String> {
    check(pattern)?;
    if literal_prefix(pattern).is_empty() {
        return Err(format!(
            "the pattern `{pattern}` could match every key: it must begin with some text that stands for itself"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_literal_prefix_ends_at_the_first_wildcard() {
        for (pattern, prefix) in [
            ("metrics:v2:*", "metrics:v2:"),
            ("plain", "plain"),
            ("a?c", "a"),
            ("a[bc]", "a"),
            (r"a\*b*", "a*b"),
            ("*", ""),
            ("[m]etrics:*", ""),
            (r"\", ""),
        ] {
            assert_eq!(literal_prefix(pattern), prefix, "{pattern}");
        }
    }

    #[test]
    fn a_pattern_that_could_match_everything_is_not_for_deleting() {
        for pattern in ["", "*", "?*", "[a-z]*", "*:metrics"] {
            assert!(check_to_delete(pattern).is_err(), "{pattern}");
        }
        assert_eq!(check("*"), Ok(()));
        assert_eq!(check_to_delete("metrics:*"), Ok(()));
    }
}
