//! Annotations in a pull request: the workflow commands of GitHub Actions
//! (<https://docs.github.com/actions/reference/workflow-commands-for-github-actions>).

use super::{CheckedFile, Level};

/// One command a line; nothing when there is nothing to say.
pub fn github(files: &[CheckedFile]) -> Vec<String> {
    let mut lines = Vec::new();
    for file in files {
        for problem in &file.problems {
            let command = match problem.severity {
                Level::Error => "error",
                Level::Warning => "warning",
                Level::Note => "notice",
            };
            let mut place = format!("file={}", property(&file.path));
            if let Some(at) = problem.place {
                let (line, column, end_line) = (at.line, at.column, at.end_line);
                place = format!("{place},line={line},col={column},endLine={end_line}");
                // Columns of two lines mean nothing to each other; GitHub refuses them.
                if end_line == line {
                    place = format!("{place},endColumn={}", at.end_column);
                }
            }
            let title = property(&format!("rollback check: {}", problem.code));
            lines.push(format!("::{command} {place},title={title}::{}", data(&problem.text())));
        }
    }
    lines
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
