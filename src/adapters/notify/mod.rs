//! Messages to people: `notify.slack`.
//!
//! A message can be neither unsent nor safely sent twice, so its actions are irreversible and never repeated after an
//! unknown outcome. Runbooks need not declare that with `irreversible: true`: taking a message back is nothing anyone
//! expects of a rollback, and a lint on every notification would teach people to ignore lints.

mod client;
mod slack;

use futures_util::FutureExt as _;

use crate::action::{System, Verb};

/// The system `notify`.
pub(super) fn system() -> System {
    System {
        name: "notify",
        summary: "Messages to people",
        connection: None,
        reach: None,
        verbs: vec![Verb::of::<slack::SlackArgs>()],
    }
}

/// The connection `slack`, which `notify.slack` uses.
pub(super) fn slack_connection() -> System {
    System {
        name: "slack",
        summary: "A Slack workspace's incoming webhook, for `notify.slack`",
        connection: Some(|generator| generator.subschema_for::<slack::SlackConnection>()),
        reach: Some(|connections| slack::reach(connections).boxed()),
        verbs: Vec::new(),
    }
}
