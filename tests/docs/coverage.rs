//! `docs/coverage.md` says of every line of a procedure what does it here, and which test shows that. It is held against the
//! procedure, the runbooks, the program and the tests.

mod known;
mod page;
mod procedure;
mod tests;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use known::Known;
use page::{Row, Section, between, sections};
use procedure::{lines, words};
use rollback::adapters::registry;

use super::markdown::Page;
use super::root;

/// A shortened text has to show at least so much of the line.
const SHORTEST: usize = 20;

/// Everything that is wrong with the page, given the procedures by file name.
fn problems(page: &str, procedures: &[(&str, &str)], known: &Known) -> Vec<String> {
    let (sections, mut wrong) = sections(page);
    let mut next_point = 1;
    for (file, text) in procedures {
        match sections.iter().find(|section| section.file == *file) {
            Some(section) => {
                wrong.extend(wrong_lines(section, text, known));
                wrong.extend(wrong_points(section, &mut next_point, known));
                wrong.extend(wrong_people(section, known));
            }
            None => wrong.push(format!("{file} has no section")),
        }
    }
    wrong
}

fn at(row: &Row, problem: &str) -> String {
    format!("docs/coverage.md:{}: {problem}", row.place)
}

fn empty_cells(row: &Row) -> impl Iterator<Item = String> {
    let empty = row.cells.iter().enumerate().filter(|(_, cell)| cell.is_empty());
    empty.map(|(column, _)| at(row, &format!("cell {} is empty", column + 1)))
}

fn wrong_lines(section: &Section, text: &str, known: &Known) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut rows = section.lines.iter().peekable();
    for line in lines(text) {
        while let Some(row) = rows.next_if(|row| row.number().is_none_or(|it| it < line.number)) {
            wrong.push(at(row, "no line of the procedure, or not in its order"));
        }
        match rows.next_if(|row| row.number() == Some(line.number)) {
            Some(row) if is_shown(&row.cells[1], line.text) => {}
            Some(row) => wrong.push(at(row, &format!("the line is `{}`", line.text.trim()))),
            None => {
                let (file, number) = (&section.file, line.number);
                wrong.push(format!("{file}:{number} has no row: {}", line.text.trim()));
            }
        }
    }
    wrong.extend(rows.map(|row| at(row, "no line of the procedure, or not in its order")));
    for row in &section.lines {
        wrong.extend(empty_cells(row));
        wrong.extend(wrong_proof(section, row, known));
    }
    wrong
}

/// Whether a cell is the line, or its beginning and an ellipsis.
fn is_shown(cell: &str, line: &str) -> bool {
    let (cell, line) = (words(cell), words(line));
    match cell.strip_suffix('…') {
        Some(beginning) => {
            beginning.chars().count() >= SHORTEST && line.starts_with(beginning.trim_end())
        }
        None => cell == line,
    }
}

/// What does it, and what proves it.
fn wrong_proof(section: &Section, row: &Row, known: &Known) -> Vec<String> {
    let means = known.wrong_means(&section.file, &row.cells[2]);
    let tests = known.wrong_tests(&row.cells[3]);
    means.into_iter().chain(tests).map(|problem| at(row, &problem)).collect()
}

/// Points are counted through all documents.
fn wrong_points(section: &Section, next: &mut usize, known: &Known) -> Vec<String> {
    let mut wrong = Vec::new();
    if section.points.is_empty() {
        wrong.push(format!("{} has no points", section.file));
    }
    for row in &section.points {
        if row.number() != Some(*next) {
            wrong.push(at(row, &format!("this should be point {next}")));
        }
        *next += 1;
        wrong.extend(empty_cells(row));
        wrong.extend(wrong_proof(section, row, known));
    }
    wrong
}

/// The list of what only a person can do has those lines that no part of the program does, with the same items.
fn wrong_people(section: &Section, known: &Known) -> Vec<String> {
    let pair = |number: &String, cell: &str| {
        let items: BTreeSet<_> = between(cell, '“', '”').into_iter().map(str::to_owned).collect();
        (number.clone(), items)
    };
    let by_hand = section.lines.iter().filter(|row| known.is_by_hand(&section.file, &row.cells[2]));
    let wanted: BTreeSet<_> = by_hand.map(|row| pair(&row.cells[0], &row.cells[2])).collect();
    let listed: BTreeSet<_> =
        section.people.iter().map(|row| pair(&row.cells[0], &row.cells[1])).collect();
    let file = &section.file;
    let unlisted = wanted.difference(&listed).map(|(number, items)| {
        format!("{file}:{number} is done by a person alone and not listed: {items:?}")
    });
    let others = listed.difference(&wanted).map(|(number, items)| {
        format!("{file}:{number} is listed as a person's with {items:?}, and its row differs")
    });
    unlisted.chain(others).collect()
}

/// The procedures, by file name.
static PROCEDURES: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let copies = Page::in_folder(&root(), "docs/procedures").into_iter();
    let named = copies.map(|copy| {
        let name = copy.path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        (name, copy.text().to_owned())
    });
    named.collect()
});

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    Known::read(&root(), &registry(), PROCEDURES.iter().map(|(file, _)| file.as_str()))
});

#[test]
fn every_line_of_a_procedure_is_done_and_proved() {
    let procedures: Vec<_> =
        PROCEDURES.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    assert!(!procedures.is_empty(), "docs/procedures holds the procedures");
    let wrong = problems(Page::read(&root(), "docs/coverage.md").text(), &procedures, &KNOWN);
    assert!(wrong.is_empty(), "{} problems:\n{}", wrong.len(), wrong.join("\n"));
}

/// A page in small, and the procedure that it covers. Steps, items and tests are the real ones.
const PROCEDURE: &str = "# Rollback\n\n```bash\n# Lock\ntouch lock\n```\n\n- [ ] All integrations functional again\n\n\
    | Type | Action |\n|---|---|\n| Memory > 90% | Immediate rollback |\n";
const PAGE: &str = "## ollama.md\n\n\
    | line | text | done by | proved by |\n|---|---|---|---|\n\
    | 5 | `touch lock` | `stop/lock-deployment` | `adapters::file::tests::another_runs_lock_is_a_conflict_that_names_it` |\n\
    | 8 | All integrations funct… | “All integrations are functional” | `cli::confirm::items_are_answered_by_number_and_by_text` |\n\
    | 12 | \\| Memory > 90% \\| Immediate rollback \\| | `memory-exhaustion`, then `rollback run ollama-emergency` | \
      `adapters::docker::swap::a_missing_image_touches_nothing` |\n\n\
    | point | the document | here | proved by |\n|---|---|---|---|\n\
    | 1 | no lock | `file.lock` | `adapters::file::tests::another_runs_lock_is_a_conflict_that_names_it` |\n\n\
    | line | item |\n|---|---|\n\
    | 8 | “All integrations are functional” |\n";

/// What is said of the small page when `from` is replaced.
fn told(from: &str, to: &str) -> String {
    assert!(PAGE.contains(from), "{from}");
    told_of(&PAGE.replacen(from, to, 1))
}

fn told_of(page: &str) -> String {
    problems(page, &[("ollama.md", PROCEDURE)], &KNOWN).join("\n")
}

#[test]
fn a_whole_page_has_no_problem() {
    assert_eq!(told_of(PAGE), "");
}

#[test]
fn a_line_without_a_row_is_told() {
    let row = PAGE.lines().nth(4).expect("the first row");
    assert_eq!(told(&format!("{row}\n"), ""), "ollama.md:5 has no row: touch lock");
    assert_eq!(told("## ollama.md", "## other.md"), "ollama.md has no section");
}

#[test]
fn a_row_without_a_line_is_told() {
    let row = PAGE.lines().nth(4).expect("the first row");
    for number in ["4", "5", "6", "40", "five"] {
        let other = row.replacen('5', number, 1);
        let said = told(row, &format!("{row}\n{other}"));
        assert!(said.contains("no line of the procedure, or not in its order"), "{number}: {said}");
    }
    assert!(told("touch lock", "touch key").contains("the line is `touch lock`"));
    assert!(told("All integrations funct…", "All …").contains("the line is"));
    assert!(told("| 5 |", "| 5 | 5 |").contains("no row of a table that is known"));
    assert!(told("| line | item |", "| line | words |").contains("no row of a table"));
}

#[test]
fn an_empty_cell_is_told() {
    assert!(told("`stop/lock-deployment`", "").contains("cell 3 is empty"));
    assert!(told("no lock", "").contains("cell 2 is empty"));
}

#[test]
fn a_name_that_nothing_has_is_told() {
    for (from, to) in [
        ("stop/lock-deployment", "stop/lock-everything"),
        ("memory-exhaustion", "memory-abundance"),
        ("file.lock", "file.latch"),
    ] {
        let said = told(from, to);
        assert!(said.contains(&format!("`{to}`: there is no such step")), "{said}");
    }
    let said = told("`stop/lock-deployment`", "the lock");
    assert!(said.contains("`the lock` names nothing that does it"), "{said}");
}

#[test]
fn an_item_that_no_checklist_has_is_told() {
    let said = told("are functional” | `cli", "work” | `cli");
    assert!(said.contains("no checklist has the item “All integrations work”"), "{said}");
}

#[test]
fn a_test_that_does_not_exist_is_told() {
    for wrong in ["a_missing_image_touches_everything", "scale::a_missing_image_touches_nothing"] {
        let said = told("swap::a_missing_image_touches_nothing", wrong);
        assert!(said.contains("there is no test `adapters::docker::"), "{said}");
    }
    let said = told("`cli::confirm::items_are_answered_by_number_and_by_text`", "by a look");
    assert!(said.contains("`by a look` names no test"), "{said}");
}

#[test]
fn a_command_that_the_program_does_not_have_is_told() {
    let command = "rollback run ollama-emergency";
    for wrong in ["rollback undo latest", "rollback run ollama-emergency --fast"] {
        assert!(told(command, wrong).contains(&format!("`{wrong}`: error")), "{wrong}");
    }
    assert!(told(command, "rollback run ollama").contains("there is no `ollama`"));
    assert_eq!(told(command, "rollback --emergency --only stop"), "");
    assert!(told(command, "rollback --emergency --only halt").contains("there is no `halt`"));
}

#[test]
fn points_are_counted() {
    assert!(told("| 1 |", "| 2 |").contains("this should be point 1"));
    let row = PAGE.lines().find(|line| line.starts_with("| 1 |")).expect("a point");
    assert!(told(&format!("{row}\n"), "").contains("ollama.md has no points"));
}

#[test]
fn what_only_a_person_can_do_is_listed() {
    let row = PAGE.lines().last().expect("the last row");
    assert!(told(row, "").contains("ollama.md:8 is done by a person alone and not listed"));
    let more = row.replace("| 8 |", "| 5 |");
    let said = told(row, &format!("{row}\n{more}"));
    assert!(said.contains("ollama.md:5 is listed as a person's"), "{said}");
    let probed = "“All health checks are passing”";
    let said = told("“All integrations are functional” | `cli", &format!("{probed} | `cli"));
    assert!(said.contains("ollama.md:8 is listed as a person's"), "{said}");
}
