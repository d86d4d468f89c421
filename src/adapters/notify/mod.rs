//! Messages to people: [`slack`], [`pagerduty`], [`email`], [`sms`], and [`webhook`] for everything else.
//!
//! A message can be neither unsent nor, for most services, safely sent twice, so its actions are irreversible. Runbooks need not
//! declare that with `irreversible: true`: taking a message back is nothing anyone expects of a rollback, and a lint on every
//! notification would teach people to ignore lints.
//!
//! - [`delivery`] is the one action of all verbs: how long anybody waits, and what is unknown when a wait was in vain.
//! - [`service`] is a service that is asked by HTTP, [`refusal`] what its answers mean, [`smtp`] the way to a mail server.
//! - [`text`] is what a message may hold.

mod delivery;
mod email;
mod pagerduty;
mod refusal;
mod service;
mod slack;
mod sms;
mod smtp;
mod text;
mod webhook;

#[cfg(test)]
mod tests;

use crate::action::{System, Verb};

/// The system `notify`.
pub(super) fn system() -> System {
    System {
        name: "notify",
        summary: "Messages to people",
        connections: vec![
            slack::connection(),
            pagerduty::connection(),
            email::connection(),
            sms::connection(),
            webhook::connection(),
        ],
        verbs: vec![
            Verb::of::<slack::SlackArgs>(),
            Verb::of::<pagerduty::PagerDutyArgs>(),
            Verb::of::<email::EmailArgs>(),
            Verb::of::<sms::SmsArgs>(),
            Verb::of::<webhook::WebhookArgs>(),
        ],
    }
}
