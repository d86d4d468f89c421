//! `http.expect`: asks a service and compares its answer.
//!
//! Every question uses a connection of its own, so that `consecutive: 5` behind a load balancer asks five times and not
//! one process five times. A service that cannot be reached, answers late or breaks off does not hold *yet*: only what
//! no waiting mends (a request that cannot be built) is an error.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::{Answer, quoted};
use super::call::check_url;
use super::client::Client;
use super::fields;
use super::message::{Content, Message, Method, resolve_map};
use super::status::StatusSet;
use crate::action::{
    ActionError, Answer as Told, Description, ErrorKind, Evidence, Probe, ResolveContext,
    StepContext, VerbArgs, VerbKind, Verdict, Work,
};
use crate::value::{Lasting, brief};

/// The most questions in one look.
const MOST_CONSECUTIVE: u32 = 1000;

/// What the body must be like.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BodyExpectation {
    /// A text that stands in it.
    pub contains: Option<String>,
    /// All of it, white space at both ends aside.
    pub equals: Option<String>,
}

/// The arguments of `http.expect`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The URL.
    pub url: String,
    /// The method, GET unless given. It must not change anything.
    #[serde(default)]
    pub method: Method,
    /// A JSON document that asks, sent by POST: for services that answer questions and change nothing by it, such as a chat or a search.
    pub ask: Option<Value>,
    /// Headers.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// The status codes that are as expected; `200` unless given.
    #[serde(default = "StatusSet::ok")]
    pub status: StatusSet,
    /// JSON fields by dotted path (`checks.0.state`) or JSON Pointer (`/checks/0/state`), with their values.
    #[serde(default)]
    pub json: IndexMap<String, Value>,
    /// Headers of the answer, with their values.
    #[serde(default)]
    pub header: IndexMap<String, String>,
    /// The body.
    #[serde(default)]
    pub body: BodyExpectation,
    /// How many answers in a row must be as expected, each over a new connection; 1 unless given.
    #[serde(default = "once")]
    pub consecutive: u32,
    /// Connects to this address instead of the one that the URL's host resolves to; `Host` and TLS keep the name.
    #[serde(default)]
    pub resolve: IndexMap<String, String>,
    /// The longest wait for one answer; `5s` unless given.
    #[serde(default = "five_seconds")]
    pub answer_within: Lasting,
}

fn once() -> u32 {
    1
}

pub(super) fn five_seconds() -> Lasting {
    Lasting(Duration::from_secs(5))
}

#[async_trait]
impl VerbArgs for Expect {
    const NAME: &'static str = "http.expect";
    const SUMMARY: &'static str = "Ask a web service and compare its answer";
    const KIND: VerbKind = VerbKind::Probe;
    const TIMEOUT: Duration = Duration::from_secs(10);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        check_url(&self.url)?;
        if self.ask.is_some() && self.method != Method::Get {
            return Err("`ask` is sent by POST: leave `method` out".to_owned());
        }
        if !self.method.is_idempotent() || matches!(self.method, Method::Put | Method::Delete) {
            return Err(format!(
                "a probe only reads, and {} changes something: use `http.call`",
                self.method.name()
            ));
        }
        if !(1..=MOST_CONSECUTIVE).contains(&self.consecutive) {
            return Err(format!("`consecutive` must be from 1 to {MOST_CONSECUTIVE}"));
        }
        resolve_map(&self.resolve, &self.url).map(drop)
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        Ok(Work::Probe(Box::new(ExpectProbe::new(item, cx)?)))
    }
}

/// Why it is not as expected.
pub(super) enum Miss {
    /// Nobody answered, so nothing is known.
    NoAnswer(String),
    /// The answer is another one.
    Differs(String),
}

impl Miss {
    pub(super) fn text(self) -> String {
        match self {
            Self::NoAnswer(text) | Self::Differs(text) => text,
        }
    }
}

pub(super) struct ExpectProbe {
    client: Arc<Client>,
    message: Message,
    wanted: Expect,
}

impl ExpectProbe {
    /// The probe of a question. Contacts nothing.
    pub(super) fn new(wanted: Expect, cx: &ResolveContext) -> Result<Self, ActionError> {
        let resolved = resolve_map(&wanted.resolve, &wanted.url).map_err(|problem| {
            ActionError::new(ErrorKind::Invalid, format!("use `{}`: {problem}", Expect::NAME))
        })?;
        let (method, content) = match &wanted.ask {
            Some(question) => (Method::Post, Content::Json(question.clone())),
            None => (wanted.method, Content::Empty),
        };
        let message = Message {
            method,
            url: wanted.url.clone(),
            headers: wanted.headers.clone(),
            content,
            resolved,
            fresh: true,
        };
        Ok(Self { client: Client::shared(&cx.connections)?, message, wanted })
    }

    /// The question in words.
    pub(super) fn question(&self) -> String {
        self.describe().apply
    }

    /// Asks once, and tells whether an answer of the wanted status is as expected otherwise.
    pub(super) async fn sort(&self, cx: &StepContext) -> Result<Result<bool, Miss>, ActionError> {
        Ok(self.fetch(cx).await?.and_then(|answer| {
            self.compare_status(&answer).map_err(Miss::Differs)?;
            Ok(self.compare_content(&answer).is_ok())
        }))
    }

    /// Asks once. The inner error says what was seen instead.
    async fn ask(&self, cx: &StepContext) -> Result<Result<(), Miss>, ActionError> {
        let compare = |answer: Answer| {
            self.compare_status(&answer)
                .and_then(|()| self.compare_content(&answer))
                .map_err(Miss::Differs)
        };
        Ok(self.fetch(cx).await?.and_then(compare))
    }

    /// Gets one answer, whatever it is.
    async fn fetch(&self, cx: &StepContext) -> Result<Result<Answer, Miss>, ActionError> {
        let limit = self.wanted.answer_within.0.min(cx.remaining());
        let until = Instant::now() + limit;
        match self.client.exchange(&self.message, until, cx.cancelled()).await {
            Ok(answer) => Ok(Ok(answer)),
            Err(error) if error.kind == ErrorKind::Invalid => Err(error),
            Err(_) if cx.cancelled().is_cancelled() => Err(ActionError::new(
                ErrorKind::Cancelled,
                format!("ask {}: the run was told to stop", self.message.line()),
            )),
            Err(_) if Instant::now() >= until => {
                Ok(Err(Miss::NoAnswer(format!("no answer within {}", brief(limit)))))
            }
            Err(error) => Ok(Err(Miss::NoAnswer(match error.causes.last() {
                Some(cause) => format!("no answer: {cause}"),
                None => format!("no answer: failed to {}", error.message),
            }))),
        }
    }

    fn compare_status(&self, answer: &Answer) -> Result<(), String> {
        if self.wanted.status.contains(answer.status) {
            return Ok(());
        }
        let seen = answer.gist(self.client.secrets());
        Err(format!("{seen}, wanted {}", self.wanted.status))
    }

    fn compare_content(&self, answer: &Answer) -> Result<(), String> {
        let secrets = self.client.secrets();
        for (name, wanted) in &self.wanted.header {
            let shown = secrets.redact(wanted);
            let wanted = secrets.reveal(wanted);
            let found = answer.headers.get(name).map(reqwest::header::HeaderValue::as_bytes);
            if found != Some(wanted.expose_secret().as_bytes()) {
                let found = found
                    .map_or("absent".to_owned(), |found| format!("`{}`", quoted(found, secrets)));
                return Err(format!("header `{name}` was {found}, wanted `{shown}`"));
            }
        }
        if answer.cut && !(self.wanted.json.is_empty() && self.wanted.body.equals.is_none()) {
            return Err("the answer is longer than 1 MiB".to_owned());
        }
        fields::compare(&answer.body, &self.wanted.json, secrets)?;
        self.compare_body(&answer.body)
    }

    fn compare_body(&self, body: &[u8]) -> Result<(), String> {
        let secrets = self.client.secrets();
        let text = String::from_utf8_lossy(body);
        let seen = || quoted(body, secrets);
        if let Some(wanted) = &self.wanted.body.contains
            && !text.contains(secrets.reveal(wanted).expose_secret())
        {
            return Err(format!(
                "the body was `{}`, wanted `{}` in it",
                seen(),
                secrets.redact(wanted)
            ));
        }
        if let Some(wanted) = &self.wanted.body.equals
            && text.trim() != secrets.reveal(wanted).expose_secret().trim()
        {
            return Err(format!("the body was `{}`, wanted `{}`", seen(), secrets.redact(wanted)));
        }
        Ok(())
    }
}

#[async_trait]
impl Probe for ExpectProbe {
    fn describe(&self) -> Description {
        let mut wishes = vec![format!("status {}", self.wanted.status)];
        let secrets = self.client.secrets();
        for (path, value) in &self.wanted.json {
            wishes.push(format!("`{path}` {}", secrets.redact(&value.to_string())));
        }
        for (name, value) in &self.wanted.header {
            wishes.push(format!("header `{name}` `{}`", secrets.redact(value)));
        }
        if self.wanted.consecutive > 1 {
            wishes.push(format!("{} times in a row", self.wanted.consecutive));
        }
        Description::question(format!("{} answers {}", self.message.line(), wishes.join(", ")))
    }

    async fn observe(&self, cx: &StepContext) -> Result<Verdict, ActionError> {
        Ok(match self.look(cx).await? {
            Ok(evidence) => Verdict::Holds { evidence },
            Err(miss) => Verdict::not_yet(miss.text()),
        })
    }

    async fn answer(&self, cx: &StepContext) -> Result<Told, ActionError> {
        Ok(match self.look(cx).await? {
            Ok(evidence) => Told::Yes { evidence },
            Err(Miss::NoAnswer(reason)) => Told::NoData { reason },
            Err(Miss::Differs(observed)) => Told::No { observed },
        })
    }
}

impl ExpectProbe {
    /// Asks as often as it is wanted, up to the first answer that is not as expected.
    async fn look(&self, cx: &StepContext) -> Result<Result<Evidence, Miss>, ActionError> {
        let many = self.wanted.consecutive;
        let began = Instant::now();
        for number in 1..=many {
            let counted = |seen| match many {
                1 => seen,
                _ => format!("answer {number} of {many}: {seen}"),
            };
            match self.ask(cx).await? {
                Ok(()) => {}
                Err(Miss::NoAnswer(seen)) => return Ok(Err(Miss::NoAnswer(counted(seen)))),
                Err(Miss::Differs(seen)) => return Ok(Err(Miss::Differs(counted(seen)))),
            }
        }
        let answers = match many {
            1 => "as expected".to_owned(),
            _ => format!("as expected {many} times in a row"),
        };
        Ok(Ok(Evidence::with(
            format!("{} answered {answers} in {}", self.message.line(), brief(began.elapsed())),
            json!({"answers": many}),
        )))
    }
}
