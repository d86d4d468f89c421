//! `notify.webhook`: a JSON object for whatever takes one, such as a tracker of incidents.
//!
//! Every request carries `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header) with the run and the place in it. Whether
//! the server heeds it only the runbook can know, so a request is not sent twice unless it says `repeat: safe`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use reqwest::header::HeaderMap;
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::delivery::{Delivery, Letter, Manner, PATIENCE, required};
use super::service::Service;
use super::text;
use crate::action::{
    ActionError, Connection, Connections, ErrorKind, Evidence, LastWord, Repeat, ResolveContext,
    StepContext, SystemConnection, VerbArgs, VerbKind, Work,
};
use crate::adapters::http::{Progress, RepeatChoice, header};

/// The largest body, in bytes.
const LARGEST_BODY: usize = 1024 * 1024;
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Where messages for other programs go.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WebhookConnection {
    /// The address, by reference if whoever knows it may use it: `{variable: TRACKER_WEBHOOK_URL}`.
    url: String,
    /// Headers, such as `{Authorization: {variable: TRACKER_TOKEN}}`.
    #[serde(default)]
    headers: IndexMap<String, String>,
}

impl SystemConnection for WebhookConnection {
    const KEY: &'static str = "webhook";
}

/// The block of an environment.
pub(super) fn connection() -> Connection {
    Connection::of::<WebhookConnection>(
        "An address that takes JSON, such as a tracker's, for `notify.webhook`",
    )
    .reached_by(|connections| Box::pin(reach(connections)))
}

/// Sends a JSON object to a webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookArgs {
    /// What is sent.
    body: Map<String, Value>,
    /// Whether it may be sent again when its outcome is unknown: `safe` for a server that heeds `Idempotency-Key`.
    repeat: Option<RepeatChoice>,
}

impl WebhookArgs {
    fn manner(&self) -> Manner {
        let repeat = match self.repeat {
            Some(RepeatChoice::Safe) => Repeat::Safe,
            Some(RepeatChoice::Never) | None => Repeat::Never,
        };
        Manner { name: "the webhook", deed: "deliver the message", repeat, hint: |_| None }
    }
}

#[async_trait]
impl VerbArgs for WebhookArgs {
    const NAME: &'static str = "notify.webhook";
    const SUMMARY: &'static str = "Sends a JSON object to a webhook, such as a tracker's";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = PATIENCE;
    const CONNECTION: Option<&'static str> = Some(WebhookConnection::KEY);
    const LAST_WORD: Option<LastWord> = Some(|ending| json!({"body": ending}));
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        let body = json!(self.body).to_string();
        if self.body.is_empty() {
            return Err("`body` is empty".into());
        }
        if body.len() > LARGEST_BODY {
            return Err("`body` is larger than 1 MiB".into());
        }
        text::no_secret("body", &body)
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        let _client = webhook(&cx.connections)?;
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        let post = Post { args: item, connections: cx.connections.clone() };
        Ok(Work::Action(Box::new(Delivery(post))))
    }
}

/// A webhook with the headers that it wants.
struct Webhook {
    service: Service,
    headers: HeaderMap,
}

fn webhook(connections: &Connections) -> Result<Arc<Webhook>, ActionError> {
    required::<WebhookConnection>(connections, "{url: {variable: TRACKER_WEBHOOK_URL}}")?;
    connections.client::<WebhookConnection, _, _>(|settings, secrets| {
        let service = Service::at(&settings.url, "the webhook", secrets)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let (name, value) =
                header(name, secrets.reveal(value).expose_secret()).map_err(|why| {
                    let message = format!("read `headers` of the connection `webhook`: {why}");
                    ActionError::new(ErrorKind::Invalid, message)
                })?;
            let _former = headers.insert(name, value);
        }
        Ok(Webhook { service, headers })
    })
}

async fn reach(connections: &Connections) -> Result<String, ActionError> {
    webhook(connections)?.service.accepts().await
}

struct Post {
    args: WebhookArgs,
    connections: Arc<Connections>,
}

#[async_trait]
impl Letter for Post {
    fn manner(&self) -> Manner {
        self.args.manner()
    }

    fn describe(&self) -> String {
        format!("send to the webhook: {}", text::brief(&json!(self.args.body).to_string()))
    }

    fn ready(&self) -> Result<(), ActionError> {
        webhook(&self.connections).map(drop)
    }

    async fn send(&self, cx: &StepContext, progress: &Progress) -> Result<Evidence, ActionError> {
        let webhook = webhook(&self.connections)?;
        let key = text::ascii(&format!("{} {}", cx.run(), cx.place()));
        let request = webhook.service.post().headers(webhook.headers.clone());
        let request = request.header(IDEMPOTENCY_KEY, key).json(&self.args.body);
        match Service::ask(request, progress).await {
            Ok(_) => Ok(Evidence::new("the webhook took the message")),
            Err(refusal) => {
                let secrets = self.connections.secrets();
                Err(refusal.told(self.manner(), cx.remaining(), secrets))
            }
        }
    }
}
