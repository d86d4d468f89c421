//! Text becomes [`Node`]s. The only file that names the YAML crate.
//!
//! It reads the parser's events rather than deserialize: so it sees anchors, aliases, tags and merge keys before anything
//! is expanded (an alias bomb costs nothing), knows the place of every key and value, and reports every
//! forbidden construct of a file at once. The tree is built without recursion; depth and size are bounded.
//! Scalars follow the core schema of YAML 1.2 (section 10.3), see [`scalar`].

mod scalar;

use std::collections::HashMap;

use serde_yaml::granit_parser::{self, ErrorKind, Event, Parser, ScalarStyle, ScanError};

use super::diagnostic::{Diagnostic, Source};
use super::node::{Key, Node, NodeValue, Span};
use super::read::{LARGEST_FILE, too_large};

/// Deeper nesting is refused.
pub const DEEPEST: usize = 64;
/// More values are refused.
pub const MOST_NODES: usize = 200_000;

/// Reads one YAML document.
///
/// # Errors
/// Everything that YAML or the language's strictness (no anchors, aliases, merge keys, tags, repeated keys or second
/// document) does not allow, each with its place.
pub fn parse(source: &Source) -> Result<Node, Vec<Diagnostic>> {
    if source.text.len() as u64 > LARGEST_FILE {
        return Err(vec![too_large(source.text.len() as u64)]);
    }
    if let Some(at) = source.text.find('\0') {
        let place = Span { start: at, end: at + 1 };
        return Err(vec![nul(place)]);
    }
    let mut builder = Builder::new(source);
    let mut parser = Parser::new_from_str_with_options(&source.text, options());
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => {
                if builder.take(event, span).is_err() {
                    break;
                }
            }
            Err(error) => {
                builder.problems.push(scan_error(source, &error));
                break;
            }
        }
    }
    builder.finish()
}

fn options() -> granit_parser::Options {
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    options.disallow_directives = true;
    options.emit_unresolved_aliases = true;
    options.emit_anchor_events = true;
    options.flow_nesting_limit = DEEPEST;
    options.block_nesting_limit = DEEPEST;
    options
}

fn nul(place: Span) -> Diagnostic {
    Diagnostic::error("nul-character", "a NUL character is never allowed").at(place)
}

/// A collection that is not closed yet.
enum Open {
    List {
        start: usize,
        flow: bool,
        items: Vec<Node>,
    },
    Map {
        start: usize,
        flow: bool,
        entries: Vec<(Key, Node)>,
        places: HashMap<String, Span>,
        key: NextKey,
    },
}

/// What a mapping waits for.
enum NextKey {
    /// A key.
    Awaited,
    /// The value of this key.
    Is(Key),
    /// The value of a key that was refused.
    Refused,
}

/// The rest of the file cannot be read sensibly.
struct GiveUp;

struct Builder<'a> {
    source: &'a Source,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
    problems: Vec<Diagnostic>,
}

impl<'a> Builder<'a> {
    fn new(source: &'a Source) -> Self {
        Self { source, open: Vec::new(), root: None, documents: 0, nodes: 0, problems: Vec::new() }
    }

    fn take(&mut self, event: Event<'_>, at: granit_parser::Span) -> Result<(), GiveUp> {
        let span = place(at);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.problems.push(
                        Diagnostic::error("second-document", "a second document starts here")
                            .at(span)
                            .hint("A file holds one runbook: move this one to its own file."),
                    );
                    return Err(GiveUp);
                }
            }
            Event::Anchor(_, name) => self.refuse("anchor", &format!("the anchor `&{name}`"), span),
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.refuse("alias", "an alias", span);
                self.count(span)?;
                self.value(Node { value: NodeValue::Null, span });
            }
            Event::Scalar(text, style, _, tag) => {
                self.tagged(tag.is_some(), at);
                if text.contains('\0') {
                    self.problems.push(nul(span));
                }
                self.scalar(&text, style, span)?;
            }
            Event::SequenceStart(style, _, tag) => {
                self.tagged(tag.is_some(), at);
                let flow = style == granit_parser::StructureStyle::Flow;
                self.push(Open::List { start: span.start, flow, items: Vec::new() }, span)?;
            }
            Event::MappingStart(style, _, tag) => {
                self.tagged(tag.is_some(), at);
                self.push(
                    Open::Map {
                        start: span.start,
                        flow: style == granit_parser::StructureStyle::Flow,
                        entries: Vec::new(),
                        places: HashMap::new(),
                        key: NextKey::Awaited,
                    },
                    span,
                )?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span)?,
            _ => {}
        }
        Ok(())
    }

    fn refuse(&mut self, code: &'static str, what: &str, span: Span) {
        self.problems.push(
            Diagnostic::error(code, format!("{what} is not part of the language"))
                .at(span)
                .hint("Write the value out where it is used."),
        );
    }

    fn tagged(&mut self, tagged: bool, at: granit_parser::Span) {
        if tagged {
            let span = at.tag_span().map_or_else(|| place(at), place);
            self.problems.push(
                Diagnostic::error("tag", "a tag is not part of the language")
                    .at(span)
                    .hint("Leave it out; put a text in quotes to keep it text."),
            );
        }
    }

    /// Counts a value against the budget.
    fn count(&mut self, span: Span) -> Result<(), GiveUp> {
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            self.problems.push(
                Diagnostic::error("too-many-values", format!("more than {MOST_NODES} values"))
                    .at(span),
            );
            return Err(GiveUp);
        }
        Ok(())
    }

    fn push(&mut self, open: Open, span: Span) -> Result<(), GiveUp> {
        self.count(span)?;
        if self.awaits_key() {
            return self.collection_as_key(span);
        }
        if self.open.len() >= DEEPEST {
            self.problems.push(too_deep(span));
            return Err(GiveUp);
        }
        self.open.push(open);
        Ok(())
    }

    fn awaits_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map { key: NextKey::Awaited, .. }))
    }

    fn collection_as_key(&mut self, span: Span) -> Result<(), GiveUp> {
        // `key: {{ name }}` reads as a mapping whose key is a mapping.
        let outer = match self.open.last() {
            Some(Open::Map { start, .. }) => *start,
            _ => span.start,
        };
        let found = if self.source.text.get(outer..).is_some_and(|text| text.starts_with("{{")) {
            let end = self.source.text[outer..].find("}}").map_or(outer + 2, |at| outer + at + 2);
            Diagnostic::error("unquoted-template", "a template must stand in quotes")
                .at(Span { start: outer, end })
                .hint("Without quotes, YAML reads `{{` as two mappings: write \"{{ … }}\".")
        } else {
            Diagnostic::error("key-not-text", "a key must be plain text, not a list or a mapping")
                .at(span)
        };
        self.problems.push(found);
        Err(GiveUp)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: Span) -> Result<(), GiveUp> {
        self.count(span)?;
        if self.awaits_key() {
            self.key(text, style, span);
            return Ok(());
        }
        let value = match style {
            ScalarStyle::Plain => scalar::resolve(text).unwrap_or_else(|problem| {
                self.problems.push(
                    Diagnostic::error("number-out-of-range", problem)
                        .at(span)
                        .hint("Put it in quotes if it is meant as text."),
                );
                NodeValue::Null
            }),
            _ => NodeValue::Text(text.to_owned()),
        };
        self.value(Node { value, span });
        Ok(())
    }

    fn key(&mut self, text: &str, style: ScalarStyle, span: Span) {
        let Some(Open::Map { places, key, .. }) = self.open.last_mut() else { return };
        let plain = style == ScalarStyle::Plain;
        let refused = if plain && text == "<<" {
            Some(
                Diagnostic::error("merge-key", "a merge key is not part of the language")
                    .at(span)
                    .hint("Write the keys out where they are used."),
            )
        } else if plain && text.is_empty() {
            Some(Diagnostic::error("key-not-text", "a key is missing here").at(span))
        } else {
            places.get(text).map(|first| {
                Diagnostic::error("repeated-key", format!("the key `{text}` stands here twice"))
                    .at(span)
                    .label("again")
                    .also(*first, "first")
                    .hint("Remove one of the two.")
            })
        };
        *key = if let Some(problem) = refused {
            self.problems.push(problem);
            NextKey::Refused
        } else {
            let _none = places.insert(text.to_owned(), span);
            NextKey::Is(Key { name: text.to_owned(), span })
        };
    }

    /// Puts a finished value where it belongs.
    fn value(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => {
                match std::mem::replace(key, NextKey::Awaited) {
                    NextKey::Is(name) => entries.push((name, node)),
                    NextKey::Refused => {}
                    // Only an alias comes here: its problem is reported already.
                    NextKey::Awaited => *key = NextKey::Refused,
                }
            }
        }
    }

    fn close(&mut self, end: Span) -> Result<(), GiveUp> {
        let node = match self.open.pop() {
            Some(Open::List { start, flow, mut items }) => {
                items.shrink_to_fit();
                let last = items.last().map(|item| item.span.end);
                let span = collection(start, flow, last, end);
                Node { value: NodeValue::List(items), span }
            }
            Some(Open::Map { start, flow, mut entries, .. }) => {
                entries.shrink_to_fit();
                let last = entries.last().map(|(key, value)| value.span.end.max(key.span.end));
                let span = collection(start, flow, last, end);
                Node { value: NodeValue::Map(entries), span }
            }
            None => return Err(GiveUp),
        };
        self.value(node);
        Ok(())
    }

    fn finish(mut self) -> Result<Node, Vec<Diagnostic>> {
        if self.problems.is_empty() {
            match self.root {
                Some(Node { value: NodeValue::Null, .. }) | None => {}
                Some(root) => return Ok(root),
            }
            self.problems.push(
                Diagnostic::error("empty-file", "there is no runbook in this file")
                    .hint("`rollback init` writes a first one."),
            );
        }
        Err(self.problems)
    }
}

/// A block collection ends with its last value, not with the empty lines after it.
fn collection(start: usize, flow: bool, last: Option<usize>, end: Span) -> Span {
    let end = if flow { end.end } else { last.unwrap_or(start) };
    Span { start, end: end.max(start) }
}

fn place(span: granit_parser::Span) -> Span {
    span.byte_range().map_or_else(Span::default, |range| Span {
        start: range.start,
        end: range.end.max(range.start),
    })
}

fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::error("too-deep", format!("nested deeper than {DEEPEST} levels")).at(span)
}

fn scan_error(source: &Source, error: &ScanError) -> Diagnostic {
    let start = error.marker().byte_offset().unwrap_or(source.text.len()).min(source.text.len());
    let width = source.text.get(start..).and_then(|rest| rest.chars().next());
    let end = start + width.filter(|c| *c != '\n').map_or(0, char::len_utf8);
    let span = Span { start, end };
    match error.kind() {
        ErrorKind::RecursionLimitExceeded => too_deep(span),
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart => {
            Diagnostic::error("tab", "a tab cannot indent").at(span).hint("Indent with spaces.")
        }
        ErrorKind::DirectiveDisallowed => {
            Diagnostic::error("directive", "a directive is not part of the language").at(span)
        }
        kind => Diagnostic::error("invalid-yaml", kind.to_string()).at(span),
    }
}

#[cfg(test)]
mod tests;
