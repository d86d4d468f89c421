//! The source tree as the rules see it: files, which of their lines are tests, what each names, and its functions.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::lexer::{Token, tokens};

/// One file of the tree.
pub(super) struct SourceFile {
    /// The path below the tree's root, with `/`.
    pub(super) path: String,
    /// The file's tokens, without its tests.
    pub(super) production: Vec<Token>,
    /// The tokens of its tests.
    pub(super) tests: Vec<Token>,
    /// Lines, without its tests; 0 for a file that holds nothing but tests.
    pub(super) lines: usize,
    /// The modules that it declares by `#[path = "…"]`.
    by_path: Vec<String>,
}

/// A function with a body.
pub(super) struct Function {
    pub(super) name: String,
    /// The line of its name.
    pub(super) line: usize,
    /// From the line of its name to its closing brace.
    pub(super) lines: usize,
}

/// A path that starts in this crate, made absolute: `crate::value::brief` is `["value", "brief"]`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) path: Vec<String>,
    pub(super) line: usize,
}

/// All `.rs` files below `root`, sorted by path.
pub(super) fn read_tree(root: &Path) -> Vec<SourceFile> {
    let texts: BTreeMap<String, String> = rust_files(root)
        .into_iter()
        .map(|file| {
            let text = std::fs::read_to_string(&file)
                .unwrap_or_else(|error| panic!("failed to read {}: {error}", file.display()));
            let below = file.strip_prefix(root).expect("the file was found below the root");
            (below.to_string_lossy().replace('\\', "/"), text)
        })
        .collect();
    let test_only: BTreeSet<String> = texts
        .iter()
        .flat_map(|(path, text)| modules_of(path, &test_parts(&tokens(text)).1))
        .collect();
    texts
        .into_iter()
        .map(|(path, text)| {
            let is_test = path.ends_with("/tests.rs")
                || test_only.iter().any(|module| is_in_module(&path, module));
            SourceFile::new(path, &text, is_test)
        })
        .collect()
}

/// All `.rs` files below `root`.
pub(crate) fn rust_files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("failed to list {}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("the folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

impl SourceFile {
    /// A file from its text; `is_test` when the whole of it is compiled for tests only.
    pub(super) fn new(path: String, text: &str, is_test: bool) -> Self {
        let all = tokens(text);
        let by_path = modules_by_path(&path, text);
        if is_test {
            return Self { path, production: Vec::new(), tests: all, lines: 0, by_path };
        }
        let (production, tests) = test_parts(&all);
        let test_lines: usize = test_ranges(&all)
            .into_iter()
            .map(|range| all[range.end - 1].line - all[range.start].line + 1)
            .sum();
        Self { path, production, tests, lines: text.lines().count() - test_lines, by_path }
    }

    /// The top-level module that the file belongs to: `adapters` for `adapters/docker/stop.rs`.
    pub(super) fn top_module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or(&self.path);
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// What its production code names of this crate.
    pub(super) fn references(&self) -> Vec<Reference> {
        references(&module_path(&self.path), &self.production)
    }

    /// What its tests name of this crate. Inside `mod tests`, `super` is the file's own module.
    pub(super) fn test_references(&self) -> Vec<Reference> {
        references(&module_path(&self.path), &self.tests)
    }

    /// The modules it declares in files of their own, as paths without `.rs` or `/mod.rs`.
    pub(super) fn declared_modules(&self) -> Vec<String> {
        let mut all = modules_of(&self.path, &self.production);
        all.extend(modules_of(&self.path, &self.tests));
        all.extend(self.by_path.iter().cloned());
        all
    }

    /// Its functions outside of tests.
    pub(super) fn functions(&self) -> Vec<Function> {
        let tokens = &self.production;
        (0..tokens.len()).filter_map(|at| function_at(tokens, at)).collect()
    }
}

fn word(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| token.text.as_str())
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn path_separator(tokens: &[Token], at: usize) -> bool {
    word(tokens, at) == ":" && word(tokens, at + 1) == ":"
}

fn function_at(tokens: &[Token], at: usize) -> Option<Function> {
    if word(tokens, at) != "fn" || !is_name(word(tokens, at + 1)) {
        return None;
    }
    let end = item_end(tokens, at);
    if word(tokens, end - 1) != "}" {
        return None;
    }
    let line = tokens[at].line;
    Some(Function {
        name: tokens[at + 1].text.clone(),
        line,
        lines: tokens[end - 1].line - line + 1,
    })
}

/// Where the item that starts at `from` ends: behind its `;` or its closing brace.
fn item_end(tokens: &[Token], from: usize) -> usize {
    let (mut braces, mut brackets) = (0_i32, 0_i32);
    for at in from..tokens.len() {
        match word(tokens, at) {
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets -= 1,
            "{" => braces += 1,
            "}" => {
                braces -= 1;
                // `use a::{b};` goes on to its semicolon.
                if braces <= 0 && brackets == 0 && word(tokens, at + 1) != ";" {
                    return at + 1;
                }
            }
            ";" if braces == 0 && brackets == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// The items under `#[cfg(test)]`, attribute included.
fn test_ranges(tokens: &[Token]) -> Vec<Range<usize>> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at + MARK.len() <= tokens.len() {
        if MARK.iter().enumerate().all(|(ahead, text)| word(tokens, at + ahead) == *text) {
            let end = item_end(tokens, at + MARK.len());
            ranges.push(at..end);
            at = end;
        } else {
            at += 1;
        }
    }
    ranges
}

fn test_parts(tokens: &[Token]) -> (Vec<Token>, Vec<Token>) {
    let ranges = test_ranges(tokens);
    let (tests, production): (Vec<_>, Vec<_>) = tokens
        .iter()
        .cloned()
        .enumerate()
        .partition(|(at, _)| ranges.iter().any(|range| range.contains(at)));
    (strip_index(production), strip_index(tests))
}

fn strip_index(tokens: Vec<(usize, Token)>) -> Vec<Token> {
    tokens.into_iter().map(|(_, token)| token).collect()
}

/// The files' places that `mod name;` declares in the file at `path`.
fn modules_of(path: &str, tokens: &[Token]) -> Vec<String> {
    let folder = match path.rsplit_once('/') {
        Some((folder, "mod.rs")) => format!("{folder}/"),
        None if matches!(path, "lib.rs" | "main.rs") => String::new(),
        _ => format!("{}/", path.trim_end_matches(".rs")),
    };
    (0..tokens.len())
        .filter(|at| word(tokens, *at) == "mod" && word(tokens, at + 2) == ";")
        .map(|at| format!("{folder}{}", word(tokens, at + 1)))
        .collect()
}

/// The files that `#[path = "…"]` names, which are relative to the folder of the file at `path`.
fn modules_by_path(path: &str, text: &str) -> Vec<String> {
    let folder = path.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("#[path = \"")?.strip_suffix(".rs\"]"))
        .map(|module| format!("{folder}{module}"))
        .collect()
}

/// Is the file at `path` the module's own, or below it?
pub(super) fn is_in_module(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// The module that the file at `path` is: `["docker", "stop"]` for `docker/stop.rs`.
pub(crate) fn module_path(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').filter(|part| !matches!(*part, "lib" | "main")).map(str::to_owned).collect()
}

fn references(file_module: &[String], tokens: &[Token]) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut module = file_module.to_vec();
    // The brace depths at which inline modules were opened.
    let (mut depth, mut opened) = (0, Vec::new());
    for at in 0..tokens.len() {
        match word(tokens, at) {
            "mod" if word(tokens, at + 2) == "{" => {
                module.push(word(tokens, at + 1).to_owned());
                opened.push(depth);
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if opened.last() == Some(&depth) {
                    opened.pop();
                    module.pop();
                }
            }
            "crate" | "super" | "self" if path_starts_at(tokens, at) => {
                let (base, next) = base_of(tokens, at, &module);
                let paths = tree(tokens, next, &base).0;
                let line = tokens[at].line;
                // `use super::*` in a top-level file stands for the crate itself.
                let paths = paths.into_iter().filter(|path| !path.is_empty());
                found.extend(paths.map(|path| Reference { path, line }));
            }
            _ => {}
        }
    }
    found
}

fn path_starts_at(tokens: &[Token], at: usize) -> bool {
    path_separator(tokens, at + 1) && !(at >= 2 && path_separator(tokens, at - 2))
}

/// Resolves `crate::`, `self::` and any number of `super::`; returns what they stand for and the next token.
fn base_of(tokens: &[Token], mut at: usize, module: &[String]) -> (Vec<String>, usize) {
    let mut base = if word(tokens, at) == "crate" { Vec::new() } else { module.to_vec() };
    while matches!(word(tokens, at), "crate" | "self" | "super") && path_separator(tokens, at + 1) {
        if word(tokens, at) == "super" {
            base.pop();
        }
        at += 3;
    }
    (base, at)
}

/// The paths of a use tree (`a::{b, c::d}`) that starts at `at`, and the token behind it.
fn tree(tokens: &[Token], mut at: usize, base: &[String]) -> (Vec<Vec<String>>, usize) {
    let mut path = base.to_vec();
    loop {
        if word(tokens, at) == "{" {
            let mut all = Vec::new();
            at += 1;
            while !matches!(word(tokens, at), "}" | "") {
                let (paths, next) = tree(tokens, at, &path);
                all.extend(paths);
                at = next;
                while !matches!(word(tokens, at), "," | "}" | "") {
                    at += 1;
                }
                if word(tokens, at) == "," {
                    at += 1;
                }
            }
            return (all, at + 1);
        }
        if !is_name(word(tokens, at)) {
            return (vec![path], at);
        }
        path.push(word(tokens, at).to_owned());
        at += 1;
        if !path_separator(tokens, at) {
            return (vec![path], at);
        }
        at += 2;
    }
}

#[test]
fn paths_are_made_absolute() {
    let text = "use crate::{action::{Verb, Item as Thing}, value}; use super::client::Client;
        fn f() { crate::secret::reveal(super::super::shared::<u8>()) }
        mod inner { use super::own; }
        #[cfg(test)] mod tests { use super::*; use crate::sandbox::Double; }";
    let file = SourceFile::new("adapters/docker/stop.rs".to_owned(), text, false);
    let named = |references: Vec<Reference>| -> Vec<String> {
        references.iter().map(|found| found.path.join("::")).collect()
    };
    assert_eq!(
        named(file.references()),
        [
            "action::Verb",
            "action::Item",
            "value",
            "adapters::docker::client::Client",
            "secret::reveal",
            "adapters::shared",
            "adapters::docker::stop::own",
        ]
    );
    assert_eq!(named(file.test_references()), ["adapters::docker::stop", "sandbox::Double"]);
}

#[test]
fn tests_do_not_count_as_lines_or_functions() {
    let text = "fn long(x: [u8; 2]) {\n  {}\n}\ntrait T { fn declared(&self); }\n\
        #[cfg(test)]\nmod tests {\n  fn hidden() {}\n}\n#[cfg(test)]\nmod testing;\n";
    let file = SourceFile::new("plan/mod.rs".to_owned(), text, false);
    let functions: Vec<_> =
        file.functions().into_iter().map(|f| (f.name, f.line, f.lines)).collect();
    assert_eq!(functions, [("long".to_owned(), 1, 3)]);
    assert_eq!(file.lines, 4);
    assert_eq!(file.declared_modules(), ["plan/testing"]);
    let other = "#[cfg(test)]\n#[path = \"tests.rs\"]\nmod tests;\n";
    assert_eq!(modules_by_path("adapters/notify/slack.rs", other), ["adapters/notify/tests"]);
    assert!(is_in_module("plan/testing.rs", "plan/testing"));
    assert!(is_in_module("plan/testing/inner.rs", "plan/testing"));
    assert!(!is_in_module("plan/testing_more.rs", "plan/testing"));
}
