//! The rollback log as it is read back: entries that runs have written, and those that people have written by hand.
//!
//! Three forms are known, which may stand in one file: an entry under a heading with fields (`**Reason**: …`), a block between rules that
//! begins with `Date:`, and a single line `…: … rollback triggered - Reason: …`.

use indexmap::IndexMap;

/// What the procedure's lines have in common.
const TRIGGERED: &str = " rollback triggered - Reason:";
/// What a block between rules begins with.
const DATE: &str = "Date:";

/// An entry of a rollback log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lesson {
    /// Its heading, or its first line.
    pub title: String,
    /// Its first line in the file, counted from 1.
    pub line: usize,
    /// Its lines, with their numbers.
    pub lines: Vec<(usize, String)>,
    /// Its fields by their names, in lower case: `reason`, `impact`, `resolution`, `prevention`, `re-deployed`.
    pub fields: IndexMap<String, String>,
}

/// The entries of a log, oldest first as they stand there.
pub fn read(text: &str) -> Vec<Lesson> {
    let mut lessons: Vec<Lesson> = Vec::new();
    let mut after_rule = false;
    for (index, line) in text.lines().enumerate() {
        let content = line.trim();
        let begins = content.starts_with("## ")
            || lessons.last().is_none_or(|last| !last.is_only_a_heading())
                && (is_triggered(content) || after_rule && content.starts_with(DATE));
        after_rule = is_rule(content) || after_rule && content.is_empty();
        let is_nothing = content.is_empty() || is_rule(content) || content.starts_with("<!--");
        if content.starts_with("# ") || is_nothing {
            continue;
        }
        if begins || lessons.is_empty() {
            let title = content.trim_start_matches('#').trim();
            lessons.push(Lesson { title: unescaped(title), line: index + 1, ..Lesson::default() });
        }
        if let Some(lesson) = lessons.last_mut() {
            lesson.take(index + 1, content);
        }
    }
    lessons
}

impl Lesson {
    fn is_only_a_heading(&self) -> bool {
        self.lines.len() == 1 && self.lines[0].1.starts_with("## ")
    }

    fn take(&mut self, number: usize, content: &str) {
        let content = unescaped(content);
        if let Some((name, value)) = field(&content) {
            let _former = self.fields.insert(name, value);
        }
        self.lines.push((number, content));
    }
}

/// A field: `**Reason**: text`, or `Reason: text` as in the blocks.
fn field(line: &str) -> Option<(String, String)> {
    if let Some((_, reason)) = line.split_once(TRIGGERED) {
        return Some(("reason".to_owned(), reason.trim().to_owned()));
    }
    let (name, value) = match line.strip_prefix("**") {
        Some(rest) => rest.split_once("**:").or_else(|| rest.split_once(":**"))?,
        None => {
            line.split_once(": ").filter(|(name, _)| ["Date", "Type", "Reason"].contains(name))?
        }
    };
    Some((name.trim().to_lowercase(), value.trim().to_owned()))
}

fn is_triggered(line: &str) -> bool {
    line.contains(TRIGGERED)
}

fn is_rule(line: &str) -> bool {
    line.len() >= 3 && line.bytes().all(|byte| byte == b'-')
}

/// Text without the signs that keep it from being markup.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let escapes =
            character == '\\' && characters.peek().is_some_and(char::is_ascii_punctuation);
        plain.extend(if escapes { characters.next() } else { Some(character) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The procedure's own example, and what its commands append.
    const LOG: &str = "\
# Rollback History

## 2025-11-16: Emergency Rollback - Orchestrator Timeout

**Reason**: Specialist services timeout after 30s
**Impact**: Error rate 15%, P95 response time 35s
**Resolution**: Increased specialist timeout to 60s
**Prevention**: Load testing before deployment
**Re-deployed**: 2025-11-18 (successful)

---

## 2025-11-20: Partial Rollback - finance\\_ssc\\_expert Memory Leak

**Reason**: Memory leak in BIR form generation

---
Sun Nov 23 10:00:00 UTC 2025: Emergency rollback triggered - Reason: DNS
---
Date: Mon Nov 24 10:00:00 UTC 2025
Type: Graceful Rollback
Reason: Quality gate failure
Metrics:
  - Error rate: 3 %
---
## 2025-12-01: Graceful Rollback - By the program

---
Date: 2025-12-01 10:00:00 UTC
Reason: slow
---

**Impact**: none
<!-- rollback 20251201-1000-abcd recovered -->

---
";

    #[test]
    fn every_form_of_an_entry_is_read() {
        let lessons = read(LOG);
        let seen: Vec<(usize, &str)> =
            lessons.iter().map(|lesson| (lesson.line, lesson.title.as_str())).collect();
        assert_eq!(
            seen,
            [
                (3, "2025-11-16: Emergency Rollback - Orchestrator Timeout"),
                (13, "2025-11-20: Partial Rollback - finance_ssc_expert Memory Leak"),
                (18, "Sun Nov 23 10:00:00 UTC 2025: Emergency rollback triggered - Reason: DNS"),
                (20, "Date: Mon Nov 24 10:00:00 UTC 2025"),
                (26, "2025-12-01: Graceful Rollback - By the program"),
            ]
        );
        let names: Vec<&str> = lessons[0].fields.keys().map(String::as_str).collect();
        assert_eq!(names, ["reason", "impact", "resolution", "prevention", "re-deployed"]);
        assert_eq!(lessons[0].fields["re-deployed"], "2025-11-18 (successful)");
        assert_eq!(lessons[2].fields["reason"], "DNS");
        assert_eq!(lessons[3].fields["type"], "Graceful Rollback");
        assert_eq!(
            (lessons[4].fields["reason"].as_str(), &*lessons[4].fields["impact"]),
            ("slow", "none")
        );
    }

    #[test]
    fn what_is_no_log_has_its_lines_all_the_same() {
        assert!(read("").is_empty());
        let lessons = read("\u{feff}notes\nmore notes\n");
        assert_eq!(lessons.len(), 1);
        assert_eq!(lessons[0].lines.len(), 2);
    }
}
