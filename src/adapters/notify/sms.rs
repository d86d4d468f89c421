//! `notify.sms`: a text message through Twilio.
//!
//! Protocol: <https://www.twilio.com/docs/messaging/api/message-resource>: POST a form to `Accounts/{Sid}/Messages.json` with
//! basic authentication; 201 says that the message was queued, which is no delivery. Twilio cannot tell a message that comes
//! twice from two messages, so none is sent again when nobody knows what became of it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, RequestBuilder};
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::delivery::{Delivery, Letter, Manner, PATIENCE, required};
use super::service::Service;
use super::text;
use crate::action::{
    ActionError, Connection, Connections, ErrorKind, Evidence, LastWord, Repeat, ResolveContext,
    StepContext, SystemConnection, VerbArgs, VerbKind, Work,
};
use crate::adapters::http::Progress;
use crate::secret::{Secrets, has_marker};

/// Where Twilio is, unless the environment says otherwise.
const TWILIO: &str = "https://api.twilio.com";
/// The version of the API, as its paths begin.
const VERSION: &str = "2010-04-01";
/// The longest message, in characters; Twilio cuts it into segments.
const LONGEST_TEXT: usize = 1600;

const MANNER: Manner =
    Manner { name: "Twilio", deed: "send the text message", repeat: Repeat::Never, hint };

/// How Twilio is reached.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SmsConnection {
    /// The account's SID, or a reference to it.
    account: String,
    /// The account's auth token, by reference: `{variable: TWILIO_AUTH_TOKEN}`.
    token: String,
    /// The sender: a number of the account, a short code or a sender id. Either this or `messaging_service`.
    from: Option<String>,
    /// The SID of the messaging service that chooses the sender.
    messaging_service: Option<String>,
    /// The recipients of messages that name none, each as `+` with country code and number.
    #[serde(default)]
    to: Vec<String>,
    /// Where Twilio is; `https://api.twilio.com`.
    #[serde(default = "twilio_url")]
    url: String,
}

fn twilio_url() -> String {
    TWILIO.to_owned()
}

impl SystemConnection for SmsConnection {
    const KEY: &'static str = "sms";
}

/// The block of an environment.
pub(super) fn connection() -> Connection {
    Connection::of::<SmsConnection>("A Twilio account, for `notify.sms`")
        .reached_by(|connections| Box::pin(reach(connections)))
}

/// Sends a text message through Twilio.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SmsArgs {
    /// The message.
    #[schemars(length(min = 1, max = LONGEST_TEXT))]
    text: String,
    /// The recipients, each as `+` with country code and number; those of the connection `sms` when there are none.
    #[serde(default)]
    to: Vec<String>,
}

/// One message to one number.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SmsItem {
    text: String,
    to: String,
}

#[async_trait]
impl VerbArgs for SmsArgs {
    const NAME: &'static str = "notify.sms";
    const SUMMARY: &'static str = "Sends a text message through Twilio";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = PATIENCE;
    const CONNECTION: Option<&'static str> = Some(SmsConnection::KEY);
    const LAST_WORD: Option<LastWord> =
        Some(|ending| json!({"text": text::cut(&ending.headline, LONGEST_TEXT)}));
    type Item = SmsItem;

    fn validate(&self) -> Result<(), String> {
        text::check("text", &self.text, LONGEST_TEXT)?;
        self.to.iter().try_for_each(|number| check_number(number))
    }

    async fn expand(self, cx: &ResolveContext) -> Result<Vec<(String, SmsItem)>, ActionError> {
        let twilio = twilio(&cx.connections)?;
        let to = if self.to.is_empty() { twilio.to.clone() } else { self.to };
        if to.is_empty() {
            return Err(ActionError::new(
                ErrorKind::NotFound,
                "find whom to send the text message",
            )
            .hint("Name the recipients with `to` in the step, or in the connection `sms`."));
        }
        let item = |to: String| (to.clone(), SmsItem { text: self.text.clone(), to });
        Ok(to.into_iter().map(item).collect())
    }

    fn make(item: SmsItem, cx: &ResolveContext) -> Result<Work, ActionError> {
        let message = Message { item, connections: cx.connections.clone() };
        Ok(Work::Action(Box::new(Delivery(message))))
    }
}

/// A number as Twilio takes it (E.164), or one that is still a secret.
fn check_number(number: &str) -> Result<(), String> {
    let digits = number.strip_prefix('+').unwrap_or_default();
    let international =
        (8..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if international || has_marker(number) {
        return Ok(());
    }
    Err(format!("`{number}` is no number such as +14155550100"))
}

/// Twilio with an account.
struct Twilio {
    service: Service,
    account: String,
    token: String,
    /// The field that tells the sender, and its value.
    sender: (&'static str, String),
    to: Vec<String>,
}

impl Twilio {
    fn of(settings: SmsConnection, secrets: &Secrets) -> Result<Self, ActionError> {
        let invalid = |message: &str| ActionError::new(ErrorKind::Invalid, message);
        let sender = match (settings.from, settings.messaging_service) {
            (Some(from), None) => ("From", from),
            (None, Some(service)) => ("MessagingServiceSid", service),
            _ => {
                let message =
                    "read the connection `sms`: it needs either `from` or `messaging_service`";
                return Err(invalid(message));
            }
        };
        for number in &settings.to {
            check_number(number)
                .map_err(|why| invalid(&format!("read the connection `sms`: {why}")))?;
        }
        let service = Service::at(&settings.url, "Twilio", secrets)?;
        Ok(Self {
            service,
            account: settings.account,
            token: settings.token,
            sender,
            to: settings.to,
        })
    }

    /// A request about the account; `below` is what follows its SID in the path.
    fn request(&self, method: Method, below: &[&str], secrets: &Secrets) -> RequestBuilder {
        let (account, token) = (secrets.reveal(&self.account), secrets.reveal(&self.token));
        let account = account.expose_secret().trim();
        let path = if below.is_empty() { format!("{account}.json") } else { account.to_owned() };
        let path = [&[VERSION, "Accounts", path.as_str()], below].concat();
        let request = self.service.request(method, &path);
        request.basic_auth(account, Some(token.expose_secret().trim()))
    }
}

fn twilio(connections: &Connections) -> Result<Arc<Twilio>, ActionError> {
    let example = "{account: …, token: {variable: TWILIO_AUTH_TOKEN}, from: \"+14155550100\"}";
    required::<SmsConnection>(connections, example)?;
    connections.client::<SmsConnection, _, _>(Twilio::of)
}

/// Asks for the account, which sends nothing and tells whether the credentials are valid.
async fn reach(connections: &Connections) -> Result<String, ActionError> {
    let twilio = twilio(connections)?;
    let secrets = connections.secrets();
    let request = twilio.request(Method::GET, &[], secrets);
    match Service::ask(request, &Progress::default()).await {
        Ok(_) => Ok("Twilio knows the account".to_owned()),
        Err(refusal) => {
            let question = Manner { deed: "look the account up", repeat: Repeat::Safe, ..MANNER };
            Err(refusal.told(question, PATIENCE, secrets))
        }
    }
}

struct Message {
    item: SmsItem,
    connections: Arc<Connections>,
}

#[async_trait]
impl Letter for Message {
    fn manner(&self) -> Manner {
        MANNER
    }

    fn describe(&self) -> String {
        let to = crate::secret::hide_markers(&self.item.to);
        format!("text {to}: {}", text::brief(&self.item.text))
    }

    fn ready(&self) -> Result<(), ActionError> {
        twilio(&self.connections).map(drop)
    }

    async fn send(&self, cx: &StepContext, progress: &Progress) -> Result<Evidence, ActionError> {
        let twilio = twilio(&self.connections)?;
        let secrets = self.connections.secrets();
        let (field, sender) = &twilio.sender;
        let (sender, to) = (secrets.reveal(sender), secrets.reveal(&self.item.to));
        let body = text::printable(&self.item.text);
        let form =
            [("To", to.expose_secret()), (*field, sender.expose_secret()), ("Body", body.as_str())];
        let request = twilio.request(Method::POST, &["Messages.json"], secrets).form(&form);
        match Service::ask(request, progress).await {
            Ok(answer) => Ok(taken(&answer)),
            Err(refusal) => Err(refusal.told(MANNER, cx.remaining(), secrets)),
        }
    }
}

/// What a queued message is known by: its SID, with which its delivery can be looked up.
fn taken(answer: &str) -> Evidence {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    match answer["sid"].as_str() {
        Some(sid) => {
            let summary = format!("Twilio queued the message {sid}; its delivery is not known");
            Evidence::with(summary, json!({"sid": sid}))
        }
        None => Evidence::new("Twilio queued the message; its delivery is not known"),
    }
}

/// What a person can do about Twilio's error codes (<https://www.twilio.com/docs/api/errors>).
fn hint(answer: &str) -> Option<&'static str> {
    let is = |code: &str| {
        answer.contains(&format!("\"code\": {code}"))
            || answer.contains(&format!("\"code\":{code}"))
    };
    [
        ("20003", "The account's SID or its auth token is wrong: change the secret."),
        ("21211", "The recipient is no number that can be reached: change `to`."),
        ("21606", "The account cannot send from this number: change `from`."),
        ("21608", "A trial account sends to verified numbers only: verify this one."),
        ("21610", "The recipient has answered STOP, and Twilio sends nothing more to this number."),
    ]
    .into_iter()
    .find_map(|(code, hint)| is(code).then_some(hint))
}
