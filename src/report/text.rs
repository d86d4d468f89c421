//! Text from elsewhere, made safe to show.

use std::borrow::Cow;

/// The longest remote text on one line, in characters.
const LONGEST: usize = 400;

/// Text on one line without anything that a terminal would obey: control characters, escape sequences, line ends and bidirectional
/// overrides become visible or disappear, and what is too long is cut.
pub fn sanitize(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(LONGEST));
    let mut shown = 0;
    for character in text.trim_end().chars() {
        if shown == LONGEST {
            clean.push('…');
            break;
        }
        match character {
            '\n' => clean.push_str(" ⏎ "),
            '\r' => continue,
            '\t' => clean.push(' '),
            other if is_hostile(other) => clean.push('\u{FFFD}'),
            other => clean.push(other),
        }
        shown += 1;
    }
    crate::secret::hide_markers(&clean)
}

/// Characters that move the cursor, start escape sequences, or change the direction of what follows.
fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{061C}'
                | '\u{180E}'
                | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{FEFF}'
                | '\u{FFF9}'..='\u{FFFB}'
                | '\u{E0000}'..='\u{E007F}'
        )
}

/// JSON as it may be shown on a terminal: the hostile characters that JSON allows unescaped become `\uXXXX`, which means the same.
pub fn escape_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_hostile) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        // Outside of strings JSON has line ends and tabs only, and inside of them it has neither.
        if is_hostile(character) && !character.is_ascii_whitespace() {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// A document of many lines without anything that a terminal would obey; nothing is cut.
pub fn defuse(document: &str) -> String {
    let visible = |c: char| if c != '\n' && is_hostile(c) { '\u{FFFD}' } else { c };
    document.chars().map(visible).collect()
}

/// Text for a Markdown document: sanitized, and with the characters escaped that would be markup.
pub fn markdown(text: &str) -> String {
    let mut escaped = String::new();
    for character in sanitize(text).chars() {
        if matches!(character, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '!') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_survives() {
        let hostile = [
            "\u{1b}[2Jcleared",
            "\u{1b}]0;title\u{7}",
            "\u{1b}]8;;http://evil\u{1b}\\link",
            "\u{9b}31m",
            "a\rb",
            "a\u{8}b",
            "\u{202e}txt.exe",
            "\u{1b}]52;c;ZXZpbA==\u{7}",
            "bell\u{7}",
            "del\u{7f}",
            "zero\u{200b}width",
            "\u{feff}bom",
            "nul\0byte",
            "\u{85}next line",
        ];
        for text in hostile {
            let clean = sanitize(text);
            assert!(!clean.chars().any(is_hostile), "{text:?} became {clean:?}");
        }
    }

    #[test]
    fn line_ends_stay_visible_and_long_text_is_cut() {
        assert_eq!(sanitize("one\ntwo\n"), "one ⏎ two");
        assert_eq!(sanitize(&"x".repeat(1000)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn json_means_the_same_without_anything_that_a_terminal_obeys() {
        let value = serde_json::json!({"a": "\u{9b}31m \u{7f} \u{202e} \u{e0041} \u{1b}[2J ü"});
        for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let escaped = escape_json(&json);
            assert!(!escaped.chars().any(|c| is_hostile(c) && c != '\n'), "{escaped:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        }
    }

    #[test]
    fn a_document_keeps_its_lines_and_loses_what_a_terminal_obeys() {
        assert_eq!(defuse("# a\u{1b}[2J\n- b\r\u{9b}\n"), "# a\u{fffd}[2J\n- b\u{fffd}\u{fffd}\n");
    }

    #[test]
    fn secrets_are_never_shown() {
        assert_eq!(sanitize("token \u{E000}api\u{E001}!"), "token [secret]!");
    }

    #[test]
    fn markdown_has_no_markup_from_elsewhere() {
        assert_eq!(markdown("<b>*x*|y"), r"\<b\>\*x\*\|y");
    }
}
