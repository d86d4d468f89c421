//! Work that needs `ACCESS EXCLUSIVE`, in short tries.
//!
//! A lock that is waited for holds up everybody who comes later. So a try waits for a moment only, gives back what it has locked, and leaves
//! the others a pause before the next one. Whatever stands in the way, no reader waits for a second, as long as a round trip to the server
//! takes no more than 50 ms: under the lock there are six, and one more for each view and foreign key. Where we fall silent, the server ends the try.

use std::time::Duration;

use tokio::time::Instant;

use super::session::Tx;
use crate::action::ActionError;

/// For how long the locks of one try may be waited for together.
const WAIT: Duration = Duration::from_millis(400);
/// After how long the server gives up a try whose client says nothing: a laptop that was shut holds no reader up for longer. Between two
/// statements of a try, and up to the commit, lies a round trip and no work of ours, so whoever is still there is not taken for gone.
const SILENCE: Duration = Duration::from_secs(1);
/// The pause between two tries, in which those who had to wait get on.
const PAUSE: Duration = Duration::from_millis(600);
/// The time that a last try and its commit need.
const RESERVE: Duration = Duration::from_secs(2);

/// The place in a transaction that each try begins at.
const PLACE: &str = "SAVEPOINT rollback_try";

/// Tries at one piece of work.
pub(super) struct Tries<'a> {
    doing: &'a str,
    wait: Duration,
    until: Instant,
}

impl<'a> Tries<'a> {
    /// Begins the first try. Locks are waited for no longer than `patience`, if that is less than what readers can bear.
    pub(super) async fn begin(
        tx: &Tx<'_>,
        doing: &'a str,
        patience: Duration,
    ) -> Result<Self, ActionError> {
        tx.batch(doing, PLACE).await?;
        Ok(Self { doing, wait: patience.min(WAIT), until: Instant::now() })
    }

    /// From here on the time counts, and others may have to wait.
    pub(super) fn hurry(&mut self) {
        self.until = Instant::now() + self.wait;
    }

    /// Runs statements in what is left of the time for locks. The server grants that to each lock, so only one of them may have to wait.
    /// The limits hold until the try is taken back, or to the end of the transaction.
    pub(super) async fn batch(&self, tx: &Tx<'_>, sql: &str) -> Result<(), ActionError> {
        let left = self.until.saturating_duration_since(Instant::now()).as_millis().max(1);
        let silence = SILENCE.as_millis();
        let limits = format!(
            "SET LOCAL lock_timeout = {left}; SET LOCAL idle_in_transaction_session_timeout = {silence}"
        );
        tx.batch(self.doing, &format!("{limits}; {sql}")).await
    }

    /// Takes a failed try back and waits for the next one; an error when it failed for more than a lock, or when time is up.
    pub(super) async fn again(&self, tx: &Tx<'_>, error: ActionError) -> Result<(), ActionError> {
        // Lock not available.
        if !error.message.ends_with("(55P03)") || tx.remaining() < RESERVE {
            return Err(error);
        }
        tx.batch(self.doing, &format!("ROLLBACK TO {PLACE}")).await?;
        tx.pause(self.doing, PAUSE).await
    }
}
