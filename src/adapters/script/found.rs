//! Executables that were found a moment ago.
//!
//! A look at a file system may take as long as a server that does not answer, so it is made on a thread of its own. A long runbook names the
//! same few programs thousands of times, and ten thousand looks were two hundred threads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long what was found counts as there: about the time that a plan takes. Whatever becomes of it later, the start of the command tells.
const LATELY: Duration = Duration::from_secs(1);
/// More are forgotten.
const FEW: usize = 64;

static FOUND: Mutex<BTreeMap<String, (PathBuf, Instant)>> = Mutex::new(BTreeMap::new());

fn found() -> MutexGuard<'static, BTreeMap<String, (PathBuf, Instant)>> {
    FOUND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the executable of this name was found lately.
pub(super) fn lately(name: &str) -> Option<PathBuf> {
    found().get(name).filter(|(_, since)| since.elapsed() < LATELY).map(|(path, _)| path.clone())
}

/// Remembers where it was found, unless that depends on the working directory.
pub(super) fn remember(name: &str, path: &Path) {
    if name.contains('/') && !name.starts_with('/') {
        return;
    }
    let mut found = found();
    if found.len() >= FEW {
        found.clear();
    }
    let _former = found.insert(name.to_owned(), (path.to_owned(), Instant::now()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_found_counts_for_a_moment() {
        remember("/opt/lately", Path::new("/opt/lately"));
        remember("./beside", Path::new("/opt/beside"));
        assert_eq!(lately("/opt/lately").as_deref(), Some(Path::new("/opt/lately")));
        assert_eq!(lately("./beside"), None, "another step may have another folder");
        tokio::time::advance(LATELY).await;
        assert_eq!(lately("/opt/lately"), None);
    }
}
