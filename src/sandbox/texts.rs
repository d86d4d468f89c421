//! A double of Twilio's messaging: text messages that are queued and go nowhere.
//!
//! Errors have Twilio's codes and form (<https://www.twilio.com/docs/api/errors>).

use std::path::Path;

use axum::Json;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::SandboxError;
use super::kept::Kept;
use super::ledger::Ledger;

/// The SID of its only account.
pub const ACCOUNT: &str = "AC00000000000000000000000000000000";
/// The longest message, in characters.
const LONGEST: usize = 1600;

/// A text message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sms {
    /// The recipient.
    pub to: String,
    /// The sender: a number or a messaging service.
    pub from: String,
    /// What it says.
    pub body: String,
}

/// The text messages of a world.
#[derive(Debug, Clone)]
pub struct Texts {
    ledger: Ledger,
    /// The account's auth token.
    token: String,
    messages: Kept<Sms>,
}

impl Texts {
    /// Opens it with the messages that its file holds.
    pub fn open(path: &Path, token: &str, ledger: Ledger) -> Result<Self, SandboxError> {
        Ok(Self { ledger, token: token.to_owned(), messages: Kept::open(path)? })
    }

    /// All messages, oldest first.
    pub fn messages(&self) -> Vec<Sms> {
        self.messages.all()
    }

    /// Forgets all messages.
    pub fn clear(&self) -> Result<(), SandboxError> {
        self.messages.clear()
    }

    /// The API.
    pub fn router(&self) -> axum::Router {
        axum::Router::new()
            .route("/2010-04-01/Accounts/{account}", get(account))
            .route("/2010-04-01/Accounts/{account}/Messages.json", post(send))
            .with_state(self.clone())
    }

    /// Whether a request comes from the account that it is about.
    fn knows(&self, account: &str, headers: &HeaderMap) -> bool {
        let expected = BASE64_STANDARD.encode(format!("{ACCOUNT}:{}", self.token));
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        account == ACCOUNT && given.and_then(|text| text.strip_prefix("Basic ")) == Some(&expected)
    }
}

/// An error in Twilio's form.
fn refusal(status: StatusCode, code: u32, message: &str) -> Response {
    let more = format!("https://www.twilio.com/docs/errors/{code}");
    let body =
        json!({"code": code, "message": message, "more_info": more, "status": status.as_u16()});
    (status, Json(body)).into_response()
}

async fn account(
    State(texts): State<Texts>,
    UrlPath(account): UrlPath<String>,
    headers: HeaderMap,
) -> Response {
    if !texts.knows(account.trim_end_matches(".json"), &headers) {
        return refusal(StatusCode::UNAUTHORIZED, 20003, "Authenticate");
    }
    Json(json!({"sid": ACCOUNT, "status": "active"})).into_response()
}

async fn send(
    State(texts): State<Texts>,
    UrlPath(account): UrlPath<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    if !texts.knows(&account, &headers) {
        return refusal(StatusCode::UNAUTHORIZED, 20003, "Authenticate");
    }
    let field = |name: &str| {
        let mut fields = url::form_urlencoded::parse(body.as_bytes());
        fields.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let message = Sms {
        to: field("To").unwrap_or_default(),
        from: field("From").or_else(|| field("MessagingServiceSid")).unwrap_or_default(),
        body: field("Body").unwrap_or_default(),
    };
    let digits = message.to.strip_prefix('+').unwrap_or_default();
    let wrong = if message.from.is_empty() {
        Some((21603, "A 'From' phone number is required."))
    } else if message.body.is_empty() {
        Some((21602, "Message body is required."))
    } else if message.body.chars().count() > LONGEST {
        Some((21617, "The concatenated message body exceeds the 1600 character limit"))
    } else if digits.len() < 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        Some((21211, "Invalid 'To' Phone Number"))
    } else {
        None
    };
    if let Some((code, text)) = wrong {
        return refusal(StatusCode::BAD_REQUEST, code, text);
    }
    if let Err(error) = texts.messages.add(message) {
        tracing::error!(%error, "failed to keep a text message");
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, 20500, "Internal Server Error");
    }
    texts.ledger.record("sms queued");
    let sid = format!("SM{}", uuid::Uuid::new_v4().simple());
    let queued = json!({"sid": sid, "status": "queued", "error_code": null});
    (StatusCode::CREATED, Json(queued)).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn post_form(texts: &Texts, token: &str, form: &str) -> (u16, String) {
        let login = BASE64_STANDARD.encode(format!("{ACCOUNT}:{token}"));
        let request = Request::post(format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json"))
            .header("authorization", format!("Basic {login}"))
            .body(Body::from(form.to_owned()))
            .unwrap();
        let answer = texts.router().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = axum::body::to_bytes(answer.into_body(), 1 << 16).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn messages_are_queued_and_refusals_have_twilios_codes() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("effects.log")).unwrap();
        let texts = Texts::open(&dir.path().join("texts.json"), "t0ken", ledger.clone()).unwrap();
        let (status, answer) =
            post_form(&texts, "t0ken", "To=%2B14155550100&From=%2B14155550199&Body=a+b").await;
        assert_eq!(status, 201, "{answer}");
        let message =
            Sms { to: "+14155550100".into(), from: "+14155550199".into(), body: "a b".into() };
        assert_eq!(texts.messages(), [message]);
        let long = format!("To=%2B14155550100&From=x&Body={}", "b".repeat(1601));
        for (token, form, status, code) in [
            ("other", "To=%2B14155550100&From=x&Body=b", 401, 20003),
            ("t0ken", "To=%2B14155550100&Body=b", 400, 21603),
            ("t0ken", "To=%2B14155550100&From=x", 400, 21602),
            ("t0ken", "To=4155550100&From=x&Body=b", 400, 21211),
            ("t0ken", long.as_str(), 400, 21617),
        ] {
            let (found, answer) = post_form(&texts, token, form).await;
            assert_eq!(found, status, "{form}");
            assert!(answer.contains(&code.to_string()), "{answer}");
        }
        assert_eq!(ledger.effects()["sms queued"], 1);
    }
}
