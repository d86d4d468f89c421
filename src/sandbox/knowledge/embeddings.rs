//! A double of `OpenAI`'s embeddings (<https://platform.openai.com/docs/api-reference/embeddings>): its requests, its answers and its refusals, over
//! [toy] vectors.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use axum::response::{IntoResponse as _, Json};
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Value, json};

use super::toy;
use crate::sandbox::faults::{Double, Faults};
use crate::sandbox::wire::{Front, routed};

/// The largest request that is read, in bytes.
const LARGEST: usize = 8 << 20;
/// The most texts of one request, as the API has it.
const MOST_TEXTS: usize = 2048;

/// The service.
#[derive(Debug, Clone)]
pub struct Embeddings {
    key: Arc<str>,
}

#[derive(Deserialize)]
struct Asked {
    model: String,
    input: Input,
    #[serde(default)]
    dimensions: Option<usize>,
    #[serde(default)]
    encoding_format: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
}

/// A refusal: status, message, and the code that programs know it by.
type Refusal = (StatusCode, String, Option<&'static str>);

impl Embeddings {
    /// A service with this key.
    pub fn new(key: &str) -> Self {
        Self { key: key.into() }
    }

    /// The service behind the faults of its world.
    pub fn front(&self, faults: Option<Faults>) -> Front {
        let router = axum::Router::new().route("/v1/embeddings", post(embed));
        Front {
            faults: faults.map(|faults| (Double::Embeddings, faults)),
            handler: routed(router.with_state(self.clone())),
            refuse: |status| refused(&(status, "A fault was injected.".to_owned(), None)),
        }
    }

    fn answer(&self, headers: &HeaderMap, body: &[u8]) -> Result<Value, Refusal> {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        match bearer.and_then(|value| value.strip_prefix("Bearer ")) {
            Some(key) if key == &*self.key => {}
            Some(_) => {
                let text = "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.";
                return Err((StatusCode::UNAUTHORIZED, text.to_owned(), Some("invalid_api_key")));
            }
            None => {
                let text = "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth.";
                return Err((StatusCode::UNAUTHORIZED, text.to_owned(), None));
            }
        }
        let bad = |text: String| (StatusCode::BAD_REQUEST, text, None);
        let asked: Asked = serde_json::from_slice(body).map_err(|error| {
            bad(format!("We could not parse the JSON body of your request: {error}"))
        })?;
        let model = &asked.model;
        let Some(most) = toy::dimensions(model) else {
            let text =
                format!("The model `{model}` does not exist or you do not have access to it.");
            return Err((StatusCode::NOT_FOUND, text, Some("model_not_found")));
        };
        if !matches!(asked.encoding_format.as_deref(), None | Some("float")) {
            return Err(bad(
                "The sandbox's embeddings have the encoding format float alone.".into()
            ));
        }
        let dimensions = asked.dimensions.unwrap_or(most);
        if !(1..=most).contains(&dimensions) {
            return Err(bad(format!(
                "'dimensions' must be from 1 to {most} for the model `{model}`."
            )));
        }
        let texts = match asked.input {
            Input::One(text) => vec![text],
            Input::Many(texts) => texts,
        };
        if texts.is_empty() || texts.len() > MOST_TEXTS || texts.iter().any(String::is_empty) {
            return Err(bad("'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.".into()));
        }
        let data: Vec<Value> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| {
                json!({"object": "embedding", "index": index, "embedding": toy::embed(model, text, dimensions)})
            })
            .collect();
        let tokens: usize = texts.iter().map(|text| text.split_whitespace().count()).sum();
        let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
        Ok(json!({"object": "list", "data": data, "model": model, "usage": usage}))
    }
}

async fn embed(State(service): State<Embeddings>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let answer = match to_bytes(body, LARGEST).await {
        Ok(body) => service.answer(&head.headers, &body),
        Err(error) => Err((StatusCode::BAD_REQUEST, error.to_string(), None)),
    };
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(refusal) => refused(&refusal),
    }
}

fn refused((status, message, code): &Refusal) -> Response<Body> {
    let kind = match status.as_u16() {
        429 => "requests",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    let error = json!({"message": message, "type": kind, "param": null, "code": code});
    (*status, Json(json!({ "error": error }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(key: Option<&str>, body: &Value) -> Result<Value, Refusal> {
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            headers.insert(header::AUTHORIZATION, format!("Bearer {key}").parse().unwrap());
        }
        Embeddings::new("k").answer(&headers, body.to_string().as_bytes())
    }

    #[test]
    fn texts_get_vectors_and_mistakes_get_words() {
        let body = json!({"model": "text-embedding-3-small", "input": ["a word", "another"], "dimensions": 16});
        let answer = ask(Some("k"), &body).unwrap();
        assert_eq!(answer["data"][1]["index"], 1);
        assert_eq!(answer["data"][0]["embedding"].as_array().unwrap().len(), 16);
        for (key, change, status, code) in [
            (None, json!({}), 401, None),
            (Some("x"), json!({}), 401, Some("invalid_api_key")),
            (Some("k"), json!({"model": "m"}), 404, Some("model_not_found")),
            (Some("k"), json!({"input": []}), 400, None),
            (Some("k"), json!({"input": ""}), 400, None),
            (Some("k"), json!({"dimensions": 65}), 400, None),
            (Some("k"), json!({"encoding_format": "base64"}), 400, None),
        ] {
            let mut body = body.clone();
            body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let (found, _, told) = ask(key, &body).unwrap_err();
            assert_eq!((found.as_u16(), told), (status, code), "{body}");
        }
    }
}
