//! One request to a service that only answers questions, over the client of `http`.
//!
//! Nothing that is sent here changes anything, so an answer that does not come is a failure that may pass, and never an unknown outcome.

use std::time::Duration;

use indexmap::IndexMap;
use serde_json::Value;
use tokio::time::Instant;

use crate::action::{ActionError, ErrorKind, StepContext};
use crate::adapters::http::{Answer, Client, Content, Message, Method, Resolved};

/// The longest wait for one answer: a service that hangs is asked again. The deadline is often nearer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A service as it is asked.
pub(super) struct Asked<'a> {
    pub(super) http: &'a Client,
    /// The service for people: `embeddings at api.openai.com`.
    pub(super) service: &'a str,
    pub(super) url: String,
    /// Perhaps with markers of secrets.
    pub(super) headers: IndexMap<String, String>,
}

impl Asked<'_> {
    /// Sends a JSON document with POST, once.
    pub(super) async fn post(self, cx: &StepContext, body: Value) -> Result<Answer, ActionError> {
        let Self { http, service, url, headers } = self;
        let content = Content::Json(body);
        let resolved = Resolved::new();
        let message =
            Message { method: Method::Post, url, headers, content, resolved, fresh: true };
        let until = cx.deadline().min(Instant::now() + ANSWER_WITHIN);
        let answered = http.exchange(&message, until, cx.cancelled()).await;
        answered.map_err(|error| unanswered(service, cx, until, error))
    }
}

/// The error of a question without an answer. Whether it was heard makes no difference to one that only reads.
fn unanswered(service: &str, cx: &StepContext, until: Instant, error: ActionError) -> ActionError {
    let (kind, text) = match error.kind {
        ErrorKind::Invalid => return error,
        _ if cx.cancelled().is_cancelled() => {
            (ErrorKind::Cancelled, format!("ask {service}: the run was told to stop"))
        }
        _ if Instant::now() >= until => {
            (ErrorKind::TimedOut, format!("ask {service}: no answer in time"))
        }
        ErrorKind::Unreachable => (ErrorKind::Unreachable, format!("reach {service}")),
        _ => (ErrorKind::Failed, format!("ask {service}: the answer broke off")),
    };
    // A certificate that is not trusted is no better a little later.
    let again = kind != ErrorKind::Cancelled && (error.retryable || error.outcome_unknown());
    let mut told = ActionError::new(kind, text).retryable(again);
    (told.causes, told.hints) = (error.causes, error.hints);
    told
}
