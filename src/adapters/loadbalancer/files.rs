//! Configuration files: read whole, replaced in one step, put back as they were.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::action::{ActionError, ErrorKind};

/// The most that a configuration file may hold.
pub(super) const MOST_BYTES: u64 = 1 << 20;

/// The text of a file, or `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, ActionError> {
    let complain = |error: &std::io::Error| problem("read", path, error);
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(complain(&error)),
        Ok(found) if !found.is_file() => {
            let text = format!("read {}: it is not a file", path.display());
            return Err(ActionError::new(ErrorKind::Invalid, text));
        }
        Ok(found) if found.len() > MOST_BYTES => {
            let text = format!("read {}: it is longer than 1 MiB", path.display());
            return Err(ActionError::new(ErrorKind::Invalid, text));
        }
        Ok(_) => {}
    }
    std::fs::read_to_string(path).map(Some).map_err(|error| complain(&error))
}

/// Gives a file this text, or removes it. Whoever reads it sees the former text or the new one, also after a power cut.
pub(super) fn put(path: &Path, text: Option<&str>) -> Result<(), ActionError> {
    // A link from `sites-enabled` stays a link.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let done = match text {
        Some(text) => replace(&target, text, 0o644),
        None => remove(&target),
    };
    done.map_err(|error| problem("write", path, &error))
}

/// Keeps a text that only this user may read.
pub(super) fn keep(path: &Path, text: &str) -> Result<(), ActionError> {
    replace(path, text, 0o600).map_err(|error| problem("write", path, &error))
}

/// `mode` is for a file that is not there yet.
fn replace(target: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let (folder, temporary) = beside(target);
    // Left behind by a run that was killed; nobody else uses this name.
    let _absent = std::fs::remove_file(&temporary);
    let written = write_new(target, &temporary, text, mode);
    let placed = written.and_then(|()| std::fs::rename(&temporary, target));
    if placed.is_err() {
        // The first error is the one to tell.
        let _leftover = std::fs::remove_file(&temporary);
    }
    placed.and_then(|()| sync(&folder))
}

fn write_new(target: &Path, temporary: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(temporary)?;
    match std::fs::metadata(target) {
        Ok(former) => file.set_permissions(former.permissions())?,
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn remove(target: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(target) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync(&beside(target).0),
    }
}

/// The folder of a file and a name in it that no `include *.conf` and no `include *` matches.
fn beside(target: &Path) -> (PathBuf, PathBuf) {
    let folder = target.parent().unwrap_or(Path::new("/")).to_owned();
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.rollback"));
    (folder, temporary)
}

fn sync(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

fn problem(verb: &str, path: &Path, error: &std::io::Error) -> ActionError {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        std::io::ErrorKind::InvalidData => ErrorKind::Invalid,
        _ => ErrorKind::Failed,
    };
    let failure = ActionError::new(kind, format!("{verb} {}", path.display())).caused_by(error);
    match kind {
        ErrorKind::Denied => failure.hint(format!(
            "Run as a user who may {verb} {}, or hand it over with `chown`.",
            path.display()
        )),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_mode_and_its_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.conf"), folder.path().join("link.conf"));
        std::fs::write(&real, "old").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        put(&link, Some("new")).unwrap();
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "new");
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(real.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            2,
            "a temporary file is left"
        );
    }

    #[test]
    fn no_file_is_a_state_that_can_be_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.conf");
        assert_eq!(read(&path).unwrap(), None);
        put(&path, Some("text")).unwrap();
        put(&path, None).unwrap();
        put(&path, None).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }

    #[test]
    fn a_folder_and_an_endless_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap_err().kind, ErrorKind::Invalid);
        let path = folder.path().join("long");
        std::fs::File::create(&path).unwrap().set_len(MOST_BYTES + 1).unwrap();
        assert_eq!(read(&path).unwrap_err().kind, ErrorKind::Invalid);
        let missing = folder.path().join("no/such/folder.conf");
        assert_eq!(put(&missing, Some("x")).unwrap_err().kind, ErrorKind::NotFound);
    }
}
