//! The folder in which an installed PostgreSQL runs, and the user that it runs as.
//!
//! `initdb` and `postgres` refuse root, and another user cannot enter root's private folders. So for root the data lie in a
//! private folder of that other user below `/var/tmp` while the world runs, and rest in the world's own folder in
//! between: nothing of a world that is down lies anywhere else. For everybody else both are the same folder.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::{Instant, sleep};

use crate::sandbox::{SandboxError, store};

/// Where root's worlds keep data of another user while they run. It outlives a restart of the machine, as they do.
const SHARED: &str = "/var/tmp";
/// Who runs it for root: the first of these that exists.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];
/// How long a server may take to end when told to.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// A user of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Where a cluster runs and where it rests.
#[derive(Debug, Clone)]
pub(super) struct Home {
    /// Where it runs, private to whoever runs it.
    pub(super) folder: PathBuf,
    /// Where it rests, in the world's folder.
    rest: PathBuf,
    /// Who runs it, when not this user.
    pub(super) account: Option<Account>,
}

/// Stops a server that a killed world left and puts its data back into the world's folder.
pub async fn settle(dir: &Path) -> Result<(), SandboxError> {
    let Ok(home) = Home::of(dir) else { return Ok(()) };
    if home.folder.exists() {
        home.stop_orphan().await?;
        home.leave()?;
    }
    Ok(())
}

impl Home {
    /// The home of the cluster of the world in `dir`.
    pub(super) fn of(dir: &Path) -> Result<Self, SandboxError> {
        let rest = dir.join("postgres");
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { folder: rest.clone(), rest, account: None });
        }
        let users = Path::new("/etc/passwd");
        let text = fs::read_to_string(users).map_err(SandboxError::file("read", users))?;
        let account = ACCOUNTS.iter().find_map(|name| account(&text, name)).ok_or_else(|| {
            SandboxError::Process(format!(
                "run PostgreSQL: it refuses root, and there is no user {}",
                ACCOUNTS.join(" or ")
            ))
        })?;
        let name = crate::digest::sha256(dir.as_os_str().as_encoded_bytes());
        let folder = Path::new(SHARED).join(format!("rollback-postgres-{}", &name[..12]));
        Ok(Self { folder, rest, account: Some(account) })
    }

    /// The data folder of the running cluster.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What the server says.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// Makes the folder ready, with the data that rested.
    pub(super) fn enter(&self) -> Result<(), SandboxError> {
        match fs::DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(SandboxError::file("make the folder", &self.folder)(error));
            }
            _ => {}
        }
        let Some(account) = self.account else { return Ok(()) };
        // In a folder that everybody may write to, somebody else could have been first.
        let found = fs::symlink_metadata(&self.folder)
            .map_err(SandboxError::file("look at", &self.folder))?;
        let owned = [0, account.uid].contains(&found.uid());
        if !(found.is_dir() && owned && found.permissions().mode() & 0o777 == 0o700) {
            return Err(SandboxError::Process(format!(
                "use {}: it is not a private folder of the user who runs PostgreSQL",
                self.folder.display()
            )));
        }
        chown(&self.folder, Some(account.uid), Some(account.gid))
            .map_err(SandboxError::file("hand over", &self.folder))?;
        let rested = self.rest.join("data");
        if rested.exists() && !self.data().exists() {
            relocate(&rested, &self.data(), account)?;
        }
        Ok(())
    }

    /// Puts the data where they rest, and leaves nothing elsewhere.
    pub(super) fn leave(&self) -> Result<(), SandboxError> {
        let Some(account) = self.account else { return Ok(()) };
        if self.data().exists() {
            let rested = self.rest.join("data");
            store::remove_folder(&rested)?;
            store::folder(&self.rest)?;
            relocate(&self.data(), &rested, account)?;
        }
        store::remove_folder(&self.folder)
    }

    /// Removes all data.
    pub(super) fn forget(&self) -> Result<(), SandboxError> {
        store::remove_folder(&self.folder)?;
        store::remove_folder(&self.rest)
    }

    /// Ends a server that still runs here although its world was killed.
    pub(super) async fn stop_orphan(&self) -> Result<(), SandboxError> {
        let Some(pid) = self.server() else { return Ok(()) };
        let until = Instant::now() + PATIENCE;
        // SIGINT is PostgreSQL's fast shutdown: clients are cut, nothing is lost.
        for signal in [Signal::INT, Signal::KILL] {
            while self.server() == Some(pid) && test_kill_process(pid).is_ok() {
                match kill_process(pid, signal) {
                    Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                    Err(error) => {
                        return Err(SandboxError::Process(format!(
                            "end the PostgreSQL server {}: {error}",
                            pid.as_raw_nonzero()
                        )));
                    }
                }
                sleep(PAUSE).await;
                if Instant::now() > until && signal == Signal::INT {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The process that `postmaster.pid` names, if it is the server of these data.
    fn server(&self) -> Option<Pid> {
        let data = self.data();
        let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
        let mut lines = text.lines();
        let pid: i32 = lines.next()?.trim().parse().ok()?;
        if Path::new(lines.next()?) != data {
            return None;
        }
        // The file outlives a killed server, and its number may have passed to somebody else.
        let at = fs::read_link(format!("/proc/{pid}/cwd"));
        if Path::new("/proc/self").exists() && at.ok()? != data {
            return None;
        }
        Pid::from_raw(pid)
    }
}

/// The line of `passwd(5)` for a name.
fn account(text: &str, name: &str) -> Option<Account> {
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some(Account { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}

/// Renames a folder, or copies it where it lies on another file system.
fn relocate(from: &Path, to: &Path, account: Account) -> Result<(), SandboxError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy(from, to, account)?;
            store::remove_folder(from)
        }
        other => other.map_err(SandboxError::file("move", from)),
    }
}

fn copy(from: &Path, to: &Path, account: Account) -> Result<(), SandboxError> {
    let about = fs::symlink_metadata(from).map_err(SandboxError::file("look at", from))?;
    if about.is_dir() {
        store::folder(to)?;
        for entry in fs::read_dir(from).map_err(SandboxError::file("read", from))? {
            let entry = entry.map_err(SandboxError::file("read", from))?;
            copy(&entry.path(), &to.join(entry.file_name()), account)?;
        }
    } else if about.is_file() {
        let _bytes = fs::copy(from, to).map_err(SandboxError::file("copy", from))?;
    } else {
        // A socket; a cluster without table spaces holds no links.
        return Ok(());
    }
    chown(to, Some(account.uid), Some(account.gid)).map_err(SandboxError::file("hand over", to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_from_their_file() {
        let text = "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:104:a,,,:/var/lib:/bin/bash\n";
        assert_eq!(account(text, "postgres"), Some(Account { uid: 101, gid: 104 }));
        assert_eq!(account(text, "nobody"), None);
        assert_eq!(account("nobody:x\n", "nobody"), None);
    }

    #[test]
    fn a_folder_is_copied_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("base/1")).unwrap();
        fs::write(from.join("base/1/rows"), "131").unwrap();
        let me = Account {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        copy(&from, &to, me).unwrap();
        assert_eq!(fs::read_to_string(to.join("base/1/rows")).unwrap(), "131");
        assert_eq!(fs::metadata(to.join("base")).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
