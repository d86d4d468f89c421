//! One run at a time per environment and subject, and one process at a time per run.
//!
//! A lock is an `flock` on a file, held by an open descriptor: the kernel releases it when the process dies by whatever means, and
//! a stopped process keeps it. The file's content tells who holds it, and is for people; one thing is decided by it: what a run of another
//! machine has left there is respected, because this kernel cannot know whether that run lives. The usual folder is
//! shared by all users of the machine (1777, files 0666), so that two operators exclude each other.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::OFlags;

use super::error::JournalError;
use super::files;
use super::holder::Holder;
use super::owner::OwnerFile;
use crate::digest::sha256;

/// The folder for locks of all users.
const SHARED: &str = "/run/lock/rollback";
/// A holder writes its description right after it has the lock; others look this often for it.
const LOOKS: u32 = 40;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
const LONGEST_DESCRIPTION: u64 = 16 * 1024;

/// What it means that a lock was left by a run of another machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftElsewhere {
    /// That run may be alive: the lock is not given.
    MayBeAlive,
    /// Somebody knows that it is not.
    IsOver,
}

/// A folder of locks.
#[derive(Debug, Clone)]
pub struct LockDir {
    path: PathBuf,
    mode: u32,
}

/// A lock that is held until this is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    /// The flush of the description, beside whatever comes before the first change.
    flushing: Option<JoinHandle<io::Result<()>>>,
}

/// Why a lock was not given.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("take the lock {}: another run holds it", .path.display())]
    Held {
        /// The lock's file.
        path: PathBuf,
        /// Who, when it could be read.
        holder: Option<Box<Holder>>,
    },
    /// Nobody holds it as far as this machine can tell, but a run of another machine has left its description: folders that machines
    /// share need not share their locks.
    #[error("take the lock {}: a run of {} has left it, which is another machine", .path.display(), .holder.by.host)]
    Elsewhere {
        /// The lock's file.
        path: PathBuf,
        /// Who.
        holder: Box<Holder>,
    },
    /// It could not be tried.
    #[error(transparent)]
    Failed(#[from] JournalError),
}

impl LockDir {
    /// The folder that all users of this machine share, or, when that cannot be used, one below `state_dir`
    /// together with a warning that says why (it then excludes only runs with the same state folder).
    pub fn usual(state_dir: &Path) -> Result<(Self, Option<String>), JournalError> {
        Self::shared_or(Path::new(SHARED), state_dir)
    }

    pub(super) fn shared_or(
        shared: &Path,
        state_dir: &Path,
    ) -> Result<(Self, Option<String>), JournalError> {
        let Err(error) = shared_dir(shared) else {
            return Ok((Self { path: shared.to_owned(), mode: 0o666 }, None));
        };
        let own = Self::at(&state_dir.join("locks"))?;
        let warning = format!(
            "runs of other users are not excluded: locks are kept in {}, because {} cannot be used ({error})",
            own.path.display(),
            shared.display(),
        );
        Ok((own, Some(warning)))
    }

    /// A private folder, named by the user.
    pub fn at(path: &Path) -> Result<Self, JournalError> {
        files::private_dir(path)?;
        Ok(Self { path: path.to_owned(), mode: 0o600 })
    }

    /// Takes the lock of a subject in an environment, or tells who holds it. Does not wait for a holder that has said
    /// who it is; blocks up to half a second for that.
    pub fn acquire(
        &self,
        environment: &str,
        subject: &str,
        holder: &Holder,
        left: LeftElsewhere,
    ) -> Result<Lock, LockError> {
        Lock::acquire(&self.path.join(file_name(environment, subject)), self.mode, holder, left)
    }

    /// Where the owner of a subject in an environment is written down while nobody holds its lock.
    pub fn owner_of(&self, environment: &str, subject: &str) -> OwnerFile {
        OwnerFile::beside(&self.path.join(file_name(environment, subject)), self.mode)
    }
}

impl Lock {
    /// Takes the lock that `path` names; the file is created with `mode` if it does not exist.
    pub(super) fn acquire(
        path: &Path,
        mode: u32,
        holder: &Holder,
        left: LeftElsewhere,
    ) -> Result<Self, LockError> {
        let failed = |source| JournalError::io("open the lock", path, source);
        let file = open(path, mode).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        files::regular(&meta)
            .map_err(|why| JournalError::Untrusted { path: path.to_owned(), why })?;
        let mut last = None;
        for _ in 0..LOOKS {
            match file.try_lock() {
                Ok(()) => {
                    if left == LeftElsewhere::MayBeAlive
                        && let Some(other) = read_description(path)
                        && other.by.host != holder.by.host
                    {
                        // The description stays. Unlocked by name: a child that is being born in this moment has a copy of the descriptor.
                        file.unlock().map_err(failed)?;
                        return Err(LockError::Elsewhere {
                            path: path.to_owned(),
                            holder: Box::new(other),
                        });
                    }
                    let mut lock = Self { file, path: path.to_owned(), flushing: None };
                    lock.describe(holder).map_err(failed)?;
                    return Ok(lock);
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(failed(error).into()),
            }
            last = read_description(path).or(last);
            if last.as_ref().is_some_and(|other| other.by.host != holder.by.host || is_alive(other))
            {
                break;
            }
            // Somebody only looks, or has it and has not said so yet.
            std::thread::sleep(BETWEEN_LOOKS);
        }
        Err(LockError::Held { path: path.to_owned(), holder: last.map(Box::new) })
    }

    /// Whether somebody holds the lock that `path` names. Leaves no trace; who wants the lock in this very moment
    /// tries again.
    pub(super) fn is_held(path: &Path) -> Result<bool, JournalError> {
        let file = match files::open_to_read(path) {
            Ok(file) => file,
            Err(_) if path.symlink_metadata().is_err() => return Ok(false),
            Err(error) => return Err(error),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(JournalError::io("look at", path, error)),
        }
    }

    /// Returns when the description is on disk, which began when the lock was taken. Where machines share a folder but not its
    /// locks, the others see it only on the server: nothing may be changed before.
    pub fn published(mut self) -> Result<Self, JournalError> {
        if let Some(flushing) = self.flushing.take() {
            flushing
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the flush panicked")))
                .map_err(|error| JournalError::io("describe the holder of", &self.path, error))?;
        }
        Ok(self)
    }

    /// The lock's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn describe(&mut self, holder: &Holder) -> io::Result<()> {
        let text = serde_json::to_string(holder)?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        let file = self.file.try_clone()?;
        let flushing = std::thread::Builder::new().name("lock".into());
        match flushing.spawn(move || file.sync_data()) {
            Ok(flushing) => self.flushing = Some(flushing),
            // A machine that is out of threads has to wait.
            Err(_) => self.file.sync_data()?,
        }
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The description must not outlive the lock; if it does, it is only a text about a past holder.
        let _described = self.file.set_len(0);
        let _unlocked = self.file.unlock();
    }
}

/// Whether the process that a description names exists. A description whose process is gone was left by a killed one.
fn is_alive(holder: &Holder) -> bool {
    Path::new("/proc").join(holder.by.pid.to_string()).exists()
}

fn read_description(path: &Path) -> Option<Holder> {
    let file = files::open_shared(path).ok()?;
    let mut text = String::new();
    let _length = file.take(LONGEST_DESCRIPTION).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Opens the file, or creates it with `mode`. Creating with `O_EXCL` only, because the kernel refuses `O_CREAT` on other users' files
/// in a shared folder (`fs.protected_regular`).
pub(super) fn open(path: &Path, mode: u32) -> io::Result<File> {
    let mut existing = OpenOptions::new();
    existing.read(true).write(true);
    loop {
        match files::open(path, &mut existing, OFlags::NONBLOCK) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let mut new = OpenOptions::new();
        new.read(true).write(true).create_new(true).mode(mode);
        match files::open(path, &mut new, OFlags::empty()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(file) => {
                file.set_permissions(Permissions::from_mode(mode))?;
                return Ok(file);
            }
        }
    }
}

/// Makes sure of a folder in which every user may create files and nobody may remove another's.
fn shared_dir(path: &Path) -> io::Result<()> {
    // `/run/lock` itself is missing in many containers.
    path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    match DirBuilder::new().mode(0o1777).create(path) {
        Ok(()) => std::fs::set_permissions(path, Permissions::from_mode(0o1777))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let meta = path.symlink_metadata()?;
    if !meta.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a folder"));
    }
    let ours = meta.uid() == rustix::process::geteuid().as_raw();
    if meta.mode() & 0o1777 != 0o1777 && !(ours && meta.mode() & 0o022 == 0) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is neither private nor shared with mode 1777",
        ));
    }
    Ok(())
}

/// A file name for any text: its readable part, and a hash that tells similar ones apart.
fn file_name(environment: &str, subject: &str) -> String {
    let readable: String = format!("{environment}-{subject}")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(48)
        .collect();
    // The length keeps ("ab", "c") and ("a", "bc") apart.
    let key = format!("{}:{environment}{subject}", environment.len());
    format!("{}-{}.lock", readable.trim_matches('-'), &sha256(key.as_bytes())[..16])
}
