//! The documents of the agents: two short paragraphs each.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::sandbox::{SandboxError, store};

/// The model that has indexed the documents.
pub const MODEL: &str = "text-embedding-3-small";
/// The agent whose rows are ill in a new world, with so many of its documents.
pub const ILL: (&str, usize) = ("odoo_developer", 3);

/// A document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Document {
    /// Whose knowledge it is.
    pub agent: String,
    /// What it is called.
    pub title: String,
    /// What it says, piece by piece.
    pub chunks: Vec<String>,
}

/// All documents.
///
/// # Panics
/// Never: the file is a part of the program, and a test reads it.
pub fn documents() -> Vec<Document> {
    serde_json::from_str(include_str!("corpus.json")).unwrap_or_default()
}

/// Writes the documents as files, a folder for each agent.
pub(in crate::sandbox) fn write(folder: &Path) -> Result<(), SandboxError> {
    store::remove_folder(folder)?;
    for (number, document) in (1..).zip(documents()) {
        let place = folder.join(&document.agent);
        store::folder(&place)?;
        let text = format!("# {}\n\n{}\n", document.title, document.chunks.join("\n\n"));
        store::replace(&place.join(format!("{number:02}.md")), text.as_bytes())?;
    }
    Ok(())
}

/// Reads the documents of an agent that lie in a folder, by name: a title behind `#`, then paragraphs.
pub(super) fn read(folder: &Path, agent: &str) -> Result<Vec<Document>, SandboxError> {
    let entries = fs::read_dir(folder).map_err(SandboxError::file("read", folder))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(SandboxError::file("read", folder))?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    paths.sort();
    let mut documents = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).map_err(SandboxError::file("read", &path))?;
        let mut parts = text.split("\n\n").map(str::trim).filter(|part| !part.is_empty());
        let title = parts.next().unwrap_or_default().trim_start_matches('#').trim().to_owned();
        let chunks = parts.map(str::to_owned).collect();
        documents.push(Document { agent: agent.to_owned(), title, chunks });
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_are_whole_and_come_back_from_their_files() {
        let all = documents();
        assert_eq!(all.len(), 20);
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        let agent = &all[0].agent;
        let read = read(&folder.path().join(agent), agent).unwrap();
        assert_eq!(read, all[..5]);
    }
}
