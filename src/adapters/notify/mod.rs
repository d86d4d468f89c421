//! Messages to people: `notify.slack`.
//!
//! A message can be neither unsent nor safely sent twice, so its actions are irreversible and never repeated after an
//! unknown outcome. Runbooks need not declare that with `irreversible: true`: taking a message back is nothing anyone
//! expects of a rollback, and a lint on every notification would teach people to ignore lints.

mod client;
mod slack;
#[cfg(test)]
mod tests;

use crate::action::{Connection, System, Verb};

/// The system `notify`.
pub(super) fn system() -> System {
    let slack = Connection::of::<slack::SlackConnection>(
        "A Slack workspace's incoming webhook, for `notify.slack`",
    )
    .reached_by(|connections| Box::pin(slack::reach(connections)));
    System {
        name: "notify",
        summary: "Messages to people",
        connections: vec![slack],
        verbs: vec![Verb::of::<slack::SlackArgs>()],
    }
}
