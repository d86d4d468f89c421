//! Problems of a file, each with its place: found by [`parse`](super::parse) and [`validate`](super::validate), shown by
//! [`render`].
//!
//! All problems of a file travel together as [`Diagnostics`], in the order of the file, without repetitions, and with the
//! source they point into.

mod render;
mod source;

use super::node::Span;

pub use source::{Location, Source};

/// More problems than this in one file are counted, not kept.
const MOST: usize = 100;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The runbook cannot be used.
    Error,
    /// The runbook can be used, and somebody should look at it.
    Warning,
    /// Something that `check` could not know offline.
    Note,
}

/// A second place that helps to understand the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is to be seen there.
    pub text: String,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable kebab-case name of the kind of problem, such as `unknown-key`.
    pub code: &'static str,
    /// What is wrong: a lower-case fragment.
    pub message: String,
    /// Where; `None` for problems of the file as a whole.
    pub span: Option<Span>,
    /// A few words under the caret.
    pub label: Option<String>,
    /// Other places that belong to it.
    pub secondary: Vec<Label>,
    /// What to do, in sentences.
    pub hints: Vec<String>,
}

impl Diagnostic {
    fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity,
            code,
            message: message.into(),
            span: None,
            label: None,
            secondary: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// A problem that makes the file unusable.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// A problem that somebody should look at.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    /// Something that could not be known offline.
    pub fn note(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, message)
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// Puts a few words under the caret.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.label = Some(text.into());
        self
    }

    /// Adds another place.
    #[must_use]
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.secondary.push(Label { span, text: text.into() });
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(text.into());
        self
    }
}

/// All problems of one file.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    /// The file.
    pub source: Source,
    list: Vec<Diagnostic>,
    omitted: usize,
}

impl Diagnostics {
    /// Sorts the problems by place, drops repetitions, and keeps the first hundred.
    pub fn new(source: Source, mut list: Vec<Diagnostic>) -> Self {
        list.sort_by_key(|found| {
            let start = found.span.map_or(0, |span| span.start);
            (start, found.severity)
        });
        let mut seen = std::collections::HashSet::new();
        list.retain(|found| {
            seen.insert((found.code, found.span.map(|s| s.start), found.message.clone()))
        });
        let omitted = list.len().saturating_sub(MOST);
        if omitted > 0 {
            // Errors are never crowded out by warnings.
            list.sort_by_key(|found| found.severity);
            list.truncate(MOST);
            list.sort_by_key(|found| found.span.map_or(0, |span| span.start));
        }
        Self { source, list, omitted }
    }

    /// The problems, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// How many more there are than [`iter`](Self::iter) gives.
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// How many of the kept problems are of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|found| found.severity == severity).count()
    }

    /// Whether the file cannot be used.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// One line: `3 errors and 1 warning in runbooks/emergency.yaml`.
    pub fn summary(&self) -> String {
        let path = super::suggest::visible(&self.source.path);
        let mut parts = Vec::new();
        for (severity, word) in [(Severity::Error, "error"), (Severity::Warning, "warning")] {
            match self.count(severity) {
                0 => {}
                1 => parts.push(format!("1 {word}")),
                many => parts.push(format!("{many} {word}s")),
            }
        }
        match parts.as_slice() {
            [] => format!("no problems in {path}"),
            _ => format!("{} in {path}", parts.join(" and ")),
        }
    }

    /// Everything as people read it in a terminal: place, line, caret, help. Control characters are made visible.
    pub fn render(&self, color: bool) -> String {
        render::human(self, color)
    }
}

impl std::fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.summary())
    }
}

impl std::error::Error for Diagnostics {}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests;
