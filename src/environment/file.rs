//! An environment file: its form, before any value is resolved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::document::{Document, Problems};
use super::reference::Reference;
use crate::action::Registry;
use crate::runbook::diagnostic::{Diagnostic, Diagnostics, Source};
use crate::runbook::node::{Key, Node, NodeValue};
use crate::runbook::schema::Catalog;
use crate::runbook::{Severity, suggest, template, validate};

const KEYS: [&str; 12] = [
    "version",
    "name",
    "sandbox",
    "connections",
    "values",
    "inputs",
    "approvers",
    "evidence",
    "lock_dir",
    "drills",
    "log",
    "notifications",
];

/// The key beside the systems: what a failure looks like in what they tell.
pub const PATTERNS: &str = "patterns";

/// An environment file whose form is valid; templates and references are not resolved yet.
#[derive(Debug, Clone)]
pub struct EnvironmentFile {
    /// The environment's name: `name:`, else the file's name without its ending.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Its text, for the journal's header and for diagnostics.
    pub source: Source,
    /// Whether it runs against the sandbox, whose addresses are then known as `sandbox.…`.
    pub sandbox: bool,
    pub(super) connections: Vec<(Key, Node)>,
    pub(super) values: Vec<(Key, Node)>,
    pub(super) inputs: Vec<(Key, Node)>,
    /// What is gathered after an incident, by the system's connection.
    pub(super) evidence: Vec<(Key, Node)>,
    pub(super) lock_dir: Option<Node>,
    /// Who holds which role.
    pub(super) approvers: BTreeMap<String, Vec<String>>,
    /// Whether it may be broken on purpose.
    pub(super) drills: bool,
    /// The rollback log.
    pub(super) log: Option<Node>,
    /// How bad it has to be for a channel.
    pub(super) channels: BTreeMap<String, Severity>,
}

impl EnvironmentFile {
    /// Reads a file and checks its form; systems are those of `registry`.
    pub fn read(path: &Path, registry: &Registry) -> Result<Self, Diagnostics> {
        Self::of(Document::read(path)?, path, registry)
    }

    /// The same for a text that stands for the file `path`.
    pub fn parse(path: &Path, text: &str, registry: &Registry) -> Result<Self, Diagnostics> {
        let source = Source::new(path.display().to_string(), text);
        Self::of(Document::of(source)?, path, registry)
    }

    fn of(document: Document, path: &Path, registry: &Registry) -> Result<Self, Diagnostics> {
        let Document { source, root } = document;
        let mut problems = Problems::default();
        problems.only(&root, &KEYS);
        problems.version(&root, true);
        let file = Self {
            name: name(&root, path, &mut problems),
            path: path.to_owned(),
            sandbox: switch(&root, "sandbox", &mut problems),
            lock_dir: problems.text(&root, "lock_dir").and_then(|_| root.get("lock_dir").cloned()),
            connections: block(&root, "connections", &mut problems),
            values: block(&root, "values", &mut problems),
            inputs: block(&root, "inputs", &mut problems),
            approvers: approvers(&root, &mut problems),
            evidence: block(&root, "evidence", &mut problems),
            drills: switch(&root, "drills", &mut problems),
            log: problems.text(&root, "log").and_then(|_| root.get("log").cloned()),
            channels: channels(&root, registry, &mut problems),
            source,
        };
        file.check_connections(&Catalog::of(registry, &root), &mut problems);
        file.check_evidence(registry, &mut problems);
        file.check_templates(&mut problems);
        if problems.0.is_empty() {
            return Ok(file);
        }
        Err(Diagnostics::new(file.source, problems.0))
    }

    fn check_templates(&self, problems: &mut Problems) {
        let blocks = [&self.connections, &self.values, &self.inputs, &self.evidence];
        let nodes = blocks
            .into_iter()
            .flatten()
            .map(|(_, node)| node)
            .chain(&self.lock_dir)
            .chain(&self.log);
        for node in nodes {
            match template::uses(node) {
                Err(errors) => problems.0.extend(errors.into_iter().map(Diagnostic::from)),
                Ok(uses) => {
                    for used in uses {
                        let unknown =
                            used.names.iter().find_map(|name| unknown_name(name, self.sandbox));
                        problems.0.extend(unknown.map(|problem| problem.at(used.span)));
                    }
                }
            }
        }
    }

    /// Only systems that can tell something are asked.
    fn check_evidence(&self, registry: &Registry, problems: &mut Problems) {
        let telling = || registry.connections().filter(|known| known.gather.is_some());
        for (key, _) in &self.evidence {
            if key.name == PATTERNS || telling().any(|known| known.key == key.name) {
                continue;
            }
            let shown = suggest::visible(&key.name);
            let message = format!("`{shown}` can tell nothing: no evidence is gathered from it");
            let known: Vec<&str> = telling().map(|known| known.key).chain([PATTERNS]).collect();
            problems.0.push(
                Diagnostic::error("no-evidence", message)
                    .at(key.span)
                    .hint(format!("Known here: {}.", known.join(", "))),
            );
        }
    }

    fn check_connections(&self, catalog: &Catalog<'_>, problems: &mut Problems) {
        let known = || catalog.registry().connections().map(|connection| connection.key);
        for (key, block) in &self.connections {
            if known().any(|name| name == key.name) {
                let block = without_references(block);
                let found = validate::connection(&key.name, &block, &self.source, catalog);
                problems.0.extend(found);
                continue;
            }
            let shown = suggest::visible(&key.name);
            let mut problem =
                Diagnostic::error("unknown-system", format!("unknown system `{shown}`"))
                    .at(key.span);
            let names: Vec<&str> = known().collect();
            problem.hints.extend(suggest::hint(&key.name, names.iter().copied()));
            problems.0.push(problem);
        }
    }
}

/// A name that an environment file cannot know, with what can be done.
fn unknown_name(name: &str, sandbox: bool) -> Option<Diagnostic> {
    let root = name.split('.').next().unwrap_or(name);
    let (message, hint) = match (root, sandbox) {
        ("sandbox", true) => return None,
        ("sandbox", false) => (
            "`sandbox` is known only to an environment of the sandbox".to_owned(),
            "Say `sandbox: true` at the top of the file.",
        ),
        _ => (
            format!("there is no name `{}` in an environment file", suggest::visible(root)),
            "Only `sandbox.…` can be read here; secrets are references such as `{variable: NAME}`.",
        ),
    };
    Some(Diagnostic::error("unknown-name", message).hint(hint))
}

/// A reference to a secret may stand wherever a text may, like a template, so it is checked as one.
fn without_references(node: &Node) -> Node {
    let value = match &node.value {
        _ if Reference::recognise(node).is_some() => NodeValue::Text("{{ secret }}".to_owned()),
        NodeValue::List(nodes) => NodeValue::List(nodes.iter().map(without_references).collect()),
        NodeValue::Map(entries) => NodeValue::Map(
            entries.iter().map(|(key, node)| (key.clone(), without_references(node))).collect(),
        ),
        other => other.clone(),
    };
    Node { value, span: node.span }
}

fn name(root: &Node, path: &Path, problems: &mut Problems) -> String {
    let stem = || path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = problems.text(root, "name").or_else(stem).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    // The name becomes part of file names: the lock's, for one.
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
        let place = root.get("name").map_or(root.span, |node| node.span);
        problems.0.push(
            Diagnostic::error("bad-name", format!("`{}` is not a name", suggest::visible(&name)))
                .at(place)
                .hint("Use letters, digits, `-`, `_` and `.`."),
        );
    }
    name
}

fn switch(root: &Node, key: &str, problems: &mut Problems) -> bool {
    match root.get(key).map(|node| (node, &node.value)) {
        None => false,
        Some((_, NodeValue::Bool(value))) => *value,
        Some((node, _)) => {
            problems.wrong_type(node, "`true` or `false`");
            false
        }
    }
}

/// Roles with the names of those who hold them. A role that nobody holds would let nobody answer.
fn approvers(root: &Node, problems: &mut Problems) -> BTreeMap<String, Vec<String>> {
    let mut roles = BTreeMap::new();
    for (role, node) in block(root, "approvers", problems) {
        let names = match &node.value {
            NodeValue::List(names) => {
                names.iter().map(|name| name.as_text().map(str::to_owned)).collect()
            }
            _ => None,
        };
        match names {
            Some(names) if !Vec::is_empty(&names) => {
                let _unique = roles.insert(role.name, names);
            }
            Some(_) => {
                let shown = suggest::visible(&role.name);
                problems.0.push(
                    Diagnostic::error(
                        "nobody-approves",
                        format!("nobody holds the role `{shown}`"),
                    )
                    .at(node.span)
                    .hint("Name who does, or leave the role out: then anybody may answer."),
                );
            }
            None => problems.wrong_type(&node, "a list of names"),
        }
    }
    roles
}

/// The least severity of each channel that carries messages.
fn channels(
    root: &Node,
    registry: &Registry,
    problems: &mut Problems,
) -> BTreeMap<String, Severity> {
    let known: Vec<&'static str> = registry
        .verbs()
        .filter(|verb| verb.is_message())
        .map(|verb| verb.connection.unwrap_or(verb.name))
        .collect();
    let mut channels = BTreeMap::new();
    for (channel, node) in block(root, "notifications", problems) {
        if !known.contains(&channel.name.as_str()) {
            let shown = suggest::visible(&channel.name);
            let mut problem =
                Diagnostic::error("unknown-channel", format!("nothing is told by `{shown}`"))
                    .at(channel.span);
            problem.hints.extend(suggest::hint(&channel.name, known.iter().copied()));
            problems.0.push(problem);
        }
        if let Some(least) = node.as_text().and_then(Severity::of_word) {
            let _unique = channels.insert(channel.name, least);
        } else {
            let words = Severity::ALL.map(Severity::word);
            problems.wrong_type(&node, &format!("one of {}", words.join(", ")));
        }
    }
    channels
}

fn block(root: &Node, key: &str, problems: &mut Problems) -> Vec<(Key, Node)> {
    root.get(key).map(|node| problems.entries(node).to_vec()).unwrap_or_default()
}
