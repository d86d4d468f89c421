//! How the runbooks of a project are found: by name, by path, or by scenario.
//!
//! `rollback.yaml` names files and folders; without that, `./runbooks` is searched, and `/etc/rollback/runbooks` always
//! last. Finding reads only as much of a file as tells what it is; whether it is valid is for
//! [`load`](mod@crate::runbook::load) to say.

use std::path::{Path, PathBuf};

use super::document::Document;
use super::{Config, locate};
use crate::runbook::{Scenario, suggest};

/// Folders deeper than this are not searched.
const DEEPEST: usize = 8;
/// More files than this are not looked at.
const MOST_FILES: usize = 2_000;

/// A file that says it is a runbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRunbook {
    /// Where it lies.
    pub path: PathBuf,
    /// Its `name`, else the file's name without its ending.
    pub name: String,
    /// Its `title`.
    pub title: Option<String>,
    /// Its `scenario`, if it is a known one.
    pub scenario: Option<Scenario>,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Exactly one.
    One(FoundRunbook),
    /// Several: a menu on a terminal, else this list and exit code 2.
    Several(Vec<FoundRunbook>),
    /// None; what there is instead, and what to do.
    None {
        /// The other runbooks.
        others: Vec<FoundRunbook>,
        /// Sentences for a person.
        hints: Vec<String>,
    },
}

impl Found {
    /// Of several only those for which there is the environment that was asked for; all of them where there is none.
    #[must_use]
    pub fn with_environment(self, env: Option<&str>, config: &Config) -> Self {
        let Self::Several(all) = self else { return self };
        let has = |found: &FoundRunbook| locate::locate(env, &found.path, config).is_ok();
        let mut those: Vec<FoundRunbook> = all.iter().filter(|found| has(found)).cloned().collect();
        match those.len() {
            0 => Self::Several(all),
            1 => Self::One(those.remove(0)),
            _ => Self::Several(those),
        }
    }
}

/// The runbook that a person named: a path, or the name of one of the project's runbooks.
pub fn named(name: &str, folder: &Path, config: &Config) -> Found {
    let path = folder.join(name);
    if path.is_file() {
        // Its problems are told by whoever loads it, so one that cannot be looked into counts as found.
        let document = Document::read(&path).ok();
        let found = document.and_then(|document| look(&path, &document));
        return Found::One(found.unwrap_or_else(|| unreadable(&path)));
    }
    let (all, unreadable) = search(folder, config);
    let (matching, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|found| found.name == name);
    let known = others.iter().map(|found| found.name.as_str());
    // People remember a part of a name: `emergency` of `ollama-emergency`.
    let part = known.clone().find(|known| known.contains(name));
    let meant = suggest::closest(name, known).or(part);
    let meant = meant.map(|meant| format!("Did you mean `{meant}`?"));
    choose(matching, others, meant, &unreadable)
}

/// The runbooks of a scenario.
pub fn of_scenario(scenario: Scenario, folder: &Path, config: &Config) -> Found {
    let (all, unreadable) = search(folder, config);
    let (matching, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|found| found.scenario == Some(scenario));
    choose(matching, others, None, &unreadable)
}

fn choose(
    mut matching: Vec<FoundRunbook>,
    others: Vec<FoundRunbook>,
    suggestion: Option<String>,
    unreadable: &[PathBuf],
) -> Found {
    match matching.len() {
        0 => {
            // What is wanted may be the very file that cannot be read.
            let mut hints: Vec<String> = unreadable
                .iter()
                .map(|path| path.display())
                .map(|path| format!("{path} cannot be read; type `rollback check {path}`."))
                .collect();
            hints.extend(suggestion);
            hints.push(if others.is_empty() {
                "There are no runbooks in `./runbooks`; `rollback init` makes a first one.".into()
            } else {
                let names: Vec<&str> = others.iter().map(|found| found.name.as_str()).collect();
                format!("There are: {}. Run one with `rollback run NAME`.", names.join(", "))
            });
            Found::None { others, hints }
        }
        1 => Found::One(matching.remove(0)),
        _ => Found::Several(matching),
    }
}

/// All runbooks of the project and the machine in the order in which they were found, and the files that cannot
/// be read as YAML, which may have been meant as runbooks.
pub fn search(folder: &Path, config: &Config) -> (Vec<FoundRunbook>, Vec<PathBuf>) {
    let mut found = Vec::new();
    let mut unreadable = Vec::new();
    for path in files(folder, config) {
        match Document::read(&path) {
            Ok(document) => found.extend(look(&path, &document)),
            Err(_) => unreadable.push(path),
        }
    }
    (found, unreadable)
}

/// All decision tables of the project and the machine, in the order in which they were found: files with `triggers` at their top.
pub fn tables(folder: &Path, config: &Config) -> Vec<PathBuf> {
    let mut found = files(folder, config);
    found.retain(|path| is_table(path));
    found
}

/// Whether a file says that it is a decision table.
pub fn is_table(path: &Path) -> bool {
    Document::read(path).is_ok_and(|document| {
        document.root.get("triggers").is_some() && document.root.get("phases").is_none()
    })
}

/// The YAML files in which a project and the machine have their runbooks.
fn files(folder: &Path, config: &Config) -> Vec<PathBuf> {
    let project = if config.runbooks.is_empty() {
        vec![folder.join("runbooks")]
    } else {
        config.runbooks.clone()
    };
    let mut files = Vec::new();
    for place in project.into_iter().chain([config.system.join("runbooks")]) {
        collect(&place, DEEPEST, &mut files);
    }
    files
}

/// The YAML files of a folder and the folders in it, in alphabetical order; links to folders are not followed.
fn collect(place: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    if place.is_file() {
        let yaml = place.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
        if yaml && files.len() < MOST_FILES && !files.contains(&place.to_owned()) {
            files.push(place.to_owned());
        }
        return;
    }
    // A folder that is not there, or not readable, has no runbooks.
    let Ok(entries) = std::fs::read_dir(place) else { return };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .filter(|entry| entry.path().is_file() || !entry.path().is_symlink())
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    if depth > 0 {
        for path in paths {
            collect(&path, depth - 1, files);
        }
    }
}

/// What a file says it is; `None` when it is no runbook.
fn look(path: &Path, document: &Document) -> Option<FoundRunbook> {
    let root = &document.root;
    let _phases = root.get("phases")?;
    let text = |key| root.get(key).and_then(|node| node.as_text());
    let scenario = text("scenario").map(serde_json::Value::from);
    Some(FoundRunbook {
        name: text("name").map_or_else(|| stem(path), str::to_owned),
        title: text("title").map(str::to_owned),
        scenario: scenario.and_then(|name| serde_json::from_value(name).ok()),
        path: path.to_owned(),
    })
}

fn unreadable(path: &Path) -> FoundRunbook {
    FoundRunbook { path: path.to_owned(), name: stem(path), title: None, scenario: None }
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn project() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        let runbook = |name: &str, scenario: &str| {
            format!("version: 1\nname: {name}\ntitle: T\nscenario: {scenario}\nphases: []\n")
        };
        for (file, text) in [
            ("runbooks/one/emergency.yaml", runbook("one-emergency", "emergency")),
            ("runbooks/two/emergency.yaml", runbook("two-emergency", "emergency")),
            ("runbooks/one/graceful.yaml", runbook("one-graceful", "graceful")),
            ("runbooks/one/environments/live.yaml", "version: 1\nvalues: {}\n".into()),
            ("runbooks/broken.yaml", "a: [".into()),
            ("etc/runbooks/shared.yaml", runbook("shared", "partial")),
        ] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        root
    }

    fn config(root: &Path) -> Config {
        Config { system: root.join("etc"), ..Config::default() }
    }

    fn names(found: &[FoundRunbook]) -> Vec<&str> {
        found.iter().map(|found| found.name.as_str()).collect()
    }

    #[test]
    fn finds_by_scenario() {
        let root = project();
        let config = config(root.path());
        let Found::Several(found) = of_scenario(Scenario::Emergency, root.path(), &config) else {
            panic!("two emergencies");
        };
        assert_eq!(names(&found), ["one-emergency", "two-emergency"]);
        let Found::One(found) = of_scenario(Scenario::Partial, root.path(), &config) else {
            panic!("one for the machine");
        };
        assert_eq!(found.name, "shared");
        let found = of_scenario(Scenario::KnowledgeBase, root.path(), &config);
        let Found::None { others, hints } = found else { panic!("none") };
        assert_eq!(others.len(), 4);
        assert!(hints[0].contains("rollback check"), "{hints:?}");
        assert!(hints[0].contains("broken.yaml"), "{hints:?}");
        assert!(hints[1].contains("one-graceful"), "{hints:?}");
    }

    #[test]
    fn of_several_the_one_that_has_the_environment_is_meant() {
        let root = project();
        let config = config(root.path());
        let narrowed = |env| {
            let found = of_scenario(Scenario::Emergency, root.path(), &config);
            match found.with_environment(env, &config) {
                Found::One(one) => vec![one.name],
                Found::Several(several) => several.into_iter().map(|found| found.name).collect(),
                Found::None { .. } => Vec::new(),
            }
        };
        assert_eq!(narrowed(Some("live")), ["one-emergency"]);
        for all in [None, Some("elsewhere")] {
            assert_eq!(narrowed(all), ["one-emergency", "two-emergency"]);
        }
    }

    #[test]
    fn finds_by_name_and_by_path() {
        let root = project();
        let config = config(root.path());
        let find = |name| named(name, root.path(), &config);
        let Found::One(found) = find("one-graceful") else { panic!("by name") };
        assert_eq!(found.scenario, Some(Scenario::Graceful));
        let Found::One(found) = find("runbooks/broken.yaml") else { panic!("by path") };
        assert_eq!(found.name, "broken");
        let Found::None { hints, .. } = find("one-gracefull") else { panic!("not there") };
        assert_eq!(hints[1], "Did you mean `one-graceful`?");
    }

    #[test]
    fn the_configuration_replaces_the_default_folder() {
        let root = project();
        let mut config = config(root.path());
        config.runbooks = vec![root.path().join("runbooks/two")];
        assert_eq!(names(&search(root.path(), &config).0), ["two-emergency", "shared"]);
    }
}
