//! The examples that are broken: the fixtures and the shipped runbooks of the tree, and short texts of each small language.

use std::path::{Path, PathBuf};

fn files(folder: &Path, kind: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the tree") {
        let path = entry.expect("it is readable").path();
        if path.is_dir() {
            files(&path, kind, found);
        } else if path.extension().is_some_and(|extension| extension == kind) {
            found.push(path);
        }
    }
}

/// All files of a kind below these folders of the tree, sorted by name.
pub(super) fn of_the_tree(folders: &[&str], kind: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for folder in folders {
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), kind, &mut found);
    }
    found.sort();
    found.iter().map(|path| std::fs::read(path).expect("it is readable")).collect()
}

/// Short texts.
pub(super) fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
