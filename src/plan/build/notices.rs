//! Which messages an environment wants at which severity: a channel that wakes people is for what is critical.

use super::items::Resolver;
use crate::runbook::{Runbook, Rung};

/// Why a message by this verb is not sent, if it is not. What carries no message is none of its business.
pub(super) fn unwanted(verb: &str, runbook: &Runbook, resolver: &Resolver<'_>) -> Option<String> {
    let verb = resolver.verb(verb).ok().filter(|verb| verb.is_message())?;
    let channel = verb.connection.unwrap_or(verb.name);
    let least = resolver.channels.get(channel).filter(|least| **least > runbook.severity)?;
    Some(format!(
        "{channel} is for what is {} here, and this is {}",
        least.word(),
        runbook.severity.word()
    ))
}

/// Whether the incident is bad enough for a rung.
pub(super) fn wants(rung: &Rung, runbook: &Runbook) -> bool {
    rung.severity.is_none_or(|least| least <= runbook.severity)
}
