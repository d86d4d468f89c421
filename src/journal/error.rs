//! What can go wrong between a run and its journal, and what a person can do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use crate::event::FORMAT;

/// Why the journal, or a file beside it, could not be written, read or trusted.
///
/// It is cheap to clone, because a journal that has failed answers every later append with the same error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// An operation of the system failed.
    #[error("{doing} {}", .path.display())]
    Io {
        /// A verb phrase that is followed by the path.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: Arc<io::Error>,
    },
    /// The disk, the quota or the size limit is used up. Nothing that was acknowledged is lost.
    #[error("write to {}: no space is left", .path.display())]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: Arc<io::Error>,
    },
    /// The disk did not confirm a write. After that its content is uncertain, so it is never asked again.
    #[error("flush {} to disk", .path.display())]
    NotSynced {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: Arc<io::Error>,
    },
    /// A state file that somebody else could have made or changed.
    #[error("trust {}: {why}", .path.display())]
    Untrusted {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A record before the last one does not verify.
    #[error("read {} at line {line} (byte {offset}): {why}", .path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// Where the line begins, in bytes.
        offset: u64,
        /// What is wrong with it.
        why: String,
    },
    /// Written by a newer program.
    #[error("read {}: it has format {found}, and this program knows formats up to {FORMAT}", .path.display())]
    NewerFormat {
        /// The journal.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Not even the first record is complete, so nothing was changed.
    #[error("read {}: its first record is incomplete, so the run never began", .path.display())]
    NeverStarted {
        /// The journal.
        path: PathBuf,
    },
    /// The journal is not the one that was read.
    #[error("continue {}: it has changed since it was read", .path.display())]
    Changed {
        /// The journal.
        path: PathBuf,
    },
    /// An event that could not be read back.
    #[error("record an event: {why}")]
    Unrecordable {
        /// Why not.
        why: String,
    },
    /// Closed before the record was on disk.
    #[error("write to the journal: it is closed")]
    Closed,
    /// No folder for the state of runs.
    #[error("find a folder for the state of runs: {why}")]
    NoStateDir {
        /// Why not.
        why: String,
    },
    /// A run that does not exist.
    #[error("find run `{wanted}`")]
    UnknownRun {
        /// What was asked for.
        wanted: String,
    },
    /// The beginning of several runs' ids.
    #[error("tell which run `{wanted}` is: it could be {}", .matches.join(", "))]
    AmbiguousRun {
        /// What was asked for.
        wanted: String,
        /// The ids that begin so.
        matches: Vec<String>,
    },
    /// A folder that cannot be written, with another one that can.
    #[error("prepare {}", .path.display())]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// A folder in which writing works.
        instead: Option<PathBuf>,
        /// Why it cannot be written.
        #[source]
        source: Box<JournalError>,
    },
}

impl JournalError {
    /// An error of the system while `doing` something with `path`.
    pub(super) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        if is_no_space(&source) {
            return Self::NoSpace { path: path.to_owned(), source: Arc::new(source) };
        }
        Self::Io { doing, path: path.to_owned(), source: Arc::new(source) }
    }

    /// Whether the error is about space, which a person can make.
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::Unwritable { source, .. } => source.is_no_space(),
            _ => false,
        }
    }

    /// What a person can do, one sentence each.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::NoSpace { .. } => {
                vec!["Make room, then type `rollback resume`; what is recorded is intact.".into()]
            }
            Self::NotSynced { path, .. } => vec![format!(
                "Look at the disk below {} (`dmesg | tail`) before you type `rollback resume`.",
                path.display()
            )],
            Self::Damaged { .. } => vec![
                "`rollback resume --salvage` keeps what verifies and looks at every step anew."
                    .into(),
            ],
            Self::NewerFormat { .. } => {
                vec!["Use the program that wrote it, or a newer one.".into()]
            }
            Self::NeverStarted { .. } => vec!["Nothing was changed; start the run again.".into()],
            Self::Changed { .. } => {
                vec!["Another process wrote to it; look with `rollback status`.".into()]
            }
            Self::UnknownRun { .. } | Self::AmbiguousRun { .. } => {
                vec!["`rollback history` lists the runs.".into()]
            }
            Self::NoStateDir { .. } => {
                vec!["Name a folder with `--state-dir PATH`.".into()]
            }
            Self::Unwritable { instead: Some(path), .. } => {
                vec![format!("Writing works in {0}: add `--state-dir {0}`.", path.display())]
            }
            Self::Unwritable { instead: None, .. } => {
                vec!["Name a folder that can be written with `--state-dir PATH`.".into()]
            }
            _ => Vec::new(),
        }
    }
}

/// Whether the system says that space, quota or the size limit is used up.
pub(super) fn is_no_space(error: &io::Error) -> bool {
    [Errno::NOSPC, Errno::DQUOT, Errno::FBIG]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
