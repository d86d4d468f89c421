//! Private files and folders: 0600 and 0700 whatever the umask, never through a symbolic link, and refused
//! when somebody else could have made or changed them.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::error::JournalError;

const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Creates a folder (0700) with its parents, or takes an existing one if it can be trusted.
pub(super) fn private_dir(path: &Path) -> Result<(), JournalError> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty())
        && !parent.exists()
    {
        private_dir(parent)?;
    }
    match new_private_dir(path).and_then(|()| sync_parent(path)) {
        Err(error) if path.symlink_metadata().is_err() => Err(error),
        _ => trusted_dir(path).map(|_| ()),
    }
}

/// Creates a folder (0700) that must not exist yet. Its name is not durable before [`sync_parent`].
pub(super) fn new_private_dir(path: &Path) -> Result<(), JournalError> {
    let failed = |source| JournalError::io("create", path, source);
    DirBuilder::new().mode(0o700).create(path).map_err(failed)?;
    // By name, because a umask may have taken the right to open it.
    std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)
}

/// Opens a folder that belongs to this user and that nobody else can write to.
pub(super) fn trusted_dir(path: &Path) -> Result<File, JournalError> {
    let untrusted = |why| JournalError::Untrusted { path: path.to_owned(), why };
    let found = path.symlink_metadata().map_err(|e| JournalError::io("open", path, e))?;
    if found.is_symlink() {
        return Err(untrusted("it is a symbolic link"));
    }
    let dir = open(path, OpenOptions::new().read(true), OFlags::DIRECTORY)
        .map_err(|e| JournalError::io("open", path, e))?;
    let meta = dir.metadata().map_err(|e| JournalError::io("open", path, e))?;
    belongs_to_us(&meta).map_err(untrusted)?;
    Ok(dir)
}

/// Creates a file (0600) that must not exist yet. Neither it nor its name is durable before [`sync_new`].
pub(super) fn create(path: &Path) -> Result<File, JournalError> {
    let failed = |source| JournalError::io("create", path, source);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = open(path, &mut options, OFlags::empty()).map_err(failed)?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(file)
}

/// Makes a new file and its name durable.
pub(super) fn sync_new(file: &File, path: &Path) -> Result<(), JournalError> {
    file.sync_all().map_err(|e| not_synced(path, e))?;
    sync_parent(path)
}

/// Puts a file (0600) with this content in the place of the one that may be there, durably, and never a part of it.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), JournalError> {
    let beside = path.with_extension(format!("{}.new", uuid::Uuid::new_v4().simple()));
    let mut file = create(&beside)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&beside, path));
    if let Err(error) = written {
        // What is left of it lies in a private folder and is never read.
        let _removed = std::fs::remove_file(&beside);
        return Err(JournalError::io("write", path, error));
    }
    sync_parent(path)
}

/// Makes the names in the folder around `path` durable.
pub(super) fn sync_parent(path: &Path) -> Result<(), JournalError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(|e| not_synced(parent, e))
}

/// Opens an existing state file for reading, if it can be trusted.
pub(super) fn open_to_read(path: &Path) -> Result<File, JournalError> {
    open_trusted(path, OpenOptions::new().read(true))
}

/// Opens a file that other users may write, too, to read it.
pub(super) fn open_shared(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().read(true), OFlags::NONBLOCK)
}

/// Opens an existing state file for reading and writing, if it can be trusted.
pub(super) fn open_to_write(path: &Path) -> Result<File, JournalError> {
    open_trusted(path, OpenOptions::new().read(true).write(true))
}

/// The whole content of a state file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, JournalError> {
    let mut bytes = Vec::new();
    let mut file = open_to_read(path)?;
    file.read_to_end(&mut bytes).map_err(|e| JournalError::io("read", path, e))?;
    Ok(bytes)
}

pub(super) fn not_synced(path: &Path, source: io::Error) -> JournalError {
    JournalError::NotSynced { path: path.to_owned(), source: source.into() }
}

fn open_trusted(path: &Path, options: &mut OpenOptions) -> Result<File, JournalError> {
    let untrusted = |why| JournalError::Untrusted { path: path.to_owned(), why };
    // Without NONBLOCK the opening of a FIFO in the file's place would wait for ever.
    let file = open(path, options, OFlags::NONBLOCK).map_err(|error| {
        if path.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) {
            return untrusted("it is a symbolic link");
        }
        JournalError::io("open", path, error)
    })?;
    let meta = file.metadata().map_err(|e| JournalError::io("open", path, e))?;
    regular(&meta).and_then(|()| belongs_to_us(&meta)).map_err(untrusted)?;
    Ok(file)
}

/// Opens without following a symbolic link in the last component.
pub(super) fn open(path: &Path, options: &mut OpenOptions, flags: OFlags) -> io::Result<File> {
    let flags = (flags | OFlags::NOFOLLOW | OFlags::CLOEXEC).bits();
    options.custom_flags(flags.cast_signed()).open(path)
}

/// Whether it is a plain file with one name.
pub(super) fn regular(meta: &Metadata) -> Result<(), &'static str> {
    if !meta.is_file() {
        return Err("it is not a regular file");
    }
    if meta.nlink() > 1 {
        return Err("it has a second name (a hard link)");
    }
    Ok(())
}

fn belongs_to_us(meta: &Metadata) -> Result<(), &'static str> {
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err("it belongs to another user");
    }
    if meta.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err("other users can write to it");
    }
    Ok(())
}
