//! File system calls block, and on a dead network file system they block for ever: so they run aside, under the step's
//! deadline.

use std::fmt::Display;
use std::time::Duration;

use rustix::io::Errno;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::action::{ActionError, ErrorKind, StepContext};

/// Work that looks at its deadline between two calls ends by itself; after this much more it is given up.
const GIVE_UP: Duration = Duration::from_millis(150);

/// What work means when its end was never seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: it only reads.
    Reads,
    /// A change that may have happened.
    Changes,
}

/// Until when blocking work may go on.
#[derive(Debug, Clone)]
pub(super) struct Until {
    deadline: Instant,
    cancel: CancellationToken,
}

impl Until {
    /// An error when the time is up or the run is told to stop. Called only where nothing has been changed.
    pub(super) fn check(&self, what: impl Display) -> Result<(), ActionError> {
        if self.cancel.is_cancelled() {
            return Err(ActionError::new(ErrorKind::Cancelled, what.to_string()));
        }
        if Instant::now() >= self.deadline {
            return Err(ActionError::new(ErrorKind::TimedOut, format!("{what} in time")));
        }
        Ok(())
    }
}

#[cfg(test)]
impl Until {
    /// No end, for tests of blocking code.
    pub(super) fn never() -> Self {
        let deadline = Instant::now() + Duration::from_secs(3600);
        Self { deadline, cancel: CancellationToken::new() }
    }
}

/// Runs blocking work aside and waits for it, no longer than the step may take.
pub(super) async fn blocking<T: Send + 'static>(
    cx: &StepContext,
    effect: Effect,
    what: String,
    work: impl FnOnce(&Until) -> Result<T, ActionError> + Send + 'static,
) -> Result<T, ActionError> {
    let until = Until { deadline: cx.deadline(), cancel: cx.cancelled().clone() };
    until.check(&what)?;
    let unseen = match effect {
        Effect::Reads => ErrorKind::TimedOut,
        Effect::Changes => ErrorKind::Unknown,
    };
    tokio::select! {
        done = tokio::task::spawn_blocking(move || work(&until)) => done.unwrap_or_else(|error| {
            Err(ActionError::new(ErrorKind::Unknown, what).caused_by(&error))
        }),
        () = sleep_until(cx.deadline() + GIVE_UP) => {
            Err(ActionError::new(unseen, format!("{what}: the file system does not answer")))
        }
    }
}

/// An error of the operating system in the port's terms.
pub(super) fn fail(what: impl Display, error: Errno) -> ActionError {
    let kind = match error {
        Errno::NOENT | Errno::NOTDIR => ErrorKind::NotFound,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => ErrorKind::Denied,
        Errno::EXIST | Errno::LOOP | Errno::NOTEMPTY => ErrorKind::Conflict,
        _ => ErrorKind::Failed,
    };
    let failed = ActionError::new(kind, what.to_string()).caused_by(&std::io::Error::from(error));
    match error {
        Errno::NOSPC | Errno::DQUOT => failed.hint("Free some space, then resume the run."),
        Errno::LOOP => failed.hint("Name the file itself: symbolic links are not followed here."),
        _ => failed,
    }
}

/// The same for the standard library's errors.
pub(super) fn fail_io(what: impl Display, error: &std::io::Error) -> ActionError {
    match Errno::from_io_error(error) {
        Some(errno) => fail(what, errno),
        None => ActionError::new(ErrorKind::Failed, what.to_string()).caused_by(error),
    }
}
