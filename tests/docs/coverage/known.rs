//! What a row may name: the parts of the runbooks beside the procedure, the program's verbs and commands, the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rollback::action::Registry;
use rollback::environment::runbooks::{search, tables};
use rollback::environment::{Config, FoundRunbook};
use rollback::runbook::{Runbook, load};
use rollback::trigger::load as load_table;

use super::page::between;
use super::tests;
use crate::docs::parses;

/// What there is.
pub(super) struct Known {
    root: PathBuf,
    tests: BTreeSet<String>,
    /// By procedure: a folder of runbooks belongs to `docs/procedures/NAME.md`.
    runbooks: BTreeMap<String, Parts>,
}

/// What the runbooks of one folder name.
#[derive(Default)]
struct Parts {
    /// Runbooks, phases, steps as `phase/step`, targets, levels of escalation, triggers, roles; and the program's verbs.
    names: BTreeSet<String>,
    /// Each item of a checklist, and whether a probe answers it.
    items: BTreeMap<String, bool>,
}

impl Known {
    pub(super) fn read<'a>(
        root: &Path,
        registry: &Registry,
        procedures: impl Iterator<Item = &'a str>,
    ) -> Self {
        let parts = |file: &str| {
            let folder = root.join("runbooks").join(file.trim_end_matches(".md"));
            (file.to_owned(), Parts::read(&folder, registry))
        };
        Self {
            root: root.to_owned(),
            tests: tests::paths(root),
            runbooks: procedures.map(parts).collect(),
        }
    }

    /// What is wrong with a cell that says what does something.
    pub(super) fn wrong_means(&self, procedure: &str, cell: &str) -> Vec<String> {
        let parts = &self.runbooks[procedure];
        let (codes, items) = (between(cell, '`', '`'), between(cell, '“', '”'));
        let mut wrong = Vec::new();
        if codes.is_empty() && items.is_empty() {
            wrong.push(format!("`{cell}` names nothing that does it"));
        }
        for code in codes {
            let problem = match code.strip_prefix("rollback ") {
                Some(words) => parts.wrong_command(words),
                None if parts.names.contains(code) => None,
                None if code.contains('.') && self.root.join(code).exists() => None,
                None => {
                    Some("there is no such step, trigger, target, level, verb or file".to_owned())
                }
            };
            wrong.extend(problem.map(|problem| format!("`{code}`: {problem}")));
        }
        let missing = items.iter().filter(|item| !parts.items.contains_key(**item));
        wrong.extend(missing.map(|item| format!("no checklist has the item “{item}”")));
        wrong
    }

    /// What is wrong with a cell that names tests.
    pub(super) fn wrong_tests(&self, cell: &str) -> Vec<String> {
        let tests = between(cell, '`', '`');
        if tests.is_empty() {
            return vec![format!("`{cell}` names no test")];
        }
        let missing = tests.iter().filter(|test| !self.tests.contains(**test));
        missing.map(|test| format!("there is no test `{test}`")).collect()
    }

    /// Whether a cell names nothing but items that no probe answers.
    pub(super) fn is_by_hand(&self, procedure: &str, cell: &str) -> bool {
        let items = between(cell, '“', '”');
        let by_hand = |item: &&str| self.runbooks[procedure].items.get(*item) == Some(&false);
        !cell.contains('`') && !items.is_empty() && items.iter().all(by_hand)
    }
}

impl Parts {
    fn read(folder: &Path, registry: &Registry) -> Self {
        let config = Config { runbooks: vec![folder.to_owned()], ..Config::default() };
        let (found, unreadable) = search(folder, &config);
        assert!(!found.is_empty() && unreadable.is_empty(), "{}", folder.display());
        let mut parts = Self::default();
        parts.names.extend(registry.verbs().map(|verb| verb.name.to_owned()));
        for runbook in &found {
            let loaded = load(&runbook.path, registry);
            let loaded = loaded.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
            parts.add_runbook(loaded.runbook);
        }
        for table in tables(folder, &config) {
            parts.add_table(&table, registry, &found);
        }
        parts
    }

    fn add_runbook(&mut self, runbook: Runbook) {
        self.names.insert(runbook.name);
        self.names.extend(runbook.targets.into_keys());
        self.names.extend(runbook.escalation.into_iter().map(|rung| rung.level));
        for phase in runbook.phases {
            for step in &phase.steps {
                self.names.insert(format!("{}/{}", phase.id, step.id));
                if step.verb == "manual.confirm" {
                    self.add_items(&step.args.to_json());
                }
            }
            self.names.insert(phase.id);
        }
    }

    fn add_items(&mut self, checklist: &serde_json::Value) {
        for entry in checklist.as_array().expect("a checklist is a list") {
            let item = entry["item"].as_str().expect("an item has words").to_owned();
            self.items.insert(item, entry["probe"].is_object());
        }
    }

    fn add_table(&mut self, path: &Path, registry: &Registry, runbooks: &[FoundRunbook]) {
        let loaded = load_table(path, registry, runbooks);
        let table = loaded.unwrap_or_else(|problems| panic!("{}", problems.render(false))).table;
        self.names.extend(table.roles.into_keys());
        self.names.extend(table.triggers.into_iter().map(|trigger| trigger.id));
    }

    /// What is wrong with a command line of the program, without its first word.
    fn wrong_command(&self, words: &str) -> Option<String> {
        if let Err(error) = parses(words) {
            return Some(error);
        }
        let words: Vec<_> = words.split_whitespace().collect();
        let mut named = words
            .windows(2)
            .filter(|pair| matches!(pair[0], "run" | "plan" | "--only" | "--from" | "--step"));
        let unknown = named.find(|pair| !self.names.contains(pair[1]))?;
        Some(format!("there is no `{}`", unknown[1]))
    }
}
