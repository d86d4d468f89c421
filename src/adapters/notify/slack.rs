//! `notify.slack`: a message through an incoming webhook.
//!
//! Protocol: <https://api.slack.com/messaging/webhooks>: POST `{"text": …}`; 200 with the body `ok`, else a plain word.
//! The webhook's URL is a secret: it is revealed at the wire and in no error.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::delivery::{Delivery, Letter, Manner, PATIENCE, required};
use super::service::Service;
use super::text;
use crate::action::{
    ActionError, Connection, Connections, Evidence, LastWord, Repeat, ResolveContext, StepContext,
    SystemConnection, VerbArgs, VerbKind, Work,
};
use crate::adapters::http::Progress;

/// Slack cuts longer messages, in characters.
const LONGEST_TEXT: usize = 40_000;

const MANNER: Manner =
    Manner { name: "Slack", deed: "post the message", repeat: Repeat::Never, hint };

/// How Slack is reached.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SlackConnection {
    /// The incoming webhook's URL, by reference: `{variable: SLACK_WEBHOOK_URL}`.
    webhook: String,
}

impl SystemConnection for SlackConnection {
    const KEY: &'static str = "slack";
}

/// The block of an environment.
pub(super) fn connection() -> Connection {
    Connection::of::<SlackConnection>("A Slack workspace's incoming webhook, for `notify.slack`")
        .reached_by(|connections| Box::pin(reach(connections)))
}

/// Posts a message to a Slack channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SlackArgs {
    /// The message, in Slack's `mrkdwn`. The channel is the webhook's own.
    #[schemars(length(min = 1, max = LONGEST_TEXT))]
    text: String,
}

#[async_trait]
impl VerbArgs for SlackArgs {
    const NAME: &'static str = "notify.slack";
    const SUMMARY: &'static str = "Posts a message to a Slack channel";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = PATIENCE;
    const CONNECTION: Option<&'static str> = Some(SlackConnection::KEY);
    const LAST_WORD: Option<LastWord> = Some(|ending| json!({"text": ending.text}));
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        text::check("text", &self.text, LONGEST_TEXT)
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        let _client = slack(&cx.connections)?;
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        let post = Post { text: item.text, connections: cx.connections.clone() };
        Ok(Work::Action(Box::new(Delivery(post))))
    }
}

fn slack(connections: &Connections) -> Result<Arc<Service>, ActionError> {
    required::<SlackConnection>(connections, "{webhook: {variable: SLACK_WEBHOOK_URL}}")?;
    connections.client::<SlackConnection, _, _>(|settings, secrets| {
        Service::at(&settings.webhook, "the Slack webhook", secrets)
    })
}

async fn reach(connections: &Connections) -> Result<String, ActionError> {
    slack(connections)?.accepts().await
}

struct Post {
    text: String,
    connections: Arc<Connections>,
}

#[async_trait]
impl Letter for Post {
    fn manner(&self) -> Manner {
        MANNER
    }

    fn describe(&self) -> String {
        format!("post to Slack: {}", text::brief(&self.text))
    }

    fn ready(&self) -> Result<(), ActionError> {
        slack(&self.connections).map(drop)
    }

    async fn send(&self, cx: &StepContext, progress: &Progress) -> Result<Evidence, ActionError> {
        let body = json!({"text": text::printable(&self.text)});
        let request = slack(&self.connections)?.post().json(&body);
        match Service::ask(request, progress).await {
            Ok(_) => Ok(Evidence::new("the message was posted to Slack")),
            Err(refusal) => Err(refusal.told(MANNER, cx.remaining(), self.connections.secrets())),
        }
    }
}

/// What a person can do about Slack's error words
/// (<https://api.slack.com/messaging/webhooks#handling_errors>).
fn hint(word: &str) -> Option<&'static str> {
    Some(match word {
        "no_service" | "no_team" | "no_active_hooks" | "invalid_token" => {
            "The webhook was removed or its URL is wrong: create a new one and change the secret."
        }
        "channel_not_found" | "channel_is_archived" => {
            "The webhook's channel is gone: create a webhook for another channel."
        }
        "action_prohibited" | "posting_to_general_channel_denied" | "team_disabled" => {
            "A workspace administrator restricts this webhook: ask them, or use another channel."
        }
        "user_not_found" => "The webhook's user is gone: create a new webhook.",
        "invalid_payload" | "no_text" | "too_many_attachments" => {
            "Slack cannot read the message: change the step's `text`."
        }
        _ => return None,
    })
}
