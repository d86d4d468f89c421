//! The rules of the floor plan, held against the source text: who may name whom, and what shape files have.
//!
//! The compiler cannot hold these, since everything is one crate. Each test collects all violations before it
//! fails. [`source`] reads the tree, [`lexer`] splits a file into words.

pub(crate) mod lexer;
pub(crate) mod source;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use source::{SourceFile, is_in_module, read_tree};

/// A part of the program that may name these other parts only.
struct Border {
    module: &'static str,
    /// Modules, or single items of a module.
    may_name: &'static [&'static str],
    /// More that its tests may name.
    tests_may_name: &'static [&'static str],
}

const BORDERS: [Border; 9] = [
    Border {
        module: "adapters",
        may_name: &["action", "value", "secret", "clock", "digest"],
        tests_may_name: &["sandbox"],
    },
    Border {
        module: "report",
        // Remote text may carry the markers of secrets; whoever shows it hides them.
        may_name: &[
            "event",
            "action",
            "plan",
            "clock",
            "value",
            "secret::hide_markers",
            "secret::has_marker",
        ],
        tests_may_name: &[],
    },
    Border {
        module: "journal",
        may_name: &["event", "action", "plan", "clock", "value", "digest", "failpoint"],
        tests_may_name: &[],
    },
    // The data flow: what comes later is not known to what comes before.
    Border {
        module: "runbook",
        may_name: &["action", "value", "secret", "digest"],
        // The published schema and the shipped runbooks are tested with the real adapters.
        tests_may_name: &["adapters::registry"],
    },
    Border {
        module: "environment",
        may_name: &["runbook", "action", "value", "secret"],
        tests_may_name: &["plan::testing"],
    },
    Border {
        module: "plan",
        may_name: &["environment::Environment", "runbook", "action", "value", "secret"],
        tests_may_name: &["environment"],
    },
    Border {
        module: "engine",
        may_name: &[
            "plan",
            "event",
            "journal",
            "action",
            "value",
            "clock",
            "signal",
            "failpoint",
            "runbook::OnFailure",
        ],
        tests_may_name: &["runbook::Scenario"],
    },
    Border {
        module: "trigger",
        may_name: &["environment::FoundRunbook", "runbook", "action", "value"],
        // The shipped table is tested with the real adapters.
        tests_may_name: &["environment", "adapters::registry"],
    },
    // The world outside: it knows the protocols, not the program that speaks them.
    Border { module: "sandbox", may_name: &["value", "clock", "digest"], tests_may_name: &[] },
];

/// What the engine must work without, in its tests too.
const HIDDEN_FROM_ENGINE: [&str; 3] = ["adapters", "report", "cli"];
const YAML_CRATES: [&str; 2] = ["serde_yaml", "serde_saphyr"];
const YAML_FILE: &str = "runbook/parse.rs";

const LONGEST_FILE: usize = 600;
const MEDIAN_FILE: usize = 200;
const LONG_FUNCTION: usize = 45;
/// The doors of a `mod.rs`: constructors and lists, not logic.
const LONGEST_DOOR: usize = 25;

fn crate_root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The program's source, read once for all rules.
fn tree() -> &'static [SourceFile] {
    static TREE: LazyLock<Vec<SourceFile>> = LazyLock::new(|| read_tree(&crate_root().join("src")));
    &TREE
}

fn assert_none(rule: &str, violations: &[String]) {
    assert!(
        violations.is_empty(),
        "{rule}; {} places do not keep to it:\n  {}",
        violations.len(),
        violations.join("\n  ")
    );
}

/// Is `path` the module or item `part` (`value`, `secret::hide_markers`), or inside of it?
fn is_below(path: &[String], part: &str) -> bool {
    let mut parts = part.split("::");
    let mut path = path.iter();
    parts.all(|name| path.next().is_some_and(|found| found == name))
}

fn border_violations(border: &Border, files: &[SourceFile]) -> Vec<String> {
    let allowed = |path: &[String]| {
        path[0] == border.module || border.may_name.iter().any(|part| is_below(path, part))
    };
    let in_tests = |path: &[String]| border.tests_may_name.iter().any(|part| is_below(path, part));
    let mut violations = Vec::new();
    for file in files.iter().filter(|file| file.top_module() == border.module) {
        let production = file.references().into_iter().filter(|found| !allowed(&found.path));
        let tests = file
            .test_references()
            .into_iter()
            .filter(|found| !allowed(&found.path) && !in_tests(&found.path));
        violations.extend(production.chain(tests).map(|found| {
            format!("src/{}:{} names {}", file.path, found.line, found.path.join("::"))
        }));
    }
    violations
}

/// Every place outside `except` that names a path for which `forbidden` holds.
fn named_by(
    files: &[SourceFile],
    applies: impl Fn(&SourceFile) -> bool,
    forbidden: impl Fn(&[String]) -> bool,
) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files.iter().filter(|file| applies(file)) {
        for found in file.references().into_iter().chain(file.test_references()) {
            if forbidden(&found.path) {
                let named = found.path.join("::");
                violations.push(format!("src/{}:{} names {named}", file.path, found.line));
            }
        }
    }
    violations
}

#[test]
fn parts_name_only_their_neighbours() {
    let files = tree();
    for border in BORDERS {
        let rule = format!("{} names only {}", border.module, border.may_name.join(", "));
        assert_none(&rule, &border_violations(&border, files));
    }
}

#[test]
fn the_engine_knows_no_adapter_report_or_command() {
    let violations = named_by(
        tree(),
        |file| file.top_module() == "engine",
        |path| HIDDEN_FROM_ENGINE.contains(&path[0].as_str()),
    );
    assert_none("the engine names no adapter, report or command", &violations);
}

#[test]
fn nobody_but_main_names_the_command_line() {
    let violations = named_by(
        tree(),
        |file| !matches!(file.top_module(), "cli" | "main"),
        |path| path[0] == "cli",
    );
    assert_none("only main names cli", &violations);
}

#[test]
fn the_yaml_crate_is_named_in_one_file() {
    let mut violations = Vec::new();
    for file in tree().iter().filter(|file| file.path != YAML_FILE) {
        for token in file.production.iter().chain(&file.tests) {
            if YAML_CRATES.contains(&token.text.as_str()) {
                violations.push(format!("src/{}:{} names {}", file.path, token.line, token.text));
            }
        }
    }
    assert_none("only src/runbook/parse.rs names the YAML crate", &violations);
}

/// A new adapter is one folder and one line in `adapters/mod.rs`: nobody else may name a single adapter.
#[test]
fn adapters_are_named_in_their_list_alone() {
    let files = tree();
    let adapters: BTreeSet<&str> = files
        .iter()
        .filter_map(|file| {
            file.path.strip_prefix("adapters/")?.split_once('/').map(|(name, _)| name)
        })
        .collect();
    let mut violations = named_by(
        files,
        |file| file.top_module() != "adapters",
        |path| {
            path[0] == "adapters"
                && path.get(1).is_some_and(|name| adapters.contains(name.as_str()))
        },
    );
    let list = files.iter().find(|file| file.path == "adapters/mod.rs");
    let listed: Vec<&str> = list
        .map(|file| file.production.iter().map(|token| token.text.as_str()).collect())
        .unwrap_or_default();
    let unlisted = adapters.iter().filter(|adapter| !listed.contains(*adapter));
    violations
        .extend(unlisted.map(|adapter| format!("src/adapters/mod.rs does not list {adapter}")));
    assert_none("an adapter is one folder and its place in adapters/mod.rs", &violations);
}

#[test]
fn every_file_is_part_of_the_program() {
    let files = tree();
    let declared: Vec<String> = files.iter().flat_map(SourceFile::declared_modules).collect();
    let orphans = files.iter().filter(|file| {
        !matches!(file.path.as_str(), "lib.rs" | "main.rs")
            && !declared.iter().any(|module| {
                file.path == format!("{module}.rs") || file.path == format!("{module}/mod.rs")
            })
    });
    let mut violations: Vec<String> =
        orphans.map(|file| format!("src/{} is declared by no mod", file.path)).collect();
    violations.extend(undeclared_tests(&crate_root().join("tests")));
    assert_none("a file that is not compiled proves nothing", &violations);
}

/// `tests/` is one program, so that it is linked once: a file there runs only if `tests/main.rs` reaches it.
fn undeclared_tests(root: &Path) -> Vec<String> {
    let files = read_tree(root);
    let declared: Vec<String> = files.iter().flat_map(SourceFile::declared_modules).collect();
    files
        .iter()
        .filter(|file| file.path != "main.rs" && !file.path.starts_with("fixtures/"))
        .filter(|file| {
            !declared.iter().any(|module| {
                file.path == format!("{module}.rs") || file.path == format!("{module}/mod.rs")
            })
        })
        .map(|file| format!("tests/{} is declared by no mod", file.path))
        .collect()
}

#[test]
fn mod_files_hold_doors_not_logic() {
    let files = tree();
    let mut violations = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with("mod.rs")) {
        for function in file.functions().iter().filter(|found| found.lines > LONGEST_DOOR) {
            let (name, line, lines) = (&function.name, function.line, function.lines);
            violations.push(format!("src/{}:{line} {name} has {lines} lines", file.path));
        }
    }
    let rule = format!("a function in a mod.rs has at most {LONGEST_DOOR} lines");
    assert_none(&rule, &violations);
}

#[test]
fn files_are_short() {
    let files = tree();
    let long: Vec<String> = files
        .iter()
        .filter(|file| file.lines > LONGEST_FILE)
        .map(|file| format!("src/{} has {} lines without its tests", file.path, file.lines))
        .collect();
    assert_none(&format!("a file has at most {LONGEST_FILE} lines without its tests"), &long);

    let mut sizes: Vec<usize> =
        files.iter().map(|file| file.lines).filter(|lines| *lines > 0).collect();
    sizes.sort_unstable();
    let median = sizes[sizes.len() / 2];
    assert!(median < MEDIAN_FILE, "the median file has {median} lines, not under {MEDIAN_FILE}");
}

#[test]
fn nine_in_ten_functions_are_short() {
    let files = tree();
    let mut long = Vec::new();
    let mut total = 0;
    for file in files {
        for function in file.functions() {
            total += 1;
            if function.lines >= LONG_FUNCTION {
                let (name, line, lines) = (&function.name, function.line, function.lines);
                long.push(format!("src/{}:{line} {name} has {lines} lines", file.path));
            }
        }
    }
    assert!(total > 0, "no function was found: the reader is broken");
    assert!(
        long.len() * 10 <= total,
        "nine in ten functions have under {LONG_FUNCTION} lines; {} of {total} do not:\n  {}",
        long.len(),
        long.join("\n  ")
    );
}

/// The rules themselves can fail.
#[test]
fn violations_are_found() {
    let file = |path: &str, text: &str| SourceFile::new(path.to_owned(), text, false);
    let files = [
        file(
            "adapters/http/call.rs",
            "use crate::action::Verb;\nuse crate::engine::Retry;\n\
             #[cfg(test)] mod tests { use crate::sandbox::World; use crate::cli::Args; }",
        ),
        file("report/json.rs", "use crate::journal;\nuse crate::secret::{has_marker, reveal};"),
    ];
    assert_eq!(
        border_violations(&BORDERS[0], &files),
        [
            "src/adapters/http/call.rs:2 names engine::Retry",
            "src/adapters/http/call.rs:3 names cli::Args",
        ]
    );
    assert_eq!(
        border_violations(&BORDERS[1], &files),
        ["src/report/json.rs:1 names journal", "src/report/json.rs:2 names secret::reveal"]
    );
    let cli = named_by(&files, |_| true, |path| path[0] == "cli");
    assert_eq!(cli, ["src/adapters/http/call.rs:3 names cli::Args"]);
    assert!(is_in_module("adapters/http/call.rs", "adapters/http"));
}
