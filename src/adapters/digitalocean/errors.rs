//! What the API or the wire said, as one of the port's kinds. The only place that decides it.
//!
//! An error is `{id, message, request_id?}` (<https://docs.digitalocean.com/reference/api/>, "HTTP Statuses").

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;

use crate::action::{ActionError, ErrorKind, StepContext};
use crate::adapters::http::{Answer, Method, quoted, retry_after};
use crate::clock;
use crate::secret::Secrets;
use crate::value::brief;

/// A wait longer than this is not for the engine to sit out.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What is done again and again without harm, what sets a state, and what has an effect each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// Only looks.
    Read,
    /// Sets a state: twice is once.
    Set,
    /// Has an effect of its own with every request.
    Once,
}

impl Intent {
    /// The intent of a request by its method.
    pub(super) fn of(method: Method) -> Self {
        match method {
            Method::Get | Method::Head | Method::Options => Self::Read,
            Method::Put | Method::Patch | Method::Delete => Self::Set,
            Method::Post => Self::Once,
        }
    }
}

#[derive(Deserialize)]
struct Told {
    message: String,
    #[serde(default)]
    request_id: Option<String>,
}

/// The error of an answer that is no success.
pub(super) fn refused(
    intent: Intent,
    doing: &str,
    answer: &Answer,
    secrets: &Secrets,
) -> ActionError {
    let text = format!("{doing}: {}", said(answer, secrets));
    match answer.status {
        401 => ActionError::new(ErrorKind::Denied, text).hint(
            "The token is not accepted: make a new one, and name it in `connections: {digitalocean: {token: …}}`.",
        ),
        403 => ActionError::new(ErrorKind::Denied, text)
            .hint("The token lacks a scope for this: see `connections: {digitalocean: …}` in the guide."),
        404 | 410 => ActionError::new(ErrorKind::NotFound, text),
        409 | 412 => ActionError::new(ErrorKind::Conflict, text).retryable(true),
        400 | 405 | 415 | 422 => ActionError::new(ErrorKind::Invalid, text),
        429 => limited(text, answer),
        // What sets a state was not begun, or may be set again. Of what has an effect each time nobody knows.
        503 if intent != Intent::Once => ActionError::new(ErrorKind::Failed, text).retryable(true),
        500.. if intent == Intent::Read => ActionError::new(ErrorKind::Failed, text).retryable(true),
        500.. => ActionError::new(ErrorKind::Unknown, text).retryable(intent == Intent::Set),
        _ => ActionError::new(ErrorKind::Failed, text)
            .hint("Is `url` of the connection `digitalocean` that of its API?"),
    }
}

/// What an answer says, with the id by which DigitalOcean's support finds the request.
fn said(answer: &Answer, secrets: &Secrets) -> String {
    let Ok(told) = serde_json::from_slice::<Told>(&answer.body) else {
        return format!("it answered {}", answer.gist(secrets));
    };
    let header = answer.headers.get("x-request-id").and_then(|id| id.to_str().ok());
    let request = told.request_id.as_deref().or(header);
    let request = request.map(|id| quoted(id.as_bytes(), secrets)).filter(|id| !id.is_empty());
    let message = quoted(told.message.as_bytes(), secrets);
    match request {
        Some(id) => format!("{} {message} (request {id})", answer.status),
        None => format!("{} {message}", answer.status),
    }
}

/// Too many requests: nothing of this one was done. `retry-after` comes with a burst alone; of the hour's limit `ratelimit-reset` says
/// when the oldest request no longer counts.
fn limited(text: String, answer: &Answer) -> ActionError {
    let error = ActionError::new(ErrorKind::Failed, text);
    match wait_of(answer) {
        None => error.retryable(true),
        Some(wait) => error
            .retryable(wait <= LONGEST_WAIT)
            .hint(format!("DigitalOcean asks to wait {}.", brief(wait))),
    }
}

/// How long a 429 asks to wait.
pub(super) fn wait_of(answer: &Answer) -> Option<Duration> {
    let now = clock::now();
    retry_after(&answer.headers, now).or_else(|| {
        let number = |name: &str| answer.headers.get(name)?.to_str().ok()?.parse::<i64>().ok();
        if number("ratelimit-remaining")? > 0 {
            return None;
        }
        let reset = Timestamp::from_second(number("ratelimit-reset")?).ok()?;
        Duration::try_from(reset.duration_since(now)).ok()
    })
}

/// The error of a request without a whole answer, from that of the client.
pub(super) fn unanswered(
    intent: Intent,
    doing: &str,
    (cx, until): (&StepContext, Instant),
    error: ActionError,
) -> ActionError {
    let (kind, text) = match error.kind {
        ErrorKind::Invalid => return error,
        ErrorKind::Unknown if intent != Intent::Read => {
            (ErrorKind::Unknown, format!("{doing}: the answer never came"))
        }
        _ if cx.cancelled().is_cancelled() => {
            (ErrorKind::Cancelled, format!("{doing}: the run was told to stop"))
        }
        _ if Instant::now() >= until => {
            (ErrorKind::TimedOut, format!("{doing}: no answer in time"))
        }
        ErrorKind::Unreachable => (ErrorKind::Unreachable, format!("{doing}: reach its API")),
        _ => (ErrorKind::Failed, format!("{doing}: the answer broke off")),
    };
    let again = match kind {
        ErrorKind::Cancelled => false,
        ErrorKind::Unknown => intent == Intent::Set,
        // A certificate that is not trusted is no better a little later.
        _ => error.retryable || error.outcome_unknown(),
    };
    let mut told = ActionError::new(kind, text).retryable(again);
    (told.causes, told.hints) = (error.causes, error.hints);
    told
}

/// The error of an answer that says "done" and cannot be read.
pub(super) fn unreadable(intent: Intent, doing: &str, why: &str) -> ActionError {
    match intent {
        Intent::Read => ActionError::new(
            ErrorKind::Failed,
            format!("{doing}: the answer has another form: {why}"),
        ),
        _ => ActionError::new(
            ErrorKind::Unknown,
            format!("{doing}: it was accepted, and the answer has another form: {why}"),
        )
        .retryable(intent == Intent::Set),
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)]) -> Answer {
        let body = br#"{"id":"told","message":"why \u001b[31m","request_id":"4d9d"}"#.to_vec();
        let headers = headers.iter().map(|(name, value)| {
            (name.parse().expect("a name"), HeaderValue::from_str(value).expect("a value"))
        });
        Answer { status, headers: headers.collect(), body, cut: false }
    }

    #[test]
    fn an_answer_is_final_or_may_pass_or_leaves_a_doubt() {
        use ErrorKind::{Conflict, Denied, Failed, Invalid, NotFound, Unknown};
        for (status, read, set, once) in [
            (401, (Denied, false), (Denied, false), (Denied, false)),
            (403, (Denied, false), (Denied, false), (Denied, false)),
            (404, (NotFound, false), (NotFound, false), (NotFound, false)),
            (409, (Conflict, true), (Conflict, true), (Conflict, true)),
            (422, (Invalid, false), (Invalid, false), (Invalid, false)),
            (429, (Failed, true), (Failed, true), (Failed, true)),
            (500, (Failed, true), (Unknown, true), (Unknown, false)),
            (502, (Failed, true), (Unknown, true), (Unknown, false)),
            (503, (Failed, true), (Failed, true), (Unknown, false)),
            (302, (Failed, false), (Failed, false), (Failed, false)),
        ] {
            for (intent, wanted) in [(Intent::Read, read), (Intent::Set, set), (Intent::Once, once)]
            {
                let error = refused(intent, "do it", &answer(status, &[]), &Secrets::default());
                assert_eq!((error.kind, error.retryable), wanted, "{status} {intent:?}");
            }
        }
        let error = refused(Intent::Read, "do it", &answer(404, &[]), &Secrets::default());
        assert_eq!(error.message, "do it: 404 why \u{1b}[31m (request 4d9d)");
    }

    #[test]
    fn a_limit_says_how_long_to_wait() {
        let wait = |headers: &[(&'static str, &str)]| wait_of(&answer(429, headers));
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        let reset = (clock::now().as_second() + 100).to_string();
        assert_eq!(wait(&[("ratelimit-remaining", "3"), ("ratelimit-reset", &reset)]), None);
        let hourly = wait(&[("ratelimit-remaining", "0"), ("ratelimit-reset", &reset)]).unwrap();
        assert!(
            hourly > Duration::from_secs(90) && hourly <= Duration::from_secs(100),
            "{hourly:?}"
        );
        let secrets = Secrets::default();
        let patient =
            refused(Intent::Once, "do it", &answer(429, &[("retry-after", "60")]), &secrets);
        assert!(
            patient.retryable && patient.hints == ["DigitalOcean asks to wait 1m."],
            "{patient:?}"
        );
        let absurd =
            refused(Intent::Once, "do it", &answer(429, &[("retry-after", "99999")]), &secrets);
        assert!(!absurd.retryable, "{absurd:?}");
    }
}
