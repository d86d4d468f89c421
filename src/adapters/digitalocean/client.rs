//! The HTTP API (<https://docs.digitalocean.com/reference/api/>), over the client of `http`.
//!
//! The token goes to the configured origin and nowhere else: redirects are not followed, and neither is a next page that lies elsewhere.
//! A 429 says that nothing was done, so the request is sent again when the wait that it asks for fits before the deadline; nothing
//! else is sent twice.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::time::Instant;
use url::Url;

use super::connection::{Account, DigitalOceanConnection};
use super::errors::{self, Intent};
use crate::action::{ActionError, Connections, ErrorKind, StepContext};
use crate::adapters::http::{
    Answer, Client, Content, HttpConnection, Message, Method, Resolved, quoted,
};
use crate::secret::Secrets;
use crate::value::brief;

/// The longest wait for one answer: a server that hangs is asked again. The deadline is often nearer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The time for the question whether the API answers; pre-flight has five seconds in all.
const REACHING: Duration = Duration::from_secs(4);
/// The most that is read of an answer: 200 apps with their deployments are some megabytes.
const MOST_BYTES: usize = 16 << 20;
/// The shortest wait before a refused request is sent again, whatever the server says.
const SHORTEST_WAIT: Duration = Duration::from_millis(250);
/// The greatest page that the API gives.
const PAGE: usize = 200;
/// More pages than any account has.
const MOST_PAGES: usize = 500;
/// What stands in a path as it is (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// One part of a path, quoted.
pub(in crate::adapters) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// The account of an environment.
pub(in crate::adapters) struct DigitalOcean {
    http: Client,
    base: Url,
    /// The marker of the token.
    token: String,
}

/// A whole answer to a request that only looks: for POST requests that change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// As the method has it.
    ByMethod,
    /// None.
    None,
}

impl DigitalOcean {
    /// The one of these connections.
    pub(in crate::adapters) fn of(connections: &Connections) -> Result<Arc<Self>, ActionError> {
        let secrets = connections.secrets().clone();
        connections
            .client::<DigitalOceanConnection, Self, _>(|settings, _| Self::new(settings, secrets))
    }

    /// The account of these settings, also where another block has them.
    pub(in crate::adapters) fn new(
        settings: DigitalOceanConnection,
        secrets: Arc<Secrets>,
    ) -> Result<Self, ActionError> {
        let Account { base, token, ca_file } = settings.account()?;
        let reached = HttpConnection { ca_file, ..HttpConnection::default() };
        let http = Client::new(reached, secrets, "{digitalocean: {ca_file: …}}");
        Ok(Self { http: http.reading(MOST_BYTES), base, token })
    }

    /// The secrets, for what else comes back.
    pub(in crate::adapters) fn secrets(&self) -> &Secrets {
        self.http.secrets()
    }

    /// Reads what is at a path. `doing` is a fragment such as `read the app web`.
    pub(in crate::adapters) async fn get<T: DeserializeOwned>(
        &self,
        cx: &StepContext,
        doing: &str,
        path: &str,
    ) -> Result<T, ActionError> {
        let answer = self.call(cx, doing, (Method::Get, Effect::ByMethod), path, None).await?;
        self.read(Intent::Read, doing, &answer)
    }

    /// Reads all pages of a list, whose items are under `field`. `path` may have a query.
    pub(in crate::adapters) async fn list<T: DeserializeOwned>(
        &self,
        cx: &StepContext,
        doing: &str,
        path: &str,
        field: &str,
    ) -> Result<Vec<T>, ActionError> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut path = format!("{path}{joint}per_page={PAGE}");
        let (mut items, mut seen) = (Vec::new(), HashSet::new());
        while seen.insert(path.clone()) && seen.len() <= MOST_PAGES {
            let page: IndexMap<String, Box<RawValue>> = self.get(cx, doing, &path).await?;
            if let Some(list) = page.get(field) {
                let list: Option<Vec<T>> = self.parse(Intent::Read, doing, list.get())?;
                items.extend(list.into_iter().flatten());
            }
            match page.get("links").map(|links| self.next(doing, links)).transpose()?.flatten() {
                Some(next) => path = next,
                None => return Ok(items),
            }
        }
        let text = format!("{doing}: its pages lead nowhere after {}", seen.len());
        Err(ActionError::new(ErrorKind::Failed, text))
    }

    /// The path of the next page, if there is one.
    fn next(&self, doing: &str, links: &RawValue) -> Result<Option<String>, ActionError> {
        #[derive(Default, Deserialize)]
        struct Pages {
            #[serde(default)]
            next: Option<String>,
        }
        #[derive(Default, Deserialize)]
        struct Links {
            #[serde(default)]
            pages: Option<Pages>,
        }
        let links: Option<Links> = self.parse(Intent::Read, doing, links.get())?;
        let Some(next) = links.and_then(|links| links.pages?.next).filter(|next| !next.is_empty())
        else {
            return Ok(None);
        };
        let below = self.base.path().trim_end_matches('/');
        let inside = Url::parse(&next).ok().filter(|url| url.origin() == self.base.origin());
        let path = inside.as_ref().and_then(|url| {
            let path = url.path().strip_prefix(below).filter(|path| path.starts_with('/'))?;
            Some(url.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}")))
        });
        path.map(Some).ok_or_else(|| {
            let place = quoted(next.as_bytes(), self.secrets());
            let text = format!("{doing}: its next page lies elsewhere, at {place}");
            ActionError::new(ErrorKind::Failed, text)
                .hint("The token goes to `url` of the connection `digitalocean` alone.")
        })
    }

    /// Sends a change, and reads what it answers. `body` is a JSON document.
    pub(in crate::adapters) async fn send<T: DeserializeOwned>(
        &self,
        cx: &StepContext,
        doing: &str,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<T, ActionError> {
        let answer = self.call(cx, doing, (method, Effect::ByMethod), path, body).await?;
        self.read(Intent::of(method), doing, &answer)
    }

    /// Sends a change whose answer says nothing.
    pub(in crate::adapters) async fn tell(
        &self,
        cx: &StepContext,
        doing: &str,
        method: Method,
        path: &str,
    ) -> Result<(), ActionError> {
        self.call(cx, doing, (method, Effect::ByMethod), path, None).await.map(drop)
    }

    /// Asks a question by POST, which changes nothing.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        cx: &StepContext,
        doing: &str,
        path: &str,
        body: String,
    ) -> Result<T, ActionError> {
        let answer = self.call(cx, doing, (Method::Post, Effect::None), path, Some(body)).await?;
        self.read(Intent::Read, doing, &answer)
    }

    /// One request that has to succeed.
    async fn call(
        &self,
        cx: &StepContext,
        doing: &str,
        (method, effect): (Method, Effect),
        path: &str,
        body: Option<String>,
    ) -> Result<Answer, ActionError> {
        let intent = if effect == Effect::None { Intent::Read } else { Intent::of(method) };
        let answer = self.exchange(cx, doing, (method, intent), path, body).await?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        Err(errors::refused(intent, doing, &answer, self.secrets()))
    }

    /// One request, sent again as long as it is refused with a wait that fits before the deadline.
    async fn exchange(
        &self,
        cx: &StepContext,
        doing: &str,
        (method, intent): (Method, Intent),
        path: &str,
        body: Option<String>,
    ) -> Result<Answer, ActionError> {
        let message = self.message(method, path, body);
        loop {
            if cx.cancelled().is_cancelled() {
                let text = format!("{doing}: the run was told to stop");
                return Err(ActionError::new(ErrorKind::Cancelled, text));
            }
            let until = cx.deadline().min(Instant::now() + ANSWER_WITHIN);
            let answered = self.http.exchange(&message, until, cx.cancelled()).await;
            let answer =
                answered.map_err(|error| errors::unanswered(intent, doing, (cx, until), error))?;
            let wait = errors::wait_of(&answer).filter(|_| answer.status == 429);
            match wait.map(|wait| wait.max(SHORTEST_WAIT)).filter(|wait| *wait < cx.remaining()) {
                Some(wait) => pause(cx, doing, wait).await?,
                None => return Ok(answer),
            }
        }
    }

    fn message(&self, method: Method, path: &str, body: Option<String>) -> Message {
        let base = self.base.as_str().trim_end_matches('/');
        let mut headers =
            IndexMap::from([("Authorization".to_owned(), format!("Bearer {}", self.token))]);
        let content = body.map_or(Content::Empty, Content::Verbatim);
        if matches!(content, Content::Verbatim(_)) {
            let _none = headers.insert("Content-Type".to_owned(), "application/json".to_owned());
        }
        Message {
            method,
            url: format!("{base}{path}"),
            headers,
            content,
            resolved: Resolved::new(),
            // A pooled connection may be closed by the server in the instant in which it is used again: the change would be in doubt.
            fresh: Intent::of(method) != Intent::Read,
        }
    }

    fn read<T: DeserializeOwned>(
        &self,
        intent: Intent,
        doing: &str,
        answer: &Answer,
    ) -> Result<T, ActionError> {
        if answer.cut {
            let why = format!("it is longer than {} MiB", MOST_BYTES >> 20);
            return Err(errors::unreadable(intent, doing, &why));
        }
        match std::str::from_utf8(&answer.body) {
            Ok(text) => self.parse(intent, doing, text),
            Err(_) => Err(errors::unreadable(intent, doing, "it is no text")),
        }
    }

    fn parse<T: DeserializeOwned>(
        &self,
        intent: Intent,
        doing: &str,
        text: &str,
    ) -> Result<T, ActionError> {
        serde_json::from_str(text).map_err(|error| {
            // The parser repeats what it did not expect, whatever its length.
            let why = quoted(error.to_string().as_bytes(), self.secrets());
            errors::unreadable(intent, doing, &why)
        })
    }
}

/// Waits before a refused request is sent again.
async fn pause(cx: &StepContext, doing: &str, wait: Duration) -> Result<(), ActionError> {
    tokio::select! {
        () = tokio::time::sleep(wait) => Ok(()),
        () = cx.cancelled().cancelled() => {
            let text = format!("{doing}: wait {}, as it asks", brief(wait));
            Err(ActionError::new(ErrorKind::Cancelled, text))
        }
    }
}

/// Whether the API answers, and how much it may still be asked in this hour: `digitalocean at api.digitalocean.com, 4816 of 5000
/// requests left this hour`.
pub(super) async fn reach(connections: &Connections) -> Result<String, ActionError> {
    let account = DigitalOcean::of(connections)?;
    let cx = StepContext::looking(REACHING);
    let (doing, asked) = ("list apps", (Method::Get, Intent::Read));
    let answer = account.exchange(&cx, doing, asked, "/v2/apps?per_page=1", None).await?;
    // A token that is for records or agents alone may not list apps, and is a good token.
    if !matches!(answer.status, 200 | 403) {
        return Err(errors::refused(Intent::Read, doing, &answer, account.secrets()));
    }
    let number = |name: &str| answer.headers.get(name)?.to_str().ok()?.parse::<u32>().ok();
    let left = number("ratelimit-remaining").zip(number("ratelimit-limit"));
    let left = left.map(|(left, limit)| format!(", {left} of {limit} requests left this hour"));
    let host = account.base.host_str().unwrap_or_default();
    Ok(format!("digitalocean at {host}{}", left.unwrap_or_default()))
}
