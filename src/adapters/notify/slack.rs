//! `notify.slack`: a message through an incoming webhook.
//!
//! Protocol: <https://api.slack.com/messaging/webhooks>: POST `{"text": …}`; 200 with the body `ok`, else a plain word.
//! The webhook's URL is a secret: it is revealed at the wire and in no error.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, StatusCode, Url};
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::client;
use crate::action::{
    Action, ActionError, Connections, Description, ErrorKind, Evidence, Readiness, Repeat,
    ResolveContext, Reversal, Saved, StepContext, SystemConnection, VerbArgs, VerbKind, Verdict,
    Work,
};
use crate::adapters::http;
use crate::clock;
use crate::secret::{Secrets, has_marker};

/// Nobody waits longer than this for a chat system during a rollback.
const PATIENCE: Duration = Duration::from_secs(5);

/// Slack cuts longer messages, in characters.
const LONGEST_TEXT: usize = 40_000;

/// How Slack is reached.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SlackConnection {
    /// The incoming webhook's URL, by reference: `{variable: SLACK_WEBHOOK_URL}`.
    webhook: String,
}

impl SystemConnection for SlackConnection {
    const KEY: &'static str = "slack";
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
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        if self.text.trim().is_empty() {
            return Err("`text` is empty".into());
        }
        if self.text.chars().count() > LONGEST_TEXT {
            return Err(format!("`text` is longer than {LONGEST_TEXT} characters"));
        }
        if has_marker(&self.text) {
            return Err("`text` holds a secret, and a channel has many readers".into());
        }
        Ok(())
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        let _client = slack(&cx.connections)?;
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Action(Box::new(Post { text: item.text, connections: cx.connections.clone() })))
    }
}

/// A webhook that is ready to be used.
struct Slack {
    client: Client,
    webhook: Url,
}

fn slack(connections: &Connections) -> Result<Arc<Slack>, ActionError> {
    if !connections.has(SlackConnection::KEY) {
        return Err(ActionError::new(
            ErrorKind::NotFound,
            format!("find the connection `slack` of environment `{}`", connections.environment()),
        )
        .hint("Add `connections: {slack: {webhook: {variable: SLACK_WEBHOOK_URL}}}` to the environment file."));
    }
    connections.client::<SlackConnection, Slack, _>(|settings, secrets| {
        let webhook = secrets.reveal(&settings.webhook);
        // The parser's error does not quote the text, so it may be shown.
        let webhook = Url::parse(webhook.expose_secret().trim()).map_err(|error| {
            ActionError::new(ErrorKind::Invalid, "read the URL of the Slack webhook")
                .caused_by(&error)
        })?;
        if !matches!(webhook.scheme(), "https" | "http") || webhook.host().is_none() {
            let message = "use the URL of the Slack webhook: it is not an HTTP address";
            return Err(ActionError::new(ErrorKind::Invalid, message));
        }
        Ok(Slack { client: client::build(&webhook, PATIENCE)?, webhook })
    })
}

/// Whether the webhook's host accepts connections. Posting nothing, it cannot tell whether the webhook is valid.
pub(super) async fn reach(connections: &Connections) -> Result<String, ActionError> {
    let slack = slack(connections)?;
    let host = slack.webhook.host_str().unwrap_or_default();
    let port = slack.webhook.port_or_known_default().unwrap_or(443);
    let unreachable = ActionError::new(ErrorKind::Unreachable, format!("reach {host}:{port}"));
    match tokio::time::timeout(PATIENCE, tokio::net::TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Ok(format!("{host}:{port} accepts connections")),
        Ok(Err(error)) => Err(unreachable.caused_by(&error)),
        Err(elapsed) => Err(unreachable.caused_by(&elapsed)),
    }
}

struct Post {
    text: String,
    connections: Arc<Connections>,
}

impl Post {
    async fn post(&self, slack: &Slack) -> Result<Evidence, PostError> {
        let body = json!({"text": printable(&self.text)});
        let answer = slack.client.post(slack.webhook.clone()).json(&body).send().await?;
        let status = answer.status();
        let retry_after = http::retry_after(answer.headers(), clock::now());
        // The status has decided already; a body that breaks off changes nothing.
        let body = client::text(answer).await.unwrap_or_default();
        if status.is_success() {
            return Ok(Evidence::new("the message was posted to Slack"));
        }
        Err(PostError::Refused { status, retry_after, body })
    }
}

/// Why a message was not posted, or perhaps not.
enum PostError {
    Transport(reqwest::Error),
    Refused { status: StatusCode, retry_after: Option<Duration>, body: String },
}

impl From<reqwest::Error> for PostError {
    fn from(error: reqwest::Error) -> Self {
        // The error would show the URL, which is the secret.
        Self::Transport(error.without_url())
    }
}

impl PostError {
    fn told(self, cx: &StepContext, secrets: &Secrets) -> ActionError {
        match self {
            Self::Transport(error) if error.is_connect() => {
                ActionError::new(ErrorKind::Unreachable, "reach Slack")
                    .caused_by(&error)
                    .unless_refused_by_tls(None)
            }
            Self::Transport(error) => {
                ActionError::new(ErrorKind::Unknown, "learn whether Slack took the message")
                    .caused_by(&error)
            }
            Self::Refused { status, retry_after, body } => {
                let kind = match status {
                    StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => ErrorKind::Denied,
                    StatusCode::NOT_FOUND | StatusCode::GONE => ErrorKind::NotFound,
                    // Slack may have posted it before it failed.
                    status if status.is_server_error() => ErrorKind::Unknown,
                    _ => ErrorKind::Failed,
                };
                let body = secrets.redact(body.trim());
                let word = if body.is_empty() { String::new() } else { format!(" ({body})") };
                let soon = retry_after.is_none_or(|wait| wait < cx.remaining());
                let wait = retry_after.map(|wait| format!(", try again in {}s", wait.as_secs()));
                let message = format!(
                    "post the message: Slack answered {}{word}{}",
                    status.as_u16(),
                    wait.unwrap_or_default()
                );
                let passing = status == StatusCode::TOO_MANY_REQUESTS;
                let error = ActionError::new(kind, message).retryable(passing && soon);
                match hint(&body) {
                    Some(hint) => error.hint(hint),
                    None => error,
                }
            }
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

/// The text without control characters, which inputs may carry.
fn printable(text: &str) -> String {
    text.chars().filter(|letter| *letter == '\n' || !letter.is_control()).collect()
}

#[async_trait]
impl Action for Post {
    fn describe(&self) -> Description {
        let short: String = self.text.chars().take(120).collect();
        let dots = if short.len() < self.text.len() { "…" } else { "" };
        Description::new(format!("post to Slack: {short}{dots}"), "a message cannot be unsent")
    }

    fn repeat(&self) -> Repeat {
        Repeat::Never
    }

    fn reversal(&self) -> Reversal {
        Reversal::Irreversible { reason: "a message cannot be unsent".into() }
    }

    async fn inspect(&self, _: &StepContext) -> Result<Readiness, ActionError> {
        let _client = slack(&self.connections)?;
        Ok(Readiness::needed(Saved::default()))
    }

    async fn apply(&self, cx: &StepContext, _: &Saved) -> Result<Evidence, ActionError> {
        let slack = slack(&self.connections)?;
        if cx.cancelled().is_cancelled() {
            return Err(ActionError::new(ErrorKind::Cancelled, "post the message"));
        }
        let progress = http::Progress::default();
        let cut_off = |kind: ErrorKind, why: &str| {
            if !progress.may_be_sent() {
                return ActionError::new(kind, format!("connect to Slack: {why}"));
            }
            let message = format!("learn whether Slack took the message: {why}");
            ActionError::new(ErrorKind::Unknown, message)
        };
        tokio::select! {
            posted = progress.track(self.post(&slack)) => {
                posted.map_err(|error| error.told(cx, self.connections.secrets()))
            }
            () = tokio::time::sleep_until(cx.deadline().min(Instant::now() + PATIENCE)) => {
                Err(cut_off(ErrorKind::TimedOut, "it did not answer in time"))
            }
            () = cx.cancelled().cancelled() => {
                Err(cut_off(ErrorKind::Cancelled, "the run was told to stop"))
            }
        }
    }

    async fn verify(&self, _: &StepContext, applied: &Evidence) -> Result<Verdict, ActionError> {
        // Slack's `ok` is all that a webhook can ever tell.
        Ok(Verdict::Holds { evidence: applied.clone() })
    }

    async fn undo(
        &self,
        _: &StepContext,
        _: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        Err(ActionError::new(ErrorKind::Invalid, "take back a message: Slack's webhooks cannot")
            .hint("Post a correction, or delete the message in Slack."))
    }
}
