//! Records in Cloudflare (<https://developers.cloudflare.com/api/resources/dns/subresources/records/>).
//!
//! The API has no prerequisites: the records are read, compared, changed by their ids in one batch (which is one transaction), and read
//! again. A record that is `proxied` is answered with Cloudflare's own addresses, so name servers cannot prove it, and the API has to.

use std::sync::Arc;

use async_trait::async_trait;
use indexmap::IndexMap;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::keeper::{Change, Held, Keeper, Kept};
use crate::action::{ActionError, ErrorKind, StepContext};
use crate::adapters::dns::connection::Cloudflare;
use crate::adapters::dns::name::{Datum, DomainName, Kind, RecordSet, shown};
use crate::adapters::http::{
    Answer, Client, Content, HttpConnection, Message, Method, Resolved, quoted, retry_after,
};
use crate::clock;
use crate::secret::Secrets;
use crate::value::brief;

/// Where the API is.
const API: &str = "https://api.cloudflare.com/client/v4";
/// The most records of one name that are read.
const PAGE: usize = 100;
/// What a TTL of 1 ("automatic") means: 300 seconds.
const AUTOMATIC: u32 = 1;
const AUTOMATIC_LASTS: u32 = 300;

/// The zones of a token.
pub(in crate::adapters::dns) struct Zones {
    http: Client,
    base: String,
    token: String,
    zone: Option<DomainName>,
}

#[derive(Deserialize)]
struct Envelope<T> {
    #[serde(default)]
    success: bool,
    #[serde(default)]
    errors: Vec<Complaint>,
    result: Option<T>,
}

#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct ZoneEntry {
    id: String,
}

#[derive(Deserialize)]
struct RecordEntry {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    content: String,
    ttl: u32,
    #[serde(default)]
    proxied: bool,
}

impl Zones {
    pub(in crate::adapters::dns) fn new(settings: &Cloudflare, secrets: Arc<Secrets>) -> Self {
        let base = settings.url.as_deref().unwrap_or(API).trim_end_matches('/').to_owned();
        let http = Client::new(HttpConnection::default(), secrets, "{http: {ca_file: …}}");
        Self { http, base, token: settings.token.clone(), zone: settings.zone.clone() }
    }

    async fn zone_id(&self, cx: &StepContext, name: &DomainName) -> Result<String, ActionError> {
        if let Some(zone) = &self.zone
            && !name.is_in(zone)
        {
            return Err(ActionError::new(
                ErrorKind::Invalid,
                format!("use the zone {zone} of the connection `dns`: {name} does not lie in it"),
            ));
        }
        let candidates: Vec<DomainName> = match &self.zone {
            Some(zone) => vec![zone.clone()],
            None => name.upwards().filter(|zone| zone.as_str().contains('.')).collect(),
        };
        for zone in &candidates {
            let path = format!("/zones?name={}", quoted_for_url(zone.as_str()));
            let found: Vec<ZoneEntry> = self.ask(cx, Method::Get, &path, Content::Empty).await?;
            if let Some(zone) = found.into_iter().next() {
                return Ok(zone.id);
            }
        }
        Err(ActionError::new(
            ErrorKind::NotFound,
            format!("find the zone of {name} at cloudflare: the token sees none"),
        )
        .hint("Give the token `Zone:Read` for it, or name the zone: `cloudflare: {zone: …}`."))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        cx: &StepContext,
        method: Method,
        path: &str,
        content: Content,
    ) -> Result<T, ActionError> {
        let changes = method != Method::Get;
        let headers =
            IndexMap::from([("Authorization".to_owned(), format!("Bearer {}", self.token))]);
        let url = format!("{}{path}", self.base);
        let message =
            Message { method, url, headers, content, resolved: Resolved::new(), fresh: true };
        let asked = self.http.exchange(&message, cx.deadline(), cx.cancelled()).await;
        let answer = asked.map_err(|error| self.unanswered(error, changes))?;
        self.open(&answer, changes)
    }

    /// A question that only reads has no unknown outcome.
    fn unanswered(&self, mut error: ActionError, changes: bool) -> ActionError {
        if error.outcome_unknown() {
            error.retryable = true;
            if !changes {
                error.kind = ErrorKind::Failed;
            }
        }
        error.message = format!("ask cloudflare: {}", self.http.secrets().redact(&error.message));
        error
    }

    fn open<T: DeserializeOwned>(&self, answer: &Answer, changes: bool) -> Result<T, ActionError> {
        let secrets = self.http.secrets();
        let envelope = serde_json::from_slice::<Envelope<T>>(&answer.body);
        match envelope {
            Ok(Envelope { success: true, result: Some(result), .. })
                if (200..300).contains(&answer.status) && !answer.cut =>
            {
                Ok(result)
            }
            Ok(envelope) if !envelope.errors.is_empty() => {
                let told = envelope.errors.iter().map(|complaint| {
                    let text = quoted(complaint.message.as_bytes(), secrets);
                    format!("{text} ({})", complaint.code)
                });
                let told = told.collect::<Vec<_>>().join("; ");
                Err(refused(answer.status, &answer.headers, &told, &envelope.errors, changes))
            }
            // Neither its success nor its failure can be read.
            Ok(_) | Err(_) => {
                let gist = answer.gist(secrets);
                Err(refused(answer.status, &answer.headers, &gist, &[], changes))
            }
        }
    }
}

/// What a refusal means. A server that fails while it changes something may have changed it.
fn refused(
    status: u16,
    headers: &HeaderMap,
    told: &str,
    complaints: &[Complaint],
    changes: bool,
) -> ActionError {
    let text = format!("ask cloudflare: it answered {told}");
    let code = |codes: &[i64]| complaints.iter().any(|complaint| codes.contains(&complaint.code));
    match status {
        401 | 403 => ActionError::new(ErrorKind::Denied, text)
            .hint("Give the token `Zone:Read` and `DNS:Edit` for the zone: `connections: {dns: {cloudflare: {token: …}}}`."),
        404 => ActionError::new(ErrorKind::Conflict, text)
            .hint("Somebody removed the record meanwhile; look at it, then run it again."),
        429 => {
            let wait = retry_after(headers, clock::now())
                .map(|wait| format!(", asks to wait {}", brief(wait)))
                .unwrap_or_default();
            ActionError::new(ErrorKind::Failed, format!("{text}{wait}")).retryable(true)
        }
        // 81053 and 81054: records that exclude each other; 81057, 81058: there already.
        400..500 if code(&[81_053, 81_054, 81_057, 81_058]) => {
            ActionError::new(ErrorKind::Conflict, text)
        }
        400..500 if code(&[9_021, 1_004]) => ActionError::new(ErrorKind::Invalid, text)
            .hint("Cloudflare takes a `ttl` from 60s to 1d (30s for Enterprise zones), or 1s for \"automatic\"."),
        400..500 => ActionError::new(ErrorKind::Invalid, text),
        500.. if changes => ActionError::new(ErrorKind::Unknown, text).retryable(true),
        _ if (200..300).contains(&status) && changes => {
            ActionError::new(ErrorKind::Unknown, text).retryable(true)
        }
        _ => ActionError::new(ErrorKind::Failed, text).retryable(status >= 500),
    }
}

#[async_trait]
impl Keeper for Zones {
    fn place(&self) -> String {
        "cloudflare".to_owned()
    }

    fn is_public(&self) -> bool {
        false
    }

    fn served_ttl(&self, kept: u32) -> u32 {
        if kept == AUTOMATIC { AUTOMATIC_LASTS } else { kept }
    }

    async fn held(
        &self,
        cx: &StepContext,
        name: &DomainName,
        kind: Kind,
    ) -> Result<Held, ActionError> {
        let zone = self.zone_id(cx, name).await?;
        let path = format!(
            "/zones/{}/dns_records?name={}&per_page={PAGE}",
            quoted_for_url(&zone),
            quoted_for_url(name.as_str())
        );
        let found: Vec<RecordEntry> = self.ask(cx, Method::Get, &path, Content::Empty).await?;
        let here = found
            .into_iter()
            .filter(|record| DomainName::parse(&record.name).is_ok_and(|found| found == *name));
        let (own, others): (Vec<_>, Vec<_>) = here.partition(|record| record.kind == kind.word());
        let mut held = Held { proxied: own.iter().any(|r| r.proxied), ..Held::default() };
        let excludes = |other: &str| kind == Kind::Cname || other == Kind::Cname.word();
        let mut beside: Vec<&str> =
            others.iter().map(|record| record.kind.as_str()).filter(|o| excludes(o)).collect();
        beside.dedup();
        held.beside = (!beside.is_empty()).then(|| beside.join(" and "));
        for record in own {
            let text = if kind == Kind::Txt { unquoted(&record.content) } else { record.content };
            let datum = Datum::parse(kind, &text).map_err(|why| {
                ActionError::new(
                    ErrorKind::Failed,
                    format!("read {kind} {name} at cloudflare: {why}"),
                )
            })?;
            held.records.push(Kept { id: record.id, datum, ttl: record.ttl });
        }
        held.set = held.records.first().map(|first| RecordSet {
            ttl: first.ttl,
            values: held.records.iter().map(|record| record.datum.clone()).collect(),
        });
        held.kept_for = held.set.as_ref().map_or(0, |set| self.served_ttl(set.ttl));
        Ok(held)
    }

    async fn change(&self, cx: &StepContext, change: &Change<'_>) -> Result<(), ActionError> {
        let zone = self.zone_id(cx, change.name).await?;
        let steps = change.steps();
        // Behind the proxy there is no other.
        let ttl = change.to.filter(|_| !change.from.proxied).map_or(AUTOMATIC, |set| set.ttl);
        let content = |datum: &Datum| match change.kind {
            Kind::Txt => quoted_text(&datum.plain()),
            _ => datum.as_str().to_owned(),
        };
        let batch = json!({
            "deletes": steps.removed.iter().map(|id| json!({"id": id})).collect::<Vec<_>>(),
            "patches": steps.rewritten.iter().map(|(id, datum)| {
                json!({"id": id, "content": content(datum), "ttl": ttl})
            }).collect::<Vec<_>>(),
            "posts": steps.added.iter().map(|datum| json!({
                "name": change.name, "type": change.kind.word(), "content": content(datum),
                "ttl": ttl, "proxied": change.from.proxied,
            })).collect::<Vec<_>>(),
        });
        let path = format!("/zones/{}/dns_records/batch", quoted_for_url(&zone));
        let done: Result<Value, _> = self.ask(cx, Method::Post, &path, Content::Json(batch)).await;
        done.map(drop).map_err(|mut error| {
            let doing = format!("set {} to {}", change.name, shown(change.kind, change.to));
            error.message = format!("{doing}: {}", error.message);
            error
        })
    }
}

fn quoted_for_url(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A text as strings in quotes, as a zone file has it.
fn quoted_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A text that stands in quotes, perhaps in several strings (`"a" "b"`), without them. One without quotes is itself.
fn unquoted(content: &str) -> String {
    let trimmed = content.trim();
    if trimmed.len() < 2 || !trimmed.starts_with('"') || !trimmed.ends_with('"') {
        return content.to_owned();
    }
    let (mut text, mut inside, mut letters) = (String::new(), false, trimmed.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '"' => inside = !inside,
            '\\' if inside => text.extend(letters.next()),
            letter if inside => text.push(letter),
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_lose_their_quotes_and_get_them_back() {
        for (content, text) in [
            (r#""v=spf1 -all""#, "v=spf1 -all"),
            (r#""a" "b""#, "ab"),
            (r#""a \" \\ b""#, r#"a " \ b"#),
            ("plain", "plain"),
            ("\"", "\""),
        ] {
            assert_eq!(unquoted(content), text);
            assert_eq!(unquoted(&quoted_text(text)), text);
        }
    }
}
