//! The configuration: `rollback.yaml` and what stands above and below it.
//!
//! A value is taken from the first of: a flag (the caller's business), a `ROLLBACK_*` variable, `rollback.yaml` in this
//! folder or the nearest above, `~/.config/rollback/config.yaml`, `/etc/rollback/config.yaml`. Paths in a file start
//! at that file's folder.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::document::{Document, Problems};
use super::reference::absolute;
use crate::runbook::diagnostic::{Diagnostic, Diagnostics};
use crate::runbook::node::{Node, NodeValue};

const KEYS: [&str; 9] = [
    "version",
    "environment",
    "environments",
    "runbooks",
    "state_dir",
    "lock_dir",
    "log",
    "format",
    "color",
];
const FORMATS: [&str; 3] = ["human", "json", "jsonl"];
const COLORS: [&str; 3] = ["auto", "always", "never"];

/// What is configured, with the nearest source winning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The environment to use when no flag names one.
    pub environment: Option<String>,
    /// Environment files by name.
    pub environments: IndexMap<String, PathBuf>,
    /// Runbook files, and folders of runbooks.
    pub runbooks: Vec<PathBuf>,
    /// Where runs keep their journals.
    pub state_dir: Option<PathBuf>,
    /// Where lock files lie.
    pub lock_dir: Option<PathBuf>,
    /// The rollback log of this project, a Markdown file.
    pub log: Option<PathBuf>,
    /// `human`, `json` or `jsonl`.
    pub format: Option<String>,
    /// `auto`, `always` or `never`.
    pub color: Option<String>,
    /// The files that were read, nearest first.
    pub files: Vec<PathBuf>,
    /// The folder of the machine's shared runbooks and environments: `/etc/rollback`.
    pub system: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            environment: None,
            environments: IndexMap::new(),
            runbooks: Vec::new(),
            state_dir: None,
            lock_dir: None,
            log: None,
            format: None,
            color: None,
            files: Vec::new(),
            system: PathBuf::from("/etc/rollback"),
        }
    }
}

/// Where configuration is looked for.
pub struct Places<'a> {
    /// The folder the program was started in.
    pub folder: PathBuf,
    /// The folder of the machine's configuration.
    pub system: PathBuf,
    /// The variables of the environment.
    pub variables: &'a (dyn Fn(&str) -> Option<String> + Sync),
}

impl Config {
    /// The configuration as this process finds it.
    pub fn load() -> Result<Self, Diagnostics> {
        let variables = |name: &str| std::env::var(name).ok();
        Self::load_from(&Places {
            folder: std::env::current_dir().unwrap_or_default(),
            system: Self::default().system,
            variables: &variables,
        })
    }

    /// The configuration of these places.
    pub fn load_from(places: &Places<'_>) -> Result<Self, Diagnostics> {
        let mut config = Self { system: places.system.clone(), ..Self::default() };
        config.add_variables(places)?;
        for path in places.files().into_iter().filter(|path| path.is_file()) {
            config.add(read(&path, places)?);
            config.files.push(path);
        }
        Ok(config)
    }

    fn add_variables(&mut self, places: &Places<'_>) -> Result<(), Diagnostics> {
        let value = |name: &str| (places.variables)(name).filter(|value| !value.is_empty());
        self.environment = value("ROLLBACK_ENV");
        self.state_dir = value("ROLLBACK_STATE_DIR").map(|dir| places.folder.join(dir));
        self.lock_dir = value("ROLLBACK_LOCK_DIR").map(|dir| places.folder.join(dir));
        self.format = value("ROLLBACK_FORMAT");
        self.color = value("ROLLBACK_COLOR");
        let mut problems = Vec::new();
        for (name, value, known) in
            [("ROLLBACK_FORMAT", &self.format, &FORMATS), ("ROLLBACK_COLOR", &self.color, &COLORS)]
        {
            if let Some(value) = value.as_deref().filter(|value| !known.contains(value)) {
                problems.push(Diagnostic::error(
                    "bad-value",
                    format!("the variable {name} is `{value}`, not one of {}", known.join(", ")),
                ));
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        let source = crate::runbook::diagnostic::Source::new("the environment's variables", "");
        Err(Diagnostics::new(source, problems))
    }

    /// Takes what is not set yet from a source that is farther away.
    fn add(&mut self, farther: Self) {
        fn fill<T>(nearer: &mut Option<T>, farther: Option<T>) {
            if nearer.is_none() {
                *nearer = farther;
            }
        }
        fill(&mut self.environment, farther.environment);
        fill(&mut self.state_dir, farther.state_dir);
        fill(&mut self.lock_dir, farther.lock_dir);
        fill(&mut self.log, farther.log);
        fill(&mut self.format, farther.format);
        fill(&mut self.color, farther.color);
        for (name, path) in farther.environments {
            let _nearest = self.environments.entry(name).or_insert(path);
        }
        if self.runbooks.is_empty() {
            self.runbooks = farther.runbooks;
        }
    }
}

impl Places<'_> {
    /// The candidates, nearest first.
    fn files(&self) -> Vec<PathBuf> {
        let variable = |name| (self.variables)(name).filter(|value: &String| !value.is_empty());
        let above = self.folder.ancestors().map(|folder| folder.join("rollback.yaml"));
        let project = above.into_iter().find(|path| path.is_file());
        let home = variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(Path::new(&variable("HOME")?).join(".config")))
            .map(|config| config.join("rollback/config.yaml"));
        project.into_iter().chain(home).chain([self.system.join("config.yaml")]).collect()
    }
}

fn read(path: &Path, places: &Places<'_>) -> Result<Config, Diagnostics> {
    let Document { source, root } = Document::read(path)?;
    let mut problems = Problems::default();
    problems.only(&root, &KEYS);
    problems.version(&root, false);
    let folder = path.parent().unwrap_or(Path::new(""));
    let place = |text: String| absolute(Path::new(&text), folder, places.variables);
    let config = Config {
        environment: problems.text(&root, "environment"),
        environments: environments(&root, &mut problems, &place),
        runbooks: runbooks(&root, &mut problems, &place),
        state_dir: problems.text(&root, "state_dir").map(place),
        lock_dir: problems.text(&root, "lock_dir").map(place),
        log: problems.text(&root, "log").map(place),
        format: one_of(&root, "format", &FORMATS, &mut problems),
        color: one_of(&root, "color", &COLORS, &mut problems),
        ..Config::default()
    };
    if problems.0.is_empty() { Ok(config) } else { Err(Diagnostics::new(source, problems.0)) }
}

fn environments(
    root: &Node,
    problems: &mut Problems,
    place: &dyn Fn(String) -> PathBuf,
) -> IndexMap<String, PathBuf> {
    let Some(node) = root.get("environments") else { return IndexMap::new() };
    let names: Vec<&str> =
        problems.entries(node).iter().map(|(key, _)| key.name.as_str()).collect();
    names
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), place(problems.text(node, name)?))))
        .collect()
}

fn runbooks(
    root: &Node,
    problems: &mut Problems,
    place: &dyn Fn(String) -> PathBuf,
) -> Vec<PathBuf> {
    let Some(node) = root.get("runbooks") else { return Vec::new() };
    let nodes = match &node.value {
        NodeValue::List(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let mut paths = Vec::new();
    for node in nodes {
        match node.as_text() {
            Some(text) => paths.push(place(text.to_owned())),
            None => problems.wrong_type(node, "a path, or a list of paths"),
        }
    }
    paths
}

fn one_of(
    root: &Node,
    key: &str,
    known: &[&'static str],
    problems: &mut Problems,
) -> Option<String> {
    let text = problems.text(root, key)?;
    if !known.contains(&text.as_str())
        && let Some(node) = root.get(key)
    {
        problems.wrong_type(node, &format!("one of {}", known.join(", ")));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Machine {
        root: tempfile::TempDir,
    }

    impl Machine {
        fn new(files: &[(&str, &str)]) -> Self {
            let root = tempfile::tempdir().expect("a folder");
            for (path, text) in files {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().expect("a parent")).expect("made");
                fs::write(path, text).expect("written");
            }
            fs::create_dir_all(root.path().join("project/deep")).expect("made");
            Self { root }
        }

        fn load(&self, variables: &[(&str, &str)]) -> Result<Config, Diagnostics> {
            let home = self.root.path().join("home").display().to_string();
            let variables = |name: &str| match name {
                "HOME" => Some(home.clone()),
                _ => variables
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| (*value).to_owned()),
            };
            Config::load_from(&Places {
                folder: self.root.path().join("project/deep"),
                system: self.root.path().join("etc"),
                variables: &variables,
            })
        }
    }

    #[test]
    fn the_nearest_source_wins() {
        let machine = Machine::new(&[
            (
                "project/rollback.yaml",
                "environment: staging\nenvironments: {live: env/live.yaml}\n",
            ),
            (
                "home/.config/rollback/config.yaml",
                "environment: home\nformat: json\nstate_dir: ~/runs\nenvironments: {live: x.yaml}\n",
            ),
            ("etc/config.yaml", "format: jsonl\nlock_dir: /run/lock/x\nrunbooks: shared\n"),
        ]);
        let root = machine.root.path();
        let config = machine.load(&[]).expect("valid");
        assert_eq!(config.environment.as_deref(), Some("staging"));
        assert_eq!(config.format.as_deref(), Some("json"));
        assert_eq!(config.state_dir, Some(root.join("home/runs")));
        assert_eq!(config.lock_dir, Some("/run/lock/x".into()));
        assert_eq!(config.environments["live"], root.join("project/env/live.yaml"));
        assert_eq!(config.runbooks, [root.join("etc/shared")]);
        assert_eq!(config.files.len(), 3);
        let variables = [("ROLLBACK_ENV", "other"), ("ROLLBACK_STATE_DIR", "here")];
        let config = machine.load(&variables).expect("valid");
        assert_eq!(config.environment.as_deref(), Some("other"));
        assert_eq!(config.state_dir, Some(root.join("project/deep/here")));
    }

    #[test]
    fn all_problems_of_a_file_are_told_at_once() {
        let machine = Machine::new(&[(
            "project/rollback.yaml",
            "version: 2\nenvironmnet: x\nformat: xml\nrunbooks: [a, 3]\n",
        )]);
        let problems = machine.load(&[]).expect_err("invalid");
        let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
        assert_eq!(codes, ["unknown-version", "unknown-key", "wrong-type", "wrong-type"]);
        assert!(
            problems.iter().any(|problem| problem.hints.iter().any(|h| h.contains("environment")))
        );
    }

    #[test]
    fn nothing_configured_is_fine_and_a_bad_variable_is_not() {
        let machine = Machine::new(&[]);
        let config = machine.load(&[]).expect("empty");
        assert_eq!(config.environment, None);
        let problems = machine.load(&[("ROLLBACK_FORMAT", "xml")]).expect_err("invalid");
        assert!(problems.render(false).contains("ROLLBACK_FORMAT"));
    }
}
