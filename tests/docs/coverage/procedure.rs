//! A procedure as it was handed over: which of its lines want something.

/// A line that wants something.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// From 1.
    pub(super) number: usize,
    pub(super) text: &'a str,
}

/// Code without blanks and comments, list items, rows of tables, and labels with a text, such as `**Target**: < 60 s`.
pub(super) fn lines(text: &str) -> Vec<Line<'_>> {
    let mut fence = None;
    let mut found = Vec::new();
    let mut ahead = text.lines().skip(1).map(str::trim);
    for (index, whole) in text.lines().enumerate() {
        let (line, next) = (whole.trim(), ahead.next().unwrap_or_default());
        if let Some(language) = line.strip_prefix("```") {
            fence = if fence.is_none() { Some(language) } else { None };
            continue;
        }
        let wants = match fence {
            // What is a comment elsewhere is a heading in Markdown.
            Some(language) => {
                !line.is_empty() && (language == "markdown" || !line.starts_with('#'))
            }
            None => is_item(line) || is_label(line) || is_row(line) && !is_separator(next),
        };
        if wants {
            found.push(Line { number: index + 1, text: whole });
        }
    }
    found
}

fn is_item(line: &str) -> bool {
    let number = line.trim_start_matches(|letter: char| letter.is_ascii_digit());
    line.starts_with("- ") || (number.len() < line.len() && number.starts_with(". "))
}

fn is_label(line: &str) -> bool {
    let label = line.strip_prefix("**").and_then(|rest| rest.split_once("**:"));
    label.is_some_and(|(_, text)| !text.is_empty())
}

fn is_row(line: &str) -> bool {
    line.starts_with('|') && !is_separator(line)
}

fn is_separator(line: &str) -> bool {
    line.starts_with('|') && line.chars().all(|letter| "|-: ".contains(letter))
}

/// A line's words alone: without marks of Markdown and of lists, and with one space between them.
pub(super) fn words(text: &str) -> String {
    let text = text.trim();
    let item = ["- [ ] ", "- "].iter().find_map(|mark| text.strip_prefix(mark)).unwrap_or(text);
    let plain: String = item
        .chars()
        .filter(|letter| !"`*\\".contains(*letter))
        .map(|letter| if letter == '|' { ' ' } else { letter })
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn what_wants_something_is_found() {
    let text = "# Title\n\nText - with a dash.\n\n```bash\n# why\n\nstop now\n  done\n```\n\n- [ ] One\n  - Two\n12. Three\n\
        3 is no item\n\n| Head | Er |\n|------|:--:|\n| a | b |\n\n**Target**: < 60 s\n**Triggers**:\n\n---\n\n```markdown\n# Report\n```\n";
    let found: Vec<_> = lines(text).iter().map(|line| (line.number, line.text.trim())).collect();
    let wanted = [
        (8, "stop now"),
        (9, "done"),
        (12, "- [ ] One"),
        (13, "- Two"),
        (14, "12. Three"),
        (19, "| a | b |"),
        (21, "**Target**: < 60 s"),
        (27, "# Report"),
    ];
    assert_eq!(found, wanted);
}

#[test]
fn marks_are_no_words() {
    assert_eq!(words("- [ ] Task  rate >= `95%` \\"), "Task rate >= 95%");
    assert_eq!(words("\\| **Total** \\| 5 \\|"), words("| **Total** | 5 |"));
}
