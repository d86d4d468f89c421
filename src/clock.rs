//! The only wall clock, and the clock that survives a restart of the program.
//!
//! Decisions use `tokio::time` alone. The wall clock is for people: time stamps in the journal, on screen and in
//! reports. [`Boot`] counts on through a crash (and through suspend) as long as the machine is not restarted, so a resumed run knows
//! how much of its target has passed even when the wall clock was set in between.

use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Now, for people.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now() -> Timestamp {
    Timestamp::now() + ahead()
}

/// How far ahead of the machine's clocks the program is: without the feature `failpoints` not at all; with it, so many seconds as
/// `ROLLBACK_CLOCK_AHEAD` says, so that a test need not wait for a day.
fn ahead() -> Duration {
    #[cfg(feature = "failpoints")]
    if let Some(seconds) = std::env::var_os("ROLLBACK_CLOCK_AHEAD") {
        let seconds = seconds.to_str().and_then(|text| text.parse().ok());
        return Duration::from_secs(seconds.unwrap_or(0));
    }
    Duration::ZERO
}

/// A position on the clock that runs from the machine's start, and which start that was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The kernel's identifier of this start of the machine; empty where there is none.
    pub id: String,
    /// Milliseconds since then, suspend included.
    pub elapsed_ms: u64,
}

impl Boot {
    /// The position now.
    pub fn now() -> Self {
        // No process sees two starts of its machine.
        static ID: LazyLock<String> = LazyLock::new(|| {
            std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .map(|id| id.trim().to_owned())
                .unwrap_or_default()
        });
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let millis = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or_default();
        Self { id: ID.clone(), elapsed_ms: (seconds + ahead().as_secs()) * 1000 + millis }
    }

    /// Milliseconds from `earlier` to `self`, when both belong to the same start of the machine.
    pub fn since(&self, earlier: &Self) -> Option<u64> {
        (!self.id.is_empty() && self.id == earlier.id)
            .then(|| self.elapsed_ms.saturating_sub(earlier.elapsed_ms))
    }
}
