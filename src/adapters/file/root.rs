//! The root of the connection `files`, and the way from a runbook's path to an open folder below it.
//!
//! Paths are resolved by the kernel with `openat2(2)` and `RESOLVE_IN_ROOT`: symbolic links work as inside a chroot, and
//! nothing leads out. Where `openat2` is missing (Linux before 5.6, other systems, some containers), each folder is
//! opened by itself and symbolic links are refused.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use schemars::JsonSchema;
use serde::Deserialize;

use super::place::Place;
use super::work::fail;
use crate::action::{ActionError, Connections, ErrorKind, SystemConnection};
use crate::secret::has_marker;

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// Where the files of an environment are.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FilesConnection {
    /// The folder that stands for `/` in the paths of a runbook; an absolute path.
    #[serde(default = "default_root")]
    root: PathBuf,
}

fn default_root() -> PathBuf {
    "/".into()
}

impl SystemConnection for FilesConnection {
    const KEY: &'static str = "files";
}

/// The open root folder.
#[derive(Debug)]
pub(super) struct Root {
    folder: OwnedFd,
}

/// The root of an environment.
pub(super) fn root(connections: &Connections) -> Result<Arc<Root>, ActionError> {
    connections.client::<FilesConnection, Root, _>(|settings, _| Root::open(&settings.root))
}

/// Whether the root can be opened.
pub(super) async fn reach(connections: &Connections) -> Result<String, ActionError> {
    let settings = connections.settings::<FilesConnection>()?;
    let shown = settings.root.display().to_string();
    let unreachable = format!("open the root `{shown}` of the connection `files`");
    let opened = tokio::task::spawn_blocking(move || Root::open(&settings.root));
    match tokio::time::timeout(Duration::from_secs(3), opened).await {
        Ok(Ok(opened)) => opened.map(|_| format!("{shown} is there")),
        Ok(Err(error)) => Err(ActionError::new(ErrorKind::Failed, unreachable).caused_by(&error)),
        Err(error) => Err(ActionError::new(ErrorKind::TimedOut, unreachable).caused_by(&error)),
    }
}

/// Checks the form of a runbook's path.
pub(super) fn validate_path(key: &str, path: &str) -> Result<(), String> {
    if has_marker(path) {
        return Err(format!("`{key}` holds a secret, and paths are shown"));
    }
    if path.contains('\0') {
        return Err(format!("`{key}` holds a NUL character"));
    }
    if !path.starts_with('/') {
        return Err(format!("`{key}` must be an absolute path"));
    }
    if path.split('/').any(|part| matches!(part, "." | "..")) {
        return Err(format!("`{key}` must not hold `.` or `..`"));
    }
    if path.trim_matches('/').is_empty() {
        return Err(format!("`{key}` must not be the root itself"));
    }
    Ok(())
}

impl Root {
    /// Opens the root folder.
    pub(super) fn open(path: &std::path::Path) -> Result<Self, ActionError> {
        if path.is_relative() {
            let message = format!("use `{}` as the root of `files`: not absolute", path.display());
            return Err(ActionError::new(ErrorKind::Invalid, message));
        }
        let folder = rustix::fs::open(path, FOLDER, Mode::empty()).map_err(|error| {
            fail(format!("open the root `{}` of the connection `files`", path.display()), error)
        })?;
        Ok(Self { folder })
    }

    /// The place that a runbook's path names: an open folder below the root and a name in it.
    pub(super) fn place(&self, path: &str) -> Result<Place, ActionError> {
        validate_path("path", path).map_err(|problem| {
            ActionError::new(ErrorKind::Invalid, format!("use `{path}`: {problem}"))
        })?;
        let shown = path.trim_end_matches('/').to_owned();
        let (folder, name) = shown.rsplit_once('/').unwrap_or(("", &shown));
        let folder = self
            .folder(folder.trim_matches('/'))
            .map_err(|error| fail(format!("open the folder of `{path}`"), error))?;
        Ok(Place::new(folder, name.to_owned(), shown.clone()))
    }

    fn folder(&self, path: &str) -> Result<OwnedFd, Errno> {
        if path.is_empty() {
            return openat(&self.folder, ".", FOLDER, Mode::empty());
        }
        match in_root(&self.folder, path) {
            Err(Errno::NOSYS) => one_by_one(&self.folder, path),
            opened => opened,
        }
    }
}

#[cfg(target_os = "linux")]
fn in_root(root: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    use rustix::fs::{ResolveFlags, openat2};
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut attempts = 0;
    loop {
        match openat2(root, path, FOLDER, Mode::empty(), resolve) {
            // A rename elsewhere got in between: openat2(2) asks for another try.
            Err(Errno::AGAIN) if attempts < 16 => attempts += 1,
            opened => return opened,
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn in_root(_: &OwnedFd, _: &str) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

/// Opens each folder of a path by itself and refuses symbolic links.
pub(super) fn one_by_one(root: impl std::os::fd::AsFd, path: &str) -> Result<OwnedFd, Errno> {
    let mut folder = openat(root.as_fd(), ".", FOLDER, Mode::empty())?;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if part == ".." {
            return Err(Errno::LOOP);
        }
        folder = openat(folder.as_fd(), part, FOLDER | OFlags::NOFOLLOW, Mode::empty()).map_err(
            // O_DIRECTORY turns "this is a link" into "this is no folder".
            |error| match error {
                Errno::NOTDIR if is_link(&folder, part) => Errno::LOOP,
                error => error,
            },
        )?;
    }
    Ok(folder)
}

fn is_link(folder: &OwnedFd, name: &str) -> bool {
    rustix::fs::statat(folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Symlink
    })
}
