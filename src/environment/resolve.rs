//! From an environment file to an environment: templates are evaluated, references to secrets are read.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;
use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::EnvironmentFile;
use super::document::openness;
use super::reference::{Read, Reference, absolute};
use crate::action::Connections;
use crate::runbook::Severity;
use crate::runbook::diagnostic::{Diagnostic, Diagnostics, Source};
use crate::runbook::node::{Key, Node, NodeValue, Span};
use crate::runbook::template::{self, Scope};
use crate::secret::Secrets;

/// Everything that a runbook may know about where it runs.
#[derive(Clone)]
pub struct Environment {
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// The file's text.
    pub source: Source,
    /// Whether it is the sandbox.
    pub sandbox: bool,
    /// The connections, with the secrets behind the markers in everything else.
    pub connections: Arc<Connections>,
    /// `environment.…` in templates, secrets as markers.
    pub values: Value,
    /// Values for inputs, secrets as markers.
    pub inputs: IndexMap<String, Value>,
    /// Connections that lead to nothing in this sandbox, and are left out.
    pub absent: Vec<String>,
    /// What is gathered after an incident: the settings of each system, and patterns of failures.
    pub evidence: IndexMap<String, Value>,
    /// Who holds which role, by login name.
    pub approvers: BTreeMap<String, Vec<String>>,
    /// Whether it may be broken on purpose: a drill runs in no other but the sandbox.
    pub drills: bool,
    /// The Markdown file to which every run adds an entry.
    pub log: Option<PathBuf>,
    /// How bad it has to be for a channel that carries messages; any severity will do for one that is not named.
    pub channels: BTreeMap<String, Severity>,
    /// Where the lock files of its runs lie, when not in the default folder.
    pub lock_dir: Option<PathBuf>,
    /// Sentences about secrets that are missing or lie open.
    pub warnings: Vec<String>,
}

/// Looks up a variable of the process's environment.
type Variables<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

impl EnvironmentFile {
    /// Evaluates templates and reads secrets, all at the same time. `sandbox` holds the addresses of the
    /// running sandbox, which templates read as `sandbox.…`.
    ///
    /// A secret that cannot be read is a warning here, and an error for those who need it.
    ///
    /// # Errors
    /// Every template without a value and every malformed reference, with its place.
    pub async fn resolve(self, sandbox: Option<&Value>) -> Result<Environment, Diagnostics> {
        self.resolve_with(sandbox, &|name| std::env::var(name).ok()).await
    }

    pub(super) async fn resolve_with(
        self,
        sandbox: Option<&Value>,
        variables: Variables<'_>,
    ) -> Result<Environment, Diagnostics> {
        let mut scope = Scope::new();
        if let Some(sandbox) = sandbox {
            scope = scope.with_sandbox(sandbox.clone());
        }
        let mut resolver = Resolver { scope, references: Vec::new(), problems: Vec::new() };
        let connections = resolver.block("connections", &self.connections);
        let values = resolver.block("values", &self.values);
        let inputs = resolver.block("inputs", &self.inputs);
        let evidence = resolver.block("evidence", &self.evidence);
        let lock_dir = self.lock_dir.as_ref().and_then(|node| resolver.text(node));
        let log = self.log.as_ref().and_then(|node| resolver.text(node));
        if !resolver.problems.is_empty() {
            return Err(Diagnostics::new(self.source, resolver.problems));
        }
        // What an address leads to does not exist here, and neither does the connection.
        let (absent, connections): (Vec<_>, Vec<_>) =
            connections.into_iter().partition(|(_, slot)| slot.lacks_a_value());
        // A file named without a folder lies in this one; a child cannot be started in a folder called "".
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = parent.unwrap_or(Path::new(".")).to_owned();
        let (secrets, markers, warnings) =
            read_all(resolver.references, &folder, variables, &self.name).await;
        let warnings = openness(&self.path).into_iter().chain(warnings).collect();
        let finish = |entries: Vec<(Key, Slot)>| -> Vec<(String, Value)> {
            entries.into_iter().map(|(key, slot)| (key.name, slot.finish(&markers))).collect()
        };
        let connections = finish(connections).into_iter().collect();
        Ok(Environment {
            connections: Arc::new(Connections::new(&self.name, connections, Arc::new(secrets))),
            values: Value::Object(finish(values).into_iter().collect()),
            inputs: finish(inputs).into_iter().collect(),
            name: self.name,
            path: self.path,
            source: self.source,
            sandbox: self.sandbox,
            evidence: finish(evidence).into_iter().collect(),
            approvers: self.approvers,
            absent: absent.into_iter().map(|(key, _)| key.name).collect(),
            drills: self.drills,
            log: log.map(|log| absolute(Path::new(&log), &folder, variables)),
            channels: self.channels,
            lock_dir: lock_dir.map(|dir| absolute(Path::new(&dir), &folder, variables)),
            warnings,
        })
    }
}

/// A value in which secrets still have to be read.
enum Slot {
    Value(Value),
    List(Vec<Slot>),
    Map(Vec<(String, Slot)>),
    /// The secret of this name.
    Secret(String),
}

impl Slot {
    /// Whether it is a mapping in which a template gave nothing.
    fn lacks_a_value(&self) -> bool {
        let nothing = |slot: &Self| matches!(slot, Self::Value(Value::Null));
        matches!(self, Self::Map(slots) if slots.iter().any(|(_, slot)| nothing(slot)))
    }

    fn finish(self, markers: &HashMap<String, String>) -> Value {
        match self {
            Self::Value(value) => value,
            Self::List(slots) => slots.into_iter().map(|slot| slot.finish(markers)).collect(),
            Self::Map(slots) => slots
                .into_iter()
                .map(|(key, slot)| (key, slot.finish(markers)))
                .collect::<Map<_, _>>()
                .into(),
            // Every reference has been read, or noted as missing, under its name.
            Self::Secret(name) => markers.get(&name).cloned().unwrap_or_default().into(),
        }
    }
}

struct Resolver {
    scope: Scope,
    references: Vec<(String, Reference)>,
    problems: Vec<Diagnostic>,
}

impl Resolver {
    /// A text without templates.
    fn text(&mut self, node: &Node) -> Option<String> {
        match template::evaluate(node, &self.scope) {
            Ok(Value::String(text)) => Some(text),
            Ok(_) => {
                self.problems
                    .push(Diagnostic::error("wrong-type", "expected a text here").at(node.span));
                None
            }
            Err(error) => {
                self.problems.push(error.into());
                None
            }
        }
    }

    fn block(&mut self, name: &str, entries: &[(Key, Node)]) -> Vec<(Key, Slot)> {
        entries
            .iter()
            .map(|(key, node)| (key.clone(), self.slot(&format!("{name}.{}", key.name), node)))
            .collect()
    }

    /// A node without templates; references get the node's path as their name.
    fn slot(&mut self, path: &str, node: &Node) -> Slot {
        if let Some(reference) = Reference::recognise(&self.rendered(node)) {
            match reference {
                Ok(reference) => self.references.push((path.to_owned(), reference)),
                Err(problem) => self.problems.push(problem),
            }
            return Slot::Secret(path.to_owned());
        }
        match &node.value {
            NodeValue::List(nodes) => Slot::List(
                nodes
                    .iter()
                    .enumerate()
                    .map(|(index, node)| self.slot(&format!("{path}.{index}"), node))
                    .collect(),
            ),
            NodeValue::Map(entries) => Slot::Map(
                entries
                    .iter()
                    .map(|(key, node)| {
                        let slot = self.slot(&format!("{path}.{}", key.name), node);
                        (key.name.clone(), slot)
                    })
                    .collect(),
            ),
            _ => match template::evaluate(node, &self.scope) {
                Ok(value) => Slot::Value(value),
                Err(error) => {
                    self.problems.push(error.into());
                    Slot::Value(Value::Null)
                }
            },
        }
    }

    /// What may be a reference, with the templates of its text evaluated; everything else as it is.
    fn rendered(&self, node: &Node) -> Node {
        let NodeValue::Map(entries) = &node.value else { return node.clone() };
        let [(key, value)] = entries.as_slice() else {
            return Node { value: NodeValue::Null, span: node.span };
        };
        let text = |node: &Node| match template::evaluate(node, &self.scope) {
            Ok(Value::String(text)) => Node { value: NodeValue::Text(text), span: node.span },
            // Its problem is found when the value is evaluated by itself.
            _ => node.clone(),
        };
        let value = match &value.value {
            NodeValue::List(nodes) => {
                let nodes = nodes.iter().map(text).collect();
                Node { value: NodeValue::List(nodes), span: value.span }
            }
            _ => text(value),
        };
        Node { value: NodeValue::Map(vec![(key.clone(), value)]), span: Span::default() }
    }
}

/// Reads all secrets at the same time: the secrets, their markers by name, and what to warn about.
async fn read_all(
    references: Vec<(String, Reference)>,
    folder: &Path,
    variables: Variables<'_>,
    environment: &str,
) -> (Secrets, HashMap<String, String>, Vec<String>) {
    let reads = references.iter().map(|(_, reference)| reference.read(folder, variables));
    let reads = join_all(reads).await;
    let mut secrets = Secrets::default();
    let mut markers = HashMap::new();
    let mut warnings = Vec::new();
    for ((name, _), Read { value, warning }) in references.into_iter().zip(reads) {
        let marker = match value {
            Ok(secret) => secrets.insert(&name, secret),
            Err(reason) => {
                warnings.push(format!(
                    "the secret `{name}` of environment `{environment}` is missing: {reason}"
                ));
                secrets.insert_missing(&name, reason)
            }
        };
        warnings.extend(warning);
        let _none = markers.insert(name, marker);
    }
    (secrets, markers, warnings)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    use super::*;
    use crate::action::{ErrorKind, SystemConnection};
    use crate::plan::testing;

    #[derive(Debug, serde::Deserialize)]
    struct Memory {
        values: HashMap<String, String>,
    }

    impl SystemConnection for Memory {
        const KEY: &'static str = "memory";
    }

    fn variables(name: &str) -> Option<String> {
        match name {
            "TOKEN" => Some("t0p-s3cret".to_owned()),
            "HOME" => Some("/home/me".to_owned()),
            _ => None,
        }
    }

    fn file(text: &str) -> Result<EnvironmentFile, Diagnostics> {
        EnvironmentFile::parse(Path::new("/e/live.yaml"), text, &testing::registry())
    }

    async fn resolve(text: &str, sandbox: Option<&Value>) -> Result<Environment, Diagnostics> {
        file(text)?.resolve_with(sandbox, &variables).await
    }

    fn codes(problems: &Diagnostics) -> Vec<&'static str> {
        problems.iter().map(|problem| problem.code).collect()
    }

    #[tokio::test]
    async fn secrets_travel_as_markers() {
        let environment = resolve(
            "version: 1\nvalues:\n  url: http://x\n  token: {variable: TOKEN}\n\
             connections:\n  memory: {values: {key: {variable: TOKEN}}}\n\
             inputs: {agents: [a, b]}\nlock_dir: ~/locks\n",
            None,
        )
        .await
        .expect("valid");
        assert_eq!(environment.name, "live");
        assert_eq!(environment.values["url"], "http://x");
        assert_eq!(environment.inputs["agents"], json!(["a", "b"]));
        assert_eq!(environment.lock_dir, Some("/home/me/locks".into()));
        assert!(environment.warnings.is_empty());
        let token = environment.values["token"].as_str().expect("a text");
        assert!(!token.contains("t0p"), "{token}");
        let secrets = environment.connections.secrets();
        assert_eq!(secrets.reveal(token).expose_secret(), "t0p-s3cret");
        let memory: Memory = environment.connections.settings().expect("valid");
        assert_eq!(secrets.reveal(&memory.values["key"]).expose_secret(), "t0p-s3cret");
    }

    #[tokio::test]
    async fn a_missing_secret_stops_only_those_who_need_it() {
        let environment = resolve(
            "version: 1\nvalues: {a: {variable: NONE}, b: fine}\n\
             connections: {memory: {values: {key: {variable: NONE}}}}\n",
            None,
        )
        .await
        .expect("no error by itself");
        assert_eq!(environment.warnings.len(), 2);
        let secrets = environment.connections.secrets();
        let missing = secrets.missing_in(&environment.values["a"]).expect("missing");
        assert_eq!((missing.name, missing.reason), ("values.a", "the variable NONE is not set"));
        assert_eq!(secrets.missing_in(&environment.values["b"]), None);
        let error = environment.connections.settings::<Memory>().expect_err("needs the secret");
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.message.contains("connections.memory.values.key"), "{error}");
    }

    #[tokio::test]
    async fn the_sandbox_gives_its_addresses() {
        let text = "version: 1\nsandbox: true\nvalues: {url: \"{{ sandbox.lb }}/health\"}\n";
        let sandbox = json!({"lb": "http://127.0.0.1:9"});
        let environment = resolve(text, Some(&sandbox)).await.expect("valid");
        assert!(environment.sandbox);
        assert_eq!(environment.values["url"], "http://127.0.0.1:9/health");
        let problems = resolve(text, None).await.map(drop).expect_err("no sandbox");
        assert!(problems.has_errors());
    }

    #[tokio::test]
    async fn what_the_sandbox_has_not_is_no_connection() {
        let text = "version: 1\nsandbox: true\n\
                    connections: {memory: {values: {key: a}, down: \"{{ sandbox.down }}\"}}\n";
        let has = async |down: Value| {
            let environment = resolve(text, Some(&json!({"down": down}))).await.expect("valid");
            assert_ne!(environment.absent == ["memory"], environment.connections.has("memory"));
            environment.connections.has("memory")
        };
        assert!(has(json!(true)).await);
        assert!(!has(json!(null)).await);
    }

    #[test]
    fn all_problems_of_the_form_are_told_at_once() {
        let problems = file(
            "version: 9\nnane: x\nsandbox: perhaps\nconnections: {memroy: {}, memory: 3}\nvalues: [1]\n",
        )
        .expect_err("invalid");
        let mut codes = codes(&problems);
        codes.sort_unstable();
        assert_eq!(
            codes,
            [
                "unknown-key",
                "unknown-system",
                "unknown-version",
                "wrong-type",
                "wrong-type",
                "wrong-type"
            ]
        );
        assert!(
            problems.render(false).contains("did you mean `memory`?"),
            "{}",
            problems.render(false)
        );
    }

    #[test]
    fn a_role_has_people() {
        let problems = file("version: 1\napprovers: {lead: [ada], team: [], crew: ada}\n")
            .expect_err("invalid");
        let mut codes = codes(&problems);
        codes.sort_unstable();
        assert_eq!(codes, ["nobody-approves", "wrong-type"]);
        let file = file("version: 1\napprovers: {lead: [ada, bob]}\n").expect("valid");
        assert_eq!(file.approvers["lead"], ["ada", "bob"]);
    }

    #[test]
    fn connections_are_held_against_the_schema_of_their_system() {
        let problems = file(
            "version: 1\nconnections:\n  memory:\n    dwon: true\n    silent: 3\n    values: {a: {file: x}, b: [1]}\n",
        )
        .expect_err("invalid");
        let shown = problems.render(false);
        assert_eq!(problems.iter().count(), 3, "{shown}");
        assert!(shown.contains("did you mean `down`?"), "{shown}");
        assert!(shown.contains("/e/live.yaml:4:5"), "{shown}");
    }

    #[tokio::test]
    async fn an_open_environment_file_is_warned_about() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("live.yaml");
        std::fs::write(&path, "version: 1\n").expect("written");
        let open = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(&path, open).expect("opened");
        let file = EnvironmentFile::read(&path, &testing::registry()).expect("valid");
        let environment = file.resolve(None).await.expect("valid");
        assert!(environment.warnings[0].contains("chmod o-w"), "{:?}", environment.warnings);
    }

    #[tokio::test]
    async fn a_file_without_a_folder_runs_its_commands_here() {
        let text = "version: 1\nvalues: {token: {command: [printf, abcdef]}}\n";
        let file = EnvironmentFile::parse(Path::new("live.yaml"), text, &testing::registry());
        let environment = file.expect("valid").resolve(None).await.expect("valid");
        assert!(environment.warnings.is_empty(), "{:?}", environment.warnings);
    }

    #[tokio::test]
    async fn malformed_references_have_places() {
        let text = "version: 1\nvalues:\n  a: {command: pass show}\n  b: {variable: \"\"}\n";
        let problems = resolve(text, None).await.map(drop).expect_err("invalid");
        assert_eq!(problems.iter().count(), 2);
        assert!(problems.iter().all(|problem| problem.span.is_some()));
    }

    #[test]
    fn templates_read_the_sandbox_alone() {
        let text = "version: 1\nvalues:\n  a: \"{{ nowhere }}\"\n  b: \"{{ sandbox.lb }}\"\n";
        let problems = file(text).expect_err("neither is known");
        assert_eq!(codes(&problems), ["unknown-name", "unknown-name"]);
        assert!(problems.render(false).contains("sandbox: true"));
    }
}
