//! The page as its tables: a section for each procedure.

/// What the page says about one procedure.
#[derive(Default)]
pub(super) struct Section {
    /// The procedure's file, as its heading has it.
    pub(super) file: String,
    /// A row for each of its lines: the number, the text, what does it, what proves it.
    pub(super) lines: Vec<Row>,
    /// Its mistakes: the number, what it says, what is done instead, what proves it.
    pub(super) points: Vec<Row>,
    /// What only a person can do: the number of the line, the recorded item.
    pub(super) people: Vec<Row>,
}

/// A row of a table.
pub(super) struct Row {
    /// Its line in the page, from 1.
    pub(super) place: usize,
    pub(super) cells: Vec<String>,
}

impl Row {
    /// Its first cell, if that is a number.
    pub(super) fn number(&self) -> Option<usize> {
        self.cells[0].parse().ok()
    }
}

const LINES: [&str; 4] = ["line", "text", "done by", "proved by"];
const POINTS: [&str; 4] = ["point", "the document", "here", "proved by"];
const PEOPLE: [&str; 2] = ["line", "item"];

/// The sections, and what cannot be read.
pub(super) fn sections(page: &str) -> (Vec<Section>, Vec<String>) {
    let (mut sections, mut problems) = (Vec::new(), Vec::new());
    let mut header: Option<Vec<String>> = None;
    for (index, line) in page.lines().enumerate() {
        if let Some(heading) = line.strip_prefix("## ") {
            sections.push(Section { file: heading.to_owned(), ..Section::default() });
        }
        if !line.starts_with('|') {
            header = None;
            continue;
        }
        let row = Row { place: index + 1, cells: cells(line) };
        let Some(header) = &header else {
            header = Some(row.cells);
            continue;
        };
        if row.cells.iter().all(|cell| !cell.is_empty() && cell.chars().all(|it| it == '-')) {
            continue;
        }
        let rows = sections.last_mut().and_then(|section| match header.as_slice() {
            named if named == LINES => Some(&mut section.lines),
            named if named == POINTS => Some(&mut section.points),
            named if named == PEOPLE => Some(&mut section.people),
            _ => None,
        });
        match rows {
            Some(rows) if row.cells.len() == header.len() => rows.push(row),
            _ => problems.push(format!("line {}: no row of a table that is known", row.place)),
        }
    }
    (sections, problems)
}

/// The cells of a table's row; `\|` is no border.
fn cells(line: &str) -> Vec<String> {
    let marked = line.trim().replace("\\|", "\0");
    let inner = marked.trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(|cell| cell.trim().replace('\0', "\\|")).collect()
}

/// What stands between the marks, such as backticks.
pub(super) fn between(cell: &str, open: char, close: char) -> Vec<&str> {
    let mut rest = cell;
    let mut found = Vec::new();
    while let Some((_, after)) = rest.split_once(open)
        && let Some((inner, behind)) = after.split_once(close)
    {
        found.push(inner);
        rest = behind;
    }
    found
}
