//! As much of Markdown as the documentation uses: fenced blocks, inline code, links, headings.

use std::path::{Path, PathBuf};

/// A Markdown file of the project.
pub(super) struct Page {
    /// Its path from the project's root.
    pub(super) path: PathBuf,
    text: String,
}

/// A fenced block.
pub(super) struct Block<'a> {
    pub(super) language: &'a str,
    pub(super) text: String,
    /// The line of its opening fence, from 1.
    pub(super) line: usize,
}

impl Page {
    /// Reads one page.
    pub(super) fn read(root: &Path, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let text = std::fs::read_to_string(root.join(path))
            .unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()));
        Self { path: path.to_owned(), text }
    }

    /// All pages directly in a folder.
    pub(super) fn in_folder(root: &Path, folder: &str) -> Vec<Self> {
        let entries = std::fs::read_dir(root.join(folder))
            .unwrap_or_else(|error| panic!("failed to list {folder}: {error}"));
        let mut names: Vec<_> = entries
            .map(|entry| PathBuf::from(entry.expect("a folder entry").file_name()))
            .filter(|name| name.extension().is_some_and(|ending| ending == "md"))
            .collect();
        names.sort();
        names.into_iter().map(|name| Self::read(root, Path::new(folder).join(name))).collect()
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut open: Option<Block<'_>> = None;
        for (index, line) in self.text.lines().enumerate() {
            match (line.strip_prefix("```"), open.as_mut()) {
                (Some(language), None) => {
                    open = Some(Block { language, text: String::new(), line: index + 1 });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some(block)) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block is not closed", self.path.display());
        blocks
    }

    /// The text outside fenced blocks.
    fn prose(&self) -> String {
        let mut inside = false;
        let mut prose = String::new();
        for line in self.text.lines() {
            if line.starts_with("```") {
                inside = !inside;
            } else if !inside {
                prose.push_str(line);
                prose.push('\n');
            }
        }
        prose
    }

    /// Everything between single backticks.
    pub(super) fn inline_code(&self) -> Vec<String> {
        self.prose().split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// Command lines of the program, in `sh` blocks and inline: the words after `rollback`.
    pub(super) fn commands(&self) -> Vec<String> {
        let in_blocks = self.blocks().into_iter().filter(|block| block.language == "sh");
        let lines: Vec<String> = in_blocks
            .flat_map(|block| block.text.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let lines = lines.into_iter().map(|line| match line.split_once(" # ") {
            Some((command, _remark)) => command.trim().to_owned(),
            None => line.trim().to_owned(),
        });
        lines
            .chain(self.inline_code())
            .filter_map(|line| {
                let cargo =
                    line.strip_prefix("cargo run ").and_then(|rest| rest.split_once(" -- "));
                match cargo {
                    Some((_, words)) => Some(words.to_owned()),
                    None => line.strip_prefix("rollback ").map(str::to_owned),
                }
            })
            .collect()
    }

    /// The targets of all links.
    pub(super) fn links(&self) -> Vec<String> {
        let prose = self.prose();
        let ends = prose.split("](").skip(1);
        ends.filter_map(|rest| rest.split_once(')').map(|(target, _)| target.to_owned())).collect()
    }

    /// The anchors of all headings, as GitHub makes them.
    pub(super) fn anchors(&self) -> Vec<String> {
        let prose = self.prose();
        let headings = prose.lines().filter(|line| line.starts_with('#'));
        headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
    }
}

fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter))
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}
