//! nginx's workers: it starts new ones only when it has taken a new configuration, and then tells the former ones to finish.
//!
//! Between the two lies a tenth of a second or more in which both accept, so that the first proof comes before the last
//! request with the old configuration.
//!
//! Reads `/proc` (proc(5)): the master's children, and in `stat` field 22 when each was started, in ticks since the machine's start.

use std::path::Path;

use crate::clock::Boot;

/// Ticks a second as `/proc` counts them, on every Linux architecture that Rust supports.
const TICKS: u64 = 100;

/// One worker: its process id and when it was started, which together are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Worker {
    pid: u32,
    started: u64,
}

impl Worker {
    /// How long ago it was started, in milliseconds.
    fn age_ms(self, now: &Boot) -> u64 {
        now.elapsed_ms.saturating_sub(self.started * 1000 / TICKS)
    }
}

/// The children of the master whose process id stands in `pid_file`. The error says why they cannot be told.
pub(super) fn of_master(pid_file: &Path) -> Result<Vec<Worker>, String> {
    let text = std::fs::read_to_string(pid_file)
        .map_err(|error| format!("{} cannot be read ({error})", pid_file.display()))?;
    let master: u32 =
        text.trim().parse().map_err(|_| format!("{} holds no process id", pid_file.display()))?;
    let children = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children"))
        .map_err(|error| format!("the master {master} is not running ({error})"))?;
    Ok(children.split_whitespace().filter_map(|pid| worker(pid.parse().ok()?)).collect())
}

/// A process that still lives.
fn worker(pid: u32) -> Option<Worker> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in field 2 may hold spaces and brackets; field 3 follows the last bracket.
    let (_, rest) = stat.rsplit_once(") ")?;
    let started = rest.split(' ').nth(19)?.parse().ok()?;
    Some(Worker { pid, started })
}

/// Whether there is a worker that was not among `before`.
pub(super) fn are_new(pid_file: &Path, before: &[Worker]) -> Result<(), String> {
    let now = of_master(pid_file)?;
    if now.iter().any(|worker| !before.contains(worker)) {
        Ok(())
    } else {
        Err("nginx has started no new workers".to_owned())
    }
}

/// Whether none of these accepts connections any more: each has ended, or says in its title that it is finishing.
pub(super) fn have_retired(before: &[Worker]) -> Result<(), String> {
    let accepts =
        |former: &&Worker| worker(former.pid) == Some(**former) && !is_finishing(former.pid);
    match before.iter().find(accepts) {
        Some(former) => Err(format!("the former worker {} still accepts", former.pid)),
        None => Ok(()),
    }
}

fn is_finishing(pid: u32) -> bool {
    let title = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    title.is_empty() || String::from_utf8_lossy(&title).contains("is shutting down")
}

/// Whether every worker is certainly younger than a file's last change.
pub(super) fn are_younger(pid_file: &Path, file: &Path) -> bool {
    let age = || {
        let changed = jiff::Timestamp::try_from(file.metadata().ok()?.modified().ok()?).ok()?;
        u64::try_from(crate::clock::now().duration_since(changed).as_millis()).ok()
    };
    let (Some(age), Ok(workers)) = (age(), of_master(pid_file)) else { return false };
    let now = Boot::now();
    // The wall clock and the ticks agree within a second, unless the clock was set: then a needless reload is harmless.
    !workers.is_empty() && workers.iter().all(|worker| worker.age_ms(&now) + 1000 < age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_of_this_process_are_told_apart_by_their_start() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        std::fs::write(&pid_file, format!("{}\n", std::process::id())).unwrap();
        // `children` lists those of the main thread, of which a test has none: only the shape is tested here,
        // the rest against the real nginx.
        let before = of_master(&pid_file).unwrap();
        assert!(are_new(&pid_file, &before).is_err());
        let own = worker(std::process::id()).unwrap();
        assert!(own.age_ms(&Boot::now()) < 24 * 3600 * 1000);
    }

    #[test]
    fn no_master_is_told_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        assert!(of_master(&pid_file).unwrap_err().contains("cannot be read"));
        std::fs::write(&pid_file, "nginx").unwrap();
        assert!(of_master(&pid_file).unwrap_err().contains("no process id"));
        std::fs::write(&pid_file, "4194305").unwrap();
        assert!(of_master(&pid_file).unwrap_err().contains("not running"));
    }
}
