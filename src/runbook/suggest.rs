//! Help for people who mistype, and protection for their terminals.

/// The known word that was probably meant.
pub(crate) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| {
            *distance <= limit
                || (word.len() >= 4
                    && (candidate.starts_with(&word) || word.starts_with(*candidate)))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean …?`, or the list of what is known when it is short.
pub(crate) fn hint<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    // Long words are nobody's typing error, and comparing them is slow.
    if word.len() <= 64
        && let Some(meant) = closest(word, known.clone())
    {
        return Some(format!("did you mean `{meant}`?"));
    }
    let names: Vec<&str> = known.into_iter().collect();
    (1..=12).contains(&names.len()).then(|| format!("known here: {}", listed(&names)))
}

/// Names in back quotes, separated by commas.
pub(crate) fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Text without characters that a terminal obeys, and at most about 200 characters of it.
pub(crate) fn visible(text: &str) -> String {
    const MOST: usize = 300;
    let mut shown: String = text.chars().take(MOST).map(visible_char).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

/// One character for one: controls become their pictures, and what reorders or hides text a replacement character.
pub(crate) fn visible_char(character: char) -> char {
    match character {
        '\t' => ' ',
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{FFFD}'),
        '\x7f' => '\u{2421}',
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{e000}'..='\u{f8ff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => '\u{FFFD}',
        other => other,
    }
}
