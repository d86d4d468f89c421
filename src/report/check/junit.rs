//! For test reports: JUnit's XML, one test case a file, as Jenkins and GitLab read it.

use super::{CheckedFile, Level};

/// The whole document.
pub fn junit(files: &[CheckedFile]) -> String {
    let failed = files.iter().filter(|file| file.failed).count();
    let counts = format!("tests=\"{}\" failures=\"{failed}\" errors=\"0\"", files.len());
    let mut lines = vec![
        r#"<?xml version="1.0" encoding="UTF-8"?>"#.to_owned(),
        format!(r#"<testsuites name="rollback check" {counts}>"#),
        format!(r#"  <testsuite name="rollback check" {counts} skipped="0">"#),
    ];
    lines.extend(files.iter().map(case));
    lines.push("  </testsuite>".to_owned());
    lines.push("</testsuites>".to_owned());
    lines.join("\n")
}

fn case(file: &CheckedFile) -> String {
    let path = escape(&file.path);
    let open = format!(r#"    <testcase classname="rollback.check" name="{path}" file="{path}""#);
    let told: Vec<String> = file.problems.iter().map(|problem| told(file, problem)).collect();
    let body = escape(&told.join("\n"));
    if file.failed {
        let count = |level| file.problems.iter().filter(|found| found.severity == level).count();
        let message =
            format!("errors: {}, warnings: {}", count(Level::Error), count(Level::Warning));
        let failure =
            format!(r#"<failure type="rollback.check" message="{message}">{body}</failure>"#);
        format!("{open}>\n      {failure}\n    </testcase>")
    } else if told.is_empty() {
        format!("{open}/>")
    } else {
        format!("{open}>\n      <system-out>{body}</system-out>\n    </testcase>")
    }
}

fn told(file: &CheckedFile, problem: &super::Problem) -> String {
    let place = problem.place.map(|at| format!(":{}:{}", at.line, at.column)).unwrap_or_default();
    let (word, code) = (problem.severity.word(), &problem.code);
    format!("{}{place}: {word}[{code}]: {}", file.path, problem.text().replace('\n', "\n  "))
}

/// Text for XML 1.0, in which most control characters cannot be written at all.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\n' => escaped.push('\n'),
            '\u{FFFE}' | '\u{FFFF}' => escaped.push('\u{FFFD}'),
            other if other.is_control() => escaped.push('\u{FFFD}'),
            other => escaped.push(other),
        }
    }
    escaped
}
