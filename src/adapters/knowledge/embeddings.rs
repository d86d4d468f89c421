//! Vectors of texts, from a service that speaks as `OpenAI`'s embeddings do
//! (<https://platform.openai.com/docs/api-reference/embeddings/create>).
//!
//! Texts are asked for together, as many at once as an answer has room for; a vector that was given is kept, since a probe asks until it holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::connection::{Address, EmbeddingsService, KnowledgeConnection};
use super::wire::Asked;
use crate::action::{ActionError, Connections, ErrorKind, StepContext};
use crate::adapters::http::{Answer, Client, HttpConnection, quoted};
use crate::secret::Secrets;

/// The time for the question whether the service answers; pre-flight has five seconds in all.
const REACHING: Duration = Duration::from_secs(4);
/// The most texts in one request. `OpenAI` takes 2048.
const MOST_TEXTS: usize = 64;
/// The most of an answer, in bytes, that vectors may take: the client reads one mebibyte.
const MOST_BYTES: usize = 900_000;
/// What one number takes at most, with its line in an answer that is indented.
const NUMBER: usize = 36;

/// A vector.
pub(super) type Embedding = Arc<[f32]>;

/// The service of an environment, and the vectors that it has given.
pub(super) struct Embeddings {
    http: Client,
    address: Address,
    service: EmbeddingsService,
    known: Mutex<HashMap<String, Embedding>>,
}

/// The answer of a service.
#[derive(Deserialize)]
struct Given {
    data: Vec<Item>,
    #[serde(default)]
    model: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    embedding: Vec<f32>,
}

/// A refusal, in `OpenAI`'s words.
#[derive(Deserialize)]
struct Refusal {
    error: Reason,
}

#[derive(Deserialize)]
struct Reason {
    message: String,
    #[serde(default)]
    code: Option<Value>,
}

impl Embeddings {
    /// The one of these connections.
    pub(super) fn of(connections: &Connections) -> Result<Arc<Self>, ActionError> {
        let secrets = connections.secrets().clone();
        connections.client::<KnowledgeConnection, Self, _>(|settings, _| {
            let service = settings.embeddings()?.clone();
            let address =
                Address::read("embeddings", &service.url, service.key.as_deref(), &secrets)?;
            let reached = HttpConnection { ca_file: settings.ca_file, ..HttpConnection::default() };
            let http = Client::new(reached, secrets, "{knowledge: {ca_file: …}}");
            Ok(Self { http, address, service, known: Mutex::default() })
        })
    }

    /// The model that makes the vectors.
    pub(super) fn model(&self) -> &str {
        &self.service.model
    }

    /// The vectors of these texts, in their order; `dimensions` is how many they are expected to have.
    pub(super) async fn embed(
        &self,
        cx: &StepContext,
        texts: &[&str],
        dimensions: usize,
    ) -> Result<Vec<Embedding>, ActionError> {
        let missing: Vec<&str> = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let mut missing: Vec<&str> =
                texts.iter().copied().filter(|text| !known.contains_key(*text)).collect();
            missing.sort_unstable();
            missing.dedup();
            missing
        };
        let room = MOST_BYTES / (dimensions.max(1) * NUMBER);
        for batch in missing.chunks(room.clamp(1, MOST_TEXTS)) {
            let given = self.ask(cx, batch).await?;
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.extend(batch.iter().map(|text| (*text).to_owned()).zip(given));
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = texts.iter().map(|text| known.get(*text).cloned());
        found.collect::<Option<_>>().ok_or_else(|| self.strange("it lacks vectors"))
    }

    async fn ask(&self, cx: &StepContext, texts: &[&str]) -> Result<Vec<Embedding>, ActionError> {
        let mut body =
            json!({ "model": self.service.model, "input": texts, "encoding_format": "float" });
        if let Some(dimensions) = self.service.dimensions {
            body["dimensions"] = dimensions.into();
        }
        let key = self.service.key.iter();
        let headers = key
            .map(|key| ("Authorization".to_owned(), format!("Bearer {key}")))
            .collect::<IndexMap<_, _>>();
        let url = format!("{}/embeddings", self.address.base);
        let asked = Asked { http: &self.http, service: &self.shown(), url, headers };
        let answer = asked.post(cx, body).await?;
        if answer.status != 200 {
            return Err(self.refused(&answer));
        }
        self.read(&answer, texts.len())
    }

    fn read(&self, answer: &Answer, wanted: usize) -> Result<Vec<Embedding>, ActionError> {
        if answer.cut {
            return Err(self.strange("it is longer than what is read of one"));
        }
        let given: Given = serde_json::from_slice(&answer.body)
            .map_err(|error| self.strange(&quoted(error.to_string().as_bytes(), self.secrets())))?;
        // The family's name may be followed by its release: `text-embedding-ada-002-v2`.
        if let Some(model) = given
            .model
            .filter(|model| !model.ends_with(self.model()) && !model.starts_with(self.model()))
        {
            let model = quoted(model.as_bytes(), self.secrets());
            let text = format!(
                "ask {}: it answers with the model {model}, and not {}",
                self.shown(),
                self.model()
            );
            return Err(ActionError::new(ErrorKind::Conflict, text)
                .hint("Vectors of two models cannot be compared. Name the right one in `connections: {knowledge: {embeddings: {model: …}}}`."));
        }
        let mut vectors: Vec<Option<Embedding>> = vec![None; wanted];
        for item in given.data {
            let sound = !item.embedding.is_empty() && item.embedding.iter().all(|n| n.is_finite());
            match vectors.get_mut(item.index) {
                Some(slot @ None) if sound => *slot = Some(item.embedding.into()),
                _ => return Err(self.strange("it has a vector that nobody asked for, or none")),
            }
        }
        let vectors: Option<Vec<Embedding>> = vectors.into_iter().collect();
        let vectors = vectors.ok_or_else(|| self.strange("it lacks vectors"))?;
        if vectors.windows(2).any(|pair| pair[0].len() != pair[1].len()) {
            return Err(self.strange("its vectors have different dimensions"));
        }
        Ok(vectors)
    }

    fn shown(&self) -> String {
        format!("embeddings at {}", self.address.shown)
    }

    fn secrets(&self) -> &Secrets {
        self.http.secrets()
    }

    fn strange(&self, why: &str) -> ActionError {
        let text = format!("ask {}: the answer has another form: {why}", self.shown());
        ActionError::new(ErrorKind::Failed, text)
            .hint("Is `embeddings.url` of the connection `knowledge` that of an OpenAI-compatible service, up to `/v1`?")
    }

    fn refused(&self, answer: &Answer) -> ActionError {
        let (said, code) = match serde_json::from_slice::<Refusal>(&answer.body) {
            Ok(Refusal { error: Reason { message, code } }) => {
                let code = code.as_ref().and_then(Value::as_str).map(str::to_owned);
                (quoted(message.as_bytes(), self.secrets()), code)
            }
            Err(_) => (format!("it answered {}", answer.gist(self.secrets())), None),
        };
        let text = format!("ask {}: {said}", self.shown());
        match (answer.status, code.as_deref()) {
            (401 | 403, _) => ActionError::new(ErrorKind::Denied, text)
                .hint("Check `embeddings.key` of the connection `knowledge`."),
            (404, _) => ActionError::new(ErrorKind::NotFound, text).hint(
                "Check `embeddings.url` and `embeddings.model` of the connection `knowledge`.",
            ),
            // No waiting brings money.
            (429, Some("insufficient_quota")) => ActionError::new(ErrorKind::Failed, text),
            (408 | 409 | 429 | 500..=599, _) => {
                ActionError::new(ErrorKind::Failed, text).retryable(true)
            }
            (400 | 413 | 422, _) => ActionError::new(ErrorKind::Invalid, text),
            _ => ActionError::new(ErrorKind::Failed, text),
        }
    }
}

/// Whether the service answers: `embeddings of text-embedding-3-small with 1536 dimensions at api.openai.com`.
pub(super) async fn reach(connections: &Connections) -> Result<String, ActionError> {
    let embeddings = Embeddings::of(connections)?;
    let cx = StepContext::looking(REACHING);
    let given = embeddings.embed(&cx, &["ready"], 1).await?;
    let dimensions = given.first().map_or(0, |vector| vector.len());
    let (model, at) = (embeddings.model(), &embeddings.address.shown);
    Ok(format!("embeddings of {model} with {dimensions} dimensions at {at}"))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;

    fn service() -> Embeddings {
        let service = EmbeddingsService {
            url: "http://a/v1".to_owned(),
            key: None,
            model: "text-embedding-3-small".to_owned(),
            dimensions: None,
        };
        let secrets = Arc::new(Secrets::default());
        let address =
            Address::read("embeddings", &service.url, None, &secrets).expect("an address");
        let http = Client::new(HttpConnection::default(), secrets, "");
        Embeddings { http, address, service, known: Mutex::default() }
    }

    fn answer(status: u16, body: &Value) -> Answer {
        let body = body.to_string().into_bytes();
        Answer { status, headers: HeaderMap::new(), body, cut: false }
    }

    #[test]
    fn vectors_come_in_the_order_of_their_texts() {
        let body = json!({"model": "text-embedding-3-small", "data": [
            {"index": 1, "embedding": [0.5, 1]}, {"index": 0, "embedding": [1.0, 0.25]},
        ]});
        let vectors = service().read(&answer(200, &body), 2).expect("two vectors");
        assert_eq!(
            vectors.iter().map(|v| v.to_vec()).collect::<Vec<_>>(),
            [[1.0, 0.25], [0.5, 1.0]]
        );
    }

    #[test]
    fn an_answer_of_another_form_or_model_is_refused() {
        let item = |index: usize, vector: Value| json!({"index": index, "embedding": vector});
        for data in [
            json!([]),
            json!([item(0, json!([1]))]),
            json!([item(0, json!([1])), item(0, json!([1]))]),
            json!([item(0, json!([1])), item(2, json!([1]))]),
            json!([item(0, json!([1])), item(1, json!([1, 2]))]),
            json!([item(0, json!([])), item(1, json!([]))]),
            json!([item(0, json!(["x"])), item(1, json!([1]))]),
        ] {
            let error =
                service().read(&answer(200, &json!({"data": data})), 2).expect_err("strange");
            assert_eq!(error.kind, ErrorKind::Failed, "{data}: {error}");
        }
        let other = json!({"model": "nomic-embed-text", "data": [item(0, json!([1]))]});
        let error = service().read(&answer(200, &other), 1).expect_err("another model");
        assert_eq!(error.kind, ErrorKind::Conflict);
    }

    #[test]
    fn every_refusal_has_its_kind() {
        let said = |code: Value| json!({"error": {"message": "it says why", "type": "t", "param": null, "code": code}});
        for (status, code, kind, again) in [
            (401, json!("invalid_api_key"), ErrorKind::Denied, false),
            (404, json!("model_not_found"), ErrorKind::NotFound, false),
            (400, json!(null), ErrorKind::Invalid, false),
            (429, json!("rate_limit_exceeded"), ErrorKind::Failed, true),
            (429, json!("insufficient_quota"), ErrorKind::Failed, false),
            (503, json!(null), ErrorKind::Failed, true),
        ] {
            let error = service().refused(&answer(status, &said(code)));
            assert_eq!((error.kind, error.retryable), (kind, again), "{status}: {error:?}");
            assert_eq!(error.message, "ask embeddings at a: it says why");
        }
        let page = service().refused(&answer(502, &json!("a proxy's page")));
        assert!(page.retryable && page.message.contains("a proxy's page"), "{page}");
    }
}
