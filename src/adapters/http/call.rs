//! `http.call`: one request that changes something.
//!
//! Whether it may be sent again follows from the method (RFC 9110 section 9.2.2) unless the runbook knows better: `repeat` says so,
//! and `idempotency_key: true` makes a POST repeatable for servers that honour the header `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header). The key is noted in the journal before the request leaves, so that a
//! resumed run sends the same one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::Answer;
use super::client::Client;
use super::message::{Content, Message, Method, Resolved, parse_url};
use super::status::StatusSet;
use crate::action::{
    Action, ActionError, Description, ErrorKind, Evidence, Present, Readiness, Repeat,
    ResolveContext, Reversal, Saved, StepContext, Touches, VerbArgs, VerbKind, Verdict, Work,
};
use crate::clock;
use crate::secret::has_marker;
use crate::value::brief;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The shortest wait before a refused request is sent again, whatever the server says.
const SHORTEST_WAIT: Duration = Duration::from_millis(250);

/// Whether a request may be sent again when its outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RepeatChoice {
    /// Twice is the same as once.
    Safe,
    /// A person has to look first.
    Never,
}

/// The request that takes the change back.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// The method.
    pub method: Method,
    /// The URL.
    pub url: String,
    /// Headers.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// A JSON document to send.
    pub json: Option<Value>,
    /// Text to send.
    pub body: Option<String>,
    /// The status codes of success; `200..299` unless given. A DELETE also accepts 404 and 410.
    #[serde(default = "StatusSet::successful")]
    pub expect_status: StatusSet,
}

/// The arguments of `http.call`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The URL.
    pub url: String,
    /// Headers.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// A JSON document to send.
    pub json: Option<Value>,
    /// Text to send.
    pub body: Option<String>,
    /// The status codes of success; `200..299` unless given.
    #[serde(default = "StatusSet::successful")]
    pub expect_status: StatusSet,
    /// Whether it may be sent again when its outcome is unknown; by method unless given.
    pub repeat: Option<RepeatChoice>,
    /// The request that takes the change back. Without it, the step needs `irreversible: true`.
    pub undo: Option<Undo>,
    /// Sends `Idempotency-Key`, by which the server recognises a repeated request.
    #[serde(default)]
    pub idempotency_key: bool,
}

impl Call {
    fn repeat(&self) -> Repeat {
        let safe = match self.repeat {
            Some(choice) => choice == RepeatChoice::Safe,
            None => self.method.is_idempotent() || self.idempotency_key,
        };
        if safe { Repeat::Safe } else { Repeat::Never }
    }

    fn message(&self) -> Result<Message, String> {
        Ok(Message {
            method: self.method,
            url: self.url.clone(),
            headers: self.headers.clone(),
            content: Content::of(self.json.clone(), self.body.clone())?,
            resolved: Resolved::new(),
            fresh: self.repeat() != Repeat::Safe,
        })
    }
}

impl Undo {
    fn message(&self) -> Result<Message, String> {
        Ok(Message {
            method: self.method,
            url: self.url.clone(),
            headers: self.headers.clone(),
            content: Content::of(self.json.clone(), self.body.clone())
                .map_err(|problem| format!("{problem} in `undo`"))?,
            resolved: Resolved::new(),
            fresh: !self.method.is_idempotent(),
        })
    }

    fn accepts(&self, status: u16) -> bool {
        self.expect_status.contains(status)
            || (self.method == Method::Delete && matches!(status, 404 | 410))
    }
}

/// Checks a URL that has no secret in it; one with a secret is looked at when it is sent.
pub(super) fn check_url(url: &str) -> Result<(), String> {
    if has_marker(url) { Ok(()) } else { parse_url(url).map(drop) }
}

#[async_trait]
impl VerbArgs for Call {
    const NAME: &'static str = "http.call";
    const SUMMARY: &'static str = "Send one HTTP request that changes something";
    const KIND: VerbKind = VerbKind::Action;
    const TIMEOUT: Duration = Duration::from_secs(10);
    type Item = Self;

    fn validate(&self) -> Result<(), String> {
        check_url(&self.url)?;
        let _sendable = self.message()?;
        if let Some(undo) = &self.undo {
            check_url(&undo.url).map_err(|problem| format!("{problem} in `undo`"))?;
            let _sendable = undo.message()?;
        }
        if self.idempotency_key && self.repeat == Some(RepeatChoice::Never) {
            return Err("`idempotency_key: true` and `repeat: never` contradict each other".into());
        }
        Ok(())
    }

    async fn expand(self, _: &ResolveContext) -> Result<Vec<(String, Self)>, ActionError> {
        Ok(vec![(String::new(), self)])
    }

    fn make(item: Self, cx: &ResolveContext) -> Result<Work, ActionError> {
        let invalid = |problem: String| {
            ActionError::new(ErrorKind::Invalid, format!("use `{}`: {problem}", Self::NAME))
        };
        let message = item.message().map_err(invalid)?;
        let undo = match &item.undo {
            Some(undo) => Some((undo.clone(), undo.message().map_err(invalid)?)),
            None => None,
        };
        let client = Client::shared(&cx.connections)?;
        Ok(Work::Action(Box::new(CallAction {
            client,
            message,
            undo,
            repeat: item.repeat(),
            expect_status: item.expect_status,
            keyed: item.idempotency_key,
        })))
    }
}

struct CallAction {
    client: Arc<Client>,
    message: Message,
    undo: Option<(Undo, Message)>,
    repeat: Repeat,
    expect_status: StatusSet,
    keyed: bool,
}

impl CallAction {
    /// The key of earlier attempts, or a new one that is on disk before it is used.
    async fn idempotency_key(&self, cx: &StepContext) -> Result<String, ActionError> {
        let noted = cx.notes().iter().find_map(|note| note[IDEMPOTENCY_KEY].as_str());
        if let Some(key) = noted {
            return Ok(key.to_owned());
        }
        let key = format!("{}-{}", cx.run(), uuid::Uuid::new_v4());
        cx.note(json!({ IDEMPOTENCY_KEY: key })).await?;
        Ok(key)
    }

    /// Sends the request; where it may be repeated and the server asks to wait, waits and sends it again.
    async fn send(&self, cx: &StepContext, message: &Message) -> Result<Answer, ActionError> {
        loop {
            let answer = self.client.exchange(message, cx.deadline(), cx.cancelled()).await?;
            if self.repeat != Repeat::Safe || !matches!(answer.status, 429 | 503) {
                return Ok(answer);
            }
            let Some(wait) = answer.retry_after(clock::now()) else { return Ok(answer) };
            let wait = wait.max(SHORTEST_WAIT);
            if wait >= cx.remaining() {
                return Ok(answer);
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = cx.cancelled().cancelled() => {
                    let text = format!("wait {} for {}", brief(wait), message.line());
                    return Err(ActionError::new(ErrorKind::Cancelled, text));
                }
            }
        }
    }

    /// Whether it is noted that the undo request was accepted.
    fn is_undone(cx: &StepContext) -> bool {
        cx.notes().iter().any(|note| note["undone"] == true)
    }

    /// The error of an answer with an unexpected status.
    fn refused(&self, cx: &StepContext, message: &Message, answer: &Answer) -> ActionError {
        let text = format!(
            "get {} accepted: it answered {}",
            message.line(),
            answer.gist(self.client.secrets())
        );
        let error = match answer.status {
            // The server, or one that a gateway passed it to, may have done it before it failed.
            500 | 502..=504 if message.fresh => ActionError::new(ErrorKind::Unknown, text),
            401 | 403 | 407 => ActionError::new(ErrorKind::Denied, text),
            404 | 410 => ActionError::new(ErrorKind::NotFound, text),
            409 | 412 => ActionError::new(ErrorKind::Conflict, text),
            // Refused before it was processed (RFC 6585 section 4), so that it may come again in any case.
            429 => ActionError::new(ErrorKind::Failed, text).retryable(true),
            500..=599 => ActionError::new(ErrorKind::Failed, text).retryable(!message.fresh),
            _ => ActionError::new(ErrorKind::Failed, text),
        };
        match answer.retry_after(clock::now()).filter(|_| matches!(answer.status, 429 | 503)) {
            Some(wait) if wait >= cx.remaining() => error.retryable(false).hint(format!(
                "The server asks to wait {}, which is longer than this attempt has left.",
                brief(wait)
            )),
            Some(wait) => error.hint(format!("The server asks to wait {}.", brief(wait))),
            None => error,
        }
    }
}

#[async_trait]
impl Action for CallAction {
    fn describe(&self) -> Description {
        let undo =
            self.undo.as_ref().map_or(String::new(), |(_, undo)| format!("send {}", undo.line()));
        Description::new(format!("send {}", self.message.line()), undo)
    }

    fn touches(&self) -> Touches {
        Touches::Anything
    }

    fn repeat(&self) -> Repeat {
        self.repeat
    }

    fn repeat_of_undo(&self) -> Repeat {
        let fresh = self.undo.as_ref().is_some_and(|(_, message)| message.fresh);
        if fresh { Repeat::Never } else { Repeat::Safe }
    }

    fn reversal(&self) -> Reversal {
        match self.undo {
            Some(_) => Reversal::Automatic,
            None => {
                Reversal::Irreversible { reason: "the step names no `undo` request".to_owned() }
            }
        }
    }

    async fn inspect(&self, _: &StepContext) -> Result<Readiness, ActionError> {
        // A request has no state to look at. The probe that knows it is an `http.expect` beside it.
        Ok(Readiness::needed(Saved::default()))
    }

    async fn apply(&self, cx: &StepContext, _: &Saved) -> Result<Evidence, ActionError> {
        let mut message = self.message.clone();
        if self.keyed {
            let key = self.idempotency_key(cx).await?;
            let _given = message.headers.entry("Idempotency-Key".to_owned()).or_insert(key);
        }
        let began = Instant::now();
        let answer = self.send(cx, &message).await?;
        if !self.expect_status.contains(answer.status) {
            return Err(self.refused(cx, &message, &answer));
        }
        let summary =
            format!("{} answered {} in {}", message.line(), answer.status, brief(began.elapsed()));
        Ok(Evidence::with(summary, json!({"status": answer.status})))
    }

    async fn verify(&self, _: &StepContext, applied: &Evidence) -> Result<Verdict, ActionError> {
        Ok(Verdict::Holds { evidence: applied.clone() })
    }

    async fn present(
        &self,
        cx: &StepContext,
        _: &Saved,
        _: Option<&Evidence>,
    ) -> Result<Present, ActionError> {
        Ok(if Self::is_undone(cx) { Present::AsBefore } else { Present::Unseen })
    }

    async fn undo(
        &self,
        cx: &StepContext,
        _: &Saved,
        _: Option<&Evidence>,
    ) -> Result<(), ActionError> {
        let Some((undo, message)) = &self.undo else {
            let text =
                format!("take {} back: the step names no `undo` request", self.message.line());
            return Err(ActionError::new(ErrorKind::Invalid, text));
        };
        if Self::is_undone(cx) {
            return Ok(());
        }
        let answer = self.client.exchange(message, cx.deadline(), cx.cancelled()).await?;
        if !undo.accepts(answer.status) {
            return Err(self.refused(cx, message, &answer));
        }
        cx.note(json!({"undone": true})).await
    }
}
