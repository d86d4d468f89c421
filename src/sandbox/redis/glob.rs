//! Matching keys against patterns, as `stringmatchlen` of Redis does.

/// Whether `text` as a whole matches `pattern`.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => {
            (0..=text.len()).any(|skipped| matches(rest, text.get(skipped..).unwrap_or_default()))
        }
        [b'?', rest @ ..] => text.split_first().is_some_and(|(_, text)| matches(rest, text)),
        [b'[', class @ ..] => {
            let Some((letter, text)) = text.split_first() else { return false };
            let (admitted, rest) = class_admits(class, *letter);
            admitted && matches(rest, text)
        }
        [b'\\', letter, rest @ ..] | [letter, rest @ ..] => {
            text.split_first().is_some_and(|(first, text)| first == letter && matches(rest, text))
        }
    }
}

/// Whether a class such as `^a-c]` admits a letter, and the pattern behind it. One that never ends counts as ended.
fn class_admits(class: &[u8], letter: u8) -> (bool, &[u8]) {
    let (inverted, mut rest) = match class {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    loop {
        rest = match rest {
            [] => break,
            [b']', behind @ ..] => {
                rest = behind;
                break;
            }
            [b'\\', escaped, behind @ ..] => {
                found |= *escaped == letter;
                behind
            }
            [from, b'-', to, behind @ ..] => {
                found |= (*from.min(to)..=*from.max(to)).contains(&letter);
                behind
            }
            [one, behind @ ..] => {
                found |= *one == letter;
                behind
            }
        };
    }
    (found != inverted, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_those_of_redis() {
        for (pattern, text, wanted) in [
            ("metrics:v2:*", "metrics:v2:a", true),
            ("metrics:v2:*", "metrics:v20:a", false),
            ("*", "", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcd", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            ("a[b", "ab", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), wanted, "{pattern} {text}");
        }
    }
}
