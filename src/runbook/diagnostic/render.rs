//! Diagnostics as people read them in a terminal.
//!
//! A file is untrusted text: whatever is shown of it passes [`visible`], one character for one character, so that columns
//! stay right and no escape sequence reaches the terminal. Of a long line only the part around the place is shown.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::{Diagnostic, Diagnostics, Severity, Source};
use crate::runbook::node::Span;
use crate::runbook::suggest::{visible, visible_char};

/// So many characters of a line are shown at most on each side of a place.
const AROUND: usize = 100;

pub(super) fn human(all: &Diagnostics, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut text = String::new();
    for found in all {
        text.push_str(&renderer.render(&[group(&all.source, found)]));
        text.push_str("\n\n");
    }
    if all.omitted() > 0 {
        let more = format!("and {} more problems\n\n", all.omitted());
        text.push_str(&more);
    }
    text
}

fn group<'a>(source: &'a Source, found: &'a Diagnostic) -> Group<'a> {
    let level = match found.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(visible(&found.message)).id(found.code);
    let mut group = Group::with_title(title);
    let path = visible(&source.path);
    match found.span {
        None => group = group.element(Origin::path(path)),
        Some(span) => {
            let at = source.location(span.start);
            let excerpt = Excerpt::new(source, span);
            let mut snippet = snippet(source, found, &excerpt, span, at.line);
            // The renderer counts columns in what it is given: of a part of a line it cannot know them.
            if excerpt.cropped {
                group = group.element(Origin::path(path).line(at.line).char_column(at.column));
            } else {
                snippet = snippet.path(path);
            }
            group = group.element(snippet);
            for label in &found.secondary {
                let line = source.location(label.span.start).line;
                if line != at.line {
                    let other = Excerpt::new(source, label.span);
                    let mark = other.mark(AnnotationKind::Context, label.span, Some(&label.text));
                    group = group
                        .element(other.snippet(line).path(visible(&source.path)).annotation(mark));
                }
            }
        }
    }
    for hint in &found.hints {
        group = group.element(Level::HELP.message(visible(hint)));
    }
    group
}

fn snippet<'a>(
    source: &Source,
    found: &Diagnostic,
    excerpt: &Excerpt,
    span: Span,
    line: usize,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let mut snippet = excerpt.snippet(line).annotation(excerpt.mark(
        AnnotationKind::Primary,
        span,
        found.label.as_deref(),
    ));
    for label in &found.secondary {
        if source.location(label.span.start).line == line {
            snippet = snippet.annotation(excerpt.mark(
                AnnotationKind::Context,
                label.span,
                Some(&label.text),
            ));
        }
    }
    snippet
}

/// The part of one line that is shown, with every character made visible.
struct Excerpt {
    text: String,
    /// For each shown character: its byte in the source and in `text`; then the ends of both.
    places: Vec<(usize, usize)>,
    /// Whether the line is longer.
    cropped: bool,
}

impl Excerpt {
    fn new(source: &Source, span: Span) -> Self {
        let (start, line) = source.line(span.start);
        let target = source.boundary(span.start) - start;
        let before = line.get(..target).unwrap_or(line).chars().count();
        let skip = before.saturating_sub(AROUND);
        let mut text = String::from(if skip > 0 { "…" } else { "" });
        let mut places = Vec::new();
        let mut end = start;
        for (at, character) in line.char_indices().skip(skip).take(before - skip + AROUND) {
            places.push((start + at, text.len()));
            text.push(visible_char(character));
            end = start + at + character.len_utf8();
        }
        places.push((end, text.len()));
        let more = end < start + line.len();
        if more {
            text.push('…');
        }
        Self { text, places, cropped: skip > 0 || more }
    }

    fn snippet<'a>(&self, line: usize) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        Snippet::source(self.text.clone()).line_start(line)
    }

    fn mark<'a>(
        &self,
        kind: AnnotationKind,
        span: Span,
        label: Option<&str>,
    ) -> annotate_snippets::Annotation<'a> {
        let start = self.shown(span.start);
        let end = self.shown(span.end).max(start);
        kind.span(start..end).label(label.map(visible))
    }

    fn shown(&self, offset: usize) -> usize {
        let next = self.places.partition_point(|(source, _)| *source < offset);
        self.places.get(next).or(self.places.last()).map_or(0, |(_, shown)| *shown)
    }
}
