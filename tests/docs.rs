//! The documentation tells the truth: its commands parse, its links lead somewhere, its runbooks are valid, its tables are
//! complete, and the adapter that it shows compiles and runs.

mod coverage;
mod markdown;
mod verbs;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory as _;
use markdown::Page;
use rollback::adapters::registry;
use rollback::cli::Cli;
use rollback::environment::runbooks::search;
use rollback::environment::{Config, EnvironmentFile, FoundRunbook};
use rollback::runbook::load_text;
use rollback::trigger::load_text as load_table;
use serde_json::Value;

use crate::support::world::finish;

/// The two commands that the README promises, and CI runs.
const FIRST_MINUTE: [&str; 2] = [
    "cargo run --profile quick -- --emergency --runbook ollama-emergency --env sandbox --reason \"first try\" --yes",
    "make test",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The runbooks that a decision table in a page may name.
fn shipped_runbooks() -> Vec<FoundRunbook> {
    let config = Config { runbooks: vec![root().join("runbooks")], ..Config::default() };
    search(&root(), &config).0
}

/// What people read to use the program.
fn guide() -> Vec<Page> {
    let mut pages = vec![Page::read(&root(), "README.md")];
    pages.extend(Page::in_folder(&root(), "docs/guide"));
    pages
}

/// Every page.
fn all() -> Vec<Page> {
    let mut pages = guide();
    pages.extend(Page::in_folder(&root(), "docs/design"));
    pages.extend(
        ["CONTRIBUTING.md", "CHANGELOG.md", "docs/coverage.md"]
            .map(|name| Page::read(&root(), name)),
    );
    pages
}

#[test]
fn the_readme_names_the_two_commands() {
    let readme = Page::read(&root(), "README.md");
    let lines: Vec<String> = readme
        .blocks()
        .into_iter()
        .filter(|block| block.language == "sh")
        .flat_map(|block| block.text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    for command in FIRST_MINUTE {
        assert!(lines.iter().any(|line| line == command), "README.md lacks `{command}`");
    }
}

/// Whether the program understands a command line, given without its first word.
fn parses(command: &str) -> Result<(), String> {
    let words = shell_words::split(command).map_err(|error| error.to_string())?;
    // A command's bare name is a mention of it.
    if let [name] = words.as_slice()
        && Cli::command().find_subcommand(name).is_some()
    {
        return Ok(());
    }
    let words = std::iter::once("rollback".to_owned()).chain(words);
    Cli::command().try_get_matches_from(words).map(drop).map_err(|error| error.to_string())
}

#[test]
fn every_command_line_parses() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in guide() {
        for command in page.commands() {
            seen += 1;
            if let Err(error) = parses(&command) {
                wrong.push(format!("{}: rollback {command}\n{error}", page.path.display()));
            }
        }
    }
    assert!(seen > 30, "only {seen} command lines were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for page in all() {
        for link in page.links() {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let folder = page.path.parent().unwrap_or(Path::new(""));
            let target = if file.is_empty() { page.path.clone() } else { folder.join(file) };
            let there = root().join(&target).exists()
                && (anchor.is_empty()
                    || Page::read(&root(), &target).anchors().iter().any(|known| known == anchor));
            if !there {
                wrong.push(format!("{}: {link}", page.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_whole_file_in_a_block_is_valid() {
    let registry = registry();
    let mut wrong = Vec::new();
    let (mut runbooks, mut environments, mut tables) = (0, 0, 0);
    for page in all() {
        for block in page.blocks().into_iter().filter(|block| block.language == "yaml") {
            let place = format!("{}:{}", page.path.display(), block.line);
            if !block.text.lines().any(|line| line.starts_with("version: 1")) {
                continue;
            }
            let problems = if block.text.contains("\ntriggers:") {
                tables += 1;
                load_table(&place, &block.text, &registry, &shipped_runbooks()).err()
            } else if block.text.contains("\nphases:") {
                runbooks += 1;
                load_text(&place, &block.text, &registry).err()
            } else {
                environments += 1;
                EnvironmentFile::parse(Path::new("example.yaml"), &block.text, &registry).err()
            };
            wrong.extend(problems.map(|found| format!("{place}\n{}", found.render(false))));
        }
    }
    assert!(
        runbooks > 0 && environments > 0 && tables > 0,
        "{runbooks} runbooks, {environments} environments, {tables} tables"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn shipped_environments_are_valid() {
    let folder = root().join("runbooks/ollama/environments");
    for name in ["sandbox.yaml", "staging.yaml", "production.example.yaml"] {
        let read = EnvironmentFile::read(&folder.join(name), &registry());
        let file = read.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        assert_eq!(file.sandbox, name == "sandbox.yaml", "{name}");
    }
}

#[test]
fn the_page_of_verbs_is_up_to_date() {
    let path = root().join("docs/guide/verbs.md");
    let wanted = verbs::page(&registry());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).expect("the guide is writable");
    }
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = present.lines().zip(wanted.lines()).position(|(is, should)| is != should);
    assert!(
        present == wanted,
        "docs/guide/verbs.md is stale (line {differs:?}, counted from 0): type `make docs`"
    );
}

#[test]
fn every_key_of_a_connection_is_explained() {
    let page = Page::read(&root(), "docs/guide/environments.md");
    let mut missing = Vec::new();
    for connection in registry().systems().iter().flat_map(|system| &system.connections) {
        let heading = format!("\n### {}\n", connection.key);
        let Some((_, section)) = page.text().split_once(&heading) else {
            missing.push(format!("the section `{}`", connection.key));
            continue;
        };
        let section = section.split("\n### ").next().unwrap_or_default();
        let mut keys = Vec::new();
        collect_keys(&verbs::schema(connection.schema), &mut keys);
        let unexplained = keys.into_iter().filter(|key| !section.contains(&format!("`{key}`")));
        missing.extend(unexplained.map(|key| format!("{}: `{key}`", connection.key)));
    }
    assert!(missing.is_empty(), "docs/guide/environments.md lacks {}", missing.join(", "));
}

fn collect_keys(schema: &Value, keys: &mut Vec<String>) {
    match schema {
        Value::Object(entries) => {
            if let Some(properties) = entries.get("properties").and_then(Value::as_object) {
                keys.extend(properties.keys().cloned());
                properties.values().for_each(|property| collect_keys(property, keys));
            }
            let others = entries.iter().filter(|(name, _)| *name != "properties");
            others.for_each(|(_, value)| collect_keys(value, keys));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_keys(value, keys)),
        _ => {}
    }
}

#[test]
fn the_custom_adapter_runs() {
    let program =
        Path::new(env!("CARGO_BIN_EXE_rollback")).with_file_name("examples/custom-adapter");
    assert!(program.exists(), "{} is not built: run the tests by `make test`", program.display());
    let output = finish(&mut Command::new(program)).expect_code(0);
    for said in [
        "turn the flag new-checkout off",
        "✓ old-checkout-is-live",
        "new-checkout is off",
        "every target met",
    ] {
        assert!(output.stdout.contains(said), "`{said}` is missing:\n{output}");
    }
}

#[test]
fn the_custom_adapter_sees_only_the_port() {
    let folder = root().join("examples/custom-adapter/flags");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).expect("the example is there") {
        let path = entry.expect("a folder entry").path();
        let text = std::fs::read_to_string(&path).expect("a source file");
        for line in text.lines().filter(|line| line.contains("rollback::")) {
            assert!(line.contains("rollback::action"), "{}: {line}", path.display());
        }
        files += 1;
    }
    assert!(files >= 3, "only {files} files");
}
