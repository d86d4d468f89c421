//! A folder with everything in it: its manifest, its copy, its removal.
//!
//! Nothing here follows a symbolic link: every folder is opened from its parent with `O_NOFOLLOW`, so a link that is put
//! in place of a folder in the middle of the work is an error and never a way out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, fchmod, fstat, mkdirat, openat, readlinkat, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::place::set_owner;
use super::root::one_by_one;
use super::work::{Until, fail, fail_io};
use crate::action::{ActionError, ErrorKind};
use crate::digest::hex;

/// The most entries of a tree, and the deepest one.
const MOST_ENTRIES: usize = 200_000;
const DEEPEST: usize = 64;

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// One entry of a tree. Owners are copied where that is allowed, and are no part of the comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// A folder.
    Folder { mode: u32 },
    /// A regular file.
    File { mode: u32, size: u64, sha256: String },
    /// A symbolic link, which is copied as it is.
    Link { target: String },
}

/// What is in a tree, by path relative to it; the tree itself has the empty path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) entries: BTreeMap<String, Entry>,
}

/// How two trees differ, in numbers of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) added: usize,
    pub(super) changed: usize,
    pub(super) removed: usize,
}

impl Manifest {
    /// Reads a tree; `shown` is its path for people.
    pub(super) fn read(tree: impl AsFd, shown: &str, until: &Until) -> Result<Self, ActionError> {
        let mut manifest = Self::default();
        let root = open_folder(&tree, ".").map_err(|error| fail(read_of(shown), error))?;
        manifest.add_folder(&root, "", 0, shown, until)?;
        Ok(manifest)
    }

    fn add_folder(
        &mut self,
        folder: &OwnedFd,
        path: &str,
        depth: usize,
        shown: &str,
        until: &Until,
    ) -> Result<(), ActionError> {
        let stat = fstat(folder).map_err(|error| fail(read_of(shown), error))?;
        self.add(path, Entry::Folder { mode: permissions(&stat) }, depth, shown)?;
        for name in names(folder).map_err(|error| fail(read_of(shown), error))? {
            until.check(read_of(shown))?;
            let name = name.map_err(|name| {
                let message = format!("{}: the name {name:?} is not UTF-8", read_of(shown));
                ActionError::new(ErrorKind::Invalid, message)
            })?;
            let path = join(path, &name);
            let what = || format!("read `{shown}/{path}`");
            let stat = statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| fail(what(), error))?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let folder = open_folder(folder, &name).map_err(|error| fail(what(), error))?;
                    self.add_folder(&folder, &path, depth + 1, shown, until)?;
                }
                FileType::Symlink => {
                    let target = link(folder, &name).map_err(|error| fail(what(), error))?;
                    self.add(&path, Entry::Link { target }, depth, shown)?;
                }
                FileType::RegularFile => {
                    let mut file = open_file(folder, &name).map_err(|error| fail(what(), error))?;
                    let entry = digest(&mut file, &what, until)?;
                    self.add(&path, entry, depth, shown)?;
                }
                _ => {
                    let message = format!("{}: it is a device, pipe or socket", what());
                    return Err(ActionError::new(ErrorKind::Invalid, message));
                }
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        path: &str,
        entry: Entry,
        depth: usize,
        shown: &str,
    ) -> Result<(), ActionError> {
        let _former = self.entries.insert(path.to_owned(), entry);
        if self.entries.len() > MOST_ENTRIES || depth > DEEPEST {
            let message = format!(
                "{}: it holds more than {MOST_ENTRIES} entries or is deeper than {DEEPEST} folders",
                read_of(shown)
            );
            return Err(ActionError::new(ErrorKind::Invalid, message));
        }
        Ok(())
    }

    /// The SHA-256 over all entries, in hexadecimal digits.
    pub(super) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (path, entry) in &self.entries {
            let line = match entry {
                Entry::Folder { mode } => format!("{path}\0folder\0{mode:o}\0"),
                Entry::File { mode, size, sha256 } => {
                    format!("{path}\0file\0{mode:o}\0{size}\0{sha256}\0")
                }
                Entry::Link { target } => format!("{path}\0link\0{target}\0"),
            };
            hash.update(line.as_bytes());
        }
        hex(&hash.finalize())
    }

    /// This tree with what else is in `other`. Where both have an entry, this one's counts.
    pub(super) fn with_extras_of(&self, other: &Self) -> Self {
        let mut union = self.clone();
        for path in self.extras(other) {
            if let Some(entry) = other.entries.get(path) {
                let _new = union.entries.insert(path.to_owned(), entry.clone());
            }
        }
        union
    }

    /// The paths of `other` that are not in this tree and would not lie below one of its files or links.
    pub(super) fn extras<'a>(&self, other: &'a Self) -> Vec<&'a str> {
        let hidden = |path: &str| {
            path.match_indices('/').any(|(end, _)| {
                matches!(
                    self.entries.get(&path[..end]),
                    Some(Entry::File { .. } | Entry::Link { .. })
                )
            })
        };
        other
            .entries
            .keys()
            .filter(|path| !self.entries.contains_key(*path) && !hidden(path))
            .map(String::as_str)
            .collect()
    }

    /// What has to happen to this tree to become `wanted`.
    pub(super) fn difference(&self, wanted: &Self) -> Difference {
        let added = wanted.entries.keys().filter(|path| !self.entries.contains_key(*path)).count();
        let removed =
            self.entries.keys().filter(|path| !wanted.entries.contains_key(*path)).count();
        let changed = wanted
            .entries
            .iter()
            .filter(|(path, entry)| self.entries.get(*path).is_some_and(|own| own != *entry))
            .count();
        Difference { added, changed, removed }
    }

    /// Compares the files with lines as `sha256sum` writes them; `ignored` is the list itself, when it lies in the tree.
    pub(super) fn agrees_with(&self, list: &str, ignored: Option<&str>) -> Result<(), String> {
        let mut listed = BTreeMap::new();
        for line in list.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            let (sum, path) = line
                .split_once("  ")
                .or_else(|| line.split_once(" *"))
                .filter(|(sum, _)| sum.len() == 64)
                .ok_or_else(|| format!("`{line}` is not a line of `sha256sum`"))?;
            let _former = listed.insert(path.strip_prefix("./").unwrap_or(path), sum);
        }
        for (path, entry) in &self.entries {
            let Entry::File { sha256, .. } = entry else { continue };
            match listed.remove(path.as_str()) {
                Some(sum) if sum.eq_ignore_ascii_case(sha256) => {}
                Some(_) => return Err(format!("`{path}` has another checksum")),
                None if ignored == Some(path.as_str()) => {}
                None => return Err(format!("`{path}` is not listed")),
            }
        }
        match listed.keys().next() {
            Some(path) => Err(format!("`{path}` is listed and missing")),
            None => Ok(()),
        }
    }
}

/// Copies the entries of `paths` from the tree `from` into the tree `to`, each to disk.
pub(super) fn copy(
    from: &OwnedFd,
    to: &OwnedFd,
    manifest: &Manifest,
    paths: &[&str],
    shown: &str,
    until: &Until,
) -> Result<(), ActionError> {
    let mut folders = Vec::new();
    for path in paths {
        let what = || format!("copy `{shown}/{path}`");
        until.check(what())?;
        let failed = |error| fail(what(), error);
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        match manifest.entries.get(*path) {
            Some(Entry::Folder { mode }) => {
                if !path.is_empty() {
                    let folder = one_by_one(to, parent).map_err(failed)?;
                    mkdirat(&folder, name, Mode::RWXU).map_err(failed)?;
                }
                folders.push((*path, *mode));
            }
            Some(Entry::Link { target }) => {
                let folder = one_by_one(to, parent).map_err(failed)?;
                symlinkat(target.as_str(), &folder, name).map_err(failed)?;
            }
            Some(Entry::File { mode, .. }) => {
                let source = one_by_one(from, parent).map_err(failed)?;
                let folder = one_by_one(to, parent).map_err(failed)?;
                let mut source = open_file(&source, name).map_err(failed)?;
                copy_file(&mut source, &folder, name, *mode, &what, until)?;
            }
            None => {}
        }
    }
    // Last, and from the inside out: a folder may be without the right to write into it.
    for (path, mode) in folders.into_iter().rev() {
        let failed = |error| fail(format!("copy `{shown}/{path}`"), error);
        let source = one_by_one(from, path).map_err(failed)?;
        let folder = one_by_one(to, path).map_err(failed)?;
        copy_owner(&fstat(&source).map_err(failed)?, &folder).map_err(failed)?;
        fchmod(&folder, Mode::from_raw_mode(mode)).map_err(failed)?;
        rustix::fs::fsync(&folder).map_err(failed)?;
    }
    Ok(())
}

fn copy_file(
    source: &mut File,
    folder: &OwnedFd,
    name: &str,
    mode: u32,
    what: &dyn Fn() -> String,
    until: &Until,
) -> Result<(), ActionError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut copy: File = openat(folder, name, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| fail(what(), error))?
        .into();
    each_chunk(source, what, until, |chunk| copy.write_all(chunk))?;
    let stat = fstat(&*source).map_err(|error| fail(what(), error))?;
    copy_owner(&stat, &copy).map_err(|error| fail(what(), error))?;
    fchmod(&copy, Mode::from_raw_mode(mode)).map_err(|error| fail(what(), error))?;
    copy.sync_all().map_err(|error| fail_io(what(), &error))
}

/// Only the superuser may give files away; for everybody else a copy belongs to who makes it, as with `cp`.
fn copy_owner(source: &Stat, copy: impl AsFd) -> Result<(), Errno> {
    if rustix::process::geteuid().is_root() {
        set_owner(copy, Some((source.st_uid, source.st_gid)))
    } else {
        Ok(())
    }
}

/// Removes whatever has this name, with all that is in it. That it is gone already is no error.
pub(super) fn remove(folder: impl AsFd, name: &str, depth: usize) -> Result<(), Errno> {
    match unlinkat(&folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) if depth <= DEEPEST + 1 => {}
        Err(error) => return Err(error),
    }
    let inner = open_folder(&folder, name)?;
    fchmod(&inner, Mode::RWXU)?;
    for entry in names(&inner)? {
        let entry = entry.map_err(|_| Errno::ILSEQ)?;
        remove(&inner, &entry, depth + 1)?;
    }
    unlinkat(&folder, name, AtFlags::REMOVEDIR)
}

fn digest(file: &mut File, what: &dyn Fn() -> String, until: &Until) -> Result<Entry, ActionError> {
    let mut hash = Sha256::new();
    let mut size = 0;
    each_chunk(file, what, until, |chunk| {
        hash.update(chunk);
        size += chunk.len() as u64;
        Ok(())
    })?;
    let stat = fstat(&*file).map_err(|error| fail(what(), error))?;
    Ok(Entry::File { mode: permissions(&stat), size, sha256: hex(&hash.finalize()) })
}

fn each_chunk(
    file: &mut File,
    what: &dyn Fn() -> String,
    until: &Until,
    mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), ActionError> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        until.check(what())?;
        let length = file.read(&mut buffer).map_err(|error| fail_io(what(), &error))?;
        if length == 0 {
            return Ok(());
        }
        take(&buffer[..length]).map_err(|error| fail_io(what(), &error))?;
    }
}

/// The names in a folder; an error is a name that is no text.
fn names(folder: &OwnedFd) -> Result<Vec<Result<String, String>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        match entry.file_name().to_str() {
            Ok("." | "..") => {}
            Ok(name) => names.push(Ok(name.to_owned())),
            Err(_) => names.push(Err(entry.file_name().to_string_lossy().into_owned())),
        }
    }
    Ok(names)
}

pub(super) fn open_folder(parent: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    openat(parent, name, FOLDER, Mode::empty())
}

fn open_file(folder: &OwnedFd, name: &str) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::empty()).map(File::from)
}

fn link(folder: &OwnedFd, name: &str) -> Result<String, Errno> {
    readlinkat(folder, name, Vec::new())?.into_string().map_err(|_| Errno::ILSEQ)
}

fn permissions(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn read_of(shown: &str) -> String {
    format!("read the folder `{shown}`")
}
