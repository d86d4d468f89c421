//! What a run remembers of a record that it changed: how long others may hold the former one, and since when no server gives it out.
//!
//! A step has no output that another could read, and no server tells when a record was changed. So `dns.point` leaves a file in the run's
//! private folder, which lives as long as the run, also through a restart of the program, and `dns.expect` counts from it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::name::{DomainName, Kind};
use crate::action::{ActionError, ErrorKind, StepContext};
use crate::clock::{self, Boot};
use crate::digest::sha256;

/// A record that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// How long others may hold what was there before, in seconds.
    pub(super) former_ttl: u32,
    /// Since when every authoritative server has the new records.
    settled: Option<Since>,
}

/// An instant that outlives the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Since {
    boot: Boot,
    at: Timestamp,
}

impl Mark {
    /// A change that is about to be made.
    pub(super) fn begun(former_ttl: u32) -> Self {
        Self { former_ttl, settled: None }
    }

    /// A further change of the same record. What was there before the earlier one may still be held, perhaps for longer.
    pub(super) fn begun_after(earlier: &Self, former_ttl: u32) -> Self {
        let left = earlier.remaining().map_or(earlier.former_ttl, |left| {
            u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
        });
        Self::begun(former_ttl.max(left))
    }

    /// How much longer somebody may hold the former records; nothing when nobody can. `None` while some server may still give them out.
    pub(super) fn remaining(&self) -> Option<Duration> {
        let since = self.settled.as_ref()?;
        // The wall clock only where the machine was restarted meanwhile.
        let passed = match Boot::now().since(&since.boot) {
            Some(millis) => Duration::from_millis(millis),
            None => Duration::try_from(clock::now().duration_since(since.at)).unwrap_or_default(),
        };
        Some(Duration::from_secs(self.former_ttl.into()).saturating_sub(passed))
    }

    /// Every server has the new records now, if that was not so before.
    pub(super) fn settle(&mut self) {
        let now = || Since { boot: Boot::now(), at: clock::now() };
        self.settled.get_or_insert_with(now);
    }
}

/// The file of one record in a run. Outside of a run there is none.
fn path(cx: &StepContext, name: &DomainName, kind: Kind) -> Option<PathBuf> {
    let digest = sha256(format!("{name} {kind}").as_bytes());
    (!cx.place().is_empty()).then(|| cx.scratch().join("dns").join(digest))
}

/// What the run knows of a record.
pub(super) fn read(
    cx: &StepContext,
    name: &DomainName,
    kind: Kind,
) -> Result<Option<Mark>, ActionError> {
    let Some(path) = path(cx, name, kind) else { return Ok(None) };
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", &path).caused_by(&error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| failed("read", &path).caused_by(&error))
}

/// Remembers it; in a plan nothing.
pub(super) fn write(
    cx: &StepContext,
    name: &DomainName,
    kind: Kind,
    mark: &Mark,
) -> Result<(), ActionError> {
    let Some(path) = path(cx, name, kind) else { return Ok(()) };
    let complain = || failed("write", &path);
    let text = serde_json::to_vec(mark).map_err(|error| complain().caused_by(&error))?;
    let replace = || {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let fresh = path.with_extension("new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(&text)?;
        // Before the change: a mark that is lost would make the wait for caches one for a person.
        file.sync_all()?;
        fs::rename(&fresh, &path)
    };
    replace().map_err(|error| complain().caused_by(&error))
}

/// Forgets it, since the record is the former one again.
pub(super) fn forget(cx: &StepContext, name: &DomainName, kind: Kind) -> Result<(), ActionError> {
    let Some(path) = path(cx, name, kind) else { return Ok(()) };
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed("remove", &path).caused_by(&error))
        }
        _ => Ok(()),
    }
}

fn failed(what: &str, path: &std::path::Path) -> ActionError {
    let text = format!("{what} the note of a changed record in {}", path.display());
    ActionError::new(ErrorKind::Failed, text)
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn a_further_change_does_not_shorten_the_wait_for_an_earlier_one() {
        let mut earlier = Mark::begun(1800);
        assert_eq!(Mark::begun_after(&earlier, 30), Mark::begun(1800));
        earlier.settle();
        let since = &mut earlier.settled.as_mut().unwrap().boot.elapsed_ms;
        *since = since.saturating_sub(40_000);
        let left = Mark::begun_after(&earlier, 30).former_ttl;
        assert!((1700..=1800).contains(&left), "{left}");
        assert_eq!(Mark::begun_after(&earlier, 3600), Mark::begun(3600));
        earlier.former_ttl = 0;
        assert_eq!(Mark::begun_after(&earlier, 30), Mark::begun(30));
    }

    #[test]
    fn a_run_counts_from_when_all_servers_have_it() {
        let folder = tempfile::tempdir().unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        let scratch = folder.path().to_owned();
        let plan = StepContext::new(deadline, CancellationToken::new(), scratch, "run");
        let run = plan.clone().at("traffic/point");
        let name = DomainName::parse("agent.example.net").unwrap();

        let mut mark = Mark::begun(3600);
        write(&plan, &name, Kind::Cname, &mark).unwrap();
        assert_eq!(read(&run, &name, Kind::Cname).unwrap(), None);
        write(&run, &name, Kind::Cname, &mark).unwrap();
        assert_eq!(read(&run, &name, Kind::Cname).unwrap(), Some(mark.clone()));
        assert_eq!(read(&run, &name, Kind::A).unwrap(), None);
        assert_eq!(mark.remaining(), None);
        mark.settle();
        let first = mark.clone();
        mark.settle();
        assert_eq!(mark, first);
        assert!(mark.remaining().unwrap() > Duration::from_secs(3500));

        mark.settled.as_mut().unwrap().boot.elapsed_ms = 0;
        mark.former_ttl = 1;
        assert_eq!(mark.remaining(), Some(Duration::ZERO));
        forget(&run, &name, Kind::Cname).unwrap();
        forget(&run, &name, Kind::Cname).unwrap();
        assert_eq!(read(&run, &name, Kind::Cname).unwrap(), None);
    }
}
