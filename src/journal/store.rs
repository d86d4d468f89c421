//! The state folder: one folder per run, found again by id, by the beginning of an id, or as the latest.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use etcetera::BaseStrategy;
use jiff::Timestamp;

use super::error::JournalError;
use super::files;
use super::logfile;
use super::measured;
use super::reader::{self, Tail};
use super::run::{self, Run};
use super::writer::Journal;
use crate::clock;
use crate::event::{Event, Header, Record, RunVerdict, Standing};

/// How often a new id may be taken already; each try has a chance of one in 900,000.
const TRIES: u32 = 8;

/// The runs of one state folder.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    runs: PathBuf,
}

/// A run in a list.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Its folder.
    pub run: Run,
    /// What it started from.
    pub header: Arc<Header>,
    /// Its end, if it has one.
    pub ended: Option<(RunVerdict, u8)>,
    /// What it has come to for those who depend on it.
    pub standing: Option<Standing>,
    /// Milliseconds from its start to its end, or to its last record.
    pub elapsed_ms: u64,
    /// When its last record was made.
    pub last: Timestamp,
    /// The last run that was started to take it back.
    pub reverted_by: Option<String>,
    /// Whether its last write was cut short.
    pub torn: bool,
}

/// All runs of a store.
#[derive(Debug, Default)]
pub struct Listing {
    /// Newest first.
    pub runs: Vec<Summary>,
    /// Why a run is not among them, one sentence each.
    pub warnings: Vec<String>,
}

impl Store {
    /// Opens (and creates) the state folder: `named`, or `rollback` below `$XDG_STATE_HOME`. Never below `/tmp`.
    /// When it cannot be written, the error offers a folder that can.
    pub fn open(named: Option<&Path>) -> Result<Self, JournalError> {
        let dir = match named {
            Some(named) => named.to_owned(),
            None => usual_dir()?,
        };
        let runs = dir.join("runs");
        let writable = files::private_dir(&dir)
            .and_then(|()| files::private_dir(&runs))
            .and_then(|()| try_to_write(&runs));
        match writable {
            Ok(()) => Ok(Self { dir, runs }),
            Err(error) => Err(unwritable(&dir, error)),
        }
    }

    /// Opens the state folder to look only: nothing is created or tried. One that does not exist has no runs.
    pub fn open_to_read(named: Option<&Path>) -> Result<Self, JournalError> {
        let dir = match named {
            Some(named) => named.to_owned(),
            None => usual_dir()?,
        };
        let runs = dir.join("runs");
        for folder in [&dir, &runs] {
            if folder.symlink_metadata().is_ok() {
                drop(files::trusted_dir(folder)?);
            }
        }
        Ok(Self { dir, runs })
    }

    /// The state folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the folder of a new run.
    pub fn create_run(&self) -> Result<Run, JournalError> {
        let mut tries = 1;
        loop {
            let id = run::new_id(clock::now());
            match Run::create(&self.runs, &id) {
                Err(_) if tries < TRIES && self.runs.join(&id).exists() => tries += 1,
                created => return created,
            }
        }
    }

    /// Begins a run: its journal with the first record, durably. If that fails the run's folder is removed again.
    /// Returns the journal and its first record.
    pub fn begin(
        &self,
        run: &Run,
        header: Arc<Header>,
    ) -> Result<(Journal, Arc<Record>), JournalError> {
        let begun = run.sync().and_then(|()| Journal::create(&run.journal_path(), header));
        begun.map_err(|error| match run.discard_unbegun() {
            Ok(()) => unwritable(&self.dir, error),
            // A folder without a journal is a warning in the list of runs; the first error counts.
            Err(_) => error,
        })
    }

    /// Finds a run by its id, by the beginning of its id if only one run's begins so, or as `latest`.
    pub fn find(&self, wanted: &str) -> Result<Run, JournalError> {
        let unknown = || JournalError::UnknownRun { wanted: wanted.to_owned() };
        let mut runs = self.newest_first()?;
        if wanted == "latest" {
            // Not the empty folder of one that was killed before it began.
            return runs.find(|run| run.began().is_some()).ok_or_else(unknown);
        }
        if !run::may_be_id(wanted) {
            return Err(unknown());
        }
        let mut matches: Vec<Run> = runs.filter(|run| run.id().starts_with(wanted)).collect();
        if let Some(exact) = matches.iter().position(|run| run.id() == wanted) {
            return Ok(matches.swap_remove(exact));
        }
        match matches.len() {
            0 => Err(unknown()),
            1 => Ok(matches.swap_remove(0)),
            _ => Err(JournalError::AmbiguousRun {
                wanted: wanted.to_owned(),
                matches: matches.iter().map(|run| run.id().to_owned()).collect(),
            }),
        }
    }

    /// All runs, newest first. One that cannot be read becomes a warning.
    pub fn list(&self) -> Result<Listing, JournalError> {
        let mut listing = Listing::default();
        for run in self.newest_first()? {
            match summarize(run.clone()) {
                Ok(summary) => listing.runs.push(summary),
                Err(error) => listing.warnings.push(format!("run {}: failed to {error}", run.id())),
            }
        }
        Ok(listing)
    }

    /// The median duration of each step (by its id) in the last ten successful runs of this runbook in this environment.
    /// Runs that cannot be read are passed over, and the journals are not verified: this is an estimate. What a journal tells is kept
    /// beside it.
    pub fn measured(
        &self,
        runbook: &str,
        environment: &str,
    ) -> Result<BTreeMap<String, Duration>, JournalError> {
        Ok(measured::medians(self.newest_first()?, runbook, environment))
    }

    /// The folders of all runs, newest first. What the ids do not tell is read from the journals, when it is asked for.
    fn newest_first(&self) -> Result<impl Iterator<Item = Run>, JournalError> {
        let mut minutes: BTreeMap<String, Vec<Run>> = BTreeMap::new();
        for id in self.ids()? {
            minutes
                .entry(minute(&id).to_owned())
                .or_default()
                .push(Run::in_folder(&self.runs, &id));
        }
        Ok(minutes.into_values().rev().flat_map(|mut of_one_minute| {
            if of_one_minute.len() > 1 {
                of_one_minute.sort_by_cached_key(|run| Reverse((run.began(), run.id().to_owned())));
            }
            of_one_minute
        }))
    }

    fn ids(&self) -> Result<Vec<String>, JournalError> {
        let failed = |source| JournalError::io("list", &self.runs, source);
        let entries = match std::fs::read_dir(&self.runs) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            ids.extend(name.to_str().filter(|name| run::may_be_id(name)).map(str::to_owned));
        }
        Ok(ids)
    }
}

/// The part of an id that tells its minute; all of it if it is of another form.
fn minute(id: &str) -> &str {
    id.rsplit_once('-').map_or(id, |(minute, _)| minute)
}

fn summarize(run: Run) -> Result<Summary, JournalError> {
    let path = run.journal_path();
    let history = reader::read(&path)?;
    let (Some(header), Some(last)) = (history.header(), history.records.last()) else {
        return Err(JournalError::NeverStarted { path });
    };
    let end = history.records.iter().rev().find_map(|record| match record.event {
        Event::RunEnded { verdict, exit_code } => Some((verdict, exit_code, record.elapsed_ms)),
        _ => None,
    });
    let events = history.records.iter().map(|record| &record.event);
    let standing = events.fold(None, |before, event| Standing::after(before, event, &header.plan));
    let reverted_by = history.records.iter().rev().find_map(|record| match &record.event {
        Event::RevertStarted { run, .. } => Some(run.clone()),
        _ => None,
    });
    Ok(Summary {
        standing,
        reverted_by,
        header: header.clone(),
        ended: end.map(|(verdict, exit_code, _)| (verdict, exit_code)),
        elapsed_ms: end.map_or(last.elapsed_ms, |(_, _, elapsed_ms)| elapsed_ms),
        last: last.at,
        torn: history.tail != Tail::Clean,
        run,
    })
}

fn usual_dir() -> Result<PathBuf, JournalError> {
    let none = |why: String| JournalError::NoStateDir { why };
    let base = etcetera::base_strategy::Xdg::new().map_err(|error| none(error.to_string()))?;
    let state = base.state_dir().ok_or_else(|| none("there is no state folder".into()))?;
    Ok(state.join("rollback"))
}

/// Offers another folder, unless this one was refused because it cannot be trusted.
fn unwritable(dir: &Path, error: JournalError) -> JournalError {
    match error {
        JournalError::Untrusted { .. } => error,
        _ => JournalError::Unwritable {
            path: dir.to_owned(),
            instead: elsewhere(dir),
            source: Box::new(error),
        },
    }
}

/// Fails if a journal would not fit, or cannot be written: better now than in the first record, whose flush is the first.
fn try_to_write(dir: &Path) -> Result<(), JournalError> {
    let path = dir.join(format!(".try-{}", uuid::Uuid::new_v4().simple()));
    let mut file = files::create(&path)?;
    let tried = logfile::has_room(&file)
        .and_then(|()| file.write_all(&[0; 4096]))
        .map_err(|e| JournalError::io("write to", &path, e));
    let removed = std::fs::remove_file(&path).map_err(|e| JournalError::io("remove", &path, e));
    tried.and(removed)
}

/// A folder for state in which writing works, when it does not in `refused`.
fn elsewhere(refused: &Path) -> Option<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    [
        PathBuf::from("/var/lib"),
        format!("/run/user/{user}").into(),
        "/dev/shm".into(),
        "/var/tmp".into(),
    ]
    .into_iter()
    .filter(|parent| !refused.starts_with(parent))
    .map(|parent| parent.join(format!("rollback-{user}")))
    .find(|dir| {
        let existed = dir.exists();
        let works = files::private_dir(dir).and_then(|()| try_to_write(dir)).is_ok();
        if !existed {
            // Only a suggestion yet: it is created when it is named. Fails if there is nothing to remove.
            let _removed = std::fs::remove_dir(dir);
        }
        works
    })
}
