//! What a message may hold.

use crate::secret::has_marker;

/// How much of a message a plan shows, in characters.
const SHOWN: usize = 120;

/// Checks a text for people; `name` is its key.
pub(super) fn check(name: &str, text: &str, longest: usize) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err(format!("`{name}` is empty"));
    }
    if text.chars().count() > longest {
        return Err(format!("`{name}` is longer than {longest} characters"));
    }
    no_secret(name, text)
}

/// A message has many readers, and none of them should learn a secret from it.
pub(super) fn no_secret(name: &str, text: &str) -> Result<(), String> {
    if has_marker(text) {
        return Err(format!("`{name}` holds a secret, and a message has many readers"));
    }
    Ok(())
}

/// The text without control characters, which inputs may carry.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|letter| *letter == '\n' || !letter.is_control()).collect()
}

/// The text on one line: where a line break would begin something else.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// The beginning of a text, for a plan.
pub(super) fn brief(text: &str) -> String {
    let short: String = text.chars().take(SHOWN).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("{short}{dots}")
}

/// The text, cut to this many characters.
pub(super) fn cut(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}

/// The text with `-` for everything but printable ASCII characters and for spaces: a name for other machines.
pub(super) fn ascii(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii_graphic() { letter } else { '-' }).collect()
}
