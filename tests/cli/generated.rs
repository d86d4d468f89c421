//! Files that the program writes and the project carries: they must be what the program writes today.

use std::path::Path;

use super::stage::crate_root;
use crate::support::world::World;

/// Compares a committed file with what it should be; `UPDATE_DOCS=1` writes it instead.
fn must_equal(file: &str, wanted: &str) {
    let path = crate_root().join(file);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, wanted).expect("the project is writable");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{file} is not what the program writes today; write it anew:\n  \
         UPDATE_DOCS=1 make test TESTS=cli::generated"
    );
}

#[test]
fn the_schema_beside_the_runbooks_is_the_programs() {
    let world = World::new();
    let schema = world.rollback(["schema"]).expect_code(0).stdout;
    must_equal("runbooks/rollback.schema.json", &schema);
    let _written = world.rollback(["schema", "--write", "here.json"]).expect_code(0);
    let written = std::fs::read_to_string(world.path("home/here.json")).expect("written");
    assert_eq!(written, schema);
    let decisions = world.rollback(["schema", "decisions"]).expect_code(0).stdout;
    must_equal("runbooks/decisions.schema.json", &decisions);
}

/// Every shipped runbook names the schema in its first line, so that editors find it.
#[test]
fn shipped_runbooks_name_the_schema() {
    let mut folders = vec![crate_root().join("runbooks")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "yaml")
                && !path.parent().is_some_and(|folder| folder.ends_with("environments"))
            {
                names_the_schema(&path);
                seen += 1;
            }
        }
    }
    assert!(seen > 0);
}

fn names_the_schema(path: &Path) {
    let text = std::fs::read_to_string(path).expect("a readable runbook");
    let line = text.lines().next().unwrap_or_default();
    let schema = line
        .strip_prefix("# yaml-language-server: $schema=")
        .unwrap_or_else(|| panic!("{}: the first line names no schema: {line}", path.display()));
    let schema = path.parent().expect("a folder").join(schema);
    assert!(schema.is_file(), "{} names {}, which is not there", path.display(), schema.display());
}

#[test]
fn the_command_reference_is_the_programs_help() {
    let world = World::new();
    let mut text = String::from(
        "# Command reference\n\nWritten by the program itself: what `--help` says of every command.\n",
    );
    reference(&world, &mut Vec::new(), &mut text);
    assert!(text.contains("## rollback sandbox serve"), "{text}");
    must_equal("docs/reference.md", &text);
}

fn reference(world: &World, command: &mut Vec<String>, text: &mut String) {
    let help = world.rollback(command.iter().map(String::as_str).chain(["--help"])).expect_code(0);
    let name = std::iter::once("rollback").chain(command.iter().map(String::as_str));
    let name = name.collect::<Vec<_>>().join(" ");
    let lines: Vec<&str> = help.stdout.lines().map(str::trim_end).collect();
    text.push_str(&format!("\n## {name}\n\n```text\n{}\n```\n", lines.join("\n").trim_end()));
    let listed = lines.iter().skip_while(|line| **line != "Commands:").skip(1);
    for line in listed.take_while(|line| !line.is_empty()) {
        // A longer description goes on in lines that are indented further.
        let indent = line.len() - line.trim_start().len();
        let Some(name) =
            line.split_whitespace().next().filter(|name| indent == 2 && *name != "help")
        else {
            continue;
        };
        command.push(name.to_owned());
        reference(world, command, text);
        let _done = command.pop();
    }
}
