//! What stands in a lock file, and whose it is.

use std::fmt::Display;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::place::{Content, Place};
use crate::action::{ActionError, ErrorKind};
use crate::clock;
use crate::value::Lasting;

/// The holder of a lock, as the file tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    /// The run.
    pub(super) run: String,
    /// Whom to ask, as the runbook says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
    /// The user who started the run.
    pub(super) user: String,
    /// The machine.
    pub(super) host: String,
    /// The process on it.
    pub(super) pid: u32,
    /// Since when.
    pub(super) since: Timestamp,
    /// Until when it counts; without one, until it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<Timestamp>,
}

impl Holder {
    /// This process, for a run.
    pub(super) fn this(run: &str, owner: Option<&str>, expires: Option<Lasting>) -> Self {
        let since = clock::now();
        let user = std::env::var("USER")
            .unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()));
        Self {
            run: run.to_owned(),
            owner: owner.map(str::to_owned),
            user,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
            since,
            // A time beyond the calendar's end is no end.
            expires: expires.and_then(|lasting| since.checked_add(lasting.0).ok()),
        }
    }

    /// The lock file's content.
    pub(super) fn content(&self) -> Result<Content, ActionError> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| {
            ActionError::new(ErrorKind::Invalid, "write down the lock's owner").caused_by(&error)
        })?;
        bytes.push(b'\n');
        Ok(Content { bytes, mode: 0o644, owner: None })
    }

    /// Since when, to the second.
    pub(super) fn since_shown(&self) -> impl Display {
        self.since.strftime("%Y-%m-%d %H:%M:%S UTC")
    }

    fn is_expired(&self) -> bool {
        self.expires.is_some_and(|expires| expires <= clock::now())
    }
}

/// Whose lock is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lock {
    /// Nobody's.
    Free,
    /// This run's.
    Ours(Holder),
    /// Another run's, whose time is over.
    Expired(Holder),
    /// Another run's.
    Held(Holder),
    /// Somebody's who did not say.
    Unsigned {
        /// Whether there is nothing in the file, as `touch` makes it; other content is another tool's.
        empty: bool,
    },
}

impl Lock {
    /// Looks at the lock file.
    pub(super) fn look(place: &Place, run: &str) -> Result<Self, ActionError> {
        let Some(content) = place.read()? else { return Ok(Self::Free) };
        Ok(match serde_json::from_slice::<Holder>(&content.bytes) {
            Ok(holder) if holder.run == run => Self::Ours(holder),
            Ok(holder) if holder.is_expired() => Self::Expired(holder),
            Ok(holder) => Self::Held(holder),
            Err(_) => Self::Unsigned { empty: content.bytes.trim_ascii().is_empty() },
        })
    }

    /// The refusal, for a lock that is not ours.
    pub(super) fn conflict(&self, place: &Place) -> ActionError {
        let shown = place.shown();
        let conflict =
            |text: String| ActionError::new(ErrorKind::Conflict, format!("lock `{shown}`: {text}"));
        match self {
            Self::Held(holder) | Self::Expired(holder) | Self::Ours(holder) => {
                let owner =
                    holder.owner.as_ref().map_or(String::new(), |owner| format!(" ({owner})"));
                conflict(format!(
                    "{}@{}{owner} holds it since {} with run {}, process {}",
                    holder.user,
                    holder.host,
                    holder.since_shown(),
                    holder.run,
                    holder.pid
                ))
                .hint(format!("Look at that run with `rollback status {}`.", holder.run))
                .hint(format!(
                    "If it was interrupted, let it finish, which removes the lock: `rollback resume {}`.",
                    holder.run
                ))
                .hint(format!("If nobody works there any more, remove the lock: `rm {shown}`."))
            }
            Self::Unsigned { empty } => {
                let made =
                    if *empty { "is empty, as `touch` makes it" } else { "is another tool's" };
                conflict(format!("it does not say who holds it: the file {made}"))
                    .hint(format!("If nobody works there, remove it: `rm {shown}`."))
            }
            Self::Free => conflict("it is gone".into()),
        }
    }
}
