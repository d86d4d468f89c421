//! A search by `PostgREST`, as Supabase has it: `POST /rpc/FUNCTION` with the arguments by name
//! (<https://docs.postgrest.org/en/stable/references/api/functions.html>), and its refusals
//! (<https://docs.postgrest.org/en/stable/references/errors.html>).

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::connection::{Address, Postgrest};
use super::search::{DOCUMENT, Hit, Wanted, name_of};
use super::wire::Asked;
use crate::action::{ActionError, ErrorKind, StepContext};
use crate::adapters::http::{Answer, Client, HttpConnection, quoted};
use crate::secret::Secrets;

/// How keys of Supabase begin that are no JWT (<https://supabase.com/docs/guides/api/api-keys>).
const NO_TOKEN: &str = "sb_";

/// A `PostgREST` of an environment.
pub(super) struct Rest {
    http: Client,
    address: Address,
    api: Postgrest,
}

/// A refusal, in `PostgREST`'s words.
#[derive(Deserialize)]
struct Refusal {
    message: String,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    hint: Option<String>,
}

impl Rest {
    /// The one of this block.
    pub(super) fn new(
        api: &Postgrest,
        ca_file: Option<PathBuf>,
        secrets: Arc<Secrets>,
    ) -> Result<Self, ActionError> {
        let address = Address::read("search.postgrest", &api.url, api.key.as_deref(), &secrets)?;
        let reached = HttpConnection { ca_file, ..HttpConnection::default() };
        let http = Client::new(reached, secrets, "{knowledge: {ca_file: …}}");
        Ok(Self { http, address, api: api.clone() })
    }

    fn shown(&self) -> String {
        format!("the search `{}` at {}", self.api.function, self.address.shown)
    }

    fn headers(&self) -> IndexMap<String, String> {
        let mut headers = IndexMap::from([("Accept".to_owned(), "application/json".to_owned())]);
        if let Some(key) = &self.api.key {
            let _none = headers.insert("apikey".to_owned(), key.clone());
            // Publishable and secret keys are no tokens, and Supabase refuses them in the place of one.
            if !self.http.secrets().reveal(key).expose_secret().starts_with(NO_TOKEN) {
                let _none = headers.insert("Authorization".to_owned(), format!("Bearer {key}"));
            }
        }
        if let Some(schema) = &self.api.schema {
            let _none = headers.insert("Content-Profile".to_owned(), schema.clone());
        }
        headers
    }

    /// Searches once.
    pub(super) async fn search(
        &self,
        cx: &StepContext,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<Hit>, ActionError> {
        let function = percent_encoding::utf8_percent_encode(
            &self.api.function,
            percent_encoding::NON_ALPHANUMERIC,
        );
        // An underscore need not be encoded, and people read these in logs.
        let function = function.to_string().replace("%5F", "_");
        let url = format!("{}/rpc/{function}", self.address.base);
        let asked =
            Asked { http: &self.http, service: &self.shown(), url, headers: self.headers() };
        let answer = asked.post(cx, arguments(wanted)).await?;
        if answer.status != 200 {
            return Err(self.refused(&answer));
        }
        self.read(&answer, wanted)
    }

    fn read(&self, answer: &Answer, wanted: &Wanted<'_>) -> Result<Vec<Hit>, ActionError> {
        let strange = |why: &str| {
            let text = format!("ask {}: the answer has another form: {why}", self.shown());
            ActionError::new(ErrorKind::Failed, text)
        };
        if answer.cut {
            return Err(strange("it is longer than what is read of one")
                .hint("Let the function return titles and similarities, and not embeddings."));
        }
        let secrets = self.http.secrets();
        let rows: Vec<Value> = serde_json::from_slice(&answer.body)
            .map_err(|error| strange(&quoted(error.to_string().as_bytes(), secrets)))?;
        let hits = rows.iter().map(|row| Hit::of(row, wanted.document));
        hits.collect::<Option<_>>().ok_or_else(|| {
            strange(&format!("a row has neither `{}` nor `id`", wanted.document)).hint(DOCUMENT)
        })
    }

    fn refused(&self, answer: &Answer) -> ActionError {
        let secrets: &Secrets = self.http.secrets();
        let quote = |text: &str| quoted(text.as_bytes(), secrets);
        let Ok(refusal) = serde_json::from_slice::<Refusal>(&answer.body) else {
            let text = format!("ask {}: it answered {}", self.shown(), answer.gist(secrets));
            return match answer.status {
                401 | 403 => denied(text),
                404 => ActionError::new(ErrorKind::NotFound, text)
                    .hint("Does `search.postgrest.url` of the connection `knowledge` end with `/rest/v1`, as at Supabase?"),
                status => ActionError::new(ErrorKind::Failed, text)
                    .retryable(matches!(status, 429 | 500..=599)),
            };
        };
        let code = refusal.code.as_deref().unwrap_or_default();
        let shown = if code.is_empty() { String::new() } else { format!(" ({})", quote(code)) };
        let text = format!("ask {}: {}{shown}", self.shown(), quote(&refusal.message));
        let error = match (code, answer.status) {
            // No such function, or with other arguments, or not known yet: `NOTIFY pgrst, 'reload schema'`.
            ("PGRST202" | "42883", _) => ActionError::new(ErrorKind::NotFound, text).hint(
                "Its arguments must be p_agent_domain, p_query_embedding, p_match_threshold and p_match_count; a new one is seen after `NOTIFY pgrst, 'reload schema'`.",
            ),
            ("PGRST106", _) => ActionError::new(ErrorKind::NotFound, text)
                .hint("Let the API serve the schema, or mend `search.postgrest.schema`."),
            ("PGRST301" | "PGRST302" | "PGRST303" | "42501", _) | (_, 401 | 403) => denied(text),
            // The database behind it is away, or at its limits, or took too long.
            ("PGRST000" | "PGRST001" | "PGRST002" | "PGRST003" | "57014", _)
            | (_, 429 | 500..=599) => ActionError::new(ErrorKind::Failed, text).retryable(true),
            _ => ActionError::new(ErrorKind::Invalid, text),
        };
        match refusal.hint {
            Some(hint) => error.hint(format!("It says: {}", quote(&hint))),
            None => error,
        }
    }
}

fn denied(text: String) -> ActionError {
    ActionError::new(ErrorKind::Denied, text)
        .hint("Check `search.postgrest.key` of the connection `knowledge`.")
}

fn arguments(wanted: &Wanted<'_>) -> Value {
    let vector: Vec<f64> = wanted.vector.iter().copied().map(f64::from).collect();
    json!({
        name_of::AGENT: wanted.agent,
        name_of::VECTOR: vector,
        name_of::THRESHOLD: wanted.threshold,
        name_of::COUNT: wanted.count,
    })
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;

    fn rest() -> Rest {
        let api: Postgrest =
            serde_json::from_value(json!({"url": "http://a/rest/v1"})).expect("a block");
        Rest::new(&api, None, Arc::new(Secrets::default())).expect("a service")
    }

    fn answer(status: u16, body: &Value) -> Answer {
        let body = body.to_string().into_bytes();
        Answer { status, headers: HeaderMap::new(), body, cut: false }
    }

    #[test]
    fn every_refusal_has_its_kind() {
        for (status, code, kind, again) in [
            (404, "PGRST202", ErrorKind::NotFound, false),
            (404, "42883", ErrorKind::NotFound, false),
            (406, "PGRST106", ErrorKind::NotFound, false),
            (401, "PGRST301", ErrorKind::Denied, false),
            (401, "PGRST303", ErrorKind::Denied, false),
            (403, "42501", ErrorKind::Denied, false),
            (400, "P0001", ErrorKind::Invalid, false),
            (400, "22P02", ErrorKind::Invalid, false),
            (503, "PGRST000", ErrorKind::Failed, true),
            (504, "PGRST003", ErrorKind::Failed, true),
            (500, "57014", ErrorKind::Failed, true),
        ] {
            let body =
                json!({"code": code, "message": "it says why", "details": null, "hint": "h"});
            let error = rest().refused(&answer(status, &body));
            assert_eq!((error.kind, error.retryable), (kind, again), "{code}: {error:?}");
            assert!(error.message.ends_with(&format!("it says why ({code})")), "{error}");
            assert!(error.hints.iter().any(|hint| hint == "It says: h"), "{error:?}");
        }
        let page = rest().refused(&answer(404, &json!("no such page")));
        assert_eq!(page.kind, ErrorKind::NotFound);
    }

    #[test]
    fn a_key_that_is_no_token_is_not_sent_as_one() {
        for (key, wanted) in [("eyJhbGciOi.e30.c2ln", true), ("sb_publishable_k", false)] {
            let mut secrets = Secrets::default();
            let key = secrets.insert("key", key.into());
            let api = json!({ "url": "http://a/rest/v1", "key": key });
            let api: Postgrest = serde_json::from_value(api).expect("a block");
            let rest = Rest::new(&api, None, Arc::new(secrets)).expect("a service");
            let headers = rest.headers();
            assert_eq!(headers["apikey"], key);
            assert_eq!(headers.contains_key("Authorization"), wanted);
        }
    }

    #[test]
    fn rows_without_a_name_are_told() {
        let wanted =
            Wanted { agent: "a", vector: &[1.0], threshold: 0.0, count: 5, document: "title" };
        let rows = json!([{"title": "A", "id": 7, "similarity": 0.5}]);
        let hits = rest().read(&answer(200, &rows), &wanted).expect("a hit");
        assert!(hits[0].is("A") && hits[0].is("7") && !hits[0].is("B"));
        let error = rest()
            .read(&answer(200, &json!([{"x": 1}])), &wanted)
            .expect_err("nothing to know it by");
        assert!(error.message.contains("neither `title` nor `id`"), "{error}");
    }
}
