//! One name in one open folder: what every verb of `file` works on.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Uid, fchmod, fchown, fstat, linkat,
    openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::work::{fail, fail_io};
use crate::action::{ActionError, ErrorKind};
use crate::digest::sha256;

/// The longest content that is read or written as a whole, in bytes.
pub(super) const LONGEST_CONTENT: usize = 64 * 1024 * 1024;

/// The permission bits of a mode.
const PERMISSIONS: u32 = 0o7777;

/// A regular file as it was found, or as it should be.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Content {
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
    /// Its permissions.
    pub(super) mode: u32,
    /// Its owner and group; nothing means whoever creates it.
    pub(super) owner: Option<(u32, u32)>,
}

impl Content {
    /// The SHA-256 of the bytes, in hexadecimal digits.
    pub(super) fn sha256(&self) -> String {
        sha256(&self.bytes)
    }
}

/// A name in an open folder.
#[derive(Debug)]
pub(super) struct Place {
    folder: OwnedFd,
    name: String,
    shown: String,
}

impl Place {
    /// The name `name` in `folder`; `shown` is the path for people.
    pub(super) fn new(folder: OwnedFd, name: String, shown: String) -> Self {
        Self { folder, name, shown }
    }

    /// The path as the runbook wrote it.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// The open folder.
    pub(super) fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    /// The name in it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A hidden name beside this one, for what belongs to a run: `.NAME.rollback-RUN.SUFFIX`.
    pub(super) fn aside(&self, run: &str, suffix: &str) -> String {
        let run: String = run
            .chars()
            .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
            .collect();
        format!(".{}.rollback-{run}.{suffix}", self.name)
    }

    /// What is there under a name of this folder; a symbolic link is not followed.
    pub(super) fn stat(&self, name: &str) -> Result<Option<Stat>, ActionError> {
        match statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(fail(format!("look at `{}`", self.shown), error)),
        }
    }

    /// Whether there is anything under a name of this folder.
    pub(super) fn is_there(&self, name: &str) -> Result<bool, ActionError> {
        self.stat(name).map(|stat| stat.is_some())
    }

    /// Opens the regular file of this name, if there is one. Nothing else is opened, not even for a moment: a pipe would
    /// block and a device may act.
    pub(super) fn open(&self) -> Result<Option<(File, Stat)>, ActionError> {
        let Some(stat) = self.stat(&self.name)? else { return Ok(None) };
        self.must_be_regular(&stat)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let what = || format!("open `{}`", self.shown);
        let file = match openat(&self.folder, self.name.as_str(), flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(fail(what(), error)),
        };
        let stat = fstat(&file).map_err(|error| fail(what(), error))?;
        self.must_be_regular(&stat)?;
        Ok(Some((file.into(), stat)))
    }

    fn must_be_regular(&self, stat: &Stat) -> Result<(), ActionError> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => return Ok(()),
            FileType::Symlink => "a symbolic link",
            FileType::Directory => "a folder",
            _ => "a device, pipe or socket",
        };
        Err(ActionError::new(
            ErrorKind::Conflict,
            format!("use `{}` as a file: it is {kind}", self.shown),
        ))
    }

    /// Reads the regular file of this name, if there is one.
    pub(super) fn read(&self) -> Result<Option<Content>, ActionError> {
        let Some((file, stat)) = self.open()? else { return Ok(None) };
        let mut bytes = Vec::new();
        let length = file
            .take(LONGEST_CONTENT as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| fail_io(format!("read `{}`", self.shown), &error))?;
        if length > LONGEST_CONTENT {
            return Err(ActionError::new(
                ErrorKind::Conflict,
                format!("read `{}`: it is longer than 64 MiB", self.shown),
            )
            .hint("Use `file.copy-tree` for its folder."));
        }
        Ok(Some(Content {
            bytes,
            mode: stat.st_mode & PERMISSIONS,
            owner: Some((stat.st_uid, stat.st_gid)),
        }))
    }

    /// Puts a file in place of whatever has this name, in one rename after its content is on disk.
    pub(super) fn replace(&self, run: &str, content: &Content) -> Result<(), ActionError> {
        let draft = self.draft(run, content)?;
        renameat(&self.folder, &draft, &self.folder, &self.name)
            .map_err(|error| fail(format!("replace `{}`", self.shown), error))?;
        self.sync()
    }

    /// Creates a file with all its content at once. False when something has this name already.
    pub(super) fn create(&self, run: &str, content: &Content) -> Result<bool, ActionError> {
        let draft = self.draft(run, content)?;
        // Not O_EXCL: a crash must never leave a file that does not say yet whose it is. Nor, where the file system can do without, a
        // link: between it and the removal of the draft a crash would leave that.
        let flags = RenameFlags::NOREPLACE;
        let named = match renameat_with(&self.folder, &draft, &self.folder, &self.name, flags) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                linkat(&self.folder, &draft, &self.folder, &self.name, AtFlags::empty())
            }
            named => named,
        };
        self.unlink(&draft)?;
        match named {
            Ok(()) => self.sync().map(|()| true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(fail(format!("create `{}`", self.shown), error)),
        }
    }

    /// Writes content to a hidden file beside this place, to disk, and returns its name.
    fn draft(&self, run: &str, content: &Content) -> Result<String, ActionError> {
        let name = self.aside(run, "draft");
        let what = || format!("write a draft of `{}`", self.shown);
        self.unlink(&name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file: File = openat(&self.folder, &name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| fail(what(), error))?
            .into();
        let written = file.write_all(&content.bytes).map_err(|error| fail_io(what(), &error));
        let finished = written.and_then(|()| {
            set_owner(&file, content.owner).map_err(|error| fail(what(), error))?;
            fchmod(&file, Mode::from_raw_mode(content.mode))
                .map_err(|error| fail(what(), error))?;
            file.sync_all().map_err(|error| fail_io(what(), &error))
        });
        match finished {
            Ok(()) => Ok(name),
            Err(error) => {
                // The first error is the one to tell; a draft that stays is replaced by the next try.
                self.unlink(&name).ok();
                Err(error)
            }
        }
    }

    /// Removes a file of this folder. That it is gone already is no error.
    pub(super) fn unlink(&self, name: &str) -> Result<(), ActionError> {
        match unlinkat(&self.folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(fail(format!("remove `{name}` beside `{}`", self.shown), error)),
        }
    }

    /// Renames within this folder and never replaces anything.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), ActionError> {
        let renamed =
            match renameat_with(&self.folder, from, &self.folder, to, RenameFlags::NOREPLACE) {
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                    if self.is_there(to)? {
                        Err(Errno::EXIST)
                    } else {
                        renameat(&self.folder, from, &self.folder, to)
                    }
                }
                renamed => renamed,
            };
        renamed.map_err(|error| {
            fail(format!("rename `{from}` to `{to}` in the folder of `{}`", self.shown), error)
        })?;
        self.sync()
    }

    /// Lets two names of this folder change places at once. False when the file system cannot do that.
    pub(super) fn exchange(&self, one: &str, other: &str) -> Result<bool, ActionError> {
        match renameat_with(&self.folder, one, &self.folder, other, RenameFlags::EXCHANGE) {
            Ok(()) => self.sync().map(|()| true),
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Ok(false),
            Err(error) => Err(fail(format!("exchange `{}` with its copy", self.shown), error)),
        }
    }

    /// Brings the folder's names to disk.
    pub(super) fn sync(&self) -> Result<(), ActionError> {
        match rustix::fs::fsync(&self.folder) {
            // Some file systems have nothing to bring to disk for a folder.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(error) => Err(fail(format!("bring the folder of `{}` to disk", self.shown), error)),
        }
    }
}

/// Gives an open file to its owner when that is not us already.
pub(super) fn set_owner(
    file: impl std::os::fd::AsFd,
    owner: Option<(u32, u32)>,
) -> Result<(), Errno> {
    let Some((user, group)) = owner else { return Ok(()) };
    let present = fstat(&file)?;
    if (present.st_uid, present.st_gid) == (user, group) {
        return Ok(());
    }
    fchown(&file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))
}
