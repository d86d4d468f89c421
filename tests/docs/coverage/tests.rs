//! The tests that there are, by their paths: the module of the file that they stand in, and their name.

use std::collections::BTreeSet;
use std::path::Path;

use crate::architecture::lexer::{Token, tokens};
use crate::architecture::source::{module_path, rust_files};

/// A function of the tree.
struct Function {
    module: Vec<String>,
    name: String,
    /// It has an attribute such as `#[test]` or `#[tokio::test]`.
    marked: bool,
}

/// Names that a file hands to a macro, which may make a test of each.
struct List {
    module: Vec<String>,
    names: BTreeSet<String>,
}

/// The paths of all tests below `src/` and `tests/`.
pub(super) fn paths(root: &Path) -> BTreeSet<String> {
    let (mut functions, mut lists) = (Vec::new(), Vec::new());
    for tree in ["src", "tests"].map(|folder| root.join(folder)) {
        for file in rust_files(&tree) {
            let text = std::fs::read_to_string(&file).expect("a source file");
            let path = file.strip_prefix(&tree).expect("it was found below").to_string_lossy();
            read(&module_path(&path), &tokens(&text), &mut functions, &mut lists);
        }
    }
    paths_of(functions, &lists)
}

fn paths_of(functions: Vec<Function>, lists: &[List]) -> BTreeSet<String> {
    let listed = |found: &Function| {
        let mut near = lists.iter().filter(|list| found.module.starts_with(&list.module));
        near.any(|list| list.names.contains(&found.name))
    };
    let tests = functions.into_iter().filter(|found| found.marked || listed(found));
    tests.map(|found| [found.module, vec![found.name]].concat().join("::")).collect()
}

fn read(file: &[String], tokens: &[Token], functions: &mut Vec<Function>, lists: &mut Vec<List>) {
    let word = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut module = file.to_vec();
    // The brace depths at which inline modules were opened.
    let (mut depth, mut opened) = (0, Vec::new());
    for at in 0..tokens.len() {
        match word(at) {
            "mod" if word(at + 2) == "{" => {
                module.push(word(at + 1).to_owned());
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
            "fn" => functions.push(Function {
                module: module.clone(),
                name: word(at + 1).to_owned(),
                marked: is_marked(tokens, at),
            }),
            // A macro that makes items: one in a function stands deeper.
            "!" if depth == opened.len() => {
                let inside = &tokens[at..end_of_macro(tokens, at)];
                lists.push(List { module: file.to_vec(), names: names(inside) });
            }
            _ => {}
        }
    }
}

/// Where the macro's brackets end, whose `!` is at `from`.
fn end_of_macro(tokens: &[Token], from: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// The words that stand alone, as in a list, and not in a call.
fn names(tokens: &[Token]) -> BTreeSet<String> {
    let alone = |pair: &&[Token]| matches!(pair[1].text.as_str(), "," | ";" | ")" | "}");
    tokens.windows(2).filter(alone).map(|pair| pair[0].text.clone()).collect()
}

/// Whether `test` is the last word of an attribute of the function at `at`.
fn is_marked(tokens: &[Token], at: usize) -> bool {
    let before = tokens[..at].iter().rev().map(|token| token.text.as_str());
    let attributes = before.take_while(|word| !matches!(*word, "}" | "{" | ";"));
    let words: Vec<_> = attributes.collect();
    words.windows(2).any(|pair| pair[1] == "test" && matches!(pair[0], "]" | "("))
}

#[test]
fn marked_and_listed_functions_are_tests_and_others_are_not() {
    let texts = [
        (
            "adapters/redis/mod.rs",
            "mod delete; macro_rules! all { ($($name:ident),+) => {} } all!(it_is_listed, it_is_last);
             fn called() { helper(); assert!(called, helper); }",
        ),
        (
            "adapters/redis/delete.rs",
            "async fn it_is_listed() {} fn helper() {} fn called() {} all! { it_is_its_own } fn it_is_its_own() {}",
        ),
        ("adapters/docker.rs", "fn it_is_listed() {}"),
        (
            "plan/budget.rs",
            "#[cfg(test)] mod tests { fn helper() {} #[tokio::test(flavor = \"x\")] #[ignore] async fn it_waits() {} mod inner \
             { #[test] fn it_fits() {} } #[test] fn it_ends() {} } fn after() {}",
        ),
    ];
    let (mut functions, mut lists) = (Vec::new(), Vec::new());
    for (path, text) in texts {
        read(&module_path(path), &tokens(text), &mut functions, &mut lists);
    }
    let found: Vec<_> = paths_of(functions, &lists).into_iter().collect();
    let wanted = [
        "adapters::redis::delete::it_is_its_own",
        "adapters::redis::delete::it_is_listed",
        "plan::budget::tests::inner::it_fits",
        "plan::budget::tests::it_ends",
        "plan::budget::tests::it_waits",
    ];
    assert_eq!(found, wanted);
}
