//! Walking all keys of a pattern, to count them or to remove them.
//!
//! `SCAN` returns every key that is there from its beginning to its end, some perhaps twice, and may miss what is created
//! meanwhile (<https://redis.io/docs/latest/commands/scan/>). So keys are removed in passes, until one pass finds none. Each
//! key is an `UNLINK` of its own in a pipeline to the server that returned it: a cluster refuses a command over several slots.
//! Memory holds one answer of `SCAN` for each server, whatever the number of keys. A limit holds over all attempts at a step: what an
//! attempt is about to remove is noted before, so that one that was cut off has at most removed what it noted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use redis::{RedisError, RedisResult};
use serde_json::{Value, json};

use super::client::{Node, Redis, Servers, end};
use super::errors;
use crate::action::{ActionError, ErrorKind, StepContext};

/// How many keys one `SCAN` looks at.
const COUNT: u64 = 1000;
/// In how many passes keys may be found and removed before somebody else must be writing them.
const MOST_PASSES: u32 = 10;
/// The wait after a pass in which keys were found and none could be removed: their slots are being moved.
const SETTLING: Duration = Duration::from_millis(200);

type Key = Vec<u8>;

/// How many keys of a pattern there are.
pub(super) async fn count(servers: &Servers, pattern: &str) -> Result<u64, ActionError> {
    let doing = format!("count the keys matching `{pattern}`");
    let counting = servers.nodes.iter().map(|node| async {
        let (mut walk, mut found) = (Walk::new(node, pattern), 0);
        while let Some(keys) =
            walk.next().await.map_err(|error| node.failed(&doing, false, &error))?
        {
            found += keys.len() as u64;
        }
        Ok::<u64, ActionError>(found)
    });
    Ok(try_join_all(counting).await?.into_iter().sum())
}

/// The note of keys that are about to be removed, and of those among them that turned out to be gone already.
const CLAIMED: &str = "claimed";
const RETURNED: &str = "returned";

/// How many keys earlier attempts have removed, at most.
pub(super) fn spent(notes: &[Value]) -> u64 {
    let sum = |key: &str| notes.iter().filter_map(|note| note[key].as_u64()).sum::<u64>();
    sum(CLAIMED).saturating_sub(sum(RETURNED))
}

/// A removal of all keys of a pattern, and how far it has come.
pub(super) struct Sweep<'a> {
    cx: &'a StepContext,
    pattern: &'a str,
    at_most: Option<u64>,
    sent: AtomicBool,
    found: AtomicU64,
    unlinked: AtomicU64,
    /// Removed or about to be, by all attempts, so that masters that are swept at the same time cannot exceed `at_most` together.
    claimed: AtomicU64,
}

/// What a removal came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Swept {
    /// How many keys `SCAN` returned in all passes.
    pub(super) found: u64,
    /// How many of them were there to be removed.
    pub(super) unlinked: u64,
    /// How many passes it took, the last one without a find included.
    pub(super) passes: u32,
}

impl<'a> Sweep<'a> {
    /// A removal that knows what earlier attempts have removed.
    pub(super) fn new(cx: &'a StepContext, pattern: &'a str, at_most: Option<u64>) -> Self {
        let claimed = AtomicU64::new(spent(cx.notes()));
        let (sent, found, unlinked) =
            (AtomicBool::default(), AtomicU64::default(), AtomicU64::default());
        Self { cx, pattern, at_most, sent, found, unlinked, claimed }
    }

    /// Removes until the end of the attempt; what was sent by then and not answered is unknown.
    pub(super) async fn run(&self, redis: &Redis) -> Result<Swept, ActionError> {
        let (kind, reason) = tokio::select! {
            biased;
            outcome = self.passes(redis) => return outcome,
            end = end(self.cx) => end,
        };
        let doing = self.doing();
        if self.has_begun() {
            return Err(errors::unknown(&doing));
        }
        Err(ActionError::new(kind, format!("{doing}: {reason}")))
    }

    /// Whether anything was sent that removes keys.
    fn has_begun(&self) -> bool {
        self.sent.load(Ordering::SeqCst)
    }

    /// What is being done, with what is known to be done.
    fn doing(&self) -> String {
        let pattern = self.pattern;
        match self.unlinked.load(Ordering::SeqCst) {
            0 => format!("unlink the keys matching `{pattern}`"),
            known => format!("unlink all keys matching `{pattern}` ({known} are)"),
        }
    }

    /// Removes in passes until one finds nothing. Stops before more than `at_most` keys are gone.
    async fn passes(&self, redis: &Redis) -> Result<Swept, ActionError> {
        let mut fruitful = 0;
        let mut passes = 0;
        loop {
            // Anew for each pass: the masters of a cluster may change in between.
            let servers = redis.open().await?;
            servers.take_changes()?;
            let (found, unlinked) =
                (self.found.load(Ordering::SeqCst), self.unlinked.load(Ordering::SeqCst));
            try_join_all(servers.nodes.iter().map(|node| self.pass(node))).await?;
            passes += 1;
            if self.found.load(Ordering::SeqCst) == found {
                return Ok(Swept { found, unlinked, passes });
            }
            if self.unlinked.load(Ordering::SeqCst) == unlinked {
                tokio::time::sleep(SETTLING).await;
                continue;
            }
            fruitful += 1;
            if fruitful == MOST_PASSES {
                return Err(self.endless());
            }
        }
    }

    fn endless(&self) -> ActionError {
        let text = format!("{}: new ones appeared in {MOST_PASSES} passes", self.doing());
        ActionError::new(ErrorKind::Failed, text)
            .hint("Something still writes these keys: stop it, then resume the run.")
    }

    async fn pass(&self, node: &Node) -> Result<(), ActionError> {
        let mut walk = Walk::new(node, self.pattern);
        let failed = |error: RedisError| node.failed(&self.doing(), self.has_begun(), &error);
        while let Some(keys) = walk.next().await.map_err(failed)? {
            if keys.is_empty() {
                continue;
            }
            let number = keys.len() as u64;
            self.found.fetch_add(number, Ordering::SeqCst);
            self.claim(number).await?;
            self.sent.store(true, Ordering::SeqCst);
            let (removed, refused) = self.unlink(node, &keys, Asking::No).await.map_err(failed)?;
            // Keys that a resharding has brought here already, while the slot is still another's.
            let (later, _) = self.unlink(node, &refused, Asking::Yes).await.map_err(failed)?;
            // A key that `SCAN` returned twice was there once.
            self.give_back(number.saturating_sub(removed + later)).await?;
        }
        Ok(())
    }

    /// Counts keys towards the limit before they are removed.
    async fn claim(&self, number: u64) -> Result<(), ActionError> {
        let claimed = self.claimed.fetch_add(number, Ordering::SeqCst) + number;
        match self.at_most {
            Some(most) if claimed > most => {
                let gone = self.unlinked.load(Ordering::SeqCst);
                Err(too_many(
                    self.pattern,
                    most,
                    spent(self.cx.notes()),
                    &format!("{gone} have gone, and more"),
                ))
            }
            Some(_) => self.cx.note(json!({ CLAIMED: number })).await,
            None => Ok(()),
        }
    }

    /// Takes back what was counted and not there to be removed.
    async fn give_back(&self, number: u64) -> Result<(), ActionError> {
        self.claimed.fetch_sub(number, Ordering::SeqCst);
        if number == 0 || self.at_most.is_none() {
            return Ok(());
        }
        self.cx.note(json!({ RETURNED: number })).await
    }

    /// Removes keys, one command each; returns how many were there, and those that belong to another server.
    async fn unlink(
        &self,
        node: &Node,
        keys: &[Key],
        asking: Asking,
    ) -> Result<(u64, Vec<Key>), RedisError> {
        let (mut removed, mut refused) = (0, Vec::new());
        if keys.is_empty() {
            return Ok((removed, refused));
        }
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for key in keys {
            if asking == Asking::Yes {
                // Lets the next command, and no other, at a slot that is on its way to this server.
                pipeline.cmd("ASKING").ignore();
            }
            pipeline.cmd("UNLINK").arg(key.as_slice());
        }
        let mut connection = node.connection.clone();
        let answers: Vec<RedisResult<u64>> = pipeline.query_async(&mut connection).await?;
        for (key, answer) in keys.iter().zip(answers) {
            match answer {
                Ok(number) => {
                    removed += number;
                    self.unlinked.fetch_add(number, Ordering::SeqCst);
                }
                Err(error) if is_elsewhere(&error) => refused.push(key.clone()),
                Err(error) => return Err(error),
            }
        }
        Ok((removed, refused))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    Yes,
    No,
}

/// The refusal of a pattern that is wider than the runbook expects; `spent` keys went in earlier attempts.
pub(super) fn too_many(pattern: &str, most: u64, spent: u64, found: &str) -> ActionError {
    let earlier = match spent {
        0 => String::new(),
        spent => format!("{spent} may have gone in earlier attempts, "),
    };
    ActionError::new(
        ErrorKind::Conflict,
        format!("unlink the keys matching `{pattern}`: at most {most} are expected, {earlier}{found} match"),
    )
    .hint("Is the pattern too wide? If these keys shall go, raise `at_most` in the runbook.")
}

/// Whether a key belongs to another server of the cluster, now or soon.
pub(super) fn is_elsewhere(error: &RedisError) -> bool {
    matches!(error.code(), Some("MOVED" | "ASK"))
}

/// One `SCAN` from beginning to end, an answer at a time.
struct Walk<'a> {
    node: &'a Node,
    pattern: &'a str,
    /// Where to go on; `None` at the end. Opaque: Redis uses all 64 bits.
    cursor: Option<String>,
}

impl<'a> Walk<'a> {
    fn new(node: &'a Node, pattern: &'a str) -> Self {
        Self { node, pattern, cursor: Some("0".to_owned()) }
    }

    async fn next(&mut self) -> Result<Option<Vec<Key>>, RedisError> {
        let Some(cursor) = self.cursor.take() else { return Ok(None) };
        let mut connection = self.node.connection.clone();
        let (next, keys): (String, Vec<Key>) = redis::cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(self.pattern)
            .arg("COUNT")
            .arg(COUNT)
            .query_async(&mut connection)
            .await?;
        self.cursor = (next != "0").then_some(next);
        Ok(Some(keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_counts_and_what_was_given_back_does_not() {
        let notes = [json!({"claimed": 1000}), json!({"returned": 3}), json!({"claimed": 7})];
        assert_eq!((spent(&notes), spent(&[])), (1004, 0));
    }
}
