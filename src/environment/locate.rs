//! Where an environment file lies, by its name.
//!
//! For a runbook, `environments/NAME.yaml` is looked for in the runbook's folder and in every folder above it; then
//! `rollback.yaml` is asked, then `/etc/rollback/environments`. No environment is ever assumed: without a name
//! the answer is the list of those that there are.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::Config;
use crate::runbook::suggest;

/// The endings of YAML files.
const ENDINGS: [&str; 2] = ["yaml", "yml"];

/// An environment that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentChoice {
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
}

/// Why no environment was found. Exit code 2: a person must choose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// No name was given, by flag, variable or configuration.
    #[error("choose an environment: none was named")]
    NotChosen {
        /// The names that there are.
        available: Vec<String>,
    },
    /// The name leads nowhere.
    #[error("find the environment `{name}`")]
    NotFound {
        /// The name.
        name: String,
        /// The names that there are.
        available: Vec<String>,
    },
}

impl LocateError {
    /// What a person can do.
    pub fn hints(&self) -> Vec<String> {
        let (Self::NotChosen { available } | Self::NotFound { available, .. }) = self;
        let mut hints = Vec::new();
        if let Self::NotFound { name, available } = self
            && let Some(meant) = suggest::closest(name, available.iter().map(String::as_str))
        {
            hints.push(format!("Did you mean `--env {meant}`?"));
        }
        hints.push(match available.as_slice() {
            [] => "There is no `environments` folder beside the runbook or above it; \
                   `rollback init` makes one."
                .to_owned(),
            names => format!("Add `--env NAME`; there are: {}.", names.join(", ")),
        });
        hints
    }
}

/// The environment that flags, variables or configuration name, for a runbook.
///
/// `named` is the value of `--env`; a value with a `/` is a path.
pub fn locate(
    named: Option<&str>,
    runbook: &Path,
    config: &Config,
) -> Result<EnvironmentChoice, LocateError> {
    let available = || available(runbook, config);
    let Some(name) = named.or(config.environment.as_deref()) else {
        return Err(LocateError::NotChosen { available: available().into_keys().collect() });
    };
    if name.contains('/') && Path::new(name).is_file() {
        let path = PathBuf::from(name);
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        return Ok(EnvironmentChoice { name: stem.unwrap_or_default(), path });
    }
    let mut available = available();
    match available.shift_remove(name) {
        Some(path) => Ok(EnvironmentChoice { name: name.to_owned(), path }),
        None => Err(LocateError::NotFound {
            name: name.to_owned(),
            available: available.into_keys().collect(),
        }),
    }
}

/// All environments that a runbook can run against, by name; the nearest file of a name wins.
pub fn available(runbook: &Path, config: &Config) -> IndexMap<String, PathBuf> {
    let mut found = IndexMap::new();
    let runbook = std::path::absolute(runbook).unwrap_or_else(|_| runbook.to_owned());
    for folder in runbook.ancestors().skip(1) {
        add(&folder.join("environments"), &mut found);
    }
    for (name, path) in &config.environments {
        let _nearest = found.entry(name.clone()).or_insert_with(|| path.clone());
    }
    add(&config.system.join("environments"), &mut found);
    found
}

fn add(folder: &Path, found: &mut IndexMap<String, PathBuf>) {
    // A folder that is not there, or not readable, has no environments.
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut files: Vec<PathBuf> =
        entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    files.sort();
    for path in files {
        let yaml = path.extension().is_some_and(|end| ENDINGS.iter().any(|yaml| end == *yaml));
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        if yaml && !name.starts_with('.') {
            let _nearest = found.entry(name.to_owned()).or_insert_with(|| path.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn project() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for file in [
            "runbooks/ollama/environments/staging.yaml",
            "runbooks/environments/staging.yaml",
            "environments/sandbox.yaml",
            "etc/environments/shared.yml",
            "elsewhere/live.yaml",
        ] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, "version: 1\n").expect("written");
        }
        root
    }

    fn config(root: &Path) -> Config {
        Config {
            environments: [("live".to_owned(), root.join("elsewhere/live.yaml"))].into(),
            system: root.join("etc"),
            ..Config::default()
        }
    }

    #[test]
    fn the_nearest_file_wins_and_every_place_is_known() {
        let root = project();
        let root = root.path();
        let runbook = root.join("runbooks/ollama/emergency.yaml");
        let config = config(root);
        let find = |name| locate(Some(name), &runbook, &config).map(|found| found.path);
        assert_eq!(find("staging"), Ok(root.join("runbooks/ollama/environments/staging.yaml")));
        assert_eq!(find("sandbox"), Ok(root.join("environments/sandbox.yaml")));
        assert_eq!(find("live"), Ok(root.join("elsewhere/live.yaml")));
        assert_eq!(find("shared"), Ok(root.join("etc/environments/shared.yml")));
    }

    #[test]
    fn nothing_is_assumed() {
        let root = project();
        let runbook = root.path().join("runbooks/ollama/emergency.yaml");
        let mut config = config(root.path());
        let error = locate(None, &runbook, &config).expect_err("not chosen");
        let LocateError::NotChosen { available } = &error else { panic!("{error}") };
        assert!(available.contains(&"sandbox".to_owned()));
        assert!(error.hints()[0].contains("sandbox"), "{:?}", error.hints());
        config.environment = Some("sandbox".into());
        assert_eq!(locate(None, &runbook, &config).map(|found| found.name), Ok("sandbox".into()));
    }

    #[test]
    fn a_typing_error_gets_a_suggestion() {
        let root = project();
        let runbook = root.path().join("runbooks/ollama/emergency.yaml");
        let error = locate(Some("stagign"), &runbook, &config(root.path())).expect_err("not there");
        assert_eq!(error.hints()[0], "Did you mean `--env staging`?");
    }

    #[test]
    fn a_path_is_taken_as_it_is() {
        let root = project();
        let path = root.path().join("elsewhere/live.yaml");
        let found = locate(path.to_str(), Path::new("/nowhere/r.yaml"), &Config::default());
        assert_eq!(found, Ok(EnvironmentChoice { name: "live".into(), path }));
    }
}
