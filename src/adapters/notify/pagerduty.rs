//! `notify.pagerduty`: raises, acknowledges and resolves one alert per run.
//!
//! Protocol: <https://developer.pagerduty.com/docs/events-api-v2-overview>: POST `/v2/enqueue`; 202 with the deduplication key,
//! 400 for an event that will never be taken. The key is the run's id, so that whatever a run sends is one alert, and an event
//! that is sent twice is one event.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Method;
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::delivery::{Delivery, Letter, Manner, PATIENCE, required};
use super::service::Service;
use super::text;
use crate::action::{
    ActionError, Connection, Connections, Ending, Evidence, LastWord, Repeat, ResolveContext,
    StepContext, SystemConnection, VerbArgs, VerbKind, Work,
};
use crate::adapters::http::Progress;

/// Where events go, unless the environment says otherwise.
const EVENTS: &str = "https://events.pagerduty.com";
/// The longest summary, in characters.
const LONGEST_SUMMARY: usize = 1024;
/// The largest event, in bytes.
const LARGEST_EVENT: usize = 512 * 1024;
/// What the other fields of an event may need of it.
const ENVELOPE: usize = 8 * 1024;

const MANNER: Manner =
    Manner { name: "PagerDuty", deed: "file the event", repeat: Repeat::Safe, hint };

/// How PagerDuty is reached.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PagerDutyConnection {
    /// The integration key of the service, by reference: `{variable: PAGERDUTY_ROUTING_KEY}`.
    routing_key: String,
    /// Where events go; `https://events.pagerduty.com`, or `https://events.eu.pagerduty.com` for an account in Europe.
    #[serde(default = "events")]
    url: String,
}

fn events() -> String {
    EVENTS.to_owned()
}

impl SystemConnection for PagerDutyConnection {
    const KEY: &'static str = "pagerduty";
}

/// The block of an environment.
pub(super) fn connection() -> Connection {
    Connection::of::<PagerDutyConnection>(
        "A PagerDuty service's Events API v2 integration, for `notify.pagerduty`",
    )
    .reached_by(|connections| Box::pin(reach(connections)))
}

/// What becomes of the run's alert.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum EventAction {
    /// It is raised, or gets news if it is there.
    #[default]
    Trigger,
    /// Somebody works on it.
    Acknowledge,
    /// It is over.
    Resolve,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Severity {
    /// Critical.
    #[default]
    Critical,
    /// An error.
    Error,
    /// A warning.
    Warning,
    /// For information.
    Info,
}

/// Raises the run's alert in PagerDuty, acknowledges or resolves it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PagerDutyArgs {
    /// What becomes of the alert.
    #[serde(default)]
    event: EventAction,
    /// What has happened, in one line; for `trigger` alone.
    #[schemars(length(min = 1, max = LONGEST_SUMMARY))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    /// How bad it is.
    #[serde(default)]
    severity: Severity,
    /// More about it, as names with values.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    details: Map<String, Value>,
}

#[async_trait]
impl VerbArgs for PagerDutyArgs {
    const NAME: &'static str = "notify.pagerduty";
    const SUMMARY: &'static str =
        "Raises the run's alert in PagerDuty, acknowledges or resolves it";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = PATIENCE;
    const CONNECTION: Option<&'static str> = Some(PagerDutyConnection::KEY);
    const LAST_WORD: Option<LastWord> = Some(last_word);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        match (&self.summary, self.event) {
            (Some(summary), EventAction::Trigger) => {
                text::check("summary", summary, LONGEST_SUMMARY)?;
            }
            (None, EventAction::Trigger) => return Err("`trigger` needs a `summary`".into()),
            (Some(_), _) => return Err("only `trigger` has a `summary`".into()),
            (None, _) => {}
        }
        let details = json!(self.details).to_string();
        if details.len() > LARGEST_EVENT - ENVELOPE {
            return Err("`details` are larger than PagerDuty takes (512 KB)".into());
        }
        text::no_secret("details", &details)
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        let _client = pagerduty(&cx.connections)?;
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        let event = Event { args: item, connections: cx.connections.clone() };
        Ok(Work::Action(Box::new(Delivery(event))))
    }
}

/// A run that succeeded resolves its alert; any other leaves it open and tells how it ended.
fn last_word(ending: &Ending) -> Value {
    if ending.succeeded {
        return json!({"event": "resolve"});
    }
    let summary = text::cut(&ending.headline, LONGEST_SUMMARY);
    json!({"event": "trigger", "summary": summary, "details": {"report": ending.text}})
}

/// PagerDuty with the key of a service.
struct PagerDuty {
    service: Service,
    routing_key: String,
}

fn pagerduty(connections: &Connections) -> Result<Arc<PagerDuty>, ActionError> {
    let example = "{routing_key: {variable: PAGERDUTY_ROUTING_KEY}}";
    required::<PagerDutyConnection>(connections, example)?;
    connections.client::<PagerDutyConnection, _, _>(|settings, secrets| {
        let service = Service::at(&settings.url, "PagerDuty", secrets)?;
        Ok(PagerDuty { service, routing_key: settings.routing_key })
    })
}

async fn reach(connections: &Connections) -> Result<String, ActionError> {
    pagerduty(connections)?.service.accepts().await
}

struct Event {
    args: PagerDutyArgs,
    connections: Arc<Connections>,
}

impl Event {
    fn body(&self, routing_key: &str, run: &str) -> Value {
        let PagerDutyArgs { event, summary, severity, details } = &self.args;
        let mut body = json!({
            "routing_key": routing_key,
            "event_action": event,
            "dedup_key": run,
        });
        if let Some(summary) = summary {
            body["payload"] = json!({
                "summary": text::one_line(summary),
                "source": self.connections.environment(),
                "severity": severity,
                "custom_details": details,
            });
        }
        body
    }
}

#[async_trait]
impl Letter for Event {
    fn manner(&self) -> Manner {
        MANNER
    }

    fn describe(&self) -> String {
        match (self.args.event, &self.args.summary) {
            (EventAction::Acknowledge, _) => "acknowledge the run's alert in PagerDuty".to_owned(),
            (EventAction::Resolve, _) => "resolve the run's alert in PagerDuty".to_owned(),
            (EventAction::Trigger, summary) => {
                let summary = summary.as_deref().unwrap_or_default();
                format!("raise the run's alert in PagerDuty: {}", text::brief(summary))
            }
        }
    }

    fn ready(&self) -> Result<(), ActionError> {
        pagerduty(&self.connections).map(drop)
    }

    async fn send(&self, cx: &StepContext, progress: &Progress) -> Result<Evidence, ActionError> {
        let pagerduty = pagerduty(&self.connections)?;
        let secrets = self.connections.secrets();
        let routing_key = secrets.reveal(&pagerduty.routing_key);
        let body = self.body(routing_key.expose_secret().trim(), cx.run());
        let request = pagerduty.service.request(Method::POST, &["v2", "enqueue"]).json(&body);
        match Service::ask(request, progress).await {
            Ok(_) => {
                Ok(Evidence::new(format!("PagerDuty took the event for the alert {}", cx.run())))
            }
            Err(refusal) => Err(refusal.told(MANNER, cx.remaining(), secrets)),
        }
    }
}

/// What a person can do about PagerDuty's words for an event that it will never take.
fn hint(answer: &str) -> Option<&'static str> {
    answer.contains("routing_key").then_some(
        "The routing key is the integration key (32 characters) of an Events API v2 integration.",
    )
}
