//! The rollback log: every run adds one entry when it has ended, in one write, and never twice.
//!
//! It comes after the run, so it holds up nothing and fails nothing. An entry's last line names the run and its end: a program that
//! was killed before it had written it writes it when the run is resumed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::open::Opened;
use super::output::Output;
use crate::failpoint;
use crate::journal::{self, Run};
use crate::report::View;
use crate::report::log::{self, Entry, HEADING};
use crate::report::style::{DOUBT, paint};
use crate::report::text::sanitize;

/// How long the whole may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether another program still holds the log, and the time between two looks.
const LOOKS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// The log of a run that is about to begin, if it has one: its environment's, else the project's. The sandbox is no place of which
/// a project keeps a log, a drill has a record of its own, and a question rolls nothing back.
pub(super) fn of_run(opened: &Opened, drill: bool) -> Option<String> {
    if drill || opened.loaded.runbook.scenario.asks_only() {
        return None;
    }
    let environment = &opened.environment;
    let projects = opened.config.log.as_ref().filter(|_| !environment.sandbox);
    let path = environment.log.as_ref().or(projects)?;
    Some(std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string())
}

/// Adds the entry of a run that has ended, unless it is there. What fails is told in one line.
pub(super) async fn write(output: &Output, run: &Run) {
    let name = run.clone();
    let writing = tokio::task::spawn_blocking(move || add(&name));
    let problem = match tokio::time::timeout(PATIENCE, writing).await {
        Ok(Ok(Ok(()))) => return,
        Ok(Ok(Err(problem))) => problem,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it takes too long".to_owned(),
    };
    let text = sanitize(&format!("the rollback log has no entry of this run: {problem}"));
    output.progress(format!("{} {text}", paint(DOUBT, "!")));
    let again = format!("  print it with: rollback report {} --log", run.id());
    output.progress(again);
}

/// The same, blocking. A run whose journal cannot be read has said so before.
fn add(run: &Run) -> Result<(), String> {
    let Ok(history) = journal::read(&run.journal_path()) else { return Ok(()) };
    let Some(view) = View::of(&history.records) else { return Ok(()) };
    let (Some(path), Some(entry)) = (&view.header.log, log::entry(&view, &history.head())) else {
        return Ok(());
    };
    failpoint::reach("cli.before-log");
    let path = PathBuf::from(path);
    append(&path, &entry).map_err(|error| format!("failed to write {}: {error}", path.display()))
}

/// Appends an entry to a log, unless it is there, and returns when it is on disk.
fn append(path: &Path, entry: &Entry) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    lock(&file)?;
    let mut text = Vec::new();
    let _length = file.read_to_end(&mut text)?;
    let mark = entry.mark.as_bytes();
    if text.split(|byte| *byte == b'\n').any(|line| line == mark) {
        return Ok(());
    }
    let start = match text.last() {
        None => HEADING,
        Some(b'\n') => "",
        // Somebody's last line has no end.
        Some(_) => "\n",
    };
    let whole = format!("{start}{}", entry.text);
    // One write, so that an entry of somebody else, who takes no lock, does not come in between.
    let written = file.write(whole.as_bytes())?;
    if written < whole.len() {
        return Err(io::Error::new(io::ErrorKind::WriteZero, "only a part of it fits"));
    }
    file.sync_all()
}

/// Waits a little for other runs that write their entries. On a file system without locks one write is the best that there is.
fn lock(file: &File) -> io::Result<()> {
    for _ in 0..LOOKS {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(()),
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "another program holds it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(run: &str) -> Entry {
        let mark = format!("<!-- rollback {run} recovered -->");
        Entry { text: format!("\n## {run}\n{mark}\n\n---\n"), mark }
    }

    #[test]
    fn an_entry_is_added_once_and_one_that_was_cut_short_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("docs/log.md");
        append(&path, &entry("a")).expect("added");
        append(&path, &entry("a")).expect("there already");
        let text = std::fs::read_to_string(&path).expect("a log");
        assert_eq!(text, format!("{HEADING}{}", entry("a").text));

        std::fs::write(&path, "by hand\n\n## b\n<!-- rollback b").expect("a torn entry");
        append(&path, &entry("b")).expect("added");
        let text = std::fs::read_to_string(&path).expect("a log");
        assert_eq!(text, format!("by hand\n\n## b\n<!-- rollback b\n{}", entry("b").text));
    }

    #[test]
    fn runs_that_end_at_the_same_time_have_an_entry_each() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log.md");
        std::thread::scope(|scope| {
            for number in 0..20 {
                let path = &path;
                scope.spawn(move || append(path, &entry(&number.to_string())).expect("added"));
            }
        });
        let text = std::fs::read_to_string(&path).expect("a log");
        assert_eq!(text.matches(HEADING).count(), 1);
        for number in 0..20 {
            assert_eq!(text.matches(&entry(&number.to_string()).text).count(), 1, "{text}");
        }
    }
}
