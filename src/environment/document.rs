//! Reading a YAML mapping with known keys, and collecting everything that is wrong with it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use indexmap::IndexMap;
use serde_json::Value;

use crate::runbook::diagnostic::{Diagnostic, Diagnostics, Source};
use crate::runbook::node::{Key, Node, NodeValue};
use crate::runbook::{parse, read, suggest};

/// The version of the form of environment and configuration files.
const VERSION: u64 = 1;

/// A file's text and its tree.
pub(super) struct Document {
    /// The text.
    pub(super) source: Source,
    /// The tree; always a mapping.
    pub(super) root: Node,
}

impl Document {
    /// Reads a file whose whole is a mapping.
    pub(super) fn read(path: &Path) -> Result<Self, Diagnostics> {
        let shown = path.display().to_string();
        Self::of(read::text(&shown, read::bytes(path)?)?)
    }

    /// The tree of a text whose whole is a mapping.
    pub(super) fn of(source: Source) -> Result<Self, Diagnostics> {
        match parse::parse(&source) {
            Ok(root) if matches!(root.value, NodeValue::Map(_)) => Ok(Self { source, root }),
            Ok(root) => {
                let problem = Diagnostic::error("wrong-type", "the file must be a mapping")
                    .at(root.span)
                    .hint("Begin it with `version: 1`.");
                Err(Diagnostics::new(source, vec![problem]))
            }
            Err(problems) => Err(Diagnostics::new(source, problems)),
        }
    }
}

/// Reads a file of plain values, such as an input file: a mapping without templates.
///
/// # Errors
/// Everything that keeps it from being one, with its place.
pub fn read_values(path: &Path) -> Result<IndexMap<String, Value>, Diagnostics> {
    let document = Document::read(path)?;
    let mut problems = Problems::default();
    let values = problems.entries(&document.root).iter();
    Ok(values.map(|(key, node)| (key.name.clone(), node.to_json())).collect())
}

/// A sentence when others than the owner could change a file and so decide what is run.
pub fn openness(path: &Path) -> Option<String> {
    let about = std::fs::metadata(path).ok()?;
    let mode = about.permissions().mode();
    let shown = path.display();
    (mode & 0o002 != 0).then(|| {
        format!(
            "everybody on this machine can change {shown} (mode {:04o}); type `chmod o-w {shown}`",
            mode & 0o7777
        )
    })
}

/// The problems found so far.
#[derive(Default)]
pub(super) struct Problems(pub(super) Vec<Diagnostic>);

impl Problems {
    /// Notes every key that is not known.
    pub(super) fn only(&mut self, node: &Node, known: &[&'static str]) {
        for (key, _) in self.entries(node) {
            if known.contains(&key.name.as_str()) {
                continue;
            }
            let shown = suggest::visible(&key.name);
            let mut problem =
                Diagnostic::error("unknown-key", format!("unknown key `{shown}`")).at(key.span);
            problem.hints.extend(suggest::hint(&key.name, known.iter().copied()));
            self.0.push(problem);
        }
    }

    /// Notes a missing, malformed or newer `version`; `required` says whether it must be there.
    pub(super) fn version(&mut self, root: &Node, required: bool) {
        let Some(node) = root.get("version") else {
            if required {
                let problem = Diagnostic::error("missing-key", "the key `version` is missing");
                self.0.push(problem.at(root.span).hint("Begin the file with `version: 1`."));
            }
            return;
        };
        let version = match &node.value {
            NodeValue::Number(number) => number.as_u64(),
            _ => None,
        };
        match version {
            Some(VERSION) => {}
            Some(newer) if newer > VERSION => self.0.push(
                Diagnostic::error(
                    "unknown-version",
                    format!(
                        "version {newer} is newer than this program, which reads version {VERSION}"
                    ),
                )
                .at(node.span)
                .hint("Install a newer `rollback`."),
            ),
            _ => self.wrong_type(node, "`1`"),
        }
    }

    /// Notes that a node is not what it should be.
    pub(super) fn wrong_type(&mut self, node: &Node, wanted: &str) {
        self.0.push(
            Diagnostic::error("wrong-type", format!("expected {wanted}, found {}", kind(node)))
                .at(node.span),
        );
    }

    /// The text under a key, if the key is there.
    pub(super) fn text(&mut self, node: &Node, key: &str) -> Option<String> {
        let value = node.get(key)?;
        let text = value.as_text().filter(|text| !text.is_empty());
        if text.is_none() {
            self.wrong_type(value, "a text");
        }
        text.map(str::to_owned)
    }

    /// The entries of a mapping; empty for a null, which is noted for nothing but other kinds.
    pub(super) fn entries<'a>(&mut self, node: &'a Node) -> &'a [(Key, Node)] {
        match &node.value {
            NodeValue::Map(entries) => entries,
            NodeValue::Null => &[],
            _ => {
                self.wrong_type(node, "a mapping");
                &[]
            }
        }
    }
}

fn kind(node: &Node) -> &'static str {
    match &node.value {
        NodeValue::Null => "nothing",
        NodeValue::Bool(_) => "`true` or `false`",
        NodeValue::Number(_) => "a number",
        NodeValue::Text(_) => "a text",
        NodeValue::List(_) => "a list",
        NodeValue::Map(_) => "a mapping",
    }
}
