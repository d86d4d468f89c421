//! Files and folders of this machine, below one root.
//!
//! Every path of a runbook is absolute and is read below the root of the connection `files` (`/` unless the environment
//! says otherwise), as after a chroot: neither `..` nor a symbolic link leads out of it ([`root`]). Every change is one
//! atomic rename, so that a crash leaves the old state or the new one, and what is replaced stays beside it until it may be
//! undone.
//!
//! - `file.lock`, `file.unlock`: a lock file that says who holds it, [`lock_file`]
//! - `file.write`: a file's whole content
//! - `file.copy-tree`: a folder replaced by a verified copy, [`tree`] and [`swap`]
//! - `file.remove`: moved aside, not deleted
//! - `file.expect`: a question about a file

mod copy_tree;
mod expect;
mod gather;
mod lock;
mod lock_file;
mod place;
mod remove;
mod root;
mod site;
mod swap;
#[cfg(test)]
mod tests;
mod tree;
mod unlock;
mod work;
mod write;

use crate::action::{Connection, System, Verb};

/// The system `file`.
pub(super) fn system() -> System {
    let root =
        Connection::of::<root::FilesConnection>("The root below which the verbs of `file` work")
            .reached_by(|connections| Box::pin(root::reach(connections)))
            .gathered_by(|connections, gathering| Box::pin(gather::gather(connections, gathering)));
    System {
        name: "file",
        summary: "Files and folders of this machine",
        connections: vec![root],
        verbs: vec![
            Verb::of::<lock::LockArgs>(),
            Verb::of::<unlock::UnlockArgs>(),
            Verb::of::<write::WriteArgs>(),
            Verb::of::<copy_tree::CopyTreeArgs>(),
            Verb::of::<remove::RemoveArgs>(),
            Verb::of::<expect::ExpectArgs>(),
        ],
    }
}
